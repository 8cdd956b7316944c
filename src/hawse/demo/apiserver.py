"""A small Kubernetes API server in memory, for `hawse up` and for tests: lists, pages, watches, refusals.

It speaks what kubernetes.io/docs/reference/using-api/api-concepts says of GET, list and watch, for the resources in
`RESOURCES`. Nothing can be written over HTTP: `put()` and `delete()` are for the program it runs in.
"""

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from hawse.demo import selectors
from hawse.demo.selectors import Matches, Object, SelectorError
from hawse.net.http import Request, Response, StreamResponse
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, TLSServer

# (group, plural) → (kind, whether it lives in namespaces)
RESOURCES = {
    ("", "pods"): ("Pod", True),
    ("", "namespaces"): ("Namespace", False),
    ("", "nodes"): ("Node", False),
    ("apps", "deployments"): ("Deployment", True),
    ("apps", "statefulsets"): ("StatefulSet", True),
    ("apps", "daemonsets"): ("DaemonSet", True),
    ("batch", "jobs"): ("Job", True),
}
_KINDS = {kind: key for key, (kind, _) in RESOURCES.items()}
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "Expired"}


class Change(NamedTuple):
    """One entry of the history that watches read."""

    version: int
    resource: tuple[str, str]
    type: str
    found: Object
    before: Object | None


class ApiStatus(Exception):
    """Answers with a v1 Status."""

    def __init__(self, code: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers or {}

    def body(self) -> bytes:
        """The Status as JSON."""
        reason = _REASONS.get(self.code, "InternalError")
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        return json.dumps({**status, "message": str(self), "reason": reason, "code": self.code}).encode()


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
        self._watches: set[asyncio.Event] = set()
        self._servers: HttpServers | None = None

    # --- objects ------------------------------------------------------------------------------------------------

    def put(self, found: Object) -> None:
        """Add or change an object; its `kind` says which resource it is."""
        resource = _KINDS[found["kind"]]
        objects = self._objects[resource]
        key = _key(found)
        before = objects.get(key)
        objects[key] = found
        self._record(resource, "ADDED" if before is None else "MODIFIED", found, before)

    def delete(self, namespace: str, name: str, kind: str = "Pod") -> None:
        """Remove an object. Raises KeyError if it is not there."""
        resource = _KINDS[kind]
        before = self._objects[resource].pop((namespace, name))
        found = {**before, "metadata": dict(before["metadata"])}
        self._record(resource, "DELETED", found, before)

    def get(self, namespace: str, name: str, kind: str = "Pod") -> Object | None:
        """An object, or None. Not to be modified."""
        return self._objects[_KINDS[kind]].get((namespace, name))

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
        group, resource, namespace, name = _route(request.path)
        query = {key: values[-1] for key, values in request.query.items()}
        verb = "get" if name else "watch" if query.get("watch") in {"1", "true"} else "list"
        self.requests.append(f"{verb} {resource}")
        self._permit(request, verb, group, resource, namespace)
        if self.faults.status:
            retry = {"retry-after": self.faults.retry_after} if self.faults.retry_after else {}
            raise ApiStatus(self.faults.status, "fault injected", retry)
        view = _View(
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

    def _list(self, view: "_View", query: Mapping[str, str]) -> Object:
        version, after = self._version, ("", "")
        if token := query.get("continue"):
            version, after = _open_token(token)
            if version < self._oldest or self.faults.gone_pages:
                self.faults.gone_pages = max(0, self.faults.gone_pages - 1)
                raise ApiStatus(410, "The provided continue parameter is too old to display a consistent list result.")
        limit = int(query.get("limit") or 0)
        there = self._objects[view.resource]
        matching = (there[key] for key in sorted(there) if key > after and view.matches(there[key]))
        items = list(islice(matching, limit or None))
        meta: Object = {"resourceVersion": str(version)}
        if limit and len(items) == limit and (rest := sum(1 for _ in matching)):
            meta["continue"] = _token(version, _key(items[-1]))
            meta["remainingItemCount"] = rest
        kind, group_version = view.list_kind()
        return {
            "kind": kind,
            "apiVersion": group_version,
            "metadata": meta,
            "items": [view.shown(item) for item in items],
        }

    async def _watch(self, view: "_View", query: Mapping[str, str]) -> AsyncIterator[bytes]:
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
            if version < self._oldest and version < self._version:
                yield _line(
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


class _View:
    """What one request sees: a resource, a namespace, selectors, whole objects or their metadata."""

    def __init__(self, resource: tuple[str, str], namespace: str, query: Mapping[str, str], *, partial: bool) -> None:
        self.resource = resource
        self._kind = RESOURCES[resource][0]
        self._namespace = namespace
        self._labels: Matches = selectors.labels(query.get("labelSelector", ""))
        self._fields: Matches = selectors.fields(query.get("fieldSelector", ""))
        self._partial = partial

    def matches(self, found: Object) -> bool:
        """Whether the request sees this object."""
        if self._namespace and found["metadata"].get("namespace") != self._namespace:
            return False
        return self._labels(found) and self._fields(found)

    def shown(self, found: Object) -> Object:
        """The object, or what a PartialObjectMetadata has of it."""
        if not self._partial:
            return found
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}

    def list_kind(self) -> tuple[str, str]:
        """`kind` and `apiVersion` of a list."""
        if self._partial:
            return "PartialObjectMetadataList", "meta.k8s.io/v1"
        return f"{self._kind}List", f"{self.resource[0]}/v1".lstrip("/")

    def line(self, type_: str, found: Object) -> bytes:
        """A watch event."""
        return _line(type_, self.shown(found))

    def change(self, change: Change) -> bytes:
        """The event that a change is to this request: an object may come into its selectors, or leave them."""
        if change.resource != self.resource:
            return b""
        now = change.type != "DELETED" and self.matches(change.found)
        was = change.before is not None and self.matches(change.before)
        if not now and not was:
            return b""
        return self.line("DELETED" if not now else "MODIFIED" if was else "ADDED", change.found)

    def bookmark(self, version: int) -> bytes:
        """A BOOKMARK event."""
        return self.line(
            "BOOKMARK", {"kind": self._kind, "apiVersion": "v1", "metadata": {"resourceVersion": str(version)}}
        )


def _key(found: Object) -> tuple[str, str]:
    return found["metadata"].get("namespace") or "", found["metadata"]["name"]


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value, separators=(",", ":")), content_type="application/json")


def _line(type_: str, found: Object) -> bytes:
    return json.dumps({"type": type_, "object": found}, separators=(",", ":")).encode() + b"\n"


def _token(version: int, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode()


def _open_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise ApiStatus(400, "continue key is not valid") from None
    return version, (namespace, name)


def _route(path: str) -> tuple[str, str, str, str]:
    """Group, plural, namespace and name of a path. Raises ApiStatus 404 for what is not served."""
    parts = path.strip("/").split("/")
    group = ""
    if parts[0] == "apis":
        group = parts.pop(1) if len(parts) > 1 else ""
    rest = parts[2:]
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if parts[1:2] != ["v1"] or len(rest) not in {1, 2} or (group, rest[0]) not in RESOURCES:
        raise ApiStatus(404, "the server could not find the requested resource")
    return group, rest[0], namespace, rest[1] if len(rest) == 2 else ""
