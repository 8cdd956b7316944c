"""The few fields of Kubernetes objects that Hawse reads, decoded straight from the API server's JSON.

Field names are the API's (kubernetes.io/docs/reference/kubernetes-api). Everything else in the JSON is skipped
without becoming an object: a pod of 6.6 KB leaves about 1 KB behind. Go writes absent values as `null` here and
there, so every field allows it.
"""

from typing import Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")


class _Thin(msgspec.Struct, gc=False):
    """Decoded and dropped: no cycles, so nothing for the garbage collector to track."""


class OwnerReference(_Thin):
    """`metadata.ownerReferences[]`."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(_Thin):
    """`metadata`. Times are RFC 3339 in UTC with whole seconds, so they sort as text."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815
    creationTimestamp: str | None = None  # noqa: N815
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[OwnerReference] | None = None  # noqa: N815


class Described(Protocol):
    """What the client and reflectors ask of an object: any Struct with metadata will do."""

    metadata: ObjectMeta


class ContainerSpec(_Thin):
    """`spec.containers[]` and its siblings."""

    name: str = ""
    image: str | None = None


class PodSpec(_Thin):
    """`spec`."""

    nodeName: str | None = None  # noqa: N815
    hostname: str | None = None
    hostNetwork: bool | None = None  # noqa: N815
    containers: list[ContainerSpec] | None = None
    initContainers: list[ContainerSpec] | None = None  # noqa: N815
    ephemeralContainers: list[ContainerSpec] | None = None  # noqa: N815


class Terminated(_Thin):
    """`status.containerStatuses[].lastState.terminated`."""

    containerID: str | None = None  # noqa: N815


class LastState(_Thin):
    """`status.containerStatuses[].lastState`."""

    terminated: Terminated | None = None


class ContainerStatus(_Thin):
    """`status.containerStatuses[]` and its siblings. IDs look like `containerd://<64 hex digits>`."""

    name: str = ""
    containerID: str | None = None  # noqa: N815
    imageID: str | None = None  # noqa: N815
    restartCount: int | None = None  # noqa: N815
    lastState: LastState | None = None  # noqa: N815


class PodIP(_Thin):
    """`status.podIPs[]`: one per address family."""

    ip: str | None = None


class PodStatus(_Thin):
    """`status`."""

    phase: str | None = None
    podIP: str | None = None  # noqa: N815
    podIPs: list[PodIP] | None = None  # noqa: N815
    startTime: str | None = None  # noqa: N815
    containerStatuses: list[ContainerStatus] | None = None  # noqa: N815
    initContainerStatuses: list[ContainerStatus] | None = None  # noqa: N815
    ephemeralContainerStatuses: list[ContainerStatus] | None = None  # noqa: N815


class PodObject(_Thin):
    """v1 Pod."""

    metadata: ObjectMeta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class PartialObject(_Thin):
    """meta.k8s.io/v1 PartialObjectMetadata: any kind of object, its metadata alone."""

    metadata: ObjectMeta


class ListMeta(_Thin):
    """`metadata` of a list. `continue_` is the token for the next page, empty on the last."""

    resourceVersion: str = ""  # noqa: N815
    continue_: str | None = msgspec.field(name="continue", default=None)


class ObjectList(_Thin, Generic[T]):
    """One page of a list."""

    metadata: ListMeta
    items: list[T] | None = None


class WatchEvent(_Thin):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and the object still as JSON."""

    type: str
    object: msgspec.Raw


class Bookmark(_Thin):
    """The object of a BOOKMARK event, of which only `metadata.resourceVersion` is filled."""

    metadata: ObjectMeta


class StatusDetails(_Thin):
    """`details` of a Status."""

    name: str | None = None
    group: str | None = None
    kind: str | None = None
    retryAfterSeconds: int | None = None  # noqa: N815


class Status(_Thin):
    """v1 Status: how the API server says what went wrong. `code` is the HTTP status."""

    code: int = 0
    reason: str | None = None
    message: str | None = None
    details: StatusDetails | None = None
