"""The ledger: where every record went. docs/ledger.md tells users.

    received + copied + produced = delivered + consumed + filtered + refused + dropped + in flight

for the process and for each source, at any moment (where a processor merges batches: at any quiet one). `copied` is
what a fan-out adds: a record that goes to two exporters is received once, and delivered twice. `consumed` and
`produced` are connectors that make one signal of another. In flight is what waits for an answer or in a queue.

The parts: `accounts` has the counts, `sources` the names they go by, `passage` makes what is said of a batch count as
one, `component` is what components and queues call, `store` keeps it over restarts, `report` draws it up.
Not for use from other threads than the event loop's.
"""

import time
from typing import TYPE_CHECKING

from hawse.batch import Signal
from hawse.pipeline.ledger.accounts import OTHER, Account, Books, Outcome
from hawse.pipeline.ledger.sources import Sources

if TYPE_CHECKING:
    from hawse.pipeline.ledger.passage import Passage

_RETIRED_AT_ONCE = 200


class Ledger:
    """The ledger of one process. It outlives reloads."""

    def __init__(self, most_sources: int = 2000) -> None:
        self.since = time.time()
        self.books = Books()
        self.sources = Sources(self._retire, most_sources)
        self.open: set[Passage] = set()
        self._seen: dict[str, int] = {}

    def account(self, signal: Signal, kind: str, component: str, outcome: Outcome, reason: str = "") -> int:
        """The number of an account."""
        # Of plain text: msgspec writes no subclasses of str.
        return self.books.number(Account(signal, str(kind), str(component), outcome, str(reason)))

    def service(self, signal: Signal, outcome: Outcome) -> int:
        """The account for what no component is answerable for."""
        return self.account(signal, "service", "", outcome)

    def pending(self) -> dict[tuple[Signal, str], int]:
        """Items that wait for an answer, by signal and source."""
        found: dict[tuple[Signal, str], int] = {}
        for passage in self.open:
            for source, items in passage.credit or ():
                key = passage.signal, source
                found[key] = found.get(key, 0) + items
        return found

    def _retire(self) -> set[str]:
        """Book sources of which nothing was heard since the last time under "other", so that new ones have room.

        Pods come and go: without this, a process that runs for weeks would know the first 2,000 only.
        """
        busy = {source for _, source in self.pending()}
        held = {
            number for number, one in enumerate(self.books.accounts) if one.outcome in {Outcome.QUEUED, Outcome.AHEAD}
        }
        retired: set[str] = set()
        seen = {source: sum(row.values()) for source, row in self.books.rows.items()}
        for source, total in seen.items():
            idle = self._seen.get(source) == total and source not in busy and source not in {"", OTHER}
            if idle and len(retired) < _RETIRED_AT_ONCE and not any(self.books.on(one, source) for one in held):
                retired.add(source)
        self._seen = {source: total for source, total in seen.items() if source not in retired}
        for source in retired:
            self.books.merge(source, OTHER)
        return retired
