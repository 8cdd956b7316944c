"""Finds the targets of one `kubernetes_sd_configs` entry, for all jobs that have an equal one (see `finders`)."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from hawse.diagnostics import HawseError
from hawse.prometheus.discovery.base import Publish
from hawse.prometheus.discovery.kubernetes.endpoints import EndpointsRole
from hawse.prometheus.discovery.kubernetes.endpointslice import EndpointSliceRole
from hawse.prometheus.discovery.kubernetes.ingress import IngressRole
from hawse.prometheus.discovery.kubernetes.node import NodeRole
from hawse.prometheus.discovery.kubernetes.pod import PodRole
from hawse.prometheus.discovery.kubernetes.reach import namespaces, reach, server_identity
from hawse.prometheus.discovery.kubernetes.roles import Reference, Role
from hawse.prometheus.discovery.kubernetes.service import ServiceRole
from hawse.prometheus.discovery.kubernetes.watching import KINDS, ObjectWatches, Server, Watch, Wish
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.targets import TargetGroup

ROLES: dict[str, type[Role]] = {
    "node": NodeRole,
    "pod": PodRole,
    "service": ServiceRole,
    "endpoints": EndpointsRole,
    "endpointslice": EndpointSliceRole,
    "ingress": IngressRole,
}
_SLICE = 0.01  # seconds of building groups before others get a turn
_GATHER = 0.05  # seconds for changes to come together
_AGAIN = 10.0  # seconds before it is tried again to reach the API server
_log = logging.getLogger("hawse.discovery")


def wishes(config: KubernetesSDConfig, where: Iterable[str]) -> list[Wish]:
    """What must be watched, the role's own kind first, in all of the namespaces `where`."""
    found = []
    for kind in ROLES[config.role].kinds(config):
        selector = config.selector(kind)
        label, field = (selector.label, selector.field) if selector is not None else ("", "")
        places = where if KINDS[kind].namespaced else ("",)
        found += [Wish(kind, namespace, label, field) for namespace in places]
    return found


class Finder:
    """Watches, and keeps the groups. Runs while it has members."""

    def __init__(self, config: KubernetesSDConfig, watches: ObjectWatches) -> None:
        self.config = config
        self.groups: dict[str, TargetGroup] = {}
        self.members: dict[int, Publish] = {}
        self.trouble = ""
        self.synced = False
        self._watches = watches
        self._role: Role = ROLES[config.role](config, self._find)
        self._joined: list[tuple[Server, Wish, Watch]] = []
        self._stores: dict[str, dict[str, dict[str, Any]]] = {}
        self._dirty: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._users: dict[Reference, set[str]] = {}  # object → keys of the role's objects that are made of it
        self._used: dict[str, tuple[Reference, ...]] = {}
        self._listeners: list[tuple[Watch, Callable[[str, Any, Any], None]]] = []

    def add(self, number: int, publish: Publish) -> None:
        """One more who is told, by what is known first. (`del members[number]` takes it back.)"""
        self.members[number] = publish
        if self.groups:
            publish(list(self.groups.values()))

    @property
    def error(self) -> str:
        """Why it is behind the API server, "" while it is not."""
        behind = (watch.reflector.error for _, _, watch in self._joined)
        return self.trouble or next((error for error in behind if error), "")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._watch()
            except Exception as error:  # a fault of ours must not end discovery: known targets would grow stale
                _log.exception("kubernetes_sd_configs: unexpected error")
                self.trouble = repr(error)
                await asyncio.sleep(_AGAIN)

    async def _watch(self) -> None:
        try:
            await self._begin()
            while True:
                await self._changed.wait()
                await asyncio.sleep(_GATHER)
                self._changed.clear()
                await self._work()
        finally:
            for watch, listener in self._listeners:
                watch.store.listeners.remove(listener)
            joined, self._joined, self._listeners = self._joined, [], []
            self._stores.clear()
            for server, wish, _ in joined:
                await server.leave(wish)

    async def _begin(self) -> None:
        await self._join()
        for _, _, watch in self._joined:
            await watch.reflector.synced.wait()
        own = self.config.role
        for _, wish, watch in self._joined:
            listener = self._own_changed if wish.kind == own else self._other_changed(wish.kind)
            watch.store.listeners.append(listener)
            self._listeners.append((watch, listener))
        for store in self._stores[own].values():
            self._dirty.update(dict.fromkeys(store))
        self._dirty.update((source.partition("/")[2], None) for source in self.groups)  # begun anew: what is gone since
        await self._work()
        self.synced = True

    async def _join(self) -> None:
        """Join the watches; while it is not known how to reach the API server, say so and try again."""
        while True:
            try:
                where = namespaces(self.config)
                server = self._watches.server(server_identity(self.config), lambda: reach(self.config))
            except HawseError as error:
                if str(error) != self.trouble:
                    _log.error("kubernetes_sd_configs: %s", error)
                self.trouble = str(error)
                await asyncio.sleep(_AGAIN)
            else:
                break
        self.trouble = ""
        for wish in wishes(self.config, where):
            watch = server.join(wish)
            self._joined.append((server, wish, watch))
            self._stores.setdefault(wish.kind, {})[wish.namespace] = watch.store.objects

    def _find(self, kind: str, key: str) -> Any:
        places = self._stores.get(kind)
        if places is None:
            return None
        objects = places.get("")
        if objects is None:
            objects = places.get(key.partition("/")[0], {})
        return objects.get(key)

    # --- what changed

    def _own_changed(self, key: str, _before: Any, _after: Any) -> None:
        self._dirty[key] = None
        self._changed.set()

    def _other_changed(self, kind: str) -> Callable[[str, Any, Any], None]:
        def changed(key: str, _before: Any, _after: Any) -> None:
            users = self._users.get((kind, key))
            if users:
                self._dirty.update(dict.fromkeys(users))
                self._changed.set()

        return changed

    def _refer(self, key: str, references: Iterable[Reference]) -> None:
        """Remember what an object's group is made of."""
        made = tuple(dict.fromkeys(references))
        before = self._used.pop(key, ())
        if made:
            self._used[key] = made
        if made == before:
            return
        for reference in before:
            users = self._users[reference]
            users.discard(key)
            if not users:
                del self._users[reference]
        for reference in made:
            self._users.setdefault(reference, set()).add(key)

    # --- groups

    async def _work(self) -> None:
        """Make the groups of changed objects anew, and publish those that are different."""
        made: list[TargetGroup] = []
        began = time.monotonic()
        while self._dirty:
            key = next(iter(self._dirty))
            del self._dirty[key]
            group = self._build(key)
            if group is not None:
                made.append(group)
            if time.monotonic() - began > _SLICE:
                self._publish(made)
                made = []
                await asyncio.sleep(0)
                began = time.monotonic()
        self._publish(made)

    def _build(self, key: str) -> TargetGroup | None:
        """The group of an object if it is another one than before; without targets, if it had some and has none."""
        found = self._find(self.config.role, key)
        if found is None:
            self._refer(key, ())
            group = TargetGroup(self._role.source(key))
        else:
            self._refer(key, self._role.references(found))
            group = self._role.build(found)
        before = self.groups.get(group.source)
        if not group.targets:
            return group if self.groups.pop(group.source, None) is not None else None
        if group == before:
            return None
        self.groups[group.source] = group
        return group

    def _publish(self, groups: list[TargetGroup]) -> None:
        if groups:
            for publish in list(self.members.values()):
                publish(list(groups))
