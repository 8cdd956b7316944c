"""Which handler answers which request, of all the components that share a listener."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from hawse.diagnostics import HawseError
from hawse.net import cors, grpc
from hawse.net.http import AnyHandler, Explain, Handler, HttpError, Request, Response, StreamHandler
from hawse.net.settings import Cors, ServerConfig

if TYPE_CHECKING:
    import asyncio

    from hawse.net.http2.messages import Messages


class Mount:
    """What one owner has put on a listener: its settings and its requests that are being answered."""

    def __init__(self, owner: str, settings: ServerConfig, explain: Explain | None = None) -> None:
        self.owner = owner
        self.settings = settings
        self.explain = explain
        self.running: set[asyncio.Task[None]] = set()
        self.streams: set[Messages] = set()  # of the running calls that may go on for ever

    def drain(self) -> None:
        """Have the calls end that would go on for ever."""
        for messages in self.streams:
            messages.drain()


class Route:
    """A handler and the mount that it belongs to. `stream` is that of a call with many messages, else None."""

    __slots__ = ("handler", "mount", "stream")

    def __init__(self, handler: Handler, mount: Mount, stream: StreamHandler | None = None) -> None:
        self.handler = handler
        self.mount = mount
        self.stream = stream

    @classmethod
    def of(cls, method: str, handler: AnyHandler, mount: Mount) -> "Route":
        """Which kind of handler it is depends on the method."""
        if method == grpc.STREAM:
            return cls(_no_unary, mount, cast(StreamHandler, handler))
        return cls(cast(Handler, handler), mount)


class Routes:
    """Routes by path, then method. A path ending in "/*" matches all that begins like it; the longest one counts."""

    def __init__(self, settings: ServerConfig) -> None:
        """`settings` are for requests that nobody answers."""
        self._nobody = Mount("nobody", settings)
        self._exact: dict[str, dict[str, Route]] = {}
        self._below: dict[str, dict[str, Route]] = {}  # key: the path up to and including the last slash

    def add(self, mount: Mount, handlers: Mapping[tuple[str, str], AnyHandler], where: str, place: str) -> None:
        """Add all or none. Raises HawseError if another owner has one of them.

        `where` names the listener in it, `place` is where its settings are in the configuration.
        """
        for method, path in handlers:
            taken = self._table(path).get(self._key(path), {})
            if other := taken.get(method):
                raise HawseError.of(
                    "HW303",
                    f"{mount.owner} and {other.mount.owner} both want to answer {method} {path} on {where}",
                    fix=f"give {mount.owner} another endpoint or another path",
                    path=f"{place}.endpoint",
                )
        for (method, path), handler in handlers.items():
            self._table(path).setdefault(self._key(path), {})[method] = Route.of(method, handler, mount)

    def remove(self, owner: str) -> None:
        """Forget all routes of an owner."""
        for table in (self._exact, self._below):
            for path, methods in list(table.items()):
                kept = {method: route for method, route in methods.items() if route.mount.owner != owner}
                if kept:
                    table[path] = kept
                else:
                    del table[path]

    def find(self, method: str, path: str) -> Route:
        """The route of a request. Raises HttpError 404 or 405."""
        methods = self._exact.get(path)
        if methods is not None and (route := _of(methods, method)):
            return route
        allowed = set(methods or ())
        for prefix in _prefixes(path) if self._below else ():
            below = self._below.get(prefix)
            if below is not None:
                if route := _of(below, method):
                    return route
                allowed |= set(below)
        if not allowed:
            raise HttpError(404, f"nothing is served at {path[:200]!r}; there is: {self._known()}")
        if method == "OPTIONS" and (preflight := self._preflight(methods or {})):
            return preflight
        raise HttpError(
            405, f"{path[:200]!r} takes {', '.join(sorted(allowed))}", {"allow": ", ".join(sorted(allowed))}
        )

    def fixed(self, response: Response) -> Route:
        """A route of nobody's that gives one answer."""

        async def answer(request: Request) -> Response:  # noqa: ARG001
            return response

        return Route(answer, self._nobody)

    def _preflight(self, methods: Mapping[str, Route]) -> Route | None:
        """Browsers ask before they post (fetch.spec.whatwg.org, CORS-preflight)."""
        for route in methods.values():
            settings = route.mount.settings.cors
            if settings is not None:
                return Route(_preflight(settings, sorted(methods)), route.mount)
        return None

    def _known(self) -> str:
        paths = sorted([*self._exact, *(prefix + "*" for prefix in self._below)])
        return ", ".join(paths[:20]) or "nothing"

    def _table(self, path: str) -> dict[str, dict[str, Route]]:
        return self._below if path.endswith("/*") else self._exact

    def _key(self, path: str) -> str:
        return path[:-1] if path.endswith("/*") else path


def _preflight(settings: Cors, methods: Sequence[str]) -> Handler:
    async def answer(request: Request) -> Response:
        return cors.preflight(settings, request, methods)

    return answer


_INSTEAD = {"HEAD": "GET", grpc.METHOD: grpc.STREAM}


async def _no_unary(request: Request) -> Response:
    raise AssertionError(f"{request.path} has many messages")


def _of(methods: Mapping[str, Route], method: str) -> Route | None:
    route = methods.get(method)
    if route is None and method in _INSTEAD:
        route = methods.get(_INSTEAD[method])
    return route or methods.get("*")


def _prefixes(path: str) -> list[str]:
    """The path up to each of its slashes, longest first; a path matches its own "/*" without the slash, too."""
    ends = [at + 1 for at, letter in enumerate(path[:4096]) if letter == "/"]
    return [path + "/", *(path[:end] for end in reversed(ends))]
