"""Version 1 in JSON (openzipkin/zipkin-api, zipkin-api.yaml): a list of spans."""

from collections.abc import Generator

import msgspec

from hawse.batch import AttributeValue
from hawse.codecs.zipkin import version_1
from hawse.codecs.zipkin.json_v2 import JsonEndpoint, Microseconds, decoded, endpoint
from hawse.codecs.zipkin.limits import Limits
from hawse.codecs.zipkin.spans import Known, Spans, identifier
from hawse.codecs.zipkin.version_1 import Annotation, BinaryAnnotation, Span
from hawse.wire import WireError

_STEP = 32  # spans between two turns for others


class _Annotation(msgspec.Struct, gc=False):
    timestamp: Microseconds = None
    value: str | None = None
    endpoint: JsonEndpoint | None = None


class _BinaryAnnotation(msgspec.Struct, gc=False):
    key: str
    value: str | int | float | bool | None = None
    type: str | None = None
    endpoint: JsonEndpoint | None = None


class _Span(msgspec.Struct, gc=False, rename="camel"):
    trace_id: str
    id: str
    parent_id: str | None = None
    name: str | None = None
    timestamp: Microseconds = None
    duration: Microseconds = None
    debug: bool | None = None
    annotations: list[_Annotation] | None = None
    binary_annotations: list[_BinaryAnnotation] | None = None


_decoder = msgspec.json.Decoder(list[_Span])


def read(data: bytes, limits: Limits, known: Known, *, debug: bool) -> Generator[None, None, Spans]:
    """The spans of a body; all are debug where `debug` says so. Yields now and then. Raises WireError, TooMany."""
    found: list[_Span] = decoded(_decoder, data)  # type: ignore[arg-type, assignment]
    limits.check_spans(len(found))
    spans = Spans(known)
    for index, span in enumerate(found):
        try:
            version_1.add(spans, _span(span, limits, debug=debug))
        except WireError as error:
            raise WireError(f"span {index}: {error}") from None
        if index % _STEP == _STEP - 1:
            yield
    return spans


def _span(span: _Span, limits: Limits, *, debug: bool) -> Span:
    annotations, binary = span.annotations or (), span.binary_annotations or ()
    limits.check_parts(len(annotations) + len(binary))
    parent = span.parent_id or ""
    return Span(
        trace_id=identifier(span.trace_id, 16, "traceId"),
        span_id=identifier(span.id, 8, "id"),
        parent_id=identifier(parent, 8, "parentId") if parent.strip("0") else b"",
        name=span.name or "",
        start=int(span.timestamp or 0),
        duration=int(span.duration or 0),
        debug=debug or bool(span.debug),
        annotations=[
            Annotation(int(one.timestamp or 0), one.value or "", endpoint(one.endpoint)) for one in annotations
        ],
        binary=[BinaryAnnotation(one.key, _value(one), endpoint(one.endpoint)) for one in binary],
    )


def _value(one: _BinaryAnnotation) -> AttributeValue:
    """The value, which is written as a text whatever its `type`. One that is not what that says stays as it is."""
    value, kind = one.value, one.type
    if kind is None or not isinstance(value, str):
        return value
    try:
        if kind in {"I16", "I32", "I64"} and len(value) <= 20:
            return int(value)
        if kind == "DOUBLE" and len(value) <= 400:
            return float(value)
    except ValueError:
        return value
    return value == "true" if kind == "BOOL" and value in {"true", "false"} else value
