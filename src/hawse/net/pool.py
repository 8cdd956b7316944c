"""Connections to one server: made, kept, and told what is wrong where they cannot be."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hawse.component import Busy
from hawse.net.exchange import ClientConnection
from hawse.net.settings import ClientConfig
from hawse.net.tls import ClientTLS

_CONNECT = 10.0  # seconds for TCP and TLS, within the time-out of the request


class Pool:
    """Connections to one scheme, host and port. At most `max_conns_per_host` are in use; others wait.

    All pools of a client share its TLS context, and `scratch`, the memory that is received into.
    """

    def __init__(
        self, scheme: str, host: str, port: int, settings: ClientConfig, tls: ClientTLS, scratch: memoryview
    ) -> None:
        self._tls = tls if scheme == "https" else None
        if self._tls is not None:
            self._tls.context()  # what is wrong with its files is told now
        self._host = host
        self._port = port
        self._settings = settings
        self._scratch = scratch
        self._retired = False
        self._idle: list[ClientConnection] = []
        self._open: set[ClientConnection] = set()
        self._slots = asyncio.Semaphore(settings.max_conns_per_host) if settings.max_conns_per_host else None
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until another request may be under way."""
        if self._slots is None:
            yield
            return
        async with self._slots:
            yield

    async def take(self, *, fresh: bool = False) -> ClientConnection:
        """A connection with nothing under way: a kept one that is still open, else a new one. Raises Busy."""
        connection = None if fresh else self._kept()
        if connection is None:
            connection = await self._connect()
            self._open.add(connection)
        return connection

    def give_back(self, connection: ClientConnection) -> None:
        """Whatever the state of a connection that was taken: it is kept or closed."""
        keep = not (self._retired or self._settings.disable_keep_alives)
        keep = keep and len(self._idle) < self._settings.max_idle_conns
        if keep and connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()
            self._open.discard(connection)

    def hang_up(self) -> None:
        """End the connections that wait to be used again."""
        while self._idle:
            connection = self._idle.pop()
            connection.close()
            self._open.discard(connection)

    def retire(self) -> None:
        """Keep none any more: nobody will ask for them."""
        self._retired = True
        self.hang_up()

    def close(self) -> None:
        """Close all connections, in use or not."""
        for connection in self._open:
            connection.close()
        self._open.clear()
        self._idle.clear()

    def lost(self, connection: ClientConnection, reason: str) -> str:
        """Why an exchange failed without any answer, with what is known about it."""
        if self._tls is not None and not connection.used and not self._settings.tls.has_certificate:
            # With TLS 1.3 a server tells only after the handshake that it misses a certificate, or just hangs up.
            reason += "; does it demand a client certificate (tls.cert_file)?"
        return f"{self.name}: {reason}"

    def _kept(self) -> ClientConnection | None:
        """The one used last: its server is the least likely to have lost patience."""
        oldest = asyncio.get_running_loop().time() - (self._settings.idle_conn_timeout or float("inf"))
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.close()
            self._open.discard(connection)
        return None

    async def _connect(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        override = self._settings.tls.server_name_override
        try:
            async with asyncio.timeout(_CONNECT):
                transport, connection = await loop.create_connection(
                    lambda: ClientConnection(self._scratch),
                    self._host,
                    self._port,
                    ssl=self._tls.context() if self._tls else None,
                    server_hostname=(override or self._host) if self._tls else None,
                    happy_eyeballs_delay=0.25,
                )
        except (OSError, TimeoutError, asyncio.IncompleteReadError, UnicodeError) as error:
            raise Busy(f"cannot connect to {self.name}: {told(error, self._host, tls=self._tls is not None)}") from None
        keep_alive(transport.get_extra_info("socket"))
        return connection


def keep_alive(sock: socket.socket) -> None:
    """A peer that vanishes without a word is noticed after about a minute, also by a watch that only listens."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def told(error: BaseException, host: str, *, tls: bool = False) -> str:
    """What a network failure means, and what to do about it where that is known."""
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[-1]
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); set tls.ca_file to the CA that signed it"
    if isinstance(error, ssl.SSLError):
        if "WRONG_VERSION" in str(error) or "HTTP_REQUEST" in str(error):
            return "it does not speak TLS; is it an http:// endpoint?"
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, socket.gaierror | UnicodeError):
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        return f"{host} cannot be resolved ({reason}); check the name, and that DNS may be reached"
    if isinstance(error, TimeoutError):
        return "no answer in time; a firewall or NetworkPolicy may drop the packets"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; nothing listens there"
    if isinstance(error, ConnectionResetError) and tls:
        return "connection reset within the TLS handshake; the server may demand another version of TLS, or speak none"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).lower()
    return str(error) or type(error).__name__
