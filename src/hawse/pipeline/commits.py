"""Rows put and deleted by many callers, in one transaction for all that wait."""

import asyncio
import contextvars
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from hawse.batch import Signal
from hawse.component import Busy
from hawse.pipeline.ledger.held import Held
from hawse.pipeline.line import Line
from hawse.state.queue import DiskQueue, Entry

_DELETE_AFTER = 0.02  # seconds that a deletion waits for company: a death in between sends a batch twice
_COMPANY, _LONGEST = 3, 0.005  # turns of the loop without a further put that puts wait for company; seconds at most
_AGAIN_AFTER = 1.0  # seconds, when the disk did not take deletions
# Left free on the disk by those who put, beside the journal: deleting needs some, too, or nothing ever got better.
_RESERVE = 2 << 20


class _Waiting:
    """A row to be put."""

    __slots__ = ("context", "done", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()  # the ledger notes for whose batch a row is put


class Commits:
    """Of one queue. Entries get their place in the line in the moment in which their rows are there."""

    def __init__(self, disk: DiskQueue, held: Held, line: Line, arrived: Callable[[], None]) -> None:
        """`arrived()` is called when entries have come into the line."""
        self._disk = disk
        self._held = held
        self._line = line
        self._arrived = arrived
        self._puts: list[_Waiting] = []
        self._ended: list[Entry] = []
        self._accounts: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._gathered = self._quiet = 0  # puts at the last turn of the loop, turns since there was a further one
        self._since = 0.0  # when puts began to wait
        self.failure = ""  # why the disk does not take deletions

    def put(self, entry: Entry) -> Awaitable[None]:
        """Give the entry its number now. What is returned, to be awaited at once, ends when the row is on disk and the
        entry in line; or raises Busy, and neither is the case.
        """
        waiting = _Waiting(entry)
        self._line.enter(entry)
        self._puts.append(waiting)
        self._schedule(0)
        return self._written(waiting)

    async def _written(self, waiting: _Waiting) -> None:
        try:
            await waiting.done
        except asyncio.CancelledError:
            if waiting in self._puts:
                self._puts.remove(waiting)
                self._line.leave(waiting.entry)
            raise

    def delete(self, entry: Entry, account: Callable[[], None]) -> None:
        """Delete a row soon. `account` tells the ledger why, in the same transaction."""
        self._ended.append(entry)
        self._accounts.append(account)
        self._schedule(_DELETE_AFTER)

    def flush(self) -> None:
        """Write now what waits. What does not go in is Busy (puts), or is tried again (deletions)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        puts, self._puts = self._puts, []
        if puts and (problem := self._no_room(sum(one.entry.size for one in puts))):
            self._fail(puts, problem)
            puts = []
        if not puts and not self._ended:
            return
        try:
            self._write(puts)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            self._fail(puts, told(error))
            self._retry_deletions(error, tried=not puts)
            return
        for one in puts:
            self._line.append(one.entry)
            if not one.done.done():
                one.done.set_result(None)
        if puts:
            self._arrived()

    def close(self) -> None:
        """Write what waits, and no more. Deletions that the disk does not take are forgotten: those come again."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()

    def _write(self, puts: list[_Waiting]) -> None:
        accounts, self._accounts = self._accounts, []  # told once, even if the disk has to be asked twice
        with ExitStack() as stack:
            for one in puts:
                entering = self._held.entering(Signal(one.entry.signal), one.entry.sources)
                one.context.run(entering.__enter__)
                stack.push(entering)
            for account in accounts:
                account()
            with self._disk.storage.transaction() as connection:
                if puts:
                    self._disk.put(connection, [one.entry for one in puts])
                self._disk.delete(connection, self._ended)
        ended, self._ended = self._ended, []
        self.failure = ""
        self._disk.keep(one.entry for one in puts)
        self._disk.forget(ended)
        self._line.deleted(entry.id for entry in ended)

    def _retry_deletions(self, error: Exception, *, tried: bool) -> None:
        if not self._ended:
            return
        if tried:
            self.failure = str(error)
        self._schedule(_AGAIN_AFTER if tried else 0)

    def _fail(self, puts: list[_Waiting], problem: str) -> None:
        for one in puts:
            self._line.leave(one.entry)
            if not one.done.done():
                one.done.set_exception(Busy(f"the sending queue cannot keep a batch: {problem} (its sender keeps it)"))

    def _no_room(self, size: int) -> str:
        storage = self._disk.storage
        try:
            found = os.statvfs(storage.directory)
        except OSError as error:
            return str(error)
        free = found.f_bavail * found.f_frsize
        if free >= _RESERVE + storage.journal + size:
            return ""
        where = storage.directory
        return f"{where} has {free >> 10} KiB left; free space there, or enlarge the volume"

    def _schedule(self, wait: float) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(self._timer, asyncio.TimerHandle) and not wait:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._gathered, self._quiet, self._since = 0, 0, loop.time()
            self._timer = loop.call_later(wait, self.flush) if wait else loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Flush once no more puts come: a transaction for one costs a tenth of a millisecond, and hardly more for ten.

        Who puts alone waits for a few turns of an idle loop, which is nothing.
        """
        loop = asyncio.get_running_loop()
        self._quiet = self._quiet + 1 if len(self._puts) == self._gathered else 0
        self._gathered = len(self._puts)
        if self._quiet < _COMPANY and loop.time() - self._since < _LONGEST:
            self._timer = loop.call_soon(self._gather)
        else:
            self.flush()


def told(error: Exception) -> str:
    """What to do about a disk that does not take what it is given."""
    text = str(error) if isinstance(error, OSError) else repr(error)
    if "full" in text or "No space" in text:
        return f"{text}; free space there, or enlarge the volume"
    if "readonly" in text or "read-only" in text.lower():
        return f"{text}; make the volume writable for uid {os.getuid()}"
    return text
