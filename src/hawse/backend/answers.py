"""The questions of the API by name: a URL's query in, an HTTP status and JSON out. Runs in a search process."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hawse.backend import conditions, counts, query
from hawse.backend.columns import LATEST
from hawse.backend.conditions import Mistake, last, moment, number
from hawse.backend.metrics.questions import QUESTIONS
from hawse.backend.reader import Reader, TimedOut
from hawse.backend.traces import questions as traces
from hawse.values import Duration

Query = Mapping[str, list[str]]

_MOST_RECORDS = 5000  # in an answer
_MOST_BUCKETS = 10_000
_DUMP_PIECE = 1 << 20


class Question(msgspec.Struct, array_like=True):
    """What a search process is asked: the name of an answer, the URL's query, and the seconds that it may take."""

    name: str
    query: dict[str, list[str]]
    seconds: float


class Answer(msgspec.Struct, array_like=True):
    """An HTTP status and body; `next` tells a dump where to go on (-1: it is at its end)."""

    status: int
    body: bytes
    next: int = -1


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value) + b"\n")


def failure(status: int, message: str) -> Answer:
    """An error as the API tells it."""
    return _json({"error": message}, status)


def answer(reader: Reader, question: Question) -> Answer:
    """Answer from one state of the store."""
    ask = _ANSWERS.get(question.name)
    if ask is None:
        return failure(404, f"no such question: {question.name}")
    reader.connection.execute("BEGIN")
    try:
        return ask(reader, question.query, time.monotonic() + question.seconds)
    except (Mistake, counts.TooManyGroups) as error:
        return failure(400, str(error))
    except traces.Missing as error:
        return failure(404, str(error))
    except TimedOut:
        return failure(504, f"the search took longer than {question.seconds:g} s; give it more conditions or less time")
    finally:
        reader.connection.execute("ROLLBACK")


# --- the answers ----------------------------------------------------------------------------------------------------


def _search(reader: Reader, asked: Query, until: float) -> Answer:
    limit = number(asked, "limit", 100, _MOST_RECORDS)
    return _json(query.search(reader, conditions.search(asked), limit, _cursor(asked), until, _body_limit(asked)))


def _cursor(asked: Query) -> query.Cursor:
    text = last(asked, "cursor")
    if not text:
        return query.Cursor()
    when, dash, number_ = text.partition("-")
    if not (dash and when.isascii() and when.isdigit() and number_.isascii() and number_.isdigit()):
        raise Mistake(f"cursor: {text!r} is none; give the `next` of the answer before")
    return query.Cursor(int(when), int(number_))


def _tail(reader: Reader, asked: Query, until: float) -> Answer:
    limit = number(asked, "limit", 100, _MOST_RECORDS)
    after = _id(asked, "after", 0)
    return _json(query.tail(reader, conditions.search(asked), after, limit, until, _body_limit(asked)))


def _record(reader: Reader, asked: Query, until: float) -> Answer:  # noqa: ARG001
    wanted = _id(asked, "id", 0)
    found = query.one(reader, wanted)
    return _json(found) if found else failure(404, f"there is no record {wanted} (any more)")


def _count(reader: Reader, asked: Query, until: float) -> Answer:
    search = conditions.search(asked)
    by = _by(asked)
    found = counts.count(reader, search, by, 0, until)
    total = sum(found.values())
    if not by:
        return _json({"count": total})
    limit = number(asked, "limit", 10_000, 10_000)
    rows = sorted(found.items(), key=lambda item: (-item[1], [value or "" for value in item[0][0]]))
    groups = [{"values": dict(zip(by, key, strict=True)), "count": items} for (key, _), items in rows[:limit]]
    return _json({"count": total, "by": by, "groups": groups, "more": len(rows) > limit})


def _values(reader: Reader, asked: Query, until: float) -> Answer:
    name = last(asked, "field")
    if not name:
        raise Mistake("field: say which one, such as ?field=k8s.pod.name")
    search = conditions.search({key: value for key, value in asked.items() if key != "field"})
    found = counts.count(reader, search, (name,), 0, until)
    rows = sorted(((key[0], items) for (key, _), items in found.items()), key=lambda row: (-row[1], row[0] or ""))
    limit = number(asked, "limit", 100, 10_000)
    present = [(value, items) for value, items in rows if value is not None]
    return _json(
        {
            "field": name,
            "values": [{"value": value, "count": items} for value, items in present[:limit]],
            "distinct": len(present),
            "without": sum(items for value, items in rows if value is None),
        }
    )


def _rates(reader: Reader, asked: Query, until: float) -> Answer:
    """Records per time step, by the record's time or (clock=received) by that of arrival."""
    clock = last(asked, "clock", "time")
    if clock not in {"time", "received"}:
        raise Mistake(f'clock: {clock!r} is none; write "time" or "received"')
    search = conditions.search(asked)
    start, end = counts.extent(reader, search, arrival=clock == "received")
    step = _step(asked, start, end)
    search = conditions.Search(search.conditions, start - start % step, end)
    by = _by(asked) if "by" in asked else ("source",)
    found = counts.count(reader, search, by, step, until, arrival=clock == "received")
    buckets = range(search.start, end, step)
    series: dict[counts.Key, list[int]] = {}
    for (key, bucket), items in found.items():
        series.setdefault(key, [0] * len(buckets))[(bucket - search.start) // step] += items
    rows = sorted(series.items(), key=lambda row: -sum(row[1]))
    limit = number(asked, "limit", 100, 10_000)
    return _json(
        {
            "from": query.rfc3339(search.start),
            "from_unix_nano": str(search.start),
            "to": query.rfc3339(end),
            "step_seconds": step / 1e9,
            "clock": clock,
            "by": by,
            "series": [
                {"values": dict(zip(by, key, strict=True)), "count": sum(row), "counts": row}
                for key, row in rows[:limit]
            ],
            "more": len(rows) > limit,
        }
    )


def _step(asked: Query, start: int, end: int) -> int:
    """Nanoseconds of a time step: as asked for, or so that there are about sixty."""
    text = last(asked, "step")
    try:
        step = int(Duration.parse(text) * 10**9) if text else max(10**9, (end - start) // 60 // 10**9 * 10**9)
    except ValueError as error:
        raise Mistake(f"step: {error}") from None
    if step < 10**6 or (end - start) // step > _MOST_BUCKETS:
        raise Mistake(f"step: {text or step} gives more than {_MOST_BUCKETS} steps; take a longer one")
    return step


def _body_limit(asked: Query) -> int:
    return number(asked, "body_limit", 1, 1 << 30) if "body_limit" in asked else 0


def _by(asked: Query) -> tuple[str, ...]:
    return tuple(name for value in asked.get("by", []) for name in value.split(",") if name)


def _fields(reader: Reader, asked: Query, until: float) -> Answer:  # noqa: ARG001
    return _json({"fields": query.field_names(reader)})


def _groups(reader: Reader, asked: Query, until: float) -> Answer:  # noqa: ARG001
    limit = number(asked, "limit", 100, _MOST_RECORDS)
    return _json(query.groups(reader, last(asked, "signal"), _id(asked, "cursor", LATEST), limit))


def _dump(reader: Reader, asked: Query, until: float) -> Answer:
    lines, behind = query.dump(reader, conditions.search(asked), _id(asked, "after", 0), _DUMP_PIECE, until)
    return Answer(200, lines, behind)


def _id(asked: Query, name: str, default: int) -> int:
    text = last(asked, name)
    if text and not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Mistake(f"{name}: {text!r} is no number")
    return min(int(text), LATEST) if text else default


def _plain(ask: Callable[[Reader, Query, float], Any]) -> Callable[[Reader, Query, float], Answer]:
    return lambda reader, asked, until: _json(ask(reader, asked, until))


_ANSWERS: dict[str, Callable[[Reader, Query, float], Answer]] = {
    "search": _search,
    "tail": _tail,
    "record": _record,
    "count": _count,
    "values": _values,
    "rates": _rates,
    "fields": _fields,
    "groups": _groups,
    "dump": _dump,
    **{name: _plain(ask) for name, ask in (*QUESTIONS.items(), *traces.QUESTIONS.items())},
}

__all__ = ["Answer", "Question", "answer", "failure", "moment"]
