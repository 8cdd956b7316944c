"""Prometheus remote write: what is taken comes out as OTLP that is well formed, known series or not."""

import asyncio
import struct
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from fuzz.targets import Target, table
from hawse.batch import Batch, Signal
from hawse.codecs import otlp, otlp_descriptors, remote_write_1, remote_write_2
from hawse.codecs.remote_write import Limits
from hawse.codecs.remote_write_memory import Memory
from hawse.codecs.remote_write_schema import message
from hawse.wire import WireError, field, varint

_NOW = 1_790_000_000_000
_LABELS = {b"__name__": b"m_total", b"job": b"j", b"instance": b"i:1", b"pod": b"p", b"le": b"+Inf"}
_RESOURCE_LABELS = {"pod": "k8s.pod.name"}
_warm = {module: Memory(1 << 20, _RESOURCE_LABELS) for module in (remote_write_1, remote_write_2)}


def _result(module: ModuleType, data: bytes, memory: Memory) -> tuple[object, ...]:
    try:
        written = asyncio.run(module.read(data, memory, Limits(2000, 1 << 20)))
    except WireError as error:
        return (type(error),)
    batch = Batch(Signal.METRICS, written.groups)
    encoded = batch.encode()
    assert len(encoded) < 2 << 20
    again = otlp.decode(Signal.METRICS, encoded)
    assert again.items == batch.items == written.samples + written.histograms
    for group in again.groups:
        _ = group.resource.attributes
    _otlp().FromString(encoded)
    return (encoded, written.samples, written.histograms, written.exemplars, written.lonely, written.invalid)


def _otlp() -> Any:
    """Hawse's own class for the result, which checks that texts are UTF-8."""
    return otlp_descriptors.message("opentelemetry.proto.metrics.v1.MetricsData")


def _run(module: ModuleType) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        cold = _result(module, data, Memory(1 << 20, _RESOURCE_LABELS))
        if module is remote_write_1 and b"\x1a" in data:
            return  # metadata that were learnt before change what comes out
        assert _result(module, data, _warm[module]) == cold
        assert _result(module, data, _warm[module]) == cold
        assert _warm[module].usage.bytes < 2 << 20

    return run


def _histogram() -> bytes:
    made = message("Histogram")(count_int=5, sum=1.5, schema=3, zero_count_int=1, timestamp=_NOW, zero_threshold=0.1)
    made.positive_spans.add(offset=-2, length=2)
    made.positive_spans.add(offset=3, length=1)
    made.positive_deltas.extend([1, 1, -1])
    made.negative_spans.add(offset=0, length=1)
    made.negative_deltas.append(1)
    return bytes(made.SerializeToString())


def _custom() -> bytes:
    made = message("Histogram")(count_float=2, sum=1, schema=-53, timestamp=_NOW, custom_values=[0.5, 1.0])
    made.positive_spans.add(offset=1, length=1)
    made.positive_counts.append(2)
    return bytes(made.SerializeToString())


_VALUE = field(2, b"\x09" + struct.pack("<d", 2.5) + b"\x10" + varint(_NOW))
_STALE = field(2, b"\x09\x02\0\0\0\0\0\xf0\x7f\x10" + varint(_NOW))
_ZERO = field(2, b"\x10" + varint(_NOW))


def _one() -> Iterator[bytes]:
    labels = b"".join(field(1, field(1, name) + field(2, value)) for name, value in _LABELS.items())
    other = labels.replace(b"+Inf", b"10.5")
    exemplar = field(3, field(1, field(1, b"trace_id") + field(2, b"0af7651916cd43dd8448eb211c80319c")) + b"\x18\x01")
    bodies = [_VALUE, _ZERO, _STALE, _VALUE + _ZERO, exemplar, field(4, _histogram()), field(4, _custom())]
    for inside in bodies:
        yield field(1, labels + inside)
    yield b"".join(field(1, of + inside) for inside in bodies for of in (labels, other))
    yield field(3, b"\x08\x01" + field(2, b"m") + field(4, b"Help.")) + field(1, labels + _VALUE)


def _two() -> Iterator[bytes]:
    symbols = [b"", *(text for pair in _LABELS.items() for text in pair), b"10.5", b"Help."]
    table_ = b"".join(field(4, symbol) for symbol in symbols)
    labels = field(1, bytes(range(1, 11)))
    other = field(1, bytes((*range(1, 10), 11)))
    story = field(5, b"\x08\x01\x18\x0c") + b"\x30" + varint(_NOW - 1)
    exemplar = field(4, field(1, b"\x01\x02") + b"\x18\x01")
    started = field(2, b"\x09" + struct.pack("<d", 2.5) + b"\x10" + varint(_NOW) + b"\x18" + varint(_NOW - 1))
    bodies = [_VALUE, _ZERO, _STALE, started, _VALUE + _ZERO, exemplar, field(3, _histogram()), field(3, _custom())]
    for inside in bodies:
        yield table_ + field(5, labels + inside + story)
    yield table_ + b"".join(field(5, of + inside + story) for inside in bodies for of in (labels, other))


_WORDS = [_VALUE[:3], _ZERO[:3], b"\x10" + varint(_NOW), b"\x18" + varint(_NOW), b"\x02\0\0\0\0\0\xf0\x7f", b"__name__"]

TARGETS = table(
    Target("remote_write_1", _run(remote_write_1), _one, _WORDS, 2048),
    Target("remote_write_2", _run(remote_write_2), _two, _WORDS, 2048),
)
