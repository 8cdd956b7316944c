"""Finds targets: one discoverer for each entry of a job's `…_sd_configs`, one for all its `static_configs`."""

from collections.abc import Iterator

from hawse.component import Need
from hawse.prometheus.discovery import file, http, kubernetes
from hawse.prometheus.discovery.base import Discoverer, Publish, Shares
from hawse.prometheus.discovery.file import FileDiscoverer
from hawse.prometheus.discovery.http import HttpDiscoverer
from hawse.prometheus.discovery.kubernetes import KubernetesDiscoverer
from hawse.prometheus.discovery.static import StaticDiscoverer
from hawse.prometheus.settings import ScrapeConfig

__all__ = ["Discoverer", "Publish", "Shares", "discoverers", "needs"]


def discoverers(config: ScrapeConfig, context: Shares) -> list[Discoverer]:
    """All that look for targets of a job. `context` is the component's: Kubernetes watches are shared in a process.

    Sources of groups are unique within one discoverer only: keep groups by discoverer and source.
    """
    made: list[Discoverer] = [StaticDiscoverer(config.static_configs)] if config.static_configs else []
    made += [FileDiscoverer(one, f"file_sd_configs[{number}]") for number, one in enumerate(config.file_sd_configs)]
    made += [HttpDiscoverer(one, f"http_sd_configs[{number}]") for number, one in enumerate(config.http_sd_configs)]
    made += [
        KubernetesDiscoverer(one, f"kubernetes_sd_configs[{number}]", context)
        for number, one in enumerate(config.kubernetes_sd_configs)
    ]
    return made


def needs(config: ScrapeConfig) -> Iterator[Need]:
    """What finding a job's targets takes; not what scraping them takes. The same need may come more than once."""
    for files in config.file_sd_configs:
        yield from file.needs(files)
    for server in config.http_sd_configs:
        yield from http.needs(server)
    for cluster in config.kubernetes_sd_configs:
        yield from kubernetes.needs(cluster)
