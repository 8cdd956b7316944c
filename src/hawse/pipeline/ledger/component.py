"""What components say to the ledger."""

from collections.abc import Iterable

from hawse.batch import Group, Signal
from hawse.component import Kind
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import OTHER, Outcome
from hawse.pipeline.ledger.passage import Entry, current

_REASONS = 64  # of one component; those after that count as "other"


class ComponentLedger:
    """`component.Ledger` of one component. `signals` are those that it handles."""

    def __init__(self, ledger: Ledger, kind: Kind, component: str, signals: Iterable[Signal]) -> None:
        self._ledger = ledger
        self._kind = kind
        self._component = component
        handled = sorted(signals)
        self._only = handled[0] if len(handled) == 1 else None
        self._numbers: dict[tuple[Signal, Outcome, str], int] = {}

    def filtered(self, group: Group, rule: str) -> None:
        """See `component.Ledger`."""
        self._say(group, Outcome.FILTERED, rule)

    def refused(self, group: Group, reason: str) -> None:
        """See `component.Ledger`."""
        self._say(group, Outcome.REFUSED, reason)

    def dropped(self, group: Group, reason: str) -> None:
        """See `component.Ledger`."""
        self._say(group, Outcome.DROPPED, reason)

    def number(self, signal: Signal, outcome: Outcome, reason: str = "") -> int:
        """The number of this component's account."""
        found = self._numbers.get((signal, outcome, reason))
        if found is None:
            if reason and len(self._numbers) >= _REASONS:
                reason = OTHER
            found = self._ledger.account(signal, self._kind, self._component, outcome, reason)
            self._numbers[signal, outcome, reason] = found
        return found

    def _say(self, group: Group, outcome: Outcome, reason: str) -> None:
        passage = current() if self._kind is not Kind.RECEIVER else None
        signal = self._only or (passage.signal if passage else Signal.LOGS)
        entry = (self.number(signal, outcome, reason), self._ledger.sources.of(group.resource), group.items)
        if passage is not None:
            passage.entries.append(entry)
            return
        _, source, items = entry
        also: list[Entry] = []
        if self._kind is Kind.RECEIVER:  # it keeps back what it would have handed in
            also = [(self.number(signal, Outcome.RECEIVED), source, items)]
        elif self._kind is Kind.EXPORTER:  # from a task of its own: the caller's batch counts as delivered
            also = [(self.number(signal, Outcome.DELIVERED), source, -items)]
        self._ledger.books.add([entry, *also])
