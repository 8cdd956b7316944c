"""What each role makes of Kubernetes objects: addresses and labels as prometheus.io/docs documents them."""

import json

import msgspec
import pytest

from hawse.kube.objects import PartialObject
from hawse.prometheus.decoding import decoded
from hawse.prometheus.discovery.kubernetes.finder import ROLES
from hawse.prometheus.discovery.kubernetes.kept import Keeper
from hawse.prometheus.discovery.kubernetes.stores import Store
from hawse.prometheus.discovery.kubernetes.watching import KINDS
from hawse.prometheus.sd_settings import KubernetesSDConfig

META = "__meta_kubernetes_"
KIND = {"Node": "node", "Pod": "pod", "Service": "service", "Endpoints": "endpoints", "EndpointSlice": "endpointslice",
        "Ingress": "ingress", "Namespace": "namespace", "ReplicaSet": "replicaset", "Job": "job"}  # fmt: skip


def thing(kind, name, namespace="shop", **fields):
    meta = {"name": name, "uid": f"uid-{name}", **({"namespace": namespace} if namespace else {})}
    for key in ("labels", "annotations", "ownerReferences"):
        if key in fields:
            meta[key] = fields.pop(key)
    return {"kind": kind, "metadata": meta, **fields}


def owner(kind, name, controller=True):
    return [
        {"kind": "Other", "name": "x", "uid": "y"},
        {"kind": kind, "name": name, "uid": "u", "controller": controller},
    ]


class Cluster:
    """Objects as the API server writes them, taken in as watches do."""

    def __init__(self, *things):
        keeper = Keeper()
        self.stores = {}
        for kind, known in KINDS.items():
            keep = keeper.partial if known.object is None else keeper.pod if kind == "pod" else keeper.other
            self.stores[kind] = Store(keep)
        for one in things:
            kind = KIND[one["kind"]]
            body = json.dumps(one).encode()
            self.stores[kind].put(msgspec.json.decode(body, type=KINDS[kind].object or PartialObject))

    def find(self, kind, key):
        return self.stores[kind].objects.get(key)

    def group(self, role, key, **keys):
        config = decoded({"role": role, **keys}, KubernetesSDConfig)
        made = ROLES[role](config, self.find)
        return made.build(self.find(role, key))

    def all(self, role, key, **keys):
        """Each target with its group's labels."""
        group = self.group(role, key, **keys)
        return [{**group.labels, **target} for target in group.targets]


def short(labels):
    return {name.removeprefix(META): value for name, value in labels.items()}


NODE = thing(
    "Node", "n1", "", labels={"zone": "a", "topology.kubernetes.io/region": "r"}, annotations={"a/b": "c"},
    spec={"providerID": "aws:///i-1"},
    status={
        "addresses": [{"type": "Hostname", "address": "n1.local"}, {"type": "InternalIP", "address": "10.0.0.1"},
                      {"type": "InternalIP", "address": "fd00::1"}, {"type": "ExternalIP", "address": "1.2.3.4"}],
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "Unknown"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
    },
)  # fmt: skip


def test_node():
    group = Cluster(NODE).group("node", "n1")
    assert group.source == "node/n1"
    assert group.targets == (
        {"__address__": "10.0.0.1:10250", "instance": "n1", f"{META}node_address_Hostname": "n1.local",
         f"{META}node_address_InternalIP": "10.0.0.1", f"{META}node_address_ExternalIP": "1.2.3.4"},
    )  # fmt: skip
    assert short(group.labels) == {
        "node_name": "n1", "node_provider_id": "aws:///i-1", "node_condition_ready": "true",
        "node_condition_memorypressure": "unknown", "node_label_zone": "a", "node_labelpresent_zone": "true",
        "node_label_topology_kubernetes_io_region": "r", "node_labelpresent_topology_kubernetes_io_region": "true",
        "node_annotation_a_b": "c", "node_annotationpresent_a_b": "true",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("addresses", "address"),
    [
        ([("Hostname", "h"), ("ExternalDNS", "e")], "e:0"),
        ([("ExternalIP", "1.1.1.1"), ("InternalDNS", "i")], "i:0"),
        ([("InternalIP", "fd00::1")], "[fd00::1]:0"),
        ([("LegacyHostIP", "l"), ("Hostname", "h")], "l:0"),
    ],
)
def test_which_address_of_a_node(addresses, address):
    status = {"addresses": [{"type": kind, "address": one} for kind, one in addresses]}
    assert Cluster(thing("Node", "n", "", status=status)).group("node", "n").targets[0]["__address__"] == address


def test_a_node_without_address_is_no_target():
    assert Cluster(thing("Node", "n", "", status={"addresses": None})).group("node", "n").targets == ()


def pod(name="web", ip="10.1.0.1", containers=None, **keys):
    containers = containers or [
        {"name": "app", "image": "app:1", "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"},
                                                   {"containerPort": 53, "protocol": "UDP"}]},
        {"name": "side", "image": "side:1"},
    ]  # fmt: skip
    return thing(
        "Pod", name, labels={"app": "web"}, annotations={"prometheus.io/scrape": "true"},
        spec={"nodeName": "n1", "containers": containers, "initContainers": keys.pop("init", None)},
        status={"phase": "Running", "podIP": ip, "hostIP": "10.0.0.1",
                "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "app", "containerID": "containerd://abc"}],
                "initContainerStatuses": [{"name": "init", "containerID": "containerd://def"}]},
        **keys,
    )  # fmt: skip


POD_LABELS = {
    "pod_name": "web", "pod_ip": "10.1.0.1", "pod_ready": "false", "pod_phase": "Running", "pod_node_name": "n1",
    "pod_host_ip": "10.0.0.1", "pod_uid": "uid-web", "pod_label_app": "web", "pod_labelpresent_app": "true",
    "pod_annotation_prometheus_io_scrape": "true", "pod_annotationpresent_prometheus_io_scrape": "true",
}  # fmt: skip


def test_pod():
    init = [{"name": "init", "image": "init:1", "ports": [{"name": "i", "containerPort": 9, "protocol": "TCP"}]}]
    group = Cluster(pod(init=init)).group("pod", "shop/web")
    assert group.source == "pod/shop/web"
    assert short(group.labels) == {**POD_LABELS, "namespace": "shop"}
    c = "pod_container_"
    assert [short(target) for target in group.targets] == [
        {"__address__": "10.1.0.1:80", f"{c}name": "app", f"{c}image": "app:1", f"{c}id": "containerd://abc", f"{c}init": "false",
         f"{c}port_name": "http", f"{c}port_number": "80", f"{c}port_protocol": "TCP"},
        {"__address__": "10.1.0.1:53", f"{c}name": "app", f"{c}image": "app:1", f"{c}id": "containerd://abc", f"{c}init": "false",
         f"{c}port_name": "", f"{c}port_number": "53", f"{c}port_protocol": "UDP"},
        {"__address__": "10.1.0.1", f"{c}name": "side", f"{c}image": "side:1", f"{c}id": "", f"{c}init": "false"},
        {"__address__": "10.1.0.1:9", f"{c}name": "init", f"{c}image": "init:1", f"{c}id": "containerd://def", f"{c}init": "true",
         f"{c}port_name": "i", f"{c}port_number": "9", f"{c}port_protocol": "TCP"},
    ]  # fmt: skip


def test_a_pod_of_ipv6_and_one_without_address():
    assert Cluster(pod(ip="fd00::5")).group("pod", "shop/web").targets[0]["__address__"] == "[fd00::5]:80"
    assert Cluster(pod(ip=None)).group("pod", "shop/web").targets == ()


def test_owners_of_a_pod():
    deployment = thing("ReplicaSet", "web-1", ownerReferences=owner("Deployment", "web"))
    made = Cluster(pod(ownerReferences=owner("ReplicaSet", "web-1")), deployment)
    labels = short(made.group("pod", "shop/web").labels)
    assert (labels["pod_controller_kind"], labels["pod_controller_name"]) == ("ReplicaSet", "web-1")
    assert "pod_deployment_name" not in labels
    labels = short(made.group("pod", "shop/web", attach_metadata={"deployment": True}).labels)
    assert labels["pod_deployment_name"] == "web"
    cron = thing("Job", "nightly-1", ownerReferences=owner("CronJob", "nightly"))
    made = Cluster(pod(ownerReferences=owner("Job", "nightly-1")), cron)
    labels = short(made.group("pod", "shop/web", attach_metadata={"job": True, "cronjob": True}).labels)
    assert (labels["pod_job_name"], labels["pod_cronjob_name"]) == ("nightly-1", "nightly")
    labels = short(Cluster(pod(ownerReferences=owner("Job", "a", controller=False))).group("pod", "shop/web").labels)
    assert "pod_controller_kind" not in labels


def test_attached_node_and_namespace():
    namespace = thing("Namespace", "shop", "", labels={"team": "x"}, annotations={"owner": "y"})
    attach = {"attach_metadata": {"node": True, "namespace": True}}
    labels = short(Cluster(pod(), NODE, namespace).group("pod", "shop/web", **attach).labels)
    assert labels.items() >= {
        "node_name": "n1", "node_label_zone": "a", "node_labelpresent_zone": "true", "node_annotation_a_b": "c",
        "namespace_label_team": "x", "namespace_labelpresent_team": "true", "namespace_annotation_owner": "y",
        "namespace_annotationpresent_owner": "true",
    }.items()  # fmt: skip
    assert "node_provider_id" not in labels and labels["namespace"] == "shop"
    assert Cluster(pod(), namespace).group("pod", "shop/web", **attach).targets == ()  # its node is left out


def service(**spec):
    status = spec.pop("status", {})
    return thing("Service", "web", labels={"tier": "front"}, annotations={"x": "y"}, spec=spec, status=status)


SERVICE_LABELS = {
    "namespace": "shop", "service_name": "web", "service_label_tier": "front", "service_labelpresent_tier": "true",
    "service_annotation_x": "y", "service_annotationpresent_x": "true",
}  # fmt: skip


def test_service():
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.9.0.1",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 81}],
    }
    group = Cluster(service(**spec)).group("service", "shop/web")
    assert group.source == "svc/shop/web" and short(group.labels) == SERVICE_LABELS
    assert [short(target) for target in group.targets] == [
        {"__address__": "web.shop.svc:80", "service_port_name": "http", "service_port_number": "80",
         "service_port_protocol": "TCP", "service_type": "ClusterIP", "service_cluster_ip": "10.9.0.1"},
        {"__address__": "web.shop.svc:81", "service_port_name": "", "service_port_number": "81",
         "service_port_protocol": "", "service_type": "ClusterIP", "service_cluster_ip": "10.9.0.1"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "labels"),
    [
        ({"type": "ExternalName", "externalName": "x.org"}, {"service_external_name": "x.org"}),
        ({"type": "LoadBalancer", "clusterIP": "c", "loadBalancerIP": "1.1.1.1"}, {"service_cluster_ip": "c", "service_loadbalancer_ip": "1.1.1.1"}),
        (
            {"type": "LoadBalancer", "clusterIP": "c", "loadBalancerIP": "1.1.1.1",
             "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "h"}, {"ip": "3.3.3.3"}]}}},
            {"service_cluster_ip": "c", "service_loadbalancer_ip": "2.2.2.2,3.3.3.3"},
        ),
    ],
)  # fmt: skip
def test_types_of_services(spec, labels):
    found = short(Cluster(service(ports=[{"port": 1}], **spec)).group("service", "shop/web").targets[0])
    about = {
        key: one
        for key, one in found.items()
        if key in {"service_external_name", "service_cluster_ip", "service_loadbalancer_ip"}
    }
    assert about == labels and found["service_type"] == spec["type"]


def test_endpoints():
    reference = {"kind": "Pod", "name": "web", "namespace": "shop"}
    endpoints = thing(
        "Endpoints", "web", labels={"e": "1"},
        subsets=[{
            "addresses": [{"ip": "10.1.0.1", "nodeName": "n1", "hostname": "h", "targetRef": reference}],
            "notReadyAddresses": [{"ip": "10.1.0.9", "targetRef": {"kind": "Node", "name": "n1"}}],
            "ports": [{"name": "http", "port": 80, "protocol": "SCTP"}],
        }],
    )  # fmt: skip
    cluster = Cluster(endpoints, service(), pod(), NODE)
    group = cluster.group("endpoints", "shop/web")
    assert group.source == "endpoints/shop/web"
    assert short(group.labels) == {
        **SERVICE_LABELS,
        "endpoints_name": "web",
        "endpoints_label_e": "1",
        "endpoints_labelpresent_e": "true",
    }
    c = "pod_container_"
    assert [short(target) for target in group.targets] == [
        {"__address__": "10.1.0.1:80", "endpoint_port_name": "http", "endpoint_port_protocol": "SCTP", "endpoint_ready": "true",
         "endpoint_address_target_kind": "Pod", "endpoint_address_target_name": "web", "endpoint_node_name": "n1",
         "endpoint_hostname": "h", **POD_LABELS, f"{c}name": "app", f"{c}image": "app:1", f"{c}port_name": "http",
         f"{c}port_number": "80", f"{c}port_protocol": "SCTP", f"{c}init": "false"},
        {"__address__": "10.1.0.9:80", "endpoint_port_name": "http", "endpoint_port_protocol": "SCTP", "endpoint_ready": "false",
         "endpoint_address_target_kind": "Node", "endpoint_address_target_name": "n1"},
        # The pod's other port is no endpoint: a target all the same.
        {"__address__": "10.1.0.1:53", **POD_LABELS, f"{c}name": "app", f"{c}image": "app:1", f"{c}port_name": "",
         f"{c}port_number": "53", f"{c}port_protocol": "UDP", f"{c}init": "false"},
    ]  # fmt: skip
    with_node = [
        short(target) for target in cluster.group("endpoints", "shop/web", attach_metadata={"node": True}).targets
    ]
    assert [target.get("node_name") for target in with_node] == ["n1", "n1", None]
    without = Cluster(endpoints).all("endpoints", "shop/web")
    assert [target["__address__"] for target in without] == ["10.1.0.1:80", "10.1.0.9:80"]
    assert f"{META}service_name" not in without[0] and f"{META}pod_name" not in without[0]


def slice_(**fields):
    fields = {"addressType": "IPv4", **fields}
    return thing("EndpointSlice", "web-1", labels={"kubernetes.io/service-name": "web"}, **fields)


def test_endpointslice():
    reference = {"kind": "Pod", "name": "web", "namespace": "shop"}
    found = slice_(
        endpoints=[
            {"addresses": ["10.1.0.1"], "conditions": {"ready": True, "serving": True, "terminating": False}, "nodeName": "n1",
             "zone": "z1", "hostname": "h", "targetRef": reference, "deprecatedTopology": {"a/b": "c"}},
            {"addresses": ["10.1.0.8", "10.1.0.9"], "conditions": {}},
        ],
        ports=[{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}],
    )  # fmt: skip
    cluster = Cluster(found, service(), pod(), NODE)
    group = cluster.group("endpointslice", "shop/web-1")
    assert group.source == "endpointslice/shop/web-1"
    assert short(group.labels) == {
        **SERVICE_LABELS, "endpointslice_name": "web-1", "endpointslice_address_type": "IPv4",
        "endpointslice_label_kubernetes_io_service_name": "web", "endpointslice_labelpresent_kubernetes_io_service_name": "true",
    }  # fmt: skip
    e, c = "endpointslice_", "pod_container_"
    port = {f"{e}port_name": "http", f"{e}port_protocol": "TCP", f"{e}port": "80", f"{e}port_app_protocol": "http"}
    assert [short(target) for target in group.targets] == [
        {"__address__": "10.1.0.1:80", **port, f"{e}endpoint_conditions_ready": "true", f"{e}endpoint_conditions_serving": "true",
         f"{e}endpoint_conditions_terminating": "false", f"{e}endpoint_hostname": "h", f"{e}address_target_kind": "Pod",
         f"{e}address_target_name": "web", f"{e}endpoint_node_name": "n1", f"{e}endpoint_zone": "z1",
         f"{e}endpoint_topology_a_b": "c", f"{e}endpoint_topology_present_a_b": "true", **POD_LABELS, f"{c}name": "app",
         f"{c}image": "app:1", f"{c}port_name": "http", f"{c}port_number": "80", f"{c}port_protocol": "TCP", f"{c}init": "false"},
        {"__address__": "10.1.0.8:80", **port},
        {"__address__": "10.1.0.9:80", **port},
        {"__address__": "10.1.0.1:53", **POD_LABELS, f"{c}name": "app", f"{c}image": "app:1", f"{c}port_name": "",
         f"{c}port_number": "53", f"{c}port_protocol": "UDP", f"{c}init": "false"},
    ]  # fmt: skip
    labels = short(cluster.group("endpointslice", "shop/web-1", attach_metadata={"node": True}).targets[0])
    assert labels["node_name"] == "n1" and labels["node_label_zone"] == "a"


def test_a_slice_without_port_numbers():
    found = Cluster(slice_(endpoints=[{"addresses": ["a"]}], ports=[{"name": "any"}])).group(
        "endpointslice", "shop/web-1"
    )
    assert [short(target) for target in found.targets] == [{"__address__": "a", "endpointslice_port_name": "any"}]


def test_the_second_address_family_is_left_out():
    both = service(ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv4", "IPv6"])
    fields = {"endpoints": [{"addresses": ["fd00::1"]}], "ports": [{"port": 1}]}
    assert Cluster(both, slice_(addressType="IPv6", **fields)).group("endpointslice", "shop/web-1").targets == ()
    assert len(Cluster(both, slice_(addressType="IPv4", **fields)).group("endpointslice", "shop/web-1").targets) == 1
    single = service(ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    assert len(Cluster(single, slice_(addressType="IPv6", **fields)).group("endpointslice", "shop/web-1").targets) == 1


def test_ingress():
    spec = {
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["a.example.com", "*.wild.org"]}, {"secretName": "x"}],
        "rules": [
            {"host": "a.example.com", "http": {"paths": [{"path": "/x"}, {"path": ""}]}},
            {"host": "b.wild.org"},
            {"host": "b.c.wild.org", "http": {"paths": []}},
            {"host": "plain.org", "http": {"paths": [{"path": "/"}]}},
            {},
        ],
    }
    group = Cluster(thing("Ingress", "web", labels={"l": "1"}, spec=spec)).group("ingress", "shop/web")
    assert group.source == "ingress/shop/web"
    assert short(group.labels) == {
        "namespace": "shop",
        "ingress_name": "web",
        "ingress_class_name": "nginx",
        "ingress_label_l": "1",
        "ingress_labelpresent_l": "true",
    }
    assert [tuple(short(target).values()) for target in group.targets] == [
        ("a.example.com", "https", "a.example.com", "/x"),
        ("a.example.com", "https", "a.example.com", "/"),
        ("b.wild.org", "https", "b.wild.org", "/"),
        ("plain.org", "http", "plain.org", "/"),
        ("", "http", "", "/"),
    ]
    assert list(short(group.targets[0])) == ["__address__", "ingress_scheme", "ingress_host", "ingress_path"]


@pytest.mark.parametrize("kind", sorted(KIND))
def test_objects_with_nothing_in_them(kind):
    """`null` wherever Go writes it."""
    role = KIND[kind]
    empty = {
        "kind": kind,
        "metadata": {"name": "x", "labels": None, "annotations": None, "ownerReferences": None},
        "subsets": None,
        "endpoints": None,
        "ports": None,
        "spec": {},
        "status": {},
    }
    cluster = Cluster(empty)
    if role in ROLES:
        config = decoded(
            {"role": role, "attach_metadata": {"node": True, "namespace": True, "deployment": True}}, KubernetesSDConfig
        )
        made = ROLES[role](config, cluster.find)
        found = cluster.find(role, "x")
        assert made.build(found).targets == ()
        list(made.references(found))
