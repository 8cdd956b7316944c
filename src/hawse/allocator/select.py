"""Label selectors and limits on namespaces: which objects the allocator looks at, and why not at others.

Selectors are Kubernetes' `metav1.LabelSelector`
(kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec
from msgspec import field

from hawse.component import Problem, Section

Operator: TypeAlias = Literal["In", "NotIn", "Exists", "DoesNotExist"]
ALL = "*"


class Requirement(Section, frozen=True):
    """One entry of matchExpressions."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def problems(self) -> Iterator[Problem]:
        if self.operator in {"In", "NotIn"} and not self.values:
            yield Problem("values", f"{self.operator} needs at least one value", "list them")
        if self.operator in {"Exists", "DoesNotExist"} and self.values:
            yield Problem("values", f"{self.operator} takes no values", "remove them")

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil it."""
        there = self.key in labels
        if self.operator == "Exists":
            return there
        if self.operator == "DoesNotExist":
            return not there
        return (there and labels[self.key] in self.values) == (self.operator == "In")

    def __str__(self) -> str:
        """As the API server takes it in a query."""
        forms = {"Exists": self.key, "DoesNotExist": f"!{self.key}"}
        return forms.get(self.operator, f"{self.key} {self.operator.lower()} ({','.join(self.values)})")


class LabelSelector(Section, frozen=True):
    """All requirements must hold; a selector without any selects everything."""

    match_labels: dict[str, str] = field(name="matchLabels", default_factory=dict)
    match_expressions: tuple[Requirement, ...] = field(name="matchExpressions", default=())

    def why_not(self, labels: Mapping[str, str]) -> str:
        """The first requirement that labels don't fulfil; "" where they fulfil all."""
        for key, value in self.match_labels.items():
            if labels.get(key) != value:
                return f"label {key} is {_shown(labels, key)}, not {value!r}"
        for requirement in self.match_expressions:
            if not requirement.holds(labels):
                return (
                    f"label {requirement.key} is {_shown(labels, requirement.key)}, but the selector says {requirement}"
                )
        return ""

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.match_labels and not self.match_expressions

    def __str__(self) -> str:
        """As the API server takes it in a query."""
        exact = (f"{key}={value}" for key, value in sorted(self.match_labels.items()))
        return ",".join([*exact, *map(str, self.match_expressions)])


def _shown(labels: Mapping[str, str], key: str) -> str:
    return repr(labels[key]) if key in labels else "not there"


class NamespaceSelector(msgspec.Struct, frozen=True, rename="camel"):
    """`namespaceSelector` of a monitor: where its targets are. By default in its own namespace."""

    any: bool | None = None
    match_names: tuple[str, ...] | None = None

    def names(self, own: str) -> frozenset[str] | None:
        """The namespaces, None for all."""
        if self.any:
            return None
        return frozenset(self.match_names or (own,))


class Limits(msgspec.Struct, frozen=True):
    """The namespaces that the allocator may look into at all. `names` is None for all of the cluster."""

    names: frozenset[str] | None
    denied: frozenset[str] = frozenset()

    @classmethod
    def of(cls, namespaces: Iterable[str], own: str, denied: Iterable[str] = ()) -> "Limits":
        """From the configuration: no namespaces means the own one, `*` all."""
        names = frozenset(namespaces)
        return cls(None if ALL in names else names or frozenset({own}), frozenset(denied))

    @property
    def scopes(self) -> tuple[str, ...]:
        """What to list and watch in, each by itself: "" is all of the cluster."""
        return ("",) if self.names is None else tuple(sorted(self.names - self.denied))

    def allows(self, namespace: str) -> bool:
        """Whether to look into a namespace."""
        return namespace not in self.denied and (self.names is None or namespace in self.names)

    def narrowed(self, names: frozenset[str] | None) -> frozenset[str] | None:
        """Of some namespaces (None: all) those that are allowed; None for all of the cluster."""
        if names is None:
            return self.names if self.names is None else self.names - self.denied
        return frozenset(name for name in names if self.allows(name))


def label_name(name: str) -> str:
    """A Kubernetes label as Prometheus names it in `__meta_kubernetes_…_label_NAME`."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def on_discovered(selector: LabelSelector, kind: str) -> Callable[[Mapping[str, str]], bool]:
    """Whether discovered labels (`__meta_kubernetes_KIND_label_…`) are of an object that a selector selects.

    The rules that a monitor's job begins with say the same; this is cheaper, for it looks at groups, not at targets.
    """
    label, present = f"__meta_kubernetes_{kind}_label_", f"__meta_kubernetes_{kind}_labelpresent_"
    exact = [
        (label + label_name(key), present + label_name(key), value) for key, value in selector.match_labels.items()
    ]
    others = [(label + label_name(one.key), present + label_name(one.key), one) for one in selector.match_expressions]

    def selects(labels: Mapping[str, str]) -> bool:
        if any(labels.get(name, "") != value or labels.get(there) != "true" for name, there, value in exact):
            return False
        for name, is_there, one in others:
            there = {one.key: labels.get(name, "")} if labels.get(is_there) == "true" else {}
            if not one.holds(there):
                return False
        return True

    return selects
