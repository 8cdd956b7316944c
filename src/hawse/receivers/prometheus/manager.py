"""All jobs: made from the configuration and from the target allocator, run, replaced, closed."""

import asyncio
import hashlib
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from hawse.component import Consumer, Context
from hawse.net.budget import Budget
from hawse.net.files import allow_files
from hawse.prometheus.discovery import discoverers
from hawse.prometheus.settings import GlobalConfig, ScrapeConfig
from hawse.receivers.prometheus.config import Config
from hawse.receivers.prometheus.delivery import Delivery
from hawse.receivers.prometheus.loop import Loop, Work
from hawse.receivers.prometheus.memory import Memory
from hawse.receivers.prometheus.metrics import Metrics
from hawse.receivers.prometheus.pool import Pool
from hawse.receivers.prometheus.scrape import Scraper

_FILES = 1 << 20  # each target has a connection: as many as the system allows, as Go's programs do it
_LOOK = 0.5  # seconds for which a look at all targets' labels is good


class Manager:
    """Prometheus' scrape manager. `elsewhere` says of a target that has gone whether another collector has it now."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self.pools: dict[str, Pool] = {}
        self.elsewhere: Callable[[Loop], Awaitable[bool]] | None = None
        self._config = config
        self._context = context
        self._metrics = Metrics(context)
        self._memory = Memory(context.shared(Budget))
        outside = config.config.global_.external_labels
        self._outside = {name: str(value) for name, value in outside.items()}
        delivery = Delivery(output, self._metrics)
        self._work = Work(self._spawn, delivery, self._memory, self._metrics, _seed(self._outside))
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._retiring: list[Pool] = []
        self._under_way: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._here: set[frozenset[tuple[str, str]]] = set()
        self._looked = float("-inf")
        self._register(delivery)

    def _register(self, delivery: Delivery) -> None:
        meter = self._context.meter
        for health in ("up", "down", "unknown"):
            count = _counting(self, health)
            meter.gauge("hawse_scrape_targets", "Targets by how their last scrape went.", count, health=health)
        meter.gauge("hawse_scrape_series_bytes", "Memory that the series of all targets take.", self._series)
        meter.gauge("hawse_scrapes_waiting", "Scrapes that are not taken yet downstream.", lambda: delivery.waiting)

    def _series(self) -> float:
        return self._memory.series

    def loops(self) -> list[Loop]:
        """Of all jobs."""
        return [loop for pool in self.pools.values() for loop in pool.loops.values()]

    # --- jobs ---

    def add(self, job: ScrapeConfig) -> Pool:
        """Run a job, filled from `global`; one of the same name is replaced, and what it had found is taken over."""
        config = self._config
        scraper = Scraper(job, self._memory, config.resource_labels, int(config.max_body_size), self._outside)
        pool = Pool(job, scraper, self._work, self._is_elsewhere)
        old = self.pools.get(job.job_name)
        if old is not None:
            pool.inherit(old)
            self.remove(job.job_name)
        self._metrics.pool(job.job_name, self._targets_of(job.job_name))
        self.pools[job.job_name] = pool
        allow_files(_FILES)
        self._context.spawn(self._run(job.job_name, pool), f"scrape job {job.job_name}")
        return pool

    def _targets_of(self, name: str) -> Callable[[], float]:
        return lambda: len(self.pools[name].loops) if name in self.pools else 0

    def remove(self, name: str) -> None:
        """A job has gone."""
        pool = self.pools.pop(name)
        run = self._runs.pop(name, None)
        if run is not None:
            run.cancel()
        pool.retire()
        self._retiring.append(pool)
        self._context.spawn(self._bury(pool), "bury jobs")

    async def _bury(self, pool: Pool) -> None:
        """Close a job that is gone once its targets' ends were told."""
        await pool.ended.wait()
        self._retiring.remove(pool)
        await pool.close()

    async def _run(self, name: str, pool: Pool) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self.pools.get(name) is pool and not self._closing:
            self._runs[name] = task
            await pool.run(discoverers(pool.job, self._context))

    async def _is_elsewhere(self, loop: Loop) -> bool:
        """Whether a target that has gone from a pool is in another now (its job was configured otherwise), or at
        another collector.
        """
        if self._is_here(loop):
            return True
        if self.elsewhere is not None and await self.elsewhere(loop):
            return True
        return self._is_here(loop)

    def _is_here(self, loop: Loop) -> bool:
        now = time.monotonic()
        if now - self._looked > _LOOK:  # a job of thousands may go at once
            self._here = {frozenset(other.subject.target.labels.items()) for other in self.loops()}
            self._looked = now
        return frozenset(loop.subject.target.labels.items()) in self._here

    # --- start and stop ---

    def filled(self, job: ScrapeConfig) -> ScrapeConfig:
        """A job with everything that `global` says, and the receiver's own keys."""
        above = self._config.config.global_
        if self._config.report_extra_scrape_metrics:
            above = _with_extra(above)
        return job.filled(above)

    async def stop(self) -> None:
        """Scrape no more; wait until what was read is taken. Nothing is marked stale, as Prometheus does it."""
        self._closing = True
        for run in self._runs.values():
            run.cancel()
        for pool in [*self.pools.values(), *self._retiring]:
            await pool.close()
        await asyncio.sleep(0)  # those that were about to begin
        if self._under_way:
            try:
                await asyncio.wait(self._under_way)
            except asyncio.CancelledError:
                self._give_up(len(self._under_way))
                raise

    def _give_up(self, scrapes: int) -> None:
        """The service waits no longer."""
        self._metrics.missed.add(scrapes, reason="shutdown")
        self._context.log.warning("%d scrapes were not taken before the end: gaps in their targets' series", scrapes)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self._context.spawn(self._counted(coroutine), name)

    async def _counted(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            await coroutine
        finally:
            self._under_way.discard(task)


def _counting(manager: Manager, health: str) -> Callable[[], float]:
    return lambda: sum(loop.health == health for loop in manager.loops())


def _with_extra(above: GlobalConfig) -> GlobalConfig:
    return msgspec.structs.replace(above, extra_scrape_metrics=True)


def _seed(outside: dict[str, str]) -> int:
    """Other than that of other machines and configurations: they scrape the same targets at other moments."""
    text = repr((socket.gethostname(), sorted(outside.items())))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
