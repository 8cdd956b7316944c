"""The allocator at work: monitors, discovery and collectors come in; jobs, targets and their collectors come out.

Nothing is handed out until all is known that was there when the process began: an allocator that has just started
would tell collectors to scrape less than they should. Until then clients get 503, and keep what they have.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec

from hawse.allocator.assign import Member
from hawse.allocator.board import Assignment, Board, Turns
from hawse.allocator.builtin import Builtin
from hawse.allocator.collectors import CollectorPod, Pods, Resolved, listed
from hawse.allocator.crd import Job, Monitor, Origin, Rights
from hawse.allocator.documents import decoded
from hawse.allocator.looks import Look, Looks
from hawse.allocator.metrics import Metrics
from hawse.allocator.monitors import KINDS, Key, Monitors, NamespaceSink
from hawse.allocator.named import Named
from hawse.allocator.safety import Guard, Refusal
from hawse.allocator.settings import Settings
from hawse.allocator.watching import Watching
from hawse.prometheus.discovery import Shares
from hawse.prometheus.settings import ScrapeConfig

SETTLE = 0.2  # seconds for changes to come together, and longer where looking at them takes long:
_LONGEST_SETTLE, _SHARE = 5.0, 20  # this multiple of what it took the last time, so that it takes 5 % of a CPU at most
PATIENCE = 30.0  # seconds for places that can't be seen, when the process begins; a short while for later ones
_LATER = 5.0
_LARGE = 64 << 10  # bytes of a specification
_log = logging.getLogger("hawse.allocator")


class Source(Protocol):
    """Who collects."""

    def members(self) -> tuple[Member, ...]: ...
    def next_change(self) -> float | None: ...


class Listed:
    """Collectors of a fixed list."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._members = listed(names)

    def members(self) -> tuple[Member, ...]:
        """See Source."""
        return self._members

    def next_change(self) -> float | None:
        """See Source."""
        return None


class Allocator:
    """All of it. `start()` begins, `close()` ends; what it knows can be read at any time.

    `assignment` is None until it is ready, and replaced as a whole with each change. `jobs` are all jobs by name, also
    those that are refused.
    """

    def __init__(self, settings: Settings, context: Shares) -> None:
        self.settings = settings
        self.context = context
        self.metrics = Metrics()
        self.guard = Guard(settings.allow)
        self.jobs: dict[str, Job] = {}
        self.assignment: Assignment | None = None
        self.looks = Looks(settings.limits, settings.kubeconfig(), context, self._found)
        self.board = Board(self.looks, self.guard)
        self.monitors = Monitors(settings.monitor_limits, settings.prometheus_cr.selectors(), self._monitor_changed)
        self.named = Named(settings.secrets, settings.config_maps, self._named_changed)
        self.collectors: Pods | Resolved | Listed = self._source()
        self.watching = Watching(settings)
        self._rights = self._make_rights()
        self._made: dict[Key, tuple[str, ...]] = {}
        self._changed_monitors: set[Key] = set()
        self._wake = asyncio.Event()
        self._settle = SETTLE
        self._tasks: list[asyncio.Task[None]] = []
        self._began = time.monotonic()

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin. Raises HawseError where it is not known how to reach the API server."""
        self._began = time.monotonic()
        watching = self.watching
        await watching.open()
        self._own_jobs()
        if isinstance(self.collectors, Pods):
            watching.collectors(self.collectors, CollectorPod)
        elif isinstance(self.collectors, Resolved):
            self._run(self.collectors.run(), "look up collectors")
        if self.settings.prometheus_cr.enabled:
            for kind in self.settings.prometheus_cr.kinds:
                for scope in self.settings.monitor_limits.scopes:
                    watching.monitors(KINDS[kind], scope, self.monitors.sink(kind, scope), Monitor)
            if self.settings.prometheus_cr.needs_namespaces:
                watching.namespaces(NamespaceSink(self.monitors))
            if watching.client is not None:
                self._run(self.named.run(watching.client), "read named objects")
        else:
            self.named.read.set()
        self._run(self._work(), "allocate")

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"target allocator: {name}"))

    async def close(self) -> None:
        """End. What is known stays readable."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.watching.close()
        await self.looks.close()

    def _source(self) -> Pods | Resolved | Listed:
        settings, grace = self.settings, float(self.settings.collector_not_ready_grace_period)
        if settings.collectors.dns is not None:
            found = settings.collectors.dns
            return Resolved(found.hostname, float(found.interval), grace, self._collectors_changed)
        if settings.collectors.static:
            return Listed(settings.collectors.static)
        return Pods(grace, self._collectors_changed)

    def _make_rights(self) -> Rights:
        cr = self.settings.prometheus_cr
        return Rights(
            self.guard,
            self.settings.limits,
            self.named.secret,
            self.named.config_map,
            cr.ignore_namespace_selectors,
            str(cr.scrape_interval) if cr.scrape_interval else "",
            cr.scrape_config_roles,
        )

    # --- what changes -----------------------------------------------------------------------------------------------

    def _found(self, look: Look, sources: list[str]) -> None:
        self.metrics.event("discovery")
        self.board.changed(look, sources)
        self._wake.set()

    def _monitor_changed(self, key: Key) -> None:
        self.metrics.event(key[0])
        self._changed_monitors.add(key)
        self._wake.set()

    def _named_changed(self) -> None:
        """A Secret or ConfigMap is other than it was: monitors that may refer to it are made into jobs again."""
        self.metrics.event("secrets")
        namespaces = {one.namespace for one in (*self.settings.secrets, *self.settings.config_maps)}
        self._changed_monitors |= {key for key in self.monitors.there if key[1] in namespaces}
        self._wake.set()

    def _collectors_changed(self) -> None:
        self.metrics.event("collectors")
        self._wake.set()

    # --- work -------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            await self._wait()
            used = time.thread_time()
            try:
                await self._make_jobs()
                began = time.perf_counter()
                await self.board.settle()
                self.metrics.targets.record(time.perf_counter() - began)
                await self._assign()
                self._settle = min(_LONGEST_SETTLE, max(SETTLE, _SHARE * (time.thread_time() - used)))
            except Exception:  # a fault of ours must not end it: what was handed out would grow stale
                _log.exception("unexpected error; the last assignment stays")
                await asyncio.sleep(PATIENCE)
                self._wake.set()

    async def _wait(self) -> None:
        if self.assignment is None:
            await asyncio.sleep(SETTLE)
            return
        try:
            async with asyncio.timeout(self.collectors.next_change()):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._settle)
        self._wake.clear()

    async def _make_jobs(self) -> None:
        changed, self._changed_monitors = self._changed_monitors, set()
        turns = Turns()
        for key in sorted(changed):
            await self._make(key, turns)
        if changed and self.assignment is not None:
            await self._seen(_LATER)

    async def _make(self, key: Key, turns: Turns) -> None:
        """A monitor's jobs, in the place of those that it had."""
        try:
            made = self.monitors.jobs(key, self._rights)
        except Exception as problem:  # a fault of ours with one monitor must not keep the others from work
            _log.exception("%s %s/%s: unexpected error", *key)
            kind, namespace, name = key
            origin = Origin(kind, namespace, name)
            made = [Job(f"{kind}/{namespace}/{name}", origin, {}, refused=f"internal error: {problem!r}")]
        before = self._made.pop(key, ())
        for name in set(before) - {job.name for job in made}:
            self._drop(name)
        monitor = self.monitors.there.get(key)
        large = monitor is not None and len(bytes(monitor.spec)) > _LARGE
        for job in made:
            # Decoding takes a fraction of a second for the largest object that there can be.
            self._put(*(await asyncio.to_thread(self._decoded, job) if large else self._decoded(job)))
            await turns.others()
        if made:
            self._made[key] = tuple(job.name for job in made)

    def take(self, job: Job) -> None:
        """Add a job, or put it in the place of the one with its name. One that can't be is kept with the reason."""
        self._put(*self._decoded(job))

    def _decoded(self, job: Job) -> tuple[Job, ScrapeConfig | None]:
        if job.refused:
            return job, None
        interval = {"scrape_interval": self._rights.interval} if self._rights.interval and job.guarded else {}
        try:
            return job, decoded({**interval, **job.document}, self.settings.config.global_)
        except Refusal as problem:
            return msgspec.structs.replace(job, refused=str(problem)), None

    def _put(self, job: Job, config: ScrapeConfig | None) -> None:
        if job.refused and (job.name not in self.jobs or self.jobs[job.name].refused != job.refused):
            _log.warning("%s is not scraped: %s", job.name, job.refused)
        self.jobs[job.name] = job
        there = self.board.working.get(job.name)
        if config is None:
            if there is not None:
                self.board.remove(job.name)
        elif there is None or there.config != config or there.job != job:
            self.board.put(job, config)

    def _drop(self, name: str) -> None:
        del self.jobs[name]
        if name in self.board.working:
            self.board.remove(name)

    def _own_jobs(self) -> None:
        """Those of the configuration, and the ones that need none."""
        for config in self.settings.config.jobs():
            job = Job(config.job_name, Origin("configuration"), {}, guarded=False)
            self.jobs[job.name] = job
            self.board.put(job, config)
        own = Builtin(pod_annotations=self.settings.pod_annotations, kubelet=self.settings.kubelet)
        for job in own.jobs(self.settings.limits):
            self.take(job)

    async def _seen(self, patience: float) -> None:
        """Wait until all places were looked at, but not for ever."""
        until = time.monotonic() + patience
        while self.looks.unsynced and time.monotonic() < until:  # noqa: ASYNC110 - discoverers tell nobody
            await asyncio.sleep(SETTLE / 4)

    async def _assign(self) -> None:
        if self.assignment is None and self._unknown():
            return
        began = time.perf_counter()
        members = self.collectors.members()
        targets = self.board.targets()
        settings = self.settings
        strategy = settings.allocation_strategy
        made = await Assignment.made(targets, members, strategy, settings.allocation_fallback_strategy)
        self.metrics.allocate.record(time.perf_counter() - began, strategy=strategy)
        before = self.assignment
        self.assignment = made
        if before is None or before.members != made.members:
            waiting = [member.name for member in made.members if not member.there]
            away = f"; waited for: {', '.join(waiting)}" if waiting else ""
            _log.info("collectors: %s%s", ", ".join(member.name for member in made.members) or "none", away)
        if before is None:
            _log.info("ready: %d jobs, %d targets", len(self.board.working), sum(map(len, targets.values())))

    # --- what is asked ----------------------------------------------------------------------------------------------

    def why_not_ready(self) -> str:
        """Why nothing is handed out yet; "" once it is."""
        if self.assignment is not None:
            return ""
        return self._unknown() or "what was found is being looked at"

    def _unknown(self) -> str:
        """What is not known yet of what there was when the process began."""
        if why := self.watching.why_not_synced():
            return why
        if isinstance(self.collectors, Resolved) and not self.collectors.synced.is_set():
            return self.collectors.error or "the collectors were not looked up yet"
        if not self.named.read.is_set():
            return "the Secrets that are named were not read yet"
        if self._changed_monitors or not self.board.settled:
            return "what was found is being looked at"
        unsynced = self.looks.unsynced
        if unsynced and time.monotonic() < self._began + PATIENCE:
            return f"not seen yet: {', '.join(unsynced[:5])}"
        return ""

    def errors(self) -> list[str]:
        """What keeps it from knowing all that it should."""
        found = [*self.watching.errors(), *self.looks.errors]
        if isinstance(self.collectors, Resolved) and self.collectors.error:
            found.append(self.collectors.error)
        return found

    def scrape_configs(self, *, reveal: bool) -> bytes:
        """All jobs by name, as JSON."""
        working = self.board.working
        return msgspec.json.encode({name: working[name].shown(reveal=reveal) for name in sorted(working)})
