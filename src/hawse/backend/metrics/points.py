"""OTLP's data points into samples (opentelemetry-proto, `metrics/v1/metrics.proto`).

The same series come again and again, and only times and values differ. A point's bytes with these cut out are
recognised, and times and values are read as columns: some tenths of a microsecond a point, and some microseconds a
metric; a group that is the same as the last one but for its numbers costs less (`templates`). What is not laid out as
senders usually do it, and what is seen for the first time, is decoded the long way.
"""

import time
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hawse.backend.columns import LATEST
from hawse.backend.metrics.envelopes import message_class
from hawse.backend.metrics.histograms import EXPANDERS
from hawse.backend.metrics.layout import INT, SIZES, STALE_FLAG, WITH_FLAGS, key_of, layout_of, regular, time_at
from hawse.backend.metrics.registry import Kind, Origin, Registry
from hawse.backend.metrics.samples import STALE, Samples
from hawse.batch import Group
from hawse.codecs.otlp_descriptors import message
from hawse.wire import WireError, decode_attributes, field

_KINDS = {"gauge": "gauge", "sum": "gauge", "histogram": "histogram", "summary": "summary"}
_KINDS["exponential_histogram"] = "histogram"
_CUMULATIVE = 2  # AggregationTemporality
_REJECTED = 0  # the number of a series for which there was no room


class _Blocks:
    """The fixed parts of points, and the numbers of their series, until they are read as columns."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.blobs: list[bytes] = []


class Decoder:
    """Makes samples of one request's groups."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._now = np.uint64(time.time_ns())
        self._columns: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        self._blocks = {size: _Blocks() for size in SIZES}
        self._numbers: list[int] = []  # of points decoded the long way
        self._times: list[int] = []
        self._values: list[float] = []
        self._points = 0
        self._rejected = 0

    def read(self, group: Group) -> None:
        """Take a group's points. Raises WireError where they are malformed."""
        origin = self._registry.origin(group.resource)
        blob = b"".join(group.scopes)
        try:
            template = origin.templates.find(data := np.frombuffer(blob, np.uint8))
            if template is not None:
                self._columns.append(template.read(data))
                self._points += len(template.numbers)
                for start, end in template.others:
                    self._metric(origin, message_class("Metric").FromString(blob[start:end]))
                return
            for scope in message_class("Group").FromString(blob).scopes:
                for metric in scope.metrics:
                    self._metric(origin, metric)
            learnt = origin.templates.miss(blob, lambda metric, which, raw: _known(origin, metric, which, raw))
            if learnt:
                self._registry.learning(learnt)
        except DecodeError as error:
            raise WireError(f"a metric is malformed: {error}") from None

    def samples(self) -> Samples:
        """All that was read."""
        parts = [*self._columns, *(_columns(blocks, size) for size, blocks in self._blocks.items() if blocks.numbers)]
        slow = (np.array(self._numbers, np.uint32), np.array(self._times, np.uint64), np.array(self._values))
        parts.append(slow)
        series, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        # A time beyond the year 2262 counts as that year, none as now.
        times = np.minimum(np.where(times == 0, self._now, times), LATEST).astype(np.int64)
        if self._rejected:
            kept = series != _REJECTED
            series, times, values = series[kept], times[kept], values[kept]
        return Samples(series, times, values, self._points - self._rejected, self._rejected)

    # --- numbers ------------------------------------------------------------------------------------------------

    def _metric(self, origin: Origin, metric: Any) -> None:
        which = metric.WhichOneof("data")
        points = list(getattr(metric, which).points) if which else []
        if not points:
            return
        self._points += len(points)
        key = _recognised_by(metric, which)
        known = origin.learnt.get(key)
        if known is None:
            self._registry.learning()
            known = origin.learnt[key] = {}
        if which not in {"gauge", "sum"}:
            self._expand(origin, metric, which, points, known)
        elif not self._quickly(points, known):
            for point in points:
                self._slowly(origin, metric, which, point, known)

    def _quickly(self, points: list[bytes], known: dict[Any, int]) -> bool:
        """Take points that are all laid out like the first one, and whose series are known; False if they are not."""
        first, size = layout_of(points[0])
        if not size:
            return False
        if first:
            numbers: list[Any] = [known.get(point[size:]) for point in points]
            blob = b"".join([point[:size] for point in points])
        else:
            numbers = [known.get(point[:-size]) for point in points]
            blob = b"".join([point[-size:] for point in points])
        if None in numbers or not regular(blob, size, len(points)):
            return False
        if _REJECTED in numbers:
            self._rejected += numbers.count(_REJECTED)
        blocks = self._blocks[size]
        blocks.numbers += numbers
        blocks.blobs.append(blob)
        return True

    def _slowly(self, origin: Origin, metric: Any, which: str, raw: bytes, known: dict[Any, int]) -> None:
        point = message("opentelemetry.proto.metrics.v1.NumberDataPoint", text_as_bytes=True).FromString(raw)
        labels = decode_attributes(raw, number=7)
        number = self._registry.number(origin, _text(metric.name), labels, kind_of(metric, which))
        key = key_of(raw, point)
        if key is not None and key not in known:
            self._registry.learning()
            known[key] = number
        self._rejected += number == _REJECTED
        self._numbers.append(number)
        self._times.append(point.time_unix_nano)
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        self._values.append(STALE if point.flags & STALE_FLAG else float(value))

    # --- histograms, summaries ----------------------------------------------------------------------------------

    def _expand(self, origin: Origin, metric: Any, which: str, points: list[bytes], known: dict[Any, Any]) -> None:
        """Take points that are several series each, named as Prometheus names them."""
        expander = EXPANDERS[which]
        name = _text(metric.name)
        for raw in points:
            point = expander.message().FromString(raw)
            parts, values = expander.parts(point)
            key = (tuple(point.attributes and [one.SerializeToString() for one in point.attributes]), parts)
            numbers = known.get(key)
            if numbers is None:
                numbers = known[key] = self._name(origin, name, metric, which, raw, parts)
            if _REJECTED in numbers:
                self._rejected += 1
                numbers = [_REJECTED] * len(numbers)  # a histogram with holes would be a wrong one
            self._numbers += numbers
            self._times += [point.time_unix_nano] * len(numbers)
            self._values += [STALE] * len(numbers) if point.flags & STALE_FLAG else values

    def _name(
        self, origin: Origin, name: str, metric: Any, which: str, raw: bytes, parts: tuple[tuple[str, str], ...]
    ) -> list[int]:
        expander = EXPANDERS[which]
        self._registry.learning(len(parts))
        labels = decode_attributes(raw, number=expander.attributes)
        kind = kind_of(metric, which)
        texts = expander.texts(_metadata(metric), parts)
        numbers = []
        for (suffix, _), text in zip(parts, texts, strict=True):
            own = {**labels, expander.label: text} if text else labels
            numbers.append(self._registry.number(origin, name + suffix, own, kind))
        return numbers


def _recognised_by(metric: Any, which: str) -> tuple[Any, ...]:
    data = getattr(metric, which)
    return metric.name, which, tuple(metric.metadata), data.temporality, data.monotonic


def _known(origin: Origin, metric: Any, which: str, raw: bytes) -> int | None:
    """The number of the series of a point that has been decoded before."""
    first, size = layout_of(raw)
    known = origin.learnt.get(_recognised_by(metric, which), {})
    return known.get(raw[size:] if first else raw[:-size])


def kind_of(metric: Any, which: str) -> Kind:
    """What a metric says of its series."""
    type_ = _metadata(metric).get("prometheus.type") or _KINDS[which]
    if which == "sum" and "prometheus.type" not in _metadata(metric):
        data = metric.sum
        type_ = "counter" if data.monotonic and data.temporality == _CUMULATIVE else "gauge"
    return Kind(str(type_), _text(metric.unit), _text(metric.description))


def _metadata(metric: Any) -> dict[str, Any]:
    return dict(_pair(raw) for raw in metric.metadata)


def _pair(raw: bytes) -> tuple[str, Any]:
    ((key, value),) = decode_attributes(field(1, raw)).items()
    return key, value


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _columns(blocks: _Blocks, size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    pieces = np.frombuffer(b"".join(blocks.blobs), np.uint8).reshape(-1, size)
    at = time_at(size)
    times = np.ascontiguousarray(pieces[:, at : at + 8]).view("<u8").reshape(-1)
    raw = np.ascontiguousarray(pieces[:, size - 8 :])
    values = raw.view("<f8").reshape(-1)
    integers = pieces[:, size - 9] == INT
    if integers.any():
        values = np.where(integers, raw.view("<i8").reshape(-1).astype(np.float64), values)
    if size in WITH_FLAGS and (ends := pieces[:, size - 10] & STALE_FLAG).any():
        values = np.where(ends, STALE, values)
    return np.array(blocks.numbers, np.uint32), times, values
