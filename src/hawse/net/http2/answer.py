"""Answers over HTTP/2: ordinary ones and gRPC's, within the windows that the client opens."""

import asyncio
import base64
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING

from hawse.net import cors, grpc
from hawse.net.answering import handled, streamed
from hawse.net.grpc import GrpcError
from hawse.net.head import Incoming
from hawse.net.http import HttpError, Response, StreamResponse
from hawse.net.http2 import frames
from hawse.net.http2.fields import block, literal, status
from hawse.net.http2.frames import Code
from hawse.net.http2.messages import Messages
from hawse.net.http2.stream import Stream
from hawse.net.writer import Writer

if TYPE_CHECKING:
    from hawse.net.listener import Listener

_GRPC_HEAD = status(200) + literal("content-type", "application/grpc") + literal(
    "grpc-accept-encoding", ",".join(grpc.ENCODINGS)
)  # fmt: skip
_GRPC_OK = literal("grpc-status", "0")
_LATE = GrpcError(grpc.Code.DEADLINE_EXCEEDED, "the call was not done within its deadline")
_AT_ONCE = 256 << 10  # bytes of a frame, whatever the client allows: others write on the connection, too
_NO_BODY = frozenset({204, 304})


class Answers(Writer):
    """The sending half of a connection."""

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener)
        self._streams: dict[int, Stream] = {}
        self._most_streams = self._settings.max_concurrent_streams
        self._send_window = frames.DEFAULT_WINDOW
        self._initial_window = frames.DEFAULT_WINDOW
        self._frame_size = frames.DEFAULT_FRAME
        self._closed = False

    async def _answer(self, stream: Stream, incoming: Incoming) -> None:
        """Have a request handled, and send what comes of it."""
        try:
            if stream.messages is not None:
                await self._answer_stream(stream, incoming, stream.messages)
            elif stream.is_grpc:
                await self._answer_call(stream, incoming)
            else:
                incoming.request.body = stream.body.getvalue()
                await self._send_response(stream, incoming, await handled(incoming, self._listener))
        except (ConnectionError, TimeoutError):
            if not self._closed and stream.id in self._streams:
                self._transport.write(frames.rst_stream(stream.id, Code.INTERNAL_ERROR))

    # --- gRPC ---------------------------------------------------------------------------------------------------

    async def _answer_call(self, stream: Stream, incoming: Incoming) -> None:
        try:
            async with asyncio.timeout(stream.timeout):
                message = await self._call(stream, incoming)
        except GrpcError as error:
            self._write(stream, self._trailers_only(stream.id, error))
            return
        except TimeoutError:
            self._write(stream, self._trailers_only(stream.id, _LATE))
            return
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, stream.id, _GRPC_HEAD)
        tail = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id, _GRPC_OK)
        body = grpc.framed(message)
        if len(body) <= min(self._send_window, stream.send_window, self._frame_size):
            self._send_window -= len(body)
            stream.send_window -= len(body)
            self._write(stream, head + frames.frame(frames.DATA, 0, stream.id, body) + tail)
        else:
            self._write(stream, head)
            await self._send_data(stream, body)
            self._write(stream, tail)
        await self._drained()

    async def _answer_stream(self, stream: Stream, incoming: Incoming, messages: Messages) -> None:
        """The head at once, so that the client knows that the call has begun; messages as the handler yields them."""
        self._write(stream, frames.frame(frames.HEADERS, frames.END_HEADERS, stream.id, _GRPC_HEAD))
        try:
            async with (
                asyncio.timeout(stream.timeout) as deadline,
                aclosing(streamed(incoming, self._listener, messages)) as answers,
            ):
                async for message in answers:
                    await self._send_data(stream, grpc.framed(message))
            fields = _GRPC_OK
        except GrpcError as error:
            fields = block(_status(error))
        except TimeoutError:
            if not deadline.expired():
                raise
            fields = block(_status(_LATE))
        flags = frames.END_HEADERS | frames.END_STREAM
        self._write(stream, frames.frame(frames.HEADERS, flags, stream.id, fields))
        await self._drained()

    async def _call(self, stream: Stream, incoming: Incoming) -> bytes:
        compressed = grpc.unary(stream.prefix, stream.size)
        incoming.request.body = stream.body.getvalue()
        if not compressed:
            incoming.encoding = ""
        elif not incoming.encoding:
            raise GrpcError(grpc.Code.INTERNAL, "the message is compressed, but no grpc-encoding says how")
        response = await handled(incoming, self._listener, raises=True)
        if response.status >= 400:  # nobody's method
            raise grpc.of_http(HttpError(response.status, response.body.decode("utf-8", "replace").strip()))
        return response.body

    def _trailers_only(self, id_: int, error: GrpcError) -> bytes:
        flags = frames.END_HEADERS | frames.END_STREAM
        return frames.frame(frames.HEADERS, flags, id_, _GRPC_HEAD + block(_status(error)))

    # --- ordinary answers -----------------------------------------------------------------------------------------

    async def _send_response(self, stream: Stream, incoming: Incoming, response: Response) -> None:
        streams = isinstance(response, StreamResponse)
        bodiless = incoming.request.method == "HEAD" or response.status in _NO_BODY
        length = -1 if streams else len(response.body)
        fields = _response_head(response.status, response.content_type, length) + block(_extra(incoming, response))
        ends = bodiless or (not streams and not response.body)
        flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
        self._write(stream, frames.frame(frames.HEADERS, flags, stream.id, fields))
        if isinstance(response, StreamResponse):
            try:
                if not bodiless:
                    async for piece in response.pieces:
                        await self._send_data(stream, piece)
            finally:
                aclose = getattr(response.pieces, "aclose", None)
                if aclose is not None:
                    await aclose()
        elif not ends:
            await self._send_data(stream, response.body)
        if not ends:
            self._write(stream, frames.frame(frames.DATA, frames.END_STREAM, stream.id))
        await self._drained()

    def _write_refusal(self, stream: Stream, error: HttpError) -> None:
        """The answer to a request that is not read to its end: cut off where the window is small."""
        if stream.is_grpc:
            self._transport.write(self._trailers_only(stream.id, grpc.of_http(error)))
            return
        response = error.response
        extra = block((name.lower(), value) for name, value in response.headers.items())
        fields = _response_head(response.status, response.content_type, -1) + extra
        size = max(0, min(len(response.body), self._send_window, stream.send_window, self._frame_size))
        self._send_window -= size
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, stream.id, fields)
        self._transport.write(head + frames.frame(frames.DATA, frames.END_STREAM, stream.id, response.body[:size]))

    # --- bytes --------------------------------------------------------------------------------------------------

    def _write(self, stream: Stream, data: bytes) -> None:
        """Raises ConnectionResetError where the client no longer waits for it."""
        if self._closed or stream.id not in self._streams:
            raise ConnectionResetError
        stream.answered = True
        self._transport.write(data)

    async def _send_data(self, stream: Stream, data: bytes) -> None:
        """DATA frames, as far as the windows are open at a time. Raises ConnectionError, TimeoutError."""
        at = 0
        while at < len(data):
            size = min(len(data) - at, self._send_window, stream.send_window, self._frame_size, _AT_ONCE)
            if size <= 0:
                await self._opened(stream)
                continue
            self._send_window -= size
            stream.send_window -= size
            self._write(stream, frames.frame(frames.DATA, 0, stream.id, data[at : at + size]))
            at += size
            await self._drained()

    async def _opened(self, stream: Stream) -> None:
        """Wait for a window to be opened."""
        if self._closed or stream.id not in self._streams:
            raise ConnectionResetError
        stream.waiter = self._listener.loop.create_future()
        try:
            async with asyncio.timeout(self._settings.write_timeout or None):
                await stream.waiter
        except TimeoutError:
            self._listener.refused("write_timeout")
            raise


def _status(error: GrpcError) -> Iterator[tuple[str, str]]:
    """The fields that end a failed call."""
    yield "grpc-status", str(int(error.code))
    yield "grpc-message", grpc.percent(error.message)
    if error.details:
        yield "grpc-status-details-bin", base64.b64encode(error.status).decode().rstrip("=")


@lru_cache(maxsize=512)
def _response_head(code: int, content_type: str, length: int) -> bytes:
    head = status(code)
    if content_type:
        head += literal("content-type", content_type)
    if length >= 0 and code not in _NO_BODY:
        head += literal("content-length", str(length))
    return head


def _extra(incoming: Incoming, response: Response) -> Iterable[tuple[str, str]]:
    settings = incoming.route.mount.settings
    yield from ((name.lower(), value) for name, value in response.headers.items())
    yield from ((name.lower(), value) for name, value in settings.response_headers.items())
    if settings.cors is not None and (origin := incoming.request.headers.get("origin")):
        yield from ((name.lower(), value) for name, value in cors.headers(settings.cors, origin).items())
