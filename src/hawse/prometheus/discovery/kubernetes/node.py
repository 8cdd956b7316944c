"""The role `node`: one target for each node, the kubelet by its address."""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.kept import Kept
from hawse.prometheus.discovery.kubernetes.naming import PREFIX, Labels, add_meta, joined, sanitized
from hawse.prometheus.discovery.kubernetes.roles import Reference, Role
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

# Which address of a node is used, the best first.
_ADDRESSES = ("InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname")


class NodeRole(Role):
    """A node."""

    name = "node"

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:  # noqa: ARG004
        """Nodes alone."""
        yield "node"

    def references(self, found: Kept) -> Iterator[Reference]:  # noqa: ARG002
        """None."""
        yield from ()

    def build(self, found: Kept) -> TargetGroup:
        """See Role."""
        meta, node = found.meta, found.of
        source = self.source(meta.name)
        addresses: dict[str, str] = {}
        for one in node.status.addresses or ():
            addresses.setdefault(one.type, one.address)
        host = next((addresses[kind] for kind in _ADDRESSES if kind in addresses), "")
        if not host:
            return TargetGroup(source)
        labels: Labels = {f"{PREFIX}node_provider_id": node.spec.providerID or ""}
        for condition in node.status.conditions or ():
            labels[f"{PREFIX}node_condition_{sanitized(condition.type.lower())}"] = (condition.status or "").lower()
        add_meta(labels, meta, "node")
        daemons = node.status.daemonEndpoints
        kubelet = daemons.kubeletEndpoint if daemons is not None else None
        target = {"__address__": joined(host, kubelet.Port if kubelet is not None else 0), "instance": meta.name}
        target |= {f"{PREFIX}node_address_{sanitized(kind)}": address for kind, address in addresses.items()}
        return TargetGroup(source, (target,), labels)
