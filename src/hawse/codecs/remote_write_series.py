"""What a series' labels come to in OTLP: whose it is (Target), which metric it belongs to (Metric), its attributes.

`job` and `instance` become the resource's service.name and service.instance.id, the labels named by `resource_labels`
are copied to the resource, and all but `__name__`, `job` and `instance` are the point's attributes
(opentelemetry-specification, compatibility/prometheus_and_openmetrics.md). The name stays as it is.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from hawse.batch import Resource
from hawse.wire import field, varint

Labels: TypeAlias = Sequence[tuple[bytes, bytes]]

Frame: TypeAlias = tuple[bytes, bytes]

GAUGE, SUM, HISTOGRAM, EXPONENTIAL = 5, 7, 9, 10  # where a Metric has its points (metrics.proto)
_NUMBERS = frozenset({"counter", "gauge", "info", "stateset"})  # types that single numbers can have
_CUMULATIVE = b"\x10\x02"  # aggregation_temporality
_MONOTONIC = b"\x18\x01"
_MEMO = 512  # bytes that a label takes which is remembered with its encoding, at most


class Invalid(ValueError):
    """A series that cannot be taken, while others of the request can. `reason` is short, and one of few."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Family(NamedTuple):
    """Metadata: `type` is one of schema.TYPES, the others are UTF-8."""

    type: str = "unknown"
    help: bytes = b""
    unit: bytes = b""


UNKNOWN = Family()


class Usage:
    """Bytes held, approximately, by all that refers to it."""

    def __init__(self) -> None:
        self.bytes = 0


class _Counted:
    """Counts what it holds while it lives."""

    __slots__ = ("__weakref__", "_cost", "_usage")

    def __init__(self, usage: Usage, cost: int) -> None:
        self._usage = usage
        self._cost = cost
        usage.bytes += cost

    def __del__(self) -> None:
        self._usage.bytes -= self._cost


class Target(_Counted):
    """A resource, in the sense of OTLP."""

    __slots__ = ("key", "resource")

    def __init__(self, key: tuple[bytes, ...], resource: Resource, usage: Usage) -> None:
        super().__init__(usage, 1500 + 3 * len(resource.raw))
        self.key = key
        self.resource = resource


class Metric(_Counted):
    """A name with what is known of it, as the fields of a Metric message around its points."""

    __slots__ = ("family", "name")

    def __init__(self, name: bytes, family: Family, usage: Usage) -> None:
        super().__init__(usage, 600 + 2 * len(name) + len(family.help) + len(family.unit))
        self.name = name
        self.family = family

    def frame(self, points: int, *, gauge: bool) -> Frame:
        """Fields before the points with the tag of the points, and what comes behind them.

        `points` is HISTOGRAM or EXPONENTIAL for such (`gauge`: which may go down), and 0 for numbers, whose kind the
        type decides.
        """
        type_ = self.family.type
        if points:
            type_ = "gaugehistogram" if gauge else "histogram"
            behind = _CUMULATIVE
        else:
            type_ = type_ if type_ in _NUMBERS else "unknown"
            points = GAUGE if type_ in {"gauge", "unknown"} else SUM
            behind = {GAUGE: b"", SUM: _CUMULATIVE}[points] + (_MONOTONIC if type_ == "counter" else b"")
        before = field(1, self.name)
        if self.family.help:
            before += field(2, self.family.help)
        if self.family.unit:
            before += field(3, self.family.unit)
        before += field(12, field(1, b"prometheus.type") + field(2, field(1, type_.encode())))
        return before + bytes((points << 3 | 2,)), behind


class Slot(_Counted):
    """Where points go: a metric of a target, numbers (`points` 0) or histograms of a kind."""

    __slots__ = ("_family", "_frame", "_gauge", "_points", "metric", "target")

    def __init__(self, target: Target, metric: Metric, points: int, usage: Usage, *, gauge: bool) -> None:
        super().__init__(usage, 500)
        self.target = target
        self.metric = metric
        self._points = points
        self._gauge = gauge
        self._family: Family | None = None
        self._frame = (b"", b"")

    def frame(self) -> Frame:
        """See Metric.frame; remembered until the metadata change."""
        if self._family is not self.metric.family:
            self._family = self.metric.family
            self._frame = self.metric.frame(self._points, gauge=self._gauge)
        return self._frame


class Series:
    """Labels to slots and attributes. What nobody refers to any more is forgotten by itself."""

    def __init__(self, resource_labels: Mapping[str, str], usage: Usage, memo: int) -> None:
        """`resource_labels`: label → resource attribute; `memo`: bytes for labels that are remembered encoded."""
        self._usage = usage
        self._memo = memo // _MEMO
        self._copied = {label.encode(): attribute for label, attribute in resource_labels.items()}
        self._targets: WeakValueDictionary[tuple[bytes, ...], Target] = WeakValueDictionary()
        self._metrics: WeakValueDictionary[bytes | tuple[bytes, Family], Metric] = WeakValueDictionary()
        self._slots: WeakValueDictionary[tuple[int, int, int], Slot] = WeakValueDictionary()
        self._encoded: dict[tuple[bytes, bytes], bytes] = {}

    def metric(self, name: bytes) -> Metric | None:
        """The metric of that name whose metadata come by themselves (1.0), if there is one."""
        return self._metrics.get(name)

    def slot(self, labels: Labels, family: Family, *, own: bool) -> tuple[Slot, bytes]:
        """Where a series belongs, and its attributes as field 7. Raises Invalid.

        `own`: the metadata came with the series (2.0), so that the same name may have others elsewhere.
        """
        found = dict(labels)
        check(labels, found)
        target = self._target(found)
        name = found[b"__name__"]
        named: bytes | tuple[bytes, Family] = (name, family) if own else name
        metric = self._metrics.get(named)
        if metric is None:
            metric = self._metrics[named] = Metric(name, family, self._usage)
        return self._slot(target, metric), self._attributes(labels)

    def beside(self, slot: Slot, points: int, *, gauge: bool) -> Slot:
        """The slot for histograms of the same metric and target."""
        return self._slot(slot.target, slot.metric, points, gauge=gauge)

    def _slot(self, target: Target, metric: Metric, points: int = 0, *, gauge: bool = False) -> Slot:
        key = (id(target), id(metric), -points if gauge else points)  # both live as long as the slot does
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot(target, metric, points, self._usage, gauge=gauge)
        return slot

    def _target(self, labels: Mapping[bytes, bytes]) -> Target:
        get = labels.get
        key = (get(b"job", b""), get(b"instance", b""), *(get(label, b"") for label in self._copied))
        target = self._targets.get(key)
        if target is None:
            names = ("service.name", "service.instance.id", *self._copied.values())
            resource = Resource.of({name: value.decode() for name, value in zip(names, key, strict=True) if value})
            target = self._targets[key] = Target(key, resource, self._usage)
        return target

    def _attributes(self, labels: Labels) -> bytes:
        encoded = self._encoded
        pieces = []
        for label in labels:
            piece = encoded.get(label)
            if piece is None:
                piece = attribute(*label)
                if 2 * len(piece) + 250 < _MEMO:
                    if len(encoded) >= self._memo:
                        encoded.clear()
                    encoded[label] = piece
            pieces.append(piece)
        return b"".join(pieces)


def attribute(name: bytes, value: bytes) -> bytes:
    """A label as a point's attribute (field 7); nothing for one that is told otherwise, or has no value."""
    if name in {b"__name__", b"job", b"instance"} or not value:
        return b""
    return field(7, field(1, name) + field(2, field(1, value)))


def text(raw: bytes) -> bytes:
    """Metadata that are UTF-8 in any case."""
    return raw if raw.isascii() else raw.decode("utf-8", "replace").encode()


def check(labels: Labels, found: Mapping[bytes, bytes]) -> None:
    """Raise Invalid for labels that make no series."""
    texts_of(labels)
    if not found.get(b"__name__"):
        raise Invalid("no_name", f"{describe(labels)}: there is no __name__")
    if b"" in found:
        raise Invalid("empty_label_name", f"{describe(labels)}: a label has no name")
    if len(found) != len(labels):
        names = [name for name, _ in labels]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid("duplicate_label", f"{describe(labels)}: the label {_text(twice)!r} is there twice")


def texts_of(labels: Labels) -> None:
    """Raise Invalid for labels that are no texts."""
    if b"".join([text for label in labels for text in label]).isascii():
        return
    try:
        for name, value in labels:
            name.decode()
            value.decode()
    except UnicodeDecodeError:
        raise Invalid("not_utf8", f"{describe(labels)}: a label is no UTF-8") from None


def describe(labels: Labels) -> str:
    """A series as Prometheus writes it, shortened where it is long."""
    inside = ", ".join(f'{_text(name)}="{_text(value)}"' for name, value in labels[:8])
    return "{" + inside + (", …}" if len(labels) > 8 else "}")


def _text(raw: bytes) -> str:
    return raw[:100].decode("utf-8", "replace")


def template(attributes: bytes, start: int) -> bytes:
    """A NumberDataPoint as field 1 of a Gauge or Sum, whose last 17 bytes are for time and value, a tag in between.

    `start` is the start time in Unix ns, 0 for none.
    """
    begun = b"\x11" + start.to_bytes(8, "little") if start else b""
    size = len(attributes) + len(begun) + 18
    return b"".join((b"\x0a", varint(size), attributes, begun, b"\x19", bytes(8), b"\x21", bytes(8)))
