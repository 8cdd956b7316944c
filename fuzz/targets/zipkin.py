"""Zipkin and OpenCensus: what is taken comes out as OTLP that is well formed, whatever was read before."""

import json
from collections.abc import Callable, Generator, Iterator

from fuzz.targets import Target, table
from hawse.batch import Batch, Group, Signal
from hawse.codecs import opencensus, otlp, otlp_descriptors, zipkin
from hawse.codecs.opencensus import json as opencensus_json
from hawse.wire import WireError, field, varint

_NOW = 1_790_000_000_000_000_000
_PARTS = 1000
_Work = Generator[None, None, list[Group]]


def _finish(work: _Work) -> list[Group]:
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: list[Group] = done.value
            return found


def _result(work: _Work) -> object:
    try:
        groups = _finish(work)
    except WireError as error:
        return type(error)
    batch = Batch(Signal.TRACES, groups)
    encoded = batch.encode()
    again = otlp.decode(Signal.TRACES, encoded)
    assert again.items == batch.items
    for group in again.groups:
        _ = group.resource.attributes
    parsed = otlp_descriptors.message("opentelemetry.proto.trace.v1.TracesData").FromString(encoded)
    for resource in parsed.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16
                assert len(span.span_id) == 8
                assert len({one.key for one in span.attributes}) == len(span.attributes)
    return encoded


def _zipkin(parse_string_tags: bool) -> zipkin.Translator:  # noqa: FBT001
    return zipkin.Translator(zipkin.Limits(200, _PARTS), parse_string_tags=parse_string_tags)


_warm = {parse: _zipkin(parse) for parse in (False, True)}


def _run(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        for parse, warm in _warm.items():
            cold = _result(getattr(_zipkin(parse), name)(data))
            assert _result(getattr(warm, name)(data, debug=False)) == cold

    return run


_warm_opencensus = opencensus.Translator(200, _PARTS)


def _stream(translator: opencensus.Translator, data: bytes) -> object:
    return _result(opencensus.Stream(translator).read(data, _NOW))


def _run_opencensus(data: bytes) -> None:
    cold = _stream(opencensus.Translator(200, _PARTS), data)
    assert _stream(_warm_opencensus, data) == cold


def _run_opencensus_json(data: bytes) -> None:
    work = opencensus_json.read(data)
    try:
        while True:
            next(work)
    except StopIteration as done:
        for message in done.value:
            _run_opencensus(message)
    except WireError:
        pass


_V2 = [
    {
        "traceId": "463ac35c9f6413ad48485a3953bb6124", "id": "a2fb4a1d1a96d312", "parentId": "1", "kind": "CLIENT",
        "name": "n", "timestamp": 1_790_000_000_000_000, "duration": 5, "debug": True, "shared": True,
        "localEndpoint": {"serviceName": "s", "ipv4": "1.2.3.4", "port": 1}, "remoteEndpoint": {"ipv6": "::1"},
        "annotations": [{"timestamp": 1, "value": 'a|{"b":1}|2'}, {"timestamp": 2, "value": '{"n": {"k": [1]}}'}],
        "tags": {"error": "x", "otel.status_code": "OK", "n": "-1.5", "k8s.pod.name": "p",
                 "otlp.link.0": "463ac35c9f6413ad48485a3953bb6124|a2fb4a1d1a96d312|s|{}|1"},
    }
]  # fmt: skip
_V1 = [
    {
        "traceId": "48485a3953bb6124", "id": "1", "name": "n",
        "annotations": [{"timestamp": at, "value": value, "endpoint": {"serviceName": value[0]}}
                        for at, value in enumerate(("cs", "sr", "ss", "cr", "x"), 5)],
        "binaryAnnotations": [{"key": "sa", "value": True, "endpoint": {"serviceName": "t"}},
                              {"key": "lc", "value": "c"}, {"key": "k", "value": "3", "type": "I64"}],
    }
]  # fmt: skip
_OPENCENSUS = {
    "node": {"serviceInfo": {"name": "s"}, "identifier": {"pid": 1, "startTimestamp": "2026-01-01T00:00:00.5Z"}},
    "spans": [
        {
            "traceId": "AQIDBAUGBwgJCgsMDQ4PEA==", "spanId": "AQIDBAUGBwg=", "name": {"value": "n"}, "kind": "SERVER",
            "attributes": {"attributeMap": {"a": {"intValue": "1"}, "b": {"stringValue": {"value": "c"}}}},
            "timeEvents": {"timeEvent": [{"time": "2026-01-01T00:00:00Z", "messageEvent": {"id": 1}}]},
            "links": {"link": [{"traceId": "AQIDBAUGBwgJCgsMDQ4PEA==", "spanId": "AQIDBAUGBwg=", "type": 1}]},
            "status": {"code": 2, "message": "m"}, "sameProcessAsParentSpan": True,
        }
    ],
}  # fmt: skip


def _proto() -> Iterator[bytes]:
    span = field(1, bytes(range(1, 17))) + field(3, bytes(range(1, 9))) + b"\x20\x01" + field(5, b"n")
    span += field(8, field(1, b"s") + field(2, b"\1\2\3\4") + b"\x20" + varint(80))
    span += field(10, b"\x09" + bytes(8) + field(2, b"a")) + field(11, field(1, b"error") + field(2, b"x"))
    yield field(1, span)


def _thrift() -> Iterator[bytes]:
    span = b"\x0a\0\1" + bytes(7) + b"\1" + b"\x0b\0\3\0\0\0\1n" + b"\x0a\0\4" + bytes(7) + b"\2"
    host = b"\x0c\0\3\x08\0\1\1\2\3\4\x0b\0\3\0\0\0\1s\0"
    span += b"\x0f\0\6\x0c\0\0\0\1\x0a\0\1" + bytes(8) + b"\x0b\0\2\0\0\0\2cs" + host + b"\0"
    span += b"\x0f\0\x08\x0c\0\0\0\1\x0b\0\1\0\0\0\1k\x0b\0\2\0\0\0\2\0\1\x08\0\3\0\0\0\2\0\0"
    yield b"\x0c\0\0\0\1" + span


def _messages() -> Iterator[bytes]:
    work = opencensus_json.read(json.dumps(_OPENCENSUS).encode())
    try:
        while True:
            next(work)
    except StopIteration as done:
        yield from done.value


def _written(document: object) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([json.dumps(document).encode()])


_TOKENS = (b"error", b"otel.status_code", b"otlp.link.0", b'"tags"', b"service.name", b"null", b"\xff", b'|{"a":1}|0')

TARGETS = table(
    Target("zipkin_json_v2", _run("json_v2"), _written(_V2), _TOKENS),
    Target("zipkin_json_v1", _run("json_v1"), _written(_V1), (*_TOKENS, b"cs", b"sr", b"ca", b"lc")),
    Target("zipkin_proto_v2", _run("proto_v2"), _proto, _TOKENS),
    Target("zipkin_thrift_v1", _run("thrift_v1"), _thrift, (b"cs", b"ss", b"sa", b"\x0f\0\x06", b"\x0c\0\4")),
    Target("opencensus", _run_opencensus, _messages, (b"span.kind", b"otel.status_code")),
    Target("opencensus_json", _run_opencensus_json, _written(_OPENCENSUS), (b'"spans"', b"null", b'"intValue"')),
)
