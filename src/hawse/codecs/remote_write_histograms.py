"""Prometheus' native histograms as points of OTLP's (exponential) histograms, and exemplars.

Schema n is scale n; Prometheus' bucket i is (base^(i-1), base^i], OTLP's (base^i, base^(i+1)], hence offsets are one
less. Schema -53, custom buckets, is a Histogram with those bounds. Counts are whole numbers in OTLP: float histograms
whose counts are whole are taken, others cannot be told exactly and are refused.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from hawse.codecs.remote_write_series import EXPONENTIAL, HISTOGRAM, Invalid, Labels, texts_of
from hawse.wire import field, varint

STALE = 0x7FF0_0000_0000_0002  # the NaN that Prometheus marks the end of a series with (model/value/value.go)
_CUSTOM = -53
_WIDEST = 1 << 14  # buckets of one histogram, gaps counted
_WHOLE = 1 << 63

_double = struct.Struct("<d")


def nanoseconds(milliseconds: int) -> int:
    """Unix ms to the Unix ns that a fixed64 holds. Raises Invalid."""
    if not 0 < milliseconds < 18_446_744_073_709:
        raise Invalid("bad_timestamp", f"the timestamp {milliseconds} ms is not after 1970 and before 2554")
    return milliseconds * 1_000_000


def _fixed(number: int, value: int) -> bytes:
    return bytes((number << 3 | 1,)) + value.to_bytes(8, "little")


def bits(value: float) -> int:
    """A double's bits: NaNs are told apart by them."""
    return int.from_bytes(_double.pack(value), "little")


def times(start: int, time: int) -> bytes:
    """Fields 2 and 3 of any data point, from Unix ns."""
    return (_fixed(2, start) if start else b"") + _fixed(3, time)


def point(
    message: Any, attributes: bytes, start: int, exemplars: Sequence[bytes], room: list[int]
) -> tuple[int, bytes]:
    """Where in a Metric the histogram's point goes (HISTOGRAM, EXPONENTIAL), and the point as field 1 there.

    `attributes` are those of a NumberDataPoint (field 7). `start` is in ms, where the message has none of its own.
    `room[0]` is how many buckets this and later ones of the request may unfold to. Raises Invalid.
    """
    since = message.start_timestamp or start
    when = times(nanoseconds(since) if since else 0, nanoseconds(message.timestamp))
    stale = bits(message.sum) == STALE
    if message.schema == _CUSTOM:
        inside = _number_of(attributes, 9) + when + (_flag if stale else _custom(message, room))
        inside += b"".join(field(8, exemplar) for exemplar in exemplars)
        return HISTOGRAM, field(1, inside)
    if not -10 <= message.schema <= 20:  # what OTLP's scales can be, and more than Prometheus' schemas are
        raise Invalid("bad_schema", f"there is no schema {message.schema} of native histograms")
    inside = _number_of(attributes, 1) + when + (_flag if stale else _exponential(message, room))
    inside += b"".join(field(11, exemplar) for exemplar in exemplars)
    return EXPONENTIAL, field(1, inside)


_flag = b"\x50\x01"  # flags (10): no recorded value, in both kinds of points


def _number_of(attributes: bytes, number: int) -> bytes:
    """Attributes under another field's number; all tags are of one byte."""
    tag = bytes((number << 3 | 2,))
    out = []
    at = 0
    while at < len(attributes):
        size, shift, start = 0, 0, at + 1
        while True:
            byte = attributes[start]
            size |= (byte & 127) << shift
            start, shift = start + 1, shift + 7
            if byte < 128:
                break
        out += [tag, attributes[at + 1 : start + size]]
        at = start + size
    return b"".join(out)


def _count(value: float, what: str) -> int:
    whole = int(value) if 0 <= value < _WHOLE else -1
    if whole != value:
        raise Invalid("fractional_histogram", f"a histogram with {what} {value:g} has no whole counts, as OTLP's have")
    return whole


def _counted(message: Any) -> bytes:
    """Fields count and sum (4 and 5 of both kinds)."""
    floats = message.WhichOneof("count") == "count_float"
    count = _count(message.count_float, "the count") if floats else message.count_int
    return _fixed(4, count) + _fixed(5, bits(message.sum))


def _exponential(message: Any, room: list[int]) -> bytes:
    floats = message.WhichOneof("zero_count") == "zero_count_float"
    zeros = _count(message.zero_count_float, "the zero count") if floats else message.zero_count_int
    scale = message.schema
    out = [_counted(message), b"\x30" + varint(scale << 1 ^ scale >> 31), _fixed(7, zeros)]
    for number, sign in ((8, "positive"), (9, "negative")):
        first, counts = _dense(message, sign, room)
        if counts:
            offset = first - 1
            packed = b"".join(map(varint, counts))
            out.append(field(number, b"\x08" + varint(offset << 1 ^ offset >> 63) + field(2, packed)))
    if message.zero_threshold:
        out.append(_fixed(14, bits(message.zero_threshold)))
    return b"".join(out)


def _custom(message: Any, room: list[int]) -> bytes:
    bounds = list(message.custom_values)
    if any(not low < high for low, high in pairwise(bounds)):
        raise Invalid("bad_buckets", "the custom buckets' bounds do not rise")
    first, counts = _dense(message, "positive", room)
    counts = [0] * max(0, first) + counts
    if first < 0 or len(counts) > len(bounds) + 1:
        raise Invalid("bad_buckets", f"the custom buckets are counted outside their {len(bounds) + 1}")
    counts += [0] * (len(bounds) + 1 - len(counts))
    return b"".join((
        _counted(message),
        field(6, b"".join(count.to_bytes(8, "little") for count in counts)),
        field(7, b"".join(map(_double.pack, bounds))) if bounds else b"",
    ))  # fmt: skip


def _dense(message: Any, sign: str, room: list[int]) -> tuple[int, list[int]]:
    """Index of the first bucket and the counts from there on, with the gaps between spans filled."""
    spans = getattr(message, f"{sign}_spans")
    counts = _counts(message, sign)
    out: list[int] = []
    first = spans[0].offset if spans else 0
    for number, span in enumerate(spans):
        gap = span.offset if number else 0
        if gap < 0:
            raise Invalid("bad_buckets", "spans of buckets overlap")
        size = len(out) + gap + span.length
        if size > _WIDEST or size > room[0]:
            raise Invalid("too_many_buckets", f"a histogram spans more than {min(_WIDEST, room[0])} buckets")
        out += [0] * gap
        for _ in range(span.length):
            count = next(counts, None)
            if count is None:
                raise Invalid("bad_buckets", "there are fewer counts than buckets")
            out.append(count)
    if next(counts, None) is not None:
        raise Invalid("bad_buckets", "there are more counts than buckets")
    room[0] -= len(out)
    return first, out


def _counts(message: Any, sign: str) -> Iterator[int]:
    """Absolute counts, of integer histograms (deltas) and float histograms."""
    deltas = getattr(message, f"{sign}_deltas")
    if not deltas:
        for value in getattr(message, f"{sign}_counts"):
            yield _count(value, "a bucket of")
        return
    count = 0
    for delta in deltas:
        count += delta
        if not 0 <= count < _WHOLE:
            raise Invalid("bad_buckets", "a bucket's count is below zero")
        yield count


def exemplar(labels: Labels, value: float, milliseconds: int) -> bytes:
    """An Exemplar message (metrics.proto). Labels that are trace and span ids in hexadecimal become its fields.

    Raises Invalid.
    """
    texts_of(labels)
    out = [] if milliseconds <= 0 else [_fixed(2, nanoseconds(milliseconds))]
    out.append(_fixed(3, bits(value)))
    for name, text in labels:
        number, size = {b"span_id": (4, 16), b"trace_id": (5, 32)}.get(name, (0, 0))
        if size == len(text) and size and (raw := _hexadecimal(text)) is not None:
            out.append(field(number, raw))
        else:
            # Here, job and instance are labels like any other.
            out.append(field(7, field(1, name) + field(2, field(1, text))))
    return b"".join(out)


def _hexadecimal(text: bytes) -> bytes | None:
    """Bytes of lower-case hexadecimal digits: what reads the same when it is written again."""
    try:
        raw = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return None
    return raw if raw.hex().encode() == text and any(raw) else None
