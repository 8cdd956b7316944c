"""Pods as they are kept: thin, made anew for each change, sharing what many have in common.

`Pod` is never edited but for `version`, which rises when the pod is no longer the answer it was, so whoever cached
something made of it can tell.
"""

import re
from collections.abc import Iterable, Mapping
from sys import intern
from typing import Any

import msgspec

from hawse.kube.objects import ContainerSpec, ContainerStatus, ObjectMeta, PodObject

_STATIC_UID = "kubernetes.io/config.mirror"  # on the mirror of a static pod: the UID that its log folder has
_TEMPLATE_HASH = "pod-template-hash"
_OWNERS = 10_000  # shared between their pods, and forgotten all at once above this number


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


class Converter:
    """From the API's objects to pods, keeping what is `wanted` and sharing owners."""

    def __init__(self) -> None:
        self.wanted = Wanted()
        self._owners: dict[str, Owner] = {}

    def pod(self, found: PodObject) -> Pod:
        """The pod."""
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
            if len(self._owners) >= _OWNERS:
                self._owners.clear()  # Jobs come and go; pods keep the owners they have
            owner = self._owners[found.uid] = Owner(intern(found.kind), found.name, found.uid)
        return owner


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
