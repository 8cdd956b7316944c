"""The samples that a data point of OTLP becomes (OpenTelemetry's compatibility specification, "OTLP Metric points to
Prometheus"). What they are called and labelled is not decided here.
"""

import math
import struct
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import DecodeError

from hawse.codecs.otlp_records import _attributes, as_text
from hawse.codecs.prometheus_series_messages import messages
from hawse.codecs.prometheus_series_names import label_name, number
from hawse.wire import WireError

STALE: float = struct.unpack("<d", b"\x02\x00\x00\x00\x00\x00\xf0\x7f")[0]
_NO_RECORDED_VALUE = 1
_ZERO_THRESHOLD = 1e-128
_EXEMPLAR_RUNES = 128  # OpenMetrics, "Exemplars": what an exemplar's labels may have together
_MOST_BOUNDS = 1 << 12  # each is a series
_MOST_BUCKETS = 1 << 16  # of an exponential histogram, empty ones included: SDKs have 160

# How a sample differs from its point: what comes behind the family's name, and a label with its text ("" for none).
Variant: TypeAlias = tuple[str, str, str]
PLAIN: Variant = ("", "", "")
_SUM, _COUNT, _CREATED = ("_sum", "", ""), ("_count", "", ""), ("_created", "", "")


class Exemplar(msgspec.Struct, frozen=True):
    """`time` is in milliseconds; labels are sorted."""

    labels: tuple[tuple[str, str], ...]
    value: float
    time: int


class Native(msgspec.Struct, frozen=True):
    """A native histogram of integers. Spans are (gap to the span before, buckets); deltas go from bucket to bucket."""

    schema: int
    count: int
    sum: float
    zero_threshold: float
    zero_count: int
    positive_spans: tuple[tuple[int, int], ...]
    positive_deltas: tuple[int, ...]
    negative_spans: tuple[tuple[int, int], ...]
    negative_deltas: tuple[int, ...]
    stale: bool = False


Value: TypeAlias = float | Native
Row: TypeAlias = tuple[Variant, Value, Sequence[Exemplar]]


class Point(msgspec.Struct, gc=False):
    """`attributes` are encoded KeyValues; times are Unix nanoseconds, `start` is 0 for unknown."""

    attributes: tuple[bytes, ...]
    time: int
    start: int
    rows: list[Row]


class Texts(msgspec.Struct, frozen=True):
    """How a metric's bounds and quantiles are written, where that is told: `prometheus.le`, `prometheus.quantile`."""

    le: tuple[str, ...] = ()
    quantile: tuple[str, ...] = ()


class Unfit(Exception):
    """A point that cannot be a series. `reason` is short, and there are few."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read(kind: str, raw: bytes, texts: Texts) -> Point:
    """Decode a point of a metric whose data is of that kind (`Metric`'s oneof). Raises WireError, Unfit."""
    reader, name = _READERS[kind]
    try:
        point = getattr(messages(), name).FromString(raw)
    except DecodeError as error:
        raise WireError(f"malformed data point: {error}") from None
    rows = reader(point, texts)
    return Point(tuple(point.attributes), point.time, point.start, rows)


def created(point: Point) -> Row:
    """When it began to count, in seconds."""
    return _CREATED, point.start / 1e9, ()


def _gauge(point: Any, texts: Texts) -> list[Row]:
    return [(variant, value, ()) for variant, value, _ in _number(point, texts)]


def _number(point: Any, _: Texts) -> list[Row]:
    if point.flags & _NO_RECORDED_VALUE:
        return [(PLAIN, STALE, ())]
    which = point.WhichOneof("value")
    if which is None:
        raise Unfit("no_value")
    return [(PLAIN, float(getattr(point, which)), _exemplars(point))]


def _histogram(point: Any, texts: Texts) -> list[Row]:
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    stale = bool(point.flags & _NO_RECORDED_VALUE)
    if counts and len(counts) != len(bounds) + 1 and not stale:
        raise Unfit("buckets_without_bounds")
    if len(bounds) > _MOST_BOUNDS:
        raise Unfit("too_many_buckets")
    if any(math.isnan(bound) for bound in bounds):
        raise Unfit("bound_is_nan")
    if bounds and math.isinf(bounds[-1]) and bounds[-1] > 0:
        bounds.pop()  # what a bucket above infinity would hold is nothing, and +Inf is written anyway
    if not counts and not stale:
        bounds = []  # only sum and count are known
    values = [STALE] * len(bounds) if stale else [float(total) for total in accumulate(counts[: len(bounds)])]
    count = STALE if stale else float(point.count)
    names = texts.le if len(texts.le) == len(bounds) + 1 else (*map(number, bounds), "+Inf")
    above = _by_bucket([*bounds, math.inf], _exemplars(point))
    rows: list[Row] = [
        (("_bucket", "le", text), value, exemplars)
        for text, value, exemplars in zip(names, [*values, count], above, strict=True)
    ]
    if point.HasField("sum") or stale:
        rows.append((_SUM, STALE if stale else point.sum, ()))
    rows.append((_COUNT, count, ()))
    return rows


def _by_bucket(bounds: list[float], exemplars: Sequence[Exemplar]) -> list[Sequence[Exemplar]]:
    """The exemplars that belong to the bucket below each bound, and to none below that."""
    if not exemplars:
        return [()] * len(bounds)
    found: list[list[Exemplar]] = [[] for _ in bounds]
    for exemplar in exemplars:
        for at, bound in enumerate(bounds):
            if exemplar.value <= bound:
                found[at].append(exemplar)
                break
    return list(found)


def _summary(point: Any, texts: Texts) -> list[Row]:
    stale = bool(point.flags & _NO_RECORDED_VALUE)
    values = list(point.quantile_values)
    if len(values) > _MOST_BOUNDS:
        raise Unfit("too_many_quantiles")
    names = texts.quantile if len(texts.quantile) == len(values) else [number(one.quantile) for one in values]
    rows: list[Row] = [
        (("", "quantile", text), STALE if stale else one.value, ()) for text, one in zip(names, values, strict=True)
    ]
    rows.append((_SUM, STALE if stale else point.sum, ()))
    rows.append((_COUNT, STALE if stale else float(point.count), ()))
    return rows


def _exponential(point: Any, _: Texts) -> list[Row]:
    stale = bool(point.flags & _NO_RECORDED_VALUE)
    if point.scale < -4:
        raise Unfit("scale_below_-4")
    down = max(0, point.scale - 8)
    positive, negative = _spans(point.positive, down), _spans(point.negative, down)
    native = Native(
        min(point.scale, 8),
        point.count,
        STALE if stale else point.sum,
        point.zero_threshold or _ZERO_THRESHOLD,
        point.zero_count,
        *positive,
        *negative,
        stale=stale,
    )
    return [(PLAIN, native, _exemplars(point))]


Spans: TypeAlias = tuple[tuple[tuple[int, int], ...], tuple[int, ...]]


def _spans(buckets: Any, down: int) -> Spans:
    """Dense buckets to spans and deltas. `down` is how many scales lower: 2^down buckets become one.

    OTLP counts buckets by their lower bound, Prometheus by their upper one: their indices differ by one.
    """
    counts, offset = buckets.bucket_counts, buckets.offset
    if len(counts) > _MOST_BUCKETS:
        raise Unfit("too_many_buckets")
    merged: dict[int, int] = {}
    for at, count in enumerate(counts, offset):
        if count:
            index = (at >> down) + 1
            merged[index] = merged.get(index, 0) + count
    spans: list[tuple[int, int]] = []
    deltas: list[int] = []
    behind = before = 0
    for index, count in merged.items():
        gap = index - behind
        if spans and gap <= 2:  # an empty bucket or two cost less than another span
            spans[-1] = (spans[-1][0], spans[-1][1] + gap + 1)
            for _ in range(gap):
                deltas.append(-before)
                before = 0
        else:
            spans.append((gap, 1))
        deltas.append(count - before)
        before, behind = count, index + 1
    return tuple(spans), tuple(deltas)


def _exemplars(point: Any) -> Sequence[Exemplar]:
    return [_exemplar(one, point.time) for one in point.exemplars] if point.exemplars else ()


def _exemplar(one: Any, time: int) -> Exemplar:
    labels = [
        (name, raw.hex()) for name, raw in (("trace_id", one.trace_id), ("span_id", one.span_id)) if raw.strip(b"\0")
    ]
    others = [(label_name(key), as_text(value)) for key, value in attributes(one.attributes).items()]
    if sum(len(name) + len(text) for name, text in (*labels, *others)) <= _EXEMPLAR_RUNES:
        labels = list(dict([*others, *labels]).items())
    which = one.WhichOneof("value")
    value = float(getattr(one, which)) if which else 0.0
    return Exemplar(tuple(sorted(labels)), value, (one.time or time) // 1_000_000)


def attributes(raws: Sequence[bytes]) -> dict[str, Any]:
    """Decode KeyValues. Raises WireError."""
    return _attributes(raws)


_READERS: dict[str, tuple[Callable[[Any, Texts], list[Row]], str]] = {
    "gauge": (_gauge, "Number"),
    "sum": (_number, "Number"),
    "histogram": (_histogram, "Histogram"),
    "exponential": (_exponential, "Exponential"),
    "summary": (_summary, "Summary"),
}
