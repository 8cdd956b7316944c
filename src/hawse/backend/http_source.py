"""What a Sumo Logic HTTP source takes: lines of text or JSON, and metrics, described by X-Sumo- headers.

Formats: help.sumologic.com, "HTTP Logs and Metrics Source", and what the Sumo Logic exporter sends.
"""

import time
from collections.abc import Mapping

import msgspec

from hawse.backend.columns import Lot
from hawse.backend.intake import Arrival
from hawse.backend.metrics.registry import Registry
from hawse.backend.metrics.text import TextDecoder
from hawse.backend.store import ItemGroup
from hawse.batch import Resource, Signal

PROMETHEUS = "application/vnd.sumologic.prometheus"
METRICS = frozenset(
    {
        PROMETHEUS,
        "application/vnd.sumologic.carbon2",
        "application/vnd.sumologic.graphite",
    }
)

# Header to field. The client's name is told as a field, too, so that it can be searched for.
_HEADERS = {
    "x-sumo-name": "_sourceName",
    "x-sumo-category": "_sourceCategory",
    "x-sumo-host": "_sourceHost",
    "x-sumo-client": "_client",
}


class _Timed(msgspec.Struct):
    timestamp: int | float | None = None


_timed = msgspec.json.Decoder(_Timed)


def fields(headers: Mapping[str, str]) -> dict[str, str]:
    """The fields of a request: those of X-Sumo-Fields and X-Sumo-Dimensions, then the source's."""
    found: dict[str, str] = {}
    for name in ("x-sumo-fields", "x-sumo-dimensions", "x-sumo-metadata"):
        for pair in _text(headers.get(name, "")).split(","):
            key, equals, value = pair.strip().partition("=")
            if equals and key.strip():
                found[key.strip()] = value.strip()
    found.update({field: _text(headers[name]) for name, field in _HEADERS.items() if name in headers})
    return found


def arrival(content_type: str, headers: Mapping[str, str], body: bytes, registry: Registry) -> Arrival:
    """The request's lines. A line break at the end begins no record; all else is kept, the empty line included.

    Raises ValueError where a line of Prometheus' text is none.
    """
    if content_type == PROMETHEUS:
        origin = registry.origin(Resource.of(fields(headers)))
        return Arrival(samples=TextDecoder(registry, origin).read(body))
    if content_type in METRICS:
        items = sum(1 for line in body.splitlines() if line.strip() and not line.startswith(b"#"))
        return Arrival(groups=[ItemGroup(Signal.METRICS, fields(headers), items, body, content_type)] if items else [])
    if not body:
        return Arrival()
    lines = body.removesuffix(b"\n").split(b"\n")
    now = time.time_ns()
    return Arrival(lots=[Lot(fields(headers), [_time(line, now) for line in lines], [now] * len(lines), lines)])


def _time(line: bytes, now: int) -> int:
    """The `timestamp` of a JSON line, which exporters add; the time of arrival for every other line."""
    if line[:1] != b"{" or b'"timestamp"' not in line:
        return now
    try:
        stamp = _timed.decode(line).timestamp
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return now
    nanoseconds = _nanoseconds(stamp) if stamp is not None and 0 <= stamp < 1e19 else now
    return nanoseconds if nanoseconds < 1 << 63 else now  # what the store's columns hold


def _nanoseconds(stamp: float) -> int:
    """Epochs of 10, 16 and 19 digits are seconds, µs and ns; all others milliseconds, as exporters write them."""
    digits = len(str(int(stamp)))
    return int(stamp * {10: 10**9, 16: 10**3, 19: 1}.get(digits, 10**6))


def _text(header: str) -> str:
    """Header values are bytes; the server reads them as Latin-1, senders write UTF-8."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")
