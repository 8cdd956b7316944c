"""Writes spans as OTLP has them (opentelemetry-proto, `trace/v1/trace.proto`), for receivers that translate.

Everything is bytes as soon as it is written: nothing here makes an object per span. Attributes may be mappings, or
bytes in which the caller has encoded them before, with the field number of the message that they are in: SPAN, EVENT
or LINK. Text may hold anything; lone surrogates become U+FFFD.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from hawse.wire import encode_attributes, field, varint

Attributes: TypeAlias = Mapping[str, Any] | bytes
Event: TypeAlias = tuple[int, str, Attributes]  # time (ns since 1970), name, attributes
Link: TypeAlias = tuple[bytes, bytes, Attributes]  # trace id (16 bytes), span id (8 bytes), attributes

# In which repeated field a Span, an Event and a Link hold their attributes.
SPAN, EVENT, LINK = 9, 3, 4
# Span.SpanKind and Status.StatusCode.
UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(6)
UNSET, OK, ERROR = range(3)

_LATEST = (1 << 64) - 1
_IDS = struct.Struct("<2s16s2s8s")
_TIMES = struct.Struct("<cQcQ")
_TIME = struct.Struct("<cQ")
_FLAGS = struct.Struct("<2sI")


def span(
    *,
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes = b"",
    name: str,
    kind: int,
    start: int,
    end: int,
    attributes: Attributes = b"",
    events: Sequence[Event] = (),
    links: Sequence[Link] = (),
    status: tuple[int, str] | None = None,
    trace_state: str = "",
    flags: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A Span message, without tag and length.

    `trace_id` has 16 bytes, `span_id` and `parent_span_id` (b"" for a root) have 8. `start` and `end` are nanoseconds
    since 1970; what does not fit (before 1970, beyond 64 bits) becomes the nearest that does. `status` is code and
    message, `flags` the W3C flags and their like. `more` is appended as it is: fields that are rare (dropped counts).
    """
    parts = [_IDS.pack(b"\x0a\x10", trace_id, b"\x12\x08", span_id)]
    if trace_state:
        parts.append(field(3, trace_state.encode("utf-8", "replace")))
    if parent_span_id:
        parts += (b"\x22\x08", parent_span_id)
    text = name.encode("utf-8", "replace")
    parts += (b"\x2a", varint(len(text)), text)
    if kind:
        parts += (b"\x30", varint(kind))
    parts.append(_TIMES.pack(b"\x39", fitting(start), b"\x41", fitting(end)))
    if attributes:
        parts.append(_encoded(attributes, SPAN))
    for one in events:
        parts.append(field(11, event(*one)))
    for other in links:
        parts.append(field(13, link(*other)))
    if status is not None:
        parts.append(field(15, encoded_status(*status)))
    if flags is not None:
        parts.append(_FLAGS.pack(b"\x85\x01", flags & 0xFFFF_FFFF))
    parts.append(more)
    return b"".join(parts)


def event(time: int, name: str, attributes: Attributes = b"") -> bytes:
    """A Span.Event message, without tag and length. `time` is in nanoseconds since 1970, as for `span`."""
    told = field(2, name.encode("utf-8", "replace")) if name else b""
    return _TIME.pack(b"\x09", fitting(time)) + told + _encoded(attributes, EVENT)


def link(trace_id: bytes, span_id: bytes, attributes: Attributes = b"", trace_state: str = "") -> bytes:
    """A Span.Link message, without tag and length: 16 and 8 bytes of ids."""
    state = field(3, trace_state.encode("utf-8", "replace")) if trace_state else b""
    return _IDS.pack(b"\x0a\x10", trace_id, b"\x12\x08", span_id) + state + _encoded(attributes, LINK)


def encoded_status(code: int, message: str = "") -> bytes:
    """A Status message, without tag and length."""
    told = field(2, message.encode("utf-8", "replace")) if message else b""
    return told + (b"\x18" + varint(code) if code else b"")


def scope_spans(spans: Sequence[bytes], scope_name: str = "", version: str = "") -> bytes:
    """ScopeSpans as field 2 of ResourceSpans, tag and length included: what `Group.scopes` holds."""
    scope = b""
    if scope_name or version:
        named = field(1, scope_name.encode("utf-8", "replace")) if scope_name else b""
        scope = field(1, named + (field(2, version.encode("utf-8", "replace")) if version else b""))
    parts = [scope]
    for one in spans:
        parts += (b"\x12", varint(len(one)), one)
    inside = b"".join(parts)
    return b"".join((b"\x12", varint(len(inside)), inside))


def fitting(time: int) -> int:
    """The nearest that a fixed64 can hold."""
    return time if 0 <= time <= _LATEST else 0 if time < 0 else _LATEST


def _encoded(attributes: Attributes, number: int) -> bytes:
    return bytes(attributes) if isinstance(attributes, bytes) else encode_attributes(attributes, number)


__all__ = [
    "CLIENT",
    "CONSUMER",
    "ERROR",
    "EVENT",
    "INTERNAL",
    "LINK",
    "OK",
    "PRODUCER",
    "SERVER",
    "SPAN",
    "UNSET",
    "UNSPECIFIED",
    "Attributes",
    "Event",
    "Link",
    "encoded_status",
    "event",
    "fitting",
    "link",
    "scope_spans",
    "span",
]
