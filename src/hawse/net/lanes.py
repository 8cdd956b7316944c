"""Order among requests that are sent side by side: one at a time in each lane, and those made first go first.

An attempt that failed keeps its lane: what was made later must not overtake what is tried again. The lane is free
again when its task succeeds, ends, or does not come back in time.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from hawse.component import Busy, Refused

Waiter = tuple[int, int, asyncio.Future[None], asyncio.Task[Any] | None]


class Lanes:
    """Of one exporter."""

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}

    @asynccontextmanager
    async def turn(self, lane: int, order: int, patience: float) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. `order` is when the request was made: the lowest that waits goes first.

        If Busy is raised inside, this task keeps the lane for `patience` seconds, and for as long as Busy says. Else
        until it has had the chance to come again at once, with the next request, or a part of what was refused.
        """
        own = self._lanes.get(lane)
        if own is None:
            own = self._lanes[lane] = _Lane()
        await own.enter(order)
        try:
            yield
        except Busy as busy:
            own.keep(patience + (busy.retry_after or 0.0))
            raise
        except Refused:
            own.keep(0.0)
            raise
        except BaseException:
            own.leave()
            raise
        own.keep(0.0)


class _Lane:
    def __init__(self) -> None:
        self._holder: asyncio.Task[Any] | None = None
        self._held = False
        self._timer: asyncio.Handle | None = None
        self._waiting: list[Waiter] = []
        self._numbers = count()

    async def enter(self, order: int) -> None:
        me = asyncio.current_task()
        if self._held and self._holder is me and self._timer is not None:
            self._stop_timer()
            return
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (order, next(self._numbers), turn, me))
        # Not at once: of two batches whose turn comes in the same moment, the later may be here first.
        loop.call_soon(self._next)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def keep(self, patience: float) -> None:
        """Hold the lane for this task for that long. 0 is until the loop's next round."""
        loop = asyncio.get_running_loop()
        self._stop_timer()
        if patience:
            self._timer = loop.call_later(patience, self.leave)
            if self._holder is not None:
                self._holder.remove_done_callback(self._ended)
                self._holder.add_done_callback(self._ended)
        else:
            self._timer = loop.call_soon(self.leave)

    def leave(self) -> None:
        self._stop_timer()
        self._held, self._holder = False, None
        self._next()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self._holder is task:
            self.leave()

    def _next(self) -> None:
        while self._waiting and not self._held:
            _, _, turn, task = heapq.heappop(self._waiting)
            if not turn.done():
                self._held, self._holder = True, task
                turn.set_result(None)
