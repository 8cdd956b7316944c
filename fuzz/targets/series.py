"""OTLP metrics of a stranger on their way out: as series, as remote write requests, as lines."""

import struct
from collections.abc import Iterator

from fuzz.targets import Target, table
from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs.prometheus_series import Settings, series
from hawse.codecs.prometheus_series_shares import Share
from hawse.codecs.remote_write_encode import Encoder
from hawse.codecs.remote_write_encode_parts import contents, encoded, groups, halves
from hawse.codecs.sumo_metrics import Lost, Writer
from hawse.wire import WireError, encode_attribute, encode_attributes, field, varint

_RESOURCE = Resource(encode_attributes({"service.name": "api", "host": "h"}))
_DOUBLE = struct.Struct("<d").pack
_KNOWN = {version: Encoder(Settings(scope_labels=True), version, most=1 << 20) for version in (1, 2)}
_WRITER = Writer(1 << 18)


def _run(data: bytes) -> None:
    batch = Batch(Signal.METRICS, [Group(_RESOURCE, (data,), 1)])
    try:
        rows = [(labels, time) for labels, _, time in series(batch, Settings(scope_labels=True))]
    except WireError:
        rows = None
    for version, encoder in _KNOWN.items():
        for _ in range(3):  # cold, then known, then by a template
            try:
                written, _ = encoder.encode(batch)
            except WireError:
                assert rows is None, "what is malformed to one is not to the other"
                continue
            assert rows is not None, "what is malformed to one is not to the other"
            found = [one for request in written for one in contents(bytes(request.body), version)]
            got = [(dict(one.labels), time) for one in found for _, time in [*one.samples, *one.histograms]]
            assert got == rows
            for request in written:
                _parts(bytes(request.body), version, request.shares)
    _lines(batch.groups[0])


def _parts(body: bytes, version: int, shares: list[Share]) -> None:
    total = len(contents(body, version))
    parts = halves(body, version, shares)
    assert sum(len(contents(half, version)) for half, _ in parts) == (total if parts else 0)
    assert sum(group.items for group in groups(body, version, shares)) == sum(share.points for share in shares)
    if version == 2:
        assert len(contents(encoded(contents(body, 2), 1), 1)) == total


def _lines(group: Group) -> None:
    lost: list[Lost] = []
    steps = _WRITER.lines(group, lost)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            _, lines, _ = done.value
            break
        except WireError:
            return
    for line in lines:
        assert b"\n" not in line
        assert line.count(b" ") >= 2


def _metric(name: bytes, number: int, data: bytes, *more: bytes) -> bytes:
    told = field(12, encode_attribute("prometheus.type", "counter"))
    return field(2, field(1, name) + field(3, b"s") + field(number, data + b"\x10\x02\x18\x01") + b"".join(more) + told)


def _seeds() -> Iterator[bytes]:
    start, time = b"\x11" + bytes(8), b"\x19" + struct.pack("<Q", 1_700_000_000_000_000_000)
    label = encode_attributes({"k": "v", "le": 5}, 7)
    exemplar = field(5, b"\x11" + bytes(8) + b"\x19" + _DOUBLE(1) + field(5, b"t" * 16))
    value = b"\x21" + _DOUBLE(1.5)
    yield field(
        2, field(1, field(1, b"scope")) + _metric(b"a_total", 7, field(1, label + start + time + b"\x40\0" + value))
    )
    yield field(
        2,
        _metric(b"b", 7, field(1, start + time + value + label))
        + _metric(b"c", 5, field(1, time + b"\x31" + bytes(8))),
    )
    yield field(2, _metric(b"d", 7, field(1, label + time + value + exemplar)))
    buckets = field(6, struct.pack("<3Q", 1, 2, 3)) + field(7, _DOUBLE(0.5) + _DOUBLE(2))
    yield field(2, _metric(b"h", 9, field(1, time + b"\x21" + bytes(8) + b"\x29" + _DOUBLE(7) + buckets + b"\x50\0")))
    spans = field(8, b"\x08\x03" + field(2, b"\1\0\0\0\5"))
    yield field(2, _metric(b"e", 10, field(1, time + b"\x21" + bytes(8) + b"\x30\x12" + spans)))
    quantile = field(6, b"\x09" + _DOUBLE(0.5) + b"\x11" + _DOUBLE(3))
    yield field(2, _metric(b"q", 11, field(1, time + b"\x21" + bytes(8) + b"\x29" + _DOUBLE(7) + quantile)))
    yield b""


_WIRE = [
    bytes((tag,))
    for tag in (0x09, 0x0A, 0x11, 0x12, 0x19, 0x21, 0x29, 0x2A, 0x31, 0x32, 0x3A, 0x40, 0x42, 0x4A, 0x52, 0x62)
]
_WIRE += [varint(number) for number in (127, 128, 16384, 2**31, 2**63, 2**64 - 1)]
_WIRE += [
    b"\x40\x00",
    b"\x40\x01",
    _DOUBLE(float("nan")),
    _DOUBLE(float("inf")),
    b"\x02\0\0\0\0\0\xf0\x7f",
    b"prometheus.le",
    b"0.5,+Inf",
]

TARGETS = table(Target("series", _run, _seeds, _WIRE))
