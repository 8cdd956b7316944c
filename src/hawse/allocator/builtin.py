"""Jobs of the allocator's own: pods by their annotations, the kubelet and cAdvisor of every node.

The kubelet is asked over TLS that is verified, with the collector's own service account. Those are the only files that
a job names without an administrator's writing it.
"""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from hawse.allocator.crd import Document, Job, Origin
from hawse.allocator.crd.rules import META, RUNNING, copied
from hawse.allocator.select import Limits
from hawse.component import Section
from hawse.kube.access import SERVICE_ACCOUNT
from hawse.prometheus.values import PromDuration

PODS, KUBELET, CADVISOR = "pod-annotations", "kubelet", "cadvisor"
_ANNOTATION = f"{META}pod_annotation_prometheus_io_"


class PodAnnotations(Section, frozen=True):
    """Pods that ask for it: `prometheus.io/scrape: "true"`, with `path`, `port` and `scheme` beside it."""

    enabled: bool = False
    scrape_interval: Annotated[PromDuration, Meta(description="0: that of config.global.")] = PromDuration(0)


class Kubelet(Section, frozen=True):
    """The kubelet of every node. Needs nodes of the whole cluster here, and `nodes/metrics` for the collectors."""

    enabled: bool = False
    cadvisor: Annotated[bool, Meta(description="The containers' resources (/metrics/cadvisor), too.")] = True
    scrape_interval: Annotated[PromDuration, Meta(description="0: that of config.global.")] = PromDuration(0)
    insecure_skip_verify: Annotated[
        bool, Meta(description="Do not verify the kubelet's certificate: many clusters' kubelets sign their own.")
    ] = False
    ca_file: Annotated[str, Meta(description="On the collectors.")] = str(SERVICE_ACCOUNT / "ca.crt")
    credentials_file: Annotated[str, Meta(description="On the collectors.")] = str(SERVICE_ACCOUNT / "token")


class Builtin(Section, frozen=True):
    """Jobs that need no monitor."""

    pod_annotations: PodAnnotations = field(default_factory=PodAnnotations)
    kubelet: Kubelet = field(default_factory=Kubelet)

    def jobs(self, limits: Limits) -> Iterator[Job]:
        """Those that are switched on."""
        if self.pod_annotations.enabled:
            yield _annotated(self.pod_annotations, limits)
        if self.kubelet.enabled:
            yield _of_nodes(KUBELET, "/metrics", self.kubelet)
            if self.kubelet.cadvisor:
                yield _of_nodes(CADVISOR, "/metrics/cadvisor", self.kubelet)


def _annotated(settings: PodAnnotations, limits: Limits) -> Job:
    """One target a pod: at the annotated port, or at each port that the pod declares if there is no such annotation."""
    found: Document = {"role": "pod"}
    if limits.names is not None:
        found["namespaces"] = {"names": list(limits.scopes)}
    rules: list[Document] = [
        {"action": "keep", "source_labels": [f"{_ANNOTATION}scrape"], "regex": "true"},
        RUNNING,
        {"action": "drop", "source_labels": [f"{META}pod_container_init"], "regex": "true"},
        _if_annotated("scheme", "(https?)", "__scheme__"),
        _if_annotated("path", "(.+)", "__metrics_path__"),
        {
            "source_labels": [f"{META}pod_ip", f"{_ANNOTATION}port"],
            "regex": r"([0-9.]+);(\d+)",
            "target_label": "__address__",
            "replacement": "${1}:${2}",
        },
        {
            "source_labels": [f"{META}pod_ip", f"{_ANNOTATION}port"],
            "regex": r"([0-9a-fA-F:]*:[0-9a-fA-F:.]*);(\d+)",
            "target_label": "__address__",
            "replacement": "[${1}]:${2}",
        },
        copied(f"{META}namespace", "namespace"),
        copied(f"{META}pod_name", "pod"),
        copied(f"{META}pod_node_name", "node"),
        # With a port in the annotation, all ports of a pod became one target, whatever container they are of.
        {
            "source_labels": [f"{META}pod_container_name", f"{_ANNOTATION}port"],
            "regex": "(.+);",
            "target_label": "container",
            "replacement": "${1}",
        },
    ]
    document = {"job_name": PODS, "kubernetes_sd_configs": [found], "relabel_configs": rules}
    return Job(PODS, Origin("annotations of pods"), {**document, **_interval(settings.scrape_interval)})


def _if_annotated(name: str, regex: str, target: str) -> Document:
    source = [f"{_ANNOTATION}{name}"]
    return {"source_labels": source, "regex": regex, "target_label": target, "replacement": "${1}"}


def _of_nodes(name: str, path: str, settings: Kubelet) -> Job:
    document: Document = {
        "job_name": name,
        "kubernetes_sd_configs": [{"role": "node"}],
        "scheme": "https",
        "metrics_path": path,
        "honor_timestamps": name != CADVISOR,  # cAdvisor's are of when it last looked, and stay when a container goes
        "authorization": {"credentials_file": settings.credentials_file},
        "tls_config": {"ca_file": settings.ca_file, "insecure_skip_verify": settings.insecure_skip_verify},
        "relabel_configs": [copied(f"{META}node_name", "node")],
        **_interval(settings.scrape_interval),
    }
    return Job(name, Origin(name), document, guarded=False)


def _interval(interval: PromDuration) -> Document:
    return {"scrape_interval": str(interval)} if interval else {}
