"""Spans of version 1, which are told by annotations (openzipkin/zipkin-api, zipkinCore.thrift).

What was recorded by whom stands at each annotation: `cs` … `mr` tell kind and times, `sa`, `ca` and `ma` who was at the
other side. A client and its server may share a span: it becomes two, with the same id, the server's marked as shared.
Zipkin's own conversion is the model (openzipkin/zipkin, V1SpanConverter), OpenTelemetry's for what becomes of the rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hawse.batch import AttributeValue
from hawse.codecs.span_writer import CLIENT, CONSUMER, PRODUCER, SERVER
from hawse.codecs.zipkin.spans import NOBODY, Endpoint, Spans
from hawse.codecs.zipkin.tags import Tag, text

_KINDS = {"cs": CLIENT, "cr": CLIENT, "sr": SERVER, "ss": SERVER, "ms": PRODUCER, "mr": CONSUMER}
_STARTS = {CLIENT: "cs", SERVER: "sr", PRODUCER: "ms", CONSUMER: "mr"}
_ENDS = {CLIENT: "cr", SERVER: "ss"}
_ADDRESSES = {"sa": (CLIENT, 0), "ca": (SERVER, 0), "ma": (PRODUCER, CONSUMER)}


class Annotation(NamedTuple):
    """Microseconds since 1970, what happened, who recorded it."""

    time: int
    value: str
    endpoint: Endpoint


class BinaryAnnotation(NamedTuple):
    """A tag, and who recorded it. `flag` is a boolean, as addresses are."""

    key: str
    value: AttributeValue
    endpoint: Endpoint


class Span(NamedTuple):
    """A span as both encodings bring it; times in microseconds, 0 where there is none."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    start: int
    duration: int
    debug: bool
    annotations: Sequence[Annotation]
    binary: Sequence[BinaryAnnotation]


def add(spans: Spans, span: Span) -> None:
    """Add one span, or the two that share it."""
    core = {one.value: one for one in reversed(span.annotations) if one.value in _KINDS}  # the first counts
    kinds = list(dict.fromkeys(_KINDS[one.value] for one in span.annotations if one.value in _KINDS))
    if CLIENT in kinds and SERVER in kinds:
        _add_both(spans, span, core)
        return
    kind = kinds[0] if kinds else 0
    start, duration = span.start, span.duration
    if not start:
        start, duration = _from_annotations(span.annotations)
    elif not duration:
        duration = _between(core, kind)
    shared = kind == SERVER and not span.start and "sr" in core  # by convention, who shares a span tells no time
    _add_one(spans, span, kind, start, duration, span.annotations, span.binary, core, shared=shared)


def _add_both(spans: Spans, span: Span, core: dict[str, Annotation]) -> None:
    """The client has the span's own time, the server that of its annotations."""
    service = next(core[one].endpoint.service for one in ("sr", "ss") if one in core)
    server = [one for one in span.annotations if _is_server(one.value, one.endpoint, service)]
    client = [one for one in span.annotations if not _is_server(one.value, one.endpoint, service)]
    of_server = [one for one in span.binary if _tags_server(one, service)]
    of_client = [one for one in span.binary if not _tags_server(one, service)]
    start, duration = (span.start, span.duration) if span.start else _from_annotations(client)
    duration = duration or _between(core, CLIENT)
    _add_one(spans, span, CLIENT, start, duration, client, of_client, core)
    start, duration = _from_annotations([one for one in server if one.value in {"sr", "ss"}])
    _add_one(spans, span, SERVER, start, duration, server, of_server, core, shared=True)


def _is_server(value: str, endpoint: Endpoint, service: str) -> bool:
    kind = _KINDS.get(value)
    return kind == SERVER if kind else endpoint.service == service


def _tags_server(one: BinaryAnnotation, service: str) -> bool:
    return one.key == "ca" or (one.key != "sa" and one.endpoint.service == service)


def _from_annotations(annotations: Sequence[Annotation]) -> tuple[int, int]:
    times = [one.time for one in annotations if one.value and one.time > 0]
    return (min(times), max(times) - min(times)) if times else (0, 0)


def _between(core: dict[str, Annotation], kind: int) -> int:
    first, last = core.get(_STARTS.get(kind, "")), core.get(_ENDS.get(kind, ""))
    return max(0, last.time - first.time) if first and last else 0


def _add_one(
    spans: Spans,
    span: Span,
    kind: int,
    start: int,
    duration: int,
    annotations: Sequence[Annotation],
    binary: Sequence[BinaryAnnotation],
    core: dict[str, Annotation],
    *,
    shared: bool = False,
) -> None:
    remote, kind, tags = _tags(binary, kind)
    spans.add(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=kind,
        start=start,
        duration=duration,
        local=_local(kind, annotations, binary, core),
        remote=remote,
        annotations=[(one.time, one.value) for one in annotations if one.value and one.value not in _KINDS],
        tags=tags,
        debug=span.debug,
        shared=shared,
        version_1=True,
    )


def _tags(binary: Sequence[BinaryAnnotation], kind: int) -> tuple[Endpoint, int, list[Tag]]:
    """The other side's endpoint, the kind, which an address may tell where no annotation does, and the tags."""
    remote, tags = NOBODY, dict[str, AttributeValue]()
    for key, value, endpoint in binary:
        if key in _ADDRESSES and value in (True, "true", "\x01") and endpoint is not NOBODY:
            kinds = _ADDRESSES[key]
            kind = kind or kinds[0]
            if kind in kinds:
                remote = endpoint
                continue
        if key == "lc":
            if value:
                tags["component"] = value
        else:
            tags[key] = value
    return remote, kind, list(tags.items())


def _local(
    kind: int, annotations: Sequence[Annotation], binary: Sequence[BinaryAnnotation], core: dict[str, Annotation]
) -> Endpoint:
    """Who recorded the span: whoever its kind's annotations are from, then any other, then the local component."""
    ours = [one.endpoint for name, one in core.items() if _KINDS[name] == kind]
    others = [one.endpoint for one in annotations]
    tagged = [one.endpoint for one in reversed(binary) if one.key not in _ADDRESSES]
    everyone = [one for one in (*ours, *others, *tagged) if one is not NOBODY]
    for endpoint in everyone:
        if endpoint.service:
            return endpoint
    component = next((text(one.value) for one in binary if one.key == "lc"), "")
    return (everyone[0] if everyone else NOBODY)._replace(service=component) if component or everyone else NOBODY
