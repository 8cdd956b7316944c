"""What sits between components and counts who took, handed on and refused how much: per batch, not per record."""

import logging

from hawse.batch import Batch, Signal
from hawse.component import Busy, Consumer, Counter, Kind, Refused
from hawse.pipeline.telemetry import ComponentMeter


class Outcome:
    """Counts the items of batches by how the consumer behind answers. Cancelled calls count for nothing."""

    __slots__ = ("_busy", "_done", "_log", "_next", "_refused", "in_flight")

    def __init__(
        self,
        consumer: Consumer,
        done: Counter,
        refused: Counter,
        busy: Counter,
        log: logging.LoggerAdapter[logging.Logger] | None = None,
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


def from_receiver(
    consumer: Consumer, meter: ComponentMeter, signal: Signal, log: logging.LoggerAdapter[logging.Logger]
) -> Consumer:
    """What a receiver hands batches to. Who refuses is logged here, where the batch would be lost."""
    items = signal.items
    words = items.replace("_", " ")
    edge = Outcome(
        consumer,
        meter.counter(f"receiver_accepted_{items}", f"Number of {words} taken and made safe by what is behind."),
        meter.counter(f"receiver_refused_{items}", f"Number of {words} refused for good by what is behind."),
        meter.counter(f"receiver_busy_{items}", f"Number of {words} handed back, to be tried again."),
        log,
    )
    meter.gauge(f"receiver_in_flight_{items}", f"{words.capitalize()} not answered yet.", lambda: edge.in_flight)
    return edge


def to_exporter(consumer: Consumer, meter: ComponentMeter, signal: Signal) -> Consumer:
    """What hands batches of a signal to an exporter."""
    items = signal.items
    words = items.replace("_", " ")
    edge = Outcome(
        consumer,
        meter.counter(f"exporter_sent_{items}", f"Number of {words} sent and acknowledged."),
        meter.counter(f"exporter_send_failed_{items}", f"Number of {words} that the destination refused for good."),
        meter.counter(f"exporter_busy_{items}", f"Number of {words} not taken now, to be tried again."),
    )
    meter.gauge(f"exporter_in_flight_{items}", f"{words.capitalize()} not answered yet.", lambda: edge.in_flight)
    return edge


# What goes in and comes out of components in the middle, as OpenTelemetry names it.
_WORDS = {Kind.PROCESSOR: ("incoming", "outgoing"), Kind.CONNECTOR: ("consumed", "produced")}


def into(kind: Kind, consumer: Consumer, meter: ComponentMeter, signal: Signal) -> Consumer:
    """What hands batches to a processor or connector."""
    name = f"{kind}_{_WORDS[kind][0]}_items"
    return Passed(consumer, _Labelled(meter.counter(name, f"Number of items passed to the {kind}."), signal))


def out_of(kind: Kind, consumer: Consumer, meter: ComponentMeter, signal: Signal) -> Consumer:
    """What a processor or connector hands batches to."""
    name = f"{kind}_{_WORDS[kind][1]}_items"
    return Passed(consumer, _Labelled(meter.counter(name, f"Number of items emitted by the {kind}."), signal))


class _Labelled:
    """A counter that adds to the series of one signal."""

    __slots__ = ("_counter", "_signal")

    def __init__(self, counter: Counter, signal: Signal) -> None:
        self._counter = counter
        self._signal = str(signal)

    def add(self, amount: float, **attributes: str) -> None:
        """See `component.Counter`."""
        self._counter.add(amount, otel_signal=self._signal, **attributes)
