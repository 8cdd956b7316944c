"""OTLP requests as SDKs and collectors send them, for the gateway bench: all items of a request from one pod.

As in the reference figures, 1,000 items a request: spans of 332 bytes, log records of about 200, data points of about
100 (of 20 metrics, 50 series each). Trace and span IDs, times and numbers differ between requests; names, URLs and the
like come from few, as they do.
"""

import random
import struct
from collections.abc import Callable
from pathlib import Path

from bench.write_requests import Pod
from hawse.batch import Signal
from hawse.wire import encode_attributes, field, varint

ITEMS = 1000
_START = 1_792_000_000 * 10**9  # 2026-10-14
_SPAN = 332  # bytes, tag and length included
_ROUTES = ("/api/cart", "/api/checkout", "/api/products", "/api/products/search", "/healthz", "/api/users/self")
_fixed64 = struct.Struct("<Q")
_double = struct.Struct("<d")


def write(spool: Path, signal: Signal, pods: list[Pod], requests: int, items: int = ITEMS) -> int:
    """Write a spool of requests (see `bench.sink`), of each pod in its turn; how many bytes their messages have."""
    rng = random.Random(f"{signal} {requests} {items}")
    size = 0
    with spool.open("wb") as file:
        for number in range(requests):
            data = request(signal, pods[number % len(pods)], rng, items)
            file.write(f"{len(data)} \n".encode())
            file.write(data)
            size += len(data)
    return size


def request(signal: Signal, pod: Pod, rng: random.Random, items: int = ITEMS) -> bytes:
    """One request."""
    about = {
        "service.name": pod.name.split("-")[0],
        "k8s.namespace.name": pod.namespace,
        "k8s.pod.name": pod.name,
        "telemetry.sdk.language": "java",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.version": "1.50.0",
    }
    if signal is not Signal.METRICS:
        about["k8s.pod.uid"] = pod.uid
    scope = field(1, field(1, b"io.opentelemetry.http") + field(2, b"1.50.0"))
    inside = field(1, encode_attributes(about)) + field(2, scope + _ITEMS[signal](rng, items))
    return field(1, inside)


def _time(number: int, tag: int, offset: int) -> bytes:
    return varint(number << 3 | 1) + _fixed64.pack(_START + tag * 1_000_003 + offset)


def _spans(rng: random.Random, items: int) -> bytes:
    return b"".join(_span(rng) for _ in range(items))


def _span(rng: random.Random) -> bytes:
    at, took = rng.randrange(10**6), rng.randrange(10**5, 10**9)
    route = rng.choice(_ROUTES)
    attributes = {
        "http.request.method": rng.choice(("GET", "GET", "POST")),
        "http.route": route,
        "http.response.status_code": rng.choice((200, 200, 200, 404, 500)),
        "server.address": "shop.example.com",
        "network.protocol.version": "1.1",
    }
    head = field(1, rng.randbytes(16)) + field(2, rng.randbytes(8)) + field(4, rng.randbytes(8))
    body = head + field(5, f"GET {route}".encode()) + b"\x30\x02" + _time(7, at, 0) + _time(8, at, took)
    body += encode_attributes(attributes, 9)
    missing = _SPAN - 2 - len(body) - len(encode_attributes({"url.full": ""}, 9)) - 1  # lengths over 127 take two bytes
    return field(
        2, body + encode_attributes({"url.full": ("https://shop.example.com" + route + "?q=" * 99)[:missing]}, 9)
    )


def _records(rng: random.Random, items: int) -> bytes:
    return b"".join(_record(rng, number) for number in range(items))


def _record(rng: random.Random, number: int) -> bytes:
    at = rng.randrange(10**6)
    status, took, id_ = rng.choice((200, 200, 404)), rng.randrange(2000), rng.getrandbits(64)
    line = f"{rng.choice(_ROUTES)} answered {status} in {took} ms, request {id_:016x}"
    body = _time(1, at, number) + b"\x10\x09" + field(3, b"INFO") + field(5, field(1, line.encode()))
    body += encode_attributes({"logger": "shop.http.Access", "thread": f"worker-{rng.randrange(32)}"}, 6)
    return field(2, body + _time(11, at, number + 1000))


_METRICS = 20


def _points(rng: random.Random, items: int) -> bytes:
    each = max(1, items // _METRICS)
    return b"".join(_metric(rng, number, each) for number in range(items // each))


def _metric(rng: random.Random, number: int, points: int) -> bytes:
    found = b"".join(field(1, _point(rng, series)) for series in range(points))
    about = field(1, f"http.server.something.{number}".encode()) + field(3, b"1")
    if number % 2:
        return field(2, about + field(5, found))
    return field(2, about + field(7, found + b"\x10\x02\x18\x01"))


def _point(rng: random.Random, series: int) -> bytes:
    attributes = {"http.route": _ROUTES[series % len(_ROUTES)], "instance": f"10.1.0.{series}:8080", "code": "200"}
    value = varint(4 << 3 | 1) + _double.pack(rng.random() * 1e6)
    return encode_attributes(attributes, 7) + _time(2, 0, 0) + _time(3, 1, 0) + value


_ITEMS: dict[Signal, Callable[[random.Random, int], bytes]] = {
    Signal.TRACES: _spans,
    Signal.LOGS: _records,
    Signal.METRICS: _points,
}
