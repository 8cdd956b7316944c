"""Histograms without buckets."""

import asyncio
from collections import Counter

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Refused
from hawse.processors.dropbuckets import Config, DropBuckets
from hawse.values import Regex
from hawse.wire import field


class Context:
    def __init__(self):
        self.ledger = self
        self.rules = Counter()

    def filtered(self, group, rule):
        self.rules[rule] += group.items


class Sink:
    def __init__(self):
        self.batches = []

    async def consume(self, batch):
        self.batches.append(batch)


def put(target, attributes):
    for key, value in attributes.items():
        target.add(key=key).value.string_value = value


def run(request, keep="^$"):
    context, sink = Context(), Sink()
    batch = otlp.decode(Signal.METRICS, request.SerializeToString())
    asyncio.run(DropBuckets(Config(keep=Regex.parse(keep)), context, sink).consume(batch))
    assert sum(one.items for one in sink.batches) + sum(context.rules.values()) == batch.items
    left = ExportMetricsServiceRequest()
    left.MergeFromString(b"".join(one.encode() for one in sink.batches))
    return [
        metric for group in left.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
    ], context.rules


def histogram(request, name="latency", temporality=2, sums=(1.5, 3.0)):
    group = request.resource_metrics.add()
    group.resource.SetInParent()
    metric = group.scope_metrics.add().metrics.add(name=name, unit="s", description="how long")
    put(metric.metadata, {"prometheus.type": "histogram", "prometheus.le": "0.1,1,+Inf"})
    metric.histogram.aggregation_temporality = temporality
    for number, sum_ in enumerate(sums):
        point = metric.histogram.data_points.add(
            start_time_unix_nano=1,
            time_unix_nano=2 + number,
            count=6,
            sum=sum_,
            bucket_counts=[1, 2, 3],
            explicit_bounds=[0.1, 1],
            min=0.1,
            max=2,
        )
        put(point.attributes, {"route": f"/{number}"})
        point.exemplars.add(as_double=0.5)
    return metric


def test_a_cumulative_histogram_becomes_sum_and_count():
    request = ExportMetricsServiceRequest()
    histogram(request)
    (metric,), rules = run(request)
    assert (metric.name, metric.unit, metric.description) == ("latency", "s", "how long")
    assert {one.key: one.value.string_value for one in metric.metadata} == {"prometheus.type": "summary"}
    assert metric.WhichOneof("data") == "summary"
    for number, point in enumerate(metric.summary.data_points):
        assert (point.start_time_unix_nano, point.time_unix_nano, point.count, point.sum) == (
            1,
            2 + number,
            6,
            (1.5, 3.0)[number],
        )
        assert [(one.key, one.value.string_value) for one in point.attributes] == [("route", f"/{number}")]
        assert not point.quantile_values
    assert not rules


def test_a_stale_marker_stays_one():
    request = ExportMetricsServiceRequest()
    point = histogram(request).histogram.data_points[0]
    point.ClearField("sum")
    point.flags = 1
    (metric,), _ = run(request)
    assert [one.flags for one in metric.summary.data_points] == [1, 0]


@pytest.mark.parametrize("what", ["delta", "no sum"])
def test_what_cannot_be_a_summary_stays_a_histogram(what):
    request = ExportMetricsServiceRequest()
    made = histogram(request, temporality=1 if what == "delta" else 2)
    if what == "no sum":
        made.histogram.data_points[1].ClearField("sum")
    (metric,), _ = run(request)
    assert metric.histogram.aggregation_temporality == made.histogram.aggregation_temporality
    for point, before in zip(metric.histogram.data_points, made.histogram.data_points, strict=True):
        assert (point.count, point.HasField("sum")) == (6, before.HasField("sum"))
        assert not (
            point.bucket_counts
            or point.explicit_bounds
            or point.exemplars
            or point.HasField("min")
            or point.HasField("max")
        )
    assert [one.key for one in metric.metadata] == ["prometheus.type"]


def series(request, name, *labels):
    group = request.resource_metrics.add()
    group.resource.SetInParent()
    metric = group.scope_metrics.add().metrics.add(name=name)
    for attributes in labels:
        put(metric.gauge.data_points.add(as_double=1).attributes, attributes)
    return metric


def test_single_series_are_dropped_and_counted():
    request = ExportMetricsServiceRequest()
    series(request, "x_bucket", {"le": "1"}, {"le": "+Inf", "a": "b"}, {"no": "le"})
    series(request, "x_sum", {})
    series(request, "y_bucket", {"le": "1"})
    series(request, "z_buckets", {"le": "1"})
    metrics, rules = run(request)
    assert [(metric.name, len(metric.gauge.data_points)) for metric in metrics] == [
        ("x_bucket", 1),
        ("x_sum", 1),
        ("z_buckets", 1),
    ]
    assert rules == {"keep": 3}


def test_names_that_are_kept():
    request = ExportMetricsServiceRequest()
    histogram(request, "apiserver_request_duration_seconds")
    series(request, "apiserver_request_duration_seconds_bucket", {"le": "1"})
    histogram(request, "other")
    metrics, rules = run(request, "^apiserver_request_duration_seconds$")
    assert [metric.WhichOneof("data") for metric in metrics] == ["histogram", "gauge", "summary"]
    assert list(metrics[0].histogram.data_points[0].bucket_counts) == [1, 2, 3]
    assert not rules


@pytest.mark.parametrize("keep", [".*", "", "latency|x"])
def test_where_all_is_kept_nothing_is_touched(keep):
    request = ExportMetricsServiceRequest()
    histogram(request)
    series(request, "x_bucket", {"le": "1"})
    batch = otlp.decode(Signal.METRICS, request.SerializeToString())
    sink = Sink()
    asyncio.run(DropBuckets(Config(keep=Regex.parse(keep)), Context(), sink).consume(batch))
    assert sink.batches[0].groups == batch.groups


def test_other_metrics_keep_their_bytes():
    request = ExportMetricsServiceRequest()
    series(request, "up", {"a": "b"})
    request.resource_metrics[0].scope_metrics[0].metrics.add(name="native").exponential_histogram.data_points.add(
        count=1
    )
    request.resource_metrics[0].scope_metrics[0].metrics.add(name="q").summary.data_points.add(count=1)
    sink = Sink()
    batch = otlp.decode(Signal.METRICS, request.SerializeToString())
    asyncio.run(DropBuckets(Config(), Context(), sink).consume(batch))
    assert sink.batches[0].groups == batch.groups


def test_malformed_metrics_are_refused():
    group = Group(Resource(b""), (field(2, field(2, field(1, b"x") + field(9, b"\xff"))),), 1)
    with pytest.raises(Refused, match="malformed"):
        asyncio.run(DropBuckets(Config(), Context(), Sink()).consume(Batch(Signal.METRICS, [group])))


def test_only_metrics():
    from hawse.processors.dropbuckets import factory

    assert factory.signals == {Signal.METRICS}
