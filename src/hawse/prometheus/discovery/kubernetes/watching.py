"""The process's watches for discovery: jobs that look at the same objects of the same API server share one.

Obtained by `context.shared(ObjectWatches)`. The last to leave a watch ends it.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from hawse.kube.access import Access
from hawse.kube.client import KubeClient
from hawse.kube.errors import Call
from hawse.kube.objects import PartialObject
from hawse.kube.reflector import AnyReflector, Reflector
from hawse.prometheus.discovery.kubernetes import objects
from hawse.prometheus.discovery.kubernetes.kept import Keeper
from hawse.prometheus.discovery.kubernetes.stores import Store


class Kind(NamedTuple):
    """A kind of objects: where the API has it, and what is decoded of it (None: its metadata)."""

    group: str
    resource: str
    namespaced: bool
    object: type[Any] | None


KINDS = {
    "node": Kind("", "nodes", namespaced=False, object=objects.NodeObject),
    "pod": Kind("", "pods", namespaced=True, object=objects.PodObject),
    "service": Kind("", "services", namespaced=True, object=objects.ServiceObject),
    "endpoints": Kind("", "endpoints", namespaced=True, object=objects.EndpointsObject),
    "endpointslice": Kind("discovery.k8s.io", "endpointslices", namespaced=True, object=objects.EndpointSliceObject),
    "ingress": Kind("networking.k8s.io", "ingresses", namespaced=True, object=objects.IngressObject),
    "namespace": Kind("", "namespaces", namespaced=False, object=None),
    "replicaset": Kind("apps", "replicasets", namespaced=True, object=None),
    "job": Kind("batch", "jobs", namespaced=True, object=None),
}


class Wish(msgspec.Struct, frozen=True):
    """Objects of a kind, in a namespace or in all (""), narrowed by selectors as the API server understands them."""

    kind: str
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def call(self) -> Call:
        """What is listed and watched."""
        kind = KINDS[self.kind]
        return Call(kind.group, "v1", kind.resource, self.namespace, self.label_selector, self.field_selector)


class Watch:
    """One list-and-watch that runs, and the store that it keeps up to date."""

    def __init__(self, client: KubeClient, wish: Wish, keeper: Keeper) -> None:
        kind = KINDS[wish.kind].object
        if kind is None:
            self.store: Store[Any, Any] = Store(keeper.partial)
            self.reflector: AnyReflector = Reflector(client, wish.call, PartialObject, self.store, partial=True)
        else:
            self.store = Store(keeper.pod if kind is objects.PodObject else keeper.other)
            self.reflector = Reflector(client, wish.call, kind, self.store)
        self.members = 0
        self.task = asyncio.create_task(self.reflector.run(), name=f"discovery: watch {wish.call}")


class Server:
    """One API server, asked with one identity."""

    def __init__(self, access: Access) -> None:
        self.client = KubeClient(access)
        self.keeper = Keeper()
        self.watches: dict[Wish, Watch] = {}

    def join(self, wish: Wish) -> Watch:
        """The watch of these objects, begun if nobody had it."""
        watch = self.watches.get(wish)
        if watch is None:
            watch = self.watches[wish] = Watch(self.client, wish, self.keeper)
        watch.members += 1
        return watch

    async def leave(self, wish: Wish) -> None:
        """The last to leave ends the watch; the last of all, the connections."""
        watch = self.watches[wish]
        watch.members -= 1
        if watch.members <= 0:
            del self.watches[wish]
            watch.task.cancel()
            await asyncio.gather(watch.task, return_exceptions=True)
        if not self.watches:
            await self.client.close()  # they are made anew if it is asked again
            self.keeper = Keeper()


class ObjectWatches:
    """All of them."""

    def __init__(self) -> None:
        self._servers: dict[bytes, Server] = {}

    def server(self, identity: bytes, reach: Callable[[], Access]) -> Server:
        """The API server that `identity` stands for. Raises HawseError where it is not known how to reach it."""
        server = self._servers.get(identity)
        if server is None:
            server = self._servers[identity] = Server(reach())
        return server

    def known(self, kind: str) -> Iterator[Any]:
        """All objects of a kind that are watched, whoever asked for them, as `kept` has them: to explain with."""
        for server in self._servers.values():
            for wish, watch in server.watches.items():
                if wish.kind == kind:
                    yield from watch.store.objects.values()

    async def close(self) -> None:
        """End all watches and connections."""
        servers, self._servers = list(self._servers.values()), {}
        tasks = [watch.task for server in servers for watch in server.watches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in servers:
            await server.client.close()
