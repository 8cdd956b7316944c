"""What is known of pods, held thinly, found by UID, by namespace and name, or by IP, and awaited.

A `Pod` is made anew for each change and never edited, but for `version`, which rises when the pod is no longer the
answer it was, so whoever cached something made of it can tell. Deleted pods stay for their last telemetry.
"""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from sys import intern
from typing import Any

import msgspec

from hawse.kube.objects import ContainerSpec, ContainerStatus, ObjectMeta, PartialObject, PodObject

_STATIC_UID = "kubernetes.io/config.mirror"  # on the mirror of a static pod: the UID that its log folder has
_TEMPLATE_HASH = "pod-template-hash"
MAX_DELETED = 20_000  # pods remembered after their deletion, whatever the time


class Owner(msgspec.Struct, gc=False, frozen=True):
    """The object that made a pod: `ReplicaSet`, `DaemonSet`, `StatefulSet`, `Job`, …"""

    kind: str
    name: str
    uid: str


class Container(msgspec.Struct, gc=False):
    """A container of a pod. `id` has no `containerd://`; `previous_id` is that of the run before, if it crashed."""

    name: str
    image: str = ""
    id: str = ""
    previous_id: str = ""
    restart_count: int = 0
    image_id: str = ""


class Pod(msgspec.Struct, gc=False):
    """A pod. Empty text where something is not known (yet). Times are RFC 3339 in UTC, which sort as text."""

    uid: str
    namespace: str
    name: str
    node: str = ""
    hostname: str = ""
    created: str = ""
    started: str = ""
    ips: tuple[str, ...] = ()
    host_network: bool = False
    finished: bool = False
    owner: Owner | None = None
    deployment: str = ""
    static_uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    containers: tuple[Container, ...] = ()
    deleted: bool = False
    version: int = 0
    cached: Any = None  # what its users keep with it: it goes when the pod changes

    @property
    def rank(self) -> tuple[bool, str]:
        """Of two pods with the same key (a name, an IP used again) the higher one has it now."""
        return (not self.finished and not self.deleted, self.started or self.created)


class Keys:
    """Which labels or annotations are worth keeping: by name, or by pattern (of the whole name)."""

    def __init__(self, names: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        self.patterns = frozenset(patterns)
        self._compiled = [re.compile(pattern) for pattern in self.patterns]

    def __or__(self, other: "Keys") -> "Keys":
        return Keys(self.names | other.names, self.patterns | other.patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and (self.names, self.patterns) == (other.names, other.patterns)

    def __hash__(self) -> int:
        return hash((self.names, self.patterns))

    def __bool__(self) -> bool:
        return bool(self.names or self.patterns)

    def pick(self, there: Mapping[str, str] | None) -> dict[str, str] | None:
        """What is wanted of `there`, names and values shared with other pods; None for nothing."""
        if not there or not self:
            return None
        return {intern(key): intern(value) for key, value in there.items() if self._wants(key)} or None

    def _wants(self, key: str) -> bool:
        return key in self.names or any(pattern.fullmatch(key) for pattern in self._compiled)


class Wanted(msgspec.Struct, frozen=True):
    """What the users of a store read of its objects; the rest is not kept."""

    labels: Keys = Keys()
    annotations: Keys = Keys()
    containers: bool = False

    def __or__(self, other: "Wanted") -> "Wanted":
        return Wanted(
            self.labels | other.labels, self.annotations | other.annotations, self.containers or other.containers
        )


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


class PodStore:
    """The pods of a cluster, namespace or node.

    A list is taken in by `begin()`, `put()` for each pod, and `end()`, which deletes what the list did not have.
    """

    def __init__(self, grace: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`grace`: seconds for which deleted pods are remembered (at most MAX_DELETED of them)."""
        self.grace = grace
        self.wanted = Wanted()
        self.by_uid = Index(_uids)
        self.by_name = Index(lambda pod: (f"{pod.namespace}/{pod.name}",))
        self.by_ip = Index(_own_addresses)
        self._indexes = [self.by_uid, self.by_name, self.by_ip]
        self._pods: dict[str, Pod] = {}
        self._deleted: deque[tuple[float, Pod]] = deque()
        self._clock = clock
        self._seen: set[str] | None = None
        self._owners: dict[str, Owner] = {}
        self.watchers: list[Callable[[str], None]] = []  # told "added", "updated", "deleted"

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
        self._owners.clear()

    def end(self) -> None:
        """The list is complete: what it did not have is gone."""
        seen, self._seen = self._seen or set(), None
        for uid in [uid for uid in self._pods if uid not in seen]:
            self._delete(uid)

    def put(self, found: PodObject) -> None:
        """A pod of a list, or one that was added or modified."""
        if self._seen is not None:
            self._seen.add(found.metadata.uid)
        pod = self._convert(found)
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

    def _convert(self, found: PodObject) -> Pod:
        meta, spec, status = found.metadata, found.spec, found.status
        labels, annotations = meta.labels or {}, meta.annotations or {}
        owner = self._owner(meta)
        return Pod(
            uid=meta.uid,
            namespace=intern(meta.namespace or ""),
            name=meta.name,
            node=intern(spec.nodeName or ""),
            hostname=spec.hostname or "",
            created=meta.creationTimestamp or "",
            started=status.startTime or "",
            ips=tuple(_addresses(found)),
            host_network=bool(spec.hostNetwork),
            finished=status.phase in {"Succeeded", "Failed"},
            owner=owner,
            deployment=intern(_deployment(owner, labels.get(_TEMPLATE_HASH, ""))),
            static_uid=annotations.get(_STATIC_UID, ""),
            labels=self.wanted.labels.pick(labels),
            annotations=self.wanted.annotations.pick(annotations),
            containers=_containers(found) if self.wanted.containers else (),
        )

    def _owner(self, meta: ObjectMeta) -> Owner | None:
        references = meta.ownerReferences
        if not references:
            return None
        found = next((reference for reference in references if reference.controller), references[0])
        owner = self._owners.get(found.uid)
        if owner is None:
            if len(self._owners) > 2 * len(self._pods) + 1000:
                self._owners.clear()  # Jobs come and go; pods keep the owners they have
            owner = self._owners[found.uid] = Owner(intern(found.kind), found.name, found.uid)
        return owner


def _rank(pod: Pod) -> tuple[bool, str]:
    return pod.rank


def _uids(pod: Pod) -> Iterable[str]:
    return (pod.uid, pod.static_uid) if pod.static_uid else (pod.uid,)


def _own_addresses(pod: Pod) -> Iterable[str]:
    """Pods in the host's network have the node's addresses, which say nothing of the pod."""
    return () if pod.host_network else pod.ips


def _addresses(found: PodObject) -> Iterable[str]:
    status = found.status
    listed = [entry.ip for entry in status.podIPs or () if entry.ip]
    return listed or ([status.podIP] if status.podIP else [])


def _deployment(owner: Owner | None, template_hash: str) -> str:
    """A Deployment's ReplicaSets are called `<deployment>-<hash>`, and their pods carry that hash as a label.

    A ReplicaSet that somebody made by hand has no such label, so its pods get no deployment.
    """
    if owner is None or owner.kind != "ReplicaSet" or not template_hash:
        return ""
    name, ending = owner.name, "-" + template_hash
    return name.removesuffix(ending) if name.endswith(ending) else ""


def _containers(found: PodObject) -> tuple[Container, ...]:
    spec, status = found.spec, found.status
    specs: list[ContainerSpec] = [
        *(spec.containers or ()),
        *(spec.initContainers or ()),
        *(spec.ephemeralContainers or ()),
    ]
    statuses = {
        entry.name: entry
        for listed in (status.ephemeralContainerStatuses, status.initContainerStatuses, status.containerStatuses)
        for entry in listed or ()
    }
    return tuple(_container(entry, statuses.get(entry.name)) for entry in specs)


def _container(spec: ContainerSpec, status: ContainerStatus | None) -> Container:
    made = Container(intern(spec.name), intern(spec.image or ""))
    if status is not None:
        made.id = _bare(status.containerID)
        made.restart_count = status.restartCount or 0
        made.image_id = intern(status.imageID or "")
        if status.lastState and status.lastState.terminated:
            made.previous_id = _bare(status.lastState.terminated.containerID)
    return made


def _bare(container_id: str | None) -> str:
    return (container_id or "").partition("://")[2]


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
