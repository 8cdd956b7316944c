"""What discovery that asks now and then has in common: errors told once, groups that are gone, only what changed."""

import logging
import time

from hawse.prometheus.discovery.base import Discoverer, Publish
from hawse.prometheus.targets import TargetGroup

_REMIND = 300.0  # seconds after which the same error is logged again


class Polled(Discoverer):
    """Keeps what was published last, for comparison."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._error = ""
        self._told = float("-inf")
        self._synced = False
        self._groups: dict[str, TargetGroup] = {}
        self._log = logging.getLogger("hawse.discovery")

    @property
    def error(self) -> str:
        """See Discoverer."""
        return self._error

    @property
    def synced(self) -> bool:
        """See Discoverer."""
        return self._synced

    def failed(self, message: str) -> None:
        """It could not be asked; the targets stay as they were."""
        now = time.monotonic()
        if message != self._error or now - self._told > _REMIND:
            self._told = now
            self._log.error("%s: %s; its targets stay as they were", self.name, message)
        self._error = message

    def well(self) -> None:
        """It was asked, and answered."""
        if self._error:
            self._log.info("%s: well again", self.name)
        self._error = ""

    def found(self, groups: dict[str, TargetGroup], publish: Publish) -> None:
        """All groups that there are, by their source."""
        changed = [group for source, group in groups.items() if group != self._groups.get(source)]
        changed += [TargetGroup(source) for source in self._groups if source not in groups]
        self._groups = groups
        self._synced = True
        if changed:
            publish(changed)
