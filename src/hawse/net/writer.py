"""What the connections of a server have in common: waiting until a client has taken what was written."""

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from hawse.net.listener import Listener


LINGER = 2.0  # seconds in which a refused client may still send, so that it gets to read our answer
LINGER_BYTES = 64 << 20


class Writer(asyncio.BufferedProtocol):
    """A server's side of a connection."""

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._settings = listener.settings
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._writable: asyncio.Future[None] | None = None
        self._full = False

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def _drained(self) -> None:
        """Wait until the client has taken what is buffered. Raises ConnectionError or TimeoutError."""
        if self._transport.is_closing():
            raise ConnectionResetError
        if self._full:
            if self._writable is None or self._writable.done():
                self._writable = self._listener.loop.create_future()
            try:
                async with asyncio.timeout(self._settings.write_timeout or None):
                    await asyncio.shield(self._writable)
            except TimeoutError:
                self._listener.refused("write_timeout")
                raise
            if self._transport.is_closing():
                raise ConnectionResetError
