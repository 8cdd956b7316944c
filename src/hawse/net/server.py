"""The process's HTTP servers. Components mount routes; those with the same endpoint share its socket."""

import asyncio
from collections.abc import Callable, Mapping

from hawse.diagnostics import HawseError
from hawse.net.budget import Budget
from hawse.net.http import AnyHandler, Explain
from hawse.net.listener import Listener
from hawse.net.routes import Mount
from hawse.net.settings import ServerConfig, split_endpoint


class HttpServers:
    """All listeners of the process, by address; a component gets it by `context.shared(HttpServers)`."""

    def __init__(self, budget: Budget | None = None, refused: Callable[[str], None] = lambda _: None) -> None:
        """Bodies are charged to `budget`; `refused` is told the name of the limit of each refusal."""
        self._budget = budget or Budget()
        self._refused = refused
        self._listeners: list[Listener] = []
        self._lock = asyncio.Lock()

    async def mount(
        self,
        settings: ServerConfig,
        routes: Mapping[tuple[str, str], AnyHandler],
        *,
        owner: str,
        path: str = "",
        explain: Explain | None = None,
    ) -> int:
        """Answer (method, path) by handlers at `settings.endpoint`; return the port bound, which matters for port 0.

        A path ending in "/*" matches everything below it, the method "*" any method. Raises HawseError where the
        address cannot be bound, another owner has one of the routes, or has the socket with other TLS settings; they
        are placed at `path`, which is where the settings are in the configuration (the owner, where it isn't given).
        `explain` words refusals of requests to these routes; without it they are plain text.
        """
        async with self._lock:
            at = path or owner
            listener = self._shared(settings, owner, at)
            if listener is None:
                self._check_port(settings.endpoint, owner, at)
                listener = Listener(settings, owner, self._budget, self._refused)
                await listener.open(at)
                self._listeners.append(listener)
            mount = Mount(owner, settings, explain)
            listener.routes.add(mount, routes, settings.endpoint, at)
            listener.mounts.append(mount)
            return listener.port

    def _shared(self, settings: ServerConfig, owner: str, path: str) -> Listener | None:
        host, port = split_endpoint(settings.endpoint)
        for listener in self._listeners if port else ():
            if (split_endpoint(listener.settings.endpoint)[0], listener.port) != (host, port):
                continue
            if listener.settings.tls != settings.tls:
                raise HawseError.of(
                    "HW304",
                    f"{owner} and {listener.owner} share {settings.endpoint}, but their tls settings differ",
                    fix="give both the same tls section, or different ports",
                    path=f"{path}.tls",
                )
            return listener
        return None

    def _check_port(self, endpoint: str, owner: str, path: str) -> None:
        """A port that we have ourselves on other interfaces: the system would only say that it is in use."""
        port = split_endpoint(endpoint)[1]
        for listener in self._listeners:
            if port and listener.port == port:
                raise HawseError.of(
                    "HW302",
                    f"{owner} cannot listen on {endpoint}: {listener.owner} has {listener.settings.endpoint}",
                    fix="write the same host in both endpoints to share the socket, or choose another port",
                    path=f"{path}.endpoint",
                )

    async def unmount(self, owner: str) -> None:
        """Take away the owner's routes, wait for its running requests, and close sockets that nobody uses any more.

        New requests get 404 where others use the socket, and no connection where nobody does.
        """
        async with self._lock:
            mounts = [(one, mount) for one in self._listeners for mount in one.mounts if mount.owner == owner]
            unused = []
            for listener, mount in mounts:
                listener.routes.remove(owner)
                listener.mounts.remove(mount)
                mount.drain()
                if not listener.mounts and listener in self._listeners:
                    self._listeners.remove(listener)
                    unused.append(listener)
        await asyncio.gather(*(listener.close() for listener in unused))
        running = [task for _, mount in mounts for task in mount.running]
        if running:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Close everything, letting running requests finish."""
        listeners, self._listeners = self._listeners, []
        await asyncio.gather(*(listener.close() for listener in listeners))
