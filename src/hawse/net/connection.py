"""One client's connection to our server: requests in, answers out, in order, within time limits."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, cast

from hawse.net import cors
from hawse.net.answering import handled
from hawse.net.head import Incoming
from hawse.net.http import HttpError, Response, StreamResponse, reason
from hawse.net.http2.connection import Http2Connection
from hawse.net.parsing import RequestReader
from hawse.net.writer import LINGER, LINGER_BYTES, Writer
from hawse.values import Duration

if TYPE_CHECKING:
    from hawse.net.listener import Listener

log = logging.getLogger("hawse.net.server")

_RATE_GRACE = 10.0  # seconds of a request in which no rate is asked for
_YOUNG = 1.0  # seconds that a connection has before it may be closed to make room for another
_HTTP2 = b"PRI "
_NO_BODY = frozenset({204, 304})


class Connection(Writer):
    """Reads while it answers only as far as one receive goes: then the client has to wait."""

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener)
        self._reader: RequestReader = cast(RequestReader, None)
        self._waiting: deque[Incoming | HttpError] = deque()
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._lingering = -1  # bytes thrown away since we refused; -1 while we don't
        self._fresh = True  # nothing has come yet, or too little to tell the version
        self._first = b""
        self.peer = ""
        self._closing = False
        # What happens when: (loop time, what is late). Looked at by the listener's sweep, so that no timer is needed
        # per request.
        self.deadline = float("inf")
        self._began = 0.0

    # --- asyncio's callbacks ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = address = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""
        self._reader = RequestReader(
            self._settings,
            self._listener.routes,
            self._listener.scratch,
            address,
            self,
            self._listener.budget,
        )
        self._began = self._listener.loop.time()
        self._listener.opened(self)
        self._set_deadline()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._listener.scratch if self._fresh else self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        if self._lingering >= 0:
            self._lingering += nbytes
            if self._lingering > LINGER_BYTES:
                self._transport.abort()
            return
        if self._fresh and self._is_http2(nbytes):
            return
        was_idle = self._reader.idle
        self._reader.received(nbytes)
        if self._task is None:
            self._next()
        elif self._waiting or not self._reader.idle:
            self._pause()
        if was_idle and not self._reader.idle:
            self._began = self._listener.loop.time()
        if self._task is None:
            self._set_deadline()

    def _is_http2(self, nbytes: int) -> bool:
        """Whether the first bytes are HTTP/2's preface, which is no HTTP/1.1 from its first letters on."""
        self._first += bytes(self._listener.scratch[:nbytes])
        if len(self._first) < len(_HTTP2) and _HTTP2.startswith(self._first):
            return True  # too few to tell
        self._fresh = False
        if self._first.startswith(_HTTP2):
            other = Http2Connection(self._listener, self._transport, self.peer)
            self._listener.replaced(self, other)
            self._transport.set_protocol(other)
            other.begin(self._first)
            self._first = b""
            return True
        if len(self._first) > nbytes:  # what came in pieces is fed at once
            self._listener.scratch[: len(self._first)] = self._first
            nbytes, self._first = len(self._first), b""
            self.buffer_updated(nbytes)
            return True
        self._first = b""
        return False

    def eof_received(self) -> bool:
        return False  # a client that has closed its side is taken to be gone

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closing = True
        while self._waiting:
            if isinstance(waiting := self._waiting.popleft(), Incoming):
                self._listener.budget.release(waiting.held)
        self._reader.close()
        if self._task is not None:
            self._task.cancel()
        self._wake()
        self._listener.closed(self)

    # --- requests -----------------------------------------------------------------------------------------------

    # The three are parsing.Sink.

    def head(self, incoming: Incoming) -> None:
        if incoming.continue_ and self._task is None and not self._waiting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def request(self, incoming: Incoming) -> None:
        most = self._settings.max_pipelined_requests
        if len(self._waiting) >= most:
            self._listener.budget.release(incoming.held)
            message = f"more than {most} requests before the first was answered"
            raise HttpError(429, message, {"retry-after": "0"}, limit="max_pipelined_requests")
        self._waiting.append(incoming)

    def refuse(self, error: HttpError) -> None:
        self._waiting.append(error)

    def _next(self) -> None:
        """Begin with the next request, if there is one."""
        if not self._waiting:
            return
        incoming = self._waiting.popleft()
        self.deadline = float("inf")
        if isinstance(incoming, HttpError):
            self._finish(incoming)
            return
        self._task = self._listener.loop.create_task(self._answer(incoming))
        incoming.route.mount.running.add(self._task)
        self._task.add_done_callback(partial(self._answered, incoming))

    def _answered(self, incoming: Incoming, task: asyncio.Task[None]) -> None:
        incoming.route.mount.running.discard(task)
        self._listener.budget.release(incoming.held)
        incoming.held = 0

    async def _answer(self, incoming: Incoming) -> None:
        try:
            response = await handled(incoming, self._listener)
            close = incoming.close or self._closing
            await self._send(incoming, response, close=close)
        except (ConnectionError, TimeoutError):
            self._transport.abort()  # the client is gone, or doesn't read
            return
        except asyncio.CancelledError:
            self._transport.abort()  # by the client's leaving, or from within the handler: nobody will answer
            raise
        finally:
            self._task = None
        if close:
            self._transport.close()
        elif not self._transport.is_closing():
            self._resume()
            self._next()
            if self._task is None:
                self._began = self._listener.loop.time()  # while we were busy, the client had to wait
                self._set_deadline()

    # --- answers ------------------------------------------------------------------------------------------------

    async def _send(self, incoming: Incoming, response: Response, *, close: bool) -> None:
        extra = self._extra_headers(incoming, response)
        if isinstance(response, StreamResponse):
            await self._stream(incoming, response, extra, close=close or incoming.http10)
            incoming.close = close or incoming.http10
            return
        head = _head(response.status, response.content_type, len(response.body), close)
        if incoming.http10 and not close:
            extra += "connection: keep-alive\r\n"
        body = b"" if incoming.request.method == "HEAD" or response.status in _NO_BODY else response.body
        self._transport.write(b"".join((head, extra.encode("latin-1", "replace"), b"\r\n", body)))
        await self._drained()

    async def _stream(self, incoming: Incoming, response: StreamResponse, extra: str, *, close: bool) -> None:
        chunked = not incoming.http10
        head = _head(response.status, response.content_type, -1, close)
        framing = b"transfer-encoding: chunked\r\n\r\n" if chunked else b"\r\n"
        self._transport.write(head + extra.encode("latin-1", "replace") + framing)
        try:
            if incoming.request.method != "HEAD":
                async for piece in response.pieces:
                    if piece:
                        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                    await self._drained()
        except Exception as error:  # the head is out: only breaking off can tell the client that something is amiss
            if not isinstance(error, ConnectionError | TimeoutError):
                log.exception("%s: the answer to %s broke off", incoming.route.mount.owner, incoming.request.path)
            raise ConnectionAbortedError from None
        finally:
            aclose = getattr(response.pieces, "aclose", None)
            if aclose is not None:
                await aclose()
        if chunked and incoming.request.method != "HEAD":
            self._transport.write(b"0\r\n\r\n")
        if close:
            self._transport.close()

    def _extra_headers(self, incoming: Incoming, response: Response) -> str:
        settings = incoming.route.mount.settings
        if not (response.headers or settings.response_headers or settings.cors):
            return ""
        lines = [f"{name}: {value}\r\n" for name, value in response.headers.items()]
        if settings.response_headers:
            lines += [f"{name}: {value}\r\n" for name, value in settings.response_headers.items()]
        if settings.cors is not None and (origin := incoming.request.headers.get("origin")):
            lines += [f"{name}: {value}\r\n" for name, value in cors.headers(settings.cors, origin).items()]
        return "".join(lines)

    def _finish(self, error: HttpError) -> None:
        """Answer a request that wasn't read to its end, and hang up in a way that lets the client read the answer."""
        if error.limit:
            self._listener.refused(error.limit)
        response = error.response
        self._reader.close()
        head = _head(response.status, response.content_type, len(response.body), True)
        extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        self._transport.write(head + extra.encode("latin-1", "replace") + b"\r\n" + response.body)
        self._lingering = 0
        self._closing = True
        self._resume()
        if self._transport.can_write_eof():
            with suppress(OSError):  # reset by the client meanwhile, as we are about to hear
                self._transport.write_eof()
        self.deadline = self._listener.loop.time() + LINGER

    # --- time and flow ------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _set_deadline(self) -> None:
        if self._lingering >= 0:
            return
        if self._reader.idle:
            self._began = self._listener.loop.time()
        limit = self._limit()[0]
        self.deadline = self._began + limit if limit else float("inf")

    def _limit(self) -> tuple[float, str]:
        """How many seconds after `_began` is late, 0 for never, and the setting that says so."""
        settings, reader = self._settings, self._reader
        if reader.idle:
            return settings.idle_timeout, "idle_timeout"
        if reader.in_head:
            return settings.read_header_timeout, "read_header_timeout"
        if settings.min_body_rate:
            slow = _RATE_GRACE + reader.body_bytes / settings.min_body_rate
            if slow < (settings.read_timeout or float("inf")):
                return slow, "min_body_rate"
        return settings.read_timeout, "read_timeout"

    def late(self) -> None:
        """The deadline has passed."""
        self.deadline = float("inf")
        if self._lingering >= 0 or self._reader.idle:
            self._transport.abort() if self._lingering >= 0 else self._transport.close()
            return
        limit, name = self._limit()
        message = f"the request was not complete within {Duration(limit)}"
        if name == "min_body_rate":
            message = f"the body came at less than {self._settings.min_body_rate} bytes per second"
        self._finish(HttpError(408, message, limit=name))

    @property
    def waits_since(self) -> float:
        """Since when it has been waiting for a request's header, as loop time; infinity if it isn't, or is too new."""
        waits = self._task is None and self._lingering < 0 and (self._reader.idle or self._reader.in_head)
        return self._began if waits and self._listener.loop.time() - self._began > _YOUNG else float("inf")

    def turn_away(self, message: str, limit: str) -> None:
        """Too many connections."""
        self._finish(HttpError(503, message, {"retry-after": "1"}, limit=limit))

    def shut(self) -> None:
        """Close as soon as nothing is being answered."""
        self._closing = True
        if self._task is None and self._lingering < 0:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()


@lru_cache(maxsize=512)
def _head(status: int, content_type: str, length: int, close: bool) -> bytes:  # noqa: FBT001
    lines = [f"HTTP/1.1 {status} {reason(status)}\r\n"]
    if content_type:
        lines.append(f"content-type: {content_type}\r\n")
    if length >= 0 and status not in _NO_BODY:
        lines.append(f"content-length: {length}\r\n")
    if close:
        lines.append("connection: close\r\n")
    return "".join(lines).encode("latin-1", "replace")
