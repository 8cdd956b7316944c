"""What every registered component keeps to. A new one is covered by a line in MINIMAL; without it, these tests fail."""

import asyncio
import logging
import typing
from pathlib import Path

import pytest
import yaml

from hawse.cli.reference import markdown, settings
from hawse.component import Kind, Need
from hawse.config import shape
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.config.schema import schema, summary
from hawse.pipeline.check import check
from hawse.pipeline.needs import needs
from hawse.pipeline.running import Running, ServiceContext, running
from hawse.pipeline.telemetry import Telemetry
from hawse.registry import BUILT_IN, Registry

COMPONENTS = [(kind, type_) for kind in Kind for type_ in BUILT_IN[kind]]
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "components.md"

# The least configuration of each with which it runs on any machine. {tmp} is a folder of the test's.
MINIMAL = {
    ("receiver", "filelog"): {"include": ["{tmp}/*.log"]},
    ("receiver", "jaeger"): {"protocols": {"thrift_compact": {"endpoint": "127.0.0.1:0"}}},
    ("receiver", "opencensus"): {"endpoint": "127.0.0.1:0"},
    ("receiver", "otlp"): {"protocols": {"http": {"endpoint": "127.0.0.1:0"}}},
    ("receiver", "zipkin"): {"endpoint": "127.0.0.1:0"},
    ("receiver", "prometheus"): {
        "config": {"scrape_configs": [{"job_name": "a", "static_configs": [{"targets": ["127.0.0.1:1"]}]}]}
    },
    ("processor", "cascading_filter"): {"acknowledge": "received"},
    ("processor", "dropbuckets"): {},
    ("processor", "groupbyattrs"): {"keys": ["pod"]},
    ("processor", "filter"): {"metrics": {"metric": ['name == "up"']}},
    ("receiver", "prometheusremotewrite"): {"endpoint": "127.0.0.1:0"},
    ("processor", "k8sattributes"): {"auth_type": "kubeConfig", "kube_config_path": "{tmp}/kubeconfig"},
    ("processor", "probabilistic_sampler"): {"sampling_percentage": 10},
    ("processor", "resource"): {"attributes": [{"key": "a", "value": "b", "action": "upsert"}]},
    ("processor", "source"): {},
    ("processor", "sumologic"): {},
    ("processor", "tail_sampling"): {
        "acknowledge": "received",
        "policies": [{"name": "all", "type": "always_sample"}],
    },
    ("exporter", "debug"): {},
    ("exporter", "file"): {"path": "{tmp}/out.json"},
    ("exporter", "loadbalancing"): {"resolver": {"static": {"hostnames": ["127.0.0.1:1"]}}},
    ("exporter", "otlp"): {"endpoint": "127.0.0.1:1"},
    ("exporter", "otlphttp"): {"endpoint": "http://127.0.0.1:1"},
    ("exporter", "prometheusremotewrite"): {"endpoint": "http://127.0.0.1:1/api/v1/write"},
    ("exporter", "sumologic"): {"endpoint": "http://127.0.0.1:1/receiver"},
    ("connector", "forward"): {},
    ("connector", "routing"): {"table": [{"condition": 'attributes["a"] == "b"', "pipelines": ["logs/2"]}]},
    ("extension", "file_storage"): {"directory": "{tmp}/state"},
    ("extension", "health_check"): {"endpoint": "127.0.0.1:0"},
    ("extension", "target_allocator"): {"endpoint": "127.0.0.1:0", "collectors": {"static": ["collector-0"]}},
}

# An API server that is away: no reason not to start.
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
"""


def components(test):
    return pytest.mark.parametrize(("kind", "type_"), COMPONENTS, ids=[f"{k}-{t}" for k, t in COMPONENTS])(test)


def factory_of(kind, type_):
    found = Registry().factory(kind, type_)
    assert found is not None
    return found


@pytest.fixture
def minimal(tmp_path):
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)

    def fill(value):
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fill(item) for item in value]
        return value.replace("{tmp}", str(tmp_path)) if isinstance(value, str) else value

    return lambda kind, type_: fill(MINIMAL[str(kind), type_])


@pytest.fixture
def graph(minimal):
    """A pipeline with the component in it, between the simplest of peers."""

    def make(kind, type_):
        signal = str(sorted(factory_of(kind, type_).signals)[0])
        document = {
            "receivers": {"otlp/peer": {"protocols": {"http": {"endpoint": "127.0.0.1:0"}}}},
            "exporters": {"debug/peer": None},
            "service": {
                "pipelines": {signal: {"receivers": ["otlp/peer"], "processors": [], "exporters": ["debug/peer"]}}
            },
        }
        document.setdefault(f"{kind}s", {})[type_] = minimal(kind, type_)
        route = document["service"]["pipelines"][signal]
        if kind is Kind.EXTENSION:
            document["service"]["extensions"] = [type_]
        elif kind is Kind.CONNECTOR:
            document["service"]["pipelines"][f"{signal}/2"] = {"receivers": [type_], "exporters": ["debug/peer"]}
            route["exporters"] = [type_]
        else:
            route[f"{kind}s"].append(type_)
        checked = check([f"yaml:{yaml.safe_dump(document)}"], Registry, environ={})
        assert checked.findings == ()
        return checked.graph

    return make


def decode(config, type_):
    findings = []
    return Decoder(findings).struct(load([f"yaml:{yaml.safe_dump(config)}"], environ={}).root, type_, "it"), findings


def test_each_component_has_a_minimal_configuration():
    assert set(MINIMAL) == {(str(kind), type_) for kind, type_ in COMPONENTS}


@components
def test_factory(kind, type_):
    factory = factory_of(kind, type_)
    assert (factory.kind, factory.type) == (kind, type_)
    assert factory.signals
    assert len(summary(factory)) > 10
    assert "start" in dir(factory.create)


@components
def test_minimal_configuration_is_valid(kind, type_, minimal):
    value, findings = decode(minimal(kind, type_), factory_of(kind, type_).config)
    assert findings == []
    assert value is not FAILED


@components
def test_an_unknown_key_is_rejected_with_the_nearest_name(kind, type_, minimal):
    config = factory_of(kind, type_).config
    names = list(shape.block(config).fields)
    for name in names or ["anything"]:
        typo = name[:-2] + name[-1] + name[-2] if len(set(name[-2:])) > 1 else name + "x"
        value, findings = decode({**minimal(kind, type_), typo: 1}, config)
        assert value is FAILED
        (finding,) = [finding for finding in findings if finding.code == "HW104"]
        assert finding.where.path == f"it.{typo}"
        assert finding.where.line
        if names:
            assert f'"{name}"' in finding.fix, (typo, finding)


@components
def test_wrong_types_are_findings_not_tracebacks(kind, type_, minimal):
    config = factory_of(kind, type_).config
    wrong = [7, "text", [1], {"a": {"b": 1}}, True, 1.5, [{"a": 1}], ""]
    for name in shape.block(config).fields:
        rejected = 0
        for value in wrong:
            result, findings = decode({**minimal(kind, type_), name: value}, config)
            assert (result is FAILED) == bool(findings)
            assert all(finding.where.path.startswith("it") and finding.message for finding in findings)
            rejected += bool(findings)
        assert rejected >= 3, name


@components
def test_needs_are_needs(kind, type_, minimal):
    factory = factory_of(kind, type_)
    value, _ = decode(minimal(kind, type_), factory.config)
    found = list(factory.needs(value))
    assert all(isinstance(need, typing.get_args(Need)) for need in found)
    assert found == list(factory.needs(value))  # a function of the configuration, and of nothing else


@components
def test_needs_of_the_graph(kind, type_, graph):
    made = graph(kind, type_)
    assert all(stated.by for stated in needs(made))


@components
def test_start_and_stop_and_again(kind, type_, graph, caplog):
    telemetry = Telemetry()

    async def once():
        async with asyncio.timeout(20):
            async with running(graph(kind, type_), telemetry, drain=5):
                await asyncio.sleep(0.02)
            assert len(asyncio.all_tasks()) == 1

    with caplog.at_level(logging.ERROR, logger="hawse"):
        asyncio.run(once())
        asyncio.run(once())
    assert [record.getMessage() for record in caplog.records] == []
    telemetry.render()  # no gauge is left that reads what is gone


@components
def test_stop_without_start(kind, type_, graph, caplog):
    async def whole():
        made = graph(kind, type_)
        async with asyncio.TaskGroup() as tasks:
            instance = Running(made, Telemetry(), tasks, lambda _: None)
            for node in made.nodes:
                context = ServiceContext(node, instance, instance.meter(node))
                instance.components[node.key] = instance._wiring.make(node, context)
            assert await instance.stop(5) == ()
        assert len(asyncio.all_tasks()) == 1

    with caplog.at_level(logging.ERROR, logger="hawse"):
        asyncio.run(whole())
    assert [record.getMessage() for record in caplog.records] == []


@components
def test_every_setting_is_in_the_reference(kind, type_):
    factory = factory_of(kind, type_)
    chapter = REFERENCE.read_text().partition(f"## {kind}: `{type_}`\n")[2].partition("\n## ")[0]
    assert chapter
    for setting in settings(factory.config):
        assert f"| `{setting.path}` |" in chapter, setting.path


def test_the_reference_is_current():
    made = markdown([factory_of(kind, type_) for kind in Kind for type_ in Registry().types(kind)])
    assert made == REFERENCE.read_text(), "run: hawse components -o markdown > docs/reference/components.md"


def test_the_schema_covers_every_component():
    made = schema(Registry())
    for kind, type_ in COMPONENTS:
        assert f"{kind}.{type_}" in made["$defs"]


@pytest.mark.parametrize(
    "role", sorted(Path(load.__code__.co_filename).parents[1].glob("roles/*.yaml")), ids=lambda p: p.stem
)
def test_bundled_roles_are_valid_without_any_environment(role):
    checked = check([str(role)], Registry, environ={})
    assert [str(finding) for finding in checked.findings] == []
    assert needs(checked.graph)
