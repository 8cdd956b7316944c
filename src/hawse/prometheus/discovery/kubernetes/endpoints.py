"""The role `endpoints`: one target for each address and port of a service's endpoints.

Ports of its pods that are no endpoints are targets, too. Kubernetes cuts Endpoints off at 1000 addresses: the role
`endpointslice` has all.
"""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.covering import Covered
from hawse.prometheus.discovery.kubernetes.kept import Kept, Pod
from hawse.prometheus.discovery.kubernetes.naming import NAMESPACE, PREFIX, Labels, add_meta, joined, word
from hawse.prometheus.discovery.kubernetes.objects import EndpointAddress, EndpointPort
from hawse.prometheus.discovery.kubernetes.pod import WithPods
from hawse.prometheus.discovery.kubernetes.roles import Reference, attached
from hawse.prometheus.discovery.kubernetes.service import service_labels
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

_ENDPOINT = f"{PREFIX}endpoint_"


class EndpointsRole(WithPods):
    """An Endpoints object."""

    name = "endpoints"

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:
        """Endpoints, services and pods, and what attach_metadata asks for."""
        yield from ("endpoints", "service", "pod")
        yield from attached(config, pods=True)

    def references(self, found: Kept) -> Iterator[Reference]:
        """Its service, namespace, pods, and what those are made of."""
        meta = found.meta
        yield "service", f"{meta.namespace}/{meta.name}"
        if self.attach.namespace:
            yield "namespace", meta.namespace
        for subset in found.of.subsets or ():
            for address in (*(subset.addresses or ()), *(subset.notReadyAddresses or ())):
                yield from self._behind(address)

    def _behind(self, address: EndpointAddress) -> Iterator[Reference]:
        reference = address.targetRef
        if self.attach.node and (node := _node(address)):
            yield "node", node
        if reference is not None and reference.kind == "Pod":
            key = f"{reference.namespace}/{reference.name}"
            yield "pod", key
            pod: Pod | None = self.lookup("pod", key)
            if pod is not None:
                yield from self.pod_references(pod)

    def build(self, found: Kept) -> TargetGroup:
        """See Role."""
        meta = found.meta
        service: Kept | None = self.lookup("service", f"{meta.namespace}/{meta.name}")
        labels: Labels = {NAMESPACE: meta.namespace}
        if service is not None:
            labels |= service_labels(service)
        add_meta(labels, meta, "endpoints")
        self.add_namespace(labels, meta)
        covered = Covered(self)
        for subset in found.of.subsets or ():
            for port in subset.ports or ():
                for ready, addresses in ((True, subset.addresses), (False, subset.notReadyAddresses)):
                    for address in addresses or ():
                        target = self._target(address, port, ready=ready)
                        covered.add(target, address.targetRef, port.port, port.protocol or "")
        targets = (*covered.targets, *covered.others())
        return TargetGroup(self.source(f"{meta.namespace}/{meta.name}"), targets, labels)

    def _target(self, address: EndpointAddress, port: EndpointPort, *, ready: bool) -> Labels:
        target = {
            "__address__": joined(address.ip, port.port or 0),
            f"{_ENDPOINT}port_name": port.name or "",
            f"{_ENDPOINT}port_protocol": port.protocol or "",
            f"{_ENDPOINT}ready": word(ready),
        }
        if address.targetRef is not None:
            target[f"{_ENDPOINT}address_target_kind"] = address.targetRef.kind
            target[f"{_ENDPOINT}address_target_name"] = address.targetRef.name
        if address.nodeName is not None:
            target[f"{_ENDPOINT}node_name"] = address.nodeName
        if address.hostname:
            target[f"{_ENDPOINT}hostname"] = address.hostname
        self.add_node(target, _node(address))
        return target


def _node(address: EndpointAddress) -> str:
    if address.nodeName is None and address.targetRef is not None and address.targetRef.kind == "Node":
        return address.targetRef.name
    return address.nodeName or ""
