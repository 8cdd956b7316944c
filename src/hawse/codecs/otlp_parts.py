"""Groups of OTLP taken apart to the depth that a decision needs, and put together again without what was decided on.

The classes here know the fields that such decisions are about, and hold all that is inside them as bytes. protobuf
keeps fields that a class does not know, and writes them again, so what is put together is what was there, less what
was taken out. Known fields come first, in the order of their numbers: repeated ones that OTLP has once are declared
so on purpose, since a message may come in two parts, which protobuf would otherwise make one of by forgetting.

Measured on a point of 150 bytes: to take a group of metrics apart into metrics and put it together 0.05 µs a metric,
into points 0.2 µs a point, into attributes 0.7 µs a point.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from hawse.batch import AttributeValue, Group, Signal
from hawse.codecs.otlp import metric_points
from hawse.codecs.otlp_records import _attributes
from hawse.wire import LENGTH, WireError, field, varint, walk

_BYTES, _NUMBER = "TYPE_BYTES", "TYPE_UINT64"

# Message: field → (number, type or message, repeated). `opentelemetry-proto`, `{logs,metrics,trace}/v1`.
_LAYOUT: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Group": {"scopes": (2, "Scope", True)},
    "Scope": {"scope": (1, _BYTES, True), "items": (2, _BYTES, True)},
    "Metric": {
        "name": (1, _BYTES, True),
        "description": (2, _BYTES, True),
        "unit": (3, _BYTES, True),
        "gauge": (5, "Data", False),
        "sum": (7, "Data", False),
        "histogram": (9, "Data", False),
        "exponential_histogram": (10, "Data", False),
        "summary": (11, "Data", False),
        "metadata": (12, _BYTES, True),
    },
    "Data": {"points": (1, _BYTES, True), "temporality": (2, _NUMBER, False)},
    # By what a point is of, since that decides where its attributes and flags are.
    "NumberPoint": {"attributes": (7, _BYTES, True), "flags": (8, _NUMBER, False)},
    "HistogramPoint": {"attributes": (9, _BYTES, True), "flags": (10, _NUMBER, False)},
    "ExponentialPoint": {"attributes": (1, _BYTES, True), "flags": (10, _NUMBER, False)},
    "LogRecord": {
        "severity_number": (2, _NUMBER, False),
        "severity_text": (3, _BYTES, False),
        "body": (5, _BYTES, False),
        "attributes": (6, _BYTES, True),
    },
    "Span": {
        "name": (5, _BYTES, False),
        "kind": (6, _NUMBER, False),
        "attributes": (9, _BYTES, True),
        "status": (15, "Status", False),
    },
    "Status": {"code": (3, _NUMBER, False)},
}
DATA = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
POINTS = {
    "gauge": "NumberPoint",
    "sum": "NumberPoint",
    "histogram": "HistogramPoint",
    "exponential_histogram": "ExponentialPoint",
    "summary": "NumberPoint",
}


@cache
def part(name: str) -> Any:
    """The class of a message of the layout."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"hawse.parts.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="hawse.parts.proto", package="hawse.parts", syntax="proto3")
    for name, fields in _LAYOUT.items():
        made = file.message_type.add(name=name)
        for field_name, (number, type_, repeated) in fields.items():
            one = made.field.add(name=field_name, number=number)
            one.label = one.LABEL_REPEATED if repeated else one.LABEL_OPTIONAL
            one.type = one.Type.Value(type_) if type_.startswith("TYPE_") else one.TYPE_MESSAGE
            if type_ in _LAYOUT:
                one.type_name = f".hawse.parts.{type_}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def read(name: str, data: bytes) -> Any:
    """A message of the layout. Raises WireError where it is malformed."""
    try:
        return part(name).FromString(data)
    except DecodeError as error:
        raise WireError(f"malformed {name}: {error}") from None


def read_points(kind: str, points: Iterable[bytes]) -> list[Any]:
    """Points of a kind of data. Raises WireError."""
    parse = part(POINTS[kind]).FromString
    try:
        return [parse(raw) for raw in points]
    except DecodeError as error:
        raise WireError(f"malformed data point: {error}") from None


def opened(group: Group) -> Any:
    """The group as a "Group" of the layout. Raises WireError."""
    return read("Group", b"".join(group.scopes))


def closed(group: Group, message: Any, items: int) -> Group | None:
    """The group with what is left in `message`, without scopes that have become empty; None if all have."""
    scopes = [scope for scope in message.scopes if scope.items]
    if not scopes:
        return None
    if len(scopes) == len(message.scopes):
        return Group(group.resource, (message.SerializeToString(),), items)
    del message.scopes[:]
    pieces = [field(2, scope.SerializeToString()) for scope in scopes]
    return Group(group.resource, (*pieces, message.SerializeToString()), items)


def cut(metric: bytes, test: Callable[[Mapping[str, AttributeValue]], bool]) -> tuple[bytes | None, bytes | None]:
    """A metric with the points whose attributes pass the test alone, and with the others; None where there are none.

    Raises WireError.
    """
    split: dict[str, tuple[list[bytes], list[bytes]]] = {}
    for kind, data in data_of(read("Metric", metric)):
        points = data.points[:]
        taken, left = split[kind] = [], []
        for raw, point in zip(points, read_points(kind, points), strict=True):
            (taken if test(attributes(point)) else left).append(raw)
    return apart(metric, split)


def apart(metric: bytes, split: Mapping[str, tuple[list[bytes], list[bytes]]]) -> tuple[bytes | None, bytes | None]:
    """The metric in two, by points of each kind of data. A side without points is None; one without any is the second.

    Raises WireError.
    """
    if not any(taken for taken, _ in split.values()):
        return None, metric
    if not any(left for _, left in split.values()):
        return metric, None
    return _with(metric, split, 0), _with(metric, split, 1)


def _with(metric: bytes, split: Mapping[str, tuple[list[bytes], list[bytes]]], side: int) -> bytes:
    message = read("Metric", metric)
    for kind, sides in split.items():
        points = getattr(message, kind).points
        del points[:]
        points.extend(sides[side])
    made: bytes = message.SerializeToString()
    return made


def count(signal: Signal, items: Iterable[bytes]) -> int:
    """Records, spans or points in the items of scopes: of metrics each has any number. Raises WireError."""
    if signal is not Signal.METRICS:
        return sum(1 for _ in items)
    return metric_points(b"".join([piece for item in items for piece in (b"\x12", varint(len(item)), item)]))


def metric_name(metric: bytes) -> bytes:
    """The name of a metric as it is on the wire. Raises WireError."""
    if metric[:1] == b"\x0a" and len(metric) > 1 and (size := metric[1]) < 128:  # first, and short: nearly all
        return metric[2 : 2 + size]
    name = b""
    for number, kind, _, at, end in walk(metric):
        if number == 1 and kind == LENGTH:
            name = metric[at:end]
    return name


def data_of(metric: Any) -> Iterator[tuple[str, Any]]:
    """The kinds of data that a "Metric" has, which is one unless it is odd, and the "Data" of each."""
    for kind in DATA:  # in a third of the time of ListFields
        if metric.HasField(kind):
            yield kind, getattr(metric, kind)


def attributes(message: Any) -> Mapping[str, AttributeValue]:
    """The attributes of a point, record or span. Raises WireError."""
    return _attributes(message.attributes)
