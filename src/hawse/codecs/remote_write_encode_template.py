"""Requests made by writing numbers into those of the batch before.

A target's scrapes are alike but for times and values, which OTLP writes with a fixed width, and so does remote write a
sample's value; its time has six bytes from 1971 to 2109. So what was written for a batch serves for the next, if that
has the same bytes everywhere else: all is compared, nothing is guessed.
"""

import struct
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hawse.codecs.prometheus_series import Key
from hawse.codecs.prometheus_series_shares import Share
from hawse.codecs.remote_write_encode_series import USUAL_TAIL
from hawse.wire import FIXED64, LENGTH, VARINT, Buffer, read_varint, walk

_DATA = {"gauge": 5, "sum": 7, "histogram": 9, "summary": 11}
_FIRST, _LAST = 1 << 35, 1 << 42  # milliseconds whose varint has six bytes
_STEP = 300  # points between two turns of others
_SANE = 1 << 50  # a bucket of so many, and sums of them might not be exact
_unpack_double = struct.Struct("<d").unpack_from
Positions = NDArray[np.int64]
Longs = NDArray[np.uint64]


class Encoded(msgspec.Struct):
    """A piece, encoded; of 1.0, `metadata` are fields that go with it."""

    body: Buffer
    shares: list[Share]
    metadata: list[bytes] = []


class Unpredictable(Exception):
    """Something in the batch is not of fixed width, or not for us to follow."""


class Located:
    """Where in a batch the numbers are, and which of them each series' sample is made from. Positions are of bytes."""

    def __init__(self) -> None:
        self.unused: list[int] = []  # numbers that no sample has: what is at the end of a histogram, minimum, maximum
        self.times: list[int] = []  # of points
        self.groups: list[int] = []  # the first point of each group with a series of its own, `target_info`
        self.rows: list[int] = []  # by series: its point; -1 - g: the latest of that group
        self.doubles: list[tuple[int, int]] = []  # (series, position)
        self.signed: list[tuple[int, int]] = []
        self.counts: list[tuple[int, int]] = []
        self.buckets: list[tuple[int, int]] = []
        self.first: list[int] = []  # of `buckets`: by each, the first of its histogram

    def group(
        self, data: Buffer, start: int, end: int, metrics: Sequence[tuple[Key, int]], *, info: bool
    ) -> Iterator[None]:
        """The next group, at these bytes. `metrics` are all of them: what they are, and their points.

        Yields now and then, for it takes a while. Raises Unpredictable.
        """
        before = len(self.times)
        found = _metrics(data, start, end)
        for (key, points), (at, behind) in zip(metrics, found, strict=True):
            if points:
                yield from self._metric(data, at, behind, key, points)
        if info and len(self.times) > before:
            self.rows.append(-1 - len(self.groups))
            self.groups.append(before)

    def _metric(self, data: Buffer, start: int, end: int, key: Key, points: int) -> Iterator[None]:
        number = _DATA.get(key.kind)
        read = {"histogram": self._histogram, "summary": self._summary}.get(key.kind, self._number)
        fields = [(at, behind) for found, kind, _, at, behind in walk(data, start, end) if found == number]
        if len(fields) != 1:
            raise Unpredictable
        for found, kind, _, at, behind in walk(data, *fields[0]):
            if found == 1 and kind == LENGTH:
                read(_Point(data, at, behind))
                points -= 1
                if len(self.times) % _STEP == 0:
                    yield
        if points:
            raise Unpredictable

    def _number(self, point: "_Point") -> None:
        values = point.fixed(4), point.fixed(6)
        if (values[0] is None) == (values[1] is None) or point.has(5) or point.has(8, unless_zero=True):
            raise Unpredictable
        row = self._row(point)
        if values[0] is not None:
            self.doubles.append((row, values[0]))
        elif values[1] is not None:
            self.signed.append((row, values[1]))

    def _row(self, point: "_Point") -> int:
        """A series of the point. All but the first of a point are added by `_more`."""
        time = point.fixed(3)
        if time is None:
            raise Unpredictable
        self.times.append(time)
        return self._more()

    def _more(self) -> int:
        self.rows.append(len(self.times) - 1)
        return len(self.rows) - 1

    def _histogram(self, point: "_Point") -> None:
        if point.has(8) or point.has(10, unless_zero=True):
            raise Unpredictable
        counts, bounds = point.packed(6), point.packed(7)
        if counts and len(counts) != len(bounds) + 1:
            raise Unpredictable
        if bounds and not abs(_unpack_double(point.data, bounds[-1])[0]) < float("inf"):
            raise Unpredictable
        count, sum_ = point.fixed(4), point.fixed(5)
        row = self._row(point)
        first = len(self.buckets)
        for position in counts[:-1]:
            self.buckets.append((row, position))
            self.first.append(first)
            row = self._more()
        self.unused += counts[-1:]
        if count is not None:
            self.counts.append((row, count))
        if sum_ is not None:
            self.doubles.append((self._more(), sum_))
        row = self._more()
        if count is not None:
            self.counts.append((row, count))
        self.unused += [at for at in (point.fixed(11), point.fixed(12)) if at is not None]

    def _summary(self, point: "_Point") -> None:
        if point.has(8, unless_zero=True):
            raise Unpredictable
        row = self._row(point)
        for quantile in point.messages(6):
            value = quantile.fixed(2)
            if value is not None:
                self.doubles.append((row, value))
            row = self._more()
        sum_, count = point.fixed(5), point.fixed(4)
        if sum_ is not None:
            self.doubles.append((row, sum_))
        row = self._more()
        if count is not None:
            self.counts.append((row, count))


def _metrics(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int]]:
    for number, kind, _, at, behind in walk(data, start, end):
        if number == 2 and kind == LENGTH:
            for inner, its_kind, _, a, b in walk(data, at, behind):
                if inner == 2 and its_kind == LENGTH:
                    yield a, b


class _Point:
    """The fields of a message, by their numbers."""

    def __init__(self, data: Buffer, start: int, end: int) -> None:
        self.data = data
        self._fields: dict[int, list[tuple[int, int, int]]] = {}
        for number, kind, _, at, behind in walk(data, start, end):
            self._fields.setdefault(number, []).append((kind, at, behind))

    def fixed(self, number: int) -> int | None:
        """Where eight bytes are, None where they are not. Raises Unpredictable where they are twice."""
        found = self._fields.get(number)
        if found is None:
            return None
        if len(found) > 1 or found[0][0] != FIXED64:
            raise Unpredictable
        return found[0][1]

    def packed(self, number: int) -> list[int]:
        """Where the numbers of a packed field are."""
        found = self._fields.get(number, [])
        if len(found) > 1 or any(kind != LENGTH or (behind - at) % 8 for kind, at, behind in found):
            raise Unpredictable
        return [position for _, at, behind in found for position in range(at, behind, 8)]

    def messages(self, number: int) -> list["_Point"]:
        """The messages of a repeated field."""
        return [_Point(self.data, at, behind) for kind, at, behind in self._fields.get(number, []) if kind == LENGTH]

    def has(self, number: int, *, unless_zero: bool = False) -> bool:
        """Whether a field is there, and is not 0."""
        found = self._fields.get(number, [])
        if not unless_zero:
            return bool(found)
        return any(kind != VARINT or read_varint(self.data, at, behind)[0] for kind, at, behind in found)


class Part(NamedTuple):
    """A piece of what a template writes: its bytes in the output."""

    start: int
    end: int
    shares: list[Share]
    metadata: list[bytes]


class Template:
    """What was written for a batch, and how to write the next."""

    def __init__(
        self, data: bytes, located: Located, pieces: Sequence[tuple[Encoded, bytes, Sequence[bytes]]], born: int = 0
    ) -> None:
        """`pieces` are what was written: with what came before the series, and these, three parts each.

        `born` is for who made it, to remember. Raises Unpredictable.
        """
        self.born = born
        self._output, positions = self._arrange(pieces)
        if len(positions) != len(located.rows) or len(data) < 8:
            raise Unpredictable
        dynamic = [*located.doubles, *located.signed, *located.counts, *located.buckets]
        sizes = (located.doubles, located.signed, located.counts, located.buckets)
        self._ends = np.cumsum([len(one) for one in sizes]).tolist()
        self._values = _array([position for _, position in dynamic])
        self._first = _array(located.first)
        self._times = _array(located.times)
        self._unused = _array(located.unused)
        self._groups = _array(located.groups)
        rows = np.array(located.rows, np.int64)
        self._point_of = np.where(rows < 0, len(located.times) - 1 - rows, rows)
        value_at = _array(positions)
        self._value_at = value_at[_array([row for row, _ in dynamic])]
        self._time_at = value_at + 9
        longs = _longs(self._output)
        self._behind = longs[self._time_at] & np.uint64(0xFFFF << 48)
        self._static = self._without_numbers(data)
        self.cost = len(data) + len(self._output) + 48 * len(rows) + 2000
        self.used = time.monotonic()
        self.hits = 0
        made = self.write(data)
        self.hits = 0  # this was none
        if made is None or any(one.body != piece.body for one, (piece, *_) in zip(made, pieces, strict=True)):
            raise Unpredictable

    def _arrange(self, pieces: Sequence[tuple[Encoded, bytes, Sequence[bytes]]]) -> tuple[bytes, list[int]]:
        """The output, and where in it each sample's value is."""
        self._parts: list[Part] = []
        positions: list[int] = []
        at = 0
        for encoded, front, parts in pieces:
            start = at
            at += len(front)
            for head, value, tail in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
                if len(value) != 8 or len(tail) != USUAL_TAIL:
                    raise Unpredictable
                positions.append(at + len(head))
                at += len(head) + 8 + USUAL_TAIL
            self._parts.append(Part(start, at, encoded.shares, encoded.metadata))
        return b"".join([*(bytes(encoded.body) for encoded, *_ in pieces), bytes(8)]), positions

    def _without_numbers(self, data: bytes) -> bytearray:
        copy = bytearray(data)
        longs = _longs(copy)
        longs[self._values] = 0
        longs[self._times] = 0
        longs[self._unused] = 0
        return copy

    def write(self, data: bytes) -> list[Encoded] | None:
        """The pieces of a batch; None where it is not like the one before."""
        self.used = time.monotonic()
        if len(data) != len(self._static) or self._without_numbers(data) != self._static:
            return None
        longs = _longs(data)
        times = longs[self._times] // np.uint64(1_000_000)
        if len(times) and (times.min() < _FIRST or times.max() >= _LAST):
            return None
        values = self._numbers(longs[self._values])
        if values is None:
            return None
        if len(self._groups):
            times = np.concatenate([times, np.maximum.reduceat(times, self._groups)])
        output = bytearray(self._output)
        written = _longs(output)
        written[self._value_at] = values
        written[self._time_at] = _varints(times)[self._point_of] | self._behind
        self.hits += 1
        view = memoryview(output)
        return [Encoded(view[part.start : part.end], part.shares, part.metadata) for part in self._parts]

    def _numbers(self, raw: Longs) -> Longs | None:
        """The bits of the samples' values, from those of the points' numbers."""
        doubles, signed, counts, _ = self._ends
        if doubles == len(raw):
            return raw
        made = raw.copy()
        made[doubles:signed] = raw[doubles:signed].view(np.int64).astype(np.float64).view(np.uint64)
        made[signed:counts] = raw[signed:counts].astype(np.float64).view(np.uint64)
        buckets = raw[counts:]
        if len(buckets):
            if buckets.max() >= _SANE:
                return None
            totals = np.cumsum(buckets, dtype=np.uint64)
            below = (totals - buckets)[self._first]
            made[counts:] = (totals - below).astype(np.float64).view(np.uint64)
        return made


def _varints(milliseconds: Longs) -> Longs:
    """Varints of six bytes, as numbers of which the first byte is the lowest."""
    made = np.full(len(milliseconds), 0x80_8080_8080, np.uint64)
    for place in range(6):
        made |= (milliseconds >> np.uint64(7 * place) & np.uint64(127)) << np.uint64(8 * place)
    return made


def _longs(data: Buffer) -> Longs:
    """The eight bytes at each position, as a number."""
    return np.ndarray((len(data) - 7,), "<u8", data, 0, (1,))


def _array(positions: Sequence[int]) -> Positions:
    return np.array(positions, np.int64)
