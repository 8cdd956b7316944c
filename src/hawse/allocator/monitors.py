"""The monitors that there are: which of them count, the jobs that they make, and why others make none."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from hawse.allocator.crd import Convert, Job, Monitor, Rights, podmonitor, probe, scrapeconfig, servicemonitor
from hawse.allocator.select import LabelSelector, Limits
from hawse.kube.errors import Call
from hawse.kube.objects import PartialObject

Key: TypeAlias = tuple[str, str, str]  # kind, namespace, name


class Kind(NamedTuple):
    """A kind of monitor: where the API server has it, what makes jobs of it, how the keys of its selectors begin."""

    name: str
    resource: str
    version: str
    setting: str
    jobs: Convert

    def call(self, namespace: str) -> Call:
        """To list and watch it."""
        return Call(GROUP, self.version, self.resource, namespace)


GROUP = "monitoring.coreos.com"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("ServiceMonitor", "servicemonitors", "v1", "service_monitor", servicemonitor.jobs),
        Kind("PodMonitor", "podmonitors", "v1", "pod_monitor", podmonitor.jobs),
        Kind("Probe", "probes", "v1", "probe", probe.jobs),
        Kind("ScrapeConfig", "scrapeconfigs", "v1alpha1", "scrape_config", scrapeconfig.jobs),
    )
}


class Selectors(msgspec.Struct, frozen=True):
    """Which monitors of a kind count: by their own labels, and by those of their namespaces (None: of any)."""

    monitors: LabelSelector
    namespaces: LabelSelector | None = None


class Passed(msgspec.Struct, frozen=True):
    """A monitor that makes no jobs, and why."""

    kind: str
    namespace: str
    name: str
    reason: str


class Monitors:
    """All monitors that the allocator can see. `changed` is called with each that is to be looked at again."""

    def __init__(self, limits: Limits, selectors: Mapping[str, Selectors], changed: Callable[[Key], None]) -> None:
        self.there: dict[Key, Monitor] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}  # their labels, where a selector asks for them
        self._limits = limits
        self._selectors = selectors
        self._changed = changed

    def why_not(self, key: Key) -> str:
        """Why a monitor does not count; "" if it does."""
        kind, namespace, _ = key
        selectors = self._selectors[kind]
        setting = KINDS[kind].setting
        if not self._limits.allows(namespace):
            return f"its namespace is not one of those that the allocator may look into ({_NAMESPACES})"
        if selectors.namespaces is not None and not selectors.namespaces.empty:
            if namespace not in self.namespaces:
                return (
                    f"its namespace's labels are not known (prometheus_cr.{setting}_namespace_selector asks for them)"
                )
            if why := selectors.namespaces.why_not(self.namespaces[namespace]):
                return f"its namespace's {why} (prometheus_cr.{setting}_namespace_selector)"
        if why := selectors.monitors.why_not(self.there[key].labels):
            return f"its {why} (prometheus_cr.{setting}_selector)"
        return ""

    def jobs(self, key: Key, rights: Rights) -> list[Job]:
        """The jobs of a monitor that counts; of one that does not, or is gone, there are none."""
        monitor = self.there.get(key)
        if monitor is None or self.why_not(key):
            return []
        return list(KINDS[key[0]].jobs(monitor, rights))

    def passed(self) -> Iterator[Passed]:
        """The monitors that don't count."""
        for key in sorted(self.there):
            if why := self.why_not(key):
                yield Passed(*key, why)

    def label(self, namespace: str, labels: Mapping[str, str] | None) -> None:
        """Take the labels of a namespace, None where it is gone."""
        if labels == self.namespaces.get(namespace):
            return
        if labels is None:
            del self.namespaces[namespace]
        else:
            self.namespaces[namespace] = dict(labels)
        for key in self.there:
            if key[1] == namespace:
                self._changed(key)

    def sink(self, kind: str, scope: str) -> "Sink":
        """Where a reflector of a kind puts what it finds in one namespace, or in all ("")."""
        return Sink(self, kind, scope, self._changed)


_NAMESPACES = "namespaces, prometheus_cr.allow_namespaces, prometheus_cr.deny_namespaces"


class Sink:
    """What is found of one kind in one scope; see `hawse.kube.reflector.Sink`."""

    def __init__(self, monitors: Monitors, kind: str, scope: str, changed: Callable[[Key], None]) -> None:
        self._monitors = monitors
        self._kind = kind
        self._scope = scope
        self._changed = changed
        self._listed: set[Key] | None = None

    def begin(self) -> None:
        """A list begins."""
        self._listed = set()

    def put(self, found: Monitor) -> None:
        """A monitor as it is now."""
        key = self._kind, found.namespace, found.metadata.name
        if self._listed is not None:
            self._listed.add(key)
        before = self._monitors.there.get(key)
        found.spec = msgspec.Raw(bytes(found.spec))  # a copy: it would hold on to the whole answer otherwise
        self._monitors.there[key] = found
        if before is None or before.spec != found.spec or before.labels != found.labels:
            self._changed(key)

    def delete(self, found: Monitor) -> None:
        """A monitor that is gone."""
        self._gone((self._kind, found.namespace, found.metadata.name))

    def end(self) -> None:
        """The list is complete: what was not in it is gone."""
        assert self._listed is not None
        there = [key for key in self._monitors.there if key[0] == self._kind and self._scope in {"", key[1]}]
        for key in there:
            if key not in self._listed:
                self._gone(key)
        self._listed = None

    def _gone(self, key: Key) -> None:
        if self._monitors.there.pop(key, None) is not None:
            self._changed(key)


class NamespaceSink:
    """Labels of namespaces; see `hawse.kube.reflector.Sink`."""

    def __init__(self, monitors: Monitors) -> None:
        self._monitors = monitors
        self._listed: set[str] | None = None

    def begin(self) -> None:
        """A list begins."""
        self._listed = set()

    def put(self, found: PartialObject) -> None:
        """A namespace as it is now."""
        if self._listed is not None:
            self._listed.add(found.metadata.name)
        self._monitors.label(found.metadata.name, found.metadata.labels or {})

    def delete(self, found: PartialObject) -> None:
        """A namespace that is gone."""
        self._monitors.label(found.metadata.name, None)

    def end(self) -> None:
        """The list is complete."""
        assert self._listed is not None
        for name in [name for name in self._monitors.namespaces if name not in self._listed]:
            self._monitors.label(name, None)
        self._listed = None
