"""Questions to the store, each answered as JSON."""

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hawse.backend import fields
from hawse.backend.columns import LATEST
from hawse.backend.conditions import Search
from hawse.backend.reader import Chunk, Reader, TimedOut, Verdict, matching

Query = Mapping[str, list[str]]
_NO_ID = LATEST
_GROUPS = 10_000  # different values that a count tells apart


# --- records --------------------------------------------------------------------------------------------------------


def rfc3339(nanoseconds: int) -> str:
    """A time in UTC, with nine digits after the seconds."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"


def record(reader: Reader, chunk: Chunk, place: int, resource: int, body_limit: int = 0) -> dict[str, Any]:
    """A record with all its fields. 64-bit times are text, as in OTLP's JSON: JavaScript would round the numbers.

    With `body_limit` > 0 the body is cut to so many bytes, and `body_bytes` tells how many it has.
    """
    columns = chunk.columns
    body, extra, when = columns.bodies[place], columns.others(place), int(columns.times[place])
    origin = reader.resources()[resource]
    cut = 0 < body_limit < len(body)
    found: dict[str, Any] = {
        "id": chunk.id + place,
        "time": rfc3339(when),
        "time_unix_nano": str(when),
        "observed_time_unix_nano": str(columns.observed(place)),
        "received": rfc3339(chunk.received),
        "source": origin.source,
        "body": (body[:body_limit] if cut else body).decode("utf-8", "ignore" if cut else "replace"),
        "body_type": "json" if extra.json else "string",
        "severity_number": extra.severity_number,
        "severity_text": extra.severity_text,
        "attributes": extra.attributes,
        "resource": origin.attributes,
        "trace_id": extra.trace_id,
        "span_id": extra.span_id,
        "flags": extra.flags,
        "event_name": extra.event_name,
        "scope": {"name": extra.scope_name, "version": extra.scope_version},
    }
    if cut:
        found["body_bytes"] = len(body)
    elif "\ufffd" in found["body"] and found["body"].encode() != body:
        found["body_base64"] = body  # exactly what came, since the text has lost something
    return found


def _records(reader: Reader, picked: Iterable[tuple[Chunk, int]], body_limit: int = 0) -> Iterator[dict[str, Any]]:
    resources: dict[int, list[int]] = {}
    for chunk, place in picked:
        if chunk.id not in resources:
            resources[chunk.id] = chunk.resources().tolist()
        yield record(reader, chunk, place, resources[chunk.id][place], body_limit)


# --- search ---------------------------------------------------------------------------------------------------------


class Cursor(msgspec.Struct, array_like=True):
    """Where a search goes on: with records before this one, newest first. Records that come later change nothing."""

    time: int = LATEST
    id: int = _NO_ID


def search(
    reader: Reader, asked: Search, limit: int, cursor: Cursor, until: float, body_limit: int = 0
) -> dict[str, Any]:
    """The newest records by their own time.

    Where time runs out, what is certain so far is returned: `complete` is false and `next` goes on from there.
    """
    verdicts = reader.verdicts(asked)
    best: list[tuple[int, int, Chunk, int]] = []  # a heap of (-time, -id, chunk, place); ids differ
    picked: list[tuple[Chunk, int]] = []
    last, complete = cursor, True
    chunks = reader.chunks(
        "max_time >= ? AND min_time < ? AND min_time <= ?",
        (asked.start, asked.end, cursor.time),
        "max_time DESC, id DESC",
    )
    for chunk in chunks:
        # Chunks come by their latest record: what is later than that cannot be overtaken any more.
        last = _emit(best, picked, limit, last, later_than=chunk.max_time)
        if len(picked) == limit:
            break
        try:
            _gather(best, chunk, matching(chunk, verdicts, asked, until), cursor)
        except TimedOut:
            last, complete = min(last, Cursor(chunk.max_time, _NO_ID), key=lambda c: (c.time, c.id)), False
            break
        if len(best) > 4 * limit:
            best = heapq.nsmallest(limit, best)
    else:
        last = _emit(best, picked, limit, last, later_than=-1)
    chunks.close()
    more = not complete or len(picked) == limit
    return {
        "records": list(_records(reader, picked, body_limit)),
        "next": f"{last.time}-{last.id}" if more else None,
        "complete": complete,
    }


def _gather(best: list[tuple[int, int, Chunk, int]], chunk: Chunk, places: list[int], cursor: Cursor) -> None:
    times = chunk.columns.times[places].tolist() if places else []
    for place, when in zip(places, times, strict=True):
        number = chunk.id + place
        if (when, number) < (cursor.time, cursor.id):
            heapq.heappush(best, (-when, -number, chunk, place))


def _emit(
    best: list[tuple[int, int, Chunk, int]],
    picked: list[tuple[Chunk, int]],
    limit: int,
    last: Cursor,
    *,
    later_than: int,
) -> Cursor:
    while best and len(picked) < limit and -best[0][0] > later_than:
        when, number, chunk, place = heapq.heappop(best)
        picked.append((chunk, place))
        last = Cursor(-when, -number)
    return last


def tail(reader: Reader, asked: Search, after: int, limit: int, until: float, body_limit: int = 0) -> dict[str, Any]:
    """The records that arrived last, the last one first, back to the record `after`; `last` is for the next call."""
    verdicts = reader.verdicts(asked)
    (newest,) = reader.connection.execute("SELECT coalesce(max(id + items) - 1, 0) FROM chunk").fetchone()
    picked: list[tuple[Chunk, int]] = []
    for chunk in reader.chunks("id + items - 1 > ? AND id <= ?", (after, newest), "id DESC"):
        places = [place for place in matching(chunk, verdicts, asked, until) if chunk.id + place > after]
        picked += [(chunk, place) for place in reversed(places)]
        if len(picked) >= limit or chunk.id <= after:
            break
    records = list(_records(reader, picked[:limit], body_limit))
    return {"records": records, "last": newest, "skipped": len(picked) > limit}


def one(reader: Reader, number: int) -> dict[str, Any] | None:
    """The record of that id, None if there is none (any more)."""
    chunk = next(reader.chunks("id <= ?", (number,), "id DESC LIMIT 1"), None)
    if chunk is None or number >= chunk.id + chunk.items:
        return None
    return next(_records(reader, [(chunk, number - chunk.id)]))


def dump(reader: Reader, asked: Search, after: int, most_bytes: int, until: float) -> tuple[bytes, int]:
    """Records in the order of arrival as JSON lines, whole chunks, up to about `most_bytes`.

    Returns them and the id of the last one looked at; that of the store's last where the end is reached.
    """
    verdicts = reader.verdicts(asked)
    lines: list[bytes] = []
    size, last = 0, after
    for chunk in reader.chunks("id > ?", (_chunk_of(reader, after),), "id"):
        try:
            places = [place for place in matching(chunk, verdicts, asked, until) if chunk.id + place > after]
        except TimedOut:
            if last == after:
                raise
            return b"".join(lines), last
        new = [msgspec.json.encode(found) + b"\n" for found in _records(reader, ((chunk, place) for place in places))]
        lines += new
        size += sum(map(len, new))
        last = chunk.id + chunk.items - 1
        if size >= most_bytes:
            return b"".join(lines), last
    return b"".join(lines), -1


def _chunk_of(reader: Reader, number: int) -> int:
    """The id before that of the chunk that has the record behind `number`."""
    row = reader.connection.execute("SELECT max(id) FROM chunk WHERE id <= ?", (number + 1,)).fetchone()
    return int(row[0]) - 1 if row[0] is not None else -1


# --- counts ---------------------------------------------------------------------------------------------------------

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
            answers = [_by_resource(name, verdict) for name in self.by]
            self._settled[number] = tuple(value for _, value in answers) if all(ok for ok, _ in answers) else None
        return self._settled[number]

    def add(self, key: Key, moment: int, items: int) -> None:
        """Count records. Raises TooManyGroups."""
        self.counts[key, self.bucket(moment)] += items
        if len(self.counts) > _GROUPS * (60 if self.step else 1):
            raise TooManyGroups(f"there are more than {_GROUPS} different values; narrow the search or group by less")


def _by_resource(name: str, verdict: Verdict) -> tuple[bool, str | None]:
    if name == "source":
        return True, verdict.resource.source
    return fields.of_resource(name, verdict.resource.attributes)


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
    known, value = _by_resource(name, verdict)
    return value if known else fields.of_record(name, chunk.columns, place)


# --- what there is --------------------------------------------------------------------------------------------------


def field_names(reader: Reader) -> list[dict[str, Any]]:
    """The names that searches may use, with the records that have them; None where that would take a search."""
    items = dict(reader.connection.execute("SELECT resource, sum(items) FROM run GROUP BY resource"))
    counts: dict[str, int] = defaultdict(int)
    for number, resource in reader.resources().items():
        if number in items:
            for name in resource.attributes:
                counts[name] += items[number]
    named = [{"name": name, "of": "resource", "records": counts[name]} for name in sorted(counts)]
    own = [{"name": name, "of": "record", "records": None} for name in fields.RECORD]
    rows = reader.connection.execute("SELECT name FROM attribute ORDER BY name")
    return named + own + [{"name": name, "of": "attributes", "records": None} for (name,) in rows]


def groups(reader: Reader, signal: str, before: int, limit: int) -> dict[str, Any]:
    """Groups of metrics or spans, the last to arrive first: what sent them and how many items they hold."""
    rows = reader.connection.execute(
        "SELECT id, signal, resource, items, received, size, format FROM item_group "
        "WHERE id < ? AND (signal = ? OR ? = '') ORDER BY id DESC LIMIT ?",
        (before, signal, signal, limit),
    ).fetchall()
    resources = reader.resources()
    found = [
        {
            "id": number,
            "signal": kind,
            "source": resources[resource].source,
            "items": items,
            "received": rfc3339(received),
            "stored_bytes": size,
            "format": format_,
            "resource": resources[resource].attributes,
        }
        for number, kind, resource, items, received, size, format_ in rows
    ]
    return {"groups": found, "next": str(rows[-1][0]) if len(rows) == limit else None}


__all__ = ["Cursor", "count", "dump", "field_names", "groups", "one", "search", "tail"]
