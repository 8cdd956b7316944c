"""Trying again, as OpenTelemetry's `retry_on_failure` has it, but without an end by default."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Protocol, TypeVar

from msgspec import Meta

from hawse.component import Busy, Problem, Section
from hawse.values import Duration

T = TypeVar("T")
_TOLD_EVERY = 30.0  # seconds between two complaints about the same delivery


class RetryConfig(Section, frozen=True):
    """When and how often to try again. Waiting times grow from `initial_interval` to `max_interval`."""

    enabled: bool = True
    initial_interval: Duration = Duration(1)
    max_interval: Duration = Duration(30)
    max_elapsed_time: Annotated[Duration, Meta(description="Give up after this long. 0: never.")] = Duration(0)
    multiplier: Annotated[float, Meta(ge=1)] = 1.5
    randomization_factor: Annotated[
        float, Meta(ge=0, le=1, description="Share of the waiting time that is random; 1 spreads clients best.")
    ] = 1.0

    def problems(self) -> Iterator[Problem]:
        if self.initial_interval <= 0:
            yield Problem("initial_interval", "must be above 0", "use 1s")
        if self.max_interval < self.initial_interval:
            yield Problem("max_interval", f"is below initial_interval ({self.initial_interval})", "make it larger")

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the failed attempt of that number (0 is the first).

        With factor 1, anything from 0 to the interval is as likely ("full jitter"): many clients that failed at the
        same moment come back spread out. Below it, only that share of the interval is random.
        """
        exponent = min(attempt, 100)  # a float holds no more; the maximum has long been reached
        ceiling = min(self.max_interval, self.initial_interval * self.multiplier**exponent)
        return ceiling * (1 - self.randomization_factor * random.random())  # noqa: S311


class Log(Protocol):
    """What `deliver` needs of a logger."""

    def warning(self, msg: str, *args: object) -> None: ...
    def info(self, msg: str, *args: object) -> None: ...


async def deliver(
    attempt: Callable[[], Awaitable[T]], config: RetryConfig, log: Log, stopping: asyncio.Event | None = None
) -> T:
    """Await `attempt()` until it returns; hand on what it returns.

    Busy is tried again after `Busy.retry_after` or a waiting time, and told at most every 30 s; when `retry_on_failure`
    is off, `max_elapsed_time` is over or `stopping` is set, it goes on to the caller. All other exceptions do so at
    once.
    """
    began = time.monotonic()
    told = float("-inf")
    number = 0
    while True:
        try:
            result = await attempt()
        except Busy as busy:
            now = time.monotonic()
            wait = config.wait(number)
            if busy.retry_after is not None:  # not before; and not all clients that were told so at the same moment
                wait = busy.retry_after + min(wait, config.initial_interval)
            if not config.enabled or (config.max_elapsed_time and now - began + wait > config.max_elapsed_time):
                raise
            number += 1
            if now - told >= _TOLD_EVERY:
                told = now
                log.warning("%s; attempt %d failed, next in %.1fs", busy.reason, number, wait)
            if await _stopped(stopping, wait):
                raise
        else:
            if number:
                log.info("delivered after %d failed attempts, %.1fs", number, time.monotonic() - began)
            return result


async def _stopped(stopping: asyncio.Event | None, wait: float) -> bool:
    """Wait so many seconds, or until it is time to stop."""
    if stopping is None:
        await asyncio.sleep(wait)
        return False
    try:
        await asyncio.wait_for(stopping.wait(), wait)
    except TimeoutError:
        return False
    return True


def retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, which is a number of seconds or a date (RFC 9110, 10.2.3); None for neither."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
