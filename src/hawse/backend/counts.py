"""Counts: by the values of fields, over time. Most are settled by the runs alone, without opening a chunk."""

import time
from collections import defaultdict
from collections.abc import Iterator

from hawse.backend import fields
from hawse.backend.columns import LATEST
from hawse.backend.conditions import Search
from hawse.backend.reader import Chunk, Reader, Verdict, matching

_GROUPS = 10_000  # different values that a count tells apart

Key = tuple[str | None, ...]


class TooManyGroups(ValueError):
    """A count would tell apart more values than it may."""


class _Tally:
    """Counts by field values and time bucket."""

    def __init__(self, by: tuple[str, ...], step: int) -> None:
        self.by = by
        self.step = step
        self.counts: dict[tuple[Key, int], int] = defaultdict(int)
        self._settled: dict[int, Key | None] = {}

    def bucket(self, moment: int) -> int:
        """The beginning of the time step that a moment is in; 0 where there are no steps."""
        return moment - moment % self.step if self.step else 0

    def key(self, verdict: Verdict) -> Key | None:
        """The values of all records of a resource, None if the records may differ."""
        number = verdict.resource.id
        if number not in self._settled:
            answers = [verdict.resource.field(name) for name in self.by]
            self._settled[number] = tuple(value for _, value in answers) if all(ok for ok, _ in answers) else None
        return self._settled[number]

    def add(self, key: Key, moment: int, items: int) -> None:
        """Count records. Raises TooManyGroups."""
        self.counts[key, self.bucket(moment)] += items
        if len(self.counts) > _GROUPS * (60 if self.step else 1):
            raise TooManyGroups(f"there are more than {_GROUPS} different values; narrow the search or group by less")


def count(
    reader: Reader, asked: Search, by: tuple[str, ...], step: int, until: float, *, arrival: bool = False
) -> dict[tuple[Key, int], int]:
    """Records that a search wants, by the values of fields and (`step` > 0 nanoseconds) by time.

    With `arrival` the time is that of arrival, otherwise the record's own. Only chunks that the runs cannot settle
    are opened. Raises TimedOut, TooManyGroups.
    """
    verdicts = reader.verdicts(asked)
    tally = _Tally(by, step)
    to_open: dict[int, set[int]] = defaultdict(set)
    for chunk, resource, items, min_time, max_time in _runs(reader, asked, arrival=arrival):
        verdict = verdicts.get(resource)
        if verdict is None:
            continue
        key = tally.key(verdict)
        inside = asked.start <= min_time and max_time < asked.end
        if key is None or verdict.rest or not inside or tally.bucket(min_time) != tally.bucket(max_time):
            to_open[chunk].add(resource)
        else:
            tally.add(key, min_time, items)
    inner = Search(asked.conditions) if arrival else asked
    for number, resources in to_open.items():
        opened = reader.chunk(number)
        if opened is not None:
            _count_in(tally, opened, {one: verdicts[one] for one in resources}, inner, until, arrival=arrival)
    return tally.counts


def extent(reader: Reader, asked: Search, *, arrival: bool) -> tuple[int, int]:
    """The time range of a search, with what the store holds in place of a missing beginning or end."""
    column = ("received", "received") if arrival else ("min_time", "max_time")
    first, last = reader.connection.execute(f"SELECT min({column[0]}), max({column[1]}) FROM chunk").fetchone()  # noqa: S608
    if asked.end < LATEST:
        return asked.start or min(first or 0, asked.end), asked.end
    if asked.start:  # until now; clocks of senders may be ahead a little
        now = time.time_ns()
        return asked.start, max(now, min(last or 0, now + 3600 * 10**9), asked.start) + 1
    return first or 0, (last or 0) + 1


def _runs(reader: Reader, asked: Search, *, arrival: bool) -> Iterator[tuple[int, int, int, int, int]]:
    if not arrival:
        return reader.connection.execute(
            "SELECT chunk, resource, items, min_time, max_time FROM run WHERE max_time >= ? AND min_time < ?",
            (asked.start, asked.end),
        )
    return reader.connection.execute(
        "SELECT run.chunk, run.resource, run.items, chunk.received, chunk.received "
        "FROM chunk INDEXED BY chunk_received JOIN run ON run.chunk = chunk.id "
        "WHERE chunk.received >= ? AND chunk.received < ?",
        (asked.start, asked.end),
    )


def _count_in(
    tally: _Tally, chunk: Chunk, verdicts: dict[int, Verdict], asked: Search, until: float, *, arrival: bool
) -> None:
    places = matching(chunk, verdicts, asked, until)
    numbers = chunk.resources().tolist()
    times = chunk.columns.times.tolist() if tally.step and not arrival else None
    for place in places:
        verdict = verdicts[numbers[place]]
        key = tally.key(verdict)
        if key is None:
            key = tuple(_by_record(name, verdict, chunk, place) for name in tally.by)
        tally.add(key, times[place] if times else chunk.received, 1)


def _by_record(name: str, verdict: Verdict, chunk: Chunk, place: int) -> str | None:
    known, value = verdict.resource.field(name)
    return value if known else fields.of_record(name, chunk.columns, place)
