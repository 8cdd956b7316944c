"""What a process needs: the union over its graph, and what the service itself adds.

Two peers are known by role and not by address, so they stand under the names that every cluster has:
`kubernetes.default.svc` for the API server, `kube-dns.kube-system.svc` for whatever resolves names. In a pod both
are reached by address (environment and resolv.conf). Consumers of needs compare with `API_SERVER` and `DNS`.
"""

import ipaddress
from collections.abc import Iterator

import msgspec

from hawse.component import Calls, Connects, Listens, Need
from hawse.pipeline.graph import Graph

API_SERVER = "kubernetes.default.svc"
DNS = "kube-dns.kube-system.svc"


class Stated(msgspec.Struct, frozen=True):
    """A need, and the components (by path) that have it."""

    need: Need
    by: tuple[str, ...]


def needs(graph: Graph) -> tuple[Stated, ...]:
    """All needs of a process that runs this graph, each once, in the order of the graph."""
    found: dict[Need, list[str]] = {}
    for path, need in [*_of_components(graph), *_of_service(graph)]:
        found.setdefault(need, []).append(path)
    for path, need in _derived(found):
        found.setdefault(need, []).append(path)
    return tuple(Stated(need, tuple(dict.fromkeys(by))) for need, by in found.items())


def _of_components(graph: Graph) -> Iterator[tuple[str, Need]]:
    for node in graph.nodes:
        for need in node.factory.needs(node.config):
            yield node.path, need


def _of_service(graph: Graph) -> Iterator[tuple[str, Need]]:
    for served in graph.service.telemetry.metrics.served:
        yield "service.telemetry.metrics", Listens(served.port, "tcp", "self-metrics", served.host)


def _derived(found: dict[Need, list[str]]) -> list[tuple[str, Need]]:
    """The API server for whatever calls it, and DNS for every name that is connected to."""
    result: list[tuple[str, Need]] = []
    hosts = {need.host for need in found if isinstance(need, Connects)}
    if API_SERVER not in hosts and any(isinstance(need, Calls) for need in found):
        result.append(("service", Connects(API_SERVER, 443, "tcp", "Kubernetes API")))
    names = sorted(host for host in hosts if is_name(host))
    if names:
        purpose = f"resolve {', '.join(names)}"
        result += [("service", Connects(DNS, 53, protocol, purpose)) for protocol in ("udp", "tcp")]
    return result


def is_name(host: str) -> bool:
    """Whether a host has to be resolved: no address, not this machine, not one that is known without DNS."""
    if host in {"localhost", API_SERVER, DNS, ""}:
        return False
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return True
    return False
