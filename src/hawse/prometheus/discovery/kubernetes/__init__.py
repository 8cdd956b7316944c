"""`kubernetes_sd_configs`: targets out of the Kubernetes API. A file for each role says what its targets are.

Labels, addresses and sources are those of Prometheus' discovery/kubernetes.
"""

import asyncio
from collections.abc import Iterator

from hawse.component import Calls, Need
from hawse.prometheus.discovery.base import Discoverer, Publish, Shares
from hawse.prometheus.discovery.kubernetes import reach
from hawse.prometheus.discovery.kubernetes.finder import Finder, wishes
from hawse.prometheus.discovery.kubernetes.finders import Finders
from hawse.prometheus.discovery.kubernetes.watching import ObjectWatches
from hawse.prometheus.sd_settings import KubernetesSDConfig


class KubernetesDiscoverer(Discoverer):
    """One entry. What it watches, and the groups, are shared with all entries that are equal."""

    def __init__(self, config: KubernetesSDConfig, name: str, context: Shares) -> None:
        super().__init__(name)
        self._config = config
        self._watches = context.shared(ObjectWatches)
        self._finders = context.shared(Finders)
        self._finder: Finder | None = None

    async def run(self, publish: Publish) -> None:
        """See Discoverer."""
        self._finder, number = self._finders.join(self._config, self._watches, publish)
        try:
            await asyncio.Event().wait()
        finally:
            await self._finders.leave(self._finder, number)

    @property
    def error(self) -> str:
        """See Discoverer."""
        return self._finder.error if self._finder is not None else ""

    @property
    def synced(self) -> bool:
        """See Discoverer."""
        return self._finder is not None and self._finder.synced


def needs(config: KubernetesSDConfig) -> Iterator[Need]:
    """The API server, and list and watch of exactly what the role is made of."""
    yield from reach.needs(config)
    for wish in wishes(config, reach.scopes(config)):
        call = wish.call
        scope = call.namespace or "cluster"
        yield Calls(call.group, call.resource, ("list", "watch"), scope, f"discovery of targets (role {config.role})")
