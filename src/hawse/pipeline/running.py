"""A graph that runs: its components made, wired, started and stopped in order, and their tasks."""

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import msgspec

from hawse.component import Component, Kind, Ledger, Meter
from hawse.config.configuration import SECTIONS
from hawse.diagnostics import Finding, HawseError, Severity, Where
from hawse.health import Health
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.pipeline.graph import Graph, Node
from hawse.pipeline.ledger.passage import outside
from hawse.pipeline.ledger.store import Kept
from hawse.pipeline.logs import ComponentLog
from hawse.pipeline.memory import shared
from hawse.pipeline.pages import pages
from hawse.pipeline.telemetry import ComponentMeter, Telemetry
from hawse.pipeline.wiring import Wiring
from hawse.state.storage import Storage
from hawse.values import ComponentID, ExtensionID

T = TypeVar("T")

# Seconds that a component may take to end after the drain deadline, and a cancelled task to end at all.
GRACE = 2.0
_METRICS = "service.telemetry.metrics"
_log = logging.getLogger("hawse.service")


class ServiceContext:
    """`component.Context` of one instance."""

    def __init__(self, node: Node, running: "Running", meter: ComponentMeter) -> None:
        self.id: ComponentID = node.id
        self.log: logging.LoggerAdapter[logging.Logger] = ComponentLog(node.kind, node.id)
        self.meter: Meter = meter
        self.ledger: Ledger = running.own_ledger(node)
        self._node = node
        self._running = running

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """See `component.Context`."""
        self._running.spawn(self._node, coroutine, name)

    def extension(self, id: ExtensionID, kind: type[T]) -> T:  # noqa: A002
        """See `component.Context`."""
        return self._running.extension(self._node, id, kind)

    def shared(self, kind: type[T]) -> T:
        """See `component.Context`."""
        return self._running.shared(kind)


class Running:
    """One graph at work. `tasks` owns all that it spawns; `failed` is called, once or more, when a task dies."""

    def __init__(
        self,
        graph: Graph,
        telemetry: Telemetry,
        tasks: asyncio.TaskGroup,
        failed: Callable[[tuple[Finding, ...]], None],
    ) -> None:
        self.graph = graph
        self.telemetry = telemetry
        self.components: dict[str, Component] = {}
        self.ports: tuple[int, ...] = ()
        self._group = tasks
        self._failed = failed
        self._meters: list[ComponentMeter] = []
        self._shared = shared(graph.service.memory_limit, telemetry)
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._timeouts: set[asyncio.Timeout] = set()
        self._deadline = float("inf")
        self._wiring = Wiring(graph, self.meter, telemetry.ledger, self.shared(Health))
        self._kept: list[tuple[Kept, asyncio.Task[None]]] = []  # where the ledger is written

    # --- what contexts lend

    def meter(self, node: Node) -> ComponentMeter:
        """A meter whose gauges go when this graph stops."""
        made = self.telemetry.meter(node.kind, node.id)
        self._meters.append(made)
        return made

    def own_ledger(self, node: Node) -> Ledger:
        """What a component says to the ledger."""
        return self._wiring.own(node)

    def spawn(self, node: Node, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task of a component; see `component.Context.spawn`."""
        work = self._guard(node, coroutine, name)
        task = self._group.create_task(work, name=f"{node.key}: {name}", context=outside())
        mine = self._tasks.setdefault(node.key, set())
        mine.add(task)
        task.add_done_callback(mine.discard)

    async def _guard(self, node: Node, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await coroutine
        except HawseError as problem:
            self._failed(tuple(_attributed(problem.findings, node.path)))
        except Exception as problem:
            _trace(node)
            self._failed((_internal(node, f'its task "{name}" died', problem),))

    def extension(self, node: Node, id_: ExtensionID, kind: type[T]) -> T:
        """A running extension, of the kind that the component can work with; else HawseError."""
        found = self.components.get(f"{Kind.EXTENSION}:{id_}")
        if found is None:
            fix = f'add "{id_}" to service.extensions'
            raise HawseError.of("HW126", f'the extension "{id_}" does not run', fix=fix, path=node.path)
        if not isinstance(found, kind):
            message = f'the extension "{id_}" is no {kind.__name__}, which {node.kind} "{node.id}" needs'
            raise HawseError.of("HW129", message, fix="name an extension of another type", path=node.path)
        return found

    def shared(self, kind: type[T]) -> T:
        """The one instance of a kind in this graph."""
        if kind not in self._shared:
            self._shared[kind] = kind()
        return cast("T", self._shared[kind])

    # --- start and stop

    async def start(self) -> None:
        """Make and start every component, then serve self-metrics.

        Raises HawseError with what is wrong; call `stop` then as well, to end what was started before it.
        """
        for node in self.graph.nodes:
            self.shared(Health).starting(node.path)
            try:
                component = self._wiring.make(node, ServiceContext(node, self, self.meter(node)))
                self.components[node.key] = component
                await component.start()
                if isinstance(component, Storage):
                    self._keep_ledger(component)
            except HawseError as problem:
                raise HawseError(_attributed(problem.findings, node.path)) from problem
            except Exception as problem:
                _trace(node)
                raise HawseError([_internal(node, "it could not start", problem)]) from problem
        self.shared(Health).starting(_METRICS)
        try:
            await self._serve_metrics()
        except HawseError as problem:
            raise HawseError(_attributed(problem.findings, _METRICS)) from problem
        self.shared(Health).starting("")

    def _keep_ledger(self, storage: Storage) -> None:
        kept = Kept(self.telemetry.ledger, storage)
        kept.open()
        self._kept.append((kept, self._group.create_task(kept.run(), name="write the ledger")))

    async def _serve_metrics(self) -> None:
        # After the receivers: on a port that they share, the limits of connections are those of the receiver.
        for number, settings in enumerate(self.graph.service.telemetry.metrics.served):
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            server = ServerConfig(endpoint=f"{host}:{settings.port}")
            owner = f"{_METRICS}.readers[{number}]" if number else _METRICS
            routes = pages(self.telemetry, settings)
            port = await self.shared(HttpServers).mount(server, routes, owner=owner)
            self.ports = (*self.ports, port)

    async def stop(self, drain: float = 25.0) -> tuple[str, ...]:
        """Stop everything, receivers first, within `drain` seconds, and then whatever still runs.

        Returns the paths of the components that had not drained by then. May be called after a failed start.
        """
        self.shared(Health).stopping()
        loop = asyncio.get_running_loop()
        self._deadline = min(self._deadline, loop.time() + drain)
        late: list[str] = []
        for level in reversed(self.graph.levels()):
            started = [node for node in level if node.key in self.components]
            drained = await asyncio.gather(*(self._stop(node) for node in started))
            late += [node.path for node, in_time in zip(started, drained, strict=True) if not in_time]
        for kind, instance in reversed(self._shared.items()):
            close = getattr(instance, "close", None)
            if close is not None and inspect.iscoroutinefunction(close):
                await self._in_time(close(), f"closing {kind.__name__}")
        for meter in self._meters:
            meter.close()
        return tuple(late)

    def hurry(self) -> None:
        """Drain no longer: a running or coming `stop` ends what it can at once."""
        self._deadline = asyncio.get_running_loop().time()
        for timeout in [one for one in self._timeouts if not one.expired()]:
            timeout.reschedule(self._deadline)

    async def _stop(self, node: Node) -> bool:
        if node.kind is Kind.EXTENSION:  # they stop last, and storage with them: nothing moves any more
            while self._kept:
                kept, task = self._kept.pop()
                task.cancel()
                kept.close()
        drained = await self._in_time(self.components[node.key].stop(), f"stopping {node.path}")
        tasks = self._tasks.get(node.key, set()).copy()
        for task in tasks:
            task.cancel()
        if tasks:
            _, running = await asyncio.wait(tasks, timeout=GRACE)
            for task in running:
                _log.error('the task "%s" does not end', task.get_name())
        return drained

    async def _in_time(self, work: Coroutine[Any, Any, None], what: str) -> bool:
        """Await something until the deadline, or a short grace after it: late ones still get a moment each."""
        now = asyncio.get_running_loop().time()
        timeout = asyncio.timeout_at(max(self._deadline, now + (GRACE if self._deadline > now else GRACE / 10)))
        try:
            async with timeout:
                self._timeouts.add(timeout)
                await work
        except TimeoutError:
            return False
        except Exception:
            _log.exception("%s failed", what)
        finally:
            self._timeouts.discard(timeout)
        return True


@asynccontextmanager
async def running(graph: Graph, telemetry: Telemetry | None = None, drain: float = 5.0) -> AsyncIterator[Running]:
    """Run a graph for the length of a block (tests, tools). Raises HawseError if it can't start, or a task dies."""
    died: list[Finding] = []
    body = asyncio.current_task()
    assert body is not None

    def failed(findings: tuple[Finding, ...]) -> None:
        died.extend(findings)
        body.cancel()

    try:
        async with asyncio.TaskGroup() as tasks:
            made = Running(graph, telemetry or Telemetry(), tasks, failed)
            try:
                await made.start()
                yield made
            finally:
                await made.stop(drain)
    except asyncio.CancelledError:
        if not died:
            raise
        body.uncancel()
        raise HawseError(died) from None
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _trace(node: Node) -> None:
    """Log the traceback of what is being handled: for developers, so only when asked for."""
    level = logging.ERROR if os.environ.get("HAWSE_DEBUG") == "1" else logging.DEBUG
    _log.log(level, "traceback of %s", node.path, exc_info=True)


def _attributed(findings: Iterable[Finding], path: str) -> list[Finding]:
    """Findings of a component, with its path before theirs, which may be none or begin with the component's id."""
    return [
        finding
        if finding.where.file
        else msgspec.structs.replace(finding, where=Where(path=_below(path, finding.where.path)))
        for finding in findings
    ]


def _below(path: str, inner: str) -> str:
    section, _, id_ = path.partition(".")
    if inner.partition(".")[0] in {*SECTIONS, "service"}:
        return inner
    if inner == id_ or inner.startswith((f"{id_}.", f"{id_}[")):
        return f"{section}.{inner}"
    return f"{path}.{inner}" if inner else path


def _internal(node: Node, what: str, problem: Exception) -> Finding:
    cause = f"{type(problem).__name__}: {problem}".rstrip(": ")
    fix = "" if isinstance(problem, OSError) else "this is likely a bug: run with HAWSE_DEBUG=1 and report it"
    return Finding("HW131", Severity.ERROR, Where(path=node.path), f"{what}: {cause}", fix)
