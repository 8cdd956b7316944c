"""Questions to the store, each answered as JSON."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hawse.backend import fields
from hawse.backend.columns import LATEST
from hawse.backend.conditions import Search
from hawse.backend.reader import Chunk, Reader, TimedOut, matching

Query = Mapping[str, list[str]]
_NO_ID = LATEST


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


def records(reader: Reader, picked: Iterable[tuple[Chunk, int]], body_limit: int = 0) -> Iterator[dict[str, Any]]:
    """Records at their places in chunks, each with all its fields."""
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
        "records": list(records(reader, picked, body_limit)),
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
    found = list(records(reader, picked[:limit], body_limit))
    return {"records": found, "last": newest, "skipped": len(picked) > limit}


def one(reader: Reader, number: int) -> dict[str, Any] | None:
    """The record of that id, None if there is none (any more)."""
    chunk = next(reader.chunks("id <= ?", (number,), "id DESC LIMIT 1"), None)
    if chunk is None or number >= chunk.id + chunk.items:
        return None
    return next(records(reader, [(chunk, number - chunk.id)]))


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
        new = [msgspec.json.encode(found) + b"\n" for found in records(reader, ((chunk, place) for place in places))]
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


__all__ = ["Cursor", "dump", "field_names", "groups", "one", "records", "search", "tail"]
