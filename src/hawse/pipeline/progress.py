"""What goes in and out of components, noted for the health of the process: per batch."""

from time import monotonic

from hawse.batch import Batch
from hawse.component import Consumer
from hawse.health import Progress


class Inside:
    """Notes what a component has in hand, for the health of the process."""

    __slots__ = ("_next", "_progress")

    def __init__(self, consumer: Consumer, progress: Progress) -> None:
        self._next = consumer
        self._progress = progress

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


class Beyond:
    """Notes what a component waits for: others, that is."""

    __slots__ = ("_next", "_progress")

    def __init__(self, consumer: Consumer, progress: Progress) -> None:
        self._next = consumer
        self._progress = progress

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
