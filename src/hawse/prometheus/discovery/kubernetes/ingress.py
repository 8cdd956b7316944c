"""The role `ingress`: one target for each path of each host of an ingress, for probing from outside."""

from collections.abc import Iterator

from hawse.prometheus.discovery.kubernetes.kept import Kept
from hawse.prometheus.discovery.kubernetes.naming import NAMESPACE, PREFIX, Labels, add_meta
from hawse.prometheus.discovery.kubernetes.objects import IngressRule
from hawse.prometheus.discovery.kubernetes.roles import Reference, Role, attached
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

_INGRESS = f"{PREFIX}ingress_"


class IngressRole(Role):
    """An ingress."""

    name = "ingress"

    @staticmethod
    def kinds(config: KubernetesSDConfig) -> Iterator[str]:
        """Ingresses, and what attach_metadata asks for."""
        yield "ingress"
        yield from attached(config, pods=False)

    def references(self, found: Kept) -> Iterator[Reference]:
        """Its namespace."""
        if self.attach.namespace:
            yield "namespace", found.meta.namespace

    def build(self, found: Kept) -> TargetGroup:
        """See Role."""
        meta, spec = found.meta, found.of.spec
        labels: Labels = {NAMESPACE: meta.namespace}
        if spec.ingressClassName is not None:
            labels[f"{_INGRESS}class_name"] = spec.ingressClassName
        add_meta(labels, meta, "ingress")
        self.add_namespace(labels, meta)
        secure = [host for tls in spec.tls or () for host in tls.hosts or ()]
        targets = tuple(target for rule in spec.rules or () for target in _targets(rule, secure))
        return TargetGroup(self.source(f"{meta.namespace}/{meta.name}"), targets, labels)


def _targets(rule: IngressRule, secure: list[str]) -> Iterator[Labels]:
    host = rule.host or ""
    scheme = "https" if any(_matches(pattern, host) for pattern in secure) else "http"
    paths = ["/"] if rule.http is None else [path.path or "/" for path in rule.http.paths or ()]
    for path in paths:
        yield {
            "__address__": host,
            f"{_INGRESS}scheme": scheme,
            f"{_INGRESS}host": host,
            f"{_INGRESS}path": path,
        }


def _matches(pattern: str, host: str) -> bool:
    """Whether a certificate for the pattern is good for the host: a `*` stands for the first part of its name."""
    if pattern == host:
        return True
    star, *domain = pattern.split(".")
    return star == "*" and domain == host.split(".")[1:]
