"""The questions about traces by name: a URL's query in, plain objects out. Runs in a search process."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hawse.backend import conditions
from hawse.backend.columns import LATEST
from hawse.backend.conditions import Mistake, last, number
from hawse.backend.reader import Reader
from hawse.backend.traces import beside, search, trace
from hawse.backend.traces.chunks import OWN, Wanted, attribute_names
from hawse.backend.traces.counts import Count, Key, count
from hawse.values import Duration
from hawse.wire import WireError

Query = Mapping[str, list[str]]

_MOST_TRACES = 1000
_MOST_SPANS = 50_000
_MOST_BY = 5  # fields that a count is by
_NAMES_FROM = 10_000  # spans that names of attributes are taken from
_PARAMETERS = frozenset(
    {"min_duration", "max_duration", "min_span_duration", "max_span_duration", "field", "around", "format"}
)
_SHORT = {"operation": "name"}  # what others call a field


class Missing(LookupError):
    """There is nothing of what was asked for by its id."""


def _wanted(asked: Query) -> Wanted:
    plain = {key: values for key, values in asked.items() if key.rstrip("!") not in _PARAMETERS}
    named: dict[str, list[str]] = {}
    for key, values in plain.items():
        base = key.removesuffix("!")
        named.setdefault(_SHORT.get(base, base) + "!" * key.endswith("!"), []).extend(values)
    found = conditions.search(named)
    return Wanted(found, _duration(asked, "min_span_duration") or 0, _duration(asked, "max_span_duration"))


def _duration(asked: Query, name: str) -> int | None:
    """Nanoseconds of a duration such as 250ms; None where it is not asked for."""
    text = last(asked, name)
    try:
        return min(int(Duration.parse(text) * 10**9), LATEST) if text else None
    except ValueError as error:
        raise Mistake(f"{name}: {error}") from None


def _id(asked: Query) -> bytes:
    text = last(asked, "trace_id").lower()
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) not in (8, 16) or len(text) != 2 * len(found):
        raise Mistake(f"trace_id: {text!r} is none; give 32 hexadecimal digits, or 16")
    return found.rjust(16, b"\0")


def traces(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """The latest traces that have a span as it is asked for."""
    least, most = _duration(asked, "min_duration") or 0, _duration(asked, "max_duration")
    limit = number(asked, "limit", 50, _MOST_TRACES)
    return search.search(reader, _wanted(asked), least, most, limit, until)


def one(reader: Reader, asked: Query, until: float) -> Any:  # noqa: ARG001
    """One trace, as we tell it or (format=otlp) as OTLP's JSON."""
    trace_id, limit = _id(asked), number(asked, "limit", 10_000, _MOST_SPANS)
    form = last(asked, "format", "json")
    if form not in {"json", "otlp"}:
        raise Mistake(f'format: {form!r} is none; write "json" or "otlp"')
    try:
        found = trace.trace(reader, trace_id, limit) if form == "json" else _raw(trace.otlp(reader, trace_id, limit))
    except WireError as error:
        raise Mistake(f"format: a span of the trace is malformed, OTLP cannot have it: {error}") from None
    if found is None:
        raise Missing(f"there is no trace {trace_id.hex()} (any more)")
    return found


def _raw(found: bytes | None) -> Any:
    return None if found is None else msgspec.Raw(found)


def logs(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """Log records beside a trace."""
    trace_id, limit = _id(asked), number(asked, "limit", 500, 5000)
    around = _duration(asked, "around")
    body_limit = number(asked, "body_limit", 1, 1 << 30) if "body_limit" in asked else 0
    found = beside.logs(reader, trace_id, 10**9 if around is None else around, limit, body_limit, until)
    if found is None:
        raise Missing(f"there is no trace {trace_id.hex()} (any more)")
    return found


def counts(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """How many spans are as asked for, in how many traces, and how many came again."""
    by = tuple(_SHORT.get(name, name) for value in asked.get("by", []) for name in value.split(",") if name)
    if len(by) > _MOST_BY:
        raise Mistake(f"by: at most {_MOST_BY} fields")
    found = count(reader, _wanted(asked), by, until)
    total = {
        "count": found.spans.total(),
        "errors": found.errors.total(),
        "traces": found.traces,
        "duplicates": found.duplicates,
    }
    if not by:
        return total
    rows, more = _rows(found, number(asked, "limit", 10_000, 10_000))
    groups = [{"values": dict(zip(by, key, strict=True)), **tally} for key, tally in rows]
    return {**total, "by": by, "groups": groups, "more": more}


def values(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """The values of a field, and how many spans have each."""
    name = last(asked, "field")
    if not name:
        raise Mistake("field: say which one, such as ?field=service")
    found = count(reader, _wanted(asked), (_SHORT.get(name, name),), until, distinct=False)
    without = found.spans.pop((None,), 0)
    rows, _ = _rows(found, number(asked, "limit", 100, 10_000))
    return {
        "field": name,
        "values": [{"value": key[0], **tally} for key, tally in rows],
        "distinct": len(found.spans),
        "without": without,
    }


def _rows(found: Count, limit: int) -> tuple[list[tuple[Key, dict[str, int]]], bool]:
    ordered = sorted(found.spans.items(), key=lambda item: (-item[1], [value or "" for value in item[0]]))
    rows = [(key, {"count": spans, "errors": found.errors[key]}) for key, spans in ordered[:limit]]
    return rows, len(ordered) > limit


def fields(reader: Reader, asked: Query, until: float) -> dict[str, Any]:  # noqa: ARG001
    """Names that conditions may use."""
    numbers = {row[0] for row in reader.connection.execute("SELECT DISTINCT resource FROM span_run")}
    of_resource = {name for key, one in reader.resources().items() if key in numbers for name in one.attributes}
    named = [("span", OWN), ("resource", sorted(of_resource))]
    named.append(("attributes", sorted(attribute_names(reader, _NAMES_FROM))))
    return {"fields": [{"name": name, "of": of} for of, names in named for name in names]}


QUESTIONS: dict[str, Callable[[Reader, Query, float], Any]] = {
    "traces/search": traces,
    "traces/trace": one,
    "traces/logs": logs,
    "traces/count": counts,
    "traces/values": values,
    "traces/fields": fields,
}
