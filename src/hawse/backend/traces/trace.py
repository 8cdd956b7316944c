"""One trace with all its spans, and everything that was sent of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from hawse.backend.columns import LATEST
from hawse.backend.query import rfc3339
from hawse.backend.reader import Reader
from hawse.backend.traces.chunks import service_of
from hawse.backend.traces.search import holding, summaries
from hawse.backend.traces.spans import KINDS, STATUSES, Scope, message_class
from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp_json
from hawse.wire import WireError, decode_attributes, encode_attributes, field

MOST_BYTES = 32 << 20  # of Span messages in an answer


def trace(reader: Reader, trace_id: bytes, limit: int) -> dict[str, Any] | None:
    """The spans of a trace by their start, at most `limit` of them; None where there is none of it."""
    found, total = _spans(reader, trace_id, limit)
    if not total:
        return None
    known = reader.resources()
    numbers = sorted({number for _, number, _ in found})
    return {
        **summaries(reader, [trace_id])[trace_id].shown(),
        "items": [_span(message, number, scope, known[number].attributes) for message, number, scope in found],
        "resources": {str(number): known[number].attributes for number in numbers},
        "more": total > len(found),
    }


_Held = tuple[bytes, int, Scope]  # a Span message, the number of its resource, its scope


def _spans(reader: Reader, trace_id: bytes, limit: int) -> tuple[list[_Held], int]:
    """Spans by their start, and how many there are. Those that are beyond the limits are left out, the latest first."""
    held: list[tuple[int, int, _Held]] = []
    total = size = 0
    wanted = np.frombuffer(trace_id, "V16")[0]
    for chunk, places in holding(reader, [trace_id]):
        mine = places[chunk.columns["trace"][places] == wanted]
        total += len(mine)
        starts, numbers, scopes = (chunk.columns[name][mine].tolist() for name in ("start", "resource", "scope"))
        for place, start, number, scope in zip(mine.tolist(), starts, numbers, scopes, strict=True):
            message = chunk.messages[place]
            size += len(message)
            held.append((start, total, (message, number, chunk.names.scopes[scope])))
        if len(held) > 2 * limit or size > 2 * MOST_BYTES:
            held, size = _within(held, limit)
    held, _ = _within(held, limit)
    return [one for _, _, one in held], total


def _within(held: list[tuple[int, int, _Held]], limit: int) -> tuple[list[tuple[int, int, _Held]], int]:
    held.sort(key=lambda one: one[:2])
    size = 0
    for place, (_, _, (message, _, _)) in enumerate(held[:limit]):
        size += len(message)
        if size > MOST_BYTES and place:
            return held[:place], size - len(message)
    return held[:limit], size


# --- as JSON --------------------------------------------------------------------------------------------------------


def _span(message: bytes, number: int, scope: Scope, resource: Mapping[str, Any]) -> dict[str, Any]:
    """64-bit times are text, as in OTLP's JSON: JavaScript would round the numbers."""
    span = message_class("Whole").FromString(message)
    try:
        return {**_head(span, number, scope, resource), **_inside(span, message)}
    except (WireError, DecodeError) as error:  # it was taken, for its outside is well formed
        nothing: dict[str, Any] = {"attributes": {}, "events": [], "links": []}
        return {**_head(span, number, scope, resource), **nothing, "malformed": str(error)}


def _head(span: Any, number: int, scope: Scope, resource: Mapping[str, Any]) -> dict[str, Any]:
    start, end = span.start, span.end
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "trace_state": _text(span.trace_state),
        "flags": span.flags,
        "name": _text(span.name),
        "kind": _word(KINDS, span.kind),
        "service": service_of(resource),
        "start": _time(start),
        "start_unix_nano": str(start),
        "end_unix_nano": str(end),
        "duration_nano": str(end - start),
        "status": {"code": _word(STATUSES, span.status.code), "message": _text(span.status.message)},
        "dropped_attributes_count": span.dropped_attributes,
        "dropped_events_count": span.dropped_events,
        "dropped_links_count": span.dropped_links,
        "scope": {"name": scope.name, "version": scope.version, "attributes": scope.attributes},
        "schema_url": scope.schema_url,
        "resource": str(number),
    }


def _inside(span: Any, message: bytes) -> dict[str, Any]:
    return {
        "attributes": decode_attributes(message, number=9),
        "events": [
            {
                "name": _text(one.name),
                "time": _time(one.time),
                "time_unix_nano": str(one.time),
                "attributes": decode_attributes(one.raw, number=3),
                "dropped_attributes_count": one.dropped,
            }
            for one in map(_event, span.events)
        ],
        "links": [
            {
                "trace_id": one.trace_id.hex(),
                "span_id": one.span_id.hex(),
                "trace_state": _text(one.trace_state),
                "flags": one.flags,
                "attributes": decode_attributes(one.raw, number=4),
                "dropped_attributes_count": one.dropped,
            }
            for one in map(_link, span.links)
        ],
    }


class _Part:
    """An event or a link, with the bytes that its attributes are read from."""

    def __init__(self, kind: str, raw: bytes) -> None:
        self._read = message_class(kind).FromString(raw)
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read, name)


def _event(raw: bytes) -> _Part:
    return _Part("Event", raw)


def _link(raw: bytes) -> _Part:
    return _Part("Link", raw)


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else str(number)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _time(nanoseconds: int) -> str:
    return rfc3339(min(nanoseconds, LATEST))


# --- as OTLP --------------------------------------------------------------------------------------------------------


def otlp(reader: Reader, trace_id: bytes, limit: int) -> bytes | None:
    """The same as OTLP's JSON, which tells all types apart; None where there is none of it.

    Raises WireError where one of the spans is malformed inside.
    """
    found, _ = _spans(reader, trace_id, limit)
    by_origin: dict[int, dict[bytes, list[bytes]]] = {}
    scopes_by_key: dict[bytes, Scope] = {}
    for message, number, scope in found:
        key = scope.key()
        scopes_by_key[key] = scope
        by_origin.setdefault(number, {}).setdefault(key, []).append(message)
    resources = reader.resources()
    groups = [
        Group(
            Resource.of(resources[number].attributes),
            tuple(_scope_spans(scopes_by_key[key], messages) for key, messages in scopes.items()),
            sum(map(len, scopes.values())),
        )
        for number, scopes in by_origin.items()
    ]
    return otlp_json.encode(Batch(Signal.TRACES, groups)) if groups else None


def _scope_spans(scope: Scope, messages: list[bytes]) -> bytes:
    named = b"".join(field(n, part.encode()) for n, part in ((1, scope.name), (2, scope.version)) if part)
    parts = [field(1, named + encode_attributes(scope.attributes, 3)), *[field(2, one) for one in messages]]
    return field(2, b"".join(parts) + (field(3, scope.schema_url.encode()) if scope.schema_url else b""))
