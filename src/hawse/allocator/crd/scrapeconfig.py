"""ScrapeConfig (v1alpha1): a scrape configuration of Prometheus' as an object."""

from collections.abc import Iterator, Mapping

import msgspec

from hawse.allocator.crd import Document, Job, Monitor, Origin, Rights, rules
from hawse.allocator.crd.discovery import ROLES, attached, not_attached, spread
from hawse.allocator.crd.fields import AttachMetadata, Fields, Http, RelabelRule, ScrapeLimits
from hawse.allocator.crd.http import host_is_fine, http, notes
from hawse.allocator.crd.refusing import each, metric_rules, static, whole
from hawse.allocator.safety import Refusal

# Discovery that is neither served nor wanted inside a cluster.
_OTHERS = """
consul dns ec2 azure gce openstack digitalOcean kuma eureka docker dockerSwarm linode hetzner nomad puppetDB lightSail
ovhcloud scaleway ionos
""".split()  # noqa: SIM905 - a list of words


class StaticConfig(Fields, frozen=True):
    """`staticConfigs[]`."""

    targets: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None


class HttpSD(Http, frozen=True):
    """`httpSDConfigs[]`."""

    url: str = ""
    refresh_interval: str | None = None


class Namespaces(Fields, frozen=True):
    """`kubernetesSDConfigs[].namespaces`."""

    names: tuple[str, ...] | None = None
    own_namespace: bool | None = None


class RoleSelector(Fields, frozen=True):
    """`kubernetesSDConfigs[].selectors[]`."""

    role: str
    label: str | None = None
    field: str | None = None


class KubernetesSD(Fields, frozen=True):
    """`kubernetesSDConfigs[]`. Only the allocator's own API server is asked, so credentials are refused."""

    role: str = ""
    api_server: str | None = None
    namespaces: Namespaces | None = None
    selectors: tuple[RoleSelector, ...] | None = None
    attach_metadata: AttachMetadata | None = None


class Spec(Http, frozen=True):
    """`spec`, without what is in ScrapeLimits."""

    job_name: str | None = None
    static_configs: tuple[StaticConfig, ...] | None = None
    http_sd_configs: tuple[HttpSD, ...] | None = msgspec.field(name="httpSDConfigs", default=None)
    kubernetes_sd_configs: tuple[KubernetesSD, ...] | None = msgspec.field(name="kubernetesSDConfigs", default=None)
    file_sd_configs: tuple[Mapping[str, object], ...] | None = msgspec.field(name="fileSDConfigs", default=None)
    metrics_path: str | None = None
    params: Mapping[str, tuple[str, ...]] | None = None
    scrape_interval: str | None = None
    scrape_timeout: str | None = None
    honor_labels: bool | None = None
    honor_timestamps: bool | None = None
    track_timestamps_staleness: bool | None = None
    enable_compression: bool | None = None
    relabelings: tuple[RelabelRule, ...] | None = None
    metric_relabelings: tuple[RelabelRule, ...] | None = None


def jobs(monitor: Monitor, rights: Rights) -> Iterator[Job]:
    """`scrapeConfig/NAMESPACE/NAME`."""
    origin = Origin("ScrapeConfig", monitor.namespace, monitor.metadata.name)
    name = f"scrapeConfig/{monitor.namespace}/{monitor.metadata.name}"

    def make() -> Iterator[Job]:
        spec = msgspec.json.decode(monitor.spec, type=Spec)
        limits = msgspec.json.decode(monitor.spec, type=ScrapeLimits)
        written = msgspec.json.decode(monitor.spec, type=dict[str, msgspec.Raw])
        said = (
            *notes(spec, rights),
            *(not_attached(one.attach_metadata, rights) for one in spec.kubernetes_sd_configs or ()),
        )
        yield each(
            name, origin, lambda: _job(spec, limits, written, monitor.namespace, rights), tuple(filter(None, said))
        )

    yield from whole(name, origin, make)


def _job(spec: Spec, limits: ScrapeLimits, written: Mapping[str, object], namespace: str, rights: Rights) -> Document:
    for kind in _OTHERS:
        if f"{kind}SDConfigs" in written:
            raise Refusal(f"{kind}SDConfigs: this kind of discovery is not there; there are static, HTTP, Kubernetes")
    if spec.file_sd_configs:
        raise Refusal("fileSDConfigs would read files of the allocator")
    made: Document = {
        "honor_labels": spec.honor_labels,
        "honor_timestamps": spec.honor_timestamps,
        "track_timestamps_staleness": spec.track_timestamps_staleness,
        "enable_compression": spec.enable_compression,
        "metrics_path": spec.metrics_path,
        "params": {name: list(values) for name, values in (spec.params or {}).items()} or None,
        "scrape_interval": spec.scrape_interval,
        "scrape_timeout": spec.scrape_timeout,
        "static_configs": [static(one.targets or (), one.labels or {}) for one in spec.static_configs or ()] or None,
        "http_sd_configs": [_http(one, namespace, rights) for one in spec.http_sd_configs or ()] or None,
        "kubernetes_sd_configs": [_kubernetes(one, namespace, rights) for one in spec.kubernetes_sd_configs or ()]
        or None,
    }
    relabelling = [rules.FIRST, *([rules.fixed("job", spec.job_name)] if spec.job_name else [])]
    return {
        **{key: value for key, value in made.items() if value not in (None, "")},
        **http(spec, rights, namespace),
        **rules.limits(limits),
        "relabel_configs": relabelling + rules.own(spec.relabelings),
        **metric_rules(spec.metric_relabelings),
    }


def _http(spec: HttpSD, namespace: str, rights: Rights) -> Document:
    if not rights.guard.allow.http_discovery:
        raise Refusal("httpSDConfigs would have the allocator fetch a URL (allow.http_discovery is off)")
    host_is_fine("httpSDConfigs.url", spec.url, rights, namespace)
    made = {**http(spec, rights, namespace), "url": spec.url}
    made.pop("scheme", None)
    return {**made, "refresh_interval": spec.refresh_interval} if spec.refresh_interval else made


def _kubernetes(spec: KubernetesSD, namespace: str, rights: Rights) -> Document:
    role = spec.role.lower()
    if role not in ROLES:
        raise Refusal(f"kubernetesSDConfigs: the role {spec.role!r} is not one of {', '.join(ROLES)}")
    if role == "node" and not rights.guard.allow.node_discovery:
        raise Refusal("kubernetesSDConfigs: nodes are the whole cluster's (allow.node_discovery is off)")
    if role != "node" and role not in rights.roles:
        raise Refusal(f"kubernetesSDConfigs: the role {spec.role} is not in prometheus_cr.scrape_config_roles")
    if spec.api_server:
        raise Refusal("kubernetesSDConfigs.apiServer: only the allocator's own API server is asked")
    given = spec.namespaces or Namespaces()
    names = frozenset(given.names or ()) | (frozenset({namespace}) if given.own_namespace else frozenset())
    selectors = [
        {
            "role": one.role.lower(),
            **{key: value for key in ("label", "field") if (value := getattr(one, key))},
        }
        for one in spec.selectors or ()
    ]
    made = spread(role, names or None, namespace, rights)
    if selectors:
        made["selectors"] = selectors
    return {**made, **attached(spec.attach_metadata, rights)}
