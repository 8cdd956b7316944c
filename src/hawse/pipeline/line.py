"""The line of a queue: what waits and what is under way, its size and its age, and who is next.

Only the head of the line is in memory, as entries without their payloads; the rest is read from the table in pages.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from hawse.net.budget import Budget
from hawse.state.queue import DiskQueue, Entry
from hawse.state.settings import QueueConfig

_WINDOW = 1000  # entries in memory
_PAYLOADS = 16 << 20  # bytes of payloads in memory: what is sent soon need not be read from disk
_SIZES: dict[str, Callable[[Entry], int]] = {
    "requests": lambda _: 1,
    "items": lambda entry: entry.items,
    "bytes": lambda entry: entry.size,
}


class Line:
    """Raises OSError where the table can't be read."""

    def __init__(self, disk: DiskQueue, config: QueueConfig, budget: Budget) -> None:
        self._disk = disk
        self._budget = budget
        self._most_payloads = min(_PAYLOADS, budget.limit // 8)
        self._epoch = time.time() - time.monotonic()
        self._capacity = int(config.queue_size)
        self._size_of = _SIZES[config.sizer]
        self._max_age = float(config.max_age)
        self._ordered = config.order_by_source
        self._window: deque[Entry] = deque()
        self._read = 0  # the last id that was in the window
        self._beyond = False  # whether there may be more behind it
        self._payloads = 0
        self._next_id = 1
        self._gone: set[int] = set()  # ended, but their rows may be there still
        self._entering: dict[int, Entry] = {}
        self.under_way: dict[int, Entry] = {}
        self.used = 0
        self.requests = 0
        self.bytes = 0

    def load(self) -> Iterable[Entry]:
        """Take up what is in the table: at the start, and after it was restored. Gives what it read, one by one."""
        self.used = self.requests = self.bytes = 0
        for entry in self._entering.values():
            self._count(entry, 1)
        missing = dict(self.under_way)
        for entry in self._disk.everything():
            missing.pop(entry.id, None)
            self._next_id = max(self._next_id, entry.id + 1)
            if entry.id not in self._gone:
                self._count(entry, 1)
                yield entry
        for entry in missing.values():  # its row was lost, but it is about to be sent
            self._count(entry, 1)
            yield entry
        self._window.clear()
        self._drop_payloads()
        self._read, self._beyond = 0, True

    # --- room

    def room(self, size: int, items: int) -> bool:
        """Whether a batch fits. One that is larger than all there is room for fits into an empty queue."""
        needed = self._size_of(Entry(0, 0, "", items, size, {}))
        return (not self.used or self.used + needed <= self._capacity) and not self.overdue()

    def full(self) -> bool:
        """Whether no batch fits at all."""
        return self.used >= self._capacity or self.overdue()

    def overdue(self) -> bool:
        """Whether something in it is older than `max_age`."""
        return bool(self._max_age) and self.age() > self._max_age

    def too_old(self, entry: Entry) -> bool:
        """Whether an entry is older than `max_age`."""
        return bool(self._max_age) and self.now() - entry.created > self._max_age

    def age(self) -> float:
        """Seconds for which the oldest entry has been here, 0 for an empty queue."""
        first = [entry.created for entry in self.under_way.values()]
        head = self._head()
        if head is not None:
            first.append(head.created)
        return max(0.0, self.now() - min(first)) if first else 0.0

    def now(self) -> float:
        """Seconds since 1970, by a clock that nobody sets while the process lives."""
        return self._epoch + time.monotonic()

    @property
    def capacity(self) -> int:
        """What there is room for, in the sizer's unit."""
        return self._capacity

    # --- in and out

    def enter(self, entry: Entry) -> None:
        """Give an entry its number, and its place; it is not in the line before `append`."""
        entry.id = self._next_id
        self._next_id += 1
        self._entering[entry.id] = entry
        self._count(entry, 1)

    def leave(self, entry: Entry) -> None:
        """Undo `enter`: its row was not written."""
        del self._entering[entry.id]
        self._count(entry, -1)

    def append(self, entry: Entry) -> None:
        """An entry whose row is there now."""
        del self._entering[entry.id]
        if self._beyond or len(self._window) >= _WINDOW:
            self._beyond = True
            return
        self._read = entry.id
        if self._payloads + entry.size > self._most_payloads:
            entry.payload = None
        else:
            self._payloads += entry.size
            self._budget.charge(entry.size)
        self._window.append(entry)

    def take(self) -> Entry | None:
        """The next entry that may be sent now: it is under way until `end`."""
        entry = self._first_free() if self._ordered else self._first()
        if entry is not None:
            self._take(entry)
        return entry

    def take_oldest(self) -> Entry | None:
        """The same for who wants to drop it."""
        entry = self._first()
        if entry is not None:
            self._take(entry)
        return entry

    def end(self, entry: Entry) -> None:
        """An entry that was under way is sent, or dropped."""
        self.under_way.pop(entry.id, None)
        self._gone.add(entry.id)
        self._count(entry, -1)

    def close(self) -> None:
        """Nothing of it is in memory any more."""
        self._window.clear()
        self._drop_payloads()

    def _drop_payloads(self) -> None:
        self._budget.release(self._payloads)
        self._payloads = 0

    def deleted(self, ids: Iterable[int]) -> None:
        """The rows of entries that have ended are gone."""
        self._gone.difference_update(ids)

    def _count(self, entry: Entry, sign: int) -> None:
        self.used += sign * self._size_of(entry)
        self.requests += sign
        self.bytes += sign * entry.size

    def _take(self, entry: Entry) -> None:
        self.under_way[entry.id] = entry
        if entry.payload is not None:
            self._payloads -= entry.size
            self._budget.release(entry.size)

    # --- the window

    def _first(self) -> Entry | None:
        return self._window.popleft() if self._head() else None

    def _head(self) -> Entry | None:
        if not self._window and self._beyond:
            self._fill()
        return self._window[0] if self._window else None

    def _fill(self) -> None:
        """Read on. Rows of entries that are under way, or have ended, are passed over."""
        while self._beyond and len(self._window) < _WINDOW:
            wanted = _WINDOW - len(self._window)
            page = self._disk.page(self._read, wanted)
            if page:
                self._read = page[-1].id
            self._beyond = len(page) == wanted
            self._window.extend(one for one in page if one.id not in self.under_way and one.id not in self._gone)

    def _first_free(self) -> Entry | None:
        """The first entry none of whose sources is in an earlier entry that has not ended."""
        if self._beyond and len(self._window) < _WINDOW // 2:
            self._fill()
        busy = {source for entry in self.under_way.values() for source in entry.sources}
        for number, entry in enumerate(self._window):
            if busy.isdisjoint(entry.sources):
                del self._window[number]
                return entry
            busy.update(entry.sources)
        return None
