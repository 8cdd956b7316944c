"""ServiceMonitor: endpoints of Services, by label."""

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
    endpoints: tuple[Endpoint, ...] = ()
    job_label: str | None = None
    target_labels: tuple[str, ...] | None = None
    pod_target_labels: tuple[str, ...] | None = None
    attach_metadata: AttachMetadata | None = None
    service_discovery_role: str | None = None


def jobs(monitor: Monitor, rights: Rights) -> Iterator[Job]:
    """`serviceMonitor/NAMESPACE/NAME/NUMBER`, one for each endpoint."""
    origin = Origin("ServiceMonitor", monitor.namespace, monitor.metadata.name)
    name = f"serviceMonitor/{monitor.namespace}/{monitor.metadata.name}"

    def make() -> Iterator[Job]:
        spec = msgspec.json.decode(monitor.spec, type=Spec)
        selector = spec.selector.checked()
        for number, endpoint in enumerate(rules.few(spec.endpoints)):
            making = partial(_job, spec, selector, endpoint, monitor, rights)
            yield each(f"{name}/{number}", origin, making, (*notes(endpoint, rights), *_notes(spec, rights)), selector)

    yield from whole(name, origin, make)


def _job(spec: Spec, selector: LabelSelector, endpoint: Endpoint, monitor: Monitor, rights: Rights) -> Document:
    namespace = monitor.namespace
    found = kubernetes("endpointslice", spec.namespace_selector, namespace, rights)
    found |= attached(spec.attach_metadata, rights)
    return {
        **rules.endpoint(endpoint),
        **http(endpoint, rights, namespace),
        **rules.limits(spec),
        "kubernetes_sd_configs": [found],
        "relabel_configs": _relabelling(spec, selector, endpoint),
        **metric_rules(endpoint.metric_relabelings),
    }


def _relabelling(spec: Spec, selector: LabelSelector, endpoint: Endpoint) -> list[Document]:
    port = endpoint.port or (str(endpoint.target_port) if endpoint.target_port else "")
    target = [f"{_META}endpointslice_address_target_kind", f"{_META}endpointslice_address_target_name"]
    made = [rules.FIRST, *rules.selected("service", selector), *_port(endpoint)]
    made += [
        {"source_labels": target, "regex": f"{kind};(.*)", "replacement": "${1}", "target_label": label}
        for kind, label in (("Node", "node"), ("Pod", "pod"))
    ]
    for source, label in (
        ("namespace", "namespace"),
        ("service_name", "service"),
        ("pod_name", "pod"),
        ("pod_container_name", "container"),
    ):
        made.append(rules.copied(f"{_META}{source}", label))
    made += [rules.RUNNING] if endpoint.filter_running is not False else []
    for kind, labels in (("service", spec.target_labels), ("pod", spec.pod_target_labels)):
        made += [rules.copied_if_set(f"{_META}{kind}_label_{label_name(one)}", label_name(one)) for one in labels or ()]
    made.append({**rules.copied(f"{_META}service_name", "job"), "replacement": "${1}"})
    if spec.job_label:
        made.append(rules.copied_if_set(f"{_META}service_label_{label_name(spec.job_label)}", "job"))
    made += [rules.fixed("endpoint", port)] if port else []
    return made + rules.own(endpoint.relabelings)


def _port(endpoint: Endpoint) -> Iterator[Document]:
    if endpoint.port:
        yield rules.kept(f"{_META}endpointslice_port_name", endpoint.port)
    elif endpoint.target_port:
        what = "number" if isinstance(endpoint.target_port, int) else "name"
        yield rules.kept(f"{_META}pod_container_port_{what}", endpoint.target_port)


def _notes(spec: Spec, rights: Rights) -> Iterator[str]:
    if said := not_attached(spec.attach_metadata, rights):
        yield said
    if spec.service_discovery_role == "Endpoints":
        yield "serviceDiscoveryRole Endpoints has no effect: EndpointSlices are looked at"
