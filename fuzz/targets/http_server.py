"""Bytes from a client to our server, with the otlp receiver behind it: answers in order, or an error and the end."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from fuzz.targets import Target, table
from hawse.batch import Batch, Signal
from hawse.component import Busy, Refused
from hawse.net.compression import compress
from hawse.net.connection import Connection
from hawse.net.http import Request, Response
from hawse.net.listener import Listener
from hawse.net.routes import Mount
from hawse.net.settings import ServerConfig
from hawse.receivers.otlp import HttpConfig, Otlp, OtlpConfig, Protocols
from hawse.values import ByteSize

_SETTINGS = ServerConfig(
    endpoint="127.0.0.1:0",
    max_request_body_size=ByteSize(100_000),
    max_header_bytes=ByteSize(4096),
    max_header_count=20,
)
_LOOP = asyncio.new_event_loop()
logging.disable(logging.CRITICAL)


class _Transport:
    """Takes what the server writes."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = self.paused = False
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the end"
        self.out += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class _Sink:
    async def consume(self, batch: Batch) -> None:
        if batch.items == 3:
            raise Busy("full", 2)
        if batch.items == 4:
            raise Refused("no")
        if batch.items == 2:
            await asyncio.sleep(0)


async def _echo(request: Request) -> Response:
    assert request.query is not None
    return Response(200, request.body)


class _Context:
    """As much of a component's context as the receiver uses before it starts."""

    id = "otlp"
    log = logging.LoggerAdapter(logging.getLogger("fuzz"))

    def shared(self, kind: type[Any]) -> Any:
        return kind()

    @property
    def meter(self) -> Any:
        return self

    def counter(self, *_: Any) -> Any:
        return self

    def add(self, amount: float, **_: str) -> None:
        pass


def _make() -> Listener:
    listener = Listener(_SETTINGS, "fuzz")
    sink = _Sink()
    context: Any = _Context()
    http = HttpConfig()
    otlp = Otlp(OtlpConfig(protocols=Protocols(http=http)), context, dict.fromkeys(Signal, sink))
    routes = {("POST", f"/v1/{signal}"): otlp._handler(signal, http) for signal in Signal}
    listener.routes.add(Mount("fuzz", _SETTINGS), {**routes, ("*", "/echo/*"): _echo}, "here", "fuzz")
    return listener


async def _setup() -> Listener:
    return _make()


_LISTENER = _LOOP.run_until_complete(_setup())


def _run(data: bytes) -> None:
    if len(data) > 1:
        _LOOP.run_until_complete(_talk(data[1:], 1 + data[0] * 8))


async def _talk(data: bytes, step: int) -> None:
    transport: Any = _Transport()
    transport.protocol = Connection(_LISTENER)
    transport.protocol.connection_made(transport)
    at = 0
    while at < len(data) and not transport.closed:
        for _ in range(20):
            if not transport.paused:
                break
            await asyncio.sleep(0)
        if transport.paused:
            break
        connection = transport.protocol  # another one once HTTP/2's preface has come
        buffer = connection.get_buffer(-1)
        size = min(step, len(buffer), len(data) - at)
        assert size, "no room to receive into"
        buffer[:size] = data[at : at + size]
        connection.buffer_updated(size)
        at += size
    for _ in range(12):
        await asyncio.sleep(0)
    connection = transport.protocol
    speaks = b"HTTP/1.1 " if isinstance(connection, Connection) else b"\0\0\x18\x04"  # its SETTINGS
    assert not transport.out or transport.out.startswith(speaks), bytes(transport.out[:40])
    assert b"500 Internal" not in transport.out, bytes(transport.out[-300:])
    connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    _LISTENER._stop_sweeping()
    assert not _LISTENER._connections
    assert _LISTENER.budget.used == 0, "not all that was charged was given back"


def _post(body: bytes, *headers: str, path: str = "/v1/logs", kind: str = "application/x-protobuf") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}", *headers]
    if not any(line.lower().startswith("transfer-encoding") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _seeds() -> Iterator[bytes]:
    record = b"\x0a\x08\x12\x06\x12\x04\x2a\x02\x0a\x00"
    json = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}'
    chunked = b"5;x=y\r\nhello\r\n0\r\nTrailer: z\r\n\r\n"
    requests = [
        _post(record), _post(record * 3), _post(json, kind="application/json"), _post(compress([record], "gzip"), "Content-Encoding: gzip"),
        _post(compress([json], "zstd"), "Content-Encoding: zstd", kind="application/json"), _post(chunked, "Transfer-Encoding: chunked", path="/echo/a?b=%20c"),
        b"GET /echo/ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://h/echo/x HTTP/1.0\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        _post(b"body", "Expect: 100-continue", path="/echo/"), _post(b"up", "Connection: Upgrade", "Upgrade: h2c", path="/echo/"), _post(b"\0" * 70_000, path="/echo/"),
    ]  # fmt: skip
    for request in requests:
        yield b"\xff" + request
        yield b"\0" + request[:3000]
    yield b"\xff" + b"".join(requests[:-1])
    yield b"\x05" + b"".join(requests[:-1])


_WORDS = [
    b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:\tchunked\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Content-Encoding: gzip\r\n", b"\r\n\r\n", b"\n\n", b"\r",
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"0x5\r\n", b"%2e%2e/", b"?", b"#", b"\0", b"\x80", b"/echo/", b"/v1/logs", b"/v1/metrics",
]  # fmt: skip

TARGETS = table(Target("http_server", _run, _seeds, _WORDS, 4096))
