"""Looking for targets once, however many jobs want them: each place that is looked at has one discoverer.

Monitors differ by their selectors far more than by where they look. So their discovery is taken apart into places (a
role in one namespace; in the whole cluster where the allocator may look there), and the groups found in a place are
shared by all jobs that want it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec

from hawse.allocator.documents import identity
from hawse.allocator.select import Limits
from hawse.prometheus.discovery import Discoverer, Shares, discoverers
from hawse.prometheus.sd_settings import KubernetesSDConfig, Namespaces
from hawse.prometheus.settings import GlobalConfig, ScrapeConfig
from hawse.prometheus.targets import TargetGroup

NAMESPACE = "__meta_kubernetes_namespace"
_log = logging.getLogger("hawse.allocator")
Names: TypeAlias = frozenset[str] | None
Changed: TypeAlias = Callable[["Look", list[str]], None]


class Look:
    """One place. `groups` are what is there now, by source; not to be modified. `kubernetes` tells whose word it is."""

    def __init__(self, key: str, discoverer: Discoverer, changed: Changed, *, kubernetes: bool, name: str) -> None:
        self.key = key
        self.name = name
        self.kubernetes = kubernetes
        self._discoverer = discoverer
        self._trouble = ""
        self.groups: dict[str, TargetGroup] = {}
        self.users = 0
        self._by_namespace: dict[str, set[str]] = {}
        self._changed = changed

    async def run(self) -> None:
        """Look, until cancelled."""
        try:
            await self._discoverer.run(self.publish)
        except Exception as problem:  # a fault of ours with one place must not keep the others from being looked at
            _log.exception("%s: discovery ended", self.name)
            self._trouble = repr(problem)

    @property
    def error(self) -> str:
        """Why it is not seen as it is, "" while it is."""
        return self._trouble or self._discoverer.error

    @property
    def synced(self) -> bool:
        """Whether it was seen at all, or never will be."""
        return bool(self._trouble) or self._discoverer.synced

    def publish(self, groups: list[TargetGroup]) -> None:
        """Take what the discoverer has found; see Discoverer."""
        for group in groups:
            self._forget(group.source)
            if group.targets:
                self.groups[group.source] = group
                self._by_namespace.setdefault(group.labels.get(NAMESPACE, ""), set()).add(group.source)
        self._changed(self, [group.source for group in groups])

    def _forget(self, source: str) -> None:
        before = self.groups.pop(source, None)
        if before is not None:
            namespace = before.labels.get(NAMESPACE, "")
            there = self._by_namespace[namespace]
            there.discard(source)
            if not there:
                del self._by_namespace[namespace]

    def sources(self, names: Names) -> list[str]:
        """The sources of the groups in some namespaces, None for all."""
        if names is None:
            return list(self.groups)
        return [source for name in names for source in self._by_namespace.get(name, ())]


class Want(msgspec.Struct, frozen=True):
    """A place that a job looks at, and the namespaces there that it means (None: all)."""

    look: Look
    names: Names = None

    def covers(self, group: TargetGroup) -> bool:
        """Whether the job means a group of that place."""
        return self.names is None or group.labels.get(NAMESPACE, "") in self.names


class Looks:
    """All places that somebody looks at. `changed` is told of the sources whose groups are new, other or gone."""

    def __init__(self, limits: Limits, kubeconfig: str, context: Shares, changed: Changed) -> None:
        """`kubeconfig` is for discovery that says nothing of how to reach the API server; "" inside a pod."""
        self._limits = limits
        self._kubeconfig = kubeconfig
        self._context = context
        self._changed = changed
        self._looks: dict[str, Look] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Look]:
        return iter(list(self._looks.values()))

    def join(self, config: ScrapeConfig) -> list[Want]:
        """Begin to look for a job's targets, where nobody does yet. Each Want is to be given back by `leave`."""
        wants = [Want(self._look(place, name), names) for place, name, names in self._places(config)]
        for want in wants:
            want.look.users += 1
        return wants

    def leave(self, wants: list[Want]) -> None:
        """Look no more where nobody else does."""
        for want in wants:
            want.look.users -= 1
            if not want.look.users:
                self._looks.pop(want.look.key, None)
                if task := self._tasks.pop(want.look.key, None):
                    task.cancel()

    def _places(self, config: ScrapeConfig) -> Iterator[tuple[dict[str, Any], str, Names]]:
        if config.static_configs:
            yield {"static_configs": config.static_configs}, f"static_configs of {config.job_name}", None
        for file in config.file_sd_configs:
            yield {"file_sd_configs": (file,)}, ", ".join(file.files), None
        for http in config.http_sd_configs:
            yield {"http_sd_configs": (http,)}, http.url, None
        for found in config.kubernetes_sd_configs:
            yield from self._kubernetes(found)

    def _kubernetes(self, found: KubernetesSDConfig) -> Iterator[tuple[dict[str, Any], str, Names]]:
        named = found.namespaces
        if self._kubeconfig and not (found.kubeconfig_file or found.api_server):
            found = msgspec.structs.replace(found, kubeconfig_file=self._kubeconfig)
        if named.own_namespace or found.api_server or found.role == "node" or not named.names:
            yield {"kubernetes_sd_configs": (found,)}, f"{found.role}", None
        elif self._limits.names is None:
            everywhere = msgspec.structs.replace(found, namespaces=Namespaces())
            yield {"kubernetes_sd_configs": (everywhere,)}, f"{found.role}", frozenset(named.names)
        else:
            for name in sorted(set(named.names)):
                one = msgspec.structs.replace(found, namespaces=Namespaces(names=(name,)))
                yield {"kubernetes_sd_configs": (one,)}, f"{found.role} in {name}", None

    def _look(self, place: dict[str, Any], name: str) -> Look:
        key = identity(place)
        if key not in self._looks:
            config = ScrapeConfig(job_name=name, **place).filled(GlobalConfig())
            (discoverer,) = discoverers(config, self._context)
            look = Look(key, discoverer, self._changed, kubernetes="kubernetes_sd_configs" in place, name=name)
            self._looks[key] = look
            self._tasks[key] = asyncio.create_task(look.run(), name=f"target allocator: look at {name}")
        return self._looks[key]

    @property
    def errors(self) -> list[str]:
        """What keeps places from being seen as they are."""
        return [f"{look.name}: {error}" for look in self if (error := look.error)]

    @property
    def unsynced(self) -> list[str]:
        """Places that were not seen yet."""
        return [look.name for look in self if not look.synced]

    async def close(self) -> None:
        """End all looking."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._looks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
