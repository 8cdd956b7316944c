"""Where passages of the ledger begin and end: between components, per group."""

from hawse.batch import Batch, Signal
from hawse.component import Consumer, Refused
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import Outcome
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.passage import Passage, current


class Received:
    """Where a passage begins: what a receiver hands in is received once the way has ended."""

    __slots__ = ("_ledger", "_next", "_receipt")

    def __init__(self, consumer: Consumer, ledger: Ledger, receipt: int) -> None:
        self._next = consumer
        self._ledger = ledger
        self._receipt = receipt

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        passage = Passage(self._ledger, batch.signal, self._ledger.sources.named(batch), self._receipt)
        try:
            await self._next.consume(batch)
        except Refused:
            passage.settle()
            raise
        except BaseException:
            passage.discard()
            raise
        passage.settle()


class Delivered:
    """Where a passage ends: what an exporter takes is delivered, but for what it says otherwise of."""

    __slots__ = ("_ledger", "_next", "_number", "_own")

    def __init__(self, consumer: Consumer, ledger: Ledger, own: ComponentLedger, signal: Signal) -> None:
        self._next = consumer
        self._ledger = ledger
        self._own = own
        self._number = own.number(signal, Outcome.DELIVERED)

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        passage = Passage(self._ledger, batch.signal)
        try:
            await self._next.consume(batch)
        except Refused as answer:
            self._note(passage, batch, self._own.number(batch.signal, Outcome.REFUSED, answer.code))
            answer.counted = True
            passage.settle()
            raise
        except BaseException:
            passage.discard()
            raise
        self._note(passage, batch, self._number)
        passage.settle()

    def _note(self, passage: Passage, batch: Batch, number: int) -> None:
        named = self._ledger.sources.named(batch)
        if passage.entries:  # of what the exporter has told, the rest is to be told
            told: dict[str, int] = {}
            for _, source, items in passage.entries:
                told[source] = told.get(source, 0) - items
            named = [*named, *told.items()]
        passage.entries += [(number, source, items) for source, items in named]


class Branch:
    """One of several ways of a batch: each ends for itself, since the others may have to be tried again."""

    __slots__ = ("_ledger", "_next")

    def __init__(self, consumer: Consumer, ledger: Ledger) -> None:
        self._next = consumer
        self._ledger = ledger

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        passage = Passage(self._ledger, batch.signal)
        try:
            await self._next.consume(batch)
        except Refused:
            passage.settle()
            raise
        except BaseException:
            passage.discard()
            raise
        passage.settle()


class Merged(Branch):
    """What a processor hands on from a task of its own (it merges batches) is a way of its own, too."""

    __slots__ = ()

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        if current() is None:
            await super().consume(batch)
        else:
            await self._next.consume(batch)


class Noted:
    """Notes every item that passes on some accounts: copies, and what connectors take and make of it."""

    __slots__ = ("_ledger", "_next", "_number", "_times")

    def __init__(self, consumer: Consumer, ledger: Ledger, number: int, times: int = 1) -> None:
        self._next = consumer
        self._ledger = ledger
        self._number = number
        self._times = times

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        passage = Passage(self._ledger, batch.signal)
        try:
            await self._next.consume(batch)
        except Refused as answer:
            if answer.counted:
                self._note(passage, batch)
            else:
                passage.settle()
            raise
        except BaseException:
            passage.discard()
            raise
        self._note(passage, batch)

    def _note(self, passage: Passage, batch: Batch) -> None:
        times = self._times
        passage.entries += [
            (self._number, source, items * times) for source, items in self._ledger.sources.named(batch)
        ]
        passage.settle()


class Judged:
    """Notes what a component in the middle refuses of itself, or whatever is behind it that notes nothing."""

    __slots__ = ("_ledger", "_next", "_own")

    def __init__(self, consumer: Consumer, ledger: Ledger, own: ComponentLedger) -> None:
        self._next = consumer
        self._ledger = ledger
        self._own = own

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        try:
            await self._next.consume(batch)
        except Refused as answer:
            if not answer.counted and not getattr(answer.__context__, "counted", False):
                number = self._own.number(batch.signal, Outcome.REFUSED, answer.code)
                entries = [(number, source, items) for source, items in self._ledger.sources.named(batch)]
                passage = current()
                if passage is None:
                    self._ledger.books.add(entries)
                else:
                    passage.entries += entries
            answer.counted = True
            raise
