"""From a pod to resource attributes, by OpenTelemetry's names and rules.

Names: opentelemetry.io/docs/specs/semconv/resource/k8s and …/container. How `service.*` is found:
opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from sys import intern

import msgspec

from hawse.batch import AttributeValue
from hawse.kube import images
from hawse.kube.metadata import Meta
from hawse.kube.pods import Container, Keys, Pod, Wanted

OTEL_PREFIX = "resource.opentelemetry.io/"
IGNORE = "opentelemetry.io/k8s-processor/ignore"

# Kinds of objects apart from pods that attributes may come from: how they are called in `from`, and in the API.
KINDS: dict[str, tuple[str, str]] = {
    "namespace": ("", "namespaces"),
    "node": ("", "nodes"),
    "deployment": ("apps", "deployments"),
    "statefulset": ("apps", "statefulsets"),
    "daemonset": ("apps", "daemonsets"),
    "job": ("batch", "jobs"),
}
_OWNED_BY = {"ReplicaSet": "replicaset", "StatefulSet": "statefulset", "DaemonSet": "daemonset", "Job": "job"}

POD_METADATA = frozenset(
    {
        "k8s.namespace.name",
        "k8s.pod.name",
        "k8s.pod.uid",
        "k8s.pod.hostname",
        "k8s.pod.ip",
        "k8s.pod.start_time",
        "k8s.node.name",
        "k8s.deployment.name",
        "k8s.replicaset.name",
        "k8s.replicaset.uid",
        "k8s.statefulset.name",
        "k8s.statefulset.uid",
        "k8s.daemonset.name",
        "k8s.daemonset.uid",
        "k8s.job.name",
        "k8s.job.uid",
        "k8s.cronjob.name",
        "service.name",
        "service.namespace",
    }
)
CONTAINER_METADATA = frozenset(
    {
        "k8s.container.name",
        "container.id",
        "container.image.name",
        "container.image.tag",
        "container.image.repo_digests",
        "service.version",
        "service.instance.id",
    }
)
# What needs another watch than the one of pods, and which.
RELATED_METADATA = {
    "k8s.cluster.uid": "namespace",
    "k8s.node.uid": "node",
    "k8s.deployment.uid": "deployment",
    "k8s.cronjob.uid": "job",
}
METADATA = POD_METADATA | CONTAINER_METADATA | frozenset(RELATED_METADATA)
DEFAULT_METADATA = (
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.pod.start_time",
    "k8s.deployment.name",
    "k8s.node.name",
    "container.image.name",
    "container.image.tag",
)

_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|\$)")
_CRONJOB = re.compile(r"(.+)-\d{8,10}")  # <cronjob>-<minutes since 1970>, seconds before Kubernetes 1.21


class FieldRule(msgspec.Struct, frozen=True):
    """A label or annotation to copy: one of `key` and `key_regex` (of the whole key) is set."""

    tag_name: str = ""
    key: str = ""
    key_regex: str = ""
    source: str = "pod"

    def references(self) -> Iterator[str]:
        """The groups that `tag_name` refers to, as `$1`, `${1}` or `$name`."""
        for braced, bare in _REFERENCE.findall(self.tag_name):
            if braced or bare:
                yield braced or bare


def _namer(rule: FieldRule, what: str) -> Callable[[str], str]:
    """The attribute's name for a key. `what` is "labels" or "annotations"."""
    default = f"k8s.{rule.source}.{what}."
    if not rule.tag_name:
        return lambda key: intern(default + key)
    if not rule.key_regex:
        return lambda _: rule.tag_name
    pattern = re.compile(rule.key_regex)

    def name(key: str) -> str:
        match = pattern.fullmatch(key)
        assert match is not None

        def group(reference: re.Match[str]) -> str:
            wanted = reference[1] or reference[2]
            return (match[int(wanted) if wanted.isdecimal() else wanted] or "") if wanted else "$"

        return intern(_REFERENCE.sub(group, rule.tag_name))

    return name


class _Copy:
    """A compiled FieldRule."""

    def __init__(self, rule: FieldRule, what: str) -> None:
        self._key = rule.key
        self._matches = re.compile(rule.key_regex).fullmatch if rule.key_regex else None
        self._name = _namer(rule, what)

    def into(self, attributes: dict[str, AttributeValue], there: Mapping[str, str] | None) -> None:
        if not there:
            return
        if self._matches is None:
            if self._key in there:
                attributes[self._name(self._key)] = there[self._key]
            return
        for key, value in there.items():
            if value and self._matches(key):
                attributes[self._name(key)] = value


Related = Callable[[str, str], Meta | None]  # (kind of KINDS, its key in a MetaStore) → its metadata


class Rules:
    """Which attributes to make. The same rules always make the same attributes of the same pod."""

    def __init__(
        self,
        metadata: frozenset[str] = frozenset(DEFAULT_METADATA),
        labels: tuple[FieldRule, ...] = (),
        annotations: tuple[FieldRule, ...] = (),
        *,
        otel_annotations: bool = False,
    ) -> None:
        self.metadata = metadata
        self.labels = labels
        self.annotations = annotations
        if otel_annotations:
            rule = FieldRule("$1", key_regex=re.escape(OTEL_PREFIX) + "(.+)")
            self.annotations += (rule,)
        self._labels = {kind: self._copies(labels, "labels", kind) for kind in ("pod", *KINDS)}
        self._annotations = {kind: self._copies(self.annotations, "annotations", kind) for kind in ("pod", *KINDS)}
        self._of_containers = metadata & CONTAINER_METADATA

    @staticmethod
    def _copies(rules: tuple[FieldRule, ...], what: str, kind: str) -> list[_Copy]:
        return [_Copy(rule, what) for rule in rules if rule.source == kind]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of KINDS that must be watched for these rules."""
        asked = {kind for kind in KINDS if self._labels[kind] or self._annotations[kind]}
        return frozenset(asked | {RELATED_METADATA[name] for name in self.metadata & RELATED_METADATA.keys()})

    def wanted(self, kind: str = "pod") -> Wanted:
        """What must be kept of pods, or of another kind's objects."""
        labels, annotations = _keys(self.labels, kind), _keys(self.annotations, kind)
        if kind != "pod":
            return Wanted(labels, annotations)
        if self.metadata & {"service.name", "service.version"}:
            labels |= Keys(_APP_LABELS)
        return Wanted(labels, annotations | Keys({IGNORE}), bool(self._of_containers))

    def of_pod(self, pod: Pod, related: Related) -> dict[str, AttributeValue]:
        """Attributes that all containers of a pod share, and those of the objects it belongs to."""
        made: dict[str, AttributeValue] = {
            name: value for name, value in _pod_metadata(pod) if value and name in self.metadata
        }
        for name, kind, key in _related_metadata(pod):
            if name in self.metadata:
                self._related_into(made, name, related(kind, key))
        for copy in self._labels["pod"]:
            copy.into(made, pod.labels)
        if "service.name" in self.metadata:
            made["service.name"] = _service_name(pod)
        version = (pod.labels or {}).get("app.kubernetes.io/version")
        if version and "service.version" in self.metadata:
            made["service.version"] = version
        for copy in self._annotations["pod"]:
            copy.into(made, pod.annotations)
        for kind, key in _belongs_to(pod):
            for attribute, copied in self.of_object(kind, related(kind, key)).items():
                made.setdefault(attribute, copied)
        return made

    @staticmethod
    def _related_into(made: dict[str, AttributeValue], name: str, meta: Meta | None) -> None:
        if meta is None:
            return
        uid = meta.uid if name != "k8s.cronjob.uid" else _cronjob_uid(meta)
        if uid:
            made[name] = uid

    def of_object(self, kind: str, meta: Meta | None) -> dict[str, AttributeValue]:
        """Labels and annotations of a namespace, node or workload."""
        made: dict[str, AttributeValue] = {}
        if meta is not None:
            for copy in self._labels[kind]:
                copy.into(made, meta.labels)
            for copy in self._annotations[kind]:
                copy.into(made, meta.annotations)
        return made

    def of_container(self, pod: Pod, container: Container, restart_count: int | None) -> dict[str, AttributeValue]:
        """Attributes of one container of a pod, and of its run with this `restart_count` (None: the latest)."""
        image = images.parse(container.image)
        digest = images.repo_digest(container.image_id)
        values: dict[str, AttributeValue] = {
            "k8s.container.name": container.name,
            "container.id": _container_id(container, restart_count),
            "container.image.name": image.name,
            "container.image.tag": images.tag_of(image) if image.name else "",
            "container.image.repo_digests": [digest] if digest else None,
            "service.version": images.version_of(image),
            "service.instance.id": f"{pod.namespace}.{pod.name}.{container.name}",
        }
        return {name: value for name, value in values.items() if value and name in self._of_containers}

    @property
    def reads_containers(self) -> bool:
        """Whether `of_container` can give anything."""
        return bool(self._of_containers)


_APP_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version")


def _keys(rules: tuple[FieldRule, ...], kind: str) -> Keys:
    mine = [rule for rule in rules if rule.source == kind]
    return Keys((rule.key for rule in mine if rule.key), (rule.key_regex for rule in mine if rule.key_regex))


def _pod_metadata(pod: Pod) -> Iterator[tuple[str, str]]:
    yield "k8s.namespace.name", pod.namespace
    yield "k8s.pod.name", pod.name
    yield "k8s.pod.uid", pod.uid
    # What `hostname` prints inside: Kubernetes sets it so where spec.hostname is not given.
    yield "k8s.pod.hostname", pod.hostname or (pod.node if pod.host_network else pod.name)
    yield "k8s.pod.ip", pod.ips[0] if pod.ips else ""
    # As the OpenTelemetry processor: creation, which is known from the first event on and never changes.
    yield "k8s.pod.start_time", pod.created
    yield "k8s.node.name", pod.node
    yield "k8s.deployment.name", pod.deployment
    yield "service.namespace", pod.namespace
    if pod.owner is not None and pod.owner.kind in _OWNED_BY:
        kind = _OWNED_BY[pod.owner.kind]
        yield f"k8s.{kind}.name", pod.owner.name
        yield f"k8s.{kind}.uid", pod.owner.uid
        yield "k8s.cronjob.name", _cronjob(pod)


def _related_metadata(pod: Pod) -> Iterator[tuple[str, str, str]]:
    yield "k8s.cluster.uid", "namespace", "kube-system"
    yield "k8s.node.uid", "node", pod.node
    yield "k8s.deployment.uid", "deployment", f"{pod.namespace}/{pod.deployment}"
    if pod.owner is not None and pod.owner.kind == "Job":
        yield "k8s.cronjob.uid", "job", f"{pod.namespace}/{pod.owner.name}"


def _belongs_to(pod: Pod) -> Iterator[tuple[str, str]]:
    yield "namespace", pod.namespace
    yield "node", pod.node
    if pod.deployment:
        yield "deployment", f"{pod.namespace}/{pod.deployment}"
    elif pod.owner is not None and (kind := _OWNED_BY.get(pod.owner.kind)) in KINDS:
        yield kind, f"{pod.namespace}/{pod.owner.name}"


def _cronjob(pod: Pod) -> str:
    """A CronJob's Jobs are called after it and their time."""
    if pod.owner is None or pod.owner.kind != "Job":
        return ""
    match = _CRONJOB.fullmatch(pod.owner.name)
    return match[1] if match else ""


def _cronjob_uid(job: Meta) -> str:
    return job.owner.uid if job.owner is not None and job.owner.kind == "CronJob" else ""


def _service_name(pod: Pod) -> str:
    labels = pod.labels or {}
    named = labels.get("app.kubernetes.io/instance") or labels.get("app.kubernetes.io/name")
    owner = pod.owner.name if pod.owner is not None and pod.owner.kind in _OWNED_BY else ""
    return named or pod.deployment or _cronjob(pod) or owner or pod.name


def _container_id(container: Container, restart_count: int | None) -> str:
    if restart_count is None or restart_count == container.restart_count:
        return container.id
    return container.previous_id if restart_count == container.restart_count - 1 else ""


def container_of(pod: Pod, name: str, container_id: str) -> Container | None:
    """The container with this name, or else this ID; without either, a pod's only one."""
    if name:
        return next((entry for entry in pod.containers if entry.name == name), None)
    if container_id:
        return next((entry for entry in pod.containers if container_id in {entry.id, entry.previous_id}), None)
    return pod.containers[0] if len(pod.containers) == 1 else None
