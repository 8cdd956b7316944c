"""Kubernetes objects as real clusters have them, in size and shape: a pod of one container is about 6.6 KB of JSON.

For tests and benches that fill a `DemoApi` with many pods; the demo's own cast is `hawse.demo.cast`.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
_TIME = "2026-11-20T10:{:02d}:{:02d}Z"


def uid_of(*names: str) -> str:
    """A UID that is always the same for the same names."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(names)))


def container_id(*names: str) -> str:
    """64 hex digits, always the same for the same names."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()


def owner(kind: str, name: str, namespace: str = "default") -> Object:
    """An entry of ownerReferences."""
    version = "batch/v1" if kind in {"Job", "CronJob"} else "apps/v1"
    return {
        "apiVersion": version,
        "kind": kind,
        "name": name,
        "uid": uid_of(kind, namespace, name),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def namespace(
    name: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
) -> Object:
    """A v1 Namespace."""
    return plain(
        "Namespace", name, labels={"kubernetes.io/metadata.name": name, **(labels or {})}, annotations=annotations
    )


def plain(
    kind: str,
    name: str,
    namespace: str = "",
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owners: list[Object] | None = None,
) -> Object:
    """An object of which only the metadata matters: a namespace, node or workload."""
    metadata: Object = {"name": name, "uid": uid_of(kind, namespace, name), "creationTimestamp": _TIME.format(0, 0)}
    metadata |= {"labels": dict(labels or {}), "annotations": dict(annotations or {})}
    if namespace:
        metadata["namespace"] = namespace
    if owners:
        metadata["ownerReferences"] = owners
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {}, "status": {}}


def pod(
    namespace: str,
    name: str,
    *,
    uid: str = "",
    ips: tuple[str, ...] = (),
    node: str = "node-1",
    owners: list[Object] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    containers: Mapping[str, str] | None = None,
    restarts: int = 0,
    host_network: bool = False,
    phase: str = "Running",
    started: str = "",
) -> Object:
    """A v1 Pod. `containers`: name → image. `started` is RFC 3339; a pending pod has neither IPs nor statuses."""
    images = dict(containers or {"app": "registry.example.com/shop/app:1.4.2"})
    started = started or _TIME.format(0, 7)
    metadata: Object = {
        "name": name,
        "namespace": namespace,
        "uid": uid or uid_of("Pod", namespace, name),
        "creationTimestamp": started,
        "labels": dict(labels or {"app": name}),
        "annotations": dict(annotations or {}),
        "managedFields": [_managed("kube-controller-manager", images), _managed("kubelet", images)],
    }
    if owners:
        metadata["ownerReferences"] = owners
    spec: Object = {
        "nodeName": node,
        "hostNetwork": host_network,
        "serviceAccountName": "default",
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": 30,
        "containers": [_container(key, image) for key, image in images.items()],
        "volumes": [_token_volume()],
        "tolerations": [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ],
    }
    status: Object = {"phase": phase, "qosClass": "Burstable"}
    if phase != "Pending":
        status |= _status(namespace, name, images, ips, restarts, started)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def _status(
    namespace: str, name: str, images: Mapping[str, str], ips: tuple[str, ...], restarts: int, started: str
) -> Object:
    status: Object = {
        "hostIP": "10.0.0.11",
        "startTime": started,
        "conditions": [
            {"type": type_, "status": "True", "lastProbeTime": None, "lastTransitionTime": started}
            for type_ in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "containerStatuses": [
            _container_status(namespace, name, key, image, restarts, started) for key, image in images.items()
        ],
    }
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    return status


def _container_status(namespace: str, name: str, key: str, image: str, restarts: int, started: str) -> Object:
    digest = container_id(image)
    status: Object = {
        "name": key,
        "image": image,
        "imageID": f"{image.rpartition(':')[0]}@sha256:{digest}",
        "containerID": f"containerd://{container_id(namespace, name, key, str(restarts))}",
        "restartCount": restarts,
        "ready": True,
        "started": True,
        "state": {"running": {"startedAt": started}},
        "lastState": {},
        "volumeMounts": _container(key, image)["volumeMounts"],
    }
    if restarts:
        before = f"containerd://{container_id(namespace, name, key, str(restarts - 1))}"
        status["lastState"] = {"terminated": {"exitCode": 1, "reason": "Error", "containerID": before}}
    return status


def _container(name: str, image: str) -> Object:
    variables = ("POD_IP", "POD_NAME", "POD_NAMESPACE", "NODE_NAME")
    fields = ("status.podIP", "metadata.name", "metadata.namespace", "spec.nodeName")
    pairs = zip(variables, fields, strict=True)
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--listen=:8080", "--log-format=json", "--log-level=info", "--config=/etc/app/config.yaml"],
        "env": [
            *({"name": key, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}} for key, path in pairs),
            *({"name": f"FEATURE_{number}", "value": f"enabled-for-{number:03d}-percent"} for number in range(27)),
        ],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "livenessProbe": _probe("/healthz"),
        "readinessProbe": _probe("/ready"),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {
                "name": "kube-api-access-x7x2k",
                "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            }
        ],
    }


def _probe(path: str) -> Object:
    return {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "initialDelaySeconds": 5,
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def _token_volume() -> Object:
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    return {"name": "kube-api-access-x7x2k", "projected": {"defaultMode": 420, "sources": sources}}


def _managed(manager: str, images: Mapping[str, str]) -> Object:
    """What makes up a third of a real pod: who set which field."""
    names = ("args", "env", "image", "imagePullPolicy", "livenessProbe", "ports", "readinessProbe", "resources")
    more = ("securityContext", "terminationMessagePath", "terminationMessagePolicy")
    fields: Object = {f"f:{name}": {".": {}, "f:name": {}} for name in (*names, *more)}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": _TIME.format(1, 2),
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
            "f:spec": {"f:containers": {f'k:{{"name":"{name}"}}': fields for name in images}},
        },
    }
