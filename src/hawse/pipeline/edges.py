"""What sits between components and counts who took, handed on and refused how much: per batch, not per record.

The ledger's parts (`ledger.edges`) and those for health (`progress`) are put together with the counters here.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from hawse.batch import Batch, Signal
from hawse.component import Busy, Consumer, Counter, Kind, Refused
from hawse.health import Progress
from hawse.pipeline.fanout import FanOut, deliver
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import Outcome
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.edges import Branch, Delivered, Judged, Merged, Noted, Received
from hawse.pipeline.ledger.passage import Passage
from hawse.pipeline.progress import Beyond, Inside
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

    __slots__ = ("_counts", "_next")

    def __init__(self, consumer: Consumer, *counts: Counter) -> None:
        self._next = consumer
        self._counts = counts

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        await self._next.consume(batch)
        for count in self._counts:
            count.add(batch.items)


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
    # As in the Collector, whatever could not be pushed into the pipeline is refused, to be tried again or not.
    refused = meter.counter(
        f"receiver_refused_{items}", f"Number of {words} that could not be pushed into the pipeline."
    )
    busy = meter.counter(f"hawse_receiver_busy_{items}", f"Number of {words} handed back, to be tried again.")
    edge = Answers(
        Received(consumer, ledger, receipt),
        meter.counter(f"receiver_accepted_{items}", f"Number of {words} taken and made safe by what is behind."),
        refused,
        _Both(refused, busy),
        log,
    )
    meter.gauge(f"hawse_receiver_in_flight_{items}", f"{words.capitalize()} not answered yet.", lambda: edge.in_flight)
    return edge


def to_exporter(
    consumer: Consumer,
    meter: ComponentMeter,
    signal: Signal,
    ledger: Ledger,
    own: ComponentLedger,
    progress: Progress | None = None,
) -> Consumer:
    """What hands batches of a signal to an exporter that has no queue on disk."""
    items = signal.items
    words = items.replace("_", " ")
    edge = Answers(
        Delivered(_inside(consumer, progress), ledger, own, signal),
        *_sent(meter, signal),
        meter.counter(f"hawse_exporter_busy_{items}", f"Number of {words} not taken now, to be tried again."),
    )
    meter.gauge(f"hawse_exporter_in_flight_{items}", f"{words.capitalize()} not answered yet.", lambda: edge.in_flight)
    return edge


def to_queue(
    consumer: Consumer,
    ledger: Ledger,
    own: ComponentLedger,
    meter: ComponentMeter | None = None,
    signal: Signal = Signal.LOGS,
) -> Consumer:
    """What hands batches to an exporter's queue on disk, which counts by itself, and tells `ledger.held.Held`."""
    if meter is not None:
        _sent(meter, signal)  # there from the start: an alert on a rate misses what a new series begins with
    return Judged(consumer, ledger, own)


def _sent(meter: ComponentMeter, signal: Signal) -> tuple[Counter, Counter]:
    items = signal.items
    words = items.replace("_", " ")
    return (
        meter.counter(f"exporter_sent_{items}", f"Number of {words} sent and acknowledged."),
        meter.counter(f"exporter_send_failed_{items}", f"Number of {words} that the destination refused for good."),
    )


def _inside(consumer: Consumer, progress: Progress | None) -> Consumer:
    return consumer if progress is None else Inside(consumer, progress)


def copied(ways: Sequence[Consumer], ledger: Ledger, kind: Kind, id_: str, signal: Signal, log: Log) -> Consumer:
    """One batch to several consumers. A copy is one more record to be accounted for."""
    number = ledger.account(signal, kind, id_, Outcome.COPIED)
    return Noted(FanOut([Branch(way, ledger) for way in ways], log), ledger, number, len(ways) - 1)


class Routed:
    """`component.Routes`: parts of a batch to pipelines by name. A part that goes to several counts as copied."""

    def __init__(self, ways: Mapping[str, tuple[Signal, Consumer]], ledger: Ledger, id_: str, log: Log) -> None:
        """`ways` has the signal and the consumer of each pipeline."""
        self._ways = {name: (signal, Branch(consumer, ledger)) for name, (signal, consumer) in ways.items()}
        self._ledger = ledger
        self._log = log
        self._copied = {
            signal: ledger.account(signal, Kind.CONNECTOR, id_, Outcome.COPIED)
            for signal in dict.fromkeys(signal for signal, _ in ways.values())
        }

    async def deliver(self, parts: Sequence[tuple[Batch, Sequence[str]]]) -> None:
        """See `component.Routes`."""
        ways: list[tuple[Consumer, Batch]] = []
        copies: list[tuple[Batch, int]] = []
        for batch, names in parts:
            mine = [self._ways[name][1] for name in names if self._ways[name][0] is batch.signal]
            ways += [(way, batch) for way in mine]
            if len(mine) > 1:
                copies.append((batch, len(mine) - 1))
        if not ways:
            return
        passage = Passage(self._ledger, ways[0][1].signal)
        try:
            await deliver(ways, self._log)
        except Refused as answer:
            if answer.counted:
                self._note(passage, copies)
            passage.settle()
            raise
        except BaseException:
            passage.discard()
            raise
        self._note(passage, copies)
        passage.settle()

    def _note(self, passage: Passage, copies: list[tuple[Batch, int]]) -> None:
        for batch, times in copies:
            number = self._copied[batch.signal]
            named = self._ledger.sources.named(batch)
            passage.entries += [(number, source, items * times) for source, items in named]


# What goes in and comes out of components in the middle, as OpenTelemetry names it.
_WORDS = {Kind.PROCESSOR: ("incoming", "outgoing"), Kind.CONNECTOR: ("consumed", "produced")}


def into(
    kind: Kind,
    consumer: Consumer,
    meter: ComponentMeter,
    signal: Signal,
    ledger: Ledger,
    own: ComponentLedger,
    progress: Progress | None = None,
    *,
    ends: bool = False,
) -> Consumer:
    """What hands batches to a processor or connector. `ends`: no records of this signal leave it."""
    name = f"{kind}_{_WORDS[kind][0]}_items"
    count = meter.counter(name, f"Number of items passed to the {kind}.").series(otel_signal=str(signal))
    counted = Passed(consumer, count) if progress is None else Inside(consumer, progress, count)
    way = Noted(counted, ledger, own.number(signal, Outcome.CONSUMED)) if ends else counted
    return Judged(way, ledger, own)


def out_of(
    kind: Kind,
    consumer: Consumer,
    meter: ComponentMeter,
    signal: Signal,
    ledger: Ledger,
    own: ComponentLedger,
    progress: Progress | None = None,
    *,
    begins: bool = False,
) -> Consumer:
    """What a processor or connector hands batches to. `begins`: no records of this signal come into it."""
    name = f"{kind}_{_WORDS[kind][1]}_items"
    emitted = meter.counter(name, f"Number of items emitted by the {kind}.")
    counts: list[Counter] = [emitted.series(otel_signal=str(signal))]
    if kind is Kind.PROCESSOR:  # older names of the same, which dashboards and alerts ask for
        words = signal.items.replace("_", " ")
        counts.append(meter.counter(f"processor_accepted_{signal.items}", f"Number of {words} handed on."))
        for outcome in (Outcome.REFUSED, Outcome.DROPPED):
            own.number(signal, outcome)
    counted = Passed(consumer, *counts) if progress is None else Beyond(consumer, progress, *counts)
    return Noted(counted, ledger, own.number(signal, Outcome.PRODUCED)) if begins else Merged(counted, ledger)


class _Both:
    """A counter that adds to two."""

    __slots__ = ("_counters",)

    def __init__(self, *counters: Counter) -> None:
        self._counters = counters

    def add(self, amount: float, **attributes: str) -> None:
        """See `component.Counter`."""
        for counter in self._counters:
            counter.add(amount, **attributes)
