"""What tests are given: an item of a scope, or a point, whose fields are read when they are asked for.

The names are those of `hawse.ottl.paths`. All raise WireError on bytes that are malformed. What is asked for again and
again is kept by hand: `cached_property` takes a lock in Python 3.11, which costs more than reading a name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hawse.batch import AttributeValue
from hawse.codecs import otlp_parts
from hawse.codecs.otlp_parts import read
from hawse.ottl.paths import METRIC_TYPES
from hawse.wire import decode_value, field, walk

_TYPES = {5: 1, 7: 2, 9: 3, 10: 4, 11: 5}  # number of the field in a Metric → METRIC_DATA_TYPE
_NUMBERS = {name.lower(): number for number, name in enumerate(METRIC_TYPES)}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class MetricItem:
    """A metric, as the bytes that it is."""

    __slots__ = ("_message", "_name", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._name: str | None = None
        self._message: Any = None

    @property
    def name(self) -> str:
        if self._name is None:
            self._name = _text(otlp_parts.metric_name(self.raw))
        return self._name

    @property
    def type(self) -> int:
        """The last kind of data that is there counts, as for any protobuf `oneof`."""
        found = 0
        for number, *_ in walk(self.raw):
            found = _TYPES.get(number, found)
        return found

    @property
    def message(self) -> Any:
        """The metric as a "Metric" of `otlp_parts`, not to be changed."""
        if self._message is None:
            self._message = read("Metric", self.raw)
        return self._message

    @property
    def description(self) -> str:
        return _text(b"".join(self.message.description[-1:]))

    @property
    def unit(self) -> str:
        return _text(b"".join(self.message.unit[-1:]))

    def points_with(self, key: str) -> Iterator[Mapping[str, AttributeValue]]:
        """The attributes of each data point, none of which has `key` if that does not occur at all."""
        if key and field(1, key.encode()) not in self.raw:
            return
        for kind, data in otlp_parts.data_of(self.message):
            for raw in data.points:
                yield otlp_parts.attributes(read(otlp_parts.POINTS[kind], raw))


class _WithAttributes:
    """Whatever has attributes: a message of `otlp_parts`, read when it is first asked for."""

    __slots__ = ("_attributes", "_part", "_raw", "_read")

    def __init__(self, part: str, raw: bytes) -> None:
        self._part = part
        self._raw = raw
        self._read: Any = None
        self._attributes: Mapping[str, AttributeValue] | None = None

    @property
    def _message(self) -> Any:
        if self._read is None:
            self._read = read(self._part, self._raw)
        return self._read

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        if self._attributes is None:
            self._attributes = otlp_parts.attributes(self._message)
        return self._attributes


class PointItem:
    """A data point of a kind of data, and the metric that it is of. Without `message` it has no attributes."""

    __slots__ = ("_attributes", "_kind", "_message", "_metric")

    def __init__(self, metric: MetricItem, kind: str = "gauge", message: Any = None) -> None:
        """`message` is one of `otlp_parts.POINTS`."""
        self._metric = metric
        self._kind = kind
        self._message = message
        self._attributes: Mapping[str, AttributeValue] | None = None if message is not None else {}

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        if self._attributes is None:
            self._attributes = otlp_parts.attributes(self._message)
        return self._attributes

    @property
    def name(self) -> str:
        return self._metric.name

    @property
    def type(self) -> int:
        return _NUMBERS[self._kind]

    @property
    def unit(self) -> str:
        return self._metric.unit

    @property
    def description(self) -> str:
        return self._metric.description

    @property
    def flags(self) -> int:
        return int(self._message.flags)


class FlagsItem:
    """A point of which nothing is known but its flags."""

    __slots__ = ("flags",)

    def __init__(self, flags: int) -> None:
        self.flags = flags


class LogItem(_WithAttributes):
    """A log record."""

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        super().__init__("LogRecord", raw)

    @property
    def body(self) -> AttributeValue:
        found: AttributeValue = decode_value(self._message.body)
        return found

    @property
    def severity_number(self) -> int:
        return int(self._message.severity_number)

    @property
    def severity_text(self) -> str:
        return _text(self._message.severity_text)


class SpanItem(_WithAttributes):
    """A span."""

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        super().__init__("Span", raw)

    @property
    def name(self) -> str:
        return _text(self._message.name)

    @property
    def kind(self) -> int:
        return int(self._message.kind)

    @property
    def status_code(self) -> int:
        return int(self._message.status.code)
