"""Waiting, for a bounded time and size, for pods that are not known yet.

Telemetry can be here before the watch has told of its pod. It waits on the store's indexes, not by polling. A key
that was waited for in vain is not waited for again for a while: it may belong to no pod at all.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from hawse.kube.index import Index, Key

_GIVEN_UP = 60.0  # seconds in which a key is not waited for again
_REMEMBERED = 20_000  # keys given up, at most

Awaited = tuple[Index, Key]


class Patience:
    """How long and how much may wait.

    `first` seconds until the first list is complete (`synced`), `later` seconds from then on; `limit` bytes.
    """

    def __init__(self, first: float, later: float, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._later = later
        self._limit = limit
        self._clock = clock
        self._given_up: dict[Awaited, float] = {}
        self.held = 0  # bytes that wait now

    def hopeful(self, awaited: Awaited) -> bool:
        """Whether waiting may help: not if it has not, a short while ago."""
        until = self._given_up.get(awaited)
        return until is None or until < self._clock()

    async def wait(
        self, awaited: Iterable[Awaited], size: int, synced: Callable[[], bool], sync: Callable[[], Awaitable[None]]
    ) -> bool:
        """Wait until all keys have a pod or time is up. False, at once, if too much waits already."""
        if self.held + size > self._limit:
            return False
        futures = {one: one[0].wait(one[1]) for one in set(awaited)}
        self.held += size
        try:
            await self._wait(set(futures.values()), synced, sync)
        finally:
            self.held -= size
            for (index, key), future in futures.items():
                if not future.done():
                    self._give_up((index, key))
                index.forget(key, future)
        return True

    async def _wait(
        self, pending: set["asyncio.Future[None]"], synced: Callable[[], bool], sync: Callable[[], Awaitable[None]]
    ) -> None:
        is_synced = synced()
        deadline = self._clock() + (self._later if is_synced else self._first)
        syncing = None if is_synced else asyncio.ensure_future(sync())
        try:
            while pending and (left := deadline - self._clock()) > 0:
                waiting = pending if syncing is None else {syncing, *pending}
                await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                pending = {future for future in pending if not future.done()}
                if syncing is not None and syncing.done():
                    syncing = None
                    deadline = min(deadline, self._clock() + self._later)
        finally:
            if syncing is not None:
                syncing.cancel()

    def _give_up(self, awaited: Awaited) -> None:
        if len(self._given_up) >= _REMEMBERED:
            self._given_up.clear()
        self._given_up[awaited] = self._clock() + _GIVEN_UP
