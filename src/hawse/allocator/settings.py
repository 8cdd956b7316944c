"""What the user writes of the target allocator. Keys are the OpenTelemetry operator's where it has them; `namespaces`,
`collectors`, `secrets`, `config_maps`, `allow`, `pod_annotations` and `kubelet` are Hawse's.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse.allocator.assign import Strategy
from hawse.allocator.builtin import Kubelet, PodAnnotations
from hawse.allocator.monitors import KINDS, Selectors
from hawse.allocator.safety import Allow, NamedObject
from hawse.allocator.select import ALL, LabelSelector, Limits
from hawse.component import Problem, Section
from hawse.kube import kubeconfig
from hawse.kube.access import Auth
from hawse.net.settings import ServerConfig
from hawse.prometheus.settings import ScrapeConfigs
from hawse.prometheus.values import PromDuration
from hawse.values import Duration

_OF_MONITORS = "Labels that they must have; without any, all count."
_OF_NAMESPACES = "Labels that their namespaces must have. Needs namespaces of the whole cluster."


class PrometheusCR(Section, frozen=True):
    """Monitors of prometheus-operator: which kinds, and which of them."""

    enabled: bool = False
    kinds: Annotated[
        tuple[Literal["ServiceMonitor", "PodMonitor", "Probe", "ScrapeConfig"], ...],
        Meta(description="Those that are looked at, and permissions needed for."),
    ] = ("ServiceMonitor", "PodMonitor", "Probe", "ScrapeConfig")
    allow_namespaces: Annotated[
        tuple[str, ...], Meta(description="Of `namespaces`, those whose monitors count; all of them, if none is named.")
    ] = ()
    deny_namespaces: Annotated[tuple[str, ...], Meta(description="Namespaces whose monitors do not count.")] = ()
    service_monitor_selector: Annotated[LabelSelector, Meta(description=_OF_MONITORS)] = LabelSelector()
    service_monitor_namespace_selector: Annotated[LabelSelector, Meta(description=_OF_NAMESPACES)] = LabelSelector()
    pod_monitor_selector: Annotated[LabelSelector, Meta(description=_OF_MONITORS)] = LabelSelector()
    pod_monitor_namespace_selector: Annotated[LabelSelector, Meta(description=_OF_NAMESPACES)] = LabelSelector()
    probe_selector: Annotated[LabelSelector, Meta(description=_OF_MONITORS)] = LabelSelector()
    probe_namespace_selector: Annotated[LabelSelector, Meta(description=_OF_NAMESPACES)] = LabelSelector()
    scrape_config_selector: Annotated[LabelSelector, Meta(description=_OF_MONITORS)] = LabelSelector()
    scrape_config_namespace_selector: Annotated[LabelSelector, Meta(description=_OF_NAMESPACES)] = LabelSelector()
    scrape_config_roles: Annotated[
        tuple[Literal["pod", "service", "endpointslice", "endpoints", "ingress"], ...],
        Meta(description="Roles that a ScrapeConfig may discover by; each needs permissions."),
    ] = ("pod", "service", "endpointslice")
    scrape_interval: Annotated[PromDuration, Meta(description="Of monitors that name none. 0: that of global.")] = (
        PromDuration(30)
    )
    ignore_namespace_selectors: Annotated[
        bool, Meta(description="Monitors find targets in their own namespace only, whatever they say.")
    ] = False

    def selectors(self) -> dict[str, Selectors]:
        """By kind."""
        return {
            name: Selectors(
                getattr(self, f"{kind.setting}_selector"), getattr(self, f"{kind.setting}_namespace_selector")
            )
            for name, kind in KINDS.items()
        }

    @property
    def needs_namespaces(self) -> bool:
        """Whether labels of namespaces count."""
        asking = [one.namespaces for name, one in self.selectors().items() if name in self.kinds]
        return any(one is not None and not one.empty for one in asking)


class DNS(Section, frozen=True):
    """A name whose addresses are the collectors."""

    hostname: str
    interval: Annotated[Duration, Meta(description="Between two look-ups.", gt=0)] = Duration(5)


class Collectors(Section, frozen=True):
    """Who collects, instead of pods by label. The ids are what collectors give as `collector_id`."""

    static: Annotated[tuple[str, ...], Meta(description="Their ids.")] = ()
    dns: Annotated[DNS | None, Meta(description="A headless Service: the addresses are the ids.")] = None

    def problems(self) -> Iterator[Problem]:
        if self.static and self.dns is not None:
            yield Problem("dns", "static and dns are two ways to say who collects", "remove one of them")


class Settings(ServerConfig, frozen=True):
    """The target allocator: finds targets, and tells collectors which of them are theirs."""

    endpoint: str = "0.0.0.0:8080"
    auth_type: Annotated[
        Literal["serviceAccount", "kubeConfig", "none"], Meta(description="How to be known to the API server.")
    ] = "serviceAccount"
    kube_config_path: Annotated[str, Meta(description="For kubeConfig. Empty: $KUBECONFIG, or ~/.kube/config.")] = ""
    namespaces: Annotated[
        tuple[str, ...],
        Meta(description='The only ones that are looked into. Empty: collector_namespace. "*": the whole cluster.'),
    ] = ()
    collector_namespace: Annotated[str, Meta(min_length=1, description="Where the collectors' pods are.")] = "default"
    collector_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Labels of the collectors' pods, whose names are the ids. Unused where `collectors` says who."
        ),
    ] = None
    collectors: Collectors = field(default_factory=Collectors)
    collector_not_ready_grace_period: Annotated[
        Duration, Meta(description="How long a collector that has stopped keeps its targets.", ge=0)
    ] = Duration(30)
    allocation_strategy: Strategy = "consistent-hashing"
    allocation_fallback_strategy: Annotated[
        Literal["consistent-hashing", "least-weighted", "none"],
        Meta(description="Of per-node, for targets on no node that has a collector."),
    ] = "consistent-hashing"
    filter_strategy: Annotated[
        Literal["relabel-config"], Meta(description="Targets that a job's rules drop are not handed out.")
    ] = "relabel-config"
    config: Annotated[ScrapeConfigs, Meta(description="Jobs as in Prometheus' configuration file.")] = field(
        default_factory=ScrapeConfigs
    )
    prometheus_cr: PrometheusCR = field(default_factory=PrometheusCR)
    pod_annotations: PodAnnotations = field(default_factory=PodAnnotations)
    kubelet: Kubelet = field(default_factory=Kubelet)
    secrets: Annotated[
        tuple[NamedObject, ...], Meta(description="The only Secrets that monitors may refer to; read by name.")
    ] = ()
    config_maps: Annotated[
        tuple[NamedObject, ...], Meta(description="The only ConfigMaps that monitors may refer to; read by name.")
    ] = ()
    allow: Allow = field(default_factory=Allow)
    allow_insecure_auth_secrets: Annotated[
        bool,
        Meta(
            description="Hand credentials of jobs to whoever asks, not only to clients with a certificate "
            "(tls.client_ca_file)."
        ),
    ] = False

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.collector_selector is None and self.watches_collectors:
            fix = "set collector_selector (pods), or collectors.static or collectors.dns"
            yield Problem("collector_selector", "it is not said who the collectors are", fix)
        elif self.collector_selector is not None and self.collector_selector.empty:
            message = "it selects every pod of the namespace"
            yield Problem("collector_selector", message, "write matchLabels that only collectors have")
        if ALL in self.namespaces and len(self.namespaces) > 1:
            yield Problem("namespaces", f'"{ALL}" is all of them already', "remove it, or the others")
        if self.config.scrape_config_files:
            yield Problem(
                "config.scrape_config_files", "files of jobs are not read here", "put them under scrape_configs"
            )
        names = {"pod-annotations": self.pod_annotations.enabled, "kubelet": self.kubelet.enabled}
        names["cadvisor"] = self.kubelet.enabled and self.kubelet.cadvisor
        for number, job in enumerate(self.config.scrape_configs):
            if names.get(job.job_name):
                message = f"the allocator has a job {job.job_name!r} of its own"
                yield Problem(f"config.scrape_configs[{number}].job_name", message, "give this one another name")

    @property
    def watches_collectors(self) -> bool:
        """Whether the collectors are pods by label."""
        return not self.collectors.static and self.collectors.dns is None

    @property
    def limits(self) -> Limits:
        """Where targets may be looked for."""
        return Limits.of(self.namespaces, self.collector_namespace)

    @property
    def monitor_limits(self) -> Limits:
        """Where monitors count."""
        within, cr = self.limits, self.prometheus_cr
        if not cr.allow_namespaces:
            return Limits(within.names, frozenset(cr.deny_namespaces))
        names = frozenset(name for name in cr.allow_namespaces if within.allows(name))
        return Limits(names, frozenset(cr.deny_namespaces))

    @property
    def auth(self) -> Auth:
        """How to reach the API server."""
        return Auth(self.auth_type, "", self.kube_config_path)

    def kubeconfig(self, env: Mapping[str, str] = os.environ) -> str:
        """The kubeconfig for discovery, "" inside a pod."""
        if self.auth_type != "kubeConfig":
            return ""
        return self.kube_config_path or str(next(iter(kubeconfig.locate("", env)), ""))
