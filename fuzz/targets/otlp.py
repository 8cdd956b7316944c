"""OTLP in protobuf and in JSON, and the records in it."""

from collections.abc import Callable, Iterator

from fuzz.targets import Target, table
from hawse.batch import Group, Resource, Signal
from hawse.codecs import otlp, otlp_json, otlp_records, sumo
from hawse.codecs.sumo import JsonLogs
from hawse.net.http import Request
from hawse.receivers.otlp import HttpConfig, decode
from hawse.wire import WireError, encode_attributes, encode_value, field, varint

_LIMITS = HttpConfig()
_NUMBER = b"\x39" + b"\1\2\3\4\5\6\7\x18"  # a fixed64 as field 7


def _request(signal: Signal) -> bytes:
    resource = field(
        1, encode_attributes({"k8s.pod.name": "a", "n": 5, "l": [1, "x", None], "m": {"a": 1.5, "b": b"z"}})
    )
    scope = field(1, field(1, b"scope") + field(2, b"1.0") + encode_attributes({"s": True}, 3))
    item = {
        Signal.LOGS: b"\x09\1\2\3\4\5\6\7\x18\x59\1\2\3\4\5\6\7\x18\x10\x09" + field(3, b"INFO")
        + field(5, encode_value("a line")) + encode_attributes({"k": "v"}, 6) + field(9, b"t" * 16) + field(10, b"s" * 8),
        Signal.METRICS: field(1, b"metric") + field(5, field(1, encode_attributes({"k": "v"}, 7) + b"\x19" + bytes(8) + b"\x21" + bytes(8)))
        + field(7, field(1, b"\x31" + bytes(8)) + b"\x10\x02\x18\x01") + field(9, field(1, b"\x21" + bytes(8) + field(6, bytes(16)) + field(7, bytes(8)))),
        Signal.TRACES: field(1, b"t" * 16) + field(2, b"s" * 8) + field(5, b"span") + b"\x30\x02\x39" + bytes(8)
        + encode_attributes({"k": "v"}, 9) + field(11, field(2, b"event")) + field(15, b"\x18\x01"),
    }[signal]  # fmt: skip
    scopes = field(2, scope + field(2, item) + field(2, item) + field(3, b"https://schema"))
    group = field(1, field(1, resource[2:]) + scopes + field(3, b"https://schema"))
    return group + group


def _binary(signal: Signal) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        request = Request("POST", "/", body=data, headers={"content-type": "application/x-protobuf"})
        try:
            batch = decode(signal, request, _LIMITS, as_json=False)
            for group in batch.groups:
                _ = group.resource.attributes
        except WireError:
            return
        for group in batch.groups:
            _rewrite(group)
        if signal is Signal.LOGS:
            for group in batch.groups:
                _records(group)

    return run


def _rewrite(group: Group) -> None:
    """What processors do to any resource that was let in."""
    resource = group.resource
    grown = resource.extended(encode_attributes({"hawse.x": "1"}), {"hawse.x": "1"})
    assert dict(Resource(grown.raw).attributes)["hawse.x"] == "1"
    key = next(iter(resource.attributes), "none")
    changed = resource.replaced({"new": 1}, [key])
    assert Resource(changed.raw).attributes.keys() == changed.attributes.keys()


def _json(signal: Signal) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            batch = otlp_json.decode(signal, data)
        except WireError:
            return
        again = otlp_json.decode(signal, otlp_json.encode(batch))
        assert again.items == batch.items

    return run


def _records(group: Group) -> None:
    results: list[int | None] = []
    views: tuple[Callable[[], int | None], ...] = (
        lambda: len(list(otlp_records.log_records(group))),
        lambda: len(otlp_records.bodies(group)),
        lambda: len(otlp_records.timed(group)),
        lambda: len(otlp_records.plain_bodies(group) or ()) or None,
        lambda: len(sumo.lines(group, "fields", JsonLogs())),
        lambda: len(sumo.lines(group, "json", JsonLogs())),
        lambda: len(sumo.lines(group, "json_merge", JsonLogs())),
    )
    for work in views:
        try:
            results.append(work())
        except WireError:
            results.append(None)
    sizes = {size for size in results if size is not None}
    assert len(sizes) <= 1, f"the views of a group disagree on how many records it has: {results}"
    sumo.source_headers(group.resource.attributes)


def _records_of(data: bytes) -> None:
    _records(Group(Resource(b""), (data,), 1))


def _answer(data: bytes) -> None:
    try:
        items, message = otlp.rejected(data)
    except WireError:
        return
    assert items >= 0
    otlp.rejected(otlp.partial_success(items, message))


def _binary_seeds(signal: Signal) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        yield _request(signal)
        yield b""

    return seeds


def _json_seeds(signal: Signal) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        yield otlp_json.encode(otlp.decode(signal, _request(signal)))
        yield b"{}"

    return seeds


def _scope_seeds() -> Iterator[bytes]:
    for group in otlp.decode(Signal.LOGS, _request(Signal.LOGS)).groups:
        yield b"".join(group.scopes)


def _answer_seeds() -> Iterator[bytes]:
    yield otlp.partial_success(3, "three were wrong")
    yield b""


_WIRE = [bytes((tag,)) for tag in (0x08, 0x09, 0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x4A, 0x52, 0x5A, 0x7A)]
_WIRE += [varint(number) for number in (127, 128, 16384, 2**31, 2**32, 2**63, 2**64 - 1)]
_WORDS = [
    b'"resourceLogs":[', b'"resourceMetrics":[', b'"resourceSpans":[', b'"scopeLogs":[', b'"logRecords":[', b'"attributes":[',
    b'"key":', b'"value":{', b'"stringValue":', b'"intValue":', b'"doubleValue":', b'"arrayValue":{"values":[',
    b'"kvlistValue":{"values":[', b'"bytesValue":', b'"timeUnixNano":', b'"traceId":', b'"spanId":', b'"NaN"', b'"-Infinity"',
    b"1e400", b"-0", b"18446744073709551616", b'"severityNumber":', b"null", b"true", b"[[[[", b'{"a":', b"\xed\xa0\x80", b"\\ud800",
    b'"gauge":{', b'"sum":{', b'"dataPoints":[', b'"asInt":', b'"asDouble":', b'"bucketCounts":[', b'"kind":', b'"events":[',
]  # fmt: skip

TARGETS = table(
    *(Target(f"otlp_{signal}", _binary(signal), _binary_seeds(signal), _WIRE) for signal in Signal),
    *(Target(f"otlp_json_{signal}", _json(signal), _json_seeds(signal), _WORDS) for signal in Signal),
    Target("otlp_records", _records_of, _scope_seeds, _WIRE),
    Target("otlp_answer", _answer, _answer_seeds, _WIRE, 512),
)
