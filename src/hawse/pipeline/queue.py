"""A sending queue on disk: takes a batch when it is committed, sends it when it can, forgets it when it has arrived.

Nothing is lost by a death at any moment: a row goes when the destination has answered. What was under way then is sent
again by the next process.
"""

import asyncio
import contextvars
import functools
import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from hawse.batch import Batch, Signal
from hawse.component import Busy, Meter, Refused, Request, RequestExporter
from hawse.health import Progress
from hawse.net.budget import Budget
from hawse.net.retry import RetryConfig
from hawse.pipeline.attempts import Attempts, Refusal
from hawse.pipeline.commits import Commits, told
from hawse.pipeline.ledger.held import Held
from hawse.pipeline.letters import Letters
from hawse.pipeline.line import Line
from hawse.pipeline.queue_metrics import Counters, measure
from hawse.state.queue import Damaged, DiskQueue, Entry
from hawse.state.settings import QueueConfig

_PATIENCE = 5.0  # seconds that requests under way get when the process stops
_TOLD_EVERY = 30.0  # seconds between two complaints of a queue that takes nothing
_AGAIN = 5.0  # seconds until a disk that can't be read is asked again
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Request]).decode

Log = logging.LoggerAdapter[logging.Logger]


class DurableQueue:
    """The queue of one exporter, from `start` to `stop`."""

    def __init__(
        self,
        exporter: RequestExporter,
        disk: DiskQueue,
        config: QueueConfig,
        retry: RetryConfig,
        letters: Letters,
        held: Held,
        meter: Meter,
        log: Log,
        budget: Budget,
        progress: Progress | None = None,
    ) -> None:
        """`retry` says how long to wait between attempts; they have no end."""
        endless = msgspec.structs.replace(retry, enabled=True, max_elapsed_time=type(retry.max_elapsed_time)(0))
        self._exporter = exporter
        self._disk = disk
        self._config = config
        self._letters = letters
        self._held = held
        self._log = log
        self._stopping = asyncio.Event()
        self._attempts = Attempts(exporter, endless, log, self._stopping, catch_all=True, progress=progress)
        self._line = Line(disk, config, budget)
        self._budget = budget
        self._under_way = 0  # bytes
        if progress is not None:
            progress.waiting = lambda: self._line.requests
        self._commits = Commits(disk, held, self._line, self._pump)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._results: dict[int, asyncio.Future[None]] = {}
        self._room: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._told = float("-inf")
        self._counted = Counters(meter)
        measure(meter, self._line)

    # --- life

    def start(self) -> None:
        """Take up what the last process left, and begin to send it. Raises OSError where it can't be read."""
        self._disk.storage.on_recovered(self._recovered)
        entries = self._load()
        if entries:
            self._log.info(
                "%d batches of the last run are in the queue, the oldest %.0fs old", entries, self._line.age()
            )
        self._pump()

    def _load(self) -> int:
        sources: dict[str, dict[str, int]] = {str(signal): {} for signal in Signal}
        entries = 0
        for entry in self._line.load():
            entries += 1
            known = sources[entry.signal]
            for source, items in entry.sources.items():
                known[source] = known.get(source, 0) + items
        for signal, found in sources.items():
            self._held.reconcile(Signal(signal), found)
        return entries

    def _recovered(self) -> None:
        """The file was damaged, and is another one now. Called while a transaction is taken back, so: soon."""
        if not self._stopping.is_set():
            asyncio.get_running_loop().call_soon(self._reload)

    def _reload(self) -> None:
        try:
            self._disk.restored()
            self._load()
        except OSError as error:
            self._log.error("cannot read the queue: %s", error)
        self._pump()

    async def stop(self) -> None:
        """Let what is under way arrive, for a moment; the rest stays on disk."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.cancel()
        while self._room:
            self._let_in()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=_PATIENCE)
        finally:
            for task in list(self._tasks.values()):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            self._commits.close()
            self._disk.close()
            self._line.close()
            for result in self._results.values():
                if not result.done():
                    result.set_exception(Busy("the process stops; the batch is in the queue on disk"))
                    result.exception()
            if self._line.requests:
                self._log.info("%d batches stay in the queue, for the next process", self._line.requests)

    # --- in

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`: returns when the batch is on disk. Busy when the queue, or the disk, is full."""
        await self._exporter.warm(batch)
        await self._admit(lambda: not self._line.full(), batch)
        try:
            requests = self._exporter.prepare(batch)
        except Refused:
            self._let_in()
            raise
        payload = _pack(requests)
        items = batch.items
        await self._admit(lambda: self._line.room(len(payload), items), batch, first=True)
        sources = self._held.sources(batch)
        entry = Entry(0, self._line.now(), str(batch.signal), items, len(payload), sources, payload)
        putting = self._commits.put(entry)
        result: asyncio.Future[None] | None = None
        if self._config.wait_for_result:
            result = self._results[entry.id] = asyncio.get_running_loop().create_future()
        self._let_in()  # there may be room for one more
        try:
            await putting
        except Busy as busy:
            self._results.pop(entry.id, None)
            self._counted.failed(batch)
            self._complain(busy.reason)
            raise
        if result is not None:
            await result

    async def _admit(self, fits: Callable[[], bool], batch: Batch, *, first: bool = False) -> None:
        """Return when there is room. First come, first served: `first` is for who has had its turn already."""
        while not self._stopping.is_set():
            mine = first or not self._room
            while mine and not fits() and self._config.overflow == "drop_oldest" and self._drop_oldest():
                pass
            if mine and fits():
                return
            if not self._config.block_on_overflow:
                self._counted.failed(batch)
                self._complain(self._full())
                raise Busy(self._full())
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            (self._room.appendleft if first else self._room.append)(turn)
            await turn
            first = True
        raise Busy("the process stops")

    def why_full(self) -> str:
        """Why no batch fits; "" while one may."""
        return self._full() if self._line.full() and self._config.overflow != "drop_oldest" else ""

    def _complain(self, reason: str) -> None:
        """Say why nothing is taken, now and then: senders may be far away."""
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            self._log.warning("%s", reason)

    def _full(self) -> str:
        line = self._line
        why = f"its oldest batch waits for {line.age():.0f}s (max_age)" if line.overdue() else "queue_size"
        return f"the sending queue is full ({why}): {line.used} of {line.capacity} {self._config.sizer}"

    def _drop_oldest(self) -> bool:
        entry = self._line.take_oldest()
        if entry is None:
            return False
        self._give_up(entry, "expired" if self._line.too_old(entry) else "queue_full")
        return True

    def _give_up(self, entry: Entry, reason: str) -> None:
        self._counted.dropped(entry, reason)
        self._settle(entry, lambda: self._held.dropped(Signal(entry.signal), entry.sources, reason))

    # --- out

    def _pump(self) -> None:
        """Give the next in line to consumers that have nothing to do."""
        while len(self._tasks) < self._config.num_consumers and not self._stopping.is_set():
            if self._tasks and self._under_way > self._budget.limit // 4:
                return  # memory is for what comes in, too: a destination that is away must not stop that
            try:
                entry = self._line.take()
            except OSError as error:
                self._log.error("cannot read the queue: %s", error)
                self._pump_later()
                return
            if entry is None:
                return
            if self._config.overflow == "drop_oldest" and self._line.too_old(entry):
                self._give_up(entry, "expired")
                continue
            # A context of its own: what becomes of the batch is no business of the call that brought it.
            task = asyncio.create_task(self._handle(entry), context=contextvars.Context())
            self._tasks[entry.id] = task
            self._under_way += entry.size
            self._budget.charge(entry.size)
            task.add_done_callback(functools.partial(self._handled, entry))

    def _pump_later(self) -> None:
        if self._timer is None or self._timer.cancelled() or self._timer.when() < asyncio.get_running_loop().time():
            self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._pump)

    def _handled(self, entry: Entry, task: asyncio.Task[None]) -> None:
        del self._tasks[entry.id]
        self._under_way -= entry.size
        self._budget.release(entry.size)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a batch stays in the queue until the next start: %r", error)
        self._pump()

    async def _handle(self, entry: Entry) -> None:
        """Send an entry; when this returns it is settled, or the process stops."""
        while not self._stopping.is_set():
            try:
                requests = self._requests(entry)
                refusals = await self._attempts.send(requests)
            except Busy:
                continue  # told already; only a stop ends the attempts
            except Damaged as damage:
                self._log.error("%d items are lost: %s", entry.items, damage)
                self._give_up(entry, "damaged")
                return
            except OSError as error:
                self._log.error("cannot read the queue: %s", told(error))
                await asyncio.sleep(_AGAIN)
                continue
            self._arrived(entry, refusals)
            return

    def _requests(self, entry: Entry) -> list[Request]:
        payload, entry.payload = entry.payload, None  # from now on, the requests hold it
        if payload is None:
            payload = self._disk.payload(entry)
        try:
            return _unpack(payload)
        except msgspec.MsgspecError as error:
            raise Damaged(f"row {entry.id} is not what was put there: {error}") from None

    def _arrived(self, entry: Entry, refusals: list[Refusal]) -> None:
        delivered = dict(entry.sources)
        refused: list[tuple[dict[str, int], str]] = []
        for refusal in refusals:
            sources = self._held.sources(self._letters.keep(refusal))
            refused.append((sources, refusal.answer.code))
            for source, items in sources.items():
                delivered[source] = delivered.get(source, 0) - items
        signal = Signal(entry.signal)

        def account() -> None:
            self._held.delivered(signal, {source: items for source, items in delivered.items() if items})
            for sources, code in refused:
                self._held.refused(signal, sources, code)

        self._counted.arrived(entry, sum(refusal.request.items for refusal in refusals))
        self._settle(entry, account)

    def _settle(self, entry: Entry, account: Callable[[], None]) -> None:
        """An entry has ended, one way or the other."""
        self._line.end(entry)
        self._commits.delete(entry, account)
        result = self._results.pop(entry.id, None)
        if result is not None and not result.done():
            result.set_result(None)
        self._let_in()

    def _let_in(self) -> None:
        """There is room: let the first of those look who wait for it."""
        while self._room:
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)
                return
