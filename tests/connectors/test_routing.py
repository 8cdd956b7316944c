"""Where telemetry goes, by conditions."""

import asyncio
from collections import Counter

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.component import Refused
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.connectors.routing import Config, Routing

TABLE = """
default_pipelines: [metrics/rest, logs/rest]
table:
  - {condition: 'attributes["team"] == "a"', pipelines: [metrics/a, logs/a]}
  - {context: metric, condition: 'IsMatch(name, "^kube_")', pipelines: [metrics/kube, metrics/all]}
  - {context: datapoint, condition: 'attributes["env"] == "test"', pipelines: [metrics/test]}
  - {context: log, statement: 'route() where severity_number >= SEVERITY_NUMBER_ERROR', pipelines: [logs/errors]}
"""


def decode(text):
    findings = []
    made = Decoder(findings).struct(load([f"yaml:{text}"], environ={}).root, Config, "routing")
    return made, [f"{finding.where.path}: {finding.message}; {finding.fix}" for finding in findings]


class Routes:
    def __init__(self):
        self.parts = []

    async def deliver(self, parts):
        self.parts += parts


class Context:
    def __init__(self):
        self.ledger = self
        self.rules = Counter()

    def filtered(self, group, rule):
        self.rules[rule] += group.items


def route(text, batch):
    config, findings = decode(text)
    assert config is not FAILED, findings
    routes, context = Routes(), Context()
    asyncio.run(Routing(config, context, routes).consume(batch))
    assert sum(part.items for part, _ in routes.parts) + sum(context.rules.values()) == batch.items
    return {names: part for part, names in routes.parts}, context.rules


def put(target, attributes):
    for key, value in attributes.items():
        target.add(key=key).value.string_value = value


def metrics(*groups):
    request = ExportMetricsServiceRequest()
    for team, made in groups:
        group = request.resource_metrics.add()
        put(group.resource.attributes, {"team": team})
        scope = group.scope_metrics.add()
        for name, environments in made:
            metric = scope.metrics.add(name=name)
            for environment in environments:
                put(metric.gauge.data_points.add(as_double=1).attributes, {"env": environment})
    return request


def batch_of(request, signal=Signal.METRICS):
    return otlp.decode(signal, request.SerializeToString(), "peer")


def theirs(batch):
    return ExportMetricsServiceRequest.FromString(batch.encode())


def test_the_first_entry_that_matches_takes_it():
    request = metrics(
        ("a", [("kube_x", ["test"])]),
        ("b", [("kube_x", ["test"]), ("up", ["live", "test", "live"])]),
        ("c", [("up", ["live"])]),
    )
    found, rules = route(TABLE, batch_of(request))
    assert {names: theirs(part) for names, part in found.items()} == {
        ("metrics/a",): metrics(("a", [("kube_x", ["test"])])),
        ("metrics/kube", "metrics/all"): metrics(("b", [("kube_x", ["test"])])),
        ("metrics/test",): metrics(("b", [("up", ["test"])])),
        ("metrics/rest",): metrics(("b", [("up", ["live", "live"])]), ("c", [("up", ["live"])])),
    }
    assert all(part.peer == "peer" for part in found.values())
    assert not rules


def test_what_goes_one_way_keeps_its_bytes():
    batch = batch_of(metrics(("a", [("up", ["x"])])))
    found, _ = route(TABLE, batch)
    assert found["metrics/a",].groups == batch.groups


def test_logs():
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.SetInParent()
    for severity in (9, 17, 9):
        group.scope_logs.add().log_records.add(severity_number=severity)
    found, _ = route(TABLE, batch_of(request, Signal.LOGS))
    assert {names: part.items for names, part in found.items()} == {("logs/errors",): 1, ("logs/rest",): 2}


def test_without_a_default_what_no_entry_takes_is_filtered():
    text = TABLE.replace("[metrics/rest, logs/rest]", "[logs/rest]")
    found, rules = route(text, batch_of(metrics(("a", [("up", ["x"])]), ("b", [("up", ["x", "y"])]))))
    assert list(found) == [("metrics/a",)]
    assert rules == {"no route": 2}


def test_entries_for_other_signals_take_nothing():
    text = """{default_pipelines: [metrics/rest], table: [{condition: 'attributes["team"] == "a"', pipelines: [logs/a]}]}"""
    found, _ = route(text, batch_of(metrics(("a", [("up", ["x"])]))))
    assert list(found) == [("metrics/rest",)]


def test_malformed_metrics_are_refused():
    from hawse.batch import Batch, Group, Resource
    from hawse.wire import field

    config, _ = decode(TABLE)
    batch = Batch(Signal.METRICS, [Group(Resource(b""), (field(2, field(2, b"\x2a\xff")),), 1)])
    with pytest.raises(Refused, match="malformed"):
        asyncio.run(Routing(config, Context(), Routes()).consume(batch))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{pipelines: [logs]}", "table[0].condition: one of condition and statement is needed"),
        ("{pipelines: [logs], condition: 'true', statement: 'route()'}", "table[0].condition: one of condition and"),
        ("{pipelines: [logs], condition: 'atributes[\"a\"] == 1'}", 'did you mean "attributes"'),
        ("{pipelines: [logs], statement: 'set(x, 1)'}", "table[0].statement: no condition: is no statement that routes"),
        ("{pipelines: [logs], context: metric, condition: 'true'}", "table[0].pipelines: none of them takes what context: metric"),
        ("{pipelines: [], condition: 'true'}", "must have at least 1 items"),
        ("{pipelines: ['a b'], condition: 'true'}", "is no pipeline"),
        ("{pipelines: [logs], context: request, condition: 'true'}", "expected one of resource, log, span, metric, datapoint"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(entry, expected):
    _, findings = decode(f"table: [{entry}]")
    assert any(expected in line for line in findings), findings
