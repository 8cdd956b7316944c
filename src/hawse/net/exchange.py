"""One connection of our client to a server, and one request with its answer on it."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

import httptools

from hawse.wire import Buffer

_SLICE = 256 << 10  # written at once; what the kernel doesn't take is copied into asyncio's buffer
_TOGETHER = 256 << 10  # up to here, joining head and body is cheaper than a second system call
_HEAD_LIMIT = 256 << 10
_QUEUED = 1 << 20  # bytes of a streamed body that may wait for their reader


class Lost(Exception):
    """The exchange cannot be completed on this connection. `untouched`: not a byte of an answer has come."""

    def __init__(self, reason: str, *, untouched: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.untouched = untouched


class Exchange:
    """A request that is under way, and what has come of its answer."""

    __slots__ = ("_waiter", "complete", "error", "head_only", "headers", "limit", "pieces", "size", "status", "streams")

    def __init__(self, *, head_only: bool = False, streams: bool = False, limit: int = 0) -> None:
        """`limit` bounds the body of an answer that is not streamed."""
        self.head_only = head_only
        self.streams = streams
        self.limit = limit
        self.status = 0  # 0 until the head has come
        self.headers: dict[str, str] = {}
        self.pieces: deque[bytes] = deque()
        self.size = 0  # of what waits in `pieces`
        self.complete = False
        self.error: Lost | None = None
        self._waiter: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Something has come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until something comes; raise Lost where nothing more will."""
        if self.error is not None:
            raise self.error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        self._waiter = None
        if self.error is not None and not self.complete and not self.pieces:
            raise self.error

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.complete or self.error is not None


class ClientConnection(asyncio.BufferedProtocol):
    """HTTP/1.1 towards a server, one exchange at a time."""

    def __init__(self, scratch: memoryview) -> None:
        self._scratch = scratch
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._quiet = 0  # bytes since the last piece of a body
        self._until_eof = False
        self._drain: asyncio.Future[None] | None = None
        self._full = False
        self._paused = False
        self._keeps = True
        self.used = False  # whether an exchange has ended well on it
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin."""
        return self._keeps and self._exchange is None and not self._transport.is_closing()

    def close(self) -> None:
        """Hang up, throwing away what is unsent."""
        self._keeps = False
        self._transport.abort()

    # --- one exchange -------------------------------------------------------------------------------------------

    async def send(self, exchange: Exchange, head: bytes, parts: Sequence[Buffer], size: int) -> None:
        """Write a request; the answer comes to `exchange`. Raises Lost. `size` is that of all parts together.

        An answer that comes before all is sent ends the sending, and the connection.
        """
        self._exchange = exchange
        self._head_bytes = self._quiet = 0
        if size <= _TOGETHER:
            self._transport.write(b"".join((head, *parts)))
            return
        self._transport.write(head)
        for part in parts:
            view = memoryview(part)
            for at in range(0, len(view), _SLICE):
                if exchange.over:
                    self._keeps = False
                    return
                self._transport.write(view[at : at + _SLICE])
                if self._full:
                    self._drain = asyncio.get_running_loop().create_future()
                    await self._drain
                    self._drain = None

    def resume(self) -> None:
        """The reader of a streamed body has taken what waited."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- asyncio's callbacks ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        exchange = self._exchange
        if exchange is None:  # nobody asked: a time-out notice, or garbage
            self.close()
            return
        self._quiet += nbytes
        try:
            self._parser.feed_data(self._scratch[:nbytes])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._lose(cause if isinstance(cause, Lost) else Lost(f"the answer is no HTTP/1.1: {error}"))
            return
        if not exchange.over:
            if exchange.status == 0:
                self._head_bytes += nbytes
            if self._quiet > _HEAD_LIMIT:
                what = "a chunk's extension or a trailer" if exchange.status else "the header"
                self._lose(Lost(f"{what} of the answer does not end"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
        self._wake()
        if exchange is None:
            return
        if self._until_eof and exchange.status and exc is None:
            self._finish(keep=False)
            return
        how = str(getattr(exc, "strerror", None) or exc or "closed by the server").lower()
        where = "within the answer" if exchange.status or self._head_bytes else "before an answer"
        self._lose(Lost(f"the connection ended {where}: {how}", untouched=not (exchange.status or self._head_bytes)))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _wake(self) -> None:
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)

    # --- llhttp's callbacks -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))
        if len(self._fields) > 256:
            raise Lost("the answer has more than 256 header fields")

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        status = self._parser.get_status_code()
        if exchange is None:
            raise Lost("an answer without a request")
        if status < 200:
            if status == 101:
                raise Lost("the server switches protocols")
            return
        headers = exchange.headers
        for raw, value in self._fields:
            name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        exchange.status = status
        framed = "content-length" in headers or "transfer-encoding" in headers
        self._until_eof = not framed and status not in {204, 304} and not exchange.head_only
        if exchange.head_only or exchange.streams:
            exchange.notify()

    def on_body(self, piece: bytes) -> None:
        exchange = self._exchange
        self._quiet = 0
        if exchange is None or exchange.head_only:
            return
        exchange.pieces.append(piece)
        exchange.size += len(piece)
        if exchange.streams:
            exchange.notify()
            if exchange.size > _QUEUED and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        elif exchange.size > exchange.limit:
            raise Lost(f"the answer has more than {exchange.limit} bytes")

    def on_message_complete(self) -> None:
        if self._exchange is not None and self._exchange.status:
            self._finish(keep=self._parser.should_keep_alive())

    def _finish(self, *, keep: bool) -> None:
        exchange, self._exchange = self._exchange, None
        self._keeps = self._keeps and keep
        self.used = True
        if exchange is not None:
            exchange.complete = True
            exchange.notify()
        self._wake()

    def _lose(self, error: Lost) -> None:
        exchange, self._exchange = self._exchange, None
        self.close()
        if exchange is not None:
            exchange.error = error
            exchange.notify()
        self._wake()
