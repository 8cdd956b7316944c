"""Whose telemetry is it? From a resource's attributes, or the address it came from, to a pod.

As the OpenTelemetry processor does it: the first association of which all sources are there decides; if no pod has
these values, the later ones are not asked. Otherwise a pod that is not known yet would be taken for its collector,
whose connection the telemetry comes on.
"""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from itertools import product
from typing import NamedTuple

from hawse.batch import AttributeValue
from hawse.kube.index import Index, Key
from hawse.kube.metadata import PodStore
from hawse.kube.pods import Pod

CONNECTION = "connection"  # a source's name that stands for the peer's address

Association = tuple[str, ...]  # attribute names, or CONNECTION

DEFAULT: tuple[Association, ...] = (
    ("k8s.pod.uid",),
    ("k8s.pod.name", "k8s.namespace.name"),
    ("k8s.pod.ip",),
    (CONNECTION,),
)

Attributes = Mapping[str, AttributeValue]
_MadeKey = Callable[[Attributes, str], Key | None]
Describe = Callable[[Pod], Attributes]


class Sought(NamedTuple):
    """What identifies the pod: a key of a table, or neither where nothing does. `by_peer`: the peer mattered."""

    table: Index | None
    key: Key | None
    by_peer: bool

    @property
    def pod(self) -> Pod | None:
        """The pod, where it is known."""
        return self.table.get(self.key) if self.table is not None else None


class Finder:
    """Associations, compiled against a store. `describe` gives a pod's attributes, for sources of other names."""

    def __init__(self, associations: Iterable[Association], store: PodStore, describe: Describe) -> None:
        self._store = store
        self._describe = describe
        self._own: list[Index] = []
        self._ways = [(CONNECTION in sources, *self._way(sources)) for sources in associations]

    def seek(self, attributes: Attributes, peer: str) -> Sought:
        """What the resource is associated by."""
        by_peer = False
        for uses_peer, index, made_key in self._ways:
            by_peer = by_peer or uses_peer
            key = made_key(attributes, peer)
            if key is not None:
                return Sought(index, key, by_peer)
        return Sought(None, None, by_peer)

    def close(self) -> None:
        """Give the indexes that only this finder has back to the store."""
        for index in self._own:
            self._store.unindex(index)

    def _way(self, sources: Association) -> tuple[Index, _MadeKey]:
        if sources == ("k8s.pod.uid",):
            return self._store.by_uid, _uid
        if set(sources) == {"k8s.pod.name", "k8s.namespace.name"}:
            return self._store.by_name, _name
        if sources == (CONNECTION,):
            return self._store.by_ip, _peer
        if sources in {("k8s.pod.ip",), ("host.name",)}:
            name = sources[0]
            return self._store.by_ip, lambda attributes, _: address(attributes.get(name))
        index = self._store.index(lambda pod: self._keys(pod, sources))
        self._own.append(index)
        return index, lambda attributes, peer: _values(attributes, peer, sources)

    def _keys(self, pod: Pod, sources: Association) -> Iterable[Key]:
        described: Attributes | None = None
        values: list[Iterable[AttributeValue]] = []
        for name in sources:
            if name in {CONNECTION, "k8s.pod.ip", "host.name"}:
                values.append(() if pod.host_network else pod.ips)
            elif name == "container.id":
                ids = [entry for one in pod.containers for entry in (one.id, one.previous_id)]
                values.append([entry for entry in ids if entry])
            else:
                described = self._describe(pod) if described is None else described
                values.append([value] if (value := described.get(name)) else ())
        return product(*values)


def address(value: AttributeValue) -> str | None:
    """An IP address as Kubernetes writes it; None for anything else."""
    if not isinstance(value, str) or not value:
        return None
    try:
        found = ip_address(value.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


def _uid(attributes: Attributes, _: str) -> Key | None:
    uid = attributes.get("k8s.pod.uid")
    return uid if uid and isinstance(uid, str) else None


def _name(attributes: Attributes, _: str) -> Key | None:
    name, namespace = attributes.get("k8s.pod.name"), attributes.get("k8s.namespace.name")
    if not (name and namespace and isinstance(name, str) and isinstance(namespace, str)):
        return None
    return f"{namespace}/{name}"


def _peer(_: Attributes, peer: str) -> Key | None:
    return address(peer)


def _values(attributes: Attributes, peer: str, sources: Association) -> Key | None:
    found: list[AttributeValue] = []
    for name in sources:
        if name == CONNECTION:
            value: AttributeValue = address(peer)
        elif name in {"k8s.pod.ip", "host.name"}:
            value = address(attributes.get(name))
        else:
            value = attributes.get(name)
        if not value or not isinstance(value, str):
            return None
        found.append(value)
    return tuple(found)
