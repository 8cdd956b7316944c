"""One metric family of a target, compiled: what its lines begin with, its OTLP bytes, and which number goes where."""

import asyncio
import struct
from collections.abc import Mapping, Set
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from hawse.codecs.exposition.build import Family as Builder
from hawse.codecs.exposition.build import Identity, Point, Slots, place
from hawse.codecs.exposition.errors import ExpositionError, LimitExceeded
from hawse.codecs.exposition.families import Family, Metadata, at_line
from hawse.codecs.exposition.labels import Key, Labelling
from hawse.codecs.exposition.lines import Comments, Lines, Numbers, plain
from hawse.codecs.exposition.points import Kind
from hawse.codecs.exposition.text import sample, tail

MS = 1_000_000  # ns
_AT_ONCE = 500  # lines between which others may run
SLOTS = tuple(Slots.__slots__)
_INDEX = {name: number for number, name in enumerate(SLOTS)}


class Before(NamedTuple):
    """What was last said of a point: when it started (ns), and the number that tells whether it began anew."""

    start: int
    value: float
    timed: bool


class Segment:
    """See the module. A target may have thousands of them, with a sample each: so little is kept."""

    __slots__ = ("bounds", "chunks", "data", "dropped", "key", "line_count", "lines", "metadata", "packed", "samples")

    def __init__(
        self,
        key: tuple[str, int],
        metadata: Metadata,
        lines: Lines,
        chunks: tuple[tuple[Key, int], ...],
        data: bytes,
        slots: Slots,
        dropped: bytes,
    ) -> None:
        """`chunks` are groups and how many of the bytes in `data` belong to each; `dropped` has a 1 for each sample
        that is not in it, else a 0, and is empty if all are. `slots` count positions from the first of the bytes,
        samples from the first of the segment.

        Once a Layout has them, `data` and `lines` are empty.
        """
        self.key = key
        self.metadata = metadata
        self.lines: Lines | None = lines
        self.line_count = len(lines.is_sample)
        self.samples = len(lines.prefixes)
        self.chunks = chunks
        self.data = data
        self.dropped = dropped
        arrays = [np.array(getattr(slots, name), np.int32) for name in SLOTS]
        self.packed = np.concatenate(arrays).tobytes()
        self.bounds = struct.pack(f"<{len(SLOTS) + 1}I", *accumulate(map(len, arrays), initial=0))

    @property
    def kept(self) -> int:
        """How many samples are in it."""
        return self.samples - sum(self.dropped)

    @property
    def starts(self) -> int:
        """How many points have a start."""
        return len(self.slot("start_at")) // 4

    def slot(self, name: str) -> memoryview:
        """One of `Slots`, as 32-bit numbers."""
        first, last = struct.unpack_from("<II", self.bounds, 4 * _INDEX[name])
        return memoryview(self.packed)[4 * first : 4 * last]

    def taken_over(self) -> None:
        """A Layout has it."""
        self.data = b""
        self.lines = None


async def compile_segment(
    family: Family,
    lines: list[bytes],
    labelling: Labelling,
    before: Mapping[Identity, Before],
    taken: Set[Identity],
    at: int,
    *,
    openmetrics: bool,
    is_plain: bool,
    created_lines: bool,
    honor_timestamps: bool,
    most: int,
    exceeded: str,
) -> tuple[Segment, Numbers, set[Identity]]:
    """Read the lines of a family for the first time. Gives its points' identities, too.

    `before` is what is known of points from earlier scrapes, `taken` are those of other families; `at` is the time of
    this one (ns); `most` is how many samples may be kept, `exceeded` the error's text where there are more. Raises
    ExpositionError with line and column, LimitExceeded.
    """
    builder = Builder(family.key[0], family.metadata, labelling, plain=is_plain, created_lines=created_lines)
    shape, dropped = await _take(
        family, lines, labelling, builder, openmetrics=openmetrics, timestamps=honor_timestamps, most=(most, exceeded)
    )
    numbers = shape.read(lines[family.first : family.last])
    if numbers is None:  # `_take` has read each of them
        raise ExpositionError(f"line {family.first + 1}: {family.key[0]!r} can't be read")
    chunks: list[tuple[Key, int]] = []
    pieces: list[bytes] = []
    slots = Slots()
    starts: list[int] = []
    identities: set[Identity] = set()
    base = 0
    for key, data, metrics in builder.write(taken):
        for name, kind, points, rests in metrics:
            for number, (point, rest) in enumerate(zip(points, rests, strict=True)):
                place(slots, point, kind, base + rest)
                identity = key, name, point.attributes
                identities.add(identity)
                if kind is not Kind.GAUGE and kind is not Kind.STATE:
                    starts.append(_start(point, before.get(identity), numbers, at))
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
        chunks.append((key, len(data)))
        pieces.append(data)
        base += len(data)
    whole = bytearray(b"".join(pieces))
    for position, start in zip(slots.start_at, starts, strict=True):
        whole[position : position + 8] = start.to_bytes(8, "little")
    return Segment(family.key, family.metadata, shape, tuple(chunks), bytes(whole), slots, dropped), numbers, identities


def _start(point: Point, before: Before | None, numbers: Numbers, at: int) -> int:
    """When a cumulative point began, as far as is known: at its first scrape, or at the one where it had fallen."""
    sample_ = point.value if point.value >= 0 else point.counted
    if before is not None and numbers.values[sample_] >= before.value:
        return before.start
    return at if numbers.times is None or not point.timed else max(0, int(numbers.times[sample_])) * MS


async def _take(
    family: Family,
    lines: list[bytes],
    labelling: Labelling,
    builder: Builder,
    *,
    openmetrics: bool,
    timestamps: bool,
    most: tuple[int, str],
) -> tuple[Lines, bytes]:
    """The lines' shape, and which of their samples are dropped (see Segment)."""
    prefixes: list[bytes] = []
    comments: list[bytes] = []
    is_sample = bytearray()
    timed = bytearray()
    odd: set[int] = set()
    dropped = bytearray()
    kept = 0
    for number in range(family.first, family.last):
        line = lines[number]
        if not line or line.lstrip()[:1] in {b"#", b""}:
            comments.append(line)
            is_sample.append(0)
            continue
        try:
            size, name, exposed = sample(line)
            text = line[size:]
            has_time = b" " in text
            if has_time or not plain(text):
                _, time, _ = tail(text, openmetrics=openmetrics)
                has_time = time is not None
                if not plain(text):
                    odd.add(len(prefixes))
            series = labelling.series(name, exposed)
        except ExpositionError as error:
            raise at_line(number, error) from None
        if series is not None:
            builder.take(name, series, len(prefixes), timed=has_time and timestamps)
            kept += 1
            if kept > most[0]:
                raise LimitExceeded(most[1])
        dropped.append(series is None)
        prefixes.append(line[:size])
        is_sample.append(1)
        timed.append(has_time)
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return Lines(prefixes, Comments.of(comments), bytes(is_sample), bytes(timed), odd, openmetrics=openmetrics), bytes(
        dropped
    ) if kept < len(dropped) else b""
