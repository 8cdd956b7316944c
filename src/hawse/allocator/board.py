"""What there is to scrape, job by job, and who is to do it.

`Board` holds the jobs and, for each group of each place that a job looks at, the targets that are left after
relabelling. A change costs what changed: only its groups are relabelled again. The assignment is made anew for all
targets, in milliseconds, and replaces the last one as a whole.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from hawse.allocator.assign import NOBODY, Member, Strategy, assign, key_of
from hawse.allocator.crd import Job
from hawse.allocator.documents import encoded
from hawse.allocator.looks import NAMESPACE, Look, Looks, Want
from hawse.allocator.safety import Guard
from hawse.allocator.select import on_discovered
from hawse.prometheus.settings import ScrapeConfig
from hawse.prometheus.targets import Dropped, Populate, Target, TargetGroup

Fallback: TypeAlias = Strategy | Literal["none"]
SLICE = 0.01  # seconds of work before others get a turn
_GONE = "/"  # no namespace's name
_AT_ONCE = 2000  # targets handed out before others get a turn

# Where discovery says on which node a target is; the first that is there counts.
_NODES = (
    "__meta_kubernetes_pod_node_name",
    "__meta_kubernetes_node_name",
    "__meta_kubernetes_endpoint_node_name",
    "__meta_kubernetes_endpointslice_endpoint_node_name",
)
_TARGET_OF_SLICE = "__meta_kubernetes_endpointslice_address_target_"


class Turns:
    """Work in slices: what takes long asks between its steps whether it is time to let others work."""

    def __init__(self) -> None:
        self._until = time.monotonic() + SLICE

    async def others(self) -> None:
        """Let them, if it is. Costs a fraction of a microsecond if it is not."""
        if time.monotonic() > self._until:
            await asyncio.sleep(0)
            self._until = time.monotonic() + SLICE


class Item(msgspec.Struct, frozen=True, gc=False):
    """A target to be scraped: `labels` and those of its group are what discovery found, `key` identifies it in all
    jobs, `identity` (`Target.key`) in its own.
    """

    key: int
    identity: bytes
    labels: dict[str, str]
    group: TargetGroup
    node: str

    @property
    def discovered(self) -> dict[str, str]:
        """What clients are told: they apply the job's rules themselves."""
        return {**self.group.labels, **self.labels}


class Tally(msgspec.Struct):
    """How many targets of a group became what."""

    discovered: int = 0
    dropped: int = 0
    refused: int = 0


class Part(NamedTuple):
    """What became of one group in one job."""

    items: tuple[Item, ...]
    tally: Tally


class Working:
    """A job at work: its rules compiled, and what came of each group."""

    def __init__(self, job: Job, config: ScrapeConfig, wants: list[Want], guard: Guard) -> None:
        self.job = job
        self.config = config
        self.wants = wants
        self.populate = Populate(config)
        self.parts: dict[tuple[str, str], Part] = {}
        self._guard = guard
        self._shown: dict[bool, msgspec.Raw] = {}
        self._salt = key_of(config.job_name)
        kind = "service" if job.origin.kind == "ServiceMonitor" else "pod"
        self._selects = on_discovered(job.selector, kind) if job.selector and not job.selector.empty else None

    def shown(self, *, reveal: bool) -> msgspec.Raw:
        """The job as clients get it, as JSON; made once."""
        if reveal not in self._shown:
            self._shown[reveal] = msgspec.Raw(msgspec.json.encode(encoded(self.config, reveal=reveal)))
        return self._shown[reveal]

    def selects(self, group: TargetGroup) -> bool:
        """Whether the monitor's selector selects what the group is of."""
        return self._selects is None or self._selects(group.labels)

    async def evaluate(self, group: TargetGroup, turns: "Turns", *, kubernetes: bool) -> Part:
        """The targets that a group has for this job."""
        tally = Tally(len(group.targets))
        if not self.selects(group):
            tally.dropped = len(group.targets)
            return Part((), tally)
        items = []
        for labels in group.targets:
            await turns.others()
            target = self.populate(labels, group.labels)
            if isinstance(target, Dropped):
                tally.dropped += 1
                continue
            discovered = {**group.labels, **labels}
            if self.why_not(target, discovered, kubernetes=kubernetes):
                tally.refused += 1
                continue
            key = int.from_bytes(target.key[:8], "little") ^ self._salt
            items.append(Item(key, target.key, labels, group, node_of(discovered)))
        return Part(tuple(items), tally)

    def why_not(self, target: Target, discovered: Mapping[str, str], *, kubernetes: bool) -> str:
        """Why the target must not be scraped, "" if it may be. Only what Kubernetes says of it counts as discovered."""
        if not self.job.guarded:
            return ""
        return self._guard.why_not(target.url.address, discovered if kubernetes else {}, self.job.namespaces)

    async def update(self, want: Want, source: str, turns: "Turns") -> None:
        """Look at a group again, which may be new, other or gone."""
        group = want.look.groups.get(source)
        key = want.look.key, source
        if group is None or not want.covers(group):
            self.parts.pop(key, None)
        else:
            self.parts[key] = await self.evaluate(group, turns, kubernetes=want.look.kubernetes)

    def items(self) -> Iterator[Item]:
        """All targets, each once, though several groups may have it."""
        seen = set()
        for part in self.parts.values():
            for item in part.items:
                if item.identity not in seen:
                    seen.add(item.identity)
                    yield item


def node_of(discovered: Mapping[str, str]) -> str:
    """The node that a target is on, "" where it is not known."""
    for name in _NODES:
        if node := discovered.get(name):
            return node
    if discovered.get(f"{_TARGET_OF_SLICE}kind") == "Node":
        return discovered.get(f"{_TARGET_OF_SLICE}name", "")
    return ""


class Assignment:
    """Who scrapes what. Immutable: a change makes a new one."""

    def __init__(self, members: Sequence[Member] = (), jobs: Mapping[str, Sequence[Item]] | None = None) -> None:
        self.members = tuple(members)
        self.jobs = jobs or {}
        self.of: dict[tuple[str, str], list[Item]] = {}  # collector and job
        self.owners: dict[tuple[str, bytes], str] = {}  # job and identity → collector
        self.counts: dict[str, int] = {member.name: 0 for member in members}
        self.unassigned = 0

    @classmethod
    async def made(
        cls, jobs: Mapping[str, Sequence[Item]], members: Sequence[Member], strategy: Strategy, fallback: Fallback
    ) -> "Assignment":
        """The assignment of all targets of all jobs."""
        made = cls(sorted(members), jobs)
        pairs = [(name, item) for name, items in jobs.items() for item in items]
        keys = np.fromiter((item.key for _, item in pairs), dtype=np.uint64, count=len(pairs))
        nodes = [item.node for _, item in pairs] if strategy == "per-node" else ()
        owners = assign(strategy, keys, nodes, made.members, fallback).tolist()
        for start in range(0, len(pairs), _AT_ONCE):
            made._give(pairs[start : start + _AT_ONCE], owners[start : start + _AT_ONCE])
            await asyncio.sleep(0)
        return made

    def _give(self, pairs: Sequence[tuple[str, Item]], owners: Sequence[int]) -> None:
        for (name, item), owner in zip(pairs, owners, strict=True):
            if owner == NOBODY:
                self.unassigned += 1
                continue
            collector = self.members[owner].name
            self.of.setdefault((collector, name), []).append(item)
            self.owners[name, item.identity] = collector
            self.counts[collector] += 1


class Board:
    """All jobs and their targets."""

    def __init__(self, looks: Looks, guard: Guard) -> None:
        self.working: dict[str, Working] = {}
        self._looks = looks
        self._guard = guard
        self._pending: dict[str, tuple[Look, set[str]]] = {}
        self._unseen: set[str] = set()  # jobs of which no group was looked at

    def put(self, job: Job, config: ScrapeConfig) -> None:
        """Add a job, or put it in the place of the one with its name."""
        before = self.working.get(job.name)
        wants = self._looks.join(config)  # before the old ones are left, so that no watch ends to begin again
        self.working[job.name] = Working(job, config, wants, self._guard)
        self._unseen.add(job.name)
        if before is not None:
            self._looks.leave(before.wants)

    def remove(self, name: str) -> None:
        """Take a job away."""
        self._unseen.discard(name)
        self._looks.leave(self.working.pop(name).wants)

    def changed(self, look: Look, sources: Iterable[str]) -> None:
        """Note that groups have changed; `settle` looks at them."""
        self._pending.setdefault(look.key, (look, set()))[1].update(sources)

    @property
    def settled(self) -> bool:
        """Whether there is nothing to look at."""
        return not self._pending and not self._unseen

    async def settle(self) -> None:
        """Look at all that has changed, in slices."""
        turns = Turns()
        while not self.settled:
            for working, want, source in self._taken():
                await working.update(want, source, turns)
                await turns.others()

    def _taken(self) -> Iterator[tuple[Working, Want, str]]:
        unseen, self._unseen = self._unseen, set()
        pending, self._pending = self._pending, {}
        for name in sorted(unseen):
            working = self.working.get(name)
            for want in working.wants if working else ():
                for source in want.look.sources(want.names):
                    if working is self.working.get(name):
                        yield working, want, source  # type: ignore[misc]
        where = {key: _by_namespace(look, sources) for key, (look, sources) in pending.items()}
        for working in list(self.working.values()):
            for want in working.wants:
                for source in _meant(want, where.get(want.look.key, {})):
                    yield working, want, source

    def targets(self) -> dict[str, list[Item]]:
        """The targets of each job that has any."""
        return {name: items for name in sorted(self.working) if (items := list(self.working[name].items()))}


def _by_namespace(look: Look, sources: Iterable[str]) -> dict[str, list[str]]:
    """Sources by the namespace of their groups; under GONE those that have no group any more."""
    found: dict[str, list[str]] = {}
    for source in sources:
        group = look.groups.get(source)
        found.setdefault(group.labels.get(NAMESPACE, "") if group is not None else _GONE, []).append(source)
    return found


def _meant(want: Want, where: Mapping[str, list[str]]) -> Iterator[str]:
    """The sources that a job has to look at again."""
    for name in where if want.names is None else (*want.names, _GONE):
        yield from where.get(name, ())
