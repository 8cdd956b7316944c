"""What the allocator needs: a port, and of the Kubernetes API exactly what its configuration has it look at."""

from collections.abc import Iterator

import msgspec

from hawse.allocator import named
from hawse.allocator.monitors import GROUP, KINDS
from hawse.allocator.settings import Settings
from hawse.component import Calls, Connects, Listens, Need, Reads
from hawse.kube import access
from hawse.net.settings import split_endpoint
from hawse.prometheus.discovery import needs as discovery_needs
from hawse.prometheus.sd_settings import KubernetesSDConfig, Namespaces, Role
from hawse.prometheus.settings import ScrapeConfig

_WATCH = ("list", "watch")
_RESOLVER = "kube-dns.kube-system.svc"  # as `hawse.pipeline.needs` names whatever resolves names


def needs(settings: Settings) -> Iterator[Need]:
    """See `component.Factory`."""
    host, port = split_endpoint(settings.endpoint)
    yield Listens(port, "tcp", "target allocator", host or "0.0.0.0")
    tls = settings.tls
    for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if path:
            yield Reads(path, "TLS")
    found = list(_of_kubernetes(settings))
    if any(isinstance(need, Calls) for need in found):
        yield from access.needs(settings.auth)
    yield from found
    for job in settings.config.scrape_configs:
        yield from discovery_needs(_reached(job, settings))
    if settings.collectors.dns is not None:
        for protocol in ("udp", "tcp"):
            yield Connects(_RESOLVER, 53, protocol, f"look up the collectors, {settings.collectors.dns.hostname}")


def _of_kubernetes(settings: Settings) -> Iterator[Need]:
    if settings.watches_collectors:
        yield Calls("", "pods", _WATCH, settings.collector_namespace, "collectors, and whether they are ready")
    cr = settings.prometheus_cr
    if cr.enabled:
        for name in cr.kinds:
            for scope in settings.monitor_limits.scopes:
                yield Calls(GROUP, KINDS[name].resource, _WATCH, scope or "cluster", "monitors")
        if cr.needs_namespaces:
            yield Calls("", "namespaces", _WATCH, "cluster", "labels of the monitors' namespaces")
        yield from named.needs(settings.secrets, settings.config_maps)
    yield from _of_discovery(settings)


def _of_discovery(settings: Settings) -> Iterator[Need]:
    scopes = settings.limits.scopes
    names = () if scopes == ("",) else scopes
    for role in roles(settings):
        found = KubernetesSDConfig(role=role, namespaces=Namespaces(names=() if role == "node" else names))
        for need in discovery_needs(ScrapeConfig(job_name=role, kubernetes_sd_configs=(found,))):
            if isinstance(need, Calls):
                yield need


def roles(settings: Settings) -> list[Role]:
    """The roles of discovery that the jobs of monitors and the allocator's own may need."""
    found: set[Role] = set()
    cr = settings.prometheus_cr
    if cr.enabled:
        of_kinds: dict[str, tuple[Role, ...]] = {
            "ServiceMonitor": ("endpointslice",),
            "PodMonitor": ("pod",),
            "Probe": ("ingress",),
            "ScrapeConfig": cr.scrape_config_roles,
        }
        found.update(role for kind in cr.kinds for role in of_kinds[kind])
        if settings.allow.node_discovery:
            found.add("node")
    if settings.pod_annotations.enabled:
        found.add("pod")
    if settings.kubelet.enabled:
        found.add("node")
    return sorted(found)


def _reached(job: ScrapeConfig, settings: Settings) -> ScrapeConfig:
    """A job with its discovery by the allocator's own kubeconfig, where it says nothing else."""
    if settings.auth_type != "kubeConfig":
        return job
    path = settings.kubeconfig()
    found = tuple(
        one if one.api_server or one.kubeconfig_file else msgspec.structs.replace(one, kubeconfig_file=path)
        for one in job.kubernetes_sd_configs
    )
    return msgspec.structs.replace(job, kubernetes_sd_configs=found)
