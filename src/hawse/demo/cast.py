"""The demo's cast: pods of four namespaces, as the API server shows them and as their containers write.

Together they have what the logs pipeline must cope with: all runtimes' formats, owners of each kind, labels,
`sumologic.com/*` annotations on pods, containers and a namespace, a pod that wants no collection, one that crashes.
"""

import random
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from hawse.demo import apps
from hawse.demo.runtime import Format

NODE = "demo-node"
_STARTED = "2026-11-01T08:00:00Z"


class Container(NamedTuple):
    """A container: what it says and how often (events a second, on average, at rate 1).

    `first_line` is what begins an entry whose lines belong together; "" where each line stands for itself. Its metrics
    are at `port` (0: it has none) of the pod's address, below `path`.
    """

    name: str
    app: apps.App
    rate: float
    first_line: str = ""
    port: int = 0
    path: str = "/metrics"
    openmetrics: bool = False


class Pod(NamedTuple):
    """A pod of the demo. `owner` is `(kind, name)`; `collected` is false where an annotation excludes it."""

    namespace: str
    name: str
    uid: str
    ip: str
    owner: tuple[str, str] | None
    labels: dict[str, str]
    annotations: dict[str, str]
    containers: tuple[Container, ...]
    format: Format
    collected: bool = True
    crashes: bool = False

    def manifest(self) -> dict[str, Any]:
        """The Pod object (core/v1) as an API server would show it."""
        owners = [_owner(*self.owner)] if self.owner else []
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.uid,
                "creationTimestamp": _STARTED,
                "labels": self.labels,
                "annotations": self.annotations,
                "ownerReferences": owners,
            },
            "spec": {
                "nodeName": NODE,
                "containers": [_container(container) for container in self.containers],
            },
            "status": {
                "phase": "Running",
                "podIP": self.ip,
                "podIPs": [{"ip": self.ip}],
                "hostIP": "10.0.0.11",
                "startTime": _STARTED,
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {"name": container.name, "ready": True, "started": True, "state": {"running": {}}}
                    for container in self.containers
                ],
            },
        }


def namespaces() -> list[dict[str, Any]]:
    """The Namespace objects (core/v1)."""
    return [
        _namespace("shop", labels={"team": "storefront", "tier": "frontend"}),
        _namespace("payments", labels={"team": "payments", "pci": "true"}),
        _namespace("platform", annotations={"sumologic.com/sourceCategoryPrefix": "infrastructure/"}),
        _namespace("reports"),
        _namespace("monitoring"),
    ]


def node() -> dict[str, Any]:
    """The Node object (core/v1)."""
    labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "demo-1a"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "uid": "7f9a4c1e-0000-4000-8000-00000000d0de", "labels": labels},
    }


def pods(rng: random.Random, network: str = "10.244") -> list[Pod]:
    """The cast, with names and uids as a cluster would make them up, and addresses in a /16 (its first two numbers)."""
    return list(_pods(rng, network))


def _pods(rng: random.Random, network: str) -> Iterator[Pod]:
    web, web_containers = (
        _hash(rng),
        (
            Container("nginx", apps.web_server, 20, port=9113),
            Container("geo", apps.json_service, 4, port=8081),
        ),
    )
    for number in range(2):
        yield Pod(
            "shop", f"web-{web}-{_suffix(rng)}", _uid(rng), f"{network}.1.{10 + number}", ("ReplicaSet", f"web-{web}"),
            {"app": "web", "pod-template-hash": web},
            {"sumologic.com/geo.sourceCategory": "shop/geo"},
            web_containers, "containerd",
        )  # fmt: skip
    yield Pod(
        "shop", "orders-0", _uid(rng), f"{network}.1.20", ("StatefulSet", "orders"),
        {"app": "orders", "apps.kubernetes.io/pod-index": "0", "statefulset.kubernetes.io/pod-name": "orders-0"},
        {
            "sumologic.com/sourceName": "orders",
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8080",
            "prometheus.io/path": "/actuator/prometheus",
        },
        (Container("orders", apps.java_service, 15, apps.JAVA_FIRST_LINE, 8080, "/actuator/prometheus"),),
        "containerd",
    )  # fmt: skip
    payments, labels = _hash(rng), {"app.kubernetes.io/name": "payments"}
    yield Pod(
        "payments", f"payments-{payments}-{_suffix(rng)}", _uid(rng), f"{network}.2.7",
        ("ReplicaSet", f"payments-{payments}"), {**labels, "pod-template-hash": payments},
        {"sumologic.com/sourceCategory": "pci/payments", "sumologic.com/sourceHost": "payments.example"},
        (Container("payments", apps.json_service, 15, port=9464, openmetrics=True),), "cri-o",
    )  # fmt: skip
    yield Pod(
        "platform", f"node-agent-{_suffix(rng)}", _uid(rng), f"{network}.0.11", ("DaemonSet", "node-agent"),
        {"app": "node-agent"}, {}, (Container("agent", apps.node_agent, 10, port=9400),), "docker",
    )  # fmt: skip
    job = f"daily-{rng.randrange(29_000_000, 29_999_999)}"
    yield Pod(
        "reports", f"{job}-{_suffix(rng)}", _uid(rng), f"{network}.3.4", ("Job", job),
        {"batch.kubernetes.io/job-name": job}, {},
        (Container("report", apps.batch_job, 6, port=9091),), "containerd", crashes=True,
    )  # fmt: skip
    yield Pod(
        "platform", "debug-shell", _uid(rng), f"{network}.1.99", None,
        {"run": "debug-shell"}, {"sumologic.com/exclude": "true"},
        (Container("shell", apps.node_agent, 3),), "containerd", collected=False,
    )  # fmt: skip


_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes makes generated names of (apimachinery, util/rand)


def _suffix(rng: random.Random) -> str:
    return "".join(rng.choices(_SAFE, k=5))


def _hash(rng: random.Random) -> str:
    return "".join(rng.choices(_SAFE, k=10))


def _uid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _owner(kind: str, name: str) -> dict[str, Any]:
    api = "batch/v1" if kind == "Job" else "apps/v1"
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{name}"))
    return {"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": True}


def _container(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = {"name": container.name, "image": f"registry.example/{container.name}:1.4.2"}
    if container.port:
        found["ports"] = [{"name": port_name(container), "containerPort": container.port, "protocol": "TCP"}]
    return found


def port_name(container: Container) -> str:
    """What the port of a container's metrics is called."""
    return f"{container.name}-metrics"[-15:].lstrip("-")  # as long as Kubernetes allows


def _namespace(
    name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    labels = {"kubernetes.io/metadata.name": name, **(labels or {})}
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    metadata = {"name": name, "uid": uid, "labels": labels, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "status": {"phase": "Active"}}
