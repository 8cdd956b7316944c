"""A small Kubernetes API server in memory, for `hawse up` and for tests: lists, pages, watches, refusals.

It speaks what kubernetes.io/docs/reference/using-api/api-concepts says of GET, list and watch, for the resources in
`apiview.RESOURCES`. Nothing can be written over HTTP: `put()` and `delete()` are for the program it runs in.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from hawse.demo import apiview
from hawse.demo.apiview import KINDS, RESOURCES, ApiStatus, Change, View, event, key_of, open_token, route
from hawse.demo.selectors import Object, SelectorError
from hawse.net.http import Request, Response, StreamResponse
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, TLSServer


class Faults:
    """What goes wrong on purpose. `status` answers every request with that code (0: none)."""

    def __init__(self) -> None:
        self.status = 0
        self.retry_after = ""
        self.forbidden: set[tuple[str, str]] = set()  # (verb, plural)
        self.gone_pages = 0  # so many requests for a further page answer 410
        self.gone_event = False  # the next watch begins with an ERROR event of code 410
        self.delay = 0.0  # seconds before each answer


class DemoApi:
    """The server and its objects.

    Objects are dicts as in JSON; `put` keeps the one it is given and sets `metadata.resourceVersion` in it, so put a
    changed copy, not the same object changed. All methods but start and stop may be called at any time on the
    server's event loop.
    """

    def __init__(
        self,
        *,
        tokens: Mapping[str, str] | None = None,
        history: int = 10_000,
        bookmark_interval: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tokens`: bearer token → user; None lets anybody in. `history`: changes kept for watches to resume from."""
        self.tokens = dict(tokens) if tokens is not None else None
        self.faults = Faults()
        self.requests: list[str] = []  # "list pods", "watch pods", … in order, for tests
        self.port = 0
        self._tls: TLSServer | None = None
        self._bookmark_interval = bookmark_interval
        self._clock = clock
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Object]] = {key: {} for key in RESOURCES}
        self._version = 1000
        self._oldest = 1000  # changes after this version are in the history
        self._history: deque[Change] = deque()
        self._limit = history
        self._changed = asyncio.Event()
        self._cut = 0
        self._up = False
        self._servers: HttpServers | None = None

    # --- objects ------------------------------------------------------------------------------------------------

    def put(self, found: Object) -> None:
        """Add or change an object; its `kind` says which resource it is."""
        resource = KINDS[found["kind"]]
        objects = self._objects[resource]
        key = key_of(found)
        before = objects.get(key)
        objects[key] = found
        self._record(resource, "ADDED" if before is None else "MODIFIED", found, before)

    def delete(self, namespace: str, name: str, kind: str = "Pod") -> None:
        """Remove an object. Raises KeyError if it is not there."""
        resource = KINDS[kind]
        before = self._objects[resource].pop((namespace, name))
        found = {**before, "metadata": dict(before["metadata"])}
        self._record(resource, "DELETED", found, before)

    def get(self, namespace: str, name: str, kind: str = "Pod") -> Object | None:
        """An object, or None. Not to be modified."""
        return self._objects[KINDS[kind]].get((namespace, name))

    def _record(self, resource: tuple[str, str], type_: str, found: Object, before: Object | None) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self._history.append(Change(self._version, resource, type_, found, before))
        while len(self._history) > self._limit:
            self._oldest = self._history.popleft().version
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def forget_history(self) -> None:
        """Every earlier resource version is too old from now on; watches that run are told so."""
        self._version += 1
        self._history.clear()
        self._oldest = self._version
        self._wake()

    def cut_watches(self) -> None:
        """Break all running watches off, in the middle of the answer."""
        self._cut += 1
        self._wake()

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: TLSServer | None = None) -> int:
        """Listen, and return the port. After a `stop()`, port 0 takes the same port again."""
        self._tls = tls
        self._up = True
        self._servers = HttpServers()
        address = f"[{host}]" if ":" in host else host
        settings = ServerConfig(endpoint=f"{address}:{port or self.port}", tls=tls)
        routes = {("GET", path): self._answer for path in ("/api/*", "/apis/*")}
        routes |= {("GET", path): self._fine for path in ("/healthz", "/livez", "/readyz", "/version")}
        self.port = await self._servers.mount(settings, routes, owner="demo API server")
        return self.port

    async def stop(self) -> None:
        """Break watches off and close. Objects stay, so that `start()` brings the same cluster back."""
        servers, self._servers = self._servers, None
        self._up = False  # a watch that begins from now on, on a connection that is there, must end as well
        self.cut_watches()
        if servers is not None:
            await servers.close()

    async def __aenter__(self) -> "DemoApi":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(self, path: Path, token: str = "", **user: Any) -> Path:
        """Write a kubeconfig for this server (mode 0600); `user` are further keys of its user. Returns `path`."""
        who = {"token": token, **user} if token else user
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "demo",
            "clusters": [{"name": "demo", "cluster": {"server": self.url}}],
            "users": [{"name": "demo", "user": who}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo"}}],
        }
        path.touch(0o600)
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    # --- answers ------------------------------------------------------------------------------------------------

    async def _fine(self, request: Request) -> Response:
        if request.path == "/version":
            return _json({"major": "1", "minor": "34", "gitVersion": "v1.34.0+hawse-demo"})
        return Response(200, "ok", content_type="text/plain")

    async def _answer(self, request: Request) -> Response:
        try:
            if self.faults.delay:
                await asyncio.sleep(self.faults.delay)
            return await self._served(request)
        except ApiStatus as status:
            return Response(status.code, status.body(), status.headers, "application/json")
        except SelectorError as error:
            return Response(400, ApiStatus(400, str(error)).body(), content_type="application/json")

    async def _served(self, request: Request) -> Response:
        group, resource, namespace, name = route(request.path)
        query = {key: values[-1] for key, values in request.query.items()}
        verb = "get" if name else "watch" if query.get("watch") in {"1", "true"} else "list"
        self.requests.append(f"{verb} {resource}")
        self._permit(request, verb, group, resource, namespace)
        if self.faults.status:
            retry = {"retry-after": self.faults.retry_after} if self.faults.retry_after else {}
            raise ApiStatus(self.faults.status, "fault injected", retry)
        view = View(
            (group, resource), namespace, query, partial="PartialObjectMetadata" in request.headers.get("accept", "")
        )
        if verb == "get":
            found = self._objects[group, resource].get((namespace, name))
            if found is None:
                raise ApiStatus(404, f'{resource} "{name}" not found')
            return _json(view.shown(found))
        if verb == "list":
            return _json(self._list(view, query))
        return StreamResponse(self._watch(view, query), content_type="application/json")

    def _permit(self, request: Request, verb: str, group: str, resource: str, namespace: str) -> None:
        user = "system:anonymous"
        if self.tokens is not None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or token not in self.tokens:
                raise ApiStatus(401, "Unauthorized")
            user = self.tokens[token]
        if (verb, resource) in self.faults.forbidden:
            scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            what = f'User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {scope}'
            raise ApiStatus(403, f"{resource} is forbidden: {what}")

    def _list(self, view: View, query: Mapping[str, str]) -> Object:
        version, after = self._version, ("", "")
        if token := query.get("continue"):
            version, after = open_token(token)
            if version < self._oldest or self.faults.gone_pages:
                self.faults.gone_pages = max(0, self.faults.gone_pages - 1)
                raise ApiStatus(410, "The provided continue parameter is too old to display a consistent list result.")
        limit = int(query.get("limit") or 0)
        there = self._objects[view.resource]
        matching = (there[key] for key in sorted(there) if key > after and view.matches(there[key]))
        items = list(islice(matching, limit or None))
        meta: Object = {"resourceVersion": str(version)}
        if limit and len(items) == limit and (rest := sum(1 for _ in matching)):
            meta["continue"] = apiview.token(version, key_of(items[-1]))
            meta["remainingItemCount"] = rest
        kind, group_version = view.list_kind()
        return {
            "kind": kind,
            "apiVersion": group_version,
            "metadata": meta,
            "items": [view.shown(item) for item in items],
        }

    async def _watch(self, view: View, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        given = query.get("resourceVersion", "")
        version = int(given) if given not in {"", "0"} else self._version
        cut, until = self._cut, self._clock() + float(query.get("timeoutSeconds") or 1800)
        bookmarks = query.get("allowWatchBookmarks") in {"1", "true"}
        if given in {"", "0"}:
            for found in list(self._objects[view.resource].values()):
                if view.matches(found):
                    yield view.line("ADDED", found)
        if self.faults.gone_event:
            self.faults.gone_event = False
            version = -1
        told = self._clock()
        while True:
            if not self._up:
                raise ConnectionAbortedError
            if version < self._oldest and version < self._version:
                yield event(
                    "ERROR", json.loads(ApiStatus(410, f"too old resource version: {version} ({self._oldest})").body())
                )
                return
            changed = self._changed
            for change in self._after(version):
                if line := view.change(change):
                    yield line
                version = change.version
            left = min(until - self._clock(), told + self._bookmark_interval - self._clock())
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await changed.wait()
            except TimeoutError:
                told = self._clock()
                if bookmarks:
                    yield view.bookmark(version)
                if told >= until:
                    return
            if cut != self._cut:
                raise ConnectionAbortedError

    def _after(self, version: int) -> list[Change]:
        """The changes since `version`, found from the young end: watches are rarely far behind."""
        found: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            found.append(change)
        return found[::-1]


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value, separators=(",", ":")), content_type="application/json")
