"""Probe: addresses or ingresses that a prober (blackbox exporter) is asked about. What is scraped is the prober."""

from collections.abc import Iterator, Mapping

import msgspec

from hawse.allocator.crd import Document, Job, Monitor, Origin, Rights, rules
from hawse.allocator.crd.discovery import kubernetes
from hawse.allocator.crd.fields import Fields, Http, RelabelRule, ScrapeLimits, Selector
from hawse.allocator.crd.http import host_is_fine, http, notes, proxy
from hawse.allocator.crd.refusing import each, metric_rules, static, whole
from hawse.allocator.safety import Refusal
from hawse.allocator.select import NamespaceSelector

_META = rules.META


class Prober(Http, frozen=True):
    """`prober`: where the prober listens; `url` is host and port."""

    url: str = ""
    path: str | None = None


class StaticTargets(Fields, frozen=True):
    """`targets.staticConfig`."""

    static: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    relabeling_configs: tuple[RelabelRule, ...] | None = None


class Ingresses(Fields, frozen=True):
    """`targets.ingress`."""

    selector: Selector = Selector()
    namespace_selector: NamespaceSelector = NamespaceSelector()
    relabeling_configs: tuple[RelabelRule, ...] | None = None


class Targets(Fields, frozen=True):
    """`targets`: where both are given, the static ones count."""

    static_config: StaticTargets | None = None
    ingress: Ingresses | None = None


class Param(Fields, frozen=True):
    """`params[]`."""

    name: str
    values: tuple[str, ...] | None = None


class Spec(Http, frozen=True):
    """`spec`, without what is in ScrapeLimits."""

    prober: Prober = Prober()
    targets: Targets = Targets()
    module: str | None = None
    params: tuple[Param, ...] | None = None
    job_name: str | None = None
    interval: str | None = None
    scrape_timeout: str | None = None
    metric_relabelings: tuple[RelabelRule, ...] | None = None


def jobs(monitor: Monitor, rights: Rights) -> Iterator[Job]:
    """`probe/NAMESPACE/NAME`."""
    origin = Origin("Probe", monitor.namespace, monitor.metadata.name)
    name = f"probe/{monitor.namespace}/{monitor.metadata.name}"

    def make() -> Iterator[Job]:
        spec = msgspec.json.decode(monitor.spec, type=Spec)
        limits = msgspec.json.decode(monitor.spec, type=ScrapeLimits)
        yield each(name, origin, lambda: _job(spec, limits, monitor.namespace, rights), notes(spec, rights))

    yield from whole(name, origin, make)


def _job(spec: Spec, limits: ScrapeLimits, namespace: str, rights: Rights) -> Document:
    if "://" in spec.prober.url:
        raise Refusal("prober.url is host and port; the scheme is prober.scheme")
    host_is_fine("prober.url", spec.prober.url, rights, namespace)
    asking: Document = {
        **http(spec, rights, namespace),
        **{key: value for key, value in proxy(spec.prober, rights, namespace).items() if value is not None},
        "metrics_path": spec.prober.path or "/probe",
        "params": _params(spec),
        "honor_timestamps": True,
    }
    if spec.prober.scheme:
        asking["scheme"] = spec.prober.scheme.lower()
    for key, value in (("scrape_interval", spec.interval), ("scrape_timeout", spec.scrape_timeout)):
        if value:
            asking[key] = value
    return {
        **asking,
        **rules.limits(limits),
        **_targets(spec, namespace, rights),
        **metric_rules(spec.metric_relabelings),
    }


def _params(spec: Spec) -> dict[str, list[str]]:
    made = {"module": [spec.module]} if spec.module else {}
    for one in spec.params or ():
        made.setdefault(one.name, list(one.values or ()))
    return made


def _targets(spec: Spec, namespace: str, rights: Rights) -> Document:
    job = [rules.FIRST, *([rules.fixed("job", spec.job_name)] if spec.job_name else [])]
    prober = [rules.copied("__param_target", "instance"), rules.fixed("__address__", spec.prober.url)]
    if (given := spec.targets.static_config) is not None:
        labels = {"namespace": namespace, **(given.labels or {})}
        steps = [*job, rules.copied("__address__", "__param_target"), *prober]
        return {
            "static_configs": [static(given.static or (), labels)],
            "relabel_configs": steps + rules.own(given.relabeling_configs),
        }
    if (ingress := spec.targets.ingress) is None:
        raise Refusal("targets has neither staticConfig nor ingress")
    selector = ingress.selector.checked()
    steps = [*job, *rules.selected("ingress", selector), *_ingress_labels(), *prober]
    return {
        "kubernetes_sd_configs": [kubernetes("ingress", ingress.namespace_selector, namespace, rights)],
        "relabel_configs": steps + rules.own(ingress.relabeling_configs),
    }


def _ingress_labels() -> Iterator[Document]:
    yield {
        "source_labels": [f"{_META}ingress_scheme", "__address__", f"{_META}ingress_path"],
        "regex": "(.+);(.+);(.+)",
        "target_label": "__param_target",
        "replacement": "${1}://${2}${3}",
    }
    yield rules.copied(f"{_META}namespace", "namespace")
    yield rules.copied(f"{_META}ingress_name", "ingress")
    yield rules.copied("__address__", "__tmp_ingress_address")
