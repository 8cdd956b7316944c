"""What is known of pods, found by UID, by namespace and name, or by IP; and of namespaces, nodes and workloads.

Deleted pods stay for their last telemetry.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from hawse.kube.index import Index, Key
from hawse.kube.objects import ObjectMeta, PartialObject, PodObject
from hawse.kube.pods import Converter, Owner, Pod, Wanted

MAX_DELETED = 20_000  # pods remembered after their deletion, whatever the time


class PodStore:
    """The pods of a cluster, namespace or node.

    A list is taken in by `begin()`, `put()` for each pod, and `end()`, which deletes what the list did not have.
    """

    def __init__(self, grace: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`grace`: seconds for which deleted pods are remembered (at most MAX_DELETED of them)."""
        self.grace = grace
        self._converter = Converter()
        self.by_uid = Index(_uids)
        self.by_name = Index(lambda pod: (f"{pod.namespace}/{pod.name}",))
        self.by_ip = Index(_own_addresses)
        self._indexes = [self.by_uid, self.by_name, self.by_ip]
        self._pods: dict[str, Pod] = {}
        self._deleted: deque[tuple[float, Pod]] = deque()
        self._clock = clock
        self._seen: set[str] | None = None
        self.watchers: list[Callable[[str], None]] = []  # told "added", "updated", "deleted"

    @property
    def wanted(self) -> Wanted:
        """What is kept of the pods that come in from now on."""
        return self._converter.wanted

    @wanted.setter
    def wanted(self, wanted: Wanted) -> None:
        self._converter.wanted = wanted

    def __len__(self) -> int:
        """Pods that exist, without the deleted ones that are remembered."""
        return len(self._pods)

    def index(self, keys: Callable[[Pod], Iterable[Key]]) -> Index:
        """One more way to find pods."""
        made = Index(keys)
        self._indexes.append(made)
        for pod in self._pods.values():
            made.put(pod)
        return made

    def unindex(self, index: Index) -> None:
        """Give an index back."""
        if index in self._indexes:
            self._indexes.remove(index)

    def begin(self) -> None:
        """A list starts."""
        self._seen = set()

    def end(self) -> None:
        """The list is complete: what it did not have is gone."""
        seen, self._seen = self._seen or set(), None
        for uid in [uid for uid in self._pods if uid not in seen]:
            self._delete(uid)

    def put(self, found: PodObject) -> None:
        """A pod of a list, or one that was added or modified."""
        if self._seen is not None:
            self._seen.add(found.metadata.uid)
        pod = self._converter.pod(found)
        before = self._pods.get(pod.uid)
        if before is not None:
            pod.version, pod.cached = before.version, before.cached
            if pod == before:
                return  # heartbeat, condition, anything that nobody here reads
            pod.version, pod.cached = 0, None
            before.version += 1
        self._pods[pod.uid] = pod
        for index in self._indexes:
            index.put(pod, before)
        self._tell("added" if before is None else "updated")
        self.expire()

    def delete(self, found: PodObject) -> None:
        """A pod was deleted. Its last state comes with the event."""
        if found.metadata.uid not in self._pods:
            return
        self.put(found)
        self._delete(found.metadata.uid)

    def _delete(self, uid: str) -> None:
        pod = self._pods.pop(uid)
        pod.deleted = True
        for index in self._indexes:
            index.demote(pod)
        self._deleted.append((self._clock() + self.grace, pod))
        self._tell("deleted")
        self.expire()

    def expire(self) -> None:
        """Forget deleted pods whose time is up."""
        now = self._clock()
        while self._deleted and (self._deleted[0][0] <= now or len(self._deleted) > MAX_DELETED):
            _, pod = self._deleted.popleft()
            pod.version += 1
            for index in self._indexes:
                index.drop(pod)

    def _tell(self, what: str) -> None:
        for watcher in self.watchers:
            watcher(what)


def _uids(pod: Pod) -> Iterable[str]:
    return (pod.uid, pod.static_uid) if pod.static_uid else (pod.uid,)


def _own_addresses(pod: Pod) -> Iterable[str]:
    """Pods in the host's network have the node's addresses, which say nothing of the pod."""
    return () if pod.host_network else pod.ips


class Meta(msgspec.Struct, gc=False):
    """Metadata of an object that is no pod."""

    uid: str
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner: Owner | None = None


class MetaStore:
    """Namespaces, nodes or workloads by `name` or `namespace/name`. `version` rises with each change."""

    def __init__(self) -> None:
        self.wanted = Wanted()
        self.version = 0
        self._found: dict[str, Meta] = {}
        self._seen: set[str] | None = None
        self.get = self._found.get
        self.watchers: list[Callable[[str], None]] = []

    def __len__(self) -> int:
        return len(self._found)

    def begin(self) -> None:
        """A list starts."""
        self._seen = set()

    def end(self) -> None:
        """The list is complete: what it did not have is gone."""
        seen, self._seen = self._seen or set(), None
        for key in [key for key in self._found if key not in seen]:
            self._forget(key)

    def put(self, found: PartialObject) -> None:
        """An object of a list, or one that was added or modified."""
        meta = found.metadata
        key = _meta_key(meta)
        if self._seen is not None:
            self._seen.add(key)
        owners = [Owner(entry.kind, entry.name, entry.uid) for entry in meta.ownerReferences or () if entry.controller]
        made = Meta(
            meta.uid,
            self.wanted.labels.pick(meta.labels),
            self.wanted.annotations.pick(meta.annotations),
            owners[0] if owners else None,
        )
        before = self._found.get(key)
        if made != before:
            self._found[key] = made
            self.version += 1
            self._tell("added" if before is None else "updated")

    def delete(self, found: PartialObject) -> None:
        """An object was deleted."""
        self._forget(_meta_key(found.metadata))

    def _forget(self, key: str) -> None:
        if self._found.pop(key, None) is not None:
            self.version += 1
            self._tell("deleted")

    def _tell(self, what: str) -> None:
        for watcher in self.watchers:
            watcher(what)


def _meta_key(meta: ObjectMeta) -> str:
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
