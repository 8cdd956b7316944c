"""What a target is, as a resource (OpenTelemetry, "Prometheus and OpenMetrics compatibility", "Resource Attributes").

`service.name` and `service.instance.id` come from the series themselves, in the codec.
"""

from urllib.parse import urlsplit

from hawse.batch import AttributeValue
from hawse.prometheus.targets import Target

_META = "__meta_kubernetes_"
# Semantic conventions, "Kubernetes", from what kubernetes_sd_configs say of a target; the first that is there counts.
_ATTRIBUTES = {
    "k8s.namespace.name": ("namespace",),
    "k8s.pod.name": ("pod_name",),
    "k8s.pod.uid": ("pod_uid",),
    "k8s.container.name": ("pod_container_name",),
    "k8s.node.name": ("pod_node_name", "node_name", "endpoint_node_name"),
    "k8s.deployment.name": ("pod_deployment_name",),
    "k8s.cronjob.name": ("pod_cronjob_name",),
}
_CONTROLLERS = {
    "ReplicaSet": "k8s.replicaset.name",
    "DaemonSet": "k8s.daemonset.name",
    "StatefulSet": "k8s.statefulset.name",
    "Job": "k8s.job.name",
    "CronJob": "k8s.cronjob.name",
}


def attributes(target: Target) -> dict[str, AttributeValue]:
    """Of the target's resource, beside those that its series give."""
    parts = urlsplit(str(target.url))
    found: dict[str, AttributeValue] = {"server.address": parts.hostname or target.url.address}
    try:
        port = parts.port
    except ValueError:
        port = None
    found["server.port"] = str(port or (443 if target.url.scheme == "https" else 80))
    found["url.scheme"] = target.url.scheme
    found |= _kubernetes(target.discovered)
    return found


def _kubernetes(labels: dict[str, str]) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for attribute, names in _ATTRIBUTES.items():
        value = next((value for name in names if (value := labels.get(_META + name))), "")
        if value:
            found[attribute] = value
    controller = _CONTROLLERS.get(labels.get(f"{_META}pod_controller_kind", ""))
    name = labels.get(f"{_META}pod_controller_name")
    if controller and name:
        found[controller] = name
    return found
