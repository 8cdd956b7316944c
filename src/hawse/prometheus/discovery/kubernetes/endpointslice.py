"""The role `endpointslice`: one target for each address and port of a slice of a service's endpoints.

Ports of its pods that are no endpoints are targets, too.
"""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.covering import Covered
from hawse.prometheus.discovery.kubernetes.kept import Kept, Pod
from hawse.prometheus.discovery.kubernetes.naming import NAMESPACE, PREFIX, Labels, add_meta, joined, sanitized, word
from hawse.prometheus.discovery.kubernetes.objects import Endpoint, EndpointPort, EndpointSliceObject
from hawse.prometheus.discovery.kubernetes.pod import WithPods
from hawse.prometheus.discovery.kubernetes.roles import Reference, attached
from hawse.prometheus.discovery.kubernetes.service import service_labels
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

_SLICE = f"{PREFIX}endpointslice_"
_SERVICE_NAME = "kubernetes.io/service-name"


class EndpointSliceRole(WithPods):
    """An EndpointSlice."""

    name = "endpointslice"

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:
        """Slices, services and pods, and what attach_metadata asks for."""
        yield from ("endpointslice", "service", "pod")
        yield from attached(config, pods=True)

    def references(self, found: Kept) -> Iterator[Reference]:
        """Its service, namespace, pods, and what those are made of."""
        if service := _service(found):
            yield "service", service
        if self.attach.namespace:
            yield "namespace", found.meta.namespace
        for endpoint in found.of.endpoints or ():
            yield from self._behind(endpoint)

    def _behind(self, endpoint: Endpoint) -> Iterator[Reference]:
        reference = endpoint.targetRef
        if self.attach.node and (node := _node(endpoint)):
            yield "node", node
        if reference is not None and reference.kind == "Pod":
            key = f"{reference.namespace}/{reference.name}"
            yield "pod", key
            pod: Pod | None = self.lookup("pod", key)
            if pod is not None:
                yield from self.pod_references(pod)

    def build(self, found: Kept) -> TargetGroup:
        """See Role. The second address family of a service has no targets: they would be the first one's again."""
        meta, part = found.meta, found.of
        labels: Labels = {NAMESPACE: meta.namespace, f"{_SLICE}address_type": part.addressType}
        add_meta(labels, meta, "endpointslice")
        service: Kept | None = self.lookup("service", _service(found)) if _service(found) else None
        if service is not None:
            labels |= service_labels(service)
        self.add_namespace(labels, meta)
        source = self.source(f"{meta.namespace}/{meta.name}")
        if service is not None and _is_second_family(service, part):
            return TargetGroup(source)
        covered = Covered(self)
        for endpoint in part.endpoints or ():
            for port in part.ports or ():
                for address in endpoint.addresses or ():
                    target = self._target(address, endpoint, port)
                    covered.add(target, endpoint.targetRef, port.port, None)
        return TargetGroup(source, (*covered.targets, *covered.others()), labels)

    def _target(self, address: str, endpoint: Endpoint, port: EndpointPort) -> Labels:
        target = {"__address__": address if port.port is None else joined(address, port.port)}
        conditions = endpoint.conditions
        reference = endpoint.targetRef
        known = {
            "port_name": port.name,
            "port_protocol": port.protocol,
            "port": None if port.port is None else str(port.port),
            "port_app_protocol": port.appProtocol,
            "endpoint_conditions_ready": conditions and conditions.ready,
            "endpoint_conditions_serving": conditions and conditions.serving,
            "endpoint_conditions_terminating": conditions and conditions.terminating,
            "endpoint_hostname": endpoint.hostname,
            "address_target_kind": reference and reference.kind,
            "address_target_name": reference and reference.name,
            "endpoint_node_name": endpoint.nodeName,
            "endpoint_zone": endpoint.zone,
        }
        for name, value in known.items():
            if value is not None:
                target[_SLICE + name] = value if isinstance(value, str) else word(bool(value))
        for key, value in (endpoint.deprecatedTopology or {}).items():
            target[f"{_SLICE}endpoint_topology_{sanitized(key)}"] = value
            target[f"{_SLICE}endpoint_topology_present_{sanitized(key)}"] = "true"
        self.add_node(target, _node(endpoint))
        return target


def _service(found: Kept) -> str:
    name = (found.meta.labels or {}).get(_SERVICE_NAME)
    return "" if name is None else f"{found.meta.namespace}/{name}"


def _node(endpoint: Endpoint) -> str:
    if endpoint.targetRef is not None and endpoint.targetRef.kind == "Node":
        return endpoint.targetRef.name
    return endpoint.nodeName or ""


def _is_second_family(service: Kept, part: EndpointSliceObject) -> bool:
    spec = service.of.spec
    if spec.ipFamilyPolicy not in {"PreferDualStack", "RequireDualStack"} or not spec.ipFamilies:
        return False
    return bool(part.addressType != spec.ipFamilies[0])
