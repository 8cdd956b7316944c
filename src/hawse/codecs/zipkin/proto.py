"""Version 2 in protobuf (openzipkin/zipkin-api, zipkin.proto): a ListOfSpans.

The list is walked and each span parsed in C, but for its tags: they stay bytes, by which they are remembered.
"""

from collections.abc import Generator
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from google.protobuf.message import DecodeError

from hawse.codecs.span_writer import CLIENT, CONSUMER, PRODUCER, SERVER
from hawse.codecs.zipkin.limits import Limits
from hawse.codecs.zipkin.spans import NOBODY, Endpoint, Known, Spans
from hawse.wire import LENGTH, WireError, walk

_TABLE = """Endpoint: 1 bytes service_name, 2 bytes ipv4, 3 bytes ipv6, 4 int32 port
Annotation: 1 fixed64 timestamp, 2 bytes value
Span: 1 bytes trace_id, 2 bytes parent_id, 3 bytes id, 4 int32 kind, 5 bytes name, 6 fixed64 timestamp,
    7 uint64 duration, 8 Endpoint local_endpoint, 9 Endpoint remote_endpoint, 10 Annotation annotations*,
    11 bytes tags*, 12 bool debug, 13 bool shared
Tag: 1 bytes key, 2 bytes value"""
_KINDS = (0, CLIENT, SERVER, PRODUCER, CONSUMER)
_STEP = 32  # spans between two turns for others
_FIELDS = 4096  # fields around them that are walked between two
_LARGE = 16 << 10  # bytes of a span whose parts are counted before it is parsed
_MOST_KEPT, _LONGEST_KEPT = 8192, 160  # tags, and their bytes


@cache
def _class(name: str) -> Any:
    from hawse.codecs.descriptors import classes

    return classes("zipkin.proto3", _TABLE)[name]


class ProtoTags(dict[bytes, tuple[str, str]]):
    """Tags by their bytes: fills itself. Raises WireError."""

    def __missing__(self, raw: bytes) -> tuple[str, str]:
        try:
            tag = _class("Tag").FromString(raw)
        except DecodeError as error:
            raise WireError(f"no tag: {error}") from None
        found = _text(tag.key), _text(tag.value)
        if len(raw) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[raw] = found
        return found


def read(data: bytes, limits: Limits, known: Known, tags: ProtoTags, *, debug: bool) -> Generator[None, None, Spans]:
    """The spans of a body; all are debug where `debug` says so. Yields now and then. Raises WireError, TooMany."""
    places = yield from _outline(data, limits)
    spans = Spans(known)
    for index, (at, behind) in enumerate(places):
        try:
            _add(spans, data[at:behind], limits, tags, debug=debug)
        except WireError as error:
            raise WireError(f"span {index}, at byte {at}: {error}") from None
        if index % _STEP == _STEP - 1:
            yield
    return spans


def _outline(data: bytes, limits: Limits) -> Generator[None, None, list[tuple[int, int]]]:
    found = []
    for index, (number, kind, _, at, behind) in enumerate(walk(data)):
        if number == 1 and kind == LENGTH:
            found.append((at, behind))
        if index % _FIELDS == _FIELDS - 1:
            limits.check_spans(len(found))
            yield
    limits.check_spans(len(found))
    return found


def _add(spans: Spans, raw: bytes, limits: Limits, tags: ProtoTags, *, debug: bool) -> None:
    if len(raw) > _LARGE:  # parts of two bytes would become objects of hundreds
        count = 0
        for number, *_ in walk(raw):
            count += number in {10, 11}
            if count > limits.parts:
                break
        limits.check_parts(count)
    try:
        span = _class("Span").FromString(raw)
    except DecodeError as error:
        raise WireError(f"malformed: {error}") from None
    limits.check_parts(len(span.annotations) + len(span.tags))
    trace_id = _id(span.trace_id, (8, 16), "trace_id")
    parent = span.parent_id
    kind = span.kind
    spans.add(
        trace_id=trace_id.rjust(16, b"\0"),
        span_id=_id(span.id, (8,), "id"),
        parent_id=_id(parent, (8,), "parent_id") if any(parent) else b"",
        name=_text(span.name),
        kind=_KINDS[kind] if 0 <= kind < len(_KINDS) else 0,
        start=span.timestamp,
        duration=span.duration,
        local=_endpoint(span.local_endpoint) if span.HasField("local_endpoint") else NOBODY,
        remote=_endpoint(span.remote_endpoint) if span.HasField("remote_endpoint") else NOBODY,
        annotations=[(one.timestamp, _text(one.value)) for one in span.annotations],
        tags=dict(tags[one] for one in span.tags).items(),
        debug=debug or span.debug,
        shared=span.shared,
    )


def _endpoint(found: Any) -> Endpoint:
    ipv4, ipv6 = found.ipv4, found.ipv6
    return Endpoint(
        _text(found.service_name),
        str(IPv4Address(ipv4)) if len(ipv4) == 4 else "",
        str(IPv6Address(ipv6)) if len(ipv6) == 16 else "",
        found.port,
    )


def _id(raw: bytes, sizes: tuple[int, ...], name: str) -> bytes:
    if len(raw) not in sizes:
        raise WireError(f"{name} has {len(raw)} bytes, not {' or '.join(map(str, sizes))}")
    if not any(raw):
        raise WireError(f"{name} is zero")
    return raw


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
