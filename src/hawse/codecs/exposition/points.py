"""Data points of OTLP (opentelemetry-proto, `metrics/v1/metrics.proto`) with room for what each scrape puts in.

All that changes is of fixed width, so that a scrape writes into bytes that are there: times, the flags, values. The
attributes come first, since they tell a point from another; then start, time, flags, and what the kind has.
"""

import enum
import struct
from collections.abc import Sequence

from hawse.wire import LENGTH, encode_attribute, field, read_varint, varint

_double = struct.Struct("<d")
CUMULATIVE = b"\x10\x02"  # aggregation_temporality, field 2 of Sum and Histogram
MONOTONIC = b"\x18\x01"


class Kind(enum.IntEnum):
    """What a metric is made of; the number is its field in Metric, but for the non-monotonic sum."""

    GAUGE = 5
    SUM = 7
    HISTOGRAM = 9
    SUMMARY = 11
    STATE = 107  # a sum that is not monotonic (info, stateset)

    @property
    def field(self) -> int:
        """The field in Metric."""
        return self % 100

    @property
    def attributes(self) -> int:
        """The field of attributes in the point."""
        return 9 if self is Kind.HISTOGRAM else 7

    def identifier(self, name: bytes) -> bytes:
        """What tells a metric of this name from others. Gauges and sums of one name are the same series."""
        return name + {Kind.HISTOGRAM: b"\0h", Kind.SUMMARY: b"\0s"}.get(self, b"")

    @property
    def head(self) -> bytes:
        """What the kind's message has beside points."""
        return _HEADS[self]


_HEADS = {
    Kind.GAUGE: b"",
    Kind.SUM: CUMULATIVE + MONOTONIC,
    Kind.STATE: CUMULATIVE,
    Kind.HISTOGRAM: CUMULATIVE,
    Kind.SUMMARY: b"",
}

# start_time_unix_nano (2), time_unix_nano (3), flags (8 or 10); each tag with its value.
_ROOM = bytes(8)
_START = b"\x11" + _ROOM
_TIME = b"\x19" + _ROOM
_FLAGS = b"\x40\x00"
_HISTOGRAM_FLAGS = b"\x50\x00"
_VALUE = b"\x21" + _ROOM  # as_double
_COUNT_SUM = b"\x21" + _ROOM + b"\x29" + _ROOM
NO_RECORDED_VALUE = 1

# Where in the fixed part of a point, behind its attributes, each value lies.
GAUGE_SIZE = len(_TIME + _FLAGS + _VALUE)
SUM_SIZE = len(_START) + GAUGE_SIZE
FLAGS_BEHIND_TIME = 9  # from the time's value to that of the flags

gauge_rest = _TIME + _FLAGS + _VALUE
sum_rest = _START + gauge_rest


def histogram_rest(bounds: Sequence[float]) -> bytes:
    """The fixed part of a HistogramDataPoint with these explicit bounds."""
    counts = b"\x32" + varint(8 * (len(bounds) + 1)) + bytes(8 * (len(bounds) + 1))
    limits = b"\x3a" + varint(8 * len(bounds)) + b"".join(map(_double.pack, bounds)) if bounds else b""
    return _START + _TIME + _HISTOGRAM_FLAGS + _COUNT_SUM + counts + limits


def summary_rest(quantiles: Sequence[float]) -> bytes:
    """The fixed part of a SummaryDataPoint with these quantiles."""
    values = b"".join(b"\x32\x12\x09" + _double.pack(quantile) + b"\x11" + _ROOM for quantile in quantiles)
    return _START + _TIME + _FLAGS + _COUNT_SUM + values


COUNT_AT = len(_START + _TIME + _FLAGS) + 1
SUM_AT = COUNT_AT + 9


def buckets_at(bounds: int) -> int:
    """Where the counts of a histogram's buckets begin, in its fixed part."""
    return SUM_AT + 8 + 1 + len(varint(8 * (bounds + 1)))


def quantile_at(number: int) -> int:
    """Where the value of a summary's quantile lies, in its fixed part."""
    return SUM_AT + 8 + number * 20 + 12


def metric_head(name: str, metadata: dict[str, str], help_: str, unit: str) -> bytes:
    """The fields of a Metric before its data."""
    head = field(1, name.encode("utf-8", "replace"))
    if help_:
        head += field(2, help_.encode("utf-8", "replace"))
    if unit:
        head += field(3, unit.encode("utf-8", "replace"))
    return head + b"".join(field(12, encode_attribute(key, value)) for key, value in metadata.items())


def metric_front(head: bytes, kind: Kind, size: int) -> bytes:
    """A Metric as field 2 of ScopeMetrics, up to its points, which have `size` bytes."""
    inner = varint(kind.field << 3 | LENGTH) + varint(len(kind.head) + size) + kind.head
    return b"\x12" + varint(len(head) + len(inner) + size) + head + inner


def attributes_end(data: bytes | bytearray | memoryview, start: int, end: int, tag: int) -> int:
    """Where the attributes of a point that was made here end. `tag` is that of the attributes."""
    at = start
    while at < end and data[at] == tag:
        size, behind = read_varint(data, at + 1, end)
        at = behind + size
    return at
