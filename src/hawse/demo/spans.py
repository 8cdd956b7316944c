"""The spans of the demo's services, written as the clients of four protocols write them.

OTLP (opentelemetry-proto), Jaeger's agent (jaegertracing/jaeger-idl, thrift/{agent,jaeger}.thrift, in Thrift's compact
protocol), Zipkin v2 (openzipkin/zipkin-api, zipkin2-api.yaml).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from hawse.codecs.span_writer import CLIENT, ERROR, SERVER, scope_spans, span
from hawse.wire import encode_attributes, field, varint

_KINDS = {SERVER: "server", CLIENT: "client"}
_SCOPE = "hawse.demo"


class Span(msgspec.Struct):
    """A span that has ended. `parent` is b"" for a root; times are Unix nanoseconds, whole microseconds."""

    trace_id: bytes
    span_id: bytes
    parent: bytes
    name: str
    kind: int
    start: int
    end: int
    attributes: dict[str, str | int]
    error: str = ""  # what went wrong


# --- OTLP -----------------------------------------------------------------------------------------------------------


def otlp(resource: Mapping[str, Any], spans: Sequence[Span]) -> bytes:
    """An ExportTraceServiceRequest."""
    encoded = [
        span(
            trace_id=one.trace_id,
            span_id=one.span_id,
            parent_span_id=one.parent,
            name=one.name,
            kind=one.kind,
            start=one.start,
            end=one.end,
            attributes=one.attributes,
            events=[(one.end, "exception", {"exception.message": one.error})] if one.error else (),
            status=(ERROR, one.error) if one.error else None,
        )
        for one in spans
    ]
    return field(1, field(1, encode_attributes(resource)) + scope_spans(encoded, _SCOPE))


# --- Zipkin ---------------------------------------------------------------------------------------------------------


def zipkin(service: str, spans: Sequence[Span]) -> bytes:
    """A list of spans in JSON, version 2. What is wrong is told by the tag `error`; times are microseconds."""
    return msgspec.json.encode(
        [
            {
                "traceId": one.trace_id.hex(),
                "id": one.span_id.hex(),
                **({"parentId": one.parent.hex()} if one.parent else {}),
                "name": one.name,
                "kind": _KINDS[one.kind].upper(),
                "timestamp": one.start // 1000,
                "duration": max(1, (one.end - one.start) // 1000),
                "localEndpoint": {"serviceName": service},
                "tags": {name: str(value) for name, value in one.attributes.items()}
                | ({"error": one.error} if one.error else {}),
                "annotations": [{"timestamp": one.end // 1000, "value": one.error}] if one.error else [],
            }
            for one in spans
        ]
    )


# --- Jaeger ---------------------------------------------------------------------------------------------------------

_TRUE, _I32, _I64, _BINARY, _LIST, _STRUCT = 1, 5, 6, 8, 9, 12  # types of the compact protocol
_STRING_TAG, _BOOL_TAG, _LONG_TAG = 0, 2, 3  # TagType
_ONEWAY = 4
_SAMPLED = 1
_Tag: TypeAlias = str | int | bool


def jaeger(service: str, spans: Sequence[Span]) -> bytes:
    """A datagram: Agent.emitBatch(Batch) in the compact protocol."""
    process = _fields((1, _BINARY, _text(service)))
    batch = _fields((1, _STRUCT, process), (2, _LIST, _structs([_jaeger_span(one) for one in spans])))
    head = b"\x82" + bytes((1 | _ONEWAY << 5,)) + varint(0) + _text("emitBatch")
    return head + _fields((1, _STRUCT, batch))


def _jaeger_span(one: Span) -> bytes:
    tags: dict[str, _Tag] = {"span.kind": _KINDS[one.kind], **one.attributes}
    logs = b""
    if one.error:
        tags["error"] = True
        told = [_tag("event", "error"), _tag("message", one.error)]
        logs = _structs([_fields((1, _I64, _zigzag(one.end // 1000)), (2, _LIST, _structs(told)))])
    return _fields(
        (1, _I64, _id(one.trace_id[8:])),
        (2, _I64, _id(one.trace_id[:8])),
        (3, _I64, _id(one.span_id)),
        (4, _I64, _id(one.parent)),
        (5, _BINARY, _text(one.name)),
        (7, _I32, _zigzag(_SAMPLED)),
        (8, _I64, _zigzag(one.start // 1000)),
        (9, _I64, _zigzag((one.end - one.start) // 1000)),
        (10, _LIST, _structs([_tag(name, value) for name, value in tags.items()])),
        *([(11, _LIST, logs)] if logs else []),
    )


def _tag(name: str, value: _Tag) -> bytes:
    if isinstance(value, bool):  # a field of this type is its own value: 1 is true
        return _fields((1, _BINARY, _text(name)), (2, _I32, _zigzag(_BOOL_TAG)), (5, 1 if value else 2, b""))
    if isinstance(value, int):
        return _fields((1, _BINARY, _text(name)), (2, _I32, _zigzag(_LONG_TAG)), (6, _I64, _zigzag(value)))
    return _fields((1, _BINARY, _text(name)), (2, _I32, _zigzag(_STRING_TAG)), (3, _BINARY, _text(value)))


def _fields(*fields: tuple[int, int, bytes]) -> bytes:
    """A struct: each field's number as the difference to the one before."""
    parts: list[bytes] = []
    before = 0
    for number, kind, value in fields:
        parts += (bytes(((number - before) << 4 | kind,)), value)
        before = number
    return b"".join(parts) + b"\0"


def _structs(structs: Sequence[bytes]) -> bytes:
    """A list of structs."""
    size = len(structs)
    head = bytes((size << 4 | _STRUCT,)) if size < 15 else bytes((0xF0 | _STRUCT,)) + varint(size)
    return head + b"".join(structs)


def _text(text: str) -> bytes:
    data = text.encode()
    return varint(len(data)) + data


def _zigzag(value: int) -> bytes:
    return varint((value << 1 ^ value >> 63) & (1 << 64) - 1)


def _id(data: bytes) -> bytes:
    return _zigzag(int.from_bytes(data, "big", signed=True))
