"""OTLP's data points into samples (opentelemetry-proto, `metrics/v1/metrics.proto`).

The same series come again and again, and only times and values differ. A point's bytes with these cut out are
recognised, and times and values are read as columns: about a quarter of a microsecond a point. What is not laid out
as senders usually do it, and what is seen for the first time, is decoded the long way.
"""

import time
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hawse.backend.columns import LATEST
from hawse.backend.metrics.histograms import EXPANDERS
from hawse.backend.metrics.registry import Kind, Origin, Registry
from hawse.backend.metrics.samples import STALE, Samples
from hawse.batch import Group
from hawse.codecs.otlp_descriptors import message
from hawse.wire import WireError, decode_attributes, field

_KINDS = {"gauge": "gauge", "sum": "gauge", "histogram": "histogram", "summary": "summary"}
_KINDS["exponential_histogram"] = "histogram"
_CUMULATIVE = 2  # AggregationTemporality
_STALE = 1  # DataPointFlags: no recorded value
# Tags of NumberDataPoint's fields.
_START, _TIME, _DOUBLE, _INT, _ATTRIBUTES, _FLAGS = 0x11, 0x19, 0x21, 0x31, 0x3A, 0x40
_REJECTED = 0  # the number of a series for which there was no room


# Field number, name, type and whether it repeats; a type that begins with a capital is a message.
_ENVELOPES = {
    "Data": ((1, "points", "bytes", True), (2, "temporality", "int32", False), (3, "monotonic", "bool", False)),
    "Metric": (
        (1, "name", "bytes", False),
        (2, "description", "bytes", False),
        (3, "unit", "bytes", False),
        (12, "metadata", "bytes", True),
        (5, "gauge", "Data", False),
        (7, "sum", "Data", False),
        (9, "histogram", "Data", False),
        (10, "exponential_histogram", "Data", False),
        (11, "summary", "Data", False),
    ),
    "Scope": ((2, "metrics", "Metric", True),),
    "Group": ((2, "scopes", "Scope", True),),
}


@cache
def _group_class() -> Any:
    """A ResourceMetrics of which only the envelopes are known: points stay bytes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="hawse.metrics.proto", package="hawse.metrics", syntax="proto3")
    for name, fields in _ENVELOPES.items():
        made = file.message_type.add(name=name)
        for number, own, kind, repeated in fields:
            added = made.field.add(name=own, number=number)
            added.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in _ENVELOPES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".hawse.metrics.{kind}"
            else:
                added.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
            if kind == "Data":  # the metric has one of these
                added.oneof_index = 0
    metric = next(found for found in file.message_type if found.name == "Metric")
    metric.oneof_decl.add(name="data")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("hawse.metrics.Group"))


class _Layout(NamedTuple):
    """How a number point is laid out: `size` bytes of times and value, `first` or after the attributes."""

    first: bool
    size: int


# Start (9 bytes), time (9), flags (2), value (9): the start and the flags may be missing. 0: some other way.
_WITH_FLAGS = frozenset({29, 20})
_SIZES = (29, 27, 20, 18)
_NOWHERE = _Layout(first=True, size=0)


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
        self._blocks = {size: _Blocks() for size in _SIZES}
        self._numbers: list[int] = []  # of points decoded the long way
        self._times: list[int] = []
        self._values: list[float] = []
        self._points = 0
        self._rejected = 0

    def read(self, group: Group) -> None:
        """Take a group's points. Raises WireError where they are malformed."""
        origin = self._registry.origin(group.resource)
        try:
            found = _group_class().FromString(b"".join(group.scopes))
            for scope in found.scopes:
                for metric in scope.metrics:
                    which = metric.WhichOneof("data")
                    if which:
                        self._metric(origin, metric, which)
        except DecodeError as error:
            raise WireError(f"a metric is malformed: {error}") from None

    def samples(self) -> Samples:
        """All that was read."""
        parts = [_columns(blocks, size) for size, blocks in self._blocks.items() if blocks.numbers]
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

    def _metric(self, origin: Origin, metric: Any, which: str) -> None:
        data = getattr(metric, which)
        points = list(data.points)
        if not points:
            return
        self._points += len(points)
        key = (metric.name, which, tuple(metric.metadata), data.temporality, data.monotonic)
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
        first, size = _layout(points[0])
        if not size:
            return False
        if first:
            numbers: list[Any] = [known.get(point[size:]) for point in points]
            blob = b"".join([point[:size] for point in points])
        else:
            numbers = [known.get(point[:-size]) for point in points]
            blob = b"".join([point[-size:] for point in points])
        if None in numbers or not _regular(blob, size, len(points)):
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
        key = _key(raw, point)
        if key is not None and key not in known:
            self._registry.learning()
            known[key] = number
        self._rejected += number == _REJECTED
        self._numbers.append(number)
        self._times.append(point.time_unix_nano)
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        self._values.append(STALE if point.flags & _STALE else float(value))

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
            self._values += [STALE] * len(numbers) if point.flags & _STALE else values

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


def _layout(point: bytes) -> _Layout:
    """As Go's encoder writes it (in the order of field numbers, attributes last), or with the attributes first."""
    if len(point) < 18:
        return _NOWHERE
    if point[0] == _START:
        return _Layout(first=True, size=27)
    if point[0] == _TIME:
        return _Layout(first=True, size=18)
    if point[0] != _ATTRIBUTES:
        return _NOWHERE
    size = 20 if point[-11] == _FLAGS and point[-10] <= _STALE else 18
    if len(point) > size + 9 and point[-size] == _TIME and point[-size - 9] == _START:
        size += 9
    return _Layout(first=False, size=size)


def _key(raw: bytes, point: Any) -> bytes | None:
    """What the point will be recognised by; None where that is not all of it but times and value."""
    first, size = _layout(raw)
    fixed = raw[:size] if first else raw[-size:]
    if not size or point.exemplars or not _regular(fixed, size, 1):
        return None
    at = _time_at(size)
    start = point.start_time_unix_nano == (int.from_bytes(fixed[1:9], "little") if size >= 27 else 0)
    found = start and point.time_unix_nano == int.from_bytes(fixed[at : at + 8], "little")
    return (raw[size:] if first else raw[:-size]) if found else None


def _regular(blob: bytes, size: int, points: int) -> bool:
    """Whether each piece has its tags where the layout says; a stale point, or one with exemplars there, has not."""
    values = blob[size - 9 :: size]
    return (
        len(blob) == size * points
        and values.count(_DOUBLE) + values.count(_INT) == points
        and blob[_time_at(size) - 1 :: size].count(_TIME) == points
        and (size not in _WITH_FLAGS or blob[size - 11 :: size].count(_FLAGS) == points)
        and (size < 27 or blob[::size].count(_START) == points)
    )


def _time_at(size: int) -> int:
    """Where the time is in the fixed part."""
    return size - (19 if size in _WITH_FLAGS else 17)


def _columns(blocks: _Blocks, size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    pieces = np.frombuffer(b"".join(blocks.blobs), np.uint8).reshape(-1, size)
    at = _time_at(size)
    times = np.ascontiguousarray(pieces[:, at : at + 8]).view("<u8").reshape(-1)
    raw = np.ascontiguousarray(pieces[:, size - 8 :])
    values = raw.view("<f8").reshape(-1)
    integers = pieces[:, size - 9] == _INT
    if integers.any():
        values = np.where(integers, raw.view("<i8").reshape(-1).astype(np.float64), values)
    if size in _WITH_FLAGS and (ends := pieces[:, size - 10] & _STALE).any():
        values = np.where(ends, STALE, values)
    return np.array(blocks.numbers, np.uint32), times, values
