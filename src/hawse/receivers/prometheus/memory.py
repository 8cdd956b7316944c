"""How much scraping may hold: bodies while they come and are read, batches until they are taken, series for good."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from hawse.net.budget import Budget
from hawse.prometheus.http import FetchError

_PATIENCE = 3.0  # seconds that a body waits for room, holding what it has: others may do the same
_FIRST = 64 << 10  # bytes that a target is believed to send before it has sent any
_SMALL = 512 << 10  # bytes of a body: milliseconds of work
_SERIES = 3  # bytes that are held for a byte of a body with new series, about
_SHARE = 0.6  # of the process's memory that series may take


class Memory:
    """Of one receiver. `series` are the bytes that all targets' series take.

    `first` is held by the one body that may go on growing when there is no room any more: if
    all waited for each other, none would ever be done. So what is held is the budget and one body at most.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.series = 0
        self._reading = asyncio.Lock()
        self.first = asyncio.Lock()

    async def hold(self, expected: int) -> "Held":
        """Wait until there is room for a body of the size that the last one had."""
        size = max(expected, _FIRST)
        await self.budget.wait(size)
        return Held(self, size)

    def turn(self, size: int) -> AbstractAsyncContextManager[object]:
        """Wait until a body of that size may be read. Large ones are read one by one: it takes some times their size,
        and work for the processor, which there is one of. Small ones do not wait for them.
        """
        return self._reading if size > _SMALL else nullcontext()

    def check(self, size: int, before: int) -> None:
        """Refuse a body whose new series would take more than there is for them. Raises FetchError."""
        more = _SERIES * (size - before)
        most = int(_SHARE * self.budget.memory_limit)
        if more > 0 and size > _FIRST and self.series + more > most:
            message = (
                f"its series would take about {more >> 20} MiB, {self.series >> 20} MiB of {most >> 20} are taken; "
                "set a sample_limit, or give the process more memory (service.memory_limit)"
            )
            raise FetchError("memory", message)


class Held:
    """What one scrape holds of the budget."""

    def __init__(self, memory: Memory, size: int) -> None:
        self._memory = memory
        self._budget = memory.budget
        self._is_first = False
        self.size = size

    async def grow(self, size: int) -> None:
        """A body is about to have this size. Raises FetchError where there is no room for it for a while."""
        more = size - self.size
        if more <= 0:
            return
        if not self._is_first and not self._budget.room(more, self.size):
            await self._become_first(size)
        self._budget.charge(more)
        self.size = size

    async def _become_first(self, size: int) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._memory.first.acquire()
        except TimeoutError:
            used, limit = self._budget.used, self._budget.limit
            message = f"no memory for a body of {size} bytes: {used} of {limit} are in use (service.memory_limit)"
            raise FetchError("memory", message) from None
        self._is_first = True

    def become(self, size: int) -> None:
        """The body has been read; a batch of this size came of it."""
        self._budget.charge(size)
        self._budget.release(self.size)
        self.size = size
        self._step_back()

    def release(self) -> None:
        """Nothing is held any more."""
        size, self.size = self.size, 0
        self._budget.release(size)
        self._step_back()

    def _step_back(self) -> None:
        if self._is_first:
            self._is_first = False
            self._memory.first.release()
