"""Source naming and filters, as users of the Sumo Logic collection know them."""

import asyncio
import itertools
import logging
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, NoLedger, Refused
from hawse.processors.source import Config, ContainerAnnotations, Source, factory
from hawse.values import Regex

POD = {
    "k8s.namespace.name": "my-namespace",
    "k8s.pod.name": "web-app-5db86d8867-sdqlj",
    "k8s.pod.label.pod-template-hash": "5db86d8867",
    "k8s.container.name": "nginx",
    "k8s.pod.hostname": "web-app-5db86d8867-sdqlj",
}
POD_NOTE, NAMESPACE_NOTE = "k8s.pod.annotation.sumologic.com/", "k8s.namespace.annotation.sumologic.com/"


class Meter:
    def __init__(self):
        self.counts = Counter()

    def counter(self, name, description, unit="1"):
        meter = self

        class One:
            def add(self, amount, **attributes):
                meter.counts[(name, *sorted(attributes.items()))] += amount

        return One()


class Context:
    def __init__(self):
        self.meter = Meter()
        self.ledger = NoLedger()
        self.log = logging.getLogger("test")


class Sink:
    def __init__(self):
        self.batches = []
        self.raises = None

    async def consume(self, batch):
        if self.raises:
            raise self.raises
        self.batches.append(batch)

    @property
    def resources(self):
        return [dict(group.resource.attributes) for batch in self.batches for group in batch.groups]


def batch(*resources, items=3, signal=Signal.LOGS):
    return Batch(signal, [Group(Resource(Resource.of(attributes).raw), (b"",), items) for attributes in resources])


def run(config, *resources, **options):
    context, sink = Context(), Sink()
    processor = Source(config, context, sink)
    asyncio.run(processor.consume(batch(*resources, **options)))
    return sink.resources, context.meter.counts


def named(attributes, **keys):
    (resource,), _ = run(Config(**keys), attributes)
    return resource


def exclude(**patterns):
    return {key.replace("__", "."): Regex.parse(pattern) for key, pattern in patterns.items()}


def test_the_defaults_name_as_users_know_it():
    assert named(POD) == {
        **POD,
        "k8s.pod.pod_name": "web-app",
        "_sourceHost": "web-app-5db86d8867-sdqlj",
        "_sourceName": "my-namespace.web-app-5db86d8867-sdqlj.nginx",
        "_sourceCategory": "kubernetes/my/namespace/web/app",
    }


def test_what_is_missing_reads_undefined():
    found = named({"k8s.pod.uid": "1234"}, collector="c1")
    assert found == {
        "k8s.pod.uid": "1234",
        "_collector": "c1",
        "_sourceHost": "undefined",
        "_sourceName": "undefined.undefined.undefined",
        "_sourceCategory": "kubernetes/undefined/undefined",
    }


def test_templates_use_any_attribute_of_the_resource():
    found = named(
        POD | {"cluster": "c-1", "port": 8080, "k8s.pod.label.a-b/c": "x"},
        collector="col",
        source_host="",
        source_name="100%|%{cluster}:%{port}|%{k8s.pod.label.a-b/c}|%{_collector}|%s",
        source_category="%{_sourceName}",
        source_category_prefix="%{cluster}-",
        source_category_replace_dash="-",
    )
    assert found["_sourceName"] == "100%|c-1:8080|x|col|%s"
    assert found["_sourceCategory"] == "c-1-undefined"  # the name is made after the category
    assert "_sourceHost" not in found


@pytest.mark.parametrize(
    ("pod", "template_hash", "name"),
    [
        ("dset-otelcol-sumo-xa314", None, "dset-otelcol-sumo"),
        ("dep-otelcol-sumo-75675f5861-qasd2", "75675f5861", "dep-otelcol-sumo"),
        ("dep-otelcol-sumo-75675f5861-qasd2", None, "dep-otelcol-sumo-75675f5861"),
        ("dep-1644474b9c-qasd2", "something", "dep-1644474b9c"),
        ("st-otelcol-sumo-0", None, "st-otelcol-sumo"),
        ("web-1234-x", "1234", "web"),
        ("old-" + "".join("bcdfghjklmnpqrstvwxz2456789"[ord(c) % 27] for c in "2774758") + "-x", "2774758", "old"),
        ("1234-x", "1234", "1234"),
        ("plain", None, None),
    ],
)
def test_the_pods_name_without_its_generated_suffix(pod, template_hash, name):
    attributes = {"k8s.pod.name": pod}
    if template_hash:
        attributes["k8s.pod.label.pod-template-hash"] = template_hash
    assert named(attributes).get("k8s.pod.pod_name") == name


def test_other_keys_for_pod_hash_and_annotations():
    found = named(
        {"pod": "a-b-c", "hash": "b", "pod_annotation_sumologic.com/sourceHost": "h"},
        pod_key="pod",
        pod_name_key="pod_name",
        pod_template_hash_key="hash",
        annotation_prefix="pod_annotation_",
        source_category="%{pod_name}",
    )
    assert (found["pod_name"], found["_sourceHost"], found["_sourceCategory"]) == ("a", "h", "kubernetes/a")


# --- annotations


def levels(name, value):
    return {"": {}, "pod": {POD_NOTE + name: value}, "namespace": {NAMESPACE_NOTE + name: value}}


@pytest.mark.parametrize("annotation", ["sourceHost", "sourceName"])
@pytest.mark.parametrize(
    ("notes", "value"),
    [
        ({}, None),
        ({POD_NOTE: "p-%{k8s.pod.uid}"}, "p-undefined"),
        ({NAMESPACE_NOTE: "n-%{k8s.container.name}"}, "n-nginx"),
        ({POD_NOTE: "p", NAMESPACE_NOTE: "n"}, "p"),
    ],
)
def test_host_and_name_by_annotation(annotation, notes, value):
    found = named(POD | {prefix + annotation: text for prefix, text in notes.items()})
    assert found["_" + annotation] == (value or named(POD)["_" + annotation])


@pytest.mark.parametrize(
    ("notes", "category"),
    [
        ({POD_NOTE + "sourceCategory": "a-b"}, "kubernetes/a/b"),
        ({POD_NOTE + "sourceCategory": ""}, "kubernetes/"),
        ({POD_NOTE + "sourceCategoryPrefix": ""}, "my/namespace/web/app"),
        ({POD_NOTE + "sourceCategoryPrefix": "p-%{k8s.container.name}/"}, "p/nginx/my/namespace/web/app"),
        ({POD_NOTE + "sourceCategoryReplaceDash": "-"}, "kubernetes/my-namespace/web-app"),
        ({POD_NOTE + "sourceCategoryReplaceDash": ""}, "kubernetes/mynamespace/webapp"),
        ({NAMESPACE_NOTE + "sourceCategory": "n-1"}, "kubernetes/n/1"),
        ({NAMESPACE_NOTE + "sourceCategoryPrefix": "n/"}, "n/my/namespace/web/app"),
        ({NAMESPACE_NOTE + "sourceCategoryReplaceDash": "#"}, "kubernetes/my#namespace/web#app"),
        ({POD_NOTE + "sourceCategory": "p", NAMESPACE_NOTE + "sourceCategory": "n"}, "kubernetes/p"),
        # The level that says something of the category says it all …
        ({POD_NOTE + "sourceCategoryPrefix": "p/", NAMESPACE_NOTE + "sourceCategory": "n"}, "p/my/namespace/web/app"),
        # … but the dash is a matter of its own.
        ({POD_NOTE + "sourceCategory": "p-1", NAMESPACE_NOTE + "sourceCategoryReplaceDash": "_"}, "kubernetes/p_1"),
    ],
)
def test_category_by_annotation(notes, category):
    assert named(POD | notes)["_sourceCategory"] == category


@pytest.mark.parametrize(
    ("settings", "notes", "category"),
    [
        ({"enabled": True}, {POD_NOTE + "nginx.sourceCategory": "a-b/%{x}"}, "a-b/%{x}"),
        ({"enabled": False}, {POD_NOTE + "nginx.sourceCategory": "a-b"}, "kubernetes/my/namespace/web/app"),
        ({"enabled": True}, {POD_NOTE + "other.sourceCategory": "a-b"}, "kubernetes/my/namespace/web/app"),
        ({"enabled": True}, {POD_NOTE + "nginx.sourceCategory": "c", POD_NOTE + "sourceCategory": "p"}, "c"),
        ({"enabled": True}, {NAMESPACE_NOTE + "nginx.sourceCategory": "c"}, "kubernetes/my/namespace/web/app"),
        (
            {"enabled": True, "prefixes": ("one/", "two/")},
            {"k8s.pod.annotation.two/nginx.sourceCategory": "2", "k8s.pod.annotation.one/nginx.sourceCategory": "1"},
            "1",
        ),
        (
            {"enabled": True, "prefixes": ("one/", "two/")},
            {"k8s.pod.annotation.two/nginx.sourceCategory": "2"},
            "2",
        ),
    ],
)
def test_category_by_container_is_verbatim_and_wins(settings, notes, category):
    found = named(POD | notes, container_annotations=ContainerAnnotations(**settings))
    assert found["_sourceCategory"] == category


# --- filters


@pytest.mark.parametrize(
    ("pod_exclude", "pod_include", "namespace_exclude", "namespace_include", "by_regex"),
    list(
        itertools.product([None, "true", "false", True], [None, "true"], [None, "true"], [None, "true"], [False, True])
    ),
)
def test_exclude_and_include(pod_exclude, pod_include, namespace_exclude, namespace_include, by_regex):
    notes = {
        POD_NOTE + "exclude": pod_exclude,
        POD_NOTE + "include": pod_include,
        NAMESPACE_NOTE + "exclude": namespace_exclude,
        NAMESPACE_NOTE + "include": namespace_include,
    }
    notes = {key: value for key, value in notes.items() if value is not None}
    patterns = exclude(k8s__namespace__name="^my-") if by_regex else {}
    if pod_exclude in ("true", True):
        rule = "pod annotation sumologic.com/exclude"
    elif pod_include:
        rule = None
    elif namespace_exclude:
        rule = "namespace annotation sumologic.com/exclude"
    elif namespace_include or not by_regex:
        rule = None
    else:
        rule = "exclude.k8s.namespace.name"
    resources, counts = run(Config(exclude=patterns), POD | notes, items=7)
    assert len(resources) == (rule is None)
    assert counts == ({("otelcol_processor_filtered_log_records", ("rule", rule)): 7} if rule else {})


def test_patterns_match_anywhere_in_text_and_empty_ones_nothing():
    patterns = exclude(k8s__container__name="gin", k8s__pod__name="", port="8", _sourceCategory="nothing")
    resources, counts = run(
        Config(exclude=patterns), POD, POD | {"k8s.container.name": "redis", "port": 8}, {"a": "b"}, items=2
    )
    assert [resource.get("k8s.container.name") for resource in resources] == ["redis", None]
    assert sum(counts.values()) == 2


def test_the_signals_are_counted_apart():
    for signal, name in ((Signal.METRICS, "metric_points"), (Signal.TRACES, "spans")):
        _, counts = run(Config(exclude=exclude(a=".")), {"a": "b"}, signal=signal, items=5)
        assert counts == {(f"otelcol_processor_filtered_{name}", ("rule", "exclude.a")): 5}


def test_a_batch_that_is_filtered_whole_is_done():
    context, sink = Context(), Sink()
    sink.raises = Busy("never called")
    asyncio.run(Source(Config(exclude=exclude(a=".")), context, sink).consume(batch({"a": "b"})))
    assert sum(context.meter.counts.values()) == 3


def test_what_comes_again_is_counted_once():
    context, sink = Context(), Sink()
    processor = Source(Config(exclude=exclude(a="b")), context, sink)
    mixed = batch({"a": "b"}, {"a": "c"})
    sink.raises = Busy("full")
    for _ in range(3):
        with pytest.raises(Busy):
            asyncio.run(processor.consume(mixed))
    assert not context.meter.counts
    sink.raises = Refused("bad")
    with pytest.raises(Refused):
        asyncio.run(processor.consume(mixed))
    assert sum(context.meter.counts.values()) == 3


def test_malformed_attributes_are_refused():
    bad = Batch(Signal.LOGS, [Group(Resource(b"\x0a\x7f"), (), 1)])
    with pytest.raises(Refused, match="malformed resource attributes"):
        asyncio.run(Source(Config(), Context(), Sink()).consume(bad))


def test_records_pass_as_the_bytes_they_are():
    scopes = (memoryview(b"anything at all"), b"untouched")
    sink = Sink()
    resource = Resource(memoryview(Resource.of(POD).raw + b"\x10\x05"))  # dropped_attributes_count stays
    asyncio.run(Source(Config(), Context(), sink).consume(Batch(Signal.LOGS, [Group(resource, scopes, 2)], "10.0.0.1")))
    (out,) = sink.batches
    (group,) = out.groups
    assert group.scopes is scopes
    assert (group.items, out.peer) == (2, "10.0.0.1")
    assert b"\x10\x05" in bytes(group.resource.raw)
    assert Resource(group.resource.raw).attributes == group.resource.attributes


def test_naming_again_replaces():
    once = named(POD)
    assert named(once, source_name="x") == once | {"_sourceName": "x"}


@given(st.lists(st.dictionaries(st.sampled_from(list(POD)), st.text(max_size=8), max_size=5), max_size=12))
def test_remembering_changes_nothing(resources):
    sink = Sink()
    processor = Source(Config(), Context(), sink)
    asyncio.run(processor.consume(batch(*resources)))
    asyncio.run(processor.consume(batch(*resources)))
    expected = [named(resource) for resource in resources]
    assert sink.resources == expected * 2


def test_wrong_placeholders_are_told():
    config = Config(source_name="%{a b} %{ok} %{", source_category="%{}")
    assert [(p.path, p.message.split()[0]) for p in config.problems()] == [
        ("source_name", "'%{a"),
        ("source_name", "'%{'"),
        ("source_category", "'%{}'"),
    ]
    assert not list(Config().problems())
    assert list(factory.needs(Config())) == []
