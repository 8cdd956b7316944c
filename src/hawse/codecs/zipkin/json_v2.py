"""Version 2 in JSON (openzipkin/zipkin-api, zipkin2-api.yaml): a list of spans."""

from collections.abc import Generator
from typing import TypeAlias

import msgspec

from hawse.codecs.span_writer import CLIENT, CONSUMER, PRODUCER, SERVER
from hawse.codecs.zipkin.limits import Limits
from hawse.codecs.zipkin.spans import NOBODY, Endpoint, Known, Spans, identifier
from hawse.wire import WireError

KINDS = {"CLIENT": CLIENT, "SERVER": SERVER, "PRODUCER": PRODUCER, "CONSUMER": CONSUMER}
_STEP = 32  # spans between two turns for others
Microseconds: TypeAlias = int | float | None


class JsonEndpoint(msgspec.Struct, gc=False, rename="camel"):
    """All of an endpoint may be absent."""

    service_name: str | None = None
    ipv4: str | None = None
    ipv6: str | None = None
    port: int | float | None = None


class _Annotation(msgspec.Struct, gc=False):
    timestamp: Microseconds = None
    value: str | None = None


class _Span(msgspec.Struct, gc=False, rename="camel"):
    trace_id: str
    id: str
    parent_id: str | None = None
    name: str | None = None
    kind: str | None = None
    timestamp: Microseconds = None
    duration: Microseconds = None
    local_endpoint: JsonEndpoint | None = None
    remote_endpoint: JsonEndpoint | None = None
    annotations: list[_Annotation] | None = None
    tags: dict[str, str | int | float | bool | None] | None = None
    debug: bool | None = None
    shared: bool | None = None


_decoder = msgspec.json.Decoder(list[_Span])


def decoded(decoder: msgspec.json.Decoder[list[msgspec.Struct]], data: bytes) -> list[msgspec.Struct]:
    """The spans of a body. Raises WireError, which names the place."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise WireError(f"no list of spans: {error}") from None
    except RecursionError:
        raise WireError("the JSON nests too deep") from None


def endpoint(found: JsonEndpoint | None) -> Endpoint:
    """An endpoint without absent parts."""
    if found is None:
        return NOBODY
    port = found.port or 0
    return Endpoint(found.service_name or "", found.ipv4 or "", found.ipv6 or "", int(port) if 0 < port < 65536 else 0)


def read(data: bytes, limits: Limits, known: Known, *, debug: bool) -> Generator[None, None, Spans]:
    """The spans of a body; all are debug where `debug` says so. Yields now and then. Raises WireError, TooMany."""
    found: list[_Span] = decoded(_decoder, data)  # type: ignore[arg-type, assignment]
    limits.check_spans(len(found))
    spans = Spans(known)
    for index, span in enumerate(found):
        try:
            _add(spans, span, limits, debug=debug)
        except WireError as error:
            raise WireError(f"span {index}: {error}") from None
        if index % _STEP == _STEP - 1:
            yield
    return spans


def _add(spans: Spans, span: _Span, limits: Limits, *, debug: bool) -> None:
    annotations = span.annotations or ()
    tags = span.tags or {}
    limits.check_parts(len(annotations) + len(tags))
    parent = span.parent_id or ""
    spans.add(
        trace_id=identifier(span.trace_id, 16, "traceId"),
        span_id=identifier(span.id, 8, "id"),
        parent_id=identifier(parent, 8, "parentId") if parent.strip("0") else b"",
        name=span.name or "",
        kind=KINDS.get((span.kind or "").upper(), 0),
        start=int(span.timestamp or 0),
        duration=int(span.duration or 0),
        local=endpoint(span.local_endpoint),
        remote=endpoint(span.remote_endpoint),
        annotations=[(int(one.timestamp or 0), one.value or "") for one in annotations],
        tags=tags.items(),
        debug=debug or bool(span.debug),
        shared=bool(span.shared),
    )
