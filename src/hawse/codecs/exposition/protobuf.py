"""The protobuf exposition (prometheus/client_model, `io/prometheus/client/metrics.proto`), delimited by lengths.

Counters, gauges, summaries and histograms with buckets are written as the OpenMetrics lines that they are, and go the
way of those; only native histograms have a form of their own. Bounds get the text that Prometheus gives them: 5.0.
"""

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from hawse.codecs.descriptors import classes
from hawse.codecs.exposition.errors import ExpositionError
from hawse.codecs.exposition.text import LONGEST_EXEMPLAR
from hawse.codecs.prometheus_series_names import number as number_text
from hawse.wire import Buffer, WireError, read_varint

_TABLE = """\
LabelPair: 1 string name, 2 string value
Timestamp: 1 int64 seconds, 2 int32 nanos
Exemplar: 1 LabelPair label*, 2 double value, 3 Timestamp timestamp
Gauge: 1 double value
Counter: 1 double value, 2 Exemplar exemplar, 3 Timestamp created
Quantile: 1 double quantile, 2 double value
Summary: 1 uint64 count, 2 double sum, 3 Quantile quantile*, 4 Timestamp created
Bucket: 1 uint64 count, 4 double count_float, 2 double bound, 3 Exemplar exemplar
Span: 1 sint32 offset, 2 uint32 length
Histogram: 1 uint64 count, 4 double count_float, 2 double sum, 3 Bucket bucket*, 15 Timestamp created,
    5 sint32 schema|native, 6 double zero_threshold, 7 uint64 zero_count, 8 double zero_count_float,
    9 Span negative_span*, 10 sint64 negative_delta*, 11 double negative_count*,
    12 Span positive_span*, 13 sint64 positive_delta*, 14 double positive_count*, 16 Exemplar exemplars*
Metric: 1 LabelPair label*, 2 Gauge gauge, 3 Counter counter, 4 Summary summary, 5 Gauge untyped,
    7 Histogram histogram, 6 int64 timestamp
Family: 1 string name, 2 string help, 3 int32 type, 4 Metric metric*, 5 string unit
"""
_TYPES = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")
_FIELDS = ("counter", "gauge", "summary", "untyped", "histogram", "histogram")
_AT_ONCE = 200  # metrics between which others may run


class Native(NamedTuple):
    """A native histogram: its family, its labels as exposed, the Histogram message, its time (ms) or 0."""

    name: str
    help: str
    unit: str
    labels: list[tuple[str, str]]
    histogram: Any
    time: int


@cache
def _messages() -> dict[str, Any]:
    return classes("hawse.exposition", _TABLE)


async def read(body: Buffer, *, classic: bool) -> tuple[list[bytes], list[Native]]:
    """OpenMetrics lines (with # EOF) and native histograms of a body.

    `classic` gives the buckets of a histogram that has both as well. Raises ExpositionError.
    """
    lines: list[bytes] = []
    natives: list[Native] = []
    at = number = 0
    while at < len(body):
        number += 1
        family, at = _family(body, at, number)
        if not 0 <= family.type < len(_TYPES):
            raise ExpositionError(f"family {number} ({family.name[:60]!r}): there is no type {family.type}")
        lines += _head(family)
        for place, metric in enumerate(family.metric):
            native = _native(family, metric)
            if native is not None:
                natives.append(native)
            if native is None or classic:
                try:
                    lines += [line.encode() for line in _lines(family, metric)]
                except ValueError as error:
                    raise ExpositionError(f"family {number} ({family.name[:60]!r}): {error}") from None
            if place % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return [*lines, b"# EOF", b""], natives


def _family(body: Buffer, at: int, number: int) -> tuple[Any, int]:
    try:
        size, start = read_varint(body, at, len(body))
        if start + size > len(body):
            raise ExpositionError(f"family {number} at byte {at} ends behind the body: it was cut off")
        return _messages()["Family"].FromString(bytes(body[start : start + size])), start + size
    except (WireError, DecodeError) as error:
        raise ExpositionError(f"family {number} at byte {at} is malformed: {error}") from None


def _head(family: Any) -> Iterator[bytes]:
    name = _name(family.name)
    if family.help:
        yield f"# HELP {name} {_escaped(family.help)}".encode()
    yield f"# TYPE {name} {_TYPES[family.type]}".encode()
    if family.unit:
        yield f"# UNIT {name} {_escaped(family.unit)}".encode()


def _name(name: str) -> str:
    return name if name.replace(":", "_").isidentifier() and name.isascii() else f'"{_escaped(name)}"'


def _label(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else f'"{_escaped(name)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _native(family: Any, metric: Any) -> Native | None:
    histogram = metric.histogram
    if _FIELDS[family.type] != "histogram" or not _is_native(histogram):
        return None
    labels = [(label.name, label.value) for label in metric.label]
    return Native(family.name, family.help, family.unit, labels, histogram, metric.timestamp)


def _is_native(histogram: Any) -> bool:
    """As Prometheus tells (model/textparse/protobufparse.go): by spans, or a zero bucket; empty ones have a span."""
    return bool(
        histogram.positive_span
        or histogram.negative_span
        or histogram.zero_threshold
        or histogram.zero_count
        or histogram.zero_count_float
    )


def _lines(family: Any, metric: Any) -> Iterator[str]:
    name, labels = family.name, [(label.name, label.value) for label in metric.label]
    time = f" {metric.timestamp / 1000:.3f}" if metric.timestamp else ""
    data = getattr(metric, _FIELDS[family.type])
    if family.type in {1, 3}:
        yield f"{_series(name, labels)} {number_text(data.value)}{time}"
    elif family.type == 0:
        exemplar = _exemplar(data.exemplar) if data.HasField("exemplar") else ""
        yield f"{_series(name, labels)} {number_text(data.value)}{time}{exemplar}"
    elif family.type == 2:
        for one in data.quantile:
            yield f"{_series(name, [*labels, ('quantile', _bound(one.quantile))])} {number_text(one.value)}{time}"
        yield f"{_series(name + '_sum', labels)} {number_text(data.sum)}{time}"
        yield f"{_series(name + '_count', labels)} {data.count}{time}"
    else:
        yield from _buckets(name, labels, data, time, gauge=family.type == 5)
    if family.type in {0, 2, 4} and data.HasField("created"):
        yield f"{_series(name + '_created', labels)} {data.created.seconds}.{data.created.nanos:09}{time}"


def _buckets(name: str, labels: list[tuple[str, str]], data: Any, time: str, *, gauge: bool) -> Iterator[str]:
    count = number_text(data.count_float) if data.count_float else str(data.count)
    last = None
    for bucket in data.bucket:
        last = bucket.bound
        value = number_text(bucket.count_float) if bucket.count_float else str(bucket.count)
        exemplar = _exemplar(bucket.exemplar) if bucket.HasField("exemplar") else ""
        yield f"{_series(name + '_bucket', [*labels, ('le', _bound(bucket.bound))])} {value}{time}{exemplar}"
    if last != float("inf"):
        yield f"{_series(name + '_bucket', [*labels, ('le', '+Inf')])} {count}{time}"
    yield f"{_series(name + ('_gsum' if gauge else '_sum'), labels)} {number_text(data.sum)}{time}"
    yield f"{_series(name + ('_gcount' if gauge else '_count'), labels)} {count}{time}"


def _series(name: str, labels: list[tuple[str, str]]) -> str:
    quoted = _name(name)
    inner = [f'{_label(label)}="{_escaped(value)}"' for label, value in labels]
    if quoted != name:
        return "{" + ",".join((quoted, *inner)) + "}"
    return f"{name}{{{','.join(inner)}}}" if inner else name


def _bound(value: float) -> str:
    """As OpenMetrics writes it, and Prometheus for this format: with a point or an exponent."""
    text = number_text(value)
    return text if any(sign in text for sign in ".eIN") else text + ".0"


def _exemplar(exemplar: Any) -> str:
    if sum(len(label.name) + len(label.value) for label in exemplar.label) > LONGEST_EXEMPLAR:
        return ""
    labels = ",".join(f'{_label(label.name)}="{_escaped(label.value)}"' for label in exemplar.label)
    time = ""
    if exemplar.HasField("timestamp"):
        time = f" {exemplar.timestamp.seconds}.{exemplar.timestamp.nanos // 1_000_000:03}"
    return f" # {{{labels}}} {number_text(exemplar.value)}{time}"
