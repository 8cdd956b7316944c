"""The collectors that there are: pods by label, the addresses of a headless Service, or a list.

A collector that stops may be back in a moment, and moving its targets to others and back costs more than waiting: it
keeps them for the grace period. A pod that is gone for good is not waited for: only the pods of a StatefulSet come
back under their names. A new pod gets its first targets when it is ready.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from hawse.allocator.assign import Member
from hawse.kube.objects import ObjectMeta

_log = logging.getLogger("hawse.allocator")
_SAME = 2.0  # seconds within which the kubelet writes a pod's start and its first conditions


class _Thin(msgspec.Struct, gc=False, rename="camel"):
    pass


class CollectorMeta(ObjectMeta):
    """`metadata`, with the sign that a pod is being ended."""

    deletionTimestamp: str | None = None  # noqa: N815


class Condition(_Thin):
    """`status.conditions[]`."""

    type: str = ""
    status: str = ""
    last_transition_time: str | None = None


class Spec(_Thin):
    """`spec`."""

    node_name: str | None = None


class Status(_Thin):
    """`status`."""

    phase: str | None = None
    start_time: str | None = None
    conditions: list[Condition] | None = None


class CollectorPod(msgspec.Struct, gc=False):
    """v1 Pod, as far as it tells of a collector."""

    metadata: CollectorMeta
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)

    @property
    def ready(self) -> bool:
        """Whether it can be asked to scrape: it runs, is ready, and is not being ended."""
        if self.metadata.deletionTimestamp or self.status.phase != "Running":
            return False
        return any(one.type == "Ready" and one.status == "True" for one in self.status.conditions or ())

    @property
    def comes_back(self) -> bool:
        """Whether a pod of this name is made again when it is gone."""
        return any(one.kind == "StatefulSet" for one in self.metadata.ownerReferences or ())

    @property
    def last_ready(self) -> float:
        """Seconds since 1970 at which it stopped being ready, as far as it tells; 0 if it may never have been."""
        started = _seconds(self.status.start_time)
        for one in self.status.conditions or ():
            if one.type == "Ready" and one.status != "True":
                # The kubelet writes the condition when it starts the pod, and its time anew when the pod was ready.
                changed = _seconds(one.last_transition_time)
                return changed if started and changed > started + _SAME else 0.0
        return 0.0


class Pods:
    """Pods of collectors, as a reflector's sink, and the members that they make."""

    def __init__(self, grace: float, changed: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self._grace = grace
        self._changed = changed
        self._clock = clock
        self._pods: dict[str, CollectorPod] = {}
        self._members: dict[str, Member] = {}  # all that are in, or were within the grace period
        self._ready_until: dict[str, float] = {}  # when each was last known to be ready
        self._listed: set[str] | None = None

    # --- sink -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A list begins."""
        self._listed = set()

    def put(self, found: CollectorPod) -> None:
        """A pod as it is now."""
        name = found.metadata.name
        if self._listed is not None:
            self._listed.add(name)
        before = self._pods.get(name)
        if before is not None and before.ready:
            self._ready_until[name] = self._clock()
        self._pods[name] = found
        if before is None or (before.ready, before.spec.node_name) != (found.ready, found.spec.node_name):
            self._changed()

    def delete(self, found: CollectorPod) -> None:
        """A pod that is gone."""
        self._gone(found.metadata.name)

    def end(self) -> None:
        """The list is complete."""
        assert self._listed is not None
        for name in [name for name in self._pods if name not in self._listed]:
            self._gone(name)
        self._listed = None

    def _gone(self, name: str) -> None:
        pod = self._pods.pop(name, None)
        if pod is None:
            return
        if pod.ready:
            self._ready_until[name] = self._clock()
        if not pod.comes_back:
            self._members.pop(name, None)
            self._ready_until.pop(name, None)
        self._changed()

    # --- members --------------------------------------------------------------------------------------------------

    @property
    def discovered(self) -> int:
        """How many pods there are."""
        return len(self._pods)

    def members(self) -> tuple[Member, ...]:
        """Those that have targets now: the ready ones, and those that were within the grace period."""
        now = self._clock()
        found = {}
        for name in {*self._pods, *self._members}:
            pod = self._pods.get(name)
            before = self._members.get(name)
            if pod is not None and pod.ready:
                found[name] = Member(name, pod.spec.node_name or "")
                continue
            if pod is not None and pod.metadata.deletionTimestamp and not pod.comes_back:
                continue
            last = max(self._ready_until.get(name, 0.0), pod.last_ready if pod is not None else 0.0)
            if now < last + self._grace:
                node = (pod.spec.node_name if pod is not None else "") or (before.node if before else "")
                found[name] = Member(name, node, there=False)
        self._members = found
        self._ready_until = {name: at for name, at in self._ready_until.items() if name in found}
        return tuple(sorted(found.values()))

    def next_change(self) -> float | None:
        """Seconds until a member's grace may end, None while all are ready."""
        waiting = [name for name, member in self._members.items() if not member.there]
        if not waiting:
            return None
        ends = [
            max(self._ready_until.get(name, 0.0), self._pods[name].last_ready if name in self._pods else 0.0)
            + self._grace
            for name in waiting
        ]
        return max(0.0, min(ends) - self._clock()) + 0.001


def _seconds(text: str | None) -> float:
    """RFC 3339 as seconds since 1970; 0 for what is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0


def listed(names: Iterable[str]) -> tuple[Member, ...]:
    """Members of a fixed list."""
    return tuple(Member(name) for name in sorted(set(names)))


class Resolved:
    """The addresses behind a name are the collectors' ids; one that vanishes keeps its targets for the grace period.

    A look-up that fails changes nothing.
    """

    def __init__(
        self,
        hostname: str,
        interval: float,
        grace: float,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.synced = asyncio.Event()
        self.error = ""
        self._hostname = hostname
        self._interval = interval
        self._grace = grace
        self._changed = changed
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._there: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Look up, again and again."""
        while True:
            try:
                answers = await asyncio.get_running_loop().getaddrinfo(self._hostname, None, type=socket.SOCK_STREAM)
            except OSError as problem:
                if not self.error:
                    _log.warning("collectors: %s can't be looked up: %s", self._hostname, problem)
                self.error = f"{self._hostname} can't be looked up: {problem}"
            else:
                self.take(str(answer[4][0]) for answer in answers)
            await asyncio.sleep(self._interval)

    def take(self, addresses: Iterable[str]) -> None:
        """What a look-up has found."""
        before = {member.name for member in self.members()}
        self._there = frozenset(addresses)
        self._seen |= dict.fromkeys(self._there, self._clock())
        self.error = ""
        self.synced.set()
        if {member.name for member in self.members()} != before:
            self._changed()

    def members(self) -> tuple[Member, ...]:
        """Those that are there, and those that were within the grace period."""
        now = self._clock()
        self._seen = {
            name: seen for name, seen in self._seen.items() if name in self._there or now < seen + self._grace
        }
        return tuple(sorted(Member(name, there=name in self._there) for name in self._seen))

    def next_change(self) -> float | None:
        """Seconds until a grace period may end."""
        ends = [seen + self._grace for name, seen in self._seen.items() if name not in self._there]
        return max(0.0, min(ends) - self._clock()) + 0.001 if ends else None
