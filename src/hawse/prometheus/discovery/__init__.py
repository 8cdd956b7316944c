"""Finds targets: one discoverer for each entry of a job's `…_sd_configs`, one for all its `static_configs`."""

from collections.abc import Iterator

from hawse.component import Need
from hawse.prometheus.discovery.base import Discoverer, Publish, Shares
from hawse.prometheus.discovery.static import StaticDiscoverer
from hawse.prometheus.settings import ScrapeConfig

__all__ = ["Discoverer", "Publish", "Shares", "discoverers", "needs"]


def discoverers(config: ScrapeConfig, context: Shares) -> list[Discoverer]:
    """All that look for targets of a job. `context` is the component's: Kubernetes watches are shared in a process.

    Sources of groups are unique within one discoverer only: keep groups by discoverer and source.
    """
    made: list[Discoverer] = []
    if config.static_configs:
        made.append(StaticDiscoverer(config.static_configs))
    return made


def needs(config: ScrapeConfig) -> Iterator[Need]:
    """What finding a job's targets takes; not what scraping them takes."""
    yield from ()
