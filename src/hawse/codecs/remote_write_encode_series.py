"""Series as Prometheus' remote write has them: `prometheus.WriteRequest` (1.0) and `io.prometheus.write.v2.Request`.

Sources: prometheus/prometheus, `prompb/types.proto`, `prompb/io/prometheus/write/v2/types.proto` (2.0-rc.4), and the
specifications of both versions. A series is written in three pieces: all that comes before the sample's value, the
value's eight bytes, its time. So what is before can be kept from scrape to scrape.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from hawse.codecs.prometheus_series_points import STALE, Exemplar, Native
from hawse.codecs.remote_write_schema import TYPES
from hawse.wire import field, varint

Labels: TypeAlias = tuple[tuple[str, str], ...]
Triple: TypeAlias = tuple[bytes, bytes, bytes]
pack_double = struct.Struct("<d").pack
USUAL_TAIL = 7  # bytes of a time between 1971 and 2109, with its tag
_STALE_COUNT = 0x7FF0000000000002  # the bits of the stale NaN, as Prometheus' own OTLP endpoint has them


class Meta(NamedTuple):
    """What is known of a family. `family` is its name, which only 1.0 sends."""

    type: str
    family: bytes
    help: bytes
    unit: bytes

    @property
    def number(self) -> int:
        """MetricType, the same in both versions."""
        return TYPES.index(self.type) if self.type in TYPES else 0


@lru_cache(1 << 14)
def _label(name: str, text: str) -> bytes:
    return field(1, field(1, name.encode("utf-8", "replace")) + field(2, text.encode("utf-8", "replace")))


def tail(milliseconds: int) -> bytes:
    """A sample's time, with its tag."""
    return b"\x10" + varint(milliseconds)


# --- 1.0 ------------------------------------------------------------------------------------------------------------


def labels_1(labels: Labels) -> bytes:
    """The labels as fields of a TimeSeries."""
    return b"".join([_label(name, text) for name, text in labels])


def head_1(labels: bytes, size: int = USUAL_TAIL) -> bytes:
    """What comes before the value, `size` bytes being behind it."""
    return b"".join((b"\x0a", varint(len(labels) + 11 + size), labels, b"\x12", varint(9 + size), b"\x09"))


def series_1(labels: bytes, milliseconds: int, value: float | Native, exemplars: Sequence[Exemplar]) -> Triple:
    """Any series of 1.0."""
    end = tail(milliseconds)
    if not exemplars and not isinstance(value, Native):
        return head_1(labels, len(end)), pack_double(value), end
    if isinstance(value, Native):
        inner = field(4, native(value, milliseconds))
    else:
        inner = field(2, b"\x09" + pack_double(value) + end)
    shown = b"".join(
        field(3, labels_1(one.labels) + b"\x11" + pack_double(one.value) + b"\x18" + varint(one.time))
        for one in exemplars
    )
    return field(1, labels + inner + shown), b"", b""


def metadata_1(meta: Meta) -> bytes:
    """A MetricMetadata, as field 3 of a WriteRequest."""
    inner = b"\x08" + varint(meta.number) + field(2, meta.family)
    return field(3, inner + (field(4, meta.help) if meta.help else b"") + (field(5, meta.unit) if meta.unit else b""))


# --- 2.0 ------------------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """What is known of a series of 2.0 before its sample comes. `start` is in milliseconds, 0 for unknown."""

    labels: Labels
    meta: Meta
    start: int


class Symbols(dict[tuple[str, str], bytes]):
    """The table of one request: labels to their encoded references. Its first text is the empty one."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[bytes, bytes] = {b"": b"\0"}
        self.metas: dict[Meta, bytes] = {}

    def __missing__(self, label: tuple[str, str]) -> bytes:
        name, text = label
        made = self[label] = self.text(name.encode("utf-8", "replace")) + self.text(text.encode("utf-8", "replace"))
        return made

    def text(self, text: bytes) -> bytes:
        """The encoded reference to a text."""
        found = self._texts.get(text)
        if found is None:
            found = self._texts[text] = varint(len(self._texts))
        return found

    def meta(self, meta: Meta) -> bytes:
        """A family's metadata as field of a TimeSeries."""
        known = b"\x08" + varint(meta.number)
        if meta.help:
            known += b"\x18" + self.text(meta.help)
        if meta.unit:
            known += b"\x20" + self.text(meta.unit)
        made = self.metas[meta] = b"\x2a" + varint(len(known)) + known
        return made

    def encoded(self) -> bytes:
        """The table as fields of a Request."""
        return b"".join([b"\x22" + varint(len(text)) + text for text in self._texts])


def head_2(symbols: Symbols, series: Series, size: int = USUAL_TAIL) -> bytes:
    """What comes before the value, `size` bytes being behind it."""
    front = _front(symbols, series)
    start = b"\x18" + varint(series.start) if series.start else b""
    inner = len(start) + 9 + size  # below 128
    return b"".join((b"\x2a", varint(len(front) + 2 + inner), front, b"\x12", varint(inner), start, b"\x09"))


def _front(symbols: Symbols, series: Series) -> bytes:
    """Labels, metadata, and the start as releases before 2.0-rc.4 read it."""
    refs = b"".join([symbols[label] for label in series.labels])
    known = symbols.metas.get(series.meta) or symbols.meta(series.meta)
    front = b"".join((b"\x0a", varint(len(refs)), refs, known))
    return front + b"\x30" + varint(series.start) if series.start else front


def series_2(
    symbols: Symbols, series: Series, milliseconds: int, value: float | Native, exemplars: Sequence[Exemplar]
) -> Triple:
    """Any series of 2.0."""
    end = tail(milliseconds)
    if not exemplars and not isinstance(value, Native):
        return head_2(symbols, series, len(end)), pack_double(value), end
    if isinstance(value, Native):
        inner = field(3, native(value, milliseconds, series.start))
    else:
        start = b"\x18" + varint(series.start) if series.start else b""
        inner = field(2, start + b"\x09" + pack_double(value) + end)
    shown = b"".join(field(4, _exemplar_2(symbols, one)) for one in exemplars)
    return field(5, _front(symbols, series) + inner + shown), b"", b""


def _exemplar_2(symbols: Symbols, exemplar: Exemplar) -> bytes:
    refs = b"".join(symbols[label] for label in exemplar.labels)
    return field(1, refs) + b"\x11" + pack_double(exemplar.value) + b"\x18" + varint(exemplar.time)


# --- both -----------------------------------------------------------------------------------------------------------


def native(value: Native, milliseconds: int, start: int = 0) -> bytes:
    """A Histogram, which is the same in both versions but for the start."""
    made = b"\x08" + varint(_STALE_COUNT if value.stale else value.count)
    made += b"\x19" + pack_double(STALE if value.stale else value.sum)
    made += b"\x20" + varint(zigzag(value.schema)) + b"\x29" + pack_double(value.zero_threshold)
    made += b"\x30" + varint(value.zero_count)
    for number, spans, deltas in (
        (8, value.negative_spans, value.negative_deltas),
        (11, value.positive_spans, value.positive_deltas),
    ):
        made += b"".join(field(number, b"\x08" + varint(zigzag(gap)) + b"\x10" + varint(size)) for gap, size in spans)
        if deltas:
            made += field(number + 1, b"".join(varint(zigzag(delta)) for delta in deltas))
    made += b"\x78" + varint(milliseconds)
    return made + b"\x88\x01" + varint(start) if start else made


def zigzag(value: int) -> int:
    """Signed to unsigned, small to small (sint32, sint64)."""
    return value << 1 if value >= 0 else -(value << 1) - 1
