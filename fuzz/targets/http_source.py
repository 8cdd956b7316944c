"""What a Sumo Logic HTTP source takes, as the embedded backend reads it."""

from collections.abc import Iterator

from fuzz.targets import Target, table
from hawse.backend import http_source, otlp_source
from hawse.batch import Signal

_TYPES = ("text/plain", "application/json", *sorted(http_source.METRICS), "application/x-www-form-urlencoded")


def _run(data: bytes) -> None:
    if not data:
        return
    if data[0] >= 128:  # its OTLP source: what it stores is made at once
        signal = list(Signal)[data[0] % 3]
        try:
            otlp_source.arrival(signal, otlp_source.JSON if data[0] & 64 else otlp_source.PROTOBUF, data[1:], "peer")
        except ValueError:
            pass
        return
    head, _, body = data[1:].partition(b"\0")
    names = ("x-sumo-fields", "x-sumo-name", "x-sumo-category", "x-sumo-host", "x-sumo-client", "x-sumo-dimensions")
    values = [value.decode("latin-1") for value in head.split(b"\1")]
    headers = dict(zip(names, values, strict=False))
    arrival = http_source.arrival(_TYPES[data[0] % len(_TYPES)], headers, body)
    for lot in arrival.lots:
        assert len(lot.times) == len(lot.bodies)
        assert b"\n".join(lot.bodies) == body.removesuffix(b"\n")
        assert all(-(1 << 63) <= time < 1 << 63 for time in lot.times), lot.times
        for key, value in lot.resource.items():
            key.encode(), value.encode()


def _seeds() -> Iterator[bytes]:
    lines = b'{"timestamp": 1790000000123, "log": "a"}\n{"timestamp":1790000000,"b":{}}\nplain\n\n'
    for kind in range(len(_TYPES)):
        yield bytes((kind,)) + b"a=b, c=d\1name\1category\1host\1client\1dim=1\0" + lines
    yield b'\2\0metric{a="b"} 1 1790000000\n# HELP\n'
    yield b'\xc0{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}'
    yield b"\x81\x0a\x0a\x12\x08\x12\x06\x2a\x04\x0a\x02hi"


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

TARGETS = table(Target("http_source", _run, _seeds, _WORDS, 2048))
