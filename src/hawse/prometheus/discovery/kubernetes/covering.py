"""What `endpoints` and `endpointslice` share: targets that are pods, and ports of pods that no endpoint has."""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.kept import Pod
from hawse.prometheus.discovery.kubernetes.naming import Labels, joined
from hawse.prometheus.discovery.kubernetes.objects import ObjectReference
from hawse.prometheus.discovery.kubernetes.pod import WithPods, port_labels


class Covered:
    """Gathers an object's targets, and which ports of which pods they are."""

    def __init__(self, role: WithPods) -> None:
        self.targets: list[Labels] = []
        self._role = role
        self._pods: dict[str, tuple[Pod, Labels, set[int]]] = {}

    def add(self, target: Labels, reference: ObjectReference | None, port: int | None, protocol: str | None) -> None:
        """A target, which gets the labels of the pod that it is. `protocol` replaces the container port's."""
        self.targets.append(target)
        if reference is None or reference.kind != "Pod":
            return
        pod: Pod | None = self._role.lookup("pod", f"{reference.namespace}/{reference.name}")
        if pod is None:
            return
        seen = self._seen(pod)
        target |= seen[1]
        if port is None:
            return
        seen[2].add(port)
        for container in pod.containers:
            fitting = next((one for one in container.ports if one[0] == port), None)
            if fitting is not None:
                target |= port_labels(container, fitting if protocol is None else (port, fitting[1], protocol))

    def _seen(self, pod: Pod) -> tuple[Pod, Labels, set[int]]:
        key = f"{pod.meta.namespace}/{pod.meta.name}"
        if key not in self._pods:
            self._pods[key] = (pod, self._role.pod_labels(pod), set())
        return self._pods[key]

    def others(self) -> Iterator[Labels]:
        """Targets for the ports of those pods that none was for."""
        for pod, labels, ports in self._pods.values():
            for container in pod.containers if pod.ip else ():
                for port in container.ports:
                    if port[0] not in ports:
                        yield {"__address__": joined(pod.ip, port[0]), **port_labels(container, port), **labels}
