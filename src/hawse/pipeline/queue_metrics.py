"""Self-metrics of a sending queue, with OpenTelemetry's names where it has them."""

from hawse.batch import Batch, Signal
from hawse.component import Meter
from hawse.pipeline.line import Line
from hawse.state.queue import Entry


def measure(meter: Meter, line: Line) -> None:
    """Register what can be read of a line at any time."""
    meter.gauge("exporter_queue_size", "Current size of the sending queue, in the sizer's unit.", lambda: line.used)
    meter.gauge("exporter_queue_capacity", "Its bound, in the sizer's unit.", lambda: line.capacity)
    meter.gauge("hawse_exporter_queue_requests", "Batches in the sending queue.", lambda: line.requests)
    meter.gauge("hawse_exporter_queue_bytes", "Bytes in the sending queue.", lambda: line.bytes)
    meter.gauge("hawse_exporter_queue_oldest_age_seconds", "How long its oldest batch has waited.", line.age)


class Counters:
    """Self-metrics of what became of items."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._dropped = meter.counter(
            "hawse_exporter_queue_dropped_items", "Items dropped from the sending queue, by reason."
        )

    def arrived(self, entry: Entry, refused: int) -> None:
        """An entry was answered for."""
        self._add(entry.signal, "exporter_sent_{}", "Number of {} sent and acknowledged.", entry.items - refused)
        words = "Number of {} that the destination refused for good."
        self._add(entry.signal, "exporter_send_failed_{}", words, refused)

    def dropped(self, entry: Entry, reason: str) -> None:
        """An entry was given up."""
        self._dropped.add(entry.items, reason=reason)

    def failed(self, batch: Batch) -> None:
        """A batch was not taken in."""
        words = "Number of {} handed back, for the queue could not take them."
        self._add(batch.signal, "exporter_enqueue_failed_{}", words, batch.items)

    def _add(self, signal: str, name: str, description: str, items: int) -> None:
        kind = Signal(signal).items
        self._meter.counter(name.format(kind), description.format(kind.replace("_", " "))).add(items)
