"""What a Sumo Logic HTTP source takes, as the embedded backend reads it; and what its users ask of metrics."""

import sqlite3
from collections.abc import Iterator

from fuzz.targets import Target, table
from hawse.backend import http_source, otlp_source
from hawse.backend.conditions import Mistake
from hawse.backend.intake import Arrival
from hawse.backend.metrics import selector
from hawse.backend.metrics.registry import Registry
from hawse.backend.metrics.samples import SampleRows, unpack
from hawse.backend.schema import METRICS
from hawse.batch import Signal
from hawse.wire import encode_attribute, field

_TYPES = ("text/plain", "application/json", *sorted(http_source.METRICS), "application/x-www-form-urlencoded")


def _run(data: bytes) -> None:
    if not data:
        return
    connection = sqlite3.connect(":memory:")
    connection.executescript(METRICS)
    registry = Registry(connection, 50)
    try:
        sizes = set()
        for _ in range(4):  # what is known is read in other ways, and must come to the same
            arrival = _arrival(data, registry)
            _check_samples(arrival, connection)
            if arrival.samples is not None:
                sizes.add((len(arrival.samples), arrival.samples.points, arrival.samples.rejected))
        assert len(sizes) <= 1, sizes
    except ValueError:
        pass
    finally:
        connection.close()


def _arrival(data: bytes, registry: Registry) -> Arrival:
    if data[0] >= 128:  # its OTLP source: what it stores is made at once
        signal = list(Signal)[data[0] % 3]
        kind = otlp_source.JSON if data[0] & 64 else otlp_source.PROTOBUF
        return otlp_source.arrival(signal, kind, data[1:], "peer", registry)
    head, _, body = data[1:].partition(b"\0")
    names = ("x-sumo-fields", "x-sumo-name", "x-sumo-category", "x-sumo-host", "x-sumo-client", "x-sumo-dimensions")
    values = [value.decode("latin-1") for value in head.split(b"\1")]
    headers = dict(zip(names, values, strict=False))
    arrival = http_source.arrival(_TYPES[data[0] % len(_TYPES)], headers, body, registry)
    for lot in arrival.lots:
        assert len(lot.times) == len(lot.bodies)
        assert b"\n".join(lot.bodies) == body.removesuffix(b"\n")
        assert all(-(1 << 63) <= time < 1 << 63 for time in lot.times), lot.times
        for key, value in lot.resource.items():
            key.encode(), value.encode()
    return arrival


def _check_samples(arrival: Arrival, connection: sqlite3.Connection) -> None:
    samples = arrival.samples
    if samples is None:
        return
    assert len(samples.series) == len(samples.times) == len(samples.values)
    assert samples.points >= 0
    assert samples.rejected >= 0
    if len(samples):
        assert samples.series.min() > 0
        assert samples.times.min() >= 0
        assert samples.series.max() <= 50
        SampleRows(connection).insert(samples, 1)
        newest = "SELECT series, times, samples FROM sample_chunk ORDER BY id DESC LIMIT 1"
        assert len(unpack(*connection.execute(newest).fetchone())) == len(samples)


def _ask(data: bytes) -> None:
    try:
        found = selector.parse(data.decode("utf-8", "replace"))
        found.wants_name()
        found.wants_labels()
    except Mistake:
        pass


def _seeds() -> Iterator[bytes]:
    lines = b'{"timestamp": 1790000000123, "log": "a"}\n{"timestamp":1790000000,"b":{}}\nplain\n\n'
    for kind in range(len(_TYPES)):
        yield bytes((kind,)) + b"a=b, c=d\1name\1category\1host\1client\1dim=1\0" + lines
    yield b'\2\0metric{a="b"} 1 1790000000\n# HELP\n'
    yield b'\xc0{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}'
    yield b"\x81\x0a\x0a\x12\x08\x12\x06\x2a\x04\x0a\x02hi"
    attributes = field(7, encode_attribute("a", "b"))
    room = bytes(range(1, 9))
    numbers = (
        b"\x11" + room + b"\x19" + room + b"\x21" + room + attributes,
        attributes + b"\x19" + room + b"\x40\x01" + b"\x31" + room,
        b"\x19" + room + b"\x31" + room,
    )
    for kind in (5, 7, 9, 10, 11):
        metric = field(1, b"m") + field(kind, b"".join(field(1, number) for number in numbers))
        yield b"\x82" + field(1, field(2, field(2, metric)))
    kind = _TYPES.index(http_source.PROMETHEUS)
    yield bytes((kind,)) + b'a=b\0# TYPE a counter\na{b="c\\"}",d="e"} 1.5 1790000000000\n{"x.y"} NaN\nz 0x1p-3 1\n'


_WORDS = [
    b'"timestamp":',
    b"1e300",
    b"-1",
    b"9" * 19,
    b"9223372036854775807",
    b"0.5",
    b"NaN",
    b"{",
    b"}",
    b"\n",
    b"\0",
    b"\1",
    b"=",
]


def _selectors() -> Iterator[bytes]:
    yield b'up{job="a",x!="b",y=~"c.*",z!~`d\\e`}'
    yield b"""{"utf8.name", 'k8s.pod.name' = "q\\"\\u00e9\\n" , __name__=~"a|b"}"""


_QUESTION = [b'{"', b'"}', b"=~", b"!~", b"!=", b"__name__", b"\\x41", b"`", b"'", b","]

TARGETS = table(
    Target("http_source", _run, _seeds, _WORDS, 2048), Target("selectors", _ask, _selectors, _QUESTION, 512)
)
