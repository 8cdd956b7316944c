"""The messages of a call that may have any number of them, while they come: a client or bidirectional stream of gRPC.

Bytes are kept as they come and cut into messages when they are asked for, so that a client's window, once it is full,
opens only as fast as the handler takes what is in it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hawse.net import grpc
from hawse.net.grpc import Code, GrpcError
from hawse.net.head import Incoming, decoded, no_room
from hawse.net.http import HttpError
from hawse.wire import Buffer

if TYPE_CHECKING:
    from hawse.net.listener import Listener

_TURN = 0.005  # seconds of messages at hand without a turn for others
_STEP = 1 << 20  # bytes of window given back at once


class Messages:
    """An async iterator over the messages of one call, decompressed. Ends when the client has sent all.

    Raises GrpcError where a message is malformed, too large or too much for the memory budget, and when the server
    stops: the messages that are there by then come first. A message is charged to the budget until the next one is
    asked for.
    """

    def __init__(self, incoming: Incoming, listener: "Listener", opened: Callable[[int], None]) -> None:
        """`opened` is told how many bytes more the client may send."""
        self._incoming = incoming
        self._listener = listener
        self._opened = opened
        self._budget = listener.budget
        self._encoding = incoming.encoding
        self._most = int(incoming.route.mount.settings.max_request_body_size)
        self._buffer = bytearray()
        self._owed = 0  # bytes that came, for which the window has not been opened again
        self._handed = 0  # what the message that the handler has is charged for
        self._waiter: asyncio.Future[None] | None = None
        self._ended = self._draining = self._over = False
        self._error: GrpcError | None = None
        self._since = time.perf_counter()

    # --- from the connection --------------------------------------------------------------------------------------

    def feed(self, piece: Buffer) -> None:
        """Some of the stream's bytes have come."""
        self._owed += len(piece)
        if self._error is not None or self._over:
            return
        if not self._budget.acquire(len(piece), self._incoming.held):
            self._fail(no_room())
            return
        self._incoming.held += len(piece)
        self._buffer += piece
        if self._waiter is not None:
            self._notify()

    def padded(self, size: int) -> None:
        """So many bytes of the stream's window went to padding."""
        self._owed += size

    def end(self) -> None:
        """The client has sent all."""
        self._ended = True
        self._notify()

    def drain(self) -> None:
        """The server takes no more: what has come is still to be handled."""
        self._draining = True
        self._notify()

    def close(self) -> None:
        """The stream is over, and what it was charged for given back."""
        self._over = True
        self._buffer = bytearray()

    # --- to the handler -------------------------------------------------------------------------------------------

    def __aiter__(self) -> "Messages":
        return self

    async def __anext__(self) -> bytes:
        self._give_back(self._handed)
        self._handed = 0
        if time.perf_counter() - self._since > _TURN:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
        compressed, size = await self._head()
        await self._have(grpc.PREFIX + size)
        self._open(0)  # of what was waited for, the window is open already
        return await self._take(size, compressed=compressed)

    async def _head(self) -> tuple[bool, int]:
        """Whether the next message is compressed, and its size. Raises StopAsyncIteration behind the last one."""
        if not await self._have(grpc.PREFIX, may_end=True):
            raise StopAsyncIteration
        flag, size = self._buffer[0], int.from_bytes(self._buffer[1 : grpc.PREFIX], "big")
        if flag > 1:
            raise GrpcError(Code.INTERNAL, f"a message has the flags {flag}, of which only 1 is known")
        if flag and not self._encoding:
            raise GrpcError(Code.INTERNAL, "a message is compressed, but no grpc-encoding says how")
        if size > self._most:
            message = f"a message has {size} bytes, {self._most} are allowed"
            self._fail(HttpError(413, message, limit="max_request_body_size"))
            assert self._error is not None
            raise self._error
        return flag == 1, size

    async def _have(self, size: int, *, may_end: bool = False) -> bool:
        """Wait for so many bytes. False where the stream has ended instead, and may do so here."""
        while len(self._buffer) < size:
            if self._error is not None:
                raise self._error
            if self._ended:
                if may_end and not self._buffer:
                    return False
                raise GrpcError(Code.INTERNAL, "the stream ends within a message")
            if self._draining:
                raise GrpcError(Code.UNAVAILABLE, "the server stops; open the stream again")
            self._open(self._owed)  # the handler waits, and for all that is there
            self._waiter = self._listener.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
            self._since = time.perf_counter()
        if self._error is not None:
            raise self._error
        return True

    async def _take(self, size: int, *, compressed: bool) -> bytes:
        incoming, request = self._incoming, self._incoming.request
        end = grpc.PREFIX + size
        with memoryview(self._buffer) as view:
            message = bytes(view[grpc.PREFIX : end])
        del self._buffer[:end]
        self._give_back(grpc.PREFIX)
        self._handed = size
        if not compressed:
            return message
        before = incoming.held
        request.body, incoming.encoding = message, self._encoding
        try:
            return (await decoded(incoming, self._budget)).body
        except HttpError as error:
            self._fail(error)
            assert self._error is not None
            raise self._error from None
        finally:
            request.body = b""
            self._handed += incoming.held - before

    def _give_back(self, size: int) -> None:
        if not self._over:
            self._budget.release(size)
            self._incoming.held -= size

    def _open(self, waited_for: int) -> None:
        """Let the client send as much as has been taken, or is waited for."""
        size = max(waited_for, self._owed - len(self._buffer))
        if size >= _STEP and not self._over and not self._draining:
            self._owed -= size
            self._opened(size)

    def _fail(self, error: HttpError) -> None:
        """Take no more: the error is raised when a message is asked for next."""
        if error.limit:
            self._listener.refused(error.limit)
        self._error = grpc.of_http(error)
        self._give_back(len(self._buffer))
        self._buffer = bytearray()
        self._notify()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
