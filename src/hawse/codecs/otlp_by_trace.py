"""Spans of a batch divided by their trace IDs, as bytes (opentelemetry-proto, `trace/v1/trace.proto`).

Nothing inside a span is decoded but its trace ID, which stands first as all known clients write it. Cutting scopes into
spans and putting them together again is done in C; what belongs to one part as a whole, which is the rule for small
requests, is not touched.
"""

import time
from collections.abc import Callable, Generator
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from hawse.batch import Batch, Buffer, Group
from hawse.wire import LENGTH, WireError, field, walk

_TURN = 0.005  # seconds of work without a turn for others
_SPANS = 1000  # between two looks at the clock
_FIRST = b"\x0a\x10"  # field 1 of 16 bytes: the trace ID

# A part's scopes, each with its spans' bytes; what is around them stays with the scope as unknown fields.
_DIVIDED = """Group: 2 Scope scopes*
Scope: 2 bytes spans*"""

Parts: TypeAlias = "dict[str, Batch]"
Steps: TypeAlias = Generator[None, None, Parts]


@cache
def _class(name: str) -> Any:
    from hawse.codecs.descriptors import classes

    return classes("hawse.divided", _DIVIDED)[name]


def trace_id(span: Buffer) -> bytes:
    """The trace ID of a Span message, "" where it has none. Raises WireError."""
    if span[:2] == _FIRST:
        return bytes(span[2:18])
    found = b""
    for number, kind, _, start, end in walk(span):
        if number == 1 and kind == LENGTH:
            found = bytes(span[start:end])
    return found


def divide(batch: Batch, part_of: Callable[[bytes], str]) -> Parts:
    """The batch in parts: `part_of` says to which one a trace ID belongs. Raises WireError."""
    steps = dividing(batch, part_of)
    try:
        while True:
            next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def dividing(batch: Batch, part_of: Callable[[bytes], str]) -> Steps:
    """The same in steps of some milliseconds, so that others get their turn between two."""
    parts: dict[str, list[Group]] = {}
    known: dict[bytes, str] = {}
    since = time.perf_counter()
    for group in batch.groups:
        steps = _divided(group, part_of, known, since)
        for part, piece in (yield from steps).items():
            parts.setdefault(part, []).append(piece)
        since = yield from _turn(since)
    return {part: batch.with_groups(groups) for part, groups in parts.items()}


def _turn(since: float) -> Generator[None, None, float]:
    if time.perf_counter() - since > _TURN:
        yield
        return time.perf_counter()
    return since


def _divided(
    group: Group, part_of: Callable[[bytes], str], known: dict[bytes, str], since: float
) -> Generator[None, None, dict[str, Group]]:
    """The parts of a group, each with the resource and what is around the spans."""
    try:
        whole = _class("Group").FromString(b"".join(group.scopes))
    except DecodeError as error:
        raise WireError(f"a group of spans is malformed: {error}") from None
    pieces: dict[str, list[bytes]] = {}
    counts: dict[str, int] = {}
    scopes = list(whole.scopes)
    for scope in scopes:
        spans: dict[str, list[bytes]] = {}
        for number, span in enumerate(scope.spans):
            key = span[2:18] if span[:2] == _FIRST else trace_id(span)
            part = known.get(key)
            if part is None:
                part = known[key] = part_of(key)
            own = spans.get(part)
            if own is None:
                own = spans[part] = []
            own.append(span)
            if number % _SPANS == _SPANS - 1:
                since = yield from _turn(since)
        for part, found in spans.items():
            counts[part] = counts.get(part, 0) + len(found)
            pieces.setdefault(part, []).append(_scope(scope, found, alone=len(spans) == 1))
            since = yield from _turn(since)
    if len(pieces) == 1:
        return {next(iter(pieces)): group}
    del whole.scopes[:]
    rest = whole.SerializeToString()  # the schema's URL, and what newer versions may add
    return {part: Group(group.resource, (*found, rest), counts[part]) for part, found in pieces.items()}


def _scope(scope: Any, spans: list[bytes], *, alone: bool) -> bytes:
    """A ScopeSpans field with these spans only, and all else that the scope has."""
    if not alone:
        del scope.spans[:]
        scope.spans.extend(spans)
    return field(2, scope.SerializeToString())


__all__ = ["Parts", "Steps", "divide", "dividing", "trace_id"]
