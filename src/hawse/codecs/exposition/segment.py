"""One metric family of a target, compiled: what its lines begin with, its OTLP bytes, and which number goes where."""

import asyncio
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple, TypeAlias

import numpy as np

from hawse.codecs.exposition.build import Family as Builder
from hawse.codecs.exposition.build import Identity, Point, Slots, place
from hawse.codecs.exposition.errors import ExpositionError, LimitExceeded
from hawse.codecs.exposition.families import Family, Metadata, at_line
from hawse.codecs.exposition.labels import Key, Labelling
from hawse.codecs.exposition.lines import Lines, Numbers, plain
from hawse.codecs.exposition.points import Kind
from hawse.codecs.exposition.text import sample, tail

Packed: TypeAlias = dict[str, bytes]  # Slots, as 32-bit numbers: arrays of NumPy are too large for a few of them
MS = 1_000_000  # ns
_AT_ONCE = 500  # lines between which others may run
SLOTS = tuple(Slots.__slots__)


class Before(NamedTuple):
    """What was last said of a point: when it started (ns), and the number that tells whether it began anew."""

    start: int
    value: float
    timed: bool


class Segment:
    """See the module. `slots` count positions from the segment's first byte, samples from its first."""

    __slots__ = ("chunks", "data", "dropped", "kept", "key", "lines", "metadata", "slots")

    def __init__(
        self,
        key: tuple[str, int],
        metadata: Metadata,
        lines: Lines,
        chunks: list[tuple[Key, int]],
        data: bytearray,
        slots: Packed,
        dropped: bytes,
    ) -> None:
        """`chunks` are groups and how many of the bytes in `data` belong to each; `dropped` has a 1 for each sample
        that is not in it, else a 0, and is empty if all are; `kept` counts those that are.

        Once a Layout has them, `data` are empty.
        """
        self.key = key
        self.metadata = metadata
        self.lines = lines
        self.chunks = chunks
        self.data = data
        self.slots = slots
        self.dropped = dropped
        self.kept = len(lines.prefixes) - sum(dropped)

    def kept_prefixes(self) -> Iterable[bytes]:
        """What the lines of the samples begin with that are kept."""
        prefixes = self.lines.prefixes
        if not self.dropped:
            return prefixes
        return (prefix for prefix, dropped in zip(prefixes, self.dropped, strict=True) if not dropped)


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
    packed = {name: np.array(getattr(slots, name), np.int32).tobytes() for name in SLOTS}
    whole = bytearray(b"".join(pieces))
    for position, start in zip(slots.start_at, starts, strict=True):
        whole[position : position + 8] = start.to_bytes(8, "little")
    return Segment(family.key, family.metadata, shape, chunks, whole, packed, dropped), numbers, identities


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
    return Lines(prefixes, comments, bytes(is_sample), bytes(timed), odd, openmetrics=openmetrics), bytes(
        dropped
    ) if kept < len(dropped) else b""
