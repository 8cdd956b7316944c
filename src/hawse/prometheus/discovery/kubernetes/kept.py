"""Objects as they are kept: small, for there may be tens of thousands, and equal while nothing changed that matters."""

from typing import Any

import msgspec

from hawse.kube.objects import ObjectMeta, PartialObject
from hawse.prometheus.discovery.kubernetes.objects import Container, ContainerStatus, PodObject

Texts = dict[str, str] | None


class Meta(msgspec.Struct, gc=False):
    """What every object has. `controller` is kind and name of the owner that controls it."""

    name: str
    namespace: str
    uid: str
    labels: Texts
    annotations: Texts
    controller: tuple[str, str] | None


class PodContainer(msgspec.Struct, gc=False):
    """A container of a pod; `id` is "" until it runs. `ports`: number, name, protocol."""

    name: str
    image: str
    id: str
    init: bool
    ports: tuple[tuple[int, str, str], ...]


class Pod(msgspec.Struct, gc=False):
    """A pod. `ready` is "true", "false" or "unknown"."""

    meta: Meta
    ip: str
    host_ip: str
    node: str
    phase: str
    ready: str
    containers: tuple[PodContainer, ...]


class Kept(msgspec.Struct, gc=False):
    """Any other object: its metadata and the parts of it that `objects` names."""

    meta: Meta
    of: Any


class Keeper:
    """Makes what is kept. Texts that many objects share are in memory once."""

    def __init__(self) -> None:
        self._shared: dict[Any, Any] = {}

    def one(self, value: Any) -> Any:
        """An equal value that is there already, or this one."""
        if len(self._shared) > _SHARED:
            self._shared.clear()
        return self._shared.setdefault(value, value)

    def meta(self, meta: ObjectMeta) -> Meta:
        """Metadata, without what changes with every write."""
        owner = next((one for one in meta.ownerReferences or () if one.controller), None)
        return Meta(
            meta.name,
            self.one(meta.namespace or ""),
            meta.uid,
            self._texts(meta.labels),
            self._texts(meta.annotations),
            self.one((owner.kind, owner.name)) if owner is not None else None,
        )

    def _texts(self, texts: Texts) -> Texts:
        if not texts:
            return None
        one = self.one
        return {one(key): one(value) if len(value) < _SHORT else value for key, value in texts.items()}

    def pod(self, found: PodObject) -> Pod:
        """A pod."""
        spec, status, one = found.spec, found.status, self.one
        ready = next((each.status for each in status.conditions or () if each.type == "Ready"), None)
        return Pod(
            self.meta(found.metadata),
            status.podIP or "",
            one(status.hostIP or ""),
            one(spec.nodeName or ""),
            one(status.phase or ""),
            one((ready or "unknown").lower()),
            (
                *self._containers(spec.containers, status.containerStatuses, init=False),
                *self._containers(spec.initContainers, status.initContainerStatuses, init=True),
            ),
        )

    def _containers(
        self, containers: list[Container] | None, statuses: list[ContainerStatus] | None, *, init: bool
    ) -> list[PodContainer]:
        ids = {status.name: status.containerID or "" for status in statuses or ()}
        one = self.one
        return [
            PodContainer(
                one(container.name),
                one(container.image or ""),
                ids.get(container.name, ""),
                init,
                one(
                    tuple(
                        [(port.containerPort, port.name or "", port.protocol or "") for port in container.ports or ()]
                    )
                ),
            )
            for container in containers or ()
        ]

    def partial(self, found: PartialObject) -> Kept:
        """An object whose metadata is all that counts."""
        return Kept(self.meta(found.metadata), None)

    def other(self, found: Any) -> Kept:
        """Any other object of `objects`."""
        meta = self.meta(found.metadata)
        found.metadata = _NO_META
        return Kept(meta, found)


_SHARED = 50_000  # texts remembered at most
_SHORT = 64  # characters of a label's value that is likely to come again
_NO_META = ObjectMeta()


def key_of(meta: ObjectMeta) -> str:
    """`namespace/name`, or the name of what lives in no namespace."""
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
