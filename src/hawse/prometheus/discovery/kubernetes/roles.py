"""What every role has: the objects that it looks at, and how one of them becomes a group."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from hawse.prometheus.discovery.kubernetes.kept import Kept, Meta
from hawse.prometheus.discovery.kubernetes.naming import Labels, add_meta, add_texts
from hawse.prometheus.sd_settings import AttachMetadata, KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

# Finds an object: kind, and `namespace/name` or name. None where there is none.
Lookup = Callable[[str, str], Any]
Reference = tuple[str, str]  # kind and key of an object that a group is made of, too


class Role:
    """How the objects of one role become groups, one each.

    `kinds(config)` is what must be watched, the role's own kind first. `references(found)` names the other objects
    that go into a group: when one of them changes, the group is made anew.
    """

    name: ClassVar[str]

    def __init__(self, config: KubernetesSDConfig, lookup: Lookup) -> None:
        self.attach: AttachMetadata = config.attach_metadata
        self.lookup = lookup

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:
        """Kinds to watch (keys of `watching.KINDS`)."""
        raise NotImplementedError

    def references(self, found: Any) -> Iterator[Reference]:
        """What else goes into the group of an object."""
        raise NotImplementedError

    def build(self, found: Any) -> TargetGroup:
        """The group of an object; without targets where it has none."""
        raise NotImplementedError

    def source(self, key: str) -> str:
        """The `source` of the group of an object."""
        return f"{self.name}/{key}"

    # --- what several roles do

    def add_node(self, labels: Labels, name: str) -> None:
        """With attach_metadata.node: the node's name, labels and annotations."""
        if self.attach.node and name:
            node: Kept | None = self.lookup("node", name)
            if node is not None:
                add_meta(labels, node.meta, "node")

    def add_namespace(self, labels: Labels, meta: Meta) -> None:
        """With attach_metadata.namespace: the namespace's labels and annotations."""
        if self.attach.namespace:
            namespace: Kept | None = self.lookup("namespace", meta.namespace)
            if namespace is not None:
                add_texts(labels, namespace.meta, "namespace")


def attached(config: KubernetesSDConfig, *, pods: bool) -> Iterator[str]:
    """The kinds that `attach_metadata` asks for; those about pods' owners only where a role has pods."""
    attach = config.attach_metadata
    if attach.namespace:
        yield "namespace"
    if pods:
        if attach.node:
            yield "node"
        if attach.deployment:
            yield "replicaset"
        if attach.cronjob:  # the job's own name stands in the pod
            yield "job"
