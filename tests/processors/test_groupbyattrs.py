"""What moves to the resource: held against the same done with OpenTelemetry's own classes."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Refused
from hawse.processors.groupbyattrs import Config, GroupByAttrs
from hawse.wire import field

KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


class Sink:
    def __init__(self):
        self.batches = []

    async def consume(self, batch):
        self.batches.append(batch)


def put(target, attributes):
    for key, value in attributes.items():
        setattr(target.add(key=key).value, "int_value" if isinstance(value, int) else "string_value", value)


def run(keys, request, signal=Signal.METRICS):
    batch = otlp.decode(signal, request.SerializeToString(), "peer")
    sink = Sink()
    asyncio.run(GroupByAttrs(Config(keys=keys), None, sink).consume(batch))
    (made,) = sink.batches
    assert (made.items, made.peer) == (batch.items, "peer")
    assert otlp.decode(signal, made.encode()).items == batch.items
    return type(request).FromString(made.encode())


def flat_points(request):
    """Every point on its own, with all that it belongs to."""
    found = []
    for group in request.resource_metrics:
        resource = tuple(sorted((one.key, str(one.value)) for one in group.resource.attributes))
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                settings_ = (getattr(data, "aggregation_temporality", 0), getattr(data, "is_monotonic", 0))
                about = (
                    scope.scope.name,
                    scope.schema_url,
                    group.schema_url,
                    metric.name,
                    metric.unit,
                    metric.description,
                    kind,
                    settings_,
                )
                about = (*about, str(metric.metadata))
                for point in data.data_points:
                    attributes = sorted((one.key, str(one.value)) for one in point.attributes)
                    del point.attributes[:]
                    found.append((resource, about, tuple(attributes), point.SerializeToString()))
    return sorted(found)


def build(groups, keys=()):
    """Requests of (resource attributes, metrics: (name, kind, points' attributes)); points moved by hand with `keys`."""
    request = ExportMetricsServiceRequest()
    for resource, metrics in groups:
        sorted_ = {}
        for name, kind, points in metrics:
            for number, attributes in enumerate(points):
                moved = {key: value for key, value in attributes.items() if key in keys}
                left = {key: value for key, value in attributes.items() if key not in keys}
                sorted_.setdefault(tuple(sorted({**resource, **moved}.items())), []).append((name, kind, number, left))
        for attributes, points in sorted_.items():
            group = request.resource_metrics.add(schema_url="https://resource")
            put(group.resource.attributes, dict(attributes))
            scope = group.scope_metrics.add(schema_url="https://scope")
            scope.scope.name = "scope"
            for name, kind, number, left in points:
                metric = scope.metrics.add(name=name, unit="s", description="what it is")
                put(metric.metadata, {"prometheus.type": kind})
                if kind in {"sum", "histogram"}:
                    getattr(metric, kind).aggregation_temporality = 2
                put(getattr(metric, kind).data_points.add(time_unix_nano=number, flags=1).attributes, left)
    return request


def test_points_move_with_what_says_whose_they_are():
    pods = [{"namespace": "shop", "pod": pod, "code": code} for pod in ("web-1", "web-2") for code in (200, 500)]
    request = build([({"job": "ksm"}, [("kube_pod_info", "gauge", pods), ("up", "gauge", [{"instance": "a"}])])])
    left = run(("namespace", "pod", "container"), request)
    resources = [
        {one.key: one.value.string_value for one in group.resource.attributes} for group in left.resource_metrics
    ]
    assert {tuple(sorted(one.items())) for one in resources} == {
        (("job", "ksm"),),
        (("job", "ksm"), ("namespace", "shop"), ("pod", "web-1")),
        (("job", "ksm"), ("namespace", "shop"), ("pod", "web-2")),
    }
    assert len(resources) == 3


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["pod", "ns", "code", "le", "é"]),
    st.one_of(st.sampled_from(["a", "b", ""]), st.integers(0, 2)),
    max_size=4,
)
METRICS = st.lists(
    st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(KINDS), st.lists(ATTRIBUTES, max_size=4)), max_size=4
)
GROUPS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(["job", "pod"]), st.sampled_from(["1", "2"])), METRICS), max_size=3
)


@given(GROUPS, st.sets(st.sampled_from(["pod", "ns", "é", "nowhere", "le"])))
@settings(max_examples=100, deadline=None)
def test_all_kinds_of_metrics_as_by_hand(groups, keys):
    request = build(groups)
    if not request.resource_metrics:
        return
    assert flat_points(run(tuple(keys), request)) == flat_points(build(groups, keys))


def test_resources_that_become_alike_are_one_group():
    request = build([({"pod": "a"}, [("x", "gauge", [{}])]), ({}, [("y", "gauge", [{"pod": "a"}])])])
    assert len(run(("pod",), request).resource_metrics) == 1
    assert len(run((), request).resource_metrics) == 2
    assert len(run((), build([({"pod": "a"}, [("x", "gauge", [{}])])] * 3)).resource_metrics) == 1
    for number, group in enumerate(request.resource_metrics):
        group.schema_url = f"https://{number}"
    assert len(run(("pod",), request).resource_metrics) == 2


def test_what_has_no_such_key_keeps_its_bytes():
    batch = otlp.decode(Signal.METRICS, build([({"job": "a"}, [("x", "sum", [{"code": 1}])])]).SerializeToString())
    sink = Sink()
    asyncio.run(GroupByAttrs(Config(keys=("pod",)), None, sink).consume(batch))
    assert sink.batches[0].groups == batch.groups


@pytest.mark.parametrize(
    ("signal", "make", "groups", "scopes", "items"),
    [
        (Signal.LOGS, ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
        (Signal.TRACES, ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    ],
)
def test_records_and_spans(signal, make, groups, scopes, items):
    request = make()
    group = getattr(request, groups).add()
    put(group.resource.attributes, {"host": "h", "pod": "old"})
    inside = getattr(getattr(group, scopes).add(), items)
    for number, attributes in enumerate([{"pod": "a", "n": 1}, {"n": 2}, {"pod": "a", "n": 3}, {"pod": "b"}]):
        one = inside.add(trace_id=bytes([number]) * 16)
        put(one.attributes, attributes)
    found = {}
    for made in getattr(run(("pod",), request, signal), groups):
        pod = {one.key: one.value.string_value for one in made.resource.attributes}["pod"]
        found[pod] = [
            (one.trace_id[0], [pair.key for pair in one.attributes]) for one in getattr(getattr(made, scopes)[0], items)
        ]
    assert found == {"old": [(1, ["n"])], "a": [(0, ["n"]), (2, ["n"])], "b": [(3, [])]}


def test_a_key_behind_its_value_and_unknown_fields():
    """Any order is protobuf, and what is newer than this program stays."""
    pair = field(2, field(1, b"web")) + field(1, b"pod")
    point = field(7, pair) + field(99, b"new")
    metric = field(1, b"m") + field(5, field(1, point) + field(98, b"data")) + field(97, b"metric")
    batch = otlp.decode(Signal.METRICS, field(1, field(2, field(2, metric)) + field(96, b"group")))
    sink = Sink()
    asyncio.run(GroupByAttrs(Config(keys=("pod",)), None, sink).consume(batch))
    (group,) = sink.batches[0].groups
    assert group.resource.attributes == {"pod": "web"}
    assert pair not in group.scopes[0]
    assert all(
        field(number, text) in b"".join(group.scopes)
        for number, text in ((99, b"new"), (98, b"data"), (97, b"metric"), (96, b"group"))
    )


def test_few_bytes_do_not_become_many():
    """A large resource, and every point of another pod."""
    big = {"x": "x" * 50_000}
    request = build([(big, [("m", "gauge", [{"pod": str(n)} for n in range(3000)])])])
    batch = otlp.decode(Signal.METRICS, request.SerializeToString())
    with pytest.raises(Refused, match="send smaller ones") as refused:
        asyncio.run(GroupByAttrs(Config(keys=("pod",)), None, Sink()).consume(batch))
    assert refused.value.code == "too_large"


def test_malformed_points_are_refused():
    inside = field(1, b"\xff") + field(1, field(7, field(1, b"pod")))
    group = Group(Resource(b""), (field(2, field(2, field(5, inside))),), 1)
    with pytest.raises(Refused, match="malformed"):
        asyncio.run(GroupByAttrs(Config(keys=("pod",)), None, Sink()).consume(Batch(Signal.METRICS, [group])))
