"""The role `service`: one target for each port of a service, by its DNS name."""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.kept import Kept
from hawse.prometheus.discovery.kubernetes.naming import NAMESPACE, PREFIX, Labels, add_meta, joined
from hawse.prometheus.discovery.kubernetes.objects import ServiceObject
from hawse.prometheus.discovery.kubernetes.roles import Reference, Role, attached
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

_SERVICE = f"{PREFIX}service_"


def service_labels(found: Kept) -> Labels:
    """What a service gives to its own targets, and to its endpoints'."""
    labels: Labels = {NAMESPACE: found.meta.namespace}
    add_meta(labels, found.meta, "service")
    return labels


class ServiceRole(Role):
    """A service."""

    name = "svc"

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:
        """Services, and what attach_metadata asks for."""
        yield "service"
        yield from attached(config, pods=False)

    def references(self, found: Kept) -> Iterator[Reference]:
        """Its namespace."""
        if self.attach.namespace:
            yield "namespace", found.meta.namespace

    def build(self, found: Kept) -> TargetGroup:
        """See Role."""
        meta, service = found.meta, found.of
        labels = service_labels(found)
        self.add_namespace(labels, meta)
        host, about = f"{meta.name}.{meta.namespace}.svc", _about(service)
        targets = tuple(
            {
                "__address__": joined(host, port.port),
                f"{_SERVICE}port_name": port.name or "",
                f"{_SERVICE}port_number": str(port.port),
                f"{_SERVICE}port_protocol": port.protocol or "",
                **about,
            }
            for port in service.spec.ports or ()
        )
        return TargetGroup(self.source(f"{meta.namespace}/{meta.name}"), targets, labels)


def _about(service: ServiceObject) -> Labels:
    kind = service.spec.type or ""
    about = {f"{_SERVICE}type": kind}
    if kind == "ExternalName":
        about[f"{_SERVICE}external_name"] = service.spec.externalName or ""
    else:
        about[f"{_SERVICE}cluster_ip"] = service.spec.clusterIP or ""
    if kind == "LoadBalancer":
        about[f"{_SERVICE}loadbalancer_ip"] = _load_balancer(service)
    return about


def _load_balancer(service: ServiceObject) -> str:
    """The addresses that it was given, else the one that was asked for."""
    balancer = service.status.loadBalancer
    given = [one.ip for one in (balancer.ingress if balancer is not None else None) or () if one.ip]
    return ",".join(given) or service.spec.loadBalancerIP or ""
