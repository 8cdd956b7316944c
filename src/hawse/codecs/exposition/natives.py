"""Native histograms of a target as exponential histograms of OTLP: of no fixed width, so made anew by each scrape."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hawse.codecs.exposition.errors import ExpositionError, LimitExceeded
from hawse.codecs.exposition.labels import Key, Labelling, Series
from hawse.codecs.exposition.points import metric_head
from hawse.codecs.exposition.protobuf import Native
from hawse.codecs.remote_write_histograms import point
from hawse.codecs.remote_write_schema import message
from hawse.codecs.remote_write_series import EXPONENTIAL, Invalid
from hawse.wire import LENGTH, field, varint

_MS = 1_000_000  # ns
_LOWEST = -4  # schema, in Prometheus
_ROOM = 1 << 22  # buckets that a scrape may unfold to
_STALE = b"\x50\x01"  # flags: no recorded value


class _Known(NamedTuple):
    """What stays of a series: its metric up to the data, when it began (ns), its last count, whether it is timed."""

    head: bytes
    start: int
    total: float
    timed: bool


class Natives:
    """The native histograms of a target, across scrapes.

    `kept` is how many the last scrape had behind relabelling, `added` how many of these the one before did not have.
    """

    def __init__(self, labelling: Labelling, most: int) -> None:
        """`most` is native_histogram_bucket_limit, 0 for none."""
        self._labelling = labelling
        self._most = most
        self._known: dict[Series, _Known] = {}
        self._marked: dict[Series, _Known] = {}  # said to be gone with all the target: they may well come back
        self.kept = self.added = 0

    def read(self, natives: Iterable[Native], at: int, *, timestamps: bool) -> Iterator[tuple[Key, bytes]]:
        """A metric of one point for each histogram that is kept, and markers for those that are gone.

        Raises ExpositionError, LimitExceeded; `_known` is as it was then.
        """
        fresh: dict[Series, _Known] = {}
        out = []
        room = [_ROOM]
        for native in natives:
            series = self._labelling.series(native.name, native.labels)
            if series is None or series in fresh:
                continue
            timed = timestamps and native.time > 0
            made = self._message(native, at if not timed else native.time * _MS)
            before = self._known.get(series) or self._marked.get(series)
            count = made.count_float or float(made.count_int)
            told = made.start_timestamp * _MS
            start = told or (before.start if before and count >= before.total else made.timestamp * _MS)
            head = metric_head(series.name, {"prometheus.type": "histogram"}, native.help, native.unit)
            fresh[series] = _Known(head, start, count, timed)
            try:
                kind, encoded = point(made, self._labelling.encoded(series.labels, 7), start // _MS, (), room)
            except Invalid as error:
                raise ExpositionError(f"native histogram {native.name!r}: {error}") from None
            out.append((series.key, _metric(head, kind, encoded)))
        gone = [one for one, known in self._known.items() if one not in fresh and not known.timed]
        out += [self._marker(series, at) for series in gone]
        self.kept = len(fresh)
        self.added = sum(one not in self._known and one not in self._marked for one in fresh)
        self._known, self._marked = fresh, {}
        yield from out

    def stale(self, at: int) -> Iterator[tuple[Key, bytes]]:
        """Markers for all, once."""
        known = self._known
        yield from [self._marker(series, at) for series, its in known.items() if not its.timed]
        if known:
            self._known, self._marked = {}, known

    def _marker(self, series: Series, at: int) -> tuple[Key, bytes]:
        attributes = self._labelling.encoded(series.labels, 1)
        inside = attributes + b"\x19" + at.to_bytes(8, "little") + _STALE
        return series.key, _metric(self._known[series].head, EXPONENTIAL, field(1, inside))

    def _message(self, native: Native, at: int) -> Any:
        """The same in the form that remote write gives it."""
        histogram = native.histogram
        schema, positive, negative = self._buckets(native)
        made = message("Histogram")(
            sum=histogram.sum, schema=schema, zero_threshold=histogram.zero_threshold, timestamp=at // _MS
        )
        if histogram.count_float:
            made.count_float, made.zero_count_float = histogram.count_float, histogram.zero_count_float
        else:
            made.count_int, made.zero_count_int = histogram.count, histogram.zero_count
        if histogram.HasField("created"):
            made.start_timestamp = histogram.created.seconds * 1000 + histogram.created.nanos // 1_000_000
        for sign, buckets in (("positive", positive), ("negative", negative)):
            last = None
            for index in sorted(buckets):
                getattr(made, f"{sign}_spans").add(offset=index if last is None else index - last - 1, length=1)
                getattr(made, f"{sign}_counts").append(buckets[index])
                last = index
        return made

    def _buckets(self, native: Native) -> tuple[int, dict[int, float], dict[int, float]]:
        """Schema and counts by index; in a coarser schema where there are more than the limit."""
        histogram = native.histogram
        schema = histogram.schema
        signs = [_by_index(native.name, histogram, sign) for sign in ("positive", "negative")]
        while self._most and sum(map(len, signs)) > self._most:
            if schema <= _LOWEST:
                raise LimitExceeded(
                    f"native_histogram_bucket_limit: {native.name!r} has more than {self._most} buckets in any schema"
                )
            schema -= 1
            signs = [_halved(one) for one in signs]
        return schema, signs[0], signs[1]


def _by_index(name: str, histogram: Any, sign: str) -> dict[int, float]:
    spans = getattr(histogram, f"{sign}_span")
    deltas = getattr(histogram, f"{sign}_delta")
    counts = list(getattr(histogram, f"{sign}_count"))
    if deltas:
        counts, total = [], 0
        for delta in deltas:
            total += delta
            counts.append(float(total))
    if sum(span.length for span in spans) != len(counts):
        raise ExpositionError(f"native histogram {name!r}: its {sign} spans and counts are not as many")
    found: dict[int, float] = {}
    at = place = 0
    for span in spans:
        at += span.offset
        for _ in range(span.length):
            if counts[place]:
                found[at] = counts[place]
            at, place = at + 1, place + 1
    return found


def _halved(buckets: dict[int, float]) -> dict[int, float]:
    """The same in the next coarser schema: bucket i is (base^(i−1), base^i]."""
    found: dict[int, float] = {}
    for index, count in buckets.items():
        half = (index + 1) >> 1
        found[half] = found.get(half, 0.0) + count
    return found


def _metric(head: bytes, kind: int, point_: bytes) -> bytes:
    data = b"\x10\x02" + point_
    inner = head + varint(kind << 3 | LENGTH) + varint(len(data)) + data
    return b"\x12" + varint(len(inner)) + inner
