"""What is inside a remote write request of ours: to send it in halves, in the older version, or to keep it.

`shares` are those of `remote_write_encode.Written`.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from hawse.batch import Group, Resource
from hawse.codecs.prometheus_series_points import STALE, Exemplar, Native
from hawse.codecs.prometheus_series_shares import Share, divided
from hawse.codecs.remote_write_encode_series import (
    Meta,
    Series,
    Symbols,
    labels_1,
    series_1,
    series_2,
)
from hawse.codecs.remote_write_schema import TYPES, message
from hawse.wire import LENGTH, WireError, encode_attribute, encode_attributes, field, walk

_STALE = struct.pack("<d", STALE)


class One(msgspec.Struct):
    """A series with its samples. Labels are pairs; `meta` is empty where none is told (1.0)."""

    labels: tuple[tuple[str, str], ...]
    samples: list[tuple[float, int]]
    histograms: list[tuple[Native, int]]
    exemplars: list[Exemplar]
    meta: Meta
    start: int


def contents(body: bytes, version: int) -> list[One]:
    """The series of a request, in order. Raises WireError where it is malformed."""
    try:
        return list(_series_1(body) if version == 1 else _series_2(body))
    except (DecodeError, IndexError) as error:
        raise WireError(f"malformed remote write request: {error}") from None


def _series_1(body: bytes) -> Iterator[One]:
    class_ = message("TimeSeries1")
    for raw in _raws(body, 1):
        made = class_.FromString(raw)
        labels = _pairs([text for label in made.labels for text in (label.name, label.value)])
        exemplars = [
            Exemplar(
                _pairs([text for pair in one.labels for text in (pair.name, pair.value)]), one.value, one.timestamp
            )
            for one in made.exemplars
        ]
        yield _one(made, labels, exemplars, Meta("unknown", b"", b"", b""), 0)


def _series_2(body: bytes) -> Iterator[One]:
    request = message("Request2").FromString(body)
    symbols = list(request.symbols)
    class_ = message("TimeSeries2")
    for raw in request.timeseries:
        made = class_.FromString(raw)
        labels = _pairs([symbols[ref] for ref in made.labels_refs])
        exemplars = [
            Exemplar(_pairs([symbols[ref] for ref in one.labels_refs]), one.value, one.timestamp)
            for one in made.exemplars
        ]
        known = made.metadata
        type_ = TYPES[known.type] if known.type < len(TYPES) else "unknown"
        meta = Meta(type_, b"", symbols[known.help_ref], symbols[known.unit_ref])
        yield _one(made, labels, exemplars, meta, made.created_timestamp)


def _one(made: Any, labels: tuple[tuple[str, str], ...], exemplars: list[Exemplar], meta: Meta, start: int) -> One:
    samples = [(one.value, one.timestamp) for one in made.samples]
    return One(labels, samples, [(_native(one), one.timestamp) for one in made.histograms], exemplars, meta, start)


def _pairs(texts: Sequence[bytes]) -> tuple[tuple[str, str], ...]:
    plain = [text.decode("utf-8", "replace") for text in texts]
    return tuple(zip(plain[::2], plain[1::2], strict=True))


def _native(made: Any) -> Native:
    return Native(
        made.schema,
        made.count_int,
        made.sum,
        made.zero_threshold,
        made.zero_count_int,
        tuple((span.offset, span.length) for span in made.positive_spans),
        tuple(made.positive_deltas),
        tuple((span.offset, span.length) for span in made.negative_spans),
        tuple(made.negative_deltas),
        stale=struct.pack("<d", made.sum) == _STALE,
    )


def _raws(body: bytes, number: int) -> list[bytes]:
    return [body[at:end] for found, kind, _, at, end in walk(body) if found == number and kind == LENGTH]


# --- other requests of the same series --------------------------------------------------------------------------------


def encoded(series: Sequence[One], version: int) -> bytes:
    """A request of these series. 1.0 has neither metadata nor starts."""
    parts: list[bytes] = []
    symbols = Symbols()
    for one in series:
        samples: list[tuple[float | Native, int]] = [*one.samples, *one.histograms]
        for number, (value, time) in enumerate(samples, 1):
            exemplars = one.exemplars if number == len(samples) else ()
            if version == 1:
                parts += series_1(labels_1(one.labels), time, value, exemplars)
            else:
                known = Series(one.labels, one.meta, one.start)
                parts += series_2(symbols, known, time, value, exemplars)
    return (symbols.encoded() if version == 2 else b"") + b"".join(parts)


def halves(body: bytes, version: int, shares: Sequence[Share]) -> list[tuple[bytes, list[Share]]]:
    """Two requests that together are this one; [] for a single series. Raises WireError."""
    total = sum(share.series for share in shares)
    middle = total // 2
    if not middle:
        return []
    if version == 1:
        raws = [field(1, raw) for raw in _raws(body, 1)]
        metadata = b"".join(field(3, raw) for raw in _raws(body, 3))
        bodies = [b"".join(raws[:middle]) + metadata, b"".join(raws[middle:]) + metadata]
    else:
        series = contents(body, version)
        bodies = [encoded(series[:middle], 2), encoded(series[middle:], 2)]
    return list(zip(bodies, divided(shares, middle), strict=True))


def groups(body: bytes, version: int, shares: Sequence[Share]) -> list[Group]:
    """What is inside as OTLP, for those who keep what was refused: a gauge for each series. Raises WireError.

    Each group counts the points that it was, which a histogram has fewer of than series.
    """
    series = contents(body, version)
    ends = [0]
    for share in shares:
        ends.append(ends[-1] + share.series)
    return [
        Group(Resource(share.resource), (field(2, b"".join(map(_gauge, series[at:end]))),), share.points)
        for share, (at, end) in zip(shares, pairwise(ends), strict=True)
    ]


def _gauge(one: One) -> bytes:
    labels = dict(one.labels)
    name = labels.pop("__name__", "")
    attributes = encode_attributes(labels, 7)
    points = [
        field(1, attributes + b"\x19" + struct.pack("<Qc", time * 1_000_000, b"\x21") + struct.pack("<d", value))
        for value, time in [*one.samples, *((histogram.sum, time) for histogram, time in one.histograms)]
    ]
    told = field(12, encode_attribute("prometheus.type", "unknown"))
    return field(2, field(1, name.encode("utf-8", "replace")) + told + field(5, b"".join(points)))
