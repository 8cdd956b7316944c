"""What queues on disk say to the ledger.

    held = Held(ledger, Kind.EXPORTER, "otlphttp")
    sources = held.sources(batch)                      # kept in the row: dict[str, int]
    with held.entering(signal, sources), storage.transaction() as connection:
        ...                                            # insert the row
    ...
    with held.leaving(), storage.transaction() as connection:   # one of these, and the row deleted
        held.delivered(signal, sources)  |  held.refused(signal, sources, why)  |  held.dropped(signal, sources, why)

Call them where no `await` lies between the call and the end of the transaction: what the ledger writes then is right
whenever the process dies. `reconcile`, once at the start, makes good what a machine's death may still do.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from hawse.batch import Batch, Signal
from hawse.component import Kind
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import Outcome
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.passage import current

Sources = Mapping[str, int]


class Held:
    """The queue of one exporter. What is in it is in flight."""

    def __init__(self, ledger: Ledger, kind: Kind, component: str) -> None:
        self._ledger = ledger
        self._own = ComponentLedger(ledger, kind, component, ())

    def sources(self, batch: Batch) -> dict[str, int]:
        """Items by source. A row that has them needs no decoding to be accounted for."""
        found: dict[str, int] = {}
        for source, items in self._ledger.sources.named(batch):
            found[source] = found.get(source, 0) + items
        return found

    @contextmanager
    def entering(self, signal: Signal, sources: Sources) -> Iterator[None]:
        """Around the transaction that puts rows in: they are in flight here, unless it raises.

        Called while the batch's `consume` runs, in its task or one that it waits for.
        """
        books = self._ledger.books
        queued = self._own.number(signal, Outcome.QUEUED)
        ahead = self._ledger.service(signal, Outcome.AHEAD)
        passage = current()
        # The task of a processor that merges has no passage: those whose batches it has merged book the receipt.
        accounts = (queued,) if passage is None else (queued, ahead)
        books.add([(account, source, items) for source, items in sources.items() for account in accounts])
        try:
            yield
        except BaseException:
            books.add([(account, source, -items) for source, items in sources.items() for account in accounts])
            raise
        if passage is not None:
            passage.entries += [(ahead, source, -items) for source, items in sources.items()]

    def leaving(self) -> AbstractContextManager[None]:
        """Around the transaction that deletes rows: what is said in it counts for nothing if it raises."""
        return self._ledger.books.attempt()

    def delivered(self, signal: Signal, sources: Sources) -> None:
        """The destination has it."""
        self._leave(signal, sources, Outcome.DELIVERED)

    def refused(self, signal: Signal, sources: Sources, reason: str) -> None:
        """The destination will never take it. `reason` is short, and there are few (`http_400`)."""
        self._leave(signal, sources, Outcome.REFUSED, reason)

    def dropped(self, signal: Signal, sources: Sources, reason: str) -> None:
        """Given up (`queue_full`, `expired`, `damaged`)."""
        self._leave(signal, sources, Outcome.DROPPED, reason)

    def _leave(self, signal: Signal, sources: Sources, outcome: Outcome, reason: str = "") -> None:
        queued, became = self._own.number(signal, Outcome.QUEUED), self._own.number(signal, outcome, reason)
        self._ledger.books.add(
            [
                entry
                for source, items in sources.items()
                for entry in ((queued, source, -items), (became, source, items))
            ]
        )

    def reconcile(self, signal: Signal, sources: Sources) -> int:
        """At the start, for each signal: the queue holds this. Returns by how many items the ledger was set right.

        What is there and not known was delivered without the note of it being written; it is received, and will be
        delivered, twice. What is known and not there was lost with a damaged file.
        """
        books = self._ledger.books
        queued = self._own.number(signal, Outcome.QUEUED)
        received = self._ledger.service(signal, Outcome.RECEIVED)
        lost = self._own.number(signal, Outcome.DROPPED, "damaged")
        known = {source: row[queued] for source, row in books.rows.items() if row.get(queued)}
        wrong = 0
        for source in {*known, *sources}:
            more = sources.get(source, 0) - known.get(source, 0)
            wrong += abs(more)
            if more > 0:
                books.add([(queued, source, more), (received, source, more)])
            elif more < 0:
                books.add([(queued, source, more), (lost, source, -more)])
        return wrong
