"""The ledger as self-metrics. What OpenTelemetry counts (`otelcol_receiver_accepted_…`) is counted at the edges."""

from collections.abc import Iterator, Mapping

from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.report import Line, Report, report

Sample = tuple[str, str, str, Mapping[str, str], float]  # name, type, description, labels, value

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
    """All series, counters first."""
    drawn = report(ledger)
    for line in drawn.components:
        yield from _of_component(line)
    yield from _of_process(drawn)
    names = "Sources that are counted by name."
    yield "hawse_ledger_sources", "gauge", names, {}, len(ledger.books.rows)


def _of_component(line: Line) -> Iterator[Sample]:
    labels = {line.kind: line.component, "otel_signal": str(line.signal)}
    if line.kind == "service":  # received again after a restart
        labels = {"otel_signal": str(line.signal)}
    for column, description in _COUNTED.items():
        name = f"hawse_ledger_{column}_items"
        reasons = line.reasons.get(column)
        if reasons:
            word = "rule" if column == "filtered" else "reason"
            for reason, items in reasons.items():
                yield name, "counter", description, {**labels, word: reason}, items
        elif value := getattr(line, column):
            yield name, "counter", description, labels, value


def _of_process(drawn: Report) -> Iterator[Sample]:
    for line in drawn.totals:
        labels = {"otel_signal": str(line.signal)}
        waiting = "Items that wait for an answer, or in a queue."
        yield "hawse_ledger_in_flight_items", "gauge", waiting, labels, line.in_flight
        nowhere = "Items that came in and are nowhere: not 0 at a quiet moment is a bug, or a component's loss."
        yield "hawse_ledger_unaccounted_items", "gauge", nowhere, labels, line.unaccounted
