"""The targets of one job: those that are scraped, those that have just gone, those that are dropped."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

from hawse.prometheus.discovery import Discoverer
from hawse.prometheus.settings import ScrapeConfig
from hawse.prometheus.targets import Dropped, Populate, Target, TargetGroup
from hawse.receivers.prometheus.loop import Loop, Work
from hawse.receivers.prometheus.scrape import Scraper, Subject

_SETTLE = 5.0  # seconds between two looks at what discovery found, as Prometheus
_SETTLE_AT_FIRST = 0.2
_TURN = 0.005  # seconds of work without a turn for others
_GRACE = 0.1  # of an interval, beyond which a target that has gone is not believed to come back

# Asked before a target's series are marked stale: whether somebody else scrapes it now, or it is not known.
Elsewhere = Callable[[Loop], Awaitable[bool]]


class Ending:
    """A target that has gone. Its series are marked stale a good two intervals after its last scrape, as Prometheus
    does, at the time when the next one would have been: it may come back before that, and then nothing was amiss.
    """

    def __init__(self, loop: Loop, at: int, timer: asyncio.TimerHandle) -> None:
        self.loop = loop
        self.at = at
        self.timer = timer


class Turns:
    """Lets others go on now and then, in work of which each bit is small, and there may be many."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """A bit is done."""
        if time.perf_counter() - self._since > _TURN:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


class Pool:
    """Prometheus' scrape pool. `job` is filled; `elsewhere` is asked before anything is marked stale."""

    def __init__(self, job: ScrapeConfig, scraper: Scraper, work: Work, elsewhere: Elsewhere) -> None:
        self.job = job
        self.loops: dict[bytes, Loop] = {}
        self._scraper = scraper
        self._work = work
        self._elsewhere = elsewhere
        self._populate = Populate(job)
        self._groups: dict[tuple[str, str], TargetGroup] = {}
        self._found: dict[tuple[str, str], list[Target | Dropped]] = {}
        self._dirty: dict[tuple[str, str], None] = {}
        self._wake = asyncio.Event()
        self._ending: dict[bytes, Ending] = {}
        self._marking = 0
        self._hosts: Counter[tuple[str, str]] = Counter()  # scheme and address, and how many targets have them
        self._closed = False
        self._retired = False
        self.ended = asyncio.Event()  # it was retired, and nothing of it is left
        self._complained = ""

    # --- what discovery finds ---

    async def run(self, discoverers: Sequence[Discoverer]) -> None:
        """Look for targets until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, discoverer in enumerate(discoverers):
                    tasks.create_task(discoverer.run(self.publisher(str(number))), name=discoverer.name)
                await self._follow()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _follow(self) -> None:
        """What is found first is scraped at once; later news are gathered, for they come in swarms."""
        begun = time.monotonic()
        while True:
            await self._wake.wait()
            await asyncio.sleep(0)  # what is published in the same breath
            self._wake.clear()
            await self.sync()
            await asyncio.sleep(_SETTLE if time.monotonic() - begun > _SETTLE else _SETTLE_AT_FIRST)

    def publisher(self, origin: str) -> Callable[[list[TargetGroup]], None]:
        """What a discoverer publishes by."""

        def publish(groups: list[TargetGroup]) -> None:
            for group in groups:
                key = (origin, group.source)
                if group.targets:
                    self._groups[key] = group
                else:
                    self._groups.pop(key, None)
                self._dirty[key] = None
            self._wake.set()

        return publish

    def inherit(self, other: "Pool") -> None:
        """Take what another pool had found: the same job, configured otherwise."""
        self._groups = dict(other._groups)
        self._dirty = dict.fromkeys(self._groups)
        self._wake.set()

    async def sync(self) -> None:
        """Scrape what has been found, and no longer what has gone. Targets that stay are not touched."""
        turns = Turns()
        while self._dirty:
            key, _ = self._dirty.popitem()
            group = self._groups.get(key)
            if group is None:
                self._found.pop(key, None)
            else:
                self._found[key] = await self._made(group, turns)
        wanted = {one.key: one for found in self._found.values() for one in found if isinstance(one, Target)}
        if self._closed:
            return
        for gone in [known for known in self.loops if known not in wanted]:
            self._end(gone)
            await turns.give()
        for identity, target in wanted.items():
            if identity not in self.loops:
                self._begin(target)
                await turns.give()
        self._limit()
        self._tell_of_errors()

    async def _made(self, group: TargetGroup, turns: "Turns") -> list[Target | Dropped]:
        made: list[Target | Dropped] = []
        for labels in group.targets:
            made.append(self._populate(labels, group.labels))
            await turns.give()
        return made

    def _limit(self) -> None:
        """With more targets than target_limit, none of them is scraped: the user is to see it."""
        most, count = self.job.target_limit, len(self.loops)
        refusal = f"target_limit: the job has {count} targets, {most} are allowed" if most and count > most else ""
        for loop in self.loops.values():
            loop.subject.refusal = refusal

    def _tell_of_errors(self) -> None:
        """Targets that are dropped by a mistake, not by a rule. The first of them stands for all."""
        wrong = [one.reason for one in self.dropped() if one.rule < 0]
        told = f"{len(wrong)} targets of job {self.job.job_name} cannot be scraped; {wrong[0]}" if wrong else ""
        if told and told != self._complained:
            self._work.metrics.complain("%s", told)
        self._complained = told

    def dropped(self) -> Iterator[Dropped]:
        """What is not scraped, and why."""
        for found in self._found.values():
            for one in found:
                if isinstance(one, Dropped):
                    yield one

    # --- beginning and end of a target ---

    def _begin(self, target: Target) -> None:
        ending = self._ending.pop(target.key, None)
        if ending is not None:
            ending.timer.cancel()
            self.loops[target.key] = ending.loop
            ending.loop.resume()
            return
        self._hosts[target.url[:2]] += 1
        loop = self.loops[target.key] = Loop(Subject(self._scraper, target), self._work)
        loop.start()

    def _end(self, key: bytes) -> None:
        loop = self.loops.pop(key)
        loop.pause()
        now = asyncio.get_running_loop()
        if not loop.scraped and not loop.busy:
            self._forget(loop)
            return
        interval = loop.subject.target.interval
        wait = max(0.0, loop.next_due - now.time())
        at = time.time_ns() + round(wait * 1e9)
        timer = now.call_later(wait + interval * (1 + _GRACE), self._over, key)
        self._ending[key] = Ending(loop, at, timer)

    def _over(self, key: bytes) -> None:
        ending = self._ending[key]
        if ending.loop.busy:  # its last scrape is not taken yet: markers come behind it
            interval = ending.loop.subject.target.interval
            ending.timer = asyncio.get_running_loop().call_later(interval, self._over, key)
            return
        del self._ending[key]
        self._marking += 1
        self._work.spawn(self._mark(ending), "mark stale")

    async def _mark(self, ending: Ending) -> None:
        loop = ending.loop
        try:
            if loop.scraped and not self._closed and not await self._elsewhere(loop):
                await loop.finish(loop.subject.end(ending.at - ending.at % 1_000_000))
        finally:
            self._marking -= 1
            self._forget(loop)

    def _forget(self, loop: Loop) -> None:
        loop.subject.forget()
        self._look()
        url = loop.subject.target.url
        self._hosts[url[:2]] -= 1
        if not self._hosts[url[:2]]:
            del self._hosts[url[:2]]
            self._scraper.client.forget(str(url))

    # --- its own end ---

    def retire(self) -> None:
        """The job has gone, or is configured otherwise: all its targets have gone."""
        self._groups.clear()
        self._found.clear()
        self._retired = True
        for key in list(self.loops):
            self._end(key)
        self._look()

    def _look(self) -> None:
        if self._retired and not (self.loops or self._ending or self._marking):
            self.ended.set()

    async def close(self) -> None:
        """Scrape no more, and mark nothing: who comes after us goes on where we stopped."""
        self._closed = True
        for ending in self._ending.values():
            ending.timer.cancel()
            ending.loop.abandon()
        for loop in self.loops.values():
            loop.abandon()
        await self._scraper.client.close()
