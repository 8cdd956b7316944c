"""OTLP requests in protobuf ↔ batches (opentelemetry-proto, `collector/{logs,metrics,trace}/v1`).

A request is field 1, repeated: ResourceLogs, ResourceMetrics or ResourceSpans. Nothing below the scopes' lengths is
looked at. Records with their fields are `hawse.codecs.otlp_records`, JSON is `hawse.codecs.otlp_json`.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from hawse.batch import Batch, Group, Resource, Signal
from hawse.wire import LENGTH, Buffer, WireError, field, read_varint, varint, walk

SERVICES = {
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    Signal.METRICS: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
}
PATHS = {Signal.LOGS: "/v1/logs", Signal.METRICS: "/v1/metrics", Signal.TRACES: "/v1/traces"}

# Where data points sit in a Metric: gauge, sum, histogram, exponential histogram, summary (metrics.proto, Metric).
_POINTS = frozenset({5, 7, 9, 10, 11})
GROUP, SCOPE = 8, 4  # what they cost, an item being 1
_PARSED = 4 << 20  # bytes that are parsed at once to count what is inside


class TooMany(WireError):
    """More parts than the caller allows."""


def decode(signal: Signal, data: Buffer, peer: str = "", most: int = 1 << 62) -> Batch:
    """Cut an Export…ServiceRequest into groups. The groups refer to `data`; raises WireError where it is malformed.

    `most` bounds the items, and what is around them: groups (each counts as 8), scopes (4), metrics. A part may be of
    two bytes, so that a few megabytes of nothing would become gigabytes of objects. Raises TooMany above it.
    """
    view = memoryview(data)
    groups = []
    left = most
    for number, kind, _, start, end in walk(view):
        if number == 1 and kind == LENGTH:
            group, left = _group(signal, view, start, end, left - GROUP)
            groups.append(group)
            if left < 0:
                raise TooMany("too many groups")
    return Batch(signal, groups, peer)


def _group(signal: Signal, view: memoryview, start: int, end: int, left: int) -> tuple[Group, int]:
    """The group, and how many parts are left of those allowed."""
    resources: list[tuple[int, int]] = []
    scopes: list[Buffer] = []
    items = 0
    run = start  # where the current run of fields other than the resource began
    for number, kind, tag_at, at, behind in walk(view, start, end):
        left -= SCOPE
        if left < 0:
            raise TooMany("too many parts")
        if number == 1 and kind == LENGTH:
            resources.append((at, behind))
            if tag_at > run:
                scopes.append(view[run:tag_at])
            run = behind
        elif number == 2 and kind == LENGTH:
            found, around = _count(signal, view, at, behind, left)
            items += found
            left -= found + around
    if end > run:
        scopes.append(view[run:end])
    # One Resource message stays one; two in a row are merged, as protobuf says, by joining their bytes.
    raw = b"".join(view[at:behind] for at, behind in resources)
    return Group(Resource(raw), tuple(scopes), items), left


# Messages of which nothing is known but what is counted. In a Scope, field 2 repeats: records and spans are counted in
# C by it, at 20 ns each; walking to them takes 700 (measured: more than half of what enriching logs cost). In Points
# field 2 does not repeat, although it does on the wire: protobuf merges messages that come again, so all metrics of a
# scope become one, in which all their points stand in a row (20–100 ns a point; a Python object for each metric takes
# 800).
_COUNTED = """Scope: 2 bytes items*
Data: 1 bytes points*
Metric: 5 Data _5, 7 Data _7, 9 Data _9, 10 Data _10, 11 Data _11
Points: 2 Metric _2"""


@cache
def _class(name: str) -> Any:
    """Made when first needed: who only sends has no use for it."""
    from hawse.codecs.descriptors import classes

    return classes("hawse.scope", _COUNTED)[name]


def _count(signal: Signal, view: memoryview, start: int, end: int, left: int) -> tuple[int, int]:
    """Items of a scope, and parts around them (metrics)."""
    items = around = 0
    for a, b in _runs(view, start, end):
        if signal is not Signal.METRICS:
            items += _inside(view, a, b)
        elif b - a <= _PARSED:
            items += metric_points(view[a:b])
            around += _inside(view, a, b)
        else:  # a single metric
            items += _walked_points(view, a, b, left - items - around)
            around += 1
        if items + around > left:
            raise TooMany("too many items")
    return items, around


def _runs(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A scope in runs of whole fields, none above _PARSED bytes but where a single field is.

    The classes take 16 bytes for each item, which may have two on the wire: that is why not all is parsed at once.
    """
    if end - start <= _PARSED:
        yield start, end
        return
    run = start
    for _, _, tag_at, _, behind in walk(view, start, end):
        if behind - run > _PARSED and tag_at > run:
            yield run, tag_at
            run = tag_at
    yield run, end


def _inside(view: memoryview, start: int, end: int) -> int:
    """How often field 2 is there: records, spans, metrics."""
    if end - start > _PARSED:  # a single field: `_runs`
        return sum(number == 2 and kind == LENGTH for number, kind, *_ in walk(view, start, end))
    try:
        return len(_class("Scope").FromString(view[start:end]).items)
    except DecodeError as error:
        raise WireError(f"the scope at byte {start} is malformed: {error}") from None


def metric_points(scope: Buffer) -> int:
    """How many data points are in a ScopeMetrics, or in any run of its fields. Raises WireError."""
    try:
        merged = _class("Points").FromString(scope)._2
    except DecodeError as error:
        raise WireError(f"a scope of metrics is malformed: {error}") from None
    return sum([len(data.points) for _, data in merged.ListFields()])


def _walked_points(view: memoryview, start: int, end: int, left: int) -> int:
    points = 0
    for number, kind, _, at, behind in walk(view, start, end):
        if number != 2 or kind != LENGTH:
            continue
        for found, inner, _, a, b in walk(view, at, behind):
            if found in _POINTS and inner == LENGTH:
                for one, its_kind, *_ in walk(view, a, b):
                    points += one == 1 and its_kind == LENGTH
                    if points > left:
                        raise TooMany("too many points")
    return points


def partial_success(rejected: int, message: str) -> bytes:
    """An Export…ServiceResponse with partial_success (field 1: rejected items, message)."""
    inner = (b"\x08" + varint(rejected) if rejected else b"") + (field(2, message.encode()) if message else b"")
    return field(1, inner) if inner else b""


def rejected(response: Buffer) -> tuple[int, str]:
    """Rejected items and message of an Export…ServiceResponse; (0, "") for an empty one. Raises WireError."""
    items, message = 0, ""
    for number, kind, _, start, end in walk(response):
        if number == 1 and kind == LENGTH:
            for inner, inner_kind, _, at, behind in walk(response, start, end):
                if inner == 1 and inner_kind == 0:
                    items = read_varint(response, at, behind)[0]
                elif inner == 2 and inner_kind == LENGTH:
                    message = bytes(response[at:behind]).decode("utf-8", "replace")
    return items, message


__all__ = ["PATHS", "SERVICES", "TooMany", "WireError", "decode", "metric_points", "partial_success", "rejected"]
