"""A sending queue in memory: who may send now, and how many may wait for it.

It takes nothing: a batch stays with its sender until the destination has it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hawse.batch import Batch
from hawse.component import Busy, Meter
from hawse.state.settings import QueueConfig

_SIZES: dict[str, Callable[[Batch], int]] = {
    "requests": lambda _: 1,
    "items": lambda batch: batch.items,
    "bytes": lambda batch: batch.nbytes,
}


class Turns:
    """Of one exporter."""

    def __init__(self, config: QueueConfig, meter: Meter) -> None:
        self._config = config
        self._meter = meter
        self._size_of = _SIZES[config.sizer]
        self._consumers = asyncio.Semaphore(config.num_consumers)
        self._room = asyncio.Condition()
        self._used = 0
        meter.gauge("exporter_queue_size", "Current size of the sending queue, in the sizer's unit.", self._now)
        meter.gauge("exporter_queue_capacity", "Its bound, in the sizer's unit.", lambda: int(config.queue_size))

    def why_full(self) -> str:
        """Why no batch fits; "" while one may."""
        return "" if self._fits(1) else self._full()

    def _full(self) -> str:
        return f"the sending queue is full: {self._used} of {self._config.queue_size} {self._config.sizer}"

    def _now(self) -> float:
        return self._used

    @asynccontextmanager
    async def turn(self, batch: Batch) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. Raises Busy when too many wait, unless senders shall wait then, too."""
        size = self._size_of(batch)
        if not self._fits(size):
            await self._wait(size, batch)
        self._used += size
        try:
            async with self._consumers:
                yield
        finally:
            self._used -= size
            if self._config.block_on_overflow:
                async with self._room:
                    self._room.notify_all()

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._config.queue_size

    async def _wait(self, size: int, batch: Batch) -> None:
        if not self._config.block_on_overflow:
            items = batch.signal.items
            self._meter.counter(
                f"exporter_enqueue_failed_{items}",
                f"Number of {items.replace('_', ' ')} handed back, for the queue could not take them.",
            ).add(batch.items)
            raise Busy(self._full())
        async with self._room:
            await self._room.wait_for(lambda: self._fits(size))
