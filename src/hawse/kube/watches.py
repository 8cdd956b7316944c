"""The process's watches: whoever asks for the same pods of the same API server with the same identity shares one.

Obtained by `context.shared(Watches)`. A component joins when it is made, so that all wishes are known before the
first list, starts in `start()`, and leaves in `stop()`; the last to leave ends the watch.
"""

import asyncio
from collections.abc import Callable

import msgspec

from hawse.kube import access
from hawse.kube.access import Access, Auth
from hawse.kube.client import KubeClient
from hawse.kube.errors import Call
from hawse.kube.metadata import Meta, MetaStore, PodStore
from hawse.kube.objects import PartialObject, PodObject
from hawse.kube.pods import Wanted
from hawse.kube.reflector import AnyReflector, Reflector
from hawse.kube.rules import KINDS


class Scope(msgspec.Struct, frozen=True):
    """Whose pods: of one namespace or all (""), narrowed by selectors as the API server understands them."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""


def calls(scope: Scope, kinds: frozenset[str]) -> list[tuple[str, Call]]:
    """What is listed and watched: ("pod", …) and one call for each kind of KINDS that is asked for."""
    made = [("pod", Call("", "v1", "pods", scope.namespace, scope.label_selector, scope.field_selector))]
    for kind in sorted(kinds):
        group, resource = KINDS[kind]
        cluster_wide = kind in {"namespace", "node"}
        only = f"metadata.name={scope.namespace}" if kind == "namespace" and scope.namespace else ""
        made.append((kind, Call(group, "v1", resource, "" if cluster_wide else scope.namespace, "", only)))
    return made


class PodWatch:
    """A store of pods, and stores of what else was asked for, kept up to date while somebody needs them."""

    def __init__(self, auth: Auth, scope: Scope, grace: float, reach: Callable[[Auth], Access]) -> None:
        self.pods = PodStore(grace)
        self.related: dict[str, MetaStore] = {}
        self.reflectors: dict[str, AnyReflector] = {}
        self.members = 0
        self._auth = auth
        self._scope = scope
        self._reach = reach
        self._client: KubeClient | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def want(self, wanted: Wanted, kinds: dict[str, Wanted], grace: float) -> None:
        """Keep more of pods, and watch more kinds. What is running starts anew with a list if that changes it."""
        self.members += 1
        self.pods.grace = max(self.pods.grace, grace)
        self._widen("pod", self.pods, wanted)
        for kind, more in kinds.items():
            self._widen(kind, self.related.setdefault(kind, MetaStore()), more)
        if self._client is not None:
            self._run()

    def _widen(self, kind: str, store: PodStore | MetaStore, wanted: Wanted) -> None:
        before, store.wanted = store.wanted, store.wanted | wanted
        if store.wanted != before and kind in self._tasks:
            self._tasks.pop(kind).cancel()
            self.reflectors[kind].relist()

    async def start(self) -> None:
        """Begin, if nobody has yet. Raises HawseError where it is not known how to reach the API server."""
        if self._client is None:
            self._client = KubeClient(self._reach(self._auth))
            self._sweeper = asyncio.create_task(self._sweep(), name="kube: forget deleted pods")
            self._run()

    def _run(self) -> None:
        assert self._client is not None
        for kind, call in calls(self._scope, frozenset(self.related)):
            if kind in self._tasks:
                continue
            if kind not in self.reflectors:
                self.reflectors[kind] = _reflector(
                    self._client, call, self.pods if kind == "pod" else self.related[kind]
                )
            task = asyncio.create_task(self.reflectors[kind].run(), name=f"kube: watch {call}")
            self._tasks[kind] = task

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(5)
            self.pods.expire()

    @property
    def synced(self) -> bool:
        """Whether all first lists are complete."""
        return bool(self.reflectors) and all(one.synced.is_set() for one in self.reflectors.values())

    async def wait_synced(self) -> None:
        """Return when all first lists are complete."""
        for reflector in list(self.reflectors.values()):
            await reflector.synced.wait()

    @property
    def error(self) -> str:
        """Why it is behind the API server, "" while it is not."""
        return next((one.error for one in self.reflectors.values() if one.error), "")

    @property
    def version(self) -> int:
        """Rises when anything but a pod changes."""
        return sum(store.version for store in self.related.values())

    def lookup(self, kind: str, key: str) -> Meta | None:
        """Metadata of an object that is no pod."""
        store = self.related.get(kind)
        return store.get(key) if store is not None else None

    async def close(self) -> None:
        """End everything. What is known stays readable."""
        tasks = [*self._tasks.values(), *([self._sweeper] if self._sweeper else [])]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None


def _reflector(client: KubeClient, call: Call, store: PodStore | MetaStore) -> AnyReflector:
    if isinstance(store, PodStore):
        return Reflector(client, call, PodObject, store)
    return Reflector(client, call, PartialObject, store, partial=True)


class Watches:
    """All pod watches of the process."""

    def __init__(self, reach: Callable[[Auth], Access] = access.of) -> None:
        self._watches: dict[tuple[Auth, Scope], PodWatch] = {}
        self._reach = reach

    def join(self, auth: Auth, scope: Scope, wanted: Wanted, kinds: dict[str, Wanted], grace: float) -> PodWatch:
        """The watch of these pods, which keeps what is wanted; call its `start()`, and `leave` it in the end.

        `grace`: seconds for which deleted pods are remembered; of several members' the longest counts.
        """
        watch = self._watches.get((auth, scope))
        if watch is None:
            watch = self._watches[auth, scope] = PodWatch(auth, scope, grace, self._reach)
        watch.want(wanted, kinds, grace)
        return watch

    async def leave(self, watch: PodWatch) -> None:
        """The last member's leaving ends the watch."""
        watch.members -= 1
        if watch.members <= 0:
            self._watches = {key: one for key, one in self._watches.items() if one is not watch}
            await watch.close()

    async def close(self) -> None:
        """End all of them."""
        watches, self._watches = list(self._watches.values()), {}
        await asyncio.gather(*(watch.close() for watch in watches))
