"""TLS connections before there is anything to read: accepted here, so that their number is bounded.

asyncio's own server shows a connection only once its handshake is done, and has taken some 300 KiB for it by then.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger("hawse.net.server")

MOST = 256  # handshakes at the same time
_YOUNG = 1.0  # seconds that one has before it may be ended to make room
_AT_ONCE = 64
_PAUSE = 0.2  # seconds, where the system lets nobody in


class Handshakes:
    """Accepts on one listening socket, which it closes in the end. `refused` is called for each that is turned away."""

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        timeout: float,
        protocol: Callable[[], asyncio.BaseProtocol],
        refused: Callable[[], None],
    ) -> None:
        self._listening = listening
        self._context = context
        self._timeout = timeout
        self._protocol = protocol
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[None], float] = {}  # since when, oldest first
        self._closed = False
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more, and end the handshakes under way."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)
            self._listening.close()
            for task in self._running:
                task.cancel()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot accept connections: %s", error.strerror)
                self._loop.remove_reader(self._listening)
                self._loop.call_later(_PAUSE, self._resume)
                return
            if len(self._running) >= MOST and not self._make_room():
                self._refused()
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._greet(accepted))
            self._running[task] = self._loop.time()
            task.add_done_callback(lambda done: self._running.pop(done, None))

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def _make_room(self) -> bool:
        """End the oldest, if it has had its time."""
        task, since = next(iter(self._running.items()))
        if self._loop.time() - since < _YOUNG:
            return False
        del self._running[task]
        self._refused()
        task.cancel()
        return True

    async def _greet(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, accepted, ssl=self._context, ssl_handshake_timeout=self._timeout
            )
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            log.debug("a TLS handshake failed", exc_info=True)
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise
