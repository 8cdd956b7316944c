"""Pods by key: who has a key where several claim it, and who waits for one to appear."""

import asyncio
from collections.abc import Callable, Hashable, Iterable

from hawse.kube.pods import Pod

Key = Hashable


class Index:
    """Pods by one kind of key. Where several claim a key, `Pod.rank` decides. Somebody may wait for a key to appear."""

    def __init__(self, keys: Callable[[Pod], Iterable[Key]]) -> None:
        self._keys = keys
        self._found: dict[Key, Pod] = {}
        self._others: dict[Key, list[Pod]] = {}  # those who claim a key and don't have it; few keys have any
        self._waiting: dict[Key, list[asyncio.Future[None]]] = {}
        self.get = self._found.get

    def __len__(self) -> int:
        return len(self._found)

    def put(self, pod: Pod, before: Pod | None = None) -> None:
        """Take a pod in, in place of `before`, its former self."""
        keys = tuple(self._keys(pod))
        if before is not None:
            for key in self._keys(before):
                if key not in keys:
                    self._elect(key, before, None)
        for key in keys:
            holder = self._found.get(key)
            if key in self._others or (holder is not None and holder is not before):
                self._elect(key, before, pod)
            else:
                self._found[key] = pod
            for future in self._waiting.pop(key, ()):
                if not future.done():
                    future.set_result(None)

    def drop(self, pod: Pod) -> None:
        """Forget a pod; a key that another has taken over stays, one that another claims goes to it."""
        for key in self._keys(pod):
            self._elect(key, pod, None)

    def demote(self, pod: Pod) -> None:
        """The pod's rank is lower than it was."""
        for key in self._keys(pod):
            if key in self._others:
                self._elect(key, pod, pod)

    def _elect(self, key: Key, leaves: Pod | None, joins: Pod | None) -> None:
        """Decide anew who has a key. Of equal ranks, the one that joins has it."""
        holder = self._found.get(key)
        there = [] if holder is None else [holder]
        claimants = [pod for pod in (*self._others.pop(key, ()), *there) if pod is not leaves]
        if joins is not None:
            claimants.append(joins)
        if not claimants:
            self._found.pop(key, None)
            return
        claimants.sort(key=_rank)
        winner = claimants.pop()
        self._found[key] = winner
        if claimants:
            self._others[key] = claimants
        if holder is not None and holder is not winner:
            holder.version += 1

    def wait(self, key: Key) -> "asyncio.Future[None]":
        """Done when a pod takes this key. Cancel it through `forget`."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        return future

    def forget(self, key: Key, future: "asyncio.Future[None]") -> None:
        """Wait no longer."""
        waiting = self._waiting.get(key)
        if waiting and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._waiting[key]
        future.cancel()


def _rank(pod: Pod) -> tuple[bool, str]:
    return pod.rank
