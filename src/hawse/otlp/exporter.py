"""Requests of OTLP between an exporter and its queue: taken apart and restored, and what backends reject of them."""

import time

from hawse.batch import Signal
from hawse.codecs.otlp_halves import halves
from hawse.component import Context, Request, RequestExporter
from hawse.net.compression import Malformed, TooLarge, decompress
from hawse.wire import WireError

_COMPLAIN_EVERY = 30.0  # seconds
_LARGEST = 1 << 30  # bytes of a request of ours, decompressed


class OtlpExporter(RequestExporter):
    """An exporter whose requests are batches, encoded and compressed once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rejected = context.meter.counter(
            "hawse_exporter_rejected_items", "Items that the backend rejected from batches that it took otherwise."
        )
        self._complained = float("-inf")

    def split(self, request: Request, *, by_group: bool) -> list[Request]:
        """See RequestExporter."""
        return [one for half in halves(self.restore(request), by_group=by_group) for one in self.prepare(half)]

    def note_rejected(self, signal: Signal, rejected: int, message: str, who: str) -> None:
        """Count the items of a partial success, and tell now and then; `message` alone is a warning."""
        if rejected:
            self._rejected.add(rejected, signal=str(signal))
        now = time.monotonic()
        if (rejected or message) and now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            items = signal.items.replace("_", " ")
            self._context.log.warning("%s took a batch but rejected %d %s: %s", who, rejected, items, message)


def unpacked(request: Request, encoding: str) -> bytes:
    """A request's body, decompressed. Raises WireError where it is not what was sent."""
    try:
        return decompress(request.body, encoding, _LARGEST)
    except (Malformed, TooLarge, KeyError) as error:
        raise WireError(f"not what was sent: {error}") from None
