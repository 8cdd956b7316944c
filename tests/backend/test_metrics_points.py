"""OTLP's data points in the backend: whatever the layout, the samples are those that were sent."""

import math
import sqlite3
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from hawse.backend.metrics.points import Decoder
from hawse.backend.metrics.registry import Registry
from hawse.backend.metrics.samples import stale
from hawse.backend.schema import METRICS
from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.wire import WireError, field
from tests.backend.metric_points import attributes_first, decoded, decoded_bytes, filled, group_of, memory, same, told

CUMULATIVE = 2
values = st.one_of(st.floats(width=64), st.integers(-(2**53), 2**53))
points = st.tuples(
    st.sampled_from(["", "a", "b" * 130, "\x11\x40\x19"]),  # label
    st.integers(0, 2**62),  # start
    st.integers(1, 2**62),  # time
    values,
    st.sampled_from([0, 1]),  # flags
    st.booleans(),  # exemplar
)


@pytest.fixture
def registry():
    connection = memory()
    yield Registry(connection, 0)
    connection.close()


@given(found=st.lists(points, min_size=1, max_size=12), monotonic=st.booleans())
def test_numbers_as_protobuf_writes_them(found, monotonic):
    connection = memory()
    registry = Registry(connection, 0)
    group, metric = group_of(name="m")
    data = metric.sum if monotonic else metric.gauge
    for one in found:
        filled(data.data_points.add(), *one)
    same(decoded(registry, group), told(found))
    same(decoded(registry, group), told(found))  # known by now
    connection.close()


@given(found=st.lists(points, min_size=1, max_size=12))
def test_numbers_with_attributes_first_and_flags(found):
    connection = memory()
    registry = Registry(connection, 0)
    data = b"".join(field(1, attributes_first(*one)) for one in found)
    raw = field(1, field(2, field(2, field(1, b"m") + field(5, data))))
    for _ in range(2):
        same(decoded_bytes(registry, raw), told(found))
    connection.close()


@pytest.mark.parametrize("when", [2**63 - 1, 2**63, 2**64 - 1])
def test_times_beyond_what_is_kept(registry, when):
    group, metric = group_of(name="m")
    filled(metric.gauge.data_points.add(), "x", 0, when, 1.0, 0, False)
    for _ in range(2):
        assert decoded(registry, group)[0][2] == 2**63 - 1
    metric.gauge.data_points[0].time_unix_nano = 0
    assert decoded(registry, group)[0][2] > 10**18  # none: that of arrival


def test_known_points_are_not_decoded_again(registry, monkeypatch):
    group, metric = group_of(name="m")
    for number in range(5):
        filled(metric.gauge.data_points.add(), f"x{number}", 0, 10 + number, number + 0.5, 0, False)
    decoded(registry, group)
    monkeypatch.setattr(Decoder, "_slowly", None)
    assert [value for *_, value in decoded(registry, group)] == [0.5, 1.5, 2.5, 3.5, 4.5]


def test_histograms_are_named_as_prometheus_names_them(registry):
    group, metric = group_of(name="h")
    metric.histogram.aggregation_temporality = CUMULATIVE
    metric.histogram.data_points.add(
        time_unix_nano=9, count=10, sum=4.5, explicit_bounds=[0.005, 1, 1e6], bucket_counts=[1, 2, 3, 4]
    )
    for _ in range(2):
        assert decoded(registry, group) == [
            ("h_bucket", '{"le":"0.005"}', 9, 1.0),
            ("h_bucket", '{"le":"1"}', 9, 3.0),
            ("h_bucket", '{"le":"1e+06"}', 9, 6.0),
            ("h_bucket", '{"le":"+Inf"}', 9, 10.0),
            ("h_count", "{}", 9, 10.0),
            ("h_sum", "{}", 9, 4.5),
        ]
    metric.histogram.data_points[0].flags = 1
    assert {value for *_, value in decoded(registry, group)} == {None}


def test_bounds_keep_the_text_that_they_came_as(registry):
    group, metric = group_of(name="h")
    metric.metadata.add(key="prometheus.le").value.string_value = "1.0,+Inf"
    metric.histogram.data_points.add(time_unix_nano=9, count=2, explicit_bounds=[1], bucket_counts=[1, 1])
    assert [labels for _, labels, *_ in decoded(registry, group)] == ['{"le":"1.0"}', '{"le":"+Inf"}', "{}"]


def test_histograms_without_buckets_or_of_too_many(registry):
    group, metric = group_of(name="h")
    metric.histogram.data_points.add(time_unix_nano=9, count=7, sum=1)
    metric.histogram.data_points.add(
        time_unix_nano=10, count=3, explicit_bounds=list(range(3000)), bucket_counts=[1] * 3001
    ).attributes.add(key="l").value.string_value = "x"
    assert decoded(registry, group) == [
        ("h_bucket", '{"le":"+Inf"}', 9, 7.0),
        ("h_count", "{}", 9, 7.0),
        ("h_sum", "{}", 9, 1.0),
        ("h_bucket", '{"l":"x","le":"+Inf"}', 10, 3.0),
        ("h_count", '{"l":"x"}', 10, 3.0),
    ]


def test_exponential_histograms_have_the_buckets_that_hold_something(registry):
    group, metric = group_of(name="e")
    point = metric.exponential_histogram.data_points.add(time_unix_nano=9, count=12, sum=3.5, scale=1, zero_count=2)
    point.positive.offset, point.positive.bucket_counts[:] = 1, [3, 0, 4]
    point.negative.offset, point.negative.bucket_counts[:] = 0, [1, 2]
    found = decoded(registry, group)
    bounds = [(labels.partition('le":"')[2][:-2], value) for name, labels, _, value in found if name == "e_bucket"]
    # Scale 1: bounds are powers of √2. Negative ones, greatest magnitude first; zero; positive ones; all.
    assert [(round(float(bound), 4), value) for bound, value in bounds] == [
        (-1.4142, 2),
        (-1, 3),
        (0, 5),
        (2, 8),
        (4, 12),
        (math.inf, 12),
    ]
    assert [(name, value) for name, _, _, value in found[-2:]] == [("e_count", 12.0), ("e_sum", 3.5)]


@pytest.mark.parametrize("scale", [-(2**31), 2**31 - 1])
def test_absurd_scales_are_survived(registry, scale):
    group, metric = group_of(name="e")
    point = metric.exponential_histogram.data_points.add(time_unix_nano=9, count=1, scale=scale)
    point.positive.offset, point.positive.bucket_counts[:] = 2**31 - 5, [1]
    assert decoded(registry, group)


def test_summaries(registry):
    group, metric = group_of(name="s")
    point = metric.summary.data_points.add(time_unix_nano=9, count=3, sum=6)
    point.quantile_values.add(quantile=0.5, value=1.5)
    point.quantile_values.add(quantile=1, value=3)
    assert decoded(registry, group) == [
        ("s", '{"quantile":"0.5"}', 9, 1.5),
        ("s", '{"quantile":"1"}', 9, 3.0),
        ("s_count", "{}", 9, 3.0),
        ("s_sum", "{}", 9, 6.0),
    ]


def test_types_are_those_of_prometheus(registry):
    for number, (kind, told_type, monotonic, temporality, wanted) in enumerate(
        [
            ("gauge", "", False, 0, "gauge"),
            ("sum", "", True, 2, "counter"),
            ("sum", "", True, 1, "gauge"),
            ("sum", "", False, 2, "gauge"),
            ("sum", "stateset", False, 2, "stateset"),
            ("gauge", "unknown", False, 0, "unknown"),
            ("histogram", "", False, 2, "histogram"),
        ]
    ):
        group, metric = group_of(name=f"m{number}", unit="s", description="about it")
        if told_type:
            metric.metadata.add(key="prometheus.type").value.string_value = told_type
        data = getattr(metric, kind)
        if kind == "sum":
            data.is_monotonic, data.aggregation_temporality = monotonic, temporality
        data.data_points.add(time_unix_nano=1)
        decoded(registry, group)
        assert registry._new_metrics[-1][2:] == (wanted, "s", "about it")


@given(st.binary(max_size=60))
def test_malformed_points_are_an_error_and_nothing_else(raw):
    connection = memory()
    registry = Registry(connection, 0)
    for kind in (5, 7, 9, 10, 11):
        try:
            decoded_bytes(registry, field(1, field(2, field(2, field(1, b"m") + field(kind, field(1, raw))))))
        except (WireError, ValueError):
            pass
    connection.close()


def test_series_beyond_the_limit_are_rejected_and_the_known_ones_go_on():
    connection = memory()
    registry = Registry(connection, 2)
    group, metric = group_of(name="m")
    for number in range(5):
        filled(metric.gauge.data_points.add(), f"x{number}", 0, 10, 1.0, 0, False)
    decoder = Decoder(registry)
    for _ in range(2):
        for one in otlp.decode(
            Signal.METRICS, ExportMetricsServiceRequest(resource_metrics=[group]).SerializeToString()
        ).groups:
            decoder.read(one)
    samples = decoder.samples()
    assert (len(samples), samples.points, samples.rejected, len(registry)) == (4, 4, 6, 2)
    connection.close()


def test_what_decoders_have_learnt_is_bounded(registry, monkeypatch):
    monkeypatch.setattr("hawse.backend.metrics.registry._LEARNT", 10)
    for number in range(100):
        group, metric = group_of(name=f"m{number}")
        filled(metric.gauge.data_points.add(), "x", 0, 10, 1.0, 0, False)
        decoded(registry, group)
    learnt = sum(len(known) for origin in registry._origins.values() for known in origin.learnt.values())
    assert learnt <= 10
    assert len(registry) == 100
