"""A client of a target allocator: jobs from `/scrape_configs`, targets from `/jobs/{job}/targets?collector_id=…`.

The last that was known stays while the allocator is away or not ready. A target that is taken from us is marked stale
only if the allocator says that nobody has it any more: it would be marked while another collector scrapes it.
"""

import asyncio
import time
from urllib.parse import quote, quote_plus

from hawse.component import Busy, Context
from hawse.net.client import HttpClient
from hawse.prometheus.http import FetchError, ScrapeClient
from hawse.prometheus.http_settings import HttpClientSettings
from hawse.receivers.prometheus import assignments
from hawse.receivers.prometheus.config import AllocatorSD, Config, legible
from hawse.receivers.prometheus.loop import Loop
from hawse.receivers.prometheus.manager import Manager

_LARGEST = 256 << 20  # bytes of an answer: a job may have a hundred thousand targets
_AGAIN = 1.0  # seconds until it is asked again after a failure, at first
_FRESH = 5.0  # seconds for which an answer about everybody's targets is good
_AT_ONCE = 8  # requests
_NOT_READY = 503
_TOLD_EVERY = 60.0  # seconds


class AskError(Exception):
    """No answer that is of use, and why."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class Allocator:
    """Keeps the jobs of a manager as the allocator has them."""

    def __init__(self, config: Config, context: Context, manager: Manager) -> None:
        assert config.target_allocator is not None
        self._settings = config.target_allocator
        self._above = config.config.global_
        self._own: set[str] = set()  # jobs of the configuration, which come first
        self._context = context
        self._manager = manager
        self._base = self._settings.endpoint.rstrip("/")
        self._http = HttpClient(self._settings, max_response_size=_LARGEST)
        self._discovery = _discovery(self._settings.http_sd_config)
        self._raw: dict[str, bytes] = {}
        self._targets: dict[str, assignments.Targets] = {}
        self._everybody: dict[str, tuple[float, bytes]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._failed = context.meter.counter(
            "hawse_target_allocator_failures", "Questions to the target allocator that got no answer of use."
        )
        self._answered = 0.0
        self._told = float("-inf")
        meter = context.meter
        meter.gauge("hawse_target_allocator_jobs", "Jobs that the target allocator has.", lambda: len(self._raw))

    async def run(self) -> None:
        """Ask until cancelled."""
        settings = self._settings
        every = settings.http_sd_config.refresh_interval if settings.http_sd_config else AllocatorSD().refresh_interval
        self._own = set(self._manager.pools)
        jobs_at = 0.0
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                await self._ready()
                if begun >= jobs_at:
                    await self._update_jobs()
                    jobs_at = begun + settings.interval
                await self._update_targets()
                failures = 0
                self._answered = time.time()
            except AskError as error:
                failures += 1
                self._complain(error)
            wait = min(every, max(0.1, jobs_at - time.monotonic())) if not failures else every
            await asyncio.sleep(min(wait, _AGAIN * 2 ** min(failures - 1, 10)) if failures else wait)

    async def close(self) -> None:
        """Ask no more."""
        await self._http.close()
        if self._discovery is not None:
            await self._discovery.close()

    def _complain(self, error: AskError) -> None:
        self._failed.add(1)
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            known = sum(len(pool.loops) for pool in self._manager.pools.values())
            self._context.log.warning("the target allocator: %s; going on with the %d targets known", error, known)

    # --- jobs and targets ---

    async def _ready(self) -> None:
        """One that has just begun knows of nothing yet, which is not to be taken for an answer."""
        try:
            await self._get("/readyz")
        except AskError as error:
            if not error.status or error.status == _NOT_READY:
                raise

    async def _update_jobs(self) -> None:
        try:
            jobs = assignments.jobs(await self._get("/scrape_configs"))
        except ValueError as error:
            raise AskError(f"{self._base}/scrape_configs is not what it should be: {error}") from None
        for name in [name for name in self._raw if name not in jobs]:
            self._forget(name)
        for name, raw in jobs.items():
            if self._raw.get(name) != raw and name not in self._own:
                self._raw[name] = raw  # if it is no use, it is told once
                self._add(name, raw)
                await asyncio.sleep(0)

    def _add(self, name: str, raw: bytes) -> None:
        try:
            job, left_out = assignments.job(name, raw, self._above, self._settings.http_scrape_config)
        except ValueError as error:
            kept = "; going on with the job as it was" if name in self._manager.pools else ""
            self._context.log.error("the target allocator's job %s cannot be scraped: %s%s", legible(name), error, kept)
            return
        if left_out:
            self._context.log.warning(
                "job %s: keys not known here are left out: %s", legible(name), ", ".join(left_out)
            )
        if b'"<secret>"' in raw and self._settings.http_scrape_config is None:
            self._context.log.warning(
                "job %s needs credentials that the target allocator does not give over plain HTTP: use https, "
                "or http_scrape_config", legible(name),
            )  # fmt: skip
        self._manager.add(self._manager.filled(job))

    def _forget(self, name: str) -> None:
        del self._raw[name]
        self._targets.pop(name, None)
        if name in self._manager.pools:
            self._manager.remove(name)

    async def _update_targets(self) -> None:
        names = [name for name in self._raw if name in self._manager.pools]
        results = await asyncio.gather(*map(self._update_job, names), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _update_job(self, name: str) -> None:
        path = f"/jobs/{quote(name, safe='')}/targets?collector_id={quote_plus(self._settings.collector)}"
        async with self._places:
            body = await self._get(path, discovery=True)
        pool = self._manager.pools.get(name)
        if pool is None:
            return
        try:
            changed = self._targets.setdefault(name, assignments.Targets()).changes(body)
        except ValueError as error:
            raise AskError(f"{self._base}{path} is not what it should be: {error}") from None
        if changed:
            pool.publisher("allocator")(changed)

    # --- others ---

    async def elsewhere(self, loop: Loop) -> bool:
        """Whether another collector has a target that was ours. Where it cannot be told: yes."""
        name = loop.subject.scraper.job.job_name
        if name in self._own:
            return False
        found = loop.subject.target.found
        try:
            return assignments.has(await self._of_everybody(name), found.own, found.shared)
        except AskError as error:
            return error.status != 404
        except ValueError:
            return True

    async def _of_everybody(self, name: str) -> bytes:
        known = self._everybody.get(name)
        now = time.monotonic()
        if known is None or now - known[0] > _FRESH:
            known = self._everybody[name] = now, await self._get(f"/jobs/{quote(name, safe='')}/targets")
        return known[1]

    # --- asking ---

    async def _get(self, path: str, *, discovery: bool = False) -> bytes:
        headers = {"accept": "application/json"}
        try:
            if discovery and self._discovery is not None:
                timeout = self._settings.timeout or 30.0
                answer = await self._discovery.get(self._base + path, headers, timeout=timeout, limit=_LARGEST)
                return bytes(answer.body)
            response = await self._http.request("GET", self._base + path, headers=headers)
        except (Busy, FetchError) as error:
            raise AskError(str(error)) from None
        if response.status != 200:
            said = " ".join(response.body[:200].decode("utf-8", "replace").split())
            raise AskError(f"{self._base}{path} answered {response.status}" + (said and f": {said}"), response.status)
        return response.body


def _discovery(settings: AllocatorSD | None) -> ScrapeClient | None:
    """A client of its own, if http_sd_config says how to ask."""
    plain = HttpClientSettings()
    keys = HttpClientSettings.__struct_fields__
    if settings is None or all(getattr(settings, key) == getattr(plain, key) for key in keys):
        return None
    return ScrapeClient(settings)
