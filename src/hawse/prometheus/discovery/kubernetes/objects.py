"""The fields of Kubernetes objects that targets are made of, decoded straight from the API server's JSON.

Field names are the API's. Go writes absent values as `null` here and there, so every field allows it.
"""

import msgspec

from hawse.kube.objects import ObjectMeta


class _Thin(msgspec.Struct, gc=False):
    """No cycles, so nothing for the garbage collector to track."""


class ContainerPort(_Thin):
    """`spec.containers[].ports[]`."""

    containerPort: int = 0  # noqa: N815
    name: str | None = None
    protocol: str | None = None


class Container(_Thin):
    """`spec.containers[]`, `spec.initContainers[]`."""

    name: str = ""
    image: str | None = None
    ports: list[ContainerPort] | None = None


class PodSpec(_Thin):
    """`spec` of a Pod."""

    nodeName: str | None = None  # noqa: N815
    containers: list[Container] | None = None
    initContainers: list[Container] | None = None  # noqa: N815


class Condition(_Thin):
    """`status.conditions[]`."""

    type: str = ""
    status: str | None = None


class ContainerStatus(_Thin):
    """`status.containerStatuses[]`."""

    name: str = ""
    containerID: str | None = None  # noqa: N815


class PodStatus(_Thin):
    """`status` of a Pod."""

    phase: str | None = None
    podIP: str | None = None  # noqa: N815
    hostIP: str | None = None  # noqa: N815
    conditions: list[Condition] | None = None
    containerStatuses: list[ContainerStatus] | None = None  # noqa: N815
    initContainerStatuses: list[ContainerStatus] | None = None  # noqa: N815


class PodObject(_Thin):
    """v1 Pod."""

    metadata: ObjectMeta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class NodeSpec(_Thin):
    """`spec` of a Node."""

    providerID: str | None = None  # noqa: N815


class NodeAddress(_Thin):
    """`status.addresses[]`."""

    type: str = ""
    address: str = ""


class DaemonEndpoint(_Thin):
    """`status.daemonEndpoints.kubeletEndpoint`: the API server writes its one field with a capital."""

    Port: int = 0


class DaemonEndpoints(_Thin):
    """`status.daemonEndpoints`."""

    kubeletEndpoint: DaemonEndpoint | None = None  # noqa: N815


class NodeStatus(_Thin):
    """`status` of a Node."""

    addresses: list[NodeAddress] | None = None
    conditions: list[Condition] | None = None
    daemonEndpoints: DaemonEndpoints | None = None  # noqa: N815


class NodeObject(_Thin):
    """v1 Node."""

    metadata: ObjectMeta
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class ServicePort(_Thin):
    """`spec.ports[]` of a Service."""

    port: int = 0
    name: str | None = None
    protocol: str | None = None


class ServiceSpec(_Thin):
    """`spec` of a Service."""

    type: str | None = None
    clusterIP: str | None = None  # noqa: N815
    externalName: str | None = None  # noqa: N815
    loadBalancerIP: str | None = None  # noqa: N815
    ipFamilies: list[str] | None = None  # noqa: N815
    ipFamilyPolicy: str | None = None  # noqa: N815
    ports: list[ServicePort] | None = None


class LoadBalancerIngress(_Thin):
    """`status.loadBalancer.ingress[]`."""

    ip: str | None = None


class LoadBalancer(_Thin):
    """`status.loadBalancer`."""

    ingress: list[LoadBalancerIngress] | None = None


class ServiceStatus(_Thin):
    """`status` of a Service."""

    loadBalancer: LoadBalancer | None = None  # noqa: N815


class ServiceObject(_Thin):
    """v1 Service."""

    metadata: ObjectMeta
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus = msgspec.field(default_factory=ServiceStatus)


class ObjectReference(_Thin):
    """`targetRef`."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class EndpointAddress(_Thin):
    """`subsets[].addresses[]`."""

    ip: str = ""
    hostname: str | None = None
    nodeName: str | None = None  # noqa: N815
    targetRef: ObjectReference | None = None  # noqa: N815


class EndpointPort(_Thin):
    """A port of Endpoints or of an EndpointSlice."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None
    appProtocol: str | None = None  # noqa: N815


class EndpointSubset(_Thin):
    """`subsets[]`."""

    addresses: list[EndpointAddress] | None = None
    notReadyAddresses: list[EndpointAddress] | None = None  # noqa: N815
    ports: list[EndpointPort] | None = None


class EndpointsObject(_Thin):
    """v1 Endpoints."""

    metadata: ObjectMeta
    subsets: list[EndpointSubset] | None = None


class EndpointConditions(_Thin):
    """`endpoints[].conditions`."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(_Thin):
    """`endpoints[]` of an EndpointSlice."""

    addresses: list[str] | None = None
    conditions: EndpointConditions | None = None
    hostname: str | None = None
    nodeName: str | None = None  # noqa: N815
    zone: str | None = None
    targetRef: ObjectReference | None = None  # noqa: N815
    deprecatedTopology: dict[str, str] | None = None  # noqa: N815


class EndpointSliceObject(_Thin):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata: ObjectMeta
    addressType: str = ""  # noqa: N815
    endpoints: list[Endpoint] | None = None
    ports: list[EndpointPort] | None = None


class IngressPath(_Thin):
    """`spec.rules[].http.paths[]`."""

    path: str | None = None


class IngressHttp(_Thin):
    """`spec.rules[].http`."""

    paths: list[IngressPath] | None = None


class IngressRule(_Thin):
    """`spec.rules[]`."""

    host: str | None = None
    http: IngressHttp | None = None


class IngressTLS(_Thin):
    """`spec.tls[]`."""

    hosts: list[str] | None = None


class IngressSpec(_Thin):
    """`spec` of an Ingress."""

    ingressClassName: str | None = None  # noqa: N815
    rules: list[IngressRule] | None = None
    tls: list[IngressTLS] | None = None


class IngressObject(_Thin):
    """networking.k8s.io/v1 Ingress."""

    metadata: ObjectMeta
    spec: IngressSpec = msgspec.field(default_factory=IngressSpec)
