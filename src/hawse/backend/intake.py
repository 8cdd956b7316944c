"""From many requests to few transactions: one thread decodes and writes whatever has come in meanwhile.

A request is answered when the transaction that holds it is committed. Requests that arrive during a commit share the
next one, so the load itself sets the size of a transaction and nobody waits for a timer.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable

import msgspec

from hawse.backend.columns import Lot
from hawse.backend.metrics.registry import Registry
from hawse.backend.metrics.samples import Samples, joined
from hawse.backend.store import ItemGroup, Store, problem
from hawse.backend.traces.spans import SpanLot
from hawse.batch import Signal
from hawse.component import Busy, Refused
from hawse.diagnostics import HawseError

log = logging.getLogger("hawse.backend")

_QUEUED_BYTES = 64 << 20  # beyond that clients are told to wait
_TOGETHER_BYTES = 16 << 20  # of requests in a transaction
_EXPIRE_EVERY = 1.0  # seconds, while nothing arrives


class Arrival(msgspec.Struct):
    """A request's content, decoded."""

    lots: list[Lot] = []
    groups: list[ItemGroup] = []
    samples: Samples | None = None
    spans: list[SpanLot] = []


Decode = Callable[[Registry], Arrival]


class _Waiting(msgspec.Struct):
    decode: Decode
    nbytes: int
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[int]"
    failure: Exception | None = None
    rejected: int = 0


class Intake:
    """The store's writer. Owns the store: `stop` closes it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="backend-store", daemon=True)
        self._queued = 0  # bytes; only the event loop's thread changes it
        self._stopping = False
        self.totals = dict(store.totals)
        self.size = store.size
        self.series = len(store.registry)
        self.failure = ""  # why the last transaction failed; "" once one has gone well

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def queued_bytes(self) -> int:
        """Bytes of requests that are not committed yet."""
        return self._queued

    async def put(self, decode: Decode, nbytes: int) -> int:
        """Return when what `decode` gives is committed, and how many data points there was no room for.

        `decode` runs in the writer's thread; its ValueError is raised here as Refused. Raises Busy where the store
        cannot take it now.
        """
        if self._stopping:
            raise Busy("the backend is stopping", 1)
        if self._queued and self._queued + nbytes > _QUEUED_BYTES:
            raise Busy("the store is behind", 1)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(decode, nbytes, loop, loop.create_future())
        self._queued += nbytes
        self._queue.put(waiting)
        # Shielded: a client that hangs up does not take its records back, they are on their way to the disk.
        waiting.done.add_done_callback(lambda _: self._leave(nbytes))
        return await asyncio.shield(waiting.done)

    def _leave(self, nbytes: int) -> None:
        self._queued -= nbytes

    async def stop(self) -> None:
        """Write what is queued, then close the store."""
        self._stopping = True
        if not self._thread.is_alive():
            self._store.close()
            return
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- the writer's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        last_expired = time.monotonic()
        while running:
            try:
                taken = [self._queue.get(timeout=_EXPIRE_EVERY)]
            except queue.Empty:
                taken = []
            size = taken[0].nbytes if taken and taken[0] is not None else 0
            while taken and taken[-1] is not None and size < _TOGETHER_BYTES:
                try:
                    another = self._queue.get_nowait()
                except queue.Empty:
                    break
                taken.append(another)
                size += another.nbytes if another is not None else 0
            running = not taken or taken[-1] is not None
            together = [one for one in taken if one is not None]
            if together:
                self._write(together)
            if time.monotonic() - last_expired >= _EXPIRE_EVERY:
                last_expired = time.monotonic()
                self._expire()
        self._store.close()

    def _write(self, together: list[_Waiting]) -> None:
        lots: list[Lot] = []
        groups: list[ItemGroup] = []
        samples: list[Samples] = []
        spans: list[SpanLot] = []
        for waiting in together:
            try:
                arrival = waiting.decode(self._store.registry)
                lots += arrival.lots
                groups += arrival.groups
                spans += arrival.spans
                if arrival.samples is not None:
                    samples.append(arrival.samples)
                    waiting.rejected = arrival.samples.rejected
            except (ValueError, HawseError) as error:
                waiting.failure = Refused(str(error))
            except Exception as error:
                log.exception("a request could not be decoded")
                waiting.failure = error
        if lots or groups or samples or spans:
            all_samples = joined(samples) if samples else None
            failure = self._attempt(lambda: self._store.append(lots, groups, time.time_ns(), all_samples, spans))
            for waiting in together:
                waiting.failure = waiting.failure or failure
        by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
        for waiting in together:
            by_loop.setdefault(waiting.loop, []).append(waiting)
        for loop, those in by_loop.items():
            loop.call_soon_threadsafe(_answer, those)

    def _expire(self) -> None:
        self._attempt(lambda: self._store.expire(time.time_ns()))

    def _attempt(self, work: Callable[[], None]) -> Exception | None:
        try:
            work()
        except sqlite3.Error as error:
            if self.failure != str(error):
                log.error("%s: %s", self._store.path, problem(error))
            self.failure = str(error)
            return Busy(problem(error), 1)
        except Exception as error:
            log.exception("a transaction failed")
            return error
        self.failure = ""
        self.totals = {Signal(signal): msgspec.structs.replace(total) for signal, total in self._store.totals.items()}
        self.size = self._store.size
        self.series = len(self._store.registry)
        return None


def _answer(those: list[_Waiting]) -> None:
    for waiting in those:
        if waiting.done.done():
            continue
        if waiting.failure is None:
            waiting.done.set_result(waiting.rejected)
        else:
            waiting.done.set_exception(waiting.failure)
            waiting.done.exception()  # the client may have gone: then nobody else asks
