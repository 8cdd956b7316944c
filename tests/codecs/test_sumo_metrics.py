"""Metrics as lines of Prometheus' text for a Sumo Logic HTTP source."""

import math
import re

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.prometheus_series_shares import Share
from hawse.codecs.sumo_metrics import Writer, groups
from hawse.wire import WireError

NOW = 1_700_000_000_123_456_789


def batch(make, **resource):
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    for key, value in resource.items():
        group.resource.attributes.add(key=key).value.string_value = value
    make(group.scope_metrics.add())
    return otlp.decode(Signal.METRICS, request.SerializeToString())


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def lines(made, writer=None):
    (group,) = made.groups
    lost = []
    headers, found, points = finished((writer or Writer()).lines(group, lost))
    return [line.decode() for line in found], headers, points, [(one.reason, one.points) for one in lost]


def test_numbers_labels_and_time():
    def make(scope):
        gauge = scope.metrics.add(name="http.server.load", unit="s").gauge
        gauge.data_points.add(as_double=0.5, time_unix_nano=NOW).attributes.add(
            key="http.method"
        ).value.string_value = 'G"E\\T\n'
        gauge.data_points.add(as_int=12, time_unix_nano=NOW)

    got, headers, points, lost = lines(
        batch(make, **{"k8s.pod.name": "p", "_sourceName": "n", "_sourceCategory": "c", "service.name": "api"})
    )
    assert got == [
        'http_server_load{http_method="G\\"E\\\\T\\n",job="api",k8s_pod_name="p"} 0.5 1700000000123',
        'http_server_load{job="api",k8s_pod_name="p"} 12 1700000000123',
    ]
    assert headers == {"X-Sumo-Name": "n", "X-Sumo-Category": "c"}
    assert (points, lost) == (2, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (1e15, "1000000000000000"),
        (-0.25, "-0.25"),
    ],
)
def test_numbers(value, text):
    got, *_ = lines(batch(lambda scope: scope.metrics.add(name="x").gauge.data_points.add(as_double=value)))
    assert got == [f"x {text} 0"]


def test_histograms_summaries_and_what_cannot_be_told():
    def make(scope):
        histogram = scope.metrics.add(name="h").histogram
        histogram.aggregation_temporality = 1  # deltas go as they are
        histogram.data_points.add(count=3, sum=4.5, bucket_counts=[1, 2], explicit_bounds=[0.5])
        scope.metrics.add(name="s").summary.data_points.add(count=2, sum=3).quantile_values.add(quantile=0.9, value=7)
        whole = scope.metrics.add(name="e").exponential_histogram
        whole.aggregation_temporality = 2
        whole.data_points.add(count=5, sum=6).positive.bucket_counts[:] = [5]
        scope.metrics.add(name="gone").gauge.data_points.add(flags=1)
        scope.metrics.add(name="none").gauge.data_points.add()
        scope.metrics.add(name="").gauge.data_points.add(as_int=1)

    got, _, points, lost = lines(batch(make))
    assert got == [
        'h_bucket{le="0.5"} 1 0', 'h_bucket{le="+Inf"} 3 0', "h_sum 4.5 0", "h_count 3 0",
        's{quantile="0.9"} 7 0', "s_sum 3 0", "s_count 2 0", "e_sum 6 0", "e_count 5 0",
    ]  # fmt: skip
    assert (points, lost) == (4, [("no_value", 1), ("no_name", 1)])


def test_what_is_remembered_is_bounded_and_does_no_harm():
    writer = Writer(most=5000)
    for turn in range(30):

        def make(scope, turn=turn):
            for at in range(5):
                point = scope.metrics.add(name=f"m{at}").gauge.data_points.add(as_int=turn)
                point.attributes.add(key="k").value.string_value = str(turn % 3)

        got, *_ = lines(batch(make, host=str(turn % 4)), writer)
        assert got == [f'm{at}{{host="{turn % 4}",k="{turn % 3}"}} {turn} 0' for at in range(5)]
        assert writer.cost <= 5000


def test_lines_come_back_by_resource():
    one, other = Resource.of({"a": "1"}).raw, Resource.of({"a": "2"}).raw
    found = groups(b'x{a="b c"} 1.5 5\ny 2 6\nz +Inf 7', [Share(one, 1, 2), Share(other, 1, 1)])
    assert [(group.resource.attributes["a"], group.items) for group in found] == [("1", 1), ("2", 1)]
    again = ExportMetricsServiceRequest.FromString(Batch(Signal.METRICS, found).encode())
    metrics = [metric for group in again.resource_metrics for metric in group.scope_metrics[0].metrics]
    assert [(metric.name, metric.gauge.data_points[0].as_double) for metric in metrics] == [
        ('x{a="b c"}', 1.5), ("y", 2), ("z", math.inf),
    ]  # fmt: skip


def test_malformed_is_an_error():
    with pytest.raises(WireError):
        finished(Writer().lines(Group(Resource(b""), (b"\x12\x05\x12",), 1), []))


def test_every_line_is_one():
    def make(scope):
        point = scope.metrics.add(name="a\nb").gauge.data_points.add(as_int=1)
        point.attributes.add(key="c\nd").value.string_value = "e\nf"

    got, *_ = lines(batch(make))
    assert re.fullmatch(r'a_b\{c_d="e\\nf"\} 1 0', got[0])

    def verbatim(scope):
        make(scope)
        scope.metrics[0].metadata.add(key="prometheus.type").value.string_value = "gauge"
        scope.metrics[0].gauge.data_points[0].attributes.add(key="c d").value.string_value = "g"

    got, *_ = lines(batch(verbatim))
    assert got == [r'a_b{c_d="e\nf;g"} 1 0']
