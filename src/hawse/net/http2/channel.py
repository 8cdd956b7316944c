"""Connections of our HTTP/2 client to one server: made, shared by its calls, replaced when the server ends them."""

import asyncio

from hawse.component import Busy
from hawse.net.exchange import Lost
from hawse.net.http2.call import Answer, Unprocessed
from hawse.net.http2.client import Http2Client
from hawse.net.pool import keep_alive, told
from hawse.net.tls import ClientTLS

_CONNECT = 10.0  # seconds for TCP, TLS and the server's greeting
_TRIES = 4  # times that a call is sent which servers have not looked at
_SCRATCH = 256 << 10


class Channel:
    """All calls to one host and port. Up to `most` connections, the next one when those before have no room."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ClientTLS | None,
        *,
        server_name: str = "",
        shows_certificate: bool = False,
        keepalive: tuple[float, float, bool] | None = None,
        most: int = 4,
    ) -> None:
        """`keepalive`: seconds between PINGs, seconds to wait for the answer, whether also without calls."""
        self._host = host
        self._port = port
        self._tls = tls
        self._server_name = server_name or host
        self._shows_certificate = shows_certificate
        self._keepalive = keepalive
        self._most = most
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._connections: list[Http2Client] = []
        self._connecting = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closed = self._retired = False
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def call(self, fields: bytes, body: bytes, *, limit: int, timeout: float) -> Answer:
        """Send a request and read its answer. `timeout` (seconds, 0 for none) is for all of it. Raises Busy.

        A request that the server has not looked at is sent again at once, on another connection. So is one, once,
        whose connection, kept from before, ended without a byte of an answer: that may come twice.
        """
        loop = asyncio.get_running_loop()
        sent = 0.0
        connection: Http2Client | None = None
        try:
            async with asyncio.timeout(timeout or None):
                again = False
                for number in range(1, _TRIES + 1):
                    connection = await self._take()
                    used, sent = connection.used, loop.time()
                    try:
                        return await connection.call(fields, body, limit)
                    except Lost as lost:
                        once_more = lost.untouched and used and not again
                        if number == _TRIES or not (once_more or isinstance(lost, Unprocessed)):
                            raise Busy(self._why(connection, lost)) from None
                        again = again or not isinstance(lost, Unprocessed)
        except TimeoutError:
            if connection is not None and connection.heard < sent:
                connection.close("nothing came for a whole call")  # the other end may be gone without a word
            raise Busy(f"{self.name} did not answer within {timeout:g}s") from None
        raise AssertionError("unreachable")

    def hang_up(self) -> None:
        """Begin no more calls on the connections that are there; new ones are made for them."""
        for connection in list(self._connections):
            connection.drain("its certificates have changed")

    def retire(self) -> None:
        """Let calls under way end, and hang up: there are to be no more."""
        self._retired = True
        self._on_change()

    async def close(self) -> None:
        """Close all connections. Calls under way, and later ones, are Busy."""
        self._closed = True
        for connection in list(self._connections):
            connection.close()
        self._changed.set()
        await asyncio.sleep(0)

    async def _take(self) -> Http2Client:
        """A connection that has room for a call. Raises Busy."""
        while True:
            if self._closed:
                raise Busy("the client is closed")
            found = self._with_room()
            if found is not None:
                return found
            if self._all_there:
                self._changed.clear()
                await self._changed.wait()
                continue
            async with self._connecting:  # one at a time: whoever waited may find room on it
                if self._with_room() is None and not self._all_there:
                    await self._connect()

    @property
    def _all_there(self) -> bool:
        return sum(one.usable for one in self._connections) >= self._most

    def _with_room(self) -> Http2Client | None:
        return next((one for one in self._connections if one.has_room), None)

    def _on_change(self) -> None:
        self._connections = [one for one in self._connections if one.usable or one.busy]
        for connection in self._connections if self._retired else ():
            if connection.usable and not connection.busy:
                asyncio.get_running_loop().call_soon(self._hang_up_idle)
                break
        self._changed.set()

    def _hang_up_idle(self) -> None:
        for connection in list(self._connections):
            if not connection.busy:
                connection.drain("there is nothing more to send")

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        connection = None
        try:
            async with asyncio.timeout(_CONNECT):
                transport, connection = await loop.create_connection(
                    lambda: Http2Client(self._scratch, self._on_change),
                    self._host,
                    self._port,
                    ssl=self._tls.context() if self._tls else None,
                    server_hostname=self._server_name if self._tls else None,
                    happy_eyeballs_delay=0.25,
                )
                keep_alive(transport.get_extra_info("socket"))
                await connection.ready()
        except Lost as lost:
            raise Busy(f"{self.name}: {lost.reason}{self._hint() if lost.untouched else ''}") from None
        except (OSError, TimeoutError, asyncio.IncompleteReadError, UnicodeError) as error:
            if connection is not None:
                connection.close()
                raise Busy(f"{self.name} takes connections, but does not greet as HTTP/2 does") from None
            raise Busy(f"cannot connect to {self.name}: {told(error, self._host, tls=self._tls is not None)}") from None
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        self._connections.append(connection)
        if self._keepalive is not None:
            every, patience, idle = self._keepalive
            connection.keep_alive(every, patience, idle=idle)

    def _why(self, connection: Http2Client, lost: Lost) -> str:
        return f"{self.name}: {lost.reason}" + (self._hint() if lost.untouched and not connection.used else "")

    def _hint(self) -> str:
        if self._tls is None:
            return "; does it demand TLS (https://, or tls.insecure: false)?"
        # With TLS 1.3 a server tells only after the handshake that it misses a certificate, or just hangs up.
        return "" if self._shows_certificate else "; does it demand a client certificate (tls.cert_file)?"
