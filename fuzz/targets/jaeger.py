"""Jaeger's batches: what is taken comes out as OTLP that is well formed, known tags or not, in columns or one by one."""

from collections.abc import Callable, Iterator
from typing import Any

from fuzz.targets import Target, table
from hawse.batch import Batch, Group, Signal
from hawse.codecs import otlp, otlp_descriptors
from hawse.codecs.jaeger_proto import ProtoTranslator
from hawse.codecs.jaeger_thrift import Translator
from hawse.codecs.thrift import Binary, Compact, Reader
from hawse.wire import WireError, field, varint

_MOST, _PARTS = 500, 1000


def _told(read: Callable[[bytes], list[Group]], data: bytes) -> bytes | str:
    """The encoded groups, or what is wrong."""
    try:
        groups = read(data)
    except WireError as error:
        return str(error)
    batch = Batch(Signal.TRACES, groups)
    encoded = batch.encode()
    assert len(encoded) < 200_000
    again = otlp.decode(Signal.TRACES, encoded)
    assert again.items == batch.items
    for group in again.groups:
        _ = group.resource.attributes
    otlp_descriptors.message("opentelemetry.proto.trace.v1.TracesData").FromString(encoded)
    return encoded


def _finished(work: Any) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def _thrift(protocol: type[Reader]) -> Callable[[bytes], None]:
    warm = Translator(protocol, _PARTS)

    def run(data: bytes) -> None:
        one_by_one = Translator(protocol, _PARTS)
        one_by_one._columns = None
        one_by_one._fixed = False
        for way in (lambda one: one.datagram, lambda one: lambda raw: [_finished(one.body(raw, _MOST))]):
            assert _told(way(warm), data) == _told(way(one_by_one), data), "memory or columns changed the result"
        assert warm.count(data) >= 0

    return run


def _proto(data: bytes) -> None:
    def read(translator: ProtoTranslator) -> Callable[[bytes], list[Group]]:
        return lambda raw: _finished(translator.request(raw, _MOST))

    assert _told(read(_warm_proto), data) == _told(read(ProtoTranslator(_PARTS)), data), "memory changed the result"


_warm_proto = ProtoTranslator(_PARTS)

# Thrift: a datagram of emitBatch and the batch inside it, of one span and of thirteen.
_COMPACT_TAGS = bytes.fromhex(
    "18016b15001801760018016e150646d80f0018017415043100180164150227000000000000f83f0018016215085801ff00"
)
_COMPACT_SPAN = (
    bytes.fromhex("160216001604160018026f7025021680d0acf3dbfb8b06160a195c") + _COMPACT_TAGS + bytes.fromhex("191c1602191c18056576656e741500180165000000")
)  # fmt: skip
_COMPACT_PROCESS = bytes.fromhex("1c180473686f7000")
_CALL = b"\x82\x81\x01\x09emitBatch\x1c"


def _compact() -> Iterator[bytes]:
    for spans in (b"\x1c" + _COMPACT_SPAN, b"\xdc" + _COMPACT_SPAN * 13):
        batch = _COMPACT_PROCESS + b"\x19" + spans + b"\0"
        yield batch
        yield _CALL + batch + b"\0"


_BINARY_TAG = bytes.fromhex("0b0001000000016b080002000000000b0003000000017600")
_BINARY_LOG = bytes.fromhex("0a000100000000000000010f00020c00000001") + _BINARY_TAG + b"\0"
_BINARY_REFERENCE = bytes.fromhex("080001000000010a000200000000000000010a000300000000000000000a0004000000000000000900")
_BINARY_SPAN = (
    b"".join(b"\x0a" + bytes((0, number, 0, 0, 0, 0, 0, 0, 0, number)) for number in range(1, 5))
    + bytes.fromhex("0b0005000000026f700f00060c00000001") + _BINARY_REFERENCE
    + bytes.fromhex("080007000000010a000800060000000000000a000900000000000000050f000a0c00000001") + _BINARY_TAG
    + bytes.fromhex("0f000b0c00000001") + _BINARY_LOG + b"\0"
)  # fmt: skip


def _binary() -> Iterator[bytes]:
    batch = bytes.fromhex("0c00010b00010000000473686f70000f00020c00000001") + _BINARY_SPAN + b"\0"
    yield batch
    plain = _BINARY_SPAN.replace(bytes.fromhex("0f00060c00000001") + _BINARY_REFERENCE, b"")
    yield bytes.fromhex("0c00010b00010000000473686f70000f00020c00000002") + plain * 2 + b"\0"
    yield bytes.fromhex("8001000400000009") + b"emitBatch" + bytes.fromhex("000000010c0001") + batch + b"\0"
    yield bytes.fromhex("00000009") + b"emitBatch" + bytes.fromhex("04000000010c0001") + batch + b"\0"


def _messages() -> Iterator[bytes]:
    tag = field(1, b"span.kind") + field(3, b"server")
    number = field(1, b"n") + b"\x10\x02\x28\x07"
    process = field(1, b"shop") + field(2, field(1, b"hostname") + field(3, b"h"))
    time = b"\x08" + varint(1_700_000_000) + b"\x10\x07"
    span = field(1, bytes(range(16))) + field(2, bytes(range(8))) + field(3, b"op") + b"\x28\x03"
    span += (
        field(4, field(1, bytes(range(16))) + field(2, bytes(range(8, 16)))) + field(6, time) + field(7, b"\x08\x01")
    )
    span += field(8, tag) + field(8, number) + field(9, field(1, time) + field(2, tag)) + field(12, b"w")
    yield field(1, field(1, span) + field(2, process))
    yield field(1, field(1, span + field(10, process)) + field(1, span))


_WORDS = [
    b"\x18\x09span.kind",
    b"\x15\x00\x18",
    b"\x19\x1c",
    b"error",
    b"http.status_code",
    b"\x46\xd8\x0f",
    b"\xff\xff\x7f",
]

TARGETS = table(
    Target("jaeger_compact", _thrift(Compact), _compact, _WORDS, 2048),
    Target("jaeger_binary", _thrift(Binary), _binary, _WORDS, 1024),
    Target("jaeger_proto", _proto, _messages, [b"\x0a\x10", b"\x12\x08", b"error", b"\x42\x04"], 1024),
)
