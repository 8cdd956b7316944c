"""One target, again and again, at its own moments."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from hawse.batch import Group
from hawse.receivers.prometheus.config import legible
from hawse.receivers.prometheus.delivery import Delivery
from hawse.receivers.prometheus.memory import Held, Memory
from hawse.receivers.prometheus.metrics import Metrics
from hawse.receivers.prometheus.scrape import Outcome, Subject

_SECOND = 1_000_000_000  # nanoseconds
_MILLISECOND = 1_000_000
_TOLERANCE = 2 * _MILLISECOND  # as Prometheus: so late a scrape is timed as if it were not


class Work:
    """What all loops of a receiver share. `seed` tells this process from others that scrape the same targets."""

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        delivery: Delivery,
        memory: Memory,
        metrics: Metrics,
        seed: int,
    ) -> None:
        self.spawn = spawn
        self.delivery = delivery
        self.memory = memory
        self.metrics = metrics
        self.seed = seed


class Loop:
    """Scrapes one target every interval, at an offset that its key gives: targets are spread over the interval.

    A scrape that is due while the last one is not off our hands is missed, not made up for. `health` is "unknown",
    "up" or "down"; `last_scrape` is a Unix time, `last_duration` seconds.
    """

    def __init__(self, subject: Subject, work: Work) -> None:
        self.subject = subject
        self.health = "unknown"
        self.last_error = ""
        self.last_scrape = 0.0
        self.last_duration = 0.0
        self._work = work
        self._interval = round(subject.target.interval * _SECOND)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # of the event loop's clock
        self._aligned = 0  # of the wall clock, ns
        self._task: asyncio.Task[Any] | None = None
        self._waits_for = ""  # what the scrape under way does: one of memory, target, downstream
        self._abandoned = False
        self._code = ""  # of the last scrape

    @property
    def name(self) -> str:
        """For messages."""
        target = self.subject.target
        return legible(f"{target.url} (job {target.labels.get('job', '')})")

    @property
    def scraped(self) -> bool:
        """Whether there was a scrape yet."""
        return self.last_scrape > 0

    @property
    def next_due(self) -> float:
        """When the next scrape is, or would have been, due, by the event loop's clock."""
        return self._due

    # --- its moments ---

    def start(self) -> None:
        """Scrape from the next moment on."""
        offset = (int.from_bytes(self.subject.target.key[:8], "little") ^ self._work.seed) % self._interval
        now = time.time_ns()
        wait = (offset - now) % self._interval
        loop = asyncio.get_running_loop()
        self._due = loop.time() + wait / _SECOND
        self._aligned = now + wait
        self._timer = loop.call_at(self._due, self._tick)

    def pause(self) -> None:
        """Scrape no more; a scrape under way goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Scrape on, at the moments that there would have been without a pause."""
        if self._timer is None:
            self._next(asyncio.get_running_loop())

    def abandon(self) -> None:
        """Scrape no more, and do not wait for the target's answer. What has been read is still handed on."""
        self.pause()
        self._abandoned = True
        if self._task is not None and self._waits_for != "downstream":
            self._task.cancel()

    def _tick(self) -> None:
        due, aligned = self._due, self._aligned
        loop = asyncio.get_running_loop()
        self._next(loop)
        if self._task is not None or self._waits_for:
            self._work.metrics.missed.add(1, reason=self._waits_for)
            return
        late = loop.time() - due
        at = aligned if late * _SECOND <= min(_TOLERANCE, self._interval // 100) else time.time_ns()
        self._waits_for = "memory"
        self._work.spawn(self._take(at), "scrape")

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the next moment. Those that have passed meanwhile (a loop that was held up, a pause) are left out."""
        seconds = self._interval / _SECOND
        now = loop.time()
        passed = max(1, int((now - self._due) // seconds) + 1)
        if passed > 1 and self._timer is not None:
            self._work.metrics.missed.add(passed - 1, reason="late")
        self._due += passed * seconds
        self._aligned += passed * self._interval
        drift = time.time_ns() + round((self._due - now) * _SECOND) - self._aligned
        if abs(drift) > _TOLERANCE:  # the wall clock was set
            self._aligned += drift
        self._timer = loop.call_at(self._due, self._tick)

    # --- a scrape ---

    async def _take(self, at: int) -> None:
        self._task = asyncio.current_task()
        memory, subject = self._work.memory, self.subject
        try:
            if self._abandoned:
                return
            asked = time.monotonic()
            held = await memory.hold(subject.size)
            if time.monotonic() - asked > 0.01:
                at = time.time_ns()
            at -= at % _MILLISECOND  # as Prometheus has times
            try:
                self._waits_for = "target"
                outcome = await self._outcome(at, held)
                self._waits_for = "downstream"
                held.become(sum(group.nbytes for group in outcome.groups))
                await self._work.delivery.hand_on(outcome.groups, self.name)
            finally:
                held.release()
        finally:
            self._task = None
            self._waits_for = ""

    async def _outcome(self, at: int, held: Held) -> Outcome:
        metrics = self._work.metrics
        outcome = await self.subject.scrape(at, held)
        metrics.scrapes.add(1)
        metrics.seconds.add(outcome.seconds)
        if outcome.code:
            metrics.fail(outcome.code)
            if outcome.code != self._code:  # the message may have figures in it that are others each time
                metrics.complain("%s is down (%s): %s", self.name, outcome.code, outcome.message)
        else:
            metrics.bytes.add(outcome.size)
            metrics.samples.add(outcome.samples)
        self._code = outcome.code
        self.health = "down" if outcome.code else "up"
        self.last_error = outcome.message
        self.last_scrape = at / _SECOND
        self.last_duration = outcome.seconds
        return outcome

    # --- its end ---

    async def finish(self, groups: tuple[Group, ...]) -> None:
        """Hand on what is to be said at the target's end."""
        await self._work.delivery.hand_on(groups, self.name)

    @property
    def busy(self) -> bool:
        """Whether a scrape is under way."""
        return self._task is not None or bool(self._waits_for)
