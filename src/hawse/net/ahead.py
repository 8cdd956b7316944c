"""Requests made ahead of `RequestExporter.prepare`, in steps, so that others have their turn between them."""

import asyncio
from collections.abc import Callable, Generator
from typing import TypeAlias

from hawse.batch import Batch
from hawse.component import Refused, Request

Steps: TypeAlias = Generator[None, None, list[Request]]
_MUCH = 100_000  # bytes of a batch that may take long


class Ahead:
    """Of one exporter. `make` yields every few milliseconds, and returns the requests or raises Refused.

    async def warm(self, batch): await self._ahead.warm(batch)
    def prepare(self, batch): return self._ahead.take(batch)
    """

    def __init__(self, make: Callable[[Batch], Steps]) -> None:
        self._make = make
        self._turn = asyncio.Lock()
        self._ready: tuple[Batch, list[Request]] | None = None

    async def warm(self, batch: Batch) -> None:
        """Make the requests of a large batch. Whoever comes meanwhile waits, for the sake of the order."""
        if batch.nbytes < _MUCH and not self._turn.locked():
            return
        async with self._turn:
            steps = self._make(batch)
            try:
                while True:
                    next(steps)
                    await asyncio.sleep(0)
            except StopIteration as done:
                self._ready = (batch, done.value)
            except Refused:
                return  # `take` will say so

    def take(self, batch: Batch) -> list[Request]:
        """Those that are ready, else made at once."""
        ready, self._ready = self._ready, None
        if ready is not None and ready[0] is batch:
            return ready[1]
        steps = self._make(batch)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
