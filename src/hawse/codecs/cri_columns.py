r"""A chunk of CRI log lines turned into OTLP log records where it lies, all lines at once.

The Container Runtime Interface writes `TIME STREAM TAG BODY\n` (Kubernetes, `kubelet/cri` logging format): TIME is
RFC 3339 with up to nine digits of a second, trailing zeros trimmed by containerd, at UTC or at the node's offset;
STREAM is stdout or stderr; TAG is F for a full line, P for one that goes on in the next of its stream.

What stands before the body (31 to 46 bytes with the newline of the line before) is as long as an OTLP LogRecord
(opentelemetry-proto, `logs/v1/logs.proto`) needs before its body. So the header is written over the prefix, the body
stays where it is, and a run of lines becomes a run of `ScopeLogs.log_records` without a byte being moved:

    offset    0  1 2 3  4         5..12  13  14..21     22..       end-8  -7 -6 -5  -4  -3 -2 -1
            tag length  tag=0x09  time   tag observed  zero fields  body  length    string length    <- body bytes

Lengths are varints padded to three bytes, the rest is filled with fields that say their default (flags,
dropped_attributes_count): both are legal on the wire and read by every decoder. Lines that do not fit this frame are
left to the caller, line by line.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

U64: TypeAlias = NDArray[np.uint64]
U32: TypeAlias = NDArray[np.uint32]
U16: TypeAlias = NDArray[np.uint16]
U8: TypeAlias = NDArray[np.uint8]
Index: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

SLACK = 64  # bytes behind the last line that must belong to the buffer: words are read past its end
STREAMS = ("stdout", "stderr")
_LIMIT = 1 << 20  # longest body of the frame: the record must fit a three-byte varint

_SHORTEST, _LONGEST = 26, 35  # lengths of TIME that the frame has room for (five digits, Z … nine digits, offset)
_CANDIDATES = (30, 35, 29, 34, 28, 33, 27, 32, 26, 31)
_STDOUT = np.uint64(int.from_bytes(b" stdout ", "little"))
_STDERR = np.uint64(int.from_bytes(b" stderr ", "little"))
_FULL = np.uint16(int.from_bytes(b"F ", "little"))
_PART = np.uint16(int.from_bytes(b"P ", "little"))


def _word(text: bytes) -> int:
    return int.from_bytes(text[:8].ljust(8, b"\0"), "little")


def _padding(size: int) -> bytes:
    """Fields that say their default: flags = 0 (five bytes) where odd, dropped_attributes_count = 0 (two bytes)."""
    odd = b"\x45\0\0\0\0" if size % 2 else b""
    return odd + b"\x38\0" * ((size - len(odd)) // 2)


def _padding_tables() -> tuple[U64, U64]:
    """Words of padding at offsets 21 and 29 of the header, by the length of TIME.

    The word at 21 lacks the last byte of the observed time, its lowest; it is set for each chunk.
    """
    tables = np.zeros((2, _LONGEST + 1), np.uint64)
    for length in range(_SHORTEST, _LONGEST + 1):
        behind = b"\0" + _padding(length - 19)
        tables[0, length] = _word(behind)
        tables[1, length] = _word(behind[8:])
    return tables[0], tables[1]


_PAD21, _PAD29 = _padding_tables()
_PAD_TAIL = np.uint64(_word(_padding(_LONGEST - 19)[-8:]))  # the longest header has a byte more than both reach
# Digits of the fraction that are there, by their number: the others are taken for "0".
_KEEP = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(10)], np.uint64)
_ZEROS = np.array([0x3030303030303030 & ~((1 << 8 * min(n, 8)) - 1) for n in range(10)], np.uint64)

u64 = np.uint64
_ASCII_ZEROS, _HIGH, _CARRY = u64(0x3030303030303030), u64(0x8080808080808080), u64(0x7676767676767676)


@dataclass(slots=True)
class Columns:
    """What is known of each line of a chunk. Arrays have one element a line; line i is `[starts[i], ends[i])`."""

    starts: Index
    ends: Index  # of the newline
    bodies: Index  # where the body begins; only where `known`
    times: U64  # nanoseconds since 1970; only where `known`
    known: Mask  # the line fits the frame
    stderr: Mask
    full: Mask  # TAG is F


class Clock:
    """Reads the parts of timestamps that seldom change, and remembers the answers."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def minute(self, text: bytes) -> int:
        """Seconds since 1970 of `2026-11-24T13:05`, or -1."""
        return self._remembered(text, _minute)

    def offset(self, text: bytes) -> int:
        """Seconds east of UTC of `+05:30`, or -1 (which no offset of whole minutes is)."""
        return self._remembered(text, _offset)

    def _remembered(self, text: bytes, read: Any) -> int:
        known = self._known.get(text)
        if known is None:
            if len(self._known) > 4096:
                self._known.clear()
            known = self._known[text] = read(text)
        return known


def _minute(text: bytes) -> int:
    if not (text[4:5] == text[7:8] == b"-" and text[10:11] == b"T" and text[13:14] == b":"):
        return -1
    try:
        parts = [int(part) for part in (text[:4], text[5:7], text[8:10], text[11:13], text[14:16]) if part.isdigit()]
        return int(datetime(*parts, tzinfo=UTC).timestamp()) if len(parts) == 5 and parts[0] < 2262 else -1  # type: ignore[misc,arg-type]
    except ValueError:
        return -1


def _offset(text: bytes) -> int:
    sign = {b"+": 1, b"-": -1}.get(text[:1])
    if sign is None or text[3:4] != b":" or not (text[1:3].isdigit() and text[4:6].isdigit()):
        return -1
    hours, minutes = int(text[1:3]), int(text[4:6])
    return sign * (hours * 3600 + minutes * 60) if hours < 24 and minutes < 60 else -1


def read(buffer: bytearray, start: int, end: int, clock: Clock) -> Columns:
    """Find the lines of `buffer[start:end]`, which ends with a newline, and read their prefixes.

    The buffer must go on for SLACK bytes behind `end`. Nothing is written.
    """
    octets = np.frombuffer(buffer, np.uint8)
    ends: Index = np.flatnonzero(octets[start:end] == 10)
    ends += start
    starts = np.empty_like(ends)
    starts[0] = start
    np.add(ends[:-1], 1, out=starts[1:])
    lengths, stderr, full = _frame(buffer, starts, ends)
    known = lengths > 0
    rows = None if known.all() else np.flatnonzero(known)
    at, size = (starts, lengths) if rows is None else (starts[rows], lengths[rows])
    times, good = _times(buffer, octets, at, size, clock) if len(at) else (np.empty(0, u64), np.empty(0, bool))
    bodies = starts + (lengths + 10)
    if rows is None:
        known = good
    else:
        all_times = np.zeros(len(ends), u64)
        all_times[rows] = times
        known[rows] = good
        times = all_times
    known &= ends - bodies <= _LIMIT
    known &= octets[ends - 1] != 13  # CRLF: the line ends before the CR
    return Columns(starts, ends, bodies, times, known, stderr, full)


def _views(buffer: bytearray) -> tuple[U64, U32, U16]:
    """The buffer as little-endian words of 8, 4 and 2 bytes, one at every byte."""
    size = len(buffer) - 7
    return (
        np.ndarray((size,), "<u8", buffer=buffer, strides=(1,)),
        np.ndarray((size,), "<u4", buffer=buffer, strides=(1,)),
        np.ndarray((size,), "<u2", buffer=buffer, strides=(1,)),
    )


def _frame(buffer: bytearray, starts: Index, ends: Index) -> tuple[Index, Mask, Mask]:
    """Length of TIME (0 where the line has another shape), whether STREAM is stderr, whether TAG is F."""
    words, _, shorts = _views(buffer)
    lengths = np.zeros(len(starts), np.int64)
    stderr = np.zeros(len(starts), bool)
    full = np.zeros(len(starts), bool)
    rest: Index | None = None  # None: all lines
    for candidate in _CANDIDATES:
        at = (starts if rest is None else starts[rest]) + candidate
        np.minimum(at, len(words) - 9, out=at)
        stream = words[at]
        tag = shorts[at + 8]
        err, is_full = stream == _STDERR, tag == _FULL
        fits = ((stream == _STDOUT) | err) & (is_full | (tag == _PART)) & (at < (ends if rest is None else ends[rest]))
        if rest is None:
            lengths[fits] = candidate
            stderr, full = err & fits, is_full & fits
            rest = np.flatnonzero(~fits)
        else:
            hits = rest[fits]
            lengths[hits] = candidate
            stderr[hits], full[hits] = err[fits], is_full[fits]
            rest = rest[~fits]
        if not len(rest):
            break
    return lengths, stderr, full


def _times(buffer: bytearray, octets: U8, at: Index, size: Index, clock: Clock) -> tuple[U64, Mask]:
    """Nanoseconds since 1970 for lines whose TIME begins at `at` and has `size` bytes; and whether it is right."""
    words, quads, _ = _views(buffer)
    zulu = octets[at + (size - 1)] == 90  # Z
    all_zulu = bool(zulu.all())
    digits = size - 21 if all_zulu else size - np.where(zulu, 21, 26)
    second = quads[at + 16]  # ":SS."
    good = (second & 0xFF0000FF) == 0x2E00003A
    good &= (digits > 0) & (digits < 10)
    np.clip(digits, 0, 9, out=digits)
    tens, ones = (second >> 8 & 0xFF) - 48, (second >> 16 & 0xFF) - 48  # wrap around where they are no digits
    good &= (tens < 6) & (ones < 10)
    fraction = words[at + 20]
    ninth = octets[at + 28] - 48
    if not (digits == 9).all():
        fraction = fraction & _KEEP[digits] | _ZEROS[digits]
        ninth = np.where(digits == 9, ninth, np.uint8(0))
    good &= ninth < 10
    fraction = fraction ^ _ASCII_ZEROS
    good &= ((fraction + _CARRY | fraction) & _HIGH) == 0
    fraction = fraction * u64(10) + (fraction >> u64(8))
    fraction = (
        (fraction & u64(0x000000FF000000FF)) * u64(0x000F424000000064)
        + (fraction >> u64(16) & u64(0x000000FF000000FF)) * u64(0x0000271000000001)
    ) >> u64(32)
    seconds = _minutes(buffer, words, at, clock)
    good &= seconds >= 0
    if not all_zulu:
        offsets = _offsets(buffer, words, at, size, zulu, clock)
        good &= offsets != -1
        seconds = seconds - offsets
        good &= seconds >= 0
    seconds = seconds + (tens * 10 + ones)
    return seconds.astype(u64) * u64(10**9) + (fraction * u64(10) + ninth), good


def _minutes(buffer: bytearray, words: U64, at: Index, clock: Clock) -> Index:
    """Seconds of the minute of each line, read once for each run of lines of the same minute."""
    date, hour = words[at], words[at + 8]
    runs = np.flatnonzero((date[1:] != date[:-1]) | (hour[1:] != hour[:-1])) + 1
    return _by_run(runs, at, lambda begin: clock.minute(bytes(buffer[begin : begin + 16])))


def _offsets(buffer: bytearray, words: U64, at: Index, size: Index, zulu: Mask, clock: Clock) -> Index:
    """Seconds east of UTC of each line, 0 where it says Z."""
    begin = at + (size - 6)
    text = np.where(zulu, u64(0), words[begin - 2] >> u64(16))
    runs = np.flatnonzero(text[1:] != text[:-1]) + 1
    begin[zulu] = -1
    return _by_run(runs, begin, lambda begin: clock.offset(bytes(buffer[begin : begin + 6])) if begin >= 0 else 0)


def _by_run(runs: Index, at: Index, read: Any) -> Index:
    """One value for each line, `read` at the first line of each run. `runs` has the lines where the 2nd… begin."""
    if not len(runs):
        return np.full(len(at), read(int(at[0])), np.int64)
    first = np.concatenate(([0], runs))
    values = np.array([read(begin) for begin in at[first].tolist()], np.int64)
    return np.repeat(values, np.diff(first, append=len(at)))


def _padded(length: Index) -> Index:
    """Varints of three bytes, as the low bytes of numbers."""
    return length & 0x7F | (length & 0x3F80) << 1 | (length & 0x1FC000) << 2 | 0x8080


def write(buffer: bytearray, columns: Columns, simple: Mask, observed: int) -> None:
    """Write the headers of the `simple` lines (a subset of the known) over their prefixes.

    Each record then is `buffer[starts[i]-1 : ends[i]]`: the byte before the first line must belong to the buffer.
    `observed` is observed_time_unix_nano, in nanoseconds.
    """
    rows = None if simple.all() else np.flatnonzero(simple)
    starts, ends, bodies, times = columns.starts, columns.ends, columns.bodies, columns.times
    if rows is not None:
        starts, ends, bodies, times = starts[rows], ends[rows], bodies[rows], times[rows]
    words, _, _ = _views(buffer)
    at = starts - 1
    header = bodies - at
    length = header - 11
    body = ends - bodies
    seen = observed.to_bytes(8, "little")
    words[at] = (0x12 | _padded(header - 4 + body) << 8 | 0x09 << 32).astype(u64)
    words[at + 5] = times
    words[at + 13] = u64(_word(b"\x59" + seen))
    words[at + 21] = _PAD21[length] | u64(seen[7])
    words[at + 29] = _PAD29[length]
    longest = length == _LONGEST
    if longest.any():
        words[bodies[longest] - 16] = _PAD_TAIL
    words[bodies - 8] = (0x2A | _padded(body + 4) << 8 | 0x0A << 32 | _padded(body) << 40).astype(u64)
