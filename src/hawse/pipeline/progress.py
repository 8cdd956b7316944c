"""What goes in and out of components, noted for the health of the process: per batch."""

from time import monotonic

from hawse.batch import Batch
from hawse.component import Consumer, Counter
from hawse.health import Progress


class Inside:
    """Notes what a component has in hand, for the health of the process; `counts` the items that it took."""

    __slots__ = ("_counts", "_next", "_progress")

    def __init__(self, consumer: Consumer, progress: Progress, *counts: Counter) -> None:
        self._next = consumer
        self._progress = progress
        self._counts = counts

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        progress = self._progress
        progress.inside += 1
        progress.moved = monotonic()
        try:
            await self._next.consume(batch)
        finally:
            progress.inside -= 1
            progress.moved = monotonic()
        for count in self._counts:
            count.add(batch.items)


class Beyond:
    """Notes what a component waits for: others, that is; `counts` the items that they took."""

    __slots__ = ("_counts", "_next", "_progress")

    def __init__(self, consumer: Consumer, progress: Progress, *counts: Counter) -> None:
        self._next = consumer
        self._progress = progress
        self._counts = counts

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        progress = self._progress
        progress.beyond += 1
        progress.moved = monotonic()
        try:
            await self._next.consume(batch)
        finally:
            progress.beyond -= 1
            progress.moved = monotonic()
        for count in self._counts:
            count.add(batch.items)
