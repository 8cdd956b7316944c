"""The memory bound: bytes of telemetry that a process may have in flight, all receivers and queues together.

A component gets the process's one budget by `context.shared(Budget)`. Whoever takes bytes in charges them *before* it
reads or decodes them, and gives them back once the batch is delivered, refused or dropped:

- who can tell its client to come again (servers): `if not budget.acquire(size): ...answer 429 with Retry-After...`
- who can leave the data where it is (tailers): `await budget.wait(size)`, which returns as soon as there is room; first
  come, first served
- both: `budget.release(size)`, the same number of bytes; and `budget.over` tells whether there is room at all

    await budget.wait(len(buffer))          # before the chunk is read
    try:
        ...                                 # read, parse, consume
    finally:
        budget.release(len(buffer))         # once the batch is off our hands

A caller that has nothing in flight is never blocked for good by its own size: what is larger than the whole budget is
let in when nearly nothing else is in flight. Not for use from other threads than the event loop's.
"""

import asyncio
from collections import deque
from pathlib import Path

_MIB = 1 << 20
DEFAULT_LIMIT = 512 * _MIB  # of the process, where neither the user nor a cgroup says one
_RESIDENT = 64 * _MIB  # what the interpreter, the modules and the buffers take that are there without any telemetry
_LEAST = 8 * _MIB
RETRY_AFTER = 1  # seconds, for clients that are told to come again


class Budget:
    """Bytes in flight. `limit` is their bound, `used` what is charged now, `refused` how often `acquire` said no."""

    def __init__(self, memory_limit: int = 0) -> None:
        """`memory_limit` is for the whole process; 0 is that of its cgroup, 512 MiB where it has none."""
        self.memory_limit = memory_limit or cgroup_limit() or DEFAULT_LIMIT
        self.limit = in_flight(self.memory_limit)
        self.used = 0
        self.refused = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def over(self) -> bool:
        """Whether there is no room, or others have been waiting for it."""
        return self.used >= self.limit or bool(self._waiting)

    @property
    def free(self) -> int:
        """Bytes that could be charged now."""
        return max(0, self.limit - self.used)

    def room(self, size: int, held: int = 0) -> bool:
        """Whether `size` bytes more fit. `held` is what the caller has charged already for the same request."""
        return self.used + size <= self.limit or (self.used - held) * 8 <= self.limit

    def acquire(self, size: int, held: int = 0) -> bool:
        """Charge `size` bytes if they fit; say whether they did. For `held` see `room`."""
        if self.room(size, held):
            self.used += size
            return True
        self.refused += 1
        return False

    def charge(self, size: int) -> None:
        """Charge bytes that are there already, room or not: what comes after them has to wait."""
        self.used += size

    async def wait(self, size: int) -> None:
        """Charge `size` bytes as soon as they fit. Cancelled, it has charged nothing."""
        if not self._waiting and self.room(size):
            self.used += size
            return
        granted = asyncio.get_running_loop().create_future()
        entry = (size, granted)
        self._waiting.append(entry)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(size)
            else:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                self._grant()
            raise

    def release(self, size: int) -> None:
        """Give back what was charged."""
        self.used -= size
        assert self.used >= 0, "more was given back than had been charged"
        if self._waiting:
            self._grant()

    def _grant(self) -> None:
        while self._waiting and self.room(self._waiting[0][0]):
            size, granted = self._waiting.popleft()
            if not granted.done():  # else its caller was cancelled, and is about to notice
                self.used += size
                granted.set_result(None)


def in_flight(memory_limit: int) -> int:
    """How much telemetry a process of that size may hold: half of what it does not need anyway.

    The other half is for what components make of a batch while it passes (decoded records, compressed bodies), and for
    what the allocator keeps.
    """
    return max(_LEAST, (memory_limit - _RESIDENT) // 2)


def cgroup_limit(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """The memory limit of our cgroup or of one above it, whichever is lowest, in bytes; 0 for none (cgroups(7)).

    Version 2 has `memory.max`, version 1 `memory.limit_in_bytes`, where no limit is a huge number. In a container, its
    own cgroup is usually mounted as the root, whatever path /proc names.
    """
    found: list[int] = []
    for line in _read(proc).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        parts = [part for part in path.split("/") if part and part != ".."]
        folders = [base.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        found += [int(text) for folder in folders if (text := _read(folder / name).strip()).isdigit()]
    bounded = [limit for limit in found if 0 < limit < 1 << 60]
    return min(bounded, default=0)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
