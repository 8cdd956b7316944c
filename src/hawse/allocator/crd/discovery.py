"""Where a monitor's targets are looked for: `kubernetes_sd_configs`, within the allocator's own limits.

A monitor's label selector is not handed to the API server: that would be a watch for each monitor. All share one.
"""

from hawse.allocator.crd import Document, Rights
from hawse.allocator.crd.fields import AttachMetadata
from hawse.allocator.safety import Refusal
from hawse.allocator.select import NamespaceSelector

ROLES = ("pod", "service", "endpoints", "endpointslice", "ingress", "node")


def kubernetes(role: str, where: NamespaceSelector, namespace: str, rights: Rights) -> Document:
    """The discovery of a monitor in `namespace`. Raises Refusal where none of its namespaces is allowed."""
    wanted = frozenset({namespace}) if rights.ignore_namespace_selectors else where.names(namespace)
    return spread(role, wanted, namespace, rights)


def spread(role: str, wanted: frozenset[str] | None, namespace: str, rights: Rights) -> Document:
    """The discovery of `role` in the namespaces `wanted` (None: all) as far as the allocator may look there."""
    if role == "node":
        return {"role": role}
    names = rights.limits.narrowed(wanted)
    if names is None:
        return {"role": role}
    if not names:
        where = "all namespaces" if wanted is None else ", ".join(sorted(wanted)) or namespace
        raise Refusal(f"its targets are in {where}, where the allocator may not look (namespaces)")
    return {"role": role, "namespaces": {"names": sorted(names)}}


def attached(wanted: AttachMetadata | None, rights: Rights) -> Document:
    """`attach_metadata`, as far as the allocator may look at nodes."""
    node = wanted is not None and wanted.node and rights.guard.allow.node_discovery
    return {"attach_metadata": {"node": True}} if node else {}


def not_attached(wanted: AttachMetadata | None, rights: Rights) -> str:
    """What is to be said where that is not what was asked for."""
    if wanted is not None and wanted.node and not rights.guard.allow.node_discovery:
        return "attachMetadata.node has no effect: nodes are the whole cluster's (allow.node_discovery is off)"
    return ""
