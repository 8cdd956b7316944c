"""health_check: tells over HTTP, on a port of its own, whether the process gets on and whether it can take data.

Keys are those of the OpenTelemetry Collector's extension; `ready_path` and `stuck_after` are Hawse's. docs/health.md
tells users what the answers mean.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, field

from hawse import component
from hawse.component import Context, ExtensionFactory, Listens, Need, Problem, Reads, Section, Stability
from hawse.health import Condition, Health, State
from hawse.net.budget import Budget
from hawse.net.http import Handler, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, split_endpoint
from hawse.values import Duration

_BEAT = 1.0  # seconds between two looks
_FULL_FOR = 5  # looks
_STATUS = {True: "Server available", False: "Server not available"}  # as OpenTelemetry's extension words it


class ResponseBody(Section, frozen=True):
    """A fixed answer to `path` instead of the explanation."""

    healthy: str = ""
    unhealthy: str = ""


class CheckCollectorPipeline(Section, frozen=True):
    """OpenTelemetry's count of exporters' failures. Only `enabled: false`: progress is always looked at."""

    enabled: bool = False
    interval: str = "5m"
    exporter_failure_threshold: int = 5


class Config(ServerConfig, frozen=True):
    """Liveness and readiness, for probes and for people."""

    endpoint: str = "localhost:13133"
    path: Annotated[str, Meta(description="Liveness: 200 while everything that has work gets on.")] = "/"
    ready_path: Annotated[str, Meta(description="Readiness: 200 while data can be taken.")] = "/ready"
    stuck_after: Annotated[
        Duration,
        Meta(description="How long a component may have work and get on with nothing. Longer than any time-out.", gt=0),
    ] = Duration(300)
    response_body: ResponseBody = field(default_factory=ResponseBody)
    check_collector_pipeline: CheckCollectorPipeline = field(default_factory=CheckCollectorPipeline)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        for name in ("path", "ready_path"):
            if not getattr(self, name).startswith("/"):
                yield Problem(name, f"{getattr(self, name)!r} is no path", "begin it with a slash")
        if self.path == self.ready_path:
            yield Problem("ready_path", "it is the same as path", 'take another, such as "/ready"')
        if self.check_collector_pipeline.enabled:
            message = "a destination that is down is no reason to restart, so failures are not counted"
            yield Problem("check_collector_pipeline.enabled", message, "remove it; see stuck_after")


def needs(config: Config) -> Iterator[Need]:
    """One port, and the files of TLS."""
    host, port = split_endpoint(config.endpoint)
    yield Listens(port, "tcp", "health", host or "0.0.0.0")
    for path in (config.tls.cert_file, config.tls.key_file, config.tls.client_ca_file) if config.tls else ():
        if path:
            yield Reads(path, "TLS")


class HealthCheck(component.Extension):
    """Listens while it is started: first of all, to tell of the start, and last of all, to tell of the end."""

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._context = context
        self._servers = context.shared(HttpServers)
        self._health = context.shared(Health)
        self._began = time.time()
        self._lag = 0.0
        self._stuck: set[str] = set()
        self._memory = Memory(context.shared(Budget))
        self._health.check("service.memory_limit", self._memory.why_not)
        context.meter.gauge("hawse_event_loop_lag_seconds", "How late the event loop was, lately.", lambda: self._lag)
        self.port = 0

    async def start(self) -> None:
        """Bind the port."""
        config = self._config
        routes: dict[tuple[str, str], Handler] = {}
        for method in ("GET", "HEAD"):
            routes[method, config.path] = self._live
            routes[method, config.ready_path] = self._ready
        self.port = await self._servers.mount(config, routes, owner=self._context.id)
        self._context.spawn(self._beat(), "look around")

    async def stop(self) -> None:
        """Close it."""
        await self._servers.unmount(self._context.id)

    async def _beat(self) -> None:
        """Look every second, so that "since" is right, and the log tells what is stuck even if nobody asks."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(_BEAT)
            late = time.monotonic() - before - _BEAT
            self._lag = max(late, 0.9 * self._lag)
            if late > self._config.stuck_after:
                self._context.log.error("the event loop was blocked for %.0fs", late)
            self._memory.look()
            _, conditions = self._health.liveness(self._config.stuck_after)
            self._health.readiness()
            self._tell({one.component: one.reason for one in conditions if one.state is State.STUCK})

    def _tell(self, stuck: dict[str, str]) -> None:
        for name in stuck.keys() - self._stuck:
            self._context.log.error("%s is stuck: %s", name, stuck[name])
        for name in self._stuck - stuck.keys():
            self._context.log.info("%s gets on again", name)
        self._stuck = set(stuck)

    async def _live(self, request: Request) -> Response:
        live, conditions = self._health.liveness(self._config.stuck_after)
        body = self._config.response_body
        fixed = body.healthy if live else body.unhealthy
        if fixed:
            return Response(200 if live else 503, fixed, content_type="text/plain; charset=utf-8")
        return self._answer(request, "live", live, conditions)

    async def _ready(self, request: Request) -> Response:
        ready, conditions = self._health.readiness()
        return self._answer(request, "ready", ready, conditions)

    def _answer(self, request: Request, word: str, good: bool, conditions: list[Condition]) -> Response:  # noqa: FBT001
        status = 200 if good else 503
        if _wants_text(request):
            lines = [f"{'' if good else 'not '}{word}", *map(_line, conditions)]
            return Response(status, "\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")
        answer: dict[str, Any] = {
            "status": _STATUS[good],
            "upSince": _time(self._began),
            "uptime": f"{time.time() - self._began:.3f}s",
            word: good,
            "components": [{**msgspec.to_builtins(one), "since": _time(one.since)} for one in conditions],
        }
        return Response(status, msgspec.json.encode(answer), content_type="application/json")


def _wants_text(request: Request) -> bool:
    """`?format=text`, or a browser. Probes and programs get JSON."""
    form = request.query.get("format", [""])[0]
    return form == "text" if form else "text/" in request.headers.get("accept", "")


def _line(condition: Condition) -> str:
    reason = f": {condition.reason}" if condition.reason else ""
    return f"  {condition.component} is {condition.state} since {_time(condition.since)}{reason}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Memory:
    """Whether the memory budget is used up: not for a moment, which back-pressure makes of any full load."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._over = 0  # looks in a row

    def look(self) -> None:
        """Note how it stands, every second."""
        self._over = self._over + 1 if self._budget.over else 0

    def why_not(self) -> str:
        """Why there is no room, if there was none at the last looks."""
        if self._over < _FULL_FOR:
            return ""
        return f"data in flight takes {self._budget.used >> 10} of {self._budget.limit >> 10} KiB"


factory = ExtensionFactory("health_check", Config, HealthCheck, needs=needs, stability=Stability.ALPHA)
