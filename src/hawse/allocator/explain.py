"""Why a target is or is not scraped, rule by rule, and by whom.

Nothing of this is kept: what was asked about is looked for among what discovery found, and sent through the rules of
every job that looks there once more.
"""

from collections.abc import Iterator, Mapping

from hawse.allocator.allocator import Allocator
from hawse.allocator.board import Turns, Working
from hawse.allocator.explanation import Changed, Explanation, Found, NotBy
from hawse.allocator.looks import NAMESPACE, Look, Want
from hawse.allocator.safety import host_of
from hawse.prometheus.discovery.kubernetes.watching import ObjectWatches
from hawse.prometheus.relabel import Step
from hawse.prometheus.targets import Dropped, Target, TargetGroup

MOST = 200  # answers at most of a kind
_META = "__meta_kubernetes_"
_NAMES = ("pod_name", "service_name", "endpointslice_name", "endpoints_name", "ingress_name", "node_name")
_ADDRESSES = ("pod_ip", "service_cluster_ip", "pod_host_ip")


async def explain(allocator: Allocator, query: str) -> Explanation:
    """All that is known of an address (`10.1.2.3:8080`), a URL, or a name (`namespace/pod`, a Service, a node)."""
    asked = Asked(query)
    seeking = _Seeking(allocator, asked)
    await seeking.among_discovered()
    if not seeking.namespaces:
        await seeking.among_made()
    if not seeking.found:
        seeking.among_watched()
    if not any(one.verdict == "scraped" for one in seeking.found):
        seeking.others()
    order = {"scraped": 0, "unassigned": 1, "not ready": 2, "refused": 3, "dropped": 4}
    found = sorted(seeking.found, key=lambda one: (order[one.verdict], one.job, one.address))
    not_by = [*seeking.not_by, *_monitors(allocator)]
    truncated = len(found) > MOST or len(not_by) > MOST
    summary = _summary(allocator, query, found, seeking)
    return Explanation(query, summary, found[:MOST], not_by[:MOST], allocator.errors(), truncated)


class Asked:
    """What was asked about, and whether something is that."""

    def __init__(self, query: str) -> None:
        self.text = query.strip()
        self._url = "://" in self.text
        self._bare = self.text.partition("://")[2] or self.text
        self._address = self._bare.partition("/")[0] if self._url else self.text
        self.host = host_of(self._address)

    def is_discovered(self, labels: Mapping[str, str], shared: Mapping[str, str]) -> bool:
        """Whether a discovered target has this address or name, or is of something that has."""
        address = labels.get("__address__", "")
        by_host = bool(self.host) and not self._has_port
        if address == self._address or (by_host and host_of(address) == self.host):
            return True

        def value(name: str) -> str:
            return labels.get(_META + name) or shared.get(_META + name, "")

        if by_host and any(value(name) == self.host for name in _ADDRESSES):
            return True
        if self._url:
            return False
        namespace = value("namespace")
        names = [found for name in _NAMES if (found := value(name))]
        names += [found for kind in ("endpointslice", "endpoint") if (found := value(f"{kind}_address_target_name"))]
        return self.text in names or self.text in {f"{namespace}/{name}" for name in names}

    def is_pod(self, namespace: str, name: str, ip: str) -> bool:
        """Whether it is a pod, by its name or address."""
        return self.text in {name, f"{namespace}/{name}"} or (bool(ip) and ip == self.host)

    @property
    def _has_port(self) -> bool:
        rest = self._address.rpartition("]")[2] if self._address.startswith("[") else self._address
        return rest.count(":") == 1

    def is_made(self, target: Target) -> bool:
        """Whether a target is it by what relabelling made of it."""
        made = {target.url.address, target.labels.get("instance", ""), host_of(target.url.address)}
        return self._address in made or self.text in made or str(target.url).startswith(self.text)


class _Seeking:
    """Gathers the answer, in slices."""

    def __init__(self, allocator: Allocator, asked: Asked) -> None:
        self.found: list[Found] = []
        self.not_by: list[NotBy] = []
        self.namespaces: set[str] = set()  # of what was found
        self.pod = ""  # one that is watched, and was not discovered
        self._allocator = allocator
        self._asked = asked
        self._turns = Turns()

    async def among_discovered(self) -> None:
        """What was discovered under that address or name."""
        for look in self._allocator.looks:
            hits = []
            for group in list(look.groups.values()):
                for labels in group.targets:
                    if self._asked.is_discovered(labels, group.labels):
                        hits.append((group, labels))
                    await self._turns.others()
            if hits:
                self.namespaces |= {group.labels.get(NAMESPACE, "") for group, _ in hits}
                await self._in_jobs(look, hits[:MOST])

    async def _in_jobs(self, look: Look, hits: list[tuple[TargetGroup, dict[str, str]]]) -> None:
        for working in list(self._allocator.board.working.values()):
            for want in [one for one in working.wants if one.look is look]:
                for group, labels in hits:
                    if want.covers(group):
                        self.found.append(self._one(working, want, group, labels))
                    await self._turns.others()

    async def among_made(self) -> None:
        """What relabelling has given that address: probes are found so."""
        for working in list(self._allocator.board.working.values()):
            for want in working.wants:
                for source in want.look.sources(want.names):
                    group = want.look.groups.get(source)
                    for labels in group.targets if group is not None and working.selects(group) else ():
                        target = working.populate(labels, group.labels) if group is not None else None
                        if isinstance(target, Target) and self._asked.is_made(target) and group is not None:
                            self.found.append(self._one(working, want, group, labels))
                        await self._turns.others()

    def among_watched(self) -> None:
        """A pod that is there, though no job has found it: no Service leads to it, or none that a monitor selects."""
        for pod in self._allocator.context.shared(ObjectWatches).known("pod"):
            if not self._asked.is_pod(pod.meta.namespace, pod.meta.name, pod.ip):
                continue
            labels = ", ".join(f"{name}={value}" for name, value in sorted((pod.meta.labels or {}).items()))
            self.pod = f"the pod {pod.meta.namespace}/{pod.meta.name} ({pod.ip or 'no address yet'}; {labels})"
            self.namespaces.add(pod.meta.namespace)
            return

    def others(self) -> None:
        """Why it is not found by the jobs that have not found it."""
        told = {one.job for one in self.found}
        for working in self._allocator.board.working.values():
            if self.namespaces and working.job.name not in told:
                self.not_by.append(NotBy(working.job.name, _why_not_found(working, self.namespaces)))

    def _one(self, working: Working, want: Want, group: TargetGroup, labels: dict[str, str]) -> Found:
        target = working.populate(labels, group.labels)
        steps = working.populate.explain(target.found)
        rules = [made for step in steps if (made := _changed(step)) is not None]
        verdict, reason, collector = self._verdict(working, want, group, target, rules)
        return Found(
            working.job.name,
            str(working.job.origin),
            f"{want.look.name}: {group.source}",
            labels.get("__address__", ""),
            verdict,
            reason,
            str(target.url) if isinstance(target, Target) else "",
            collector,
            target.labels if isinstance(target, Target) else {},
            rules,
            {**group.labels, **labels},
            working.job.notes,
        )

    def _verdict(
        self, working: Working, want: Want, group: TargetGroup, target: Target | Dropped, rules: list[Changed]
    ) -> tuple[str, str, str]:
        if isinstance(target, Dropped):
            return "dropped", _why_dropped(working, group, target, rules), ""
        if why := working.why_not(target, target.discovered, kubernetes=want.look.kubernetes):
            return "refused", why, ""
        made = self._allocator.assignment
        if made is None:
            return "not ready", self._allocator.why_not_ready(), ""
        collector = made.owners.get((working.job.name, target.key), "")
        if collector:
            return "scraped", _why_owner(self._allocator, collector), collector
        if not made.members:
            return "unassigned", "there is no collector", ""
        if any(item.identity == target.key for item in made.jobs.get(working.job.name, ())):
            return "unassigned", "no collector runs on its node, and allocation_fallback_strategy is none", ""
        return "unassigned", "it was found a moment ago; it is assigned with the next change", ""


def _why_not_found(working: Working, namespaces: set[str]) -> str:
    """Why a job has not found something that is in these namespaces at all."""
    found = working.config.kubernetes_sd_configs
    roles = {one.role for one in found}
    if not roles:
        return "its targets are a list"
    names = {name for one in found for name in one.namespaces.names}
    if all(one.namespaces.names for one in found) and not namespaces & names:
        return f"it looks in the namespaces {', '.join(sorted(names))} only"
    if roles & {"endpointslice", "endpoints"}:
        selector = working.job.selector
        which = f" of a Service with {selector}" if selector is not None and not selector.empty else ""
        return f"it looks at endpoints{which}, and none of them is it"
    return f"it looks at {', '.join(sorted(roles))}s"


def _why_dropped(working: Working, group: TargetGroup, target: Dropped, rules: list[Changed]) -> str:
    selector = working.job.selector
    if selector is not None and not working.selects(group):
        kind = "service" if working.job.origin.kind == "ServiceMonitor" else "pod"
        return f"{_why_not_selected(working, group, kind)} (selector of {working.job.origin})"
    last = rules[-1] if rules and rules[-1].dropped else None
    if last is None:
        return target.reason
    looked_at = last.config.get("source_labels")
    what = ", ".join(looked_at) if isinstance(looked_at, tuple) else "what it looks at"
    return f"{target.reason}: {what} is {last.source!r}"


def _why_not_selected(working: Working, group: TargetGroup, kind: str) -> str:
    """The requirement that fails, in the words of the selector."""
    selector = working.job.selector
    assert selector is not None
    label, present = f"{_META}{kind}_label_", f"{_META}{kind}_labelpresent_"
    there = {}
    for key in (*selector.match_labels, *(one.key for one in selector.match_expressions)):
        name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key)
        if group.labels.get(present + name) == "true":
            there[key] = group.labels.get(label + name, "")
    return f"the {kind}'s {selector.why_not(there)}"


def _why_owner(allocator: Allocator, collector: str) -> str:
    settings, made = allocator.settings, allocator.assignment
    assert made is not None
    member = next(one for one in made.members if one.name == collector)
    why = f"{settings.allocation_strategy} over {len(made.members)} collectors"
    return why if member.there else f"{why}; the collector is away, and waited for"


def _changed(step: Step) -> Changed | None:
    """A step that did something."""
    if not step.matched:
        return None
    config = step.config
    source = str(config.separator).join(step.before.get(name, "") for name in config.source_labels)
    shown = {
        name: value
        for name in ("source_labels", "separator", "regex", "modulus", "target_label", "replacement")
        if (value := getattr(config, name)) != getattr(type(config)(), name)
    }
    shown = {name: value if isinstance(value, tuple | int) else str.__str__(value) for name, value in shown.items()}
    if step.after is None:
        return Changed(step.rule, str(config.action), shown, {}, True, source)
    before, after = step.before, step.after
    names = [name for name in {**before, **after} if before.get(name, "") != after.get(name, "")]
    labels = {name: (before.get(name, ""), after.get(name, "")) for name in names}
    return Changed(step.rule, str(config.action), shown, labels, False, source)


def _monitors(allocator: Allocator) -> Iterator[NotBy]:
    """Monitors that make no jobs at all, and jobs that are refused."""
    for job in allocator.jobs.values():
        if job.refused:
            yield NotBy(job.name, f"refused: {job.refused}")
    for passed in allocator.monitors.passed():
        yield NotBy(f"{passed.kind} {passed.namespace}/{passed.name}", passed.reason)


def _summary(allocator: Allocator, query: str, found: list[Found], seeking: _Seeking) -> str:
    scraped = [one for one in found if one.verdict == "scraped"]
    if scraped:
        who = ", ".join(dict.fromkeys(f"{one.collector} (job {one.job})" for one in scraped))
        return f"{query} is scraped by {who}"
    if found:
        return f"{query} was discovered, and is not scraped: {found[0].job}: {found[0].reason}"
    if seeking.pod:
        return f"{seeking.pod} is there, but no job has found it"
    if seeking.namespaces:
        return f"{query} was discovered, but no job looks for targets in its namespace"
    limits = allocator.settings.limits
    where = "the whole cluster" if limits.names is None else f"the namespaces {', '.join(limits.scopes)}"
    places = ", ".join(sorted({look.name for look in allocator.looks})) or "nothing: there is no job"
    return f"{query} was not discovered. The allocator may look in {where}, and jobs look at: {places}"
