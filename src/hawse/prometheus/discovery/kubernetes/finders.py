"""The process's finders: a hundred jobs that look at the same pods find them once, and keep their groups once.

Obtained by `context.shared(Finders)`.
"""

import asyncio
import itertools

from hawse.prometheus.discovery.base import Publish
from hawse.prometheus.discovery.kubernetes.finder import Finder
from hawse.prometheus.discovery.kubernetes.reach import encoded
from hawse.prometheus.discovery.kubernetes.watching import ObjectWatches
from hawse.prometheus.sd_settings import KubernetesSDConfig


class Finders:
    """All of them."""

    def __init__(self) -> None:
        self._finders: dict[bytes, tuple[Finder, asyncio.Task[None]]] = {}
        self._numbers = itertools.count()

    def join(self, config: KubernetesSDConfig, watches: ObjectWatches, publish: Publish) -> tuple[Finder, int]:
        """The finder of such a configuration, which calls `publish` from now on; and a number to leave it with."""
        key = encoded(config)
        if key not in self._finders:
            finder = Finder(config, watches)
            self._finders[key] = finder, asyncio.create_task(finder.run(), name=f"discovery: {config.role}")
        finder, number = self._finders[key][0], next(self._numbers)
        finder.add(number, publish)
        return finder, number

    async def leave(self, finder: Finder, number: int) -> None:
        """`publish` is not called any more. The last to leave ends the finder."""
        finder.members.pop(number, None)
        if finder.members:
            return
        for key, (one, task) in list(self._finders.items()):
            if one is finder:
                del self._finders[key]
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End all of them."""
        tasks = [task for _, task in self._finders.values()]
        self._finders.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
