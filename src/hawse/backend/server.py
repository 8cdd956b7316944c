"""The backend, whole: takes what senders post, answers what people and tests ask."""

import ipaddress
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from hawse.backend import site
from hawse.backend.api import Api
from hawse.backend.faults import Fault, Faults
from hawse.backend.ingest import Ingest
from hawse.backend.intake import Intake
from hawse.backend.searchers import Searchers
from hawse.backend.status import Status
from hawse.backend.store import Limits, Store
from hawse.net.http import Handler, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, split_endpoint
from hawse.values import ByteSize

_OWNER = "hawse backend"

Query = Mapping[str, str | list[str]]


class Backend:
    """A running backend. In tests: `async with Backend() as backend: ... backend.url`.

    Without `store` everything is in a temporary folder that goes when it stops. Port 0 is any free port.
    """

    def __init__(
        self,
        listen: str = "127.0.0.1:0",
        store: Path | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        faults: Iterable[Fault] = (),
        seed: int = 0,
        search_seconds: float = 30,
        max_request_body_size: int = 64 << 20,
    ) -> None:
        self.faults = Faults(faults, seed)
        self.port = 0
        self._folder = tempfile.TemporaryDirectory(prefix="hawse-backend-") if store is None else None
        self.store = store or Path(self._folder.name if self._folder else "") / "backend.db"
        self._settings = ServerConfig(endpoint=listen, max_request_body_size=ByteSize(max_request_body_size))
        self._limits = limits
        self._search_seconds = search_seconds
        self._servers = HttpServers()
        self._intake: Intake | None = None
        self._searchers: Searchers | None = None

    @property
    def url(self) -> str:
        """Where it is, such as http://127.0.0.1:8088, once it has started."""
        host = split_endpoint(self._settings.endpoint)[0]
        host = {"": "localhost", "0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Open the store and listen. Raises HawseError, and then holds nothing."""
        try:
            self._intake = Intake(Store(self.store, self._limits))
            self._intake.start()
            self._searchers = Searchers(self.store, seconds=self._search_seconds)
            self.port = await self._servers.mount(
                self._settings, self._routes(self._intake, self._searchers), owner=_OWNER
            )
        except BaseException:
            await self.stop()
            raise

    def _routes(self, intake: Intake, searchers: Searchers) -> dict[tuple[str, str], Handler]:
        ingest = Ingest(intake, self.faults)
        status = Status(intake, ingest, self.faults, str(self.store), self._limits)
        local = _is_loopback(split_endpoint(self._settings.endpoint)[0])
        return {
            **site.routes(local=local),
            **Api(searchers, self.faults, status, local=local).routes(),
            ("POST", "/*"): ingest.post,
            ("POST", "/api/*"): _not_there,
            ("POST", "/api/v1/collector/*"): ingest.post,  # where registered Sumo Logic collectors send
        }

    async def stop(self) -> None:
        """Answer what is running, write what is queued, and close everything. May be called twice."""
        self.faults.release()
        await self._servers.unmount(_OWNER)
        await self._servers.close()
        if self._searchers is not None:
            await self._searchers.close()
        if self._intake is not None:
            await self._intake.stop()
        self._searchers = self._intake = None
        if self._folder is not None:
            self._folder.cleanup()

    async def __aenter__(self) -> "Backend":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- for tests: the API without HTTP --------------------------------------------------------------------------

    async def ask(self, name: str, query: Query | None = None) -> Any:
        """What GET /api/v1/logs/NAME?QUERY answers (`search`, `count`, `values`, …), or, for a NAME that begins with
        `metrics/` or `traces/`, GET /api/v1/NAME?QUERY. Raises ValueError for errors.
        """
        return msgspec.json.decode((await self._ask(name, query))[0])

    async def count(self, query: Query | None = None) -> int:
        """How many records match: `await backend.count({"k8s.pod.name": "web-.*"})`."""
        found: int = (await self.ask("count", query))["count"]
        return found

    async def samples(self, match: str, query: Query | None = None) -> list[dict[str, Any]]:
        """The series that a selector wants, with their samples: `await backend.samples('up{job="web"}')`."""
        found: list[dict[str, Any]] = (await self.ask("metrics/samples", {"match": match, **(query or {})}))["series"]
        return found

    async def spans(self, query: Query | None = None) -> int:
        """How many spans match: `await backend.spans({"service": "web", "kind": "server"})`."""
        found: int = (await self.ask("traces/count", query))["count"]
        return found

    async def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace by their start, each with all that was sent of it, and its resource's attributes."""
        found = await self.ask("traces/trace", {"trace_id": trace_id, "limit": "50000"})
        return [{**span, "resource": found["resources"][span["resource"]]} for span in found["items"]]

    async def records(self, query: Query | None = None) -> list[dict[str, Any]]:
        """All records that match, with all their fields, in the order in which they arrived."""
        found: list[dict[str, Any]] = []
        after = 0
        while after >= 0:
            body, after = await self._ask("dump", {**(query or {}), "after": str(after)})
            found += map(msgspec.json.decode, body.splitlines())
        return found

    async def _ask(self, name: str, query: Query | None) -> tuple[bytes, int]:
        assert self._searchers is not None, "the backend has not started"
        asked = {key: [value] if isinstance(value, str) else value for key, value in (query or {}).items()}
        found = await self._searchers.ask(name, asked)
        if found.status != 200:
            raise ValueError(msgspec.json.decode(found.body)["error"])
        return found.body, found.next


async def _not_there(request: Request) -> Response:
    return Response(404, f"nothing is taken at {request.path[:200]}\n", content_type="text/plain")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
