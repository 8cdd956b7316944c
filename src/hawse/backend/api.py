"""The backend's questions and switches over HTTP, in JSON. docs/backend.md lists them."""

import ipaddress
from collections.abc import AsyncIterator, Mapping

import msgspec

from hawse.backend import faults
from hawse.backend.answers import Answer, failure
from hawse.backend.faults import Faults
from hawse.backend.metrics.questions import QUESTIONS
from hawse.backend.searchers import Searchers
from hawse.backend.status import Status
from hawse.backend.traces import questions as traces
from hawse.net.http import Handler, HttpError, Request, Response, StreamResponse

_JSON = "application/json; charset=utf-8"
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}

# Path below /api/v1 → the search process's name for the question.
_QUESTIONS = {
    "logs/search": "search",
    "logs/tail": "tail",
    "logs/record": "record",
    "logs/count": "count",
    "logs/values": "values",
    "logs/rates": "rates",
    "fields": "fields",
    "groups": "groups",
    **{name: name for name in (*QUESTIONS, *traces.QUESTIONS)},
}


class Api:
    """Handlers. With `local`, only names of this machine are answered: a web page must not reach us by a name of
    its own that it has pointed at 127.0.0.1.
    """

    def __init__(self, searchers: Searchers, rules: Faults, status: Status, *, local: bool) -> None:
        self._searchers = searchers
        self._faults = rules
        self._status = status
        self._local = local

    def routes(self) -> dict[tuple[str, str], Handler]:
        """All routes."""
        asked = {("GET", f"/api/v1/{path}"): self._question(name) for path, name in _QUESTIONS.items()}
        own: dict[tuple[str, str], Handler] = {
            ("GET", "/logs/count"): self._question("count"),  # where the Sumo Logic mock has it
            ("GET", "/api/v1/logs/dump"): self._dump,
            ("GET", "/api/v1/status"): self._show_status,
            ("GET", "/api/v1/faults"): self._show_faults,
            ("PUT", "/api/v1/faults"): self._put_faults,
            ("DELETE", "/api/v1/faults"): self._clear_faults,
            ("GET", "/healthz"): self._health,
            ("GET", "/metrics"): self._metrics,
        }
        return {key: self._guarded(handler) for key, handler in {**asked, **own}.items()}

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            check_origin(request, local=self._local)
            return await handler(request)

        return guarded

    def _question(self, name: str) -> Handler:
        async def ask(request: Request) -> Response:
            return _response(await self._searchers.ask(name, request.query))

        return ask

    async def _dump(self, request: Request) -> Response:
        """The first piece decides about the status; the rest is streamed, each piece asked for when it is needed."""
        first = await self._searchers.ask("dump", request.query)
        if first.status != 200:
            return _response(first)
        return StreamResponse(self._pieces(first, request.query), 200, _HEADERS, "application/x-ndjson")

    async def _pieces(self, found: Answer, query: Mapping[str, list[str]]) -> AsyncIterator[bytes]:
        yield found.body
        while found.next >= 0:
            found = await self._searchers.ask("dump", {**query, "after": [str(found.next)]})
            if found.status != 200:  # a cut-off answer must not look like a whole one
                raise ConnectionAbortedError(found.body.decode())
            yield found.body

    async def _show_status(self, request: Request) -> Response:  # noqa: ARG002
        return _json(self._status.report())

    async def _show_faults(self, request: Request) -> Response:  # noqa: ARG002
        return _json(self._faults.report())

    async def _put_faults(self, request: Request) -> Response:
        if request.content_type != "application/json":
            return _response(failure(415, "send the faults as application/json"))
        try:
            self._faults.replace(faults.read(request.body))
        except ValueError as error:
            return _response(failure(400, str(error)))
        return _json(self._faults.report())

    async def _clear_faults(self, request: Request) -> Response:  # noqa: ARG002
        self._faults.replace(faults.Settings())
        return _json(self._faults.report())

    async def _health(self, request: Request) -> Response:  # noqa: ARG002
        problem = self._status.problem()
        return Response(503 if problem else 200, (problem or "ok") + "\n", _HEADERS, "text/plain; charset=utf-8")

    async def _metrics(self, request: Request) -> Response:  # noqa: ARG002
        return Response(200, self._status.exposition(), _HEADERS, "text/plain; version=0.0.4; charset=utf-8")


def check_origin(request: Request, *, local: bool) -> None:
    """Refuse what another site's page asks for. Raises HttpError."""
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"} and request.path != "/":
        raise HttpError(403, "this is for the backend's own page, not for other sites")
    if local and not _is_local(request.headers.get("host", "")):
        raise HttpError(403, "this backend listens on the loopback address; call it by localhost or by an address")


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    if not name or name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _json(value: object) -> Response:
    return Response(200, msgspec.json.encode(value) + b"\n", _HEADERS, _JSON)


def _response(found: Answer) -> Response:
    return Response(found.status, found.body, _HEADERS, _JSON)


__all__ = ["Api", "check_origin"]
