"""The ledger as self-metrics. What OpenTelemetry counts (`otelcol_receiver_accepted_…`) is counted at the edges."""

from collections.abc import Iterator, Mapping

from hawse.component import Kind
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import Account, Outcome
from hawse.pipeline.ledger.report import Report, report, totals

Sample = tuple[str, str, str, Mapping[str, str], float]  # name, type, description, labels, value

_LOST = frozenset({Outcome.REFUSED, Outcome.DROPPED})
_COUNTED = {
    "received": "Items that receivers took, each once.",
    "copied": "Items that a fan-out added: a record that goes two ways is delivered twice.",
    "produced": "Items that connectors made of another signal.",
    "delivered": "Items that exporters' destinations acknowledged.",
    "consumed": "Items that connectors made another signal of.",
    "filtered": "Items that a rule of the configuration kept out, by rule.",
    "refused": "Items that will never be taken, by reason.",
    "dropped": "Items given up, by reason.",
    "repeated": "Items delivered of which it is known that they will be again.",
}


def samples(ledger: Ledger) -> Iterator[Sample]:
    """All series, counters first. Accounts that nothing stands on yet are 0: an alert needs a series to begin with."""
    drawn = report(ledger)
    lost: dict[tuple[str, str, str], int] = {}
    for account, items in totals(ledger):
        yield from _of_account(account, items)
        if account.kind == Kind.PROCESSOR and account.outcome in _LOST:
            key = f"processor_{account.outcome}_{account.signal.items}", account.component, account.signal.items
            lost[key] = lost.get(key, 0) + items
    for (name, component, words), count in lost.items():
        yield name, "counter", f"Number of {words.replace('_', ' ')} lost here.", {"processor": component}, count
    yield from _of_process(drawn)
    names = "Sources that are counted by name."
    yield "hawse_ledger_sources", "gauge", names, {}, len(ledger.books.rows)


def _of_account(account: Account, items: int) -> Iterator[Sample]:
    column = str(account.outcome)
    if column not in _COUNTED:
        return
    labels = {"otel_signal": str(account.signal)}
    if account.component:  # else it was received again after a restart
        labels[account.kind] = account.component
    if account.reason:
        labels["rule" if account.outcome is Outcome.FILTERED else "reason"] = account.reason
    elif not items and account.outcome in _LOST and account.kind == Kind.PROCESSOR:
        return  # that is told under the Collector's name
    yield f"hawse_ledger_{column}_items", "counter", _COUNTED[column], labels, items


def _of_process(drawn: Report) -> Iterator[Sample]:
    for line in drawn.totals:
        labels = {"otel_signal": str(line.signal)}
        waiting = "Items that wait for an answer, or in a queue."
        yield "hawse_ledger_in_flight_items", "gauge", waiting, labels, line.in_flight
        nowhere = "Items that came in and are nowhere: not 0 at a quiet moment is a bug, or a component's loss."
        yield "hawse_ledger_unaccounted_items", "gauge", nowhere, labels, line.unaccounted
