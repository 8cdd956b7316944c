"""What the demo's applications say. Each makes one log event at a time: lines for one stream.

A line becomes one record, but for those of a stack trace, which belong together.
"""

import json
import random
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

_PATHS = ("/", "/cart", "/search?q=mooring+line", "/products/417", "/checkout", "/static/app.js", "/health")
_CUSTOMERS = ("José Ñúñez", "Søren Åkesson", "李小龍", "Ada Lovelace", "Zoë Krüger", "محمد علي")
_FRAMES = (
    "com.example.orders.OrderService.place(OrderService.java:{})",
    "com.example.orders.Basket.total(Basket.java:{})",
    "com.example.http.Dispatcher.dispatch(Dispatcher.java:{})",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:{})",
    "java.base/java.lang.Thread.run(Thread.java:{})",
)
JAVA_FIRST_LINE = r"^(INFO|ERROR) "


class Event(NamedTuple):
    """What an application logs at once. `lines` hold no newlines."""

    stream: str  # "stdout" | "stderr"
    lines: tuple[str, ...]


App: TypeAlias = Callable[[random.Random, int], Event]  # (source of chance, number of the event) → event


def traced(event: Event, trace_id: str, span_id: str) -> Event:
    """The same event of a service that puts the trace into its log lines."""
    first, *rest = event.lines
    if first.startswith("{"):
        first = f'{{"trace_id": "{trace_id}", "span_id": "{span_id}", {first[1:]}'
    else:
        first = f"{first} trace_id={trace_id} span_id={span_id}"
    return Event(event.stream, (first, *rest))


def web_server(rng: random.Random, number: int) -> Event:
    """Access log in the combined format; errors on stderr."""
    peer = f"10.244.{rng.randrange(4)}.{rng.randrange(2, 250)}"
    if rng.random() < 0.03:
        return Event("stderr", (f"[error] {number}#0: upstream timed out while connecting, client: {peer}",))
    status, size = rng.choice((200, 200, 200, 200, 304, 404, 502)), rng.randrange(180, 48_000)
    return access(peer, rng.choice(_PATHS), status, size, number)


def access(peer: str, path: str, status: int, size: int, number: int) -> Event:
    """A line of the access log."""
    return Event("stdout", (f'{peer} - - "GET {path} HTTP/1.1" {status} {size} "-" "Mozilla/5.0" rid={number}',))


def java_service(rng: random.Random, number: int) -> Event:
    """Plain lines; now and then a stack trace of many lines on stderr."""
    thread = f"http-{rng.randrange(8)}"
    if rng.random() < 0.02:
        head = f"ERROR [{thread}] order {number} failed: java.lang.IllegalStateException: basket is empty"
        frames = [f"\tat {frame.format(rng.randrange(20, 900))}" for frame in _FRAMES]
        cause = "Caused by: java.sql.SQLTimeoutException: no connection within 500ms"
        return Event("stderr", (head, *frames, cause, *frames[2:]))
    took = rng.randrange(3, 800)
    return Event("stdout", (f"INFO  [{thread}] order {number} placed by {rng.choice(_CUSTOMERS)} in {took} ms",))


def json_service(rng: random.Random, number: int) -> Event:
    """One JSON object a line; some are longer than what a runtime writes in one piece."""
    body: dict[str, object] = {
        "level": rng.choice(("info", "info", "info", "warn", "error")),
        "msg": "payment authorised",
        "payment": number,
        "customer": rng.choice(_CUSTOMERS),
        "amount": {"value": rng.randrange(100, 90_000) / 100, "currency": rng.choice(("EUR", "USD", "JPY"))},
    }
    if rng.random() < 0.01:
        body["receipt"] = rng.randbytes(rng.randrange(9_000, 30_000)).hex()
    return Event("stdout", (json.dumps(body, ensure_ascii=False),))


def node_agent(rng: random.Random, number: int) -> Event:
    """Key=value lines, empty lines among them."""
    if rng.random() < 0.02:
        return Event("stdout", ("",))
    load, free = rng.random() * 4, rng.randrange(2**30, 2**34)
    return Event("stdout", (f"level=info seq={number} load1={load:.2f} mem_free={free} iface=eth0",))


def batch_job(rng: random.Random, number: int) -> Event:
    """Progress, terminal colours included."""
    colour = rng.choice((32, 33, 36))
    return Event("stdout", (f"\x1b[{colour}mreport\x1b[0m row {number} checksum {rng.getrandbits(64):016x}",))
