"""What a server sends to our gRPC client: an answer, a status, or a reason why there is none."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

from hpack import Encoder

from fuzz.targets import Target, table
from hawse.component import Busy
from hawse.net.exchange import Lost
from hawse.net.grpc import Code, GrpcError, framed, retry_delay, retry_info
from hawse.net.grpc_client import GrpcClient, GrpcClientConfig, compressed
from hawse.net.http2 import frames
from hawse.net.http2.client import Http2Client

_LIMIT = 100_000
_SCRATCH = memoryview(bytearray(65_536))
_HEAD = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")]


class _Transport:
    closing = False

    def write(self, data: Any) -> None:
        pass

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0


async def _run_calls(pieces: list[bytes]) -> None:
    client = GrpcClient(GrpcClientConfig(endpoint="http://a:1"), max_response_size=_LIMIT)
    connection = Http2Client(_SCRATCH, lambda: None)
    transport: Any = _Transport()
    connection.connection_made(transport)
    body = framed(b"x" * 200_000)  # more than the window: it waits for the server
    calls = [asyncio.ensure_future(connection.call(b"\x83", one, _LIMIT)) for one in (framed(b"a"), framed(b"b"), body)]
    await asyncio.sleep(0)
    for piece in pieces:
        if transport.closing:
            break
        connection.get_buffer(-1)[: len(piece)] = piece
        connection.buffer_updated(len(piece))
        await asyncio.sleep(0)
    connection.connection_lost(None)
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, Lost):
            assert outcome.reason
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            assert len(outcome.body) <= _LIMIT
            try:
                assert len(client._message(outcome)) <= _LIMIT
            except GrpcError as error:
                assert error.code is not Code.OK
                wait = retry_delay(error.details)
                assert wait is None or 0 <= wait <= 3600
            except Busy as busy:
                assert busy.reason
    assert not connection.busy
    assert not connection.usable


def _run(data: bytes) -> None:
    """The first byte says how long the pieces are."""
    if len(data) > 1:
        step = 1 + data[0] * 3
        asyncio.run(_run_calls([data[at : at + step] for at in range(1, len(data), step)]))


def _seeds() -> Iterator[bytes]:
    details = GrpcError(Code.UNAVAILABLE, "later", (retry_info(1.5),)).status
    failed = [("grpc-status", "14"), ("grpc-message", "no%20way"),
              ("grpc-status-details-bin", base64.b64encode(details).decode().rstrip("="))]  # fmt: skip
    for step in (0, 10, 255):
        encoder = Encoder()
        data = frames.settings({3: 10, 4: 100, 5: 20_000}) + frames.SETTINGS_ACK
        data += frames.frame(frames.HEADERS, 4, 1, encoder.encode(_HEAD))
        message = framed(compressed([b"hello"], "gzip"), compressed=True)
        data += frames.frame(frames.DATA, 8, 1, b"\2" + message[:9] + b"\0\0") + frames.frame(
            frames.DATA, 0, 1, message[9:]
        )
        data += frames.frame(frames.HEADERS, 5, 1, encoder.encode([("grpc-status", "0")]))
        data += (
            frames.window_update(0, 200_000)
            + frames.window_update(5, 200_000)
            + frames.frame(frames.PING, 0, 0, bytes(8))
        )
        head = encoder.encode([*_HEAD, *failed])
        data += frames.frame(frames.HEADERS, 1, 3, head[:20]) + frames.frame(frames.CONTINUATION, 4, 3, head[20:])
        yield bytes((step,)) + data + frames.goaway(5, frames.Code.NO_ERROR)
        yield (
            bytes((step,))
            + data
            + frames.rst_stream(5, frames.Code.REFUSED_STREAM)
            + frames.goaway(1, frames.Code.NO_ERROR)
        )


TARGETS = table(
    Target(
        "grpc_client",
        _run,
        _seeds,
        tokens=(frames.settings({}), frames.SETTINGS_ACK, frames.frame(frames.DATA, 1, 1), b"\x88", b"\x40", b"HTTP/1.1",
                b"\x3f\xe1\x1f", b"\xff\xff\xff\x7f", frames.frame(frames.CONTINUATION, 4, 3), frames.goaway(0, frames.Code.NO_ERROR)),
    )
)  # fmt: skip
