"""Keeps what the allocator itself watches of the API server like it is there: collectors, monitors, namespaces.

A kind that the cluster does not have, or that the allocator may not see, is looked for again every minute, and does not
keep the rest from work.
"""

import asyncio
import logging
from contextlib import aclosing
from typing import Any

from hawse.allocator.monitors import Kind
from hawse.allocator.settings import Settings
from hawse.diagnostics import HawseError
from hawse.kube import access
from hawse.kube.client import KubeClient
from hawse.kube.errors import ApiError, Call
from hawse.kube.objects import PartialObject
from hawse.kube.reflector import Reflector

_AGAIN = 60.0  # seconds before a kind that is not there is looked for again
_RETRY = 2.0  # seconds after any other failure
_log = logging.getLogger("hawse.allocator")


class Watched:
    """One list and watch. `absent` says why there is none, where that is the cluster's own doing."""

    def __init__(self, client: KubeClient, call: Call, kind: type[Any], sink: Any, *, partial: bool = False) -> None:
        self.call = call
        self.absent = ""
        self.reflector: Reflector[Any] = Reflector(client, call, kind, sink, partial=partial)
        self._client = client

    async def run(self, *, optional: bool) -> None:
        """Until cancelled."""
        while optional and not await self._is_there():  # noqa: ASYNC110 - the API server tells nobody
            await asyncio.sleep(_AGAIN if self.absent else _RETRY)
        await self.reflector.run()

    async def _is_there(self) -> bool:
        try:
            async with aclosing(self._client.pages(self.call, PartialObject, limit=1, partial=True)) as pages:
                await anext(pages)
        except (ApiError, HawseError) as problem:
            if not isinstance(problem, ApiError) or problem.status not in {403, 404}:
                self.reflector.error = str(problem)
                return False
            if self.absent != str(problem):
                level = logging.INFO if problem.status == 404 else logging.WARNING
                _log.log(level, "%s", problem)
            self.absent = str(problem)
            return False
        self.absent = self.reflector.error = ""
        return True

    @property
    def settled(self) -> bool:
        """Whether it is known what there is."""
        return bool(self.absent) or self.reflector.synced.is_set()


class Watching:
    """All of them, by one client."""

    def __init__(self, settings: Settings) -> None:
        self.client: KubeClient | None = None
        self._settings = settings
        self._watched: list[Watched] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Find the API server, if anything is to be watched. Raises HawseError."""
        if self._settings.watches_collectors or self._settings.prometheus_cr.enabled:
            self.client = KubeClient(access.of(self._settings.auth))

    def collectors(self, sink: Any, kind: type[Any]) -> None:
        """Watch the collectors' pods."""
        settings = self._settings
        self._begin(
            Call("", "v1", "pods", settings.collector_namespace, str(settings.collector_selector)),
            kind,
            sink,
            optional=False,
        )

    def monitors(self, kind: Kind, namespace: str, sink: Any, object_: type[Any]) -> None:
        """Watch monitors of a kind, in a namespace or in all ("")."""
        self._begin(kind.call(namespace), object_, sink, optional=True)

    def namespaces(self, sink: Any) -> None:
        """Watch the labels of all namespaces."""
        self._begin(Call("", "v1", "namespaces"), PartialObject, sink, optional=True, partial=True)

    def _begin(self, call: Call, kind: type[Any], sink: Any, *, optional: bool, partial: bool = False) -> None:
        assert self.client is not None
        watched = Watched(self.client, call, kind, sink, partial=partial)
        self._watched.append(watched)
        task = asyncio.create_task(watched.run(optional=optional), name=f"target allocator: watch {call}")
        self._tasks.append(task)

    def why_not_synced(self) -> str:
        """What was not listed yet, and why; "" when all was."""
        missing = [one for one in self._watched if not one.settled]
        return "; ".join(
            f"{one.call} not listed yet{f' ({one.reflector.error})' if one.reflector.error else ''}" for one in missing
        )

    def errors(self) -> list[str]:
        """What can't be seen."""
        return [one.absent or one.reflector.error for one in self._watched if one.absent or one.reflector.error]

    async def close(self) -> None:
        """End all watches."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.client is not None:
            await self.client.close()
            self.client = None
