"""What conditions keep out: held against OpenTelemetry's own classes, and against the ledger."""

import asyncio
import logging
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Busy, Refused
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.processors.filter import Config, Filter
from hawse.registry import Registry
from hawse.wire import field

REQUESTS = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}


def put(target, attributes):
    for key, value in attributes.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
        setattr(target.add(key=key).value, kind, value)


class Context:
    def __init__(self):
        self.ledger = self.meter = self
        self.log = logging.getLogger("test")
        self.rules = Counter()
        self.counted = Counter()

    def filtered(self, group, rule):
        self.rules[rule] += group.items

    def counter(self, name, description, unit="1"):
        counted = self.counted

        class One:
            def add(self, amount, **attributes):
                counted[name] += amount

        return One()


class Sink:
    def __init__(self):
        self.batches = []
        self.raises = None

    async def consume(self, batch):
        if self.raises:
            raise self.raises
        self.batches.append(batch)


def config(text):
    findings = []
    made = Decoder(findings).struct(load([f"yaml:{text}"], environ={}).root, Config, "filter")
    assert made is not FAILED, findings
    return made


def findings(text):
    found = []
    Decoder(found).struct(load([f"yaml:{text}"], environ={}).root, Config, "filter")
    return [f"{finding.where.path}: {finding.message}; {finding.fix}" for finding in found]


def run(text, request, signal=Signal.METRICS):
    """What is left of a request, as a request, and what was told to the ledger."""
    context, sink = Context(), Sink()
    batch = otlp.decode(signal, request.SerializeToString())
    asyncio.run(Filter(config(text), context, sink).consume(batch))
    assert all(otlp.decode(signal, one.encode()).items == one.items for one in sink.batches)
    assert sum(context.rules.values()) + sum(one.items for one in sink.batches) == batch.items
    left = REQUESTS[signal]()
    left.MergeFromString(b"".join(one.encode() for one in sink.batches))
    return left, context


def metrics(*names, resource=None, points=1):
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add(schema_url="https://resource")
    put(group.resource.attributes, resource or {"job": "api"})
    scope = group.scope_metrics.add(schema_url="https://scope")
    scope.scope.name = "scope"
    for name in names:
        metric = scope.metrics.add(name=name, unit="s", description="what it is")
        put(metric.metadata, {"prometheus.type": "counter"})
        metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 2
        for number in range(points):
            put(
                metric.sum.data_points.add(time_unix_nano=number, as_double=number).attributes,
                {"n": number, "pod": f"p-{number}"},
            )
    return request


def names(request):
    return [m.name for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]


def test_whole_metrics_are_dropped_by_name_and_all_else_stays_as_it_was():
    request = metrics("up", "go_gc", "http_requests_total", "go_threads", points=3)
    left, context = run("metrics: {metric: ['IsMatch(name, \"^go_\")']}", request)
    expected = metrics("up", "http_requests_total", points=3)
    assert left == expected
    assert context.rules == {"metrics.metric[0]": 6}
    assert context.counted == {"processor_filter_datapoints.filtered": 6}


def test_what_loses_nothing_keeps_its_bytes():
    batch = otlp.decode(Signal.METRICS, metrics("up", "down").SerializeToString())
    sink = Sink()
    asyncio.run(Filter(config("metrics: {metric: ['name == \"x\"']}"), Context(), sink).consume(batch))
    assert sink.batches == [batch]


def test_unknown_fields_stay():
    """Of an OTLP that is newer than this program."""
    metric, other = field(1, b"a") + field(99, b"new"), field(1, b"b")
    scope = field(98, b"new scope") + field(2, metric) + field(2, other)
    batch = otlp.decode(Signal.METRICS, field(1, field(2, scope) + field(97, b"new group")))
    sink = Sink()
    asyncio.run(Filter(config("metrics: {metric: ['name == \"b\"']}"), Context(), sink).consume(batch))
    left = sink.batches[0].encode()
    assert all(piece in left for piece in (field(99, b"new"), field(98, b"new scope"), field(97, b"new group")))
    assert other not in left


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ("include: {match_type: strict, metric_names: [up, go_gc]}", ["up", "go_gc"]),
        ("include: {match_type: regexp, metric_names: [^go_]}", ["go_gc", "go_threads"]),
        ("exclude: {match_type: regexp, metric_names: [threads, ^u]}", ["go_gc"]),
        ("exclude: {match_type: strict, metric_names: [up], resource_attributes: [{key: job, value: api}]}", ["go_gc", "go_threads"]),
        ("exclude: {match_type: strict, metric_names: [up], resource_attributes: [{key: job, value: other}]}", ["up", "go_gc", "go_threads"]),
        ("exclude: {match_type: regexp, resource_attributes: [{key: job, value: ^a}]}", []),
        ("exclude: {match_type: strict, resource_attributes: [{key: job}]}", []),
        ("exclude: {match_type: strict, resource_attributes: [{key: n, value: 1}]}", ["up", "go_gc", "go_threads"]),
        ("include: {match_type: strict, resource_attributes: [{key: job, value: x}]}", []),
        ("include: {match_type: regexp, metric_names: [^go_]}, exclude: {match_type: strict, metric_names: [go_gc]}", ["go_threads"]),
        ("resource: ['attributes[\"job\"] == \"api\"']", []),
        ("metric: ['resource.attributes[\"job\"] != \"api\" and IsMatch(name, \"go\")']", ["up", "go_gc", "go_threads"]),
        ("metric: ['type == METRIC_DATA_TYPE_SUM and name == \"up\"', 'unit == \"h\"']", ["go_gc", "go_threads"]),
    ],
)  # fmt: skip
def test_rules(keys, kept):
    left, context = run(f"metrics: {{{keys}}}", metrics("up", "go_gc", "go_threads"))
    assert names(left) == kept
    assert sum(context.rules.values()) == 3 - len(kept)


def test_the_first_rule_that_matches_is_the_one_that_is_told():
    text = "metrics: {exclude: {match_type: strict, metric_names: [a]}, metric: ['name == \"b\"', 'IsMatch(name, \"[ab]\")'], datapoint: ['attributes[\"n\"] == 1']}"
    _, context = run(text, metrics("a", "b", "ab", "c", points=2))
    assert context.rules == {
        "metrics.exclude": 2,
        "metrics.metric[0]": 2,
        "metrics.metric[1]": 2,
        "metrics.datapoint[0]": 1,
    }


def every_kind(points):
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.SetInParent()
    scope = group.scope_metrics.add()
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        metric = scope.metrics.add(name=kind)
        for number in points:
            put(
                getattr(metric, kind).data_points.add(flags=number % 2, time_unix_nano=number).attributes, {"n": number}
            )
    return request


def test_points_are_dropped_one_by_one_of_every_kind_of_metric():
    left, context = run(
        "metrics: {datapoint: ['flags == FLAG_NO_RECORDED_VALUE', 'attributes[\"n\"] > 5']}", every_kind(range(8))
    )
    assert left == every_kind([0, 2, 4])
    assert context.rules == {"metrics.datapoint[0]": 20, "metrics.datapoint[1]": 5}


def test_a_metric_without_points_left_goes_too():
    left, _ = run(
        'metrics: {datapoint: [\'attributes["n"] >= 0 and metric.name == "a"\']}', metrics("a", "b", points=2)
    )
    assert names(left) == ["b"]
    left, _ = run("metrics: {datapoint: ['attributes[\"n\"] >= 0']}", metrics("a", "b", points=2))
    assert not left.resource_metrics


@pytest.mark.parametrize(
    "condition",
    ["flags == FLAG_NO_RECORDED_VALUE", "flags != 0", 'attributes["nowhere"] == "x"', 'attributes["nowhere"] != nil'],
)
def test_groups_in_which_no_point_can_pass_keep_their_bytes(condition):
    batch = otlp.decode(Signal.METRICS, every_kind([0, 2, 4]).SerializeToString())
    sink = Sink()
    asyncio.run(Filter(config(f"metrics: {{datapoint: ['{condition}']}}"), Context(), sink).consume(batch))
    assert sink.batches == [batch]


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ("flags == 0", [1, 3]),
        ("flags == 1", [0, 2]),
        ("flags >= 0", []),
        ('attributes["nowhere"] == nil', []),
        ('attributes["nowhere"] != "x"', []),
        ('attributes["n"] == 3 or attributes["nowhere"] == "x"', [0, 1, 2]),
        ('flags == 1 and attributes["n"] == 3', [0, 1, 2]),
    ],
)
def test_flags_and_missing_attributes(condition, left):
    found, _ = run(f"metrics: {{datapoint: ['{condition}']}}", every_kind(range(4)))
    assert found == (every_kind(left) if left else ExportMetricsServiceRequest())


def test_any_point_may_decide_for_a_metric():
    left, _ = run("metrics: {metric: ['HasAttrKeyOnDatapoint(\"pod\")']}", metrics("a"))
    assert names(left) == []
    left, _ = run('metrics: {metric: [\'HasAttrOnDatapoint("pod", "p-7")\']}', metrics("a", points=3))
    assert names(left) == ["a"]


def logs(*records, resource=None):
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    put(group.resource.attributes, resource or {"k8s.namespace.name": "shop"})
    scope = group.scope_logs.add()
    for body, severity in records:
        record = scope.log_records.add(severity_number=severity)
        record.body.string_value = body
        put(record.attributes, {"level": severity})
    return request


def test_log_records():
    request = logs(("ok", 9), ("GET /healthz", 9), ("bad", 17))
    left, context = run(
        "logs: {log_record: ['IsMatch(body, \"/healthz\")', 'severity_number >= SEVERITY_NUMBER_ERROR']}",
        request,
        Signal.LOGS,
    )
    assert left == logs(("ok", 9))
    assert context.rules == {"logs.log_record[0]": 1, "logs.log_record[1]": 1}
    assert context.counted == {"processor_filter_logs.filtered": 2}
    left, _ = run(
        "logs: {exclude: {match_type: regexp, resource_attributes: [{key: k8s.namespace.name, value: ^shop$}]}}",
        request,
        Signal.LOGS,
    )
    assert not left.resource_logs
    left, _ = run("logs: {log_record: ['attributes[\"level\"] == 9']}", request, Signal.LOGS)
    assert left == logs(("bad", 17))


def test_spans():
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name, code in (("GET /", 0), ("GET /healthz", 0), ("PUT /", 2)):
        span = scope.spans.add(name=name, kind=2)
        span.status.code = code
        put(span.attributes, {"http.route": name.split()[1]})
    left, context = run(
        "traces: {span: ['attributes[\"http.route\"] == \"/healthz\"', 'status.code == STATUS_CODE_ERROR']}",
        request,
        Signal.TRACES,
    )
    assert [span.name for span in left.resource_spans[0].scope_spans[0].spans] == ["GET /"]
    assert context.counted == {"processor_filter_spans.filtered": 2}
    assert context.rules == {"traces.span[0]": 1, "traces.span[1]": 1}


def test_signals_without_rules_pass():
    left, _ = run("metrics: {metric: ['true']}", logs(("a", 1)), Signal.LOGS)
    assert left == logs(("a", 1))


def test_what_is_wrong_is_told_with_its_place():
    assert findings("metrics: {metric: ['name == \"a\"', 'IsMtch(name, \"a\")'], datapoint: ['name == \"a\"']}") == [
        "filter.metrics.metric[1]: no condition: character 1: the function IsMtch is not supported; did you mean \"IsMatch\"?",
        "filter.metrics.datapoint[0]: no condition: character 1: the path name is not supported; did you mean \"metric.name\"?",
    ]  # fmt: skip
    assert findings("{metrics: {metric: []}}") == []
    (found,) = findings("metrics: {include: {match_type: regexp, metric_names: ['(']}}")
    assert found.startswith("filter.metrics.include.metric_names[0]: '(' is no regular expression")
    (found,) = findings("metrics: {include: {match_type: expr, metric_names: [a]}}")
    assert "expected one of strict, regexp" in found
    (found,) = findings("metrics: {include: {match_type: strict}}")
    assert "lists nothing" in found


def test_answers_of_what_is_behind():
    batch = otlp.decode(Signal.METRICS, metrics("a", "b").SerializeToString())
    for raised in (Busy("full"), Refused("no")):
        context, sink = Context(), Sink()
        sink.raises = raised
        with pytest.raises(type(raised)):
            asyncio.run(Filter(config("metrics: {metric: ['name == \"a\"']}"), context, sink).consume(batch))
        assert not context.counted


def test_malformed_metrics_are_refused():
    group = Group(Resource(b""), (field(2, field(2, b"\x0a\xff")),), 1)
    with pytest.raises(Refused, match="malformed"):
        asyncio.run(
            Filter(config("metrics: {metric: ['type == METRIC_DATA_TYPE_SUM']}"), Context(), Sink()).consume(
                Batch(Signal.METRICS, [group])
            )
        )


def test_what_is_remembered_of_names_is_bounded(monkeypatch):
    """Of all resources together, and of no long name."""
    from hawse.ottl import sorting

    monkeypatch.setattr(sorting, "_NAMES", 50)
    processor = Filter(
        config('metrics: {metric: [\'IsMatch(name, "^m1") and resource.attributes["job"] != "a"\', \'name == "m2"\']}'),
        Context(),
        Sink(),
    )

    async def whole():
        for job in ("a", "b", "c"):
            names = [f"m{n}" for n in range(40)] + ["x" * 300]
            await processor.consume(
                otlp.decode(Signal.METRICS, metrics(*names, resource={"job": job}).SerializeToString())
            )

    asyncio.run(whole())
    known = [name for bound in processor._sorters[Signal.METRICS]._bounds.values() for name in bound.by_name]
    assert 0 < len(known) <= 50
    assert max(map(len, known)) < 10


def test_others_get_their_turn():
    """A group of 60,000 metrics, each of which must be looked into."""
    batch = otlp.decode(Signal.METRICS, metrics(*(f"m{n}" for n in range(60_000))).SerializeToString())
    gaps = []

    async def whole():
        async def watch():
            before = asyncio.get_running_loop().time()
            while True:
                await asyncio.sleep(0)
                now = asyncio.get_running_loop().time()
                gaps.append(now - before)
                before = now

        watching = asyncio.create_task(watch())
        await Filter(
            config("metrics: {metric: ['type == METRIC_DATA_TYPE_SUM and unit == \"h\"']}"), Context(), Sink()
        ).consume(batch)
        watching.cancel()

    asyncio.run(whole())
    assert len(gaps) > 5


NAMES = st.sampled_from(["up", "go_gc", "http_total", "x_bucket", ""])


@given(
    st.lists(st.lists(st.tuples(NAMES, st.integers(0, 3)), max_size=6), max_size=3),
    st.sampled_from(["^go", "total$", "", "_"]),
    st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_any_request_is_filtered_as_by_hand(groups, pattern, least):
    """By OpenTelemetry's classes, one by one."""
    import re

    def build(keep):
        request = ExportMetricsServiceRequest()
        for made in groups:
            group = request.resource_metrics.add()
            group.resource.SetInParent()
            scope = group.scope_metrics.add()
            for name, points in made:
                kept = [number for number in range(points) if keep(name, number)]
                if kept or (not points and keep(name, None)):
                    metric = scope.metrics.add(name=name)
                    metric.gauge.SetInParent()
                    for number in kept:
                        put(metric.gauge.data_points.add(time_unix_nano=number).attributes, {"n": number})
        return request

    def keep(name, number):
        return not re.search(pattern, name) and not (number is not None and number >= least)

    text = f"metrics: {{metric: ['IsMatch(name, \"{pattern}\")'], datapoint: ['attributes[\"n\"] >= {least}']}}"
    left, _ = run(text, build(lambda *_: True))
    expected = build(keep)
    for request in (left, expected):
        kept = [group for group in request.resource_metrics if any(scope.metrics for scope in group.scope_metrics)]
        del request.resource_metrics[:]
        request.resource_metrics.extend(kept)
    assert left == expected


def test_the_factory_is_registered():
    assert Registry().factory("processor", "filter").config is Config
