"""Sections of configuration that say which pods to know, how to find them, and what to make of them.

Keys are those of the OpenTelemetry Collector's k8sattributes processor.
"""

import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse.component import Problem, Section
from hawse.diagnostics import HawseError
from hawse.kube.association import CONNECTION, Association
from hawse.kube.rules import DEFAULT_METADATA, METADATA, FieldRule
from hawse.kube.watches import Scope
from hawse.values import Regex

From = Literal["pod", "namespace", "node", "deployment", "statefulset", "daemonset", "job"]


class FieldExtract(Section, frozen=True):
    """A label or annotation to copy; with `key_regex` (of the whole key) any number of them."""

    tag_name: Annotated[
        str, Meta(description="The attribute's name; may refer to groups of key_regex as $1. Empty: k8s.pod.labels.KEY")
    ] = ""
    key: str = ""
    key_regex: Regex | Literal[""] = ""
    from_: From = field(default="pod", name="from")

    def problems(self) -> Iterator[Problem]:
        if bool(self.key) == bool(self.key_regex):
            yield Problem("key", "one of key and key_regex is needed, and only one", "write key: NAME")
        if not self.key_regex:
            return
        groups = re.compile(self.key_regex)
        for reference in self.rule.references():
            known = reference in groups.groupindex or (reference.isdecimal() and int(reference) <= groups.groups)
            if not known:
                fix = f"write ${{1}} before a letter, digit or _; key_regex has {groups.groups} group(s)"
                yield Problem("tag_name", f"${reference} refers to no group of key_regex", fix)
        if self.tag_name and not list(self.rule.references()):
            message = "all keys that match would get the same attribute name"
            yield Problem("tag_name", message, "refer to a group as $1, or leave tag_name out")

    @property
    def rule(self) -> FieldRule:
        """The same for `hawse.kube.rules`."""
        return FieldRule(self.tag_name, self.key, str(self.key_regex), self.from_)


class Extract(Section, frozen=True):
    """Which attributes to add."""

    metadata: tuple[str, ...] = DEFAULT_METADATA
    labels: tuple[FieldExtract, ...] = ()
    annotations: tuple[FieldExtract, ...] = ()
    otel_annotations: Annotated[bool, Meta(description="resource.opentelemetry.io/NAME becomes NAME.")] = False
    deployment_name_from_replicaset: Annotated[
        bool, Meta(description="Always so here: ReplicaSets are never read.")
    ] = True

    def problems(self) -> Iterator[Problem]:
        for number, name in enumerate(self.metadata):
            if name not in METADATA:
                near = get_close_matches(name, METADATA, 1)
                fix = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(sorted(METADATA))}"
                yield Problem(f"metadata[{number}]", f'"{name}" is not known', fix)
        if not self.deployment_name_from_replicaset:
            message = "ReplicaSets are never read: a deployment's name is found without that permission"
            yield Problem("deployment_name_from_replicaset", message, "remove the key, or set it to true")


class LabelFilter(Section, frozen=True):
    """A requirement on a label. `value` counts for equals and not-equals."""

    key: str
    value: str = ""
    op: Literal["equals", "not-equals", "exists", "does-not-exist", ""] = "equals"


class FieldFilter(Section, frozen=True):
    """A requirement on a field that the API server can select by, such as `status.phase`."""

    key: str
    value: str
    op: Literal["equals", "not-equals", ""] = "equals"


class Filter(Section, frozen=True):
    """Which pods to know at all. The API server applies it, so others cost nothing here."""

    node: str = ""
    node_from_env_var: Annotated[str, Meta(description="A variable with the node's name (downward API).")] = ""
    namespace: str = ""
    labels: tuple[LabelFilter, ...] = ()
    fields: tuple[FieldFilter, ...] = ()

    def scope(self) -> Scope:
        """The same as selectors. Raises HawseError if the environment variable is not set."""
        forms = {
            "equals": "{0}={1}",
            "": "{0}={1}",
            "not-equals": "{0}!={1}",
            "exists": "{0}",
            "does-not-exist": "!{0}",
        }
        labels = [forms[one.op].format(one.key, one.value) for one in self.labels]
        fields = [forms[one.op].format(one.key, one.value) for one in self.fields]
        node = self._node_of_environment() if self.node_from_env_var else self.node
        if node:
            fields.append(f"spec.nodeName={node}")
        return Scope(self.namespace, ",".join(labels), ",".join(fields))

    def _node_of_environment(self) -> str:
        node = os.environ.get(self.node_from_env_var, "")
        if not node:
            fix = "set it from the downward API (fieldRef: spec.nodeName)"
            message = f"the environment variable {self.node_from_env_var} is not set"
            raise HawseError.of("HW510", message, fix=fix, path="filter.node_from_env_var")
        return node


class Source(Section, frozen=True):
    """Where a value that identifies a pod comes from."""

    from_: Literal["resource_attribute", "connection"] = field(name="from")
    name: str = ""

    def problems(self) -> Iterator[Problem]:
        if self.from_ == "resource_attribute" and not self.name:
            yield Problem("name", "a resource attribute needs a name", 'write name: "k8s.pod.uid"')


class PodAssociation(Section, frozen=True):
    """Sources that must all be there to identify a pod."""

    sources: Annotated[tuple[Source, ...], Meta(min_length=1, max_length=4)]

    @property
    def names(self) -> Association:
        """The same for `hawse.kube.association`."""
        return tuple(CONNECTION if one.from_ == "connection" else one.name for one in self.sources)
