"""The role `pod`: one target for each port of each container of a pod, or for the container where it has none."""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.kept import Pod, PodContainer
from hawse.prometheus.discovery.kubernetes.naming import NAMESPACE, PREFIX, Labels, add_meta, joined, word
from hawse.prometheus.discovery.kubernetes.roles import Reference, Role, attached
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

_CONTAINER = f"{PREFIX}pod_container_"


class WithPods(Role):
    """A role whose targets are, or may be, pods."""

    def pod_labels(self, pod: Pod) -> Labels:
        """Everything about a pod but its namespace and containers."""
        labels: Labels = {
            f"{PREFIX}pod_ip": pod.ip,
            f"{PREFIX}pod_ready": pod.ready,
            f"{PREFIX}pod_phase": pod.phase,
            f"{PREFIX}pod_node_name": pod.node,
            f"{PREFIX}pod_host_ip": pod.host_ip,
            f"{PREFIX}pod_uid": pod.meta.uid,
        }
        add_meta(labels, pod.meta, "pod")
        if pod.meta.controller is not None:
            self._add_controller(labels, pod)
        return labels

    def _add_controller(self, labels: Labels, pod: Pod) -> None:
        assert pod.meta.controller is not None
        kind, name = pod.meta.controller
        if kind:
            labels[f"{PREFIX}pod_controller_kind"] = kind
        if name:
            labels[f"{PREFIX}pod_controller_name"] = name
        if kind == "ReplicaSet" and self.attach.deployment:
            self._add_owner(labels, "deployment", "Deployment", "replicaset", f"{pod.meta.namespace}/{name}")
        if kind == "Job" and self.attach.job:
            labels[f"{PREFIX}pod_job_name"] = name
        if kind == "Job" and self.attach.cronjob:
            self._add_owner(labels, "cronjob", "CronJob", "job", f"{pod.meta.namespace}/{name}")

    def _add_owner(self, labels: Labels, word: str, owner: str, kind: str, key: str) -> None:
        """The name of what controls the pod's controller, if it is of the right kind."""
        found = self.lookup(kind, key)
        if found is not None and found.meta.controller is not None and found.meta.controller[0] == owner:
            labels[f"{PREFIX}pod_{word}_name"] = found.meta.controller[1]

    def pod_references(self, pod: Pod) -> Iterator[Reference]:
        """What goes into a pod's labels."""
        if pod.meta.controller is not None:
            kind, name = pod.meta.controller
            if kind == "ReplicaSet" and self.attach.deployment:
                yield "replicaset", f"{pod.meta.namespace}/{name}"
            if kind == "Job" and self.attach.cronjob:
                yield "job", f"{pod.meta.namespace}/{name}"


def port_labels(container: PodContainer, port: tuple[int, str, str]) -> Labels:
    """A container and one of its ports."""
    number, name, protocol = port
    return {
        f"{_CONTAINER}name": container.name,
        f"{_CONTAINER}image": container.image,
        f"{_CONTAINER}port_name": name,
        f"{_CONTAINER}port_number": str(number),
        f"{_CONTAINER}port_protocol": protocol,
        f"{_CONTAINER}init": word(container.init),
    }


class PodRole(WithPods):
    """A pod."""

    name = "pod"

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:
        """Pods, and what attach_metadata asks for."""
        yield "pod"
        yield from attached(config, pods=True)

    def references(self, found: Pod) -> Iterator[Reference]:
        """Its node, namespace and owner's owner."""
        if self.attach.node:
            yield "node", found.node
        if self.attach.namespace:
            yield "namespace", found.meta.namespace
        yield from self.pod_references(found)

    def build(self, found: Pod) -> TargetGroup:
        """See Role. A pod without address, or on a node that the node selector leaves out, has no targets."""
        meta = found.meta
        source = self.source(f"{meta.namespace}/{meta.name}")
        if not found.ip or (self.attach.node and self.lookup("node", found.node) is None):
            return TargetGroup(source)
        labels = self.pod_labels(found)
        labels[NAMESPACE] = meta.namespace
        self.add_node(labels, found.node)
        self.add_namespace(labels, meta)
        targets = [target for container in found.containers for target in _targets(found, container)]
        return TargetGroup(source, tuple(targets), labels)


def _targets(pod: Pod, container: PodContainer) -> Iterator[Labels]:
    for port in container.ports:
        target = {"__address__": joined(pod.ip, port[0]), **port_labels(container, port)}
        target[f"{_CONTAINER}id"] = container.id
        yield target
    if not container.ports:
        yield {
            "__address__": pod.ip,  # without a port: a rule has to add it
            f"{_CONTAINER}name": container.name,
            f"{_CONTAINER}id": container.id,
            f"{_CONTAINER}image": container.image,
            f"{_CONTAINER}init": word(container.init),
        }
