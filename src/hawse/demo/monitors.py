"""How the demo's metrics are found: Services, EndpointSlices, ServiceMonitors and PodMonitors, as a cluster has them
(discovery.k8s.io/v1, monitoring.coreos.com/v1). The pod `orders-0` is found by its annotations instead.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hawse.demo.cast import NODE, Pod, port_name

Object = dict[str, Any]
NODE_EXPORTER = "node-exporter"
_HERE = "127.0.0.1"


def of_pods(pods: Sequence[Pod]) -> Iterator[Object]:
    """What leads to the metrics of the demo's pods."""
    web = [pod for pod in pods if pod.labels.get("app") == "web"]
    ports = {port_name(container): container.port for container in web[0].containers}
    yield _service("shop", "web", ports, {"app": "web"})
    yield slice_of("shop", "web", ports, [_of_pod(pod) for pod in web], "web-x7k2p")
    yield _monitor("ServiceMonitor", "shop", "web", {"app": "web"}, "endpoints", list(ports))
    for pod in pods:
        names = [port_name(container) for container in pod.containers if container.port]
        if names and pod not in web and "prometheus.io/scrape" not in pod.annotations:
            key = next(iter(pod.labels))
            yield _monitor(
                "PodMonitor",
                pod.namespace,
                key.rpartition("/")[2],
                {key: pod.labels[key]},
                "podMetricsEndpoints",
                names,
            )


def of_processes(ports: Mapping[str, int]) -> Iterator[Object]:
    """What leads to the metrics of programs on this machine, by name: Hawse's own, and the node exporter."""
    for name, port in ports.items():
        yield _service("monitoring", name, {"metrics": port}, {"app": name})
        endpoint = {"addresses": [_HERE], "conditions": {"ready": True}, "nodeName": NODE}
        yield slice_of("monitoring", name, {"metrics": port}, [endpoint], f"{name}-self")
        yield _monitor("ServiceMonitor", "monitoring", name, {"app": name}, "endpoints", ["metrics"])


def slice_of(namespace: str, service: str, ports: Mapping[str, int], endpoints: list[Object], name: str) -> Object:
    """An EndpointSlice of a Service."""
    found = _object("EndpointSlice", "discovery.k8s.io/v1", namespace, name, {"kubernetes.io/service-name": service})
    listed = [{"name": port, "port": number, "protocol": "TCP"} for port, number in ports.items()]
    return found | {"addressType": "IPv4", "endpoints": endpoints, "ports": listed}


def _of_pod(pod: Pod) -> Object:
    target = {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
    return {
        "addresses": [pod.ip],
        "conditions": {"ready": True, "serving": True},
        "nodeName": NODE,
        "targetRef": target,
    }


def _service(namespace: str, name: str, ports: Mapping[str, int], labels: Mapping[str, str]) -> Object:
    listed = [{"name": port, "port": number, "protocol": "TCP"} for port, number in ports.items()]
    return _object("Service", "v1", namespace, name, labels) | {
        "spec": {"type": "ClusterIP", "clusterIP": "None", "selector": dict(labels), "ports": listed}
    }


def _monitor(kind: str, namespace: str, name: str, labels: Mapping[str, str], key: str, ports: Sequence[str]) -> Object:
    endpoints = [{"port": port, "path": "/metrics"} for port in ports]
    return _object(kind, "monitoring.coreos.com/v1", namespace, name, {}) | {
        "spec": {"selector": {"matchLabels": dict(labels)}, key: endpoints}
    }


def _object(kind: str, version: str, namespace: str, name: str, labels: Mapping[str, str]) -> Object:
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{namespace}/{name}"))
    metadata = {"name": name, "namespace": namespace, "uid": uid, "labels": dict(labels)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
