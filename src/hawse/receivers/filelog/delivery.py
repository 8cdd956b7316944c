"""Batches on their way, and how far each log is delivered.

A log's position advances in order: a batch counts once all before it are delivered, whichever comes back first.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs.container_log import UNKNOWN
from hawse.component import Busy, Consumer, Context, Refused
from hawse.net.budget import Budget
from hawse.net.retry import RetryConfig
from hawse.receivers.filelog import position
from hawse.receivers.filelog.log import Log
from hawse.receivers.filelog.sequence import CHUNK
from hawse.state.storage import KeySpace


class _Passage(msgspec.Struct):
    """Where a log stands once a batch is delivered."""

    position: position.Position
    done: bool = False


class Tailed:
    """A log with what the receiver keeps beside it."""

    __slots__ = ("_acknowledged", "attributes", "failed", "in_flight", "log", "queued", "resources")

    def __init__(self, log: Log, attributes: dict[str, str]) -> None:
        self.log = log
        self.attributes = attributes
        self.resources: dict[str, Resource] = {}
        self.in_flight: deque[_Passage] = deque()
        self.queued = False  # it waits for its turn
        self.failed = float("-inf")  # when it could not be read (time.monotonic())
        self._acknowledged: position.Position | None = None

    def resource(self, stream: str) -> Resource:
        """The resource of a stream's records, encoded once."""
        made = self.resources.get(stream)
        if made is None:
            own = {"log.iostream": stream} if stream != UNKNOWN else {}
            made = self.resources[stream] = Resource.of({**self.attributes, **own})
        return made

    def advance(self) -> position.Position | None:
        """The position up to which everything is delivered, if that has changed."""
        advanced = None
        while self.in_flight and self.in_flight[0].done:
            advanced = self.in_flight.popleft().position
        if advanced is None or advanced == self._acknowledged:
            return None
        self._acknowledged = advanced
        return advanced


class Deliveries:
    """Hands batches to the next component, a bounded number at a time, and keeps positions."""

    def __init__(
        self, output: Consumer, context: Context, keys: KeySpace | None, retry: RetryConfig, most: int
    ) -> None:
        self._output = output
        self._log = context.log
        self._budget = context.shared(Budget)
        self._keys = keys
        self._retry = retry
        self._slots = asyncio.Semaphore(most)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._buffers: list[bytearray] = []  # free ones
        self._taken: list[bytearray] = []  # of the batch that is being made
        self._complaint = ""
        self.searched = 0  # kept with all positions; see SEARCHED

    def take(self, size: int) -> bytearray:
        """A buffer for one chunk of the next batch.

        Those of the usual size are used again once their batch is delivered: fresh memory costs more than reading.
        """
        if size < CHUNK:
            return bytearray(size)
        fits = self._buffers and len(self._buffers[-1]) >= size
        buffer = self._buffers.pop() if fits else bytearray(size)
        self._taken.append(buffer)
        return buffer

    async def send(self, groups: list[Group], read: Iterable[Tailed], charged: int = 0) -> None:
        """Send a batch of what was read, as soon as there are not too many; note where its logs then stand.

        `charged` was charged to the budget for it, and is given back when it is off our hands.
        """
        taken, self._taken = self._taken, []
        passages = []
        for tailed in dict.fromkeys(read):
            passage = _Passage(tailed.log.saved())
            tailed.in_flight.append(passage)
            passages.append((tailed, passage))
        if not groups:
            self._give_back(taken)
            self._budget.release(charged)
            self._acknowledge(passages)
            return
        try:
            await self._slots.acquire()
        except asyncio.CancelledError:
            self._budget.release(charged)
            raise
        task = asyncio.create_task(self._deliver(Batch(Signal.LOGS, groups), passages, charged, taken))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        await asyncio.sleep(0)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a batch could not be delivered, its lines are read again after a restart: %r", error)

    def stop(self) -> None:
        """Give up what waits to be tried again: it is read again after the next start."""
        self._stopping.set()

    async def finish(self) -> None:
        """Wait for what is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """End what is on its way. It is not acknowledged."""
        for task in self._tasks:
            task.cancel()

    async def _deliver(
        self, batch: Batch, passages: list[tuple[Tailed, _Passage]], charged: int, taken: list[bytearray]
    ) -> None:
        try:
            if await self._consumed(batch):
                self._give_back(taken)
                self._acknowledge(passages)
        finally:
            self._slots.release()
            self._budget.release(charged)

    async def _consumed(self, batch: Batch) -> bool:
        """Whether the batch is off our hands; False if it is still not when we stop."""
        attempt = 0
        while True:
            try:
                await self._output.consume(batch)
            except Busy as busy:
                wait = self._retry.wait(attempt) if busy.retry_after is None else busy.retry_after
                attempt += 1
                try:
                    await asyncio.wait_for(self._stopping.wait(), wait)
                except TimeoutError:
                    continue
                return False
            except Refused as refused:
                self._log.error("%d records refused: %s", batch.items, refused.reason)
            return True

    def _give_back(self, taken: Iterable[bytearray]) -> None:
        self._buffers += (buffer for buffer in taken if len(buffer) <= CHUNK + 4096)

    def _acknowledge(self, passages: list[tuple[Tailed, _Passage]]) -> None:
        changed = {}
        for tailed, passage in passages:
            passage.done = True
            advanced = tailed.advance()
            if advanced is not None:
                changed[tailed.log.path] = position.encode(advanced)
        if changed:
            self.keep(changed)

    def keep(self, changed: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Write positions. A disk that does not take them costs duplicates after a restart, nothing now."""
        if self._keys is None:
            return
        try:
            self._keys.put({**changed, position.SEARCHED: b"%d" % self.searched}, gone)
            self._complaint = ""
        except OSError as error:
            if self._complaint != str(error):
                self._complaint = str(error)
                self._log.error("cannot keep positions: %s; going on (a restart would deliver again)", error)
