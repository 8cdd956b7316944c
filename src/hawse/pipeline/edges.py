"""What sits between components and counts who took, handed on and refused how much: per batch, not per record.

Here also begin and end the passages of the ledger (`hawse.pipeline.ledger`), which counts by source: per group.
"""

import logging
from collections.abc import Sequence
from typing import TypeAlias

from hawse.batch import Batch, Signal
from hawse.component import Busy, Consumer, Counter, Kind, Refused
from hawse.pipeline.fanout import FanOut
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import Outcome
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.passage import Passage, current
from hawse.pipeline.telemetry import ComponentMeter

Log: TypeAlias = logging.LoggerAdapter[logging.Logger]


class Answers:
    """Counts the items of batches by how the consumer behind answers. Cancelled calls count for nothing."""

    __slots__ = ("_busy", "_done", "_log", "_next", "_refused", "in_flight")

    def __init__(
        self,
        consumer: Consumer,
        done: Counter,
        refused: Counter,
        busy: Counter,
        log: Log | None = None,
    ) -> None:
        self._next = consumer
        self._done = done
        self._refused = refused
        self._busy = busy
        self._log = log
        self.in_flight = 0

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        items = batch.items
        self.in_flight += items
        try:
            await self._next.consume(batch)
        except Busy:
            self._busy.add(items)
            raise
        except Refused as answer:
            self._refused.add(items)
            if self._log:
                self._log.warning("%s refused: %s", batch.signal.items.replace("_", " "), answer.reason)
            raise
        finally:
            self.in_flight -= items
        self._done.add(items)


class Passed:
    """Counts the items of batches that the consumer behind took."""

    __slots__ = ("_count", "_next")

    def __init__(self, consumer: Consumer, count: Counter) -> None:
        self._next = consumer
        self._count = count

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        await self._next.consume(batch)
        self._count.add(batch.items)


# --- the ledger's ---------------------------------------------------------------------------------------------------


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


# --- what the wiring puts together ------------------------------------------------------------------------------------


def from_receiver(
    consumer: Consumer,
    meter: ComponentMeter,
    signal: Signal,
    log: Log,
    ledger: Ledger,
    id_: str,
) -> Consumer:
    """What a receiver hands batches to. Who refuses is logged here, where the batch would be lost."""
    items = signal.items
    words = items.replace("_", " ")
    receipt = ledger.account(signal, Kind.RECEIVER, id_, Outcome.RECEIVED)
    edge = Answers(
        Received(consumer, ledger, receipt),
        meter.counter(f"receiver_accepted_{items}", f"Number of {words} taken and made safe by what is behind."),
        meter.counter(f"receiver_refused_{items}", f"Number of {words} refused for good by what is behind."),
        meter.counter(f"receiver_busy_{items}", f"Number of {words} handed back, to be tried again."),
        log,
    )
    meter.gauge(f"receiver_in_flight_{items}", f"{words.capitalize()} not answered yet.", lambda: edge.in_flight)
    return edge


def to_exporter(
    consumer: Consumer, meter: ComponentMeter, signal: Signal, ledger: Ledger, own: ComponentLedger
) -> Consumer:
    """What hands batches of a signal to an exporter that has no queue on disk."""
    items = signal.items
    words = items.replace("_", " ")
    edge = Answers(
        Delivered(consumer, ledger, own, signal),
        meter.counter(f"exporter_sent_{items}", f"Number of {words} sent and acknowledged."),
        meter.counter(f"exporter_send_failed_{items}", f"Number of {words} that the destination refused for good."),
        meter.counter(f"exporter_busy_{items}", f"Number of {words} not taken now, to be tried again."),
    )
    meter.gauge(f"exporter_in_flight_{items}", f"{words.capitalize()} not answered yet.", lambda: edge.in_flight)
    return edge


def to_queue(consumer: Consumer, ledger: Ledger, own: ComponentLedger) -> Consumer:
    """What hands batches to an exporter's queue on disk, which tells of them by `ledger.held.Held`."""
    return Judged(consumer, ledger, own)


def copied(ways: Sequence[Consumer], ledger: Ledger, kind: Kind, id_: str, signal: Signal, log: Log) -> Consumer:
    """One batch to several consumers. A copy is one more record to be accounted for."""
    number = ledger.account(signal, kind, id_, Outcome.COPIED)
    return Noted(FanOut([Branch(way, ledger) for way in ways], log), ledger, number, len(ways) - 1)


# What goes in and comes out of components in the middle, as OpenTelemetry names it.
_WORDS = {Kind.PROCESSOR: ("incoming", "outgoing"), Kind.CONNECTOR: ("consumed", "produced")}


def into(
    kind: Kind,
    consumer: Consumer,
    meter: ComponentMeter,
    signal: Signal,
    ledger: Ledger,
    own: ComponentLedger,
    *,
    ends: bool = False,
) -> Consumer:
    """What hands batches to a processor or connector. `ends`: no records of this signal leave it."""
    name = f"{kind}_{_WORDS[kind][0]}_items"
    counted = Passed(consumer, _Labelled(meter.counter(name, f"Number of items passed to the {kind}."), signal))
    way = Noted(counted, ledger, own.number(signal, Outcome.CONSUMED)) if ends else counted
    return Judged(way, ledger, own)


def out_of(
    kind: Kind,
    consumer: Consumer,
    meter: ComponentMeter,
    signal: Signal,
    ledger: Ledger,
    own: ComponentLedger,
    *,
    begins: bool = False,
) -> Consumer:
    """What a processor or connector hands batches to. `begins`: no records of this signal come into it."""
    name = f"{kind}_{_WORDS[kind][1]}_items"
    counted = Passed(consumer, _Labelled(meter.counter(name, f"Number of items emitted by the {kind}."), signal))
    return Noted(counted, ledger, own.number(signal, Outcome.PRODUCED)) if begins else Merged(counted, ledger)


class _Labelled:
    """A counter that adds to the series of one signal."""

    __slots__ = ("_counter", "_signal")

    def __init__(self, counter: Counter, signal: Signal) -> None:
        self._counter = counter
        self._signal = str(signal)

    def add(self, amount: float, **attributes: str) -> None:
        """See `component.Counter`."""
        self._counter.add(amount, otel_signal=self._signal, **attributes)
