"""Spans in Thrift's compact protocol, many at a time: what they have in common is read in columns.

Nearly all clients write a span's fields in the order of the IDL, and without references. Of such a span, two regular
expressions find what is fixed; the numbers of all spans are decoded at once (numpy), since a varint of ten bytes costs
a microsecond and a half in Python, and a span has up to seven numbers. Tags are known by their bytes. Whatever looks
different is left to the caller's way of reading a span, which also words all errors.
"""

import re
import struct
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from hawse.codecs.jaeger_spans import Scope, Settled, Special, Tags, flagged, times
from hawse.codecs.thrift import Reader
from hawse.wire import WireError

_NUMBER = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
# Heads of fields are smaller than 0x80, so that a run of fields is a run of varints, too, every second one a head.
_IDS = re.compile(rb"(?:\x16" + _NUMBER + rb"){4}\x18")  # traceIdLow, traceIdHigh, spanId, parentSpanId; operationName
_REST = re.compile(rb"\x25" + _NUMBER + rb"\x16" + _NUMBER + rb"\x16" + _NUMBER)  # flags, startTime, duration
_NUMBERS = 14  # varints in both, heads included
_ID_ROW = np.dtype(
    [("_1", "S2"), ("high", ">u8"), ("low", ">u8"), ("_2", "S2"), ("id", ">u8"), ("_4", "S2"), ("up", ">u8")]
)
_TIME_ROW = np.dtype([("_7", "S1"), ("start", "<u8"), ("_8", "S1"), ("end", "<u8")])
_WITH_PARENT, _ROOT = _ID_ROW.itemsize, _ID_ROW.itemsize - 10
_FAR = 1 << 53  # microseconds that are multiplied without a second thought
_FLAGGED = [flagged(flags) for flags in range(4)]
_LONGEST = 4096

Span: TypeAlias = tuple[Scope, bytes]
# What is read of a span before the numbers: name, fields that its tags say, scope, attributes, events.
_Row: TypeAlias = tuple[bytes, bytes, Scope, bytes, bytes]


class Columns:
    """Reads spans of a list. What it shares with its owner: the memory of tags and names, and `other` ways."""

    def __init__(
        self, tags: Tags, name: Callable[[bytes], bytes], settled: Settled, most_parts: int,
        other: Callable[[Reader, int], tuple[Scope, bytes, int]],
        read_logs: Callable[[Reader, int, int], tuple[list[bytes], int]],
    ) -> None:  # fmt: skip
        self._tags = tags
        self._name = name
        self._settled = settled
        self._most_parts = most_parts
        self._other = other
        self._read_logs = read_logs

    def read(self, reader: Reader, at: int, count: int, until: int) -> tuple[list[Span], int]:
        """The next `count` spans, or as many as begin before `until`, and the place behind them.

        Raises as reading them one by one does.
        """
        found: list[Span | None] = []
        rows: list[_Row] = []
        numbers: list[bytes] = []
        while len(found) < count and (at < until or not found):
            skipped = reader.skipped
            try:
                row, end = self._row(reader, at, numbers)
            except (WireError, IndexError, struct.error):
                row = None
            if row is None:
                reader.skipped = skipped
                scope, span, end = self._other(reader, at)
                found.append((scope, span))
            else:
                rows.append(row)
                found.append(None)
            at = end
        if not rows:
            return [one for one in found if one is not None], at
        spans = iter(_assembled(rows, b"".join(numbers)))
        return [next(spans) if one is None else one for one in found], at

    def _row(self, reader: Reader, at: int, numbers: list[bytes]) -> tuple[_Row | None, int]:
        """A span of the usual form, its numbers put to the others; None for another one."""
        data = reader.data
        ids = _IDS.match(data, at)
        if ids is None:
            return None, at
        behind = ids.end()
        named = behind + 1
        named_to = named + data[behind]
        rest = _REST.match(data, named_to)
        if rest is None or data[behind] > 127:
            return None, at
        end = rest.end()
        plain: dict[str, bytes] = {}
        special: Special = {}
        head, events = data[end], b""
        reader.left = self._most_parts
        if head == 0x19:
            end = self._read_tags(reader, end + 1, plain, special)
            head = data[end]
        elif head == 0x29:
            head = 0x19
        if head == 0x19:
            logs, end = self._read_logs(reader, 0, end + 1)
            events = b"".join(logs)
            head = data[end]
        if head:
            return None, at
        scope, told = self._settled.of(plain, special)
        numbers.append(data[at : behind - 1])
        numbers.append(rest[0])
        return (self._name(data[named:named_to]), told, scope, b"".join(plain.values()), events), end + 1

    def _read_tags(self, reader: Reader, at: int, plain: dict[str, bytes], special: Special) -> int:
        """A list of tags of the usual form. Raises WireError or IndexError for all others."""
        data, tags = reader.data, self._tags
        head = data[at]
        at += 1
        if head & 15 != 12:
            raise WireError("not a list of structs")
        size = head >> 4
        if size == 15:
            size = data[at]
            at += 1
            if size > 127:
                raise WireError("a long list")
        reader.left -= size
        if reader.left < 0:
            raise WireError("too many")
        for _ in range(size):
            end = at + 2 + data[at + 1]  # as in `jaeger_thrift_tags`, which explains it
            kind = data[end + 2]
            if kind == 0x18:
                length = data[end + 3]
                end += 5 + length if length < 128 else 6 + (length & 127 | data[end + 4] << 7)
            elif kind == 0x46:
                end += 3
                while data[end] > 127:
                    end += 1
                end += 2
            elif kind == 0x27:
                end += 12
            elif kind == 0x58:
                end += 5 + data[end + 3]
            else:
                end += 4
            if end - at > _LONGEST:
                raise WireError("a long tag")
            key, encoded, decides = tags[data[at:end]]
            if decides is None:
                plain[key] = encoded
            else:
                special[key] = decides
            at = end
        return at


def _assembled(rows: list[_Row], numbers: bytes) -> list[Span]:
    """Spans of rows and their numbers."""
    low, high, id_, parent, flags, start, duration = _decoded(numbers, len(rows))
    ids = np.empty(len(rows), _ID_ROW)
    ids["_1"], ids["_2"], ids["_4"] = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
    ids["high"], ids["low"], ids["id"], ids["up"] = high, low, id_, parent
    clock = np.empty(len(rows), _TIME_ROW)
    clock["_7"], clock["_8"] = b"\x39", b"\x41"
    clock["start"], clock["end"] = start * np.uint64(1000), (start + duration) * np.uint64(1000)
    all_ids, all_times = ids.tobytes(), clock.tobytes()
    far = set(np.flatnonzero((start > _FAR) | (duration > _FAR)).tolist())  # negative ones are far, too
    spans: list[Span] = []
    sizes = np.where(parent == 0, _ROOT, _WITH_PARENT).tolist()
    bits = (flags & np.uint64(3)).tolist()
    for index, (name, told, scope, attributes, events) in enumerate(rows):
        at, time_at = index * _WITH_PARENT, index * _TIME_ROW.itemsize
        when = all_times[time_at : time_at + 18]
        if index in far:
            begin = int(start[index].astype(np.int64)) * 1000
            when = times(begin, begin + int(duration[index].astype(np.int64)) * 1000)
        parts = (all_ids[at : at + sizes[index]], name, told, when, attributes, events, _FLAGGED[bits[index]])
        spans.append((scope, b"".join(parts)))
    return spans


def _decoded(numbers: bytes, rows: int) -> list["np.ndarray[tuple[int], np.dtype[np.uint64]]"]:
    """The columns of zigzag varints, as numbers of 64 bits without sign."""
    octets = np.frombuffer(numbers, np.uint8)
    ends = np.flatnonzero(octets < 128)
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    places = np.arange(len(octets)) - np.repeat(starts, ends - starts + 1)
    shifted = (octets & 127).astype(np.uint64) << (places * 7).astype(np.uint64)
    values = np.bitwise_or.reduceat(shifted, starts).reshape(rows, _NUMBERS)[:, 1::2]
    one = np.uint64(1)
    plain = (values >> one) ^ (np.uint64(0) - (values & one))
    return list(np.ascontiguousarray(plain.T))
