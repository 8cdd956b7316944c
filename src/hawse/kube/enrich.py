"""From a resource to the same with its pod's attributes, remembering both: the same bytes come again and again.

What is there already is not overwritten, unless it is empty; so OpenTelemetry has it.
"""

import re
from collections.abc import Iterable

from hawse import wire
from hawse.batch import AttributeValue, Resource
from hawse.kube.association import Association, Attributes, Finder, Sought
from hawse.kube.pods import Pod
from hawse.kube.rules import IGNORE, Rules, container_of
from hawse.kube.watches import PodWatch

_REMEMBERED = 3072  # resources in each of two generations, 4 KB each: those whose records come often
_FORMS = 1000  # sets of attribute names that resources come with
_SUFFIXES = 16  # of a pod: its containers, times the forms of resources that they come in
_EMPTY = (None, "", b"")  # values that count as not there


def add(resource: Resource, attributes: Attributes) -> Resource:
    """The resource with those attributes that it does not have, or has empty."""
    there = resource.attributes
    new = {key: value for key, value in attributes.items() if there.get(key) in _EMPTY}
    if not new:
        return resource
    if any(key in there for key in new):
        return resource.replaced(new)
    return resource.extended(wire.encode_attributes(new), new)


class _Known:
    """What became of a resource: `resource` is good while `pod` has `version`."""

    __slots__ = ("pod", "resource", "version")

    def __init__(self, resource: Resource, pod: Pod | None) -> None:
        self.resource = resource
        self.pod = pod
        self.version = pod.version if pod is not None else 0


_BY_PEER = _Known(Resource(), None)  # stands where the peer's address decides, too


class Enricher:
    """The rules and associations of one processor, on a watch. Not for use by several threads."""

    def __init__(
        self,
        watch: PodWatch,
        rules: Rules,
        associations: Iterable[Association],
        excluded: Iterable[re.Pattern[str]] = (),
    ) -> None:
        self._watch = watch
        self._rules = rules
        self._excluded = tuple(excluded)
        self._finder = Finder(associations, watch.pods, lambda pod: rules.of_pod(pod, watch.lookup))
        self._young: dict[object, _Known] = {}
        self._old: dict[object, _Known] = {}
        self._version = watch.version
        self._forms: dict[tuple[str, ...], tuple[str, ...]] = {}

    def close(self) -> None:
        """Give back what it has in the store."""
        self._finder.close()
        self._young, self._old = {}, {}

    def known(self, resource: Resource, peer: str) -> Resource | Sought:
        """The enriched resource, or what was sought in vain.

        Raises nothing: a resource that is malformed is returned as it is, for others to refuse.
        """
        if self._version != self._watch.version:
            self._version = self._watch.version
            self._young, self._old = {}, {}
        raw = resource.raw if type(resource.raw) is bytes else bytes(resource.raw)
        known = self._young.get(raw) or self._again(raw)
        key: object = raw
        if known is _BY_PEER:
            key = (raw, peer)
            known = self._young.get(key) or self._again(key)
        if known is not None and (known.pod is None or known.pod.version == known.version):
            return known.resource
        return self._look(resource, raw, peer)

    def without_pod(self, resource: Resource) -> Resource:
        """With what can be said of its namespace and node, as far as the resource itself names them."""
        added: dict[str, AttributeValue] = {}
        for kind, name in (("namespace", "k8s.namespace.name"), ("node", "k8s.node.name")):
            value = resource.attributes.get(name)
            if isinstance(value, str) and value:
                added |= self._rules.of_object(kind, self._watch.lookup(kind, value))
        return add(resource, added) if added else resource

    def _again(self, key: object) -> _Known | None:
        """What was known a while ago moves to what was known just now."""
        known = self._old.pop(key, None)
        if known is not None:
            self._remember(key, known)
        return known

    def _remember(self, key: object, known: _Known) -> None:
        if len(self._young) >= _REMEMBERED:
            self._young, self._old = {}, self._young
        self._young[key] = known

    def _look(self, resource: Resource, raw: bytes, peer: str) -> Resource | Sought:
        try:
            sought = self._finder.seek(resource.attributes, peer)
        except wire.WireError:
            return resource
        pod = sought.pod
        if pod is None:
            return sought
        made = self._made(resource, pod)
        if sought.by_peer:
            self._remember(raw, _BY_PEER)
        self._remember((raw, peer) if sought.by_peer else raw, _Known(made, pod))
        return made

    def _made(self, resource: Resource, pod: Pod) -> Resource:
        if (pod.annotations or {}).get(IGNORE, "").strip().lower() == "true":
            return resource
        if any(pattern.search(pod.name) for pattern in self._excluded):
            return resource
        there = resource.attributes
        name, id_, runs = (
            there.get(key) for key in ("k8s.container.name", "container.id", "k8s.container.restart_count")
        )
        if any(value in _EMPTY for value in there.values()):
            return add(resource, self._attributes(pod, name, id_, runs))
        if pod.cached is None or len(pod.cached) > _SUFFIXES:
            pod.cached = {}
        key = (self, self._version, str(name), str(id_), str(runs), self._form(tuple(there)))
        found = pod.cached.get(key)
        if found is None:
            added = self._attributes(pod, name, id_, runs)
            new = {key: value for key, value in added.items() if key not in there}
            found = pod.cached[key] = (wire.encode_attributes(new), new)
        return resource.extended(*found)

    def _form(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The same names, in one tuple for all pods: senders know few forms of resources."""
        if len(self._forms) > _FORMS:
            self._forms = {}
        return self._forms.setdefault(names, names)

    def _attributes(
        self, pod: Pod, name: AttributeValue, id_: AttributeValue, runs: AttributeValue
    ) -> dict[str, AttributeValue]:
        made = self._rules.of_pod(pod, self._watch.lookup)
        if self._rules.reads_containers:
            container = container_of(pod, name if isinstance(name, str) else "", id_ if isinstance(id_, str) else "")
            if container is not None:
                for attribute, value in self._rules.of_container(pod, container, _count(runs)).items():
                    made.setdefault(attribute, value)
        return made


def _count(value: AttributeValue) -> int | None:
    """A restart count, which filelog gives as text and others as a number."""
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else None
