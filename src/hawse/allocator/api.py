"""The allocator over HTTP: the OpenTelemetry operator's API, and `/explain`.

Paths, forms and status codes are those of the operator's cmd/otel-allocator, so that its clients (the `prometheus`
receiver of the OpenTelemetry Collector) can ask this one, too. `/jobs/JOB/targets?collector_id=ID` is Prometheus'
HTTP discovery format. Until it is known what there is, answers are 503: clients keep what they have.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote_plus

import msgspec

from hawse.allocator.allocator import Allocator
from hawse.allocator.board import Assignment, Item
from hawse.allocator.explain import explain
from hawse.allocator.gauges import gauges
from hawse.allocator.metrics import CONTENT_TYPE
from hawse.net.http import Handler, HttpError, Request, Response, StreamResponse

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_PIECE = 200  # targets encoded at a time
_LONGEST = 1024  # characters of a question to /explain
_AT_ONCE = 4  # questions to /explain: each may look at all there is

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


class Api:
    """Handlers for `net.server.HttpServers.mount`."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._explaining = 0
        settings = allocator.settings
        known = settings.tls is not None and bool(settings.tls.client_ca_file)
        self._reveal = known or settings.allow_insecure_auth_secrets

    def routes(self) -> dict[tuple[str, str], Handler]:
        """By method and path."""
        answers: dict[str, Answer] = {
            "/": self._index,
            "/scrape_configs": self._scrape_configs,
            "/jobs": self._jobs,
            "/jobs/*": self._targets,
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/explain": self._explain,
        }
        return {("GET", path): self._timed(path, answer) for path, answer in answers.items()}

    def _timed(self, path: str, answer: Answer) -> Handler:
        shown = path.replace("/*", "/:job_id/targets")

        async def handler(request: Request) -> Response:
            began = time.perf_counter()
            try:
                return await answer(request)
            finally:
                self._allocator.metrics.http.record(time.perf_counter() - began, path=shown)

        return handler

    # --- the operator's ---------------------------------------------------------------------------------------------

    async def _scrape_configs(self, _: Request) -> Response:
        self._assignment()
        return Response(200, self._allocator.scrape_configs(reveal=self._reveal), content_type=_JSON)

    async def _jobs(self, _: Request) -> Response:
        jobs = self._assignment().jobs
        return _json({name: {"_link": f"/jobs/{quote_plus(name)}/targets"} for name in jobs})

    async def _targets(self, request: Request) -> Response:
        made = self._assignment()
        name, slash, rest = request.path.removeprefix("/jobs/").rpartition("/")
        if rest != "targets" or not slash:
            raise HttpError(404, f"nothing is served at {request.path[:200]!r}; there is /jobs/JOB/targets")
        working = self._allocator.board.working
        if name not in working:  # clients escape as in a query, where + is a space
            name = next((one for one in working if one.replace(" ", "+") == name), name)
        collectors = request.query.get("collector_id")
        if collectors:
            return _listed(made.of.get((collectors[0], name), ()))
        return StreamResponse(_of_all(made, name), content_type=_JSON)

    async def _live(self, _: Request) -> Response:
        return Response(200)

    async def _ready(self, _: Request) -> Response:
        why = self._allocator.why_not_ready()
        if why:
            return Response(503, why + "\n", content_type=_TEXT)
        errors = self._allocator.errors()
        return Response(200, "".join(f"{one}\n" for one in ["ready", *errors]), content_type=_TEXT)

    async def _metrics(self, _: Request) -> Response:
        allocator = self._allocator
        return Response(200, allocator.metrics.text(gauges(allocator)), content_type=CONTENT_TYPE)

    def _assignment(self) -> Assignment:
        made = self._allocator.assignment
        if made is None:
            raise HttpError(503, f"not ready: {self._allocator.why_not_ready()}", {"retry-after": "1"})
        return made

    # --- Hawse's own ------------------------------------------------------------------------------------------------

    async def _explain(self, request: Request) -> Response:
        query = request.query.get("target", [""])[0].strip()
        if not query or len(query) > _LONGEST:
            raise HttpError(400, "ask for an address, a URL or a name: /explain?target=10.1.2.3:8080")
        if self._explaining >= _AT_ONCE:
            raise HttpError(503, "others are asking, too: try again in a moment", {"retry-after": "1"})
        self._explaining += 1
        try:
            return _json(await explain(self._allocator, query))
        finally:
            self._explaining -= 1

    async def _index(self, _: Request) -> Response:
        paths = ("/scrape_configs", "/jobs", "/jobs/JOB/targets?collector_id=ID", "/explain?target=ADDRESS|NAME")
        text = "\n".join(["Hawse target allocator", *paths, "/metrics", "/livez", "/readyz"])
        return Response(200, text + "\n", content_type=_TEXT)


async def _of_all(made: Assignment, job: str) -> AsyncIterator[bytes]:
    """All collectors and what they have of a job: a map, in pieces."""
    for number, member in enumerate(made.members):
        link = f"/jobs/{quote_plus(job)}/targets?collector_id={quote_plus(member.name)}"
        name, target = msgspec.json.encode(member.name), msgspec.json.encode(link)
        yield (b"," if number else b"{") + name + b':{"_link":' + target + b',"targets":'
        async for piece in _pieces(made.of.get((member.name, job), ())):
            yield piece
        yield b"}"
    yield b"}" if made.members else b"{}"


def _shown(item: Item) -> dict[str, Any]:
    labels = item.discovered
    return {"targets": [labels.pop("__address__", "")], "labels": labels}


def _json(value: Any) -> Response:
    return Response(200, msgspec.json.encode(value), content_type=_JSON)


def _listed(items: Sequence[Item]) -> Response:
    """Targets for HTTP discovery; in pieces where they are many, so that others get a turn."""
    if len(items) <= _PIECE:
        return _json([_shown(item) for item in items])
    return StreamResponse(_pieces(items), content_type=_JSON)


async def _pieces(items: Sequence[Item]) -> AsyncIterator[bytes]:
    """A list, some targets at a time."""
    if not items:
        yield b"[]"
        return
    for start in range(0, len(items), _PIECE):
        part = msgspec.json.encode([_shown(item) for item in items[start : start + _PIECE]])
        yield (b"," if start else b"[") + part[1:-1]
    yield b"]"
