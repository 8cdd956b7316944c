"""A target's scrape as prepared bytes: those of all segments, ordered by group, written into by each scrape."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hawse.codecs.exposition.exemplars import encode
from hawse.codecs.exposition.labels import Key
from hawse.codecs.exposition.lines import Floats, Lines, Numbers, Times
from hawse.codecs.exposition.points import FLAGS_BEHIND_TIME, NO_RECORDED_VALUE
from hawse.codecs.exposition.segment import MS, SLOTS, Segment
from hawse.codecs.exposition.text import Exemplar

_POSITIONS = tuple(name for name in SLOTS if name.endswith("_at"))
_SAMPLES = tuple(name for name in SLOTS if not name.endswith("_at"))
_OF_SEGMENT, _OF_LAYOUT = 900, 6000  # bytes of objects, measured
_MOST = 1 << 53  # above it a float is no exact count
Arrays: TypeAlias = dict[str, NDArray[np.int32]]
Indices: TypeAlias = NDArray[np.intp]


class Part(NamedTuple):
    """The bytes of one group, and its points."""

    key: Key
    first: int
    last: int
    points: int


class _Packed(NamedTuple):
    """The slots of many segments: all numbers, where each segment's begin, and each slot's among those."""

    numbers: NDArray[np.int32]
    base: NDArray[np.int64]
    bounds: NDArray[np.int64]


def _packed(segments: Sequence[Segment]) -> _Packed:
    numbers = np.frombuffer(b"".join(segment.packed for segment in segments), np.int32)
    bounds = np.frombuffer(b"".join(segment.bounds for segment in segments), np.uint32).astype(np.int64)
    bounds = bounds.reshape(-1, len(SLOTS) + 1)
    sizes = bounds[:, -1]
    return _Packed(numbers, np.cumsum(sizes) - sizes, bounds)


class Layout:
    """See the module. `data` is written into by `patch`: its users must be done before the next."""

    def __init__(
        self,
        segments: Sequence[Segment],
        lines: Sequence[Lines],
        data: Sequence[bytes],
        last: Mapping[int, Floats],
        *,
        openmetrics: bool,
    ) -> None:
        """`lines` and `data` are those of each segment; `last` earlier values of its `start_of`, by its place."""
        self.segments = tuple(segments)
        self.lines = Lines.joined(lines, openmetrics=openmetrics)
        self.kept = sum(segment.kept for segment in segments)
        self._lines = np.cumsum([0, *(segment.line_count for segment in segments)])
        self._samples = np.cumsum([0, *(segment.samples for segment in segments)])
        self._starts = np.cumsum([0, *(segment.starts for segment in segments)])
        self._arrange(data)
        self._join()
        slots = self._slots
        self._fallen_before = np.full(len(slots["start_of"]), np.nan)
        for number, values in last.items():
            self._fallen_before[self._starts[number] : self._starts[number + 1]] = values
        self._created = np.flatnonzero(slots["created_of"] >= 0)
        self._timed = np.flatnonzero(slots["time_of"] >= 0)
        size = max(0, len(self.data) - 7)
        self._doubles: NDArray[np.float64] = np.ndarray((size,), "<f8", self.data, 0, (1,)) if size else np.zeros(0)
        self._longs: NDArray[np.uint64] = (
            np.ndarray((size,), "<u8", self.data, 0, (1,)) if size else np.zeros(0, np.uint64)
        )
        self.parts = self._parts()
        for segment in segments:
            segment.taken_over()

    def _arrange(self, data: Sequence[bytes]) -> None:
        """Order the chunks of all segments by group."""
        chunks: list[tuple[Key, memoryview]] = []
        lengths = []
        of_segment = []
        for number, (segment, its) in enumerate(zip(self.segments, data, strict=True)):
            at = 0
            view = memoryview(its)
            for key, length in segment.chunks:
                chunks.append((key, view[at : at + length]))
                lengths.append(length)
                of_segment.append(number)
                at += length
        by_key: dict[Key, list[int]] = {}
        for number, (key, _) in enumerate(chunks):
            by_key.setdefault(key, []).append(number)
        order = [number for numbers in by_key.values() for number in numbers]
        self._old = np.cumsum([0, *lengths])  # where each chunk is in the order of segments
        new = np.zeros(len(chunks) + 1, np.int64)
        ends = np.cumsum([lengths[number] for number in order]) if order else np.zeros(0, np.int64)
        for place, number in enumerate(order):
            new[number] = ends[place] - lengths[number]
        self._new = new[:-1]
        self._chunk_of = np.array(of_segment, np.int64)
        self._keys = {key: sum(lengths[number] for number in numbers) for key, numbers in by_key.items()}
        self.data = bytearray(b"".join(chunks[number][1] for number in order))

    def _join(self) -> None:
        """The slots of all segments, with positions in `data` and samples of the whole body."""
        sizes = np.cumsum([0, *(sum(length for _, length in segment.chunks) for segment in self.segments)])
        shift = self._new - self._old[:-1]
        packed = _packed(self.segments)
        self._slots: Arrays = {}
        for name in _POSITIONS:
            found, counts = self._unpacked(packed, name)
            found = found + np.repeat(sizes[:-1], counts)
            chunk = np.searchsorted(self._old, found, "right") - 1
            self._slots[name] = (found + shift[chunk]).astype(np.int32) if len(found) else found.astype(np.int32)
        none = self._samples[-1]  # behind the last sample there is a 0
        for name in _SAMPLES:
            found, counts = self._unpacked(packed, name)
            absent = none if name == "count_less" else -1
            moved = found + np.repeat(self._samples[:-1], counts)
            self._slots[name] = np.where(found < 0, absent, moved).astype(np.int32)

    def _unpacked(self, packed: "_Packed", name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A slot of all segments, and how many each has."""
        number = SLOTS.index(name)
        counts = packed.bounds[:, number + 1] - packed.bounds[:, number]
        first = packed.base + packed.bounds[:, number] - (np.cumsum(counts) - counts)
        return packed.numbers[np.repeat(first, counts) + np.arange(counts.sum())].astype(np.int64), counts

    def _parts(self) -> list[Part]:
        times = np.sort(self._slots["time_at"])
        parts = []
        at = 0
        for key, length in self._keys.items():
            first, last = np.searchsorted(times, (at, at + length))
            parts.append(Part(key, at, at + length, int(last - first)))
            at += length
        return parts

    # --- each scrape ------------------------------------------------------------------------------------------------

    def patch(self, numbers: Numbers, at: int) -> Indices | None:
        """Write a scrape's numbers. Gives samples that do not fit their histogram or summary, and writes nothing then.

        `at` is the time of the scrape, for all points without one of their own.
        """
        slots = self._slots
        values = numbers.values
        misfits = self._misfits(values)
        if misfits is not None:
            return misfits
        if len(slots["count_at"]):
            counts = values[slots["count_of"]] - values[slots["count_less"]]
            self._longs[slots["count_at"]] = counts.astype(np.uint64)
        self._doubles[slots["value_at"]] = values[slots["value_of"]]
        self._longs[slots["time_at"]] = np.uint64(at)
        if numbers.times is not None and len(self._timed):
            own = np.maximum(numbers.times[slots["time_of"][self._timed]], 0).astype(np.uint64) * np.uint64(MS)
            self._longs[slots["time_at"][self._timed]] = own
        self._begin_anew(values)
        return None

    def _misfits(self, values: Floats) -> Indices | None:
        slots = self._slots
        if not len(slots["count_at"]):
            return None
        counts = values[slots["count_of"]] - values[slots["count_less"]]
        good = (counts >= 0) & (counts <= _MOST) & (counts == np.floor(counts))
        same = values[slots["same_of"]] == values[slots["same_as"]]
        if good.all() and same.all():
            return None
        return np.concatenate([slots["count_of"][~good], slots["same_of"][~same]]).astype(np.intp)

    def _begin_anew(self, values: Floats) -> None:
        slots = self._slots
        if not len(slots["start_at"]):
            return
        now = values[slots["start_of"]]
        fallen = now < self._fallen_before
        if fallen.any():
            # At the time of the point itself, which is written by now: 9 bytes behind its start.
            self._longs[slots["start_at"][fallen]] = self._longs[slots["start_at"][fallen] + 9]
        self._fallen_before = now
        if len(self._created):
            told = values[slots["created_of"][self._created]]
            sane = (told > 0) & (told < 1 << 33)
            self._longs[slots["start_at"][self._created[sane]]] = np.rint(told[sane] * 1e6).astype(
                np.uint64
            ) * np.uint64(1000)

    def exemplars(self, found: Mapping[int, Exemplar], at: int) -> dict[int, list[bytes]]:
        """Encoded exemplars of samples, by the position of a number in the point that each belongs to."""
        placed: dict[int, list[bytes]] = {}
        for sample, exemplar in found.items():
            for of, positions in (("count_of", "count_at"), ("value_of", "value_at")):
                where = np.flatnonzero(self._slots[of] == sample)
                if len(where):
                    placed.setdefault(int(self._slots[positions][where[-1]]), []).append(encode(exemplar, at))
                    break
        return placed

    # --- when the next one has other series ---------------------------------------------------------------------------

    def segment_of(self, sample: int) -> int:
        """The place of the segment that a sample belongs to."""
        return int(np.searchsorted(self._samples, sample, "right")) - 1

    def bytes_of(self, number: int) -> bytes:
        """The bytes of a segment as they are now."""
        first, last = np.searchsorted(self._chunk_of, (number, number + 1))
        return b"".join(
            self.data[self._new[chunk] : self._new[chunk] + self._old[chunk + 1] - self._old[chunk]]
            for chunk in range(first, last)
        )

    def lines_of(self, number: int) -> Lines:
        """What the lines of a segment begin with."""
        lines = slice(self._lines[number], self._lines[number + 1])
        samples = slice(self._samples[number], self._samples[number + 1])
        before = self._lines[number] - self._samples[number]  # comments
        comments = slice(before, before + (lines.stop - lines.start) - (samples.stop - samples.start))
        return self.lines.part(lines, samples, comments)

    def kept_prefixes(self, number: int) -> Iterable[bytes]:
        """What the lines of a segment's samples begin with that are kept."""
        prefixes = self.lines.prefixes[self._samples[number] : self._samples[number + 1]]
        dropped = self.segments[number].dropped
        if not dropped:
            return prefixes
        return (prefix for prefix, out in zip(prefixes, dropped, strict=True) if not out)

    def last_of(self, number: int) -> Floats:
        """The values of a segment's `start_of` at the last scrape."""
        return self._fallen_before[self._starts[number] : self._starts[number + 1]]

    def stale(self, at: int) -> bytearray:
        """A copy of `data` that says of every point that it is gone."""
        slots = self._slots
        copy = bytearray(self.data)
        if copy:
            doubles: NDArray[np.float64] = np.ndarray((len(copy) - 7,), "<f8", copy, 0, (1,))
            longs: NDArray[np.uint64] = np.ndarray((len(copy) - 7,), "<u8", copy, 0, (1,))
            np.frombuffer(copy, np.uint8)[slots["time_at"] + FLAGS_BEHIND_TIME] = NO_RECORDED_VALUE
            longs[slots["time_at"]] = np.uint64(at)
            doubles[slots["value_at"]] = np.nan
            longs[slots["count_at"]] = np.uint64(0)
        return copy

    def timed_of(self, number: int) -> set[int]:
        """Where the timestamps are, in the bytes of a segment, that are told by the target."""
        segment = self.segments[number]
        at, of = np.frombuffer(segment.slot("time_at"), np.int32), np.frombuffer(segment.slot("time_of"), np.int32)
        return set(at[of >= 0].tolist())

    @property
    def any_timed(self) -> bool:
        """Whether some points have timestamps of their own."""
        return bool(len(self._timed))

    @property
    def nbytes(self) -> int:
        """About what is held."""
        prefixes = sum(map(len, self.lines.prefixes)) + 41 * len(self.lines.prefixes)
        arrays = sum(array.nbytes for array in self._slots.values()) * 2 + self._fallen_before.nbytes
        comments = 16 * len(self.lines.comments)
        return len(self.data) + prefixes + arrays + comments + _OF_SEGMENT * len(self.segments) + _OF_LAYOUT


__all__ = ["Layout", "Part", "Times"]
