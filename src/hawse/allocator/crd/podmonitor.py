"""PodMonitor: ports of pods, by label."""

from collections.abc import Iterator
from functools import partial

import msgspec

from hawse.allocator.crd import Document, Job, Monitor, Origin, Rights, rules
from hawse.allocator.crd.discovery import attached, kubernetes, not_attached
from hawse.allocator.crd.fields import AttachMetadata, Endpoint, ScrapeLimits, Selector
from hawse.allocator.crd.http import http, notes
from hawse.allocator.crd.refusing import each, metric_rules, whole
from hawse.allocator.select import LabelSelector, NamespaceSelector, label_name

_META = rules.META


class Spec(ScrapeLimits, frozen=True):
    """`spec`."""

    selector: Selector = Selector()
    namespace_selector: NamespaceSelector = NamespaceSelector()
    pod_metrics_endpoints: tuple[Endpoint, ...] = ()
    job_label: str | None = None
    pod_target_labels: tuple[str, ...] | None = None
    attach_metadata: AttachMetadata | None = None


def jobs(monitor: Monitor, rights: Rights) -> Iterator[Job]:
    """`podMonitor/NAMESPACE/NAME/NUMBER`, one for each endpoint."""
    origin = Origin("PodMonitor", monitor.namespace, monitor.metadata.name)
    name = f"podMonitor/{monitor.namespace}/{monitor.metadata.name}"

    def make() -> Iterator[Job]:
        spec = msgspec.json.decode(monitor.spec, type=Spec)
        selector = spec.selector.checked()
        for number, endpoint in enumerate(rules.few(spec.pod_metrics_endpoints)):
            making = partial(_job, spec, selector, endpoint, monitor, rights)
            yield each(f"{name}/{number}", origin, making, (*notes(endpoint, rights), *_notes(spec, rights)), selector)

    yield from whole(name, origin, make)


def _job(spec: Spec, selector: LabelSelector, endpoint: Endpoint, monitor: Monitor, rights: Rights) -> Document:
    namespace = monitor.namespace
    found = kubernetes("pod", spec.namespace_selector, namespace, rights) | attached(spec.attach_metadata, rights)
    return {
        **rules.endpoint(endpoint),
        **http(endpoint, rights, namespace),
        **rules.limits(spec),
        "kubernetes_sd_configs": [found],
        "relabel_configs": _relabelling(spec, selector, endpoint, monitor),
        **metric_rules(endpoint.metric_relabelings),
    }


def _relabelling(spec: Spec, selector: LabelSelector, endpoint: Endpoint, monitor: Monitor) -> list[Document]:
    port = endpoint.port or (str(endpoint.target_port) if endpoint.target_port else "")
    made = [rules.FIRST]
    made += [rules.RUNNING] if endpoint.filter_running is not False else []
    made += [*rules.selected("pod", selector), *_port(endpoint)]
    for source, label in (("namespace", "namespace"), ("pod_container_name", "container"), ("pod_name", "pod")):
        made.append(rules.copied(f"{_META}{source}", label))
    made += [
        rules.copied_if_set(f"{_META}pod_label_{label_name(one)}", label_name(one))
        for one in spec.pod_target_labels or ()
    ]
    made.append(rules.fixed("job", f"{monitor.namespace}/{monitor.metadata.name}"))
    if spec.job_label:
        made.append(rules.copied_if_set(f"{_META}pod_label_{label_name(spec.job_label)}", "job"))
    made += [rules.fixed("endpoint", port)] if port else []
    return made + rules.own(endpoint.relabelings)


def _port(endpoint: Endpoint) -> Iterator[Document]:
    number = endpoint.port_number or (endpoint.target_port if isinstance(endpoint.target_port, int) else 0)
    name = endpoint.port or (endpoint.target_port if isinstance(endpoint.target_port, str) and not number else "")
    if name:
        yield rules.kept(f"{_META}pod_container_port_name", name)
    elif number:
        yield rules.kept(f"{_META}pod_container_port_number", number)


def _notes(spec: Spec, rights: Rights) -> Iterator[str]:
    if said := not_attached(spec.attach_metadata, rights):
        yield said
