"""`static_configs`: targets that stand in the configuration."""

import asyncio
from collections.abc import Sequence

from hawse.prometheus.discovery.base import Discoverer, Publish
from hawse.prometheus.sd_settings import StaticConfig
from hawse.prometheus.targets import TargetGroup


def groups(configs: Sequence[StaticConfig], source: str) -> list[TargetGroup]:
    """Groups as `static_configs`, files and HTTP discovery have them; the number of each is in its source."""
    return [
        TargetGroup(
            f"{source}:{number}",
            tuple({"__address__": target} for target in config.targets),
            {name: str(value) for name, value in config.labels.items()},
        )
        for number, config in enumerate(configs)
    ]


class StaticDiscoverer(Discoverer):
    """Publishes once."""

    def __init__(self, configs: Sequence[StaticConfig]) -> None:
        super().__init__("static_configs")
        self._configs = configs
        self._published = False

    @property
    def error(self) -> str:
        """See Discoverer."""
        return ""

    @property
    def synced(self) -> bool:
        """See Discoverer."""
        return self._published

    async def run(self, publish: Publish) -> None:
        """See Discoverer."""
        publish(groups(self._configs, "static"))
        self._published = True
        await asyncio.Event().wait()
