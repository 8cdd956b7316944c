"""The `source` processor: Sumo Logic's source metadata, and what its users exclude by annotation or by pattern.

Keys, templates and annotations are those of the Sumo Logic distribution of the OpenTelemetry Collector (its `source`
processor). Everything is decided from the resource; records are never looked at. docs/source-naming.md tells users.
"""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, field

from hawse import component
from hawse.batch import AttributeValue, Batch, Remembered, Resource
from hawse.codecs.otlp_records import as_text
from hawse.component import Consumer, Context, Counter, Problem, ProcessorFactory, Refused, Section, no_needs
from hawse.values import Regex
from hawse.wire import WireError

_PLACEHOLDER = re.compile(r"%\{([\w./-]+)\}")
_ANNOTATIONS = "sumologic.com/"


class ContainerAnnotations(Section, frozen=True):
    """Annotations of a pod that name one of its containers: `<prefix><container>.sourceCategory`."""

    enabled: bool = False
    container_name_key: str = "k8s.container.name"
    prefixes: Annotated[tuple[str, ...], Meta(description="Tried in this order; the first one found counts.")] = (
        _ANNOTATIONS,
    )


class Config(component.Config, frozen=True):
    """Templates hold `%{attribute}` for a resource attribute's value; one that is missing reads `undefined`."""

    collector: Annotated[str, Meta(description="Becomes `_collector`. Empty: no such attribute.")] = ""
    source_host: Annotated[str, Meta(description="Template of `_sourceHost`. Empty: no such attribute.")] = (
        "%{k8s.pod.hostname}"
    )
    source_name: Annotated[str, Meta(description="Template of `_sourceName`. Empty: no such attribute.")] = (
        "%{k8s.namespace.name}.%{k8s.pod.name}.%{k8s.container.name}"
    )
    source_category: Annotated[str, Meta(description="Template of `_sourceCategory`.")] = (
        "%{k8s.namespace.name}/%{k8s.pod.pod_name}"
    )
    source_category_prefix: Annotated[str, Meta(description="Template put before the category.")] = "kubernetes/"
    source_category_replace_dash: Annotated[
        str, Meta(description='What each "-" of prefix and category becomes. "-" keeps them.')
    ] = "/"
    exclude: Annotated[
        dict[str, Regex],
        Meta(description="Resource attribute to pattern: what matches anywhere in the value is filtered."),
    ] = field(default_factory=dict)
    annotation_prefix: Annotated[str, Meta(description="What pod annotations are called as attributes.")] = (
        "k8s.pod.annotation."
    )
    namespace_annotation_prefix: str = "k8s.namespace.annotation."
    pod_key: Annotated[str, Meta(description="Attribute with the pod's name.")] = "k8s.pod.name"
    pod_name_key: Annotated[str, Meta(description="Attribute to set: the pod's name without generated suffix.")] = (
        "k8s.pod.pod_name"
    )
    pod_template_hash_key: str = "k8s.pod.label.pod-template-hash"
    container_annotations: ContainerAnnotations = field(default_factory=ContainerAnnotations)

    def problems(self) -> Iterator[Problem]:
        for name in ("source_host", "source_name", "source_category", "source_category_prefix"):
            for found in re.findall(r"%\{[^}]*\}?", getattr(self, name)):
                if not _PLACEHOLDER.fullmatch(found):
                    message = f"{found!r} is no placeholder and would stay as it is"
                    yield Problem(name, message, 'write "%{attribute.name}"')


Attributes = dict[str, AttributeValue]


class Namer:
    """What a configuration says of a resource: the rule that filters it, or the attributes that it gets."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._levels = (("pod", config.annotation_prefix), ("namespace", config.namespace_annotation_prefix))
        # The chart passes empty patterns for "exclude nothing"; to a regular expression they would match all.
        self._exclude = {key: pattern.compiled for key, pattern in config.exclude.items() if pattern}

    def filtered_by(self, attributes: Attributes) -> str | None:
        """The rule, worded as the configuration or annotation that says so; None for a resource to be kept.

        The pod's annotations decide before the namespace's. On the same level, exclude beats include.
        """
        for level, prefix in self._levels:
            for word in ("exclude", "include"):
                if _is_true(attributes.get(prefix + _ANNOTATIONS + word)):
                    return f"{level} annotation {_ANNOTATIONS}{word}" if word == "exclude" else None
        for key, pattern in self._exclude.items():
            value = attributes.get(key)
            if isinstance(value, str) and pattern.search(value):
                return f"exclude.{key}"
        return None

    def name(self, attributes: Attributes) -> Attributes:
        """The attributes to set. Each may be used in the templates of those after it."""
        config = self._config
        known = dict(attributes)
        new: Attributes = {}

        def put(key: str, value: str) -> None:
            known[key] = new[key] = value

        pod_name = self._pod_name(attributes)
        if pod_name is not None:
            put(config.pod_name_key, pod_name)
        if config.collector:
            put("_collector", config.collector)
        if host := self._annotation(known, "sourceHost", config.source_host):
            put("_sourceHost", _filled(host, known))
        put("_sourceCategory", self._category(known))
        if name := self._annotation(known, "sourceName", config.source_name):
            put("_sourceName", _filled(name, known))
        return new

    def _annotation(self, attributes: Attributes, name: str, otherwise: str) -> str:
        for _, prefix in self._levels:
            value = attributes.get(prefix + _ANNOTATIONS + name)
            if value is not None:
                return as_text(value)
        return otherwise

    def _category(self, attributes: Attributes) -> str:
        verbatim = self._container_category(attributes)
        if verbatim:
            return verbatim
        template = self._config.source_category_prefix + self._config.source_category
        for _, prefix in self._levels:
            # A level that says anything of the category says it all: what it leaves out is the configuration's.
            own = attributes.get(prefix + _ANNOTATIONS + "sourceCategory")
            own_prefix = attributes.get(prefix + _ANNOTATIONS + "sourceCategoryPrefix")
            if own is not None or own_prefix is not None:
                start = self._config.source_category_prefix if own_prefix is None else as_text(own_prefix)
                template = start + (self._config.source_category if own is None else as_text(own))
                break
        dash = self._annotation(attributes, "sourceCategoryReplaceDash", self._config.source_category_replace_dash)
        return _filled(template, attributes).replace("-", dash)

    def _container_category(self, attributes: Attributes) -> str:
        settings = self._config.container_annotations
        container = attributes.get(settings.container_name_key)
        if not settings.enabled or not isinstance(container, str):
            return ""
        for prefix in settings.prefixes:
            value = attributes.get(f"{self._config.annotation_prefix}{prefix}{container}.sourceCategory")
            if value is not None:
                return as_text(value)
        return ""

    def _pod_name(self, attributes: Attributes) -> str | None:
        """The pod's name without what its controller made up: `web` of `web-5db86d8867-sdqlj`, `db` of `db-0`."""
        pod = attributes.get(self._config.pod_key)
        if not isinstance(pod, str) or "-" not in pod:
            return None
        owner, _, _ = pod.rpartition("-")
        deployment, dash, last = owner.rpartition("-")
        template_hash = attributes.get(self._config.pod_template_hash_key)
        if dash and isinstance(template_hash, str) and last in {template_hash, _safe_encoded(template_hash)}:
            return deployment
        return owner


def _is_true(value: AttributeValue) -> bool:
    return value is True or value == "true"


def _filled(template: str, attributes: Attributes) -> str:
    return _PLACEHOLDER.sub(
        lambda match: as_text(attributes[match[1]]) if match[1] in attributes else "undefined", template
    )


def _safe_encoded(text: str) -> str:
    """How Kubernetes 1.8 to 1.11 wrote a numeric template hash into pod names (apimachinery, `SafeEncodeString`)."""
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(letters[ord(char) % len(letters)] for char in text)


class Source(component.Processor):
    """Adds `_sourceName`, `_sourceCategory`, `_sourceHost` and `_collector`; drops what is excluded, counting it.

    A resource is judged once and remembered by its bytes, which makes the usual case a look-up (about 1 µs).
    """

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._namer = Namer(config)
        self._output = output
        self._meter = context.meter
        self._ledger = context.ledger
        self._counters: dict[str, Counter] = {}
        self._judge = Remembered(self._judge_anew)

    async def consume(self, batch: Batch) -> None:
        kept = []
        filtered: dict[str, int] = {}
        for group in batch.groups:
            try:
                verdict = self._judge(group.resource)
            except WireError as error:
                raise Refused(f"malformed resource attributes: {error}", "malformed") from None
            if isinstance(verdict, Resource):
                kept.append(group.with_resource(verdict))
            else:
                filtered[verdict] = filtered.get(verdict, 0) + group.items
                self._ledger.filtered(group, verdict)
        try:
            if kept:
                await self._output.consume(batch.with_groups(kept))
        except Refused:
            self._count(batch, filtered)
            raise
        # Only now: after Busy the whole batch comes again, and would be counted again.
        self._count(batch, filtered)

    def _judge_anew(self, resource: Resource) -> Resource | str:
        attributes = dict(resource.attributes)
        new = self._namer.name(attributes)
        return self._namer.filtered_by(attributes | new) or resource.replaced(new)

    def _count(self, batch: Batch, filtered: dict[str, int]) -> None:
        if not filtered:
            return
        name = f"otelcol_processor_filtered_{batch.signal.items}"
        if name not in self._counters:
            self._counters[name] = self._meter.counter(name, "Dropped because a rule says so, by rule.")
        for rule, items in filtered.items():
            self._counters[name].add(items, rule=rule)


factory = ProcessorFactory("source", Config, Source, needs=no_needs)
