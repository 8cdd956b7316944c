"""Jaeger's protobuf (jaegertracing/jaeger-idl, proto/api_v2/{collector,model}.proto) as groups of spans.

A PostSpansRequest holds a Batch, that spans and a process; a span may have a process of its own. The batch is walked,
each span parsed in C, but for its tags: they stay bytes, by which they are remembered (`jaeger_spans.Tags`).
"""

import struct
from collections.abc import Generator, Mapping
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from hawse.batch import AttributeValue, Group, Resource
from hawse.codecs import jaeger_spans
from hawse.codecs.jaeger_spans import NO_ID, Reference, Scope, Special, Tag, Tags
from hawse.codecs.jaeger_thrift import TooMany
from hawse.wire import LENGTH, WireError, field, varint, walk

_TABLE = """KeyValue: 1 bytes key, 2 int32 v_type, 3 bytes v_str, 4 bool v_bool, 5 int64 v_int64, 6 double v_float64,
    7 bytes v_binary
Time: 1 int64 seconds, 2 int32 nanos
Log: 1 Time timestamp, 2 bytes fields*
SpanRef: 1 bytes trace_id, 2 bytes span_id, 3 int32 ref_type
Process: 1 bytes service_name, 2 bytes tags*
Span: 1 bytes trace_id, 2 bytes span_id, 3 bytes operation_name, 4 SpanRef references*, 5 uint32 flags,
    6 Time start_time, 7 Time duration, 8 bytes tags*, 9 Log logs*, 10 bytes process|its, 12 bytes warnings*"""
_STRING, _BOOL, _INT64, _FLOAT64, _BINARY = range(5)  # ValueType
_NO_TRACE = bytes(16)
_double = struct.Struct("<d")
_LARGE = 64 << 10  # bytes of a span whose parts are counted before it is parsed
_SCALARS = 16  # fields of a span that are there once
_TURN = 32 << 10  # bytes of spans between two turns for others, a span counting for _SPAN at least
_SPAN = 512
_FIELDS = 4096  # fields around them that are walked between two
_MOST_KEPT, _LONGEST_KEPT = 1024, 4096  # processes, and their bytes


@cache
def _class(name: str) -> Any:
    from hawse.codecs.descriptors import classes

    return classes("jaeger.api_v2", _TABLE)[name]


def _parse(name: str, raw: bytes) -> Any:
    try:
        return _class(name).FromString(raw)
    except DecodeError as error:
        raise WireError(f"no {name}: {error}") from None


class ProtoTranslator:
    """Is kept: it remembers tags and processes by their bytes."""

    def __init__(self, most_parts: int = 10_000) -> None:
        """`most_parts` bounds tags, log fields, logs and references of a span, all together."""
        self._most_parts = most_parts
        self._span_tags = jaeger_spans.span_tags(_tag)
        self._event_tags = jaeger_spans.event_tags(_tag)
        self._settled = jaeger_spans.Settled()
        self._processes: dict[bytes, Resource] = {}

    def request(self, data: bytes, most: int = 1 << 62) -> Generator[None, None, list[Group]]:
        """A PostSpansRequest. Yields now and then, for others to run; returns groups. Raises WireError, TooMany."""
        process, spans = yield from _outline(data, most)
        found: dict[bytes, tuple[dict[Scope, list[bytes]], list[None]]] = {}
        turn = 0
        for at, behind in spans:
            try:
                own, scope, span = self._span(data[at:behind])
            except WireError as error:
                raise WireError(f"the span at byte {at}: {error}") from None
            scopes, count = found.setdefault(process if own is None else own, ({}, []))
            scopes.setdefault(scope, []).append(span)
            count.append(None)
            turn += _SPAN + behind - at
            if turn >= _TURN:
                turn = 0
                yield
        return [
            Group(self._resource(raw), jaeger_spans.scopes(scopes), len(count))
            for raw, (scopes, count) in found.items()
        ]

    def _resource(self, raw: bytes) -> Resource:
        found = self._processes.get(raw)
        if found is None:
            if len(raw) > _LARGE:
                _count(raw, self._most_parts)
            process = _parse("Process", raw)
            tags = [_tag(one) for one in process.tags]
            found = jaeger_spans.resource(process.service_name.decode("utf-8", "replace"), tags)
            if len(raw) <= _LONGEST_KEPT:
                if len(self._processes) >= _MOST_KEPT:
                    self._processes.clear()
                self._processes[raw] = found
        return found

    def _span(self, raw: bytes) -> tuple[bytes | None, Scope, bytes]:
        """The process, where it has one of its own, scope and span."""
        if len(raw) > _LARGE:
            _count(raw, self._most_parts)
        span = _parse("Span", raw)
        trace_id, span_id = _id(span.trace_id, 16), _id(span.span_id, 8)
        references = [Reference(one.ref_type, _id(one.trace_id, 16), _id(one.span_id, 8)) for one in span.references]
        parent = jaeger_spans.parent_of(trace_id, references) if references else NO_ID
        plain, special = _tags(span.tags, self._span_tags)
        scope, told = self._settled.of(plain, special)
        start = _nanoseconds(span.start_time)
        parts = [
            jaeger_spans.encoded_ids(trace_id, span_id, parent),
            jaeger_spans.name(span.operation_name),
            told,
            jaeger_spans.times(start, start + _nanoseconds(span.duration)),
            *plain.values(),
            *(
                jaeger_spans.event(_nanoseconds(log.timestamp), *_tags(log.fields, self._event_tags))
                for log in span.logs
            ),
            *jaeger_spans.links(references, parent),
            jaeger_spans.flagged(span.flags),
        ]
        if span.warnings:
            parts.append(jaeger_spans.warned([one.decode("utf-8", "replace") for one in span.warnings]))
        return (span.process if span.HasField("process") else None), scope, b"".join(parts)


def _outline(data: bytes, most: int) -> Generator[None, None, tuple[bytes, list[tuple[int, int]]]]:
    """The process, and where the spans are."""
    process, spans, fields = list[bytes](), list[tuple[int, int]](), 0
    for number, kind, _, start, end in walk(data):
        inside = walk(data, start, end) if number == 1 and kind == LENGTH else ()
        fields += 1
        for inner, inner_kind, _, at, behind in inside:
            fields += 1
            if fields > most + _FIELDS:
                break
            if fields % _FIELDS == 0:
                yield
            if inner_kind == LENGTH and inner == 1:
                spans.append((at, behind))
            elif inner_kind == LENGTH and inner == 2:
                process.append(data[at:behind])
        if fields > most + _FIELDS:
            raise TooMany(f"the batch has more than {most} spans")
    if len(spans) > most:
        raise TooMany(f"the batch has {len(spans)} spans, {most} are allowed")
    return b"".join(process), spans  # protobuf merges a message that comes again, by joining its bytes


def _tags(raw: Any, tags: Tags) -> tuple[dict[str, bytes], Special]:
    plain: dict[str, bytes] = {}
    special: Special = {}
    for one in raw:
        key, encoded, decides = tags[one]
        if decides is None:
            plain[key] = encoded
        else:
            special[key] = decides
    return plain, special


def _tag(raw: bytes) -> Tag:
    """A KeyValue."""
    tag = _parse("KeyValue", raw)
    kind = tag.v_type
    value: AttributeValue
    if kind == _STRING:
        value = tag.v_str.decode("utf-8", "replace")
    elif kind == _BOOL:
        value = tag.v_bool
    elif kind == _INT64:
        value = tag.v_int64
    elif kind == _FLOAT64:
        value = tag.v_float64
    elif kind == _BINARY:
        value = tag.v_binary
    else:
        value = jaeger_spans.unknown(kind)
    return tag.key.decode("utf-8", "replace"), value


def _count(raw: bytes, most: int) -> None:
    """Parts of two bytes would become objects of hundreds: count them first."""
    left = most + _SCALARS
    for number, kind, _, at, end in walk(raw):
        left -= 1
        for _ in walk(raw, at, end) if number == 9 and kind == LENGTH else ():
            left -= 1
            if left < 0:
                break
        if left < 0:
            raise WireError(f"more than {most} tags, logs and references")


def _id(raw: bytes, size: int) -> bytes:
    if len(raw) == size:
        return raw
    if raw:
        raise WireError(f"an id has {len(raw)} bytes, not {size}")
    return _NO_TRACE[:size]


def _nanoseconds(time: Any) -> int:
    nanoseconds: int = time.seconds * 1_000_000_000 + time.nanos
    return nanoseconds


# --- sampling.proto -------------------------------------------------------------------------------------------------


def sampling_service(data: bytes) -> str:
    """The service's name in SamplingStrategyParameters. Raises WireError."""
    service = ""
    for number, kind, _, at, end in walk(data):
        if number == 1 and kind == LENGTH:
            service = data[at:end].decode("utf-8", "replace")
    return service


def sampling_response(kind: int, rate: float, operations: tuple[float, Mapping[str, float]] | None) -> bytes:
    """SamplingStrategyResponse: PROBABILISTIC (0) with a share, or RATE_LIMITING (1) with traces per second.

    `operations` is the share of all operations, and those of operations that have one of their own.
    """
    parts = [b"\x08" + varint(kind)] if kind else []
    parts.append(field(3, b"\x08" + varint(int(rate))) if kind else field(2, _share(rate)))
    if operations is not None:
        default, own = operations
        each = (field(3, field(1, name.encode("utf-8", "replace")) + field(2, _share(at))) for name, at in own.items())
        parts.append(field(4, _share(default) + b"".join(each)))
    return b"".join(parts)


def _share(rate: float) -> bytes:
    return b"\x09" + _double.pack(rate)
