"""The processors `resource` and `sumologic`, which stand beside `source` in a pipeline, configured as users do."""

import asyncio
import hashlib

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Kind, Refused
from hawse.config.decode import Decoder
from hawse.config.load import load
from hawse.processors import resource, sumologic
from hawse.registry import Registry


def decoded(type_, kind, text):
    """A configuration read from YAML, and what the decoder and the component's own checks say of it."""
    loaded = load([f"yaml:{text}"])
    findings = list(loaded.findings)
    factory = Registry().factory(kind, type_)
    config = Decoder(findings).struct(loaded.root, factory.config, type_)
    return config, [str(finding) for finding in findings]


class Sink:
    async def consume(self, batch):
        self.batch = batch


def changed(processor, attributes, signal=Signal.LOGS):
    sink = Sink()
    one = processor(sink)
    scopes = (memoryview(b"as they are"),)
    for _ in range(2):  # the second time it is remembered
        group = Group(Resource(Resource.of(attributes).raw), scopes, 4)
        asyncio.run(one.consume(Batch(signal, [group], "peer")))
        (out,) = sink.batch.groups
        assert (out.scopes, out.items, sink.batch.peer) == (scopes, 4, "peer")
        assert Resource(out.resource.raw).attributes == out.resource.attributes
    return dict(out.resource.attributes)


def with_actions(text, attributes):
    config, findings = decoded("resource", Kind.PROCESSOR, "attributes: [" + text + "]")
    assert not findings
    return changed(lambda sink: resource.ResourceProcessor(config, None, sink), attributes)


SHA1 = hashlib.sha1(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("actions", "before", "after"),
    [
        ("{key: cluster, value: c1, action: upsert}", {"a": "b"}, {"a": "b", "cluster": "c1"}),
        ("{key: a, value: 1, action: insert}", {"a": "b"}, {"a": "b"}),
        ("{key: a, value: 1, action: update}", {"a": "b"}, {"a": 1}),
        ("{key: x, value: 1, action: update}", {"a": "b"}, {"a": "b"}),
        ("{key: x, value: [a, {k: 2.5}], action: insert}", {}, {"x": ["a", {"k": 2.5}]}),
        ("{key: x, from_attribute: a, action: insert}", {"a": True}, {"a": True, "x": True}),
        ("{key: x, from_attribute: none, action: insert}", {"a": "b"}, {"a": "b"}),
        ("{key: x, from_attribute: none, default_value: d, action: insert}", {}, {"x": "d"}),
        ("{key: a, action: delete}", {"a": "b", "c": "d"}, {"c": "d"}),
        ("{pattern: '^k8s\\.(pod|namespace)\\.annotation\\.', action: delete}", {"k8s.pod.annotation.x": "1", "k8s.namespace.annotation.y": "1", "k8s.pod.name": "p"}, {"k8s.pod.name": "p"}),
        ("{key: a, action: hash}", {"a": "abc", "b": "abc"}, {"a": SHA1, "b": "abc"}),
        ("{pattern: 'a|b', action: hash}", {"a": "abc", "b": "abc"}, {"a": SHA1, "b": SHA1}),
        ("{key: a, pattern: '(?P<x>\\d+)-(?P<y>.)', action: extract}", {"a": "n12-z", "x": "0"}, {"a": "n12-z", "x": "12", "y": "z"}),
        ("{key: a, pattern: '(?P<x>\\d+)', action: extract}", {"a": "none"}, {"a": "none"}),
        ("{key: a, action: convert, converted_type: int}", {"a": "12"}, {"a": 12}),
        ("{key: a, action: convert, converted_type: int}", {"a": "twelve"}, {"a": "twelve"}),
        ("{key: a, action: convert, converted_type: int}", {"a": 1e300}, {"a": 1e300}),
        ("{key: a, action: convert, converted_type: double}", {"a": "1.5"}, {"a": 1.5}),
        ("{key: a, action: convert, converted_type: string}", {"a": 12}, {"a": "12"}),
        ("{key: b, from_attribute: a, action: upsert}, {key: a, action: delete}", {"a": "1", "b": "2"}, {"b": "1"}),
    ],
)  # fmt: skip
def test_resource_actions(actions, before, after):
    found = with_actions(actions, before)
    assert found == after
    assert [type(value) for value in found.values()] == [type(after[key]) for key in found]


@pytest.mark.parametrize(
    ("actions", "complaint"),
    [
        ("", "attributes"),
        ("{action: delete}", "key"),
        ("{key: a, action: upsert}", "value"),
        ("{key: a, value: 1, from_attribute: b, action: upsert}", "from_attribute"),
        ("{key: a, pattern: '(x)', action: extract}", "named groups"),
        ("{key: a, action: convert}", "converted_type"),
        ("{key: a, value: 99999999999999999999, action: insert}", "no attribute value"),
        ("{key: a, value: 1, action: insertt}", "insert"),
        ("{key: a, values: 1, action: insert}", "value"),
    ],
)
def test_wrong_resource_actions_are_told(actions, complaint):
    config, findings = decoded("resource", Kind.PROCESSOR, "attributes: [" + actions + "]")
    if not findings:
        findings = [f"{p.path} {p.message}" for action in config.attributes for p in action.problems()]
    assert any(complaint in finding for finding in findings), findings


def translated(attributes, signal=Signal.LOGS, text="{}"):
    config, findings = decoded("sumologic", Kind.PROCESSOR, text)
    assert not findings
    return changed(lambda sink: sumologic.SumoLogic(config, None, sink), attributes, signal)


POD = {
    "k8s.namespace.name": "ns",
    "k8s.pod.name": "p-1",
    "k8s.pod.uid": "uid",
    "k8s.container.name": "c",
    "k8s.node.name": "n",
    "k8s.deployment.name": "d",
    "k8s.pod.hostname": "h",
    "other": 1,
}


def test_attributes_get_the_names_that_sumo_logic_expects():
    wanted = {
        "namespace": "ns",
        "pod": "p-1",
        "pod_id": "uid",
        "container": "c",
        "node": "n",
        "deployment": "d",
        "host": "h",
        "other": 1,
    }
    assert translated(POD) == wanted
    assert translated(POD, Signal.METRICS) == wanted
    assert translated(POD, Signal.TRACES) == POD
    assert translated(POD, text="translate_attributes: false") == POD


def test_a_name_that_is_taken_is_left_alone():
    assert translated({"pod": "mine", "k8s.pod.name": "p"}) == {"pod": "mine", "k8s.pod.name": "p"}
    assert translated({"k8s.service.name": "a", "service.name": "b"}) == {"service": "a", "service.name": "b"}


def test_cloud_namespace():
    found = translated({"cloud.platform": "aws_ecs", "cloud.region": "eu-1"})
    assert found == {"cloud.namespace": "ecs", "aws_service": "aws_ecs", "Region": "eu-1"}
    assert translated({"cloud.platform": "aws_ec2"}, Signal.TRACES)["cloud.namespace"] == "aws/ec2"
    assert "cloud.namespace" not in translated({"cloud.platform": "gcp_gke"})
    assert "cloud.namespace" not in translated({"cloud.platform": "aws_ecs"}, text="add_cloud_namespace: false")


def test_what_is_not_supported_is_told():
    _, findings = decoded("sumologic", Kind.PROCESSOR, "translate_docker_metrics: true")
    problems = sumologic.Config(translate_docker_metrics=True).problems()
    assert findings or [problem.path for problem in problems] == ["translate_docker_metrics"]


@pytest.mark.parametrize("processor", [resource.ResourceProcessor, sumologic.SumoLogic])
def test_malformed_attributes_are_refused(processor):
    config = resource.Config(attributes=(resource.Action(action="delete", key="a"),))
    config = config if processor is resource.ResourceProcessor else sumologic.Config()
    bad = Batch(Signal.LOGS, [Group(Resource(b"\x0a\x7f"), (), 1)])
    with pytest.raises(Refused, match="malformed"):
        asyncio.run(processor(config, None, Sink()).consume(bad))


# --- the configurations of source and the exporters, as they are written


@pytest.mark.parametrize(
    ("kind", "type_", "text"),
    [
        (
            Kind.PROCESSOR,
            "source",
            """
collector: c
source_name: "%{namespace}.%{pod}.%{container}"
exclude: {namespace: "", pod: "^kube-.*"}
container_annotations: {enabled: true, prefixes: ["sumologic.com/", "other/"]}
""",
        ),
        (Kind.EXPORTER, "sumologic", "{endpoint: https://h/x, log_format: json, max_request_body_size: 1048576, compression: zstd, json_logs: {log_key: m}, retry_on_failure: {max_elapsed_time: 5m}, tls: {insecure_skip_verify: true}}"),
        (Kind.EXPORTER, "file", "{path: /tmp/x, format: proto, rotation: {max_megabytes: 5}, compression: zstd, flush_interval: 2s}"),
        (Kind.EXPORTER, "debug", "{verbosity: detailed, sampling_initial: 5, sampling_thereafter: 200, use_internal_logger: false}"),
    ],
)  # fmt: skip
def test_configurations_as_users_write_them(kind, type_, text):
    config, findings = decoded(type_, kind, text)
    assert not findings
    assert not list(config.problems())
    assert "https://h/x" not in repr(config)
