"""HTTP/2 from a client, cut into pieces at random: no socket, a transport that only remembers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from hpack import Encoder

from fuzz.targets import Target, table
from hawse.net.budget import Budget
from hawse.net.compression import compress
from hawse.net.grpc import METHOD, STREAM, framed
from hawse.net.http import AnyHandler, Request, Response
from hawse.net.http2 import frames
from hawse.net.http2.connection import Http2Connection
from hawse.net.listener import Listener
from hawse.net.routes import Mount
from hawse.net.settings import ServerConfig

_PATH = "/t.T/Echo"
_STREAM_PATH = "/t.T/All"
_CALL = [(":method", "POST"), (":scheme", "http"), (":path", _PATH), (":authority", "x"),
         ("content-type", "application/grpc"), ("grpc-encoding", "gzip"), ("grpc-timeout", "1S")]  # fmt: skip
_POST = [(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "x"), ("content-length", "5")]


class _Transport:
    def __init__(self) -> None:
        self.closing = False
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def close(self) -> None:
        self.closing = True

    abort = close
    write_eof = close

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0


async def _echo(request: Request) -> Response:
    return Response(200, request.body)


async def _echo_all(request: Request, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for message in messages:
        yield message


_ROUTES: dict[tuple[str, str], AnyHandler] = {
    (METHOD, _PATH): _echo,
    (STREAM, _STREAM_PATH): _echo_all,
    ("POST", "/echo"): _echo,
}


async def _connection(pieces: list[bytes]) -> None:
    settings = ServerConfig(endpoint="127.0.0.1:0")
    listener = Listener(settings, "fuzz", Budget())
    listener.routes.add(Mount("fuzz", settings), _ROUTES, "here", "here")
    transport: Any = _Transport()
    connection = Http2Connection(listener, transport, "127.0.0.1")
    listener.opened(connection)
    connection.begin(pieces[0])
    for piece in pieces[1:]:
        if transport.closing:
            break
        size = min(len(piece), len(listener.scratch))
        connection.get_buffer(size)[:size] = piece[:size]
        connection.buffer_updated(size)
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert listener.budget.used == 0
    listener._stop_sweeping()


def _run(data: bytes) -> None:
    """The first byte says how long the pieces are."""
    if len(data) > 1:
        step = 1 + data[0] * 3
        asyncio.run(_connection([data[at : at + step] for at in range(1, len(data), step)]))


def _seeds() -> Iterator[bytes]:
    for step in (1, 20, 255):
        encoder = Encoder()
        data = frames.PREFACE + frames.settings({4: 100}) + frames.frame(frames.HEADERS, 4, 1, encoder.encode(_CALL))
        data += frames.frame(frames.DATA, 1, 1, framed(b"hello"))
        data += frames.frame(frames.HEADERS, 0, 3, encoder.encode(_POST)[:9])
        data += frames.frame(frames.CONTINUATION, 4, 3, Encoder().encode(_POST)[9:])
        data += frames.frame(frames.DATA, 9, 3, b"\x02hello\0\0") + frames.window_update(1, 100)
        data += frames.frame(frames.PING, 0, 0, bytes(8)) + frames.rst_stream(1, frames.Code.CANCEL)
        yield bytes((step,)) + data
        call = [(":path", _STREAM_PATH) if name == ":path" else (name, value) for name, value in _CALL]
        data = frames.PREFACE + frames.settings({}) + frames.frame(frames.HEADERS, 4, 1, Encoder().encode(call))
        message = framed(b"hello") + b"\1" + framed(compress((b"hello",), "gzip"))[1:]
        data += frames.frame(frames.DATA, 0, 1, message[:9]) + frames.frame(
            frames.DATA, 8, 1, b"\1" + message[9:] + b"\0"
        )
        yield bytes((step,)) + data + frames.frame(frames.DATA, 1, 1, framed(b""))


TARGETS = table(
    Target(
        "http2_server",
        _run,
        _seeds,
        tokens=(frames.PREFACE, frames.SETTINGS_ACK, frames.frame(frames.DATA, 1, 1, b""), b"\x82\x86\x84", b"\x40",
                b"\x3f\xe1\x1f", b"\xff\xff\xff\x7f", frames.frame(frames.CONTINUATION, 4, 3, b"")),
    )
)  # fmt: skip
