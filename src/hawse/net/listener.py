"""One listening address: its sockets, its connections, its clock."""

import asyncio
import errno
import heapq
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias, cast

from hawse.diagnostics import HawseError
from hawse.net.budget import Budget
from hawse.net.connection import Connection
from hawse.net.files import allow_files
from hawse.net.handshakes import Handshakes
from hawse.net.http2.connection import Http2Connection
from hawse.net.routes import Mount, Routes
from hawse.net.settings import ServerConfig, split_endpoint
from hawse.net.tls import server_context

log = logging.getLogger("hawse.net.server")

_Address: TypeAlias = tuple[socket.AddressFamily, tuple[str | int, ...]]

AnyConnection: TypeAlias = Connection | Http2Connection

_SCRATCH = 256 << 10
_BACKLOG = 1024
_OTHER_FILES = 512
_TURNED_AWAY = 256  # connections above the limit that may read why


class Listener:
    """Sockets bound to an endpoint. The settings of the connection are those of its first owner."""

    def __init__(
        self,
        settings: ServerConfig,
        owner: str,
        budget: Budget | None = None,
        refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Bodies are charged to `budget`; `refused` is told the name of the limit of each refusal."""
        self.settings = settings
        self.budget = budget or Budget()
        self.refused = refused
        self.owner = owner
        self.routes = Routes(settings)
        self.mounts: list[Mount] = []
        self.port = 0
        self.scratch = memoryview(bytearray(_SCRATCH))  # a receive is parsed before the next one, of whichever client
        self.loop = asyncio.get_running_loop()
        self._connections: set[AnyConnection] = set()
        self._peers: Counter[str] = Counter()
        self._servers: list[asyncio.Server | Handshakes] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        limits = (settings.read_header_timeout, settings.read_timeout, settings.idle_timeout)
        self._period = max(0.02, min(1.0, *(limit / 4 for limit in limits if limit)))

    async def open(self, path: str) -> None:
        """Bind and listen. Raises HawseError, placed at `path`, saying which address, why not and what to do."""
        _raise_file_limit(self.settings.max_connections)
        context = server_context(self.settings.tls, path) if self.settings.tls else None
        sockets = bind(self.settings.endpoint, self.owner, path)
        self.port = sockets[0].getsockname()[1]
        for bound in sockets:
            if context is None:
                server = await self.loop.create_server(lambda: Connection(self), sock=bound, backlog=_BACKLOG)
                self._servers.append(server)
            else:
                patience = float(self.settings.read_header_timeout or 60)
                self._servers.append(
                    Handshakes(bound, context, patience, lambda: Connection(self), lambda: self.refused("handshakes"))
                )

    async def close(self) -> None:
        """Stop accepting, let running requests finish, close all connections."""
        for server in self._servers:
            server.close()
        for mount in self.mounts:
            mount.drain()
        for connection in list(self._connections):
            connection.shut()
        try:
            await self._empty.wait()
        finally:
            for connection in list(self._connections):
                connection.abort()
            self._stop_sweeping()
            await asyncio.sleep(0)

    def opened(self, connection: AnyConnection) -> None:
        """Called by a connection when it begins."""
        self._connections.add(connection)
        self._empty.clear()
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self._period, self._sweep)
        self._peers[connection.peer] += 1
        most, most_of_peer = self.settings.max_connections, self.settings.max_connections_per_peer
        if len(self._connections) > most + _TURNED_AWAY:
            self.refused("max_connections")
            connection.abort()
        elif most_of_peer and self._peers[connection.peer] > most_of_peer:
            connection.turn_away(
                f"{connection.peer} has {most_of_peer} connections already", limit="max_connections_per_peer"
            )
        elif len(self._connections) > most and not self._make_room():
            connection.turn_away(f"all {most} connections are in use", limit="max_connections")

    def replaced(self, connection: AnyConnection, by: AnyConnection) -> None:
        """Called by a connection that turns out to speak another version of HTTP."""
        self._connections.discard(connection)
        self._connections.add(by)

    def _make_room(self) -> bool:
        """Close those that have waited longest for a request's header: a client must reckon with that between two.

        Some at a time, so that looking for them does not cost more than a flood of connections costs its sender.
        """
        waiting = [(since, id(one), one) for one in self._connections if (since := one.waits_since) < float("inf")]
        for _, _, connection in heapq.nsmallest(1 + self.settings.max_connections // 32, waiting):
            self.refused("max_connections")
            connection.abort()
        return bool(waiting)

    def closed(self, connection: AnyConnection) -> None:
        """Called by a connection when it has ended."""
        self._connections.discard(connection)
        self._peers[connection.peer] -= 1
        if not self._peers[connection.peer]:
            del self._peers[connection.peer]
        if not self._connections:
            self._empty.set()
            self._stop_sweeping()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in list(self._connections):
            if connection.deadline <= now:
                connection.late()
        self._sweeper = self.loop.call_later(self._period, self._sweep)

    def _stop_sweeping(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def bind(endpoint: str, owner: str, path: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[socket.socket]:
    """Sockets for all addresses of an endpoint, with the same port, for connections or datagrams. Raises HawseError."""
    host, port = split_endpoint(endpoint)
    bound: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port, endpoint, owner, path):
            at = (address[0], bound[0].getsockname()[1], *address[2:]) if bound and not port else address
            made = socket.socket(family, kind)
            bound.append(made)
            if kind == socket.SOCK_STREAM:  # for datagrams, it would let two programs have a port
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host in {"", "::"} else 1)
            made.setblocking(False)
            made.bind(at)
            if kind == socket.SOCK_STREAM:
                made.listen(_BACKLOG)  # here, so that a port in use is told now
    except OSError as error:
        for made in bound:
            made.close()
        raise _told(error, endpoint, owner, path) from None
    return bound


def _addresses(host: str, port: int, endpoint: str, owner: str, path: str) -> list[_Address]:
    if host == "":
        both = _has_ipv6()
        return [(socket.AF_INET6, ("::", port))] if both else [(socket.AF_INET, ("0.0.0.0", port))]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise HawseError.of(
            "HW302",
            f"{owner} cannot listen on {endpoint}: {host!r} is no address of this machine ({reason})",
            fix='use "0.0.0.0" for all interfaces or "localhost" for this machine only',
            path=f"{path}.endpoint",
        ) from None
    addresses: set[_Address] = {(family, cast(tuple[str | int, ...], address)) for family, _, _, _, address in found}
    usable = [one for one in addresses if one[0] == socket.AF_INET or _has_ipv6()]
    return sorted(usable or addresses, key=lambda one: (one[0] != socket.AF_INET, str(one)))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _told(error: OSError, endpoint: str, owner: str, path: str) -> HawseError:
    reason, fix = error.strerror or str(error), ""
    port = endpoint.rpartition(":")[2]
    if error.errno == errno.EADDRINUSE:
        reason = f"port {port} is in use"
        fix = f"stop the process that has it (`ss -lntup 'sport = :{port}'` names it), or choose another port"
    elif error.errno in {errno.EACCES, errno.EPERM}:
        reason = f"no permission to bind port {port}"
        fix = "choose a port above 1023, or grant the capability NET_BIND_SERVICE"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "the address is not one of this machine's"
        fix = 'use "0.0.0.0" for all interfaces or "localhost" for this machine only'
    return HawseError.of("HW302", f"{owner} cannot listen on {endpoint}: {reason}", fix=fix, path=f"{path}.endpoint")


def _raise_file_limit(connections: int) -> None:
    """Our limit is to end connections, not the system's: at that one nobody is accepted any more, for a second each."""
    wanted = connections + _TURNED_AWAY + _OTHER_FILES
    hard = allow_files(wanted)
    if hard < wanted:
        log.warning(
            "the system allows %d open files, which is less than max_connections (%d) needs; raise it (ulimit -n), "
            "or lower max_connections", hard, connections
        )  # fmt: skip
