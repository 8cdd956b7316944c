"""OTLP metrics as Prometheus series, against the plain way of `series_oracle`."""

import importlib.util
import math
import random
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.prometheus_series import Settings, series
from hawse.codecs.prometheus_series_names import label_name, metric_name, number, unit_name
from hawse.codecs.prometheus_series_points import STALE, Native
from hawse.wire import WireError, encode_attributes, field


def _load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


oracle = _load("series_oracle")
quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def decoded(request):
    return otlp.decode(Signal.METRICS, request.SerializeToString())


def told(value):
    """A native histogram as the oracle gives it."""
    if not isinstance(value, Native):
        return value
    return {
        "count": None if value.stale else value.count, "sum": oracle.STALE if value.stale else value.sum,
        "schema": value.schema, "zero": value.zero_count, "threshold": value.zero_threshold,
        "positive": oracle.spread(value.positive_spans, value.positive_deltas),
        "negative": oracle.spread(value.negative_spans, value.negative_deltas),
    }  # fmt: skip


@quick
@given(oracle.requests())
def test_series_are_those_of_the_specification(request):
    for options, choices in (
        ({}, Settings()),
        ({"suffixes": False, "target_info": False}, Settings(add_metric_suffixes=False, target_info=False)),
        (
            {"namespace": "ns", "external": {"cluster": "c", "code": "none"}, "scope_labels": True},
            Settings(namespace="ns", external_labels={"cluster": "c", "code": "none"}, scope_labels=True),
        ),
    ):
        wanted, _ = oracle.expected(request, **options)
        got = [(labels, told(value), time) for labels, value, time in series(decoded(request), choices)]
        assert oracle.comparable(got) == oracle.comparable(wanted)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.005, "0.005"), (1e-5, "1e-05"), (0.0001, "0.0001"), (5, "5"), (100_000, "100000"), (1e6, "1e+06"), (-0.25, "-0.25"),
        (1_234_567, "1.234567e+06"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (0, "0"), (1e300, "1e+300"),
        (5e-324, "5e-324"), (123_456.789, "123456.789"), (2.5, "2.5"), (10, "10"), (1.5e-5, "1.5e-05"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_go_writes_them(value, text):
    assert number(value) == text


def test_numbers_keep_their_value():
    chance = random.Random(1)
    for _ in range(5000):
        value = struct.unpack("<d", chance.randbytes(8))[0]
        if math.isfinite(value):
            assert float(number(value)) == value
            assert number(value) == oracle.go(value)


@pytest.mark.parametrize(
    ("name", "unit", "type_", "namespace", "wanted"),
    [
        ("requests", "1/s", "counter", "app", "app_requests_per_second_total"),
        ("system.filesystem.usage", "By", "gauge", "", "system_filesystem_usage_bytes"),
        ("(lambda).function.executions(#)", "", "gauge", "", "lambda_function_executions"),
        ("system.memory.utilization", "1", "gauge", "", "system_memory_utilization_ratio"),
        ("cpu_seconds_total", "s", "counter", "", "cpu_seconds_total"),
        ("fan", "unit@with#special/chars", "gauge", "", "fan_unit_with_special_per_chars"),
        ("network.dropped", "{packets}", "gauge", "", "network_dropped"),
        ("123_requests", "", "gauge", "", "_123_requests"),
        ("size", "TiBy", "gauge", "", "size_tebibytes"),
        ("@#$%", "", "gauge", "", ""),
    ],
)
def test_names(name, unit, type_, namespace, wanted):
    assert metric_name(name, unit, type_, namespace, suffixes=True) == wanted


def test_names_of_labels_and_units():
    keys = ["http.method", "1st", "_x", "__name__", "é", "", "a..b", "job"]
    assert [label_name(key) for key in keys] == [
        "http_method", "key_1st", "key_x", "key_name_", "key_", "key_", "a_b", "job",
    ]  # fmt: skip
    assert unit_name("By/s") == "bytes_per_second"
    assert unit_name("{packets}") == ""


def metric(name, **data):
    request = oracle.ExportMetricsServiceRequest()
    made = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    for key, value in data.items():
        setattr(made, key, value)
    return request, made


def test_what_came_from_prometheus_is_verbatim():
    request, made = metric("a:b__c_total", unit="By")
    made.metadata.add(key="prometheus.type").value.string_value = "counter"
    made.sum.aggregation_temporality = 2
    point = made.sum.data_points.add(as_double=1, time_unix_nano=5_000_000)
    for key in ("_x", "a__b", "ü", "empty"):
        point.attributes.add(key=key).value.string_value = "" if key == "empty" else "v"
    assert list(series(decoded(request))) == [({"__name__": "a:b__c_total", "_x": "v", "a__b": "v", "ü": "v"}, 1.0, 5)]


def test_created_and_exemplars_of_nothing():
    request, made = metric("c_total")
    made.metadata.add(key="prometheus.type").value.string_value = "counter"
    made.sum.aggregation_temporality = 2
    made.sum.is_monotonic = True
    made.sum.data_points.add(as_int=3, time_unix_nano=9_000_000_000, start_time_unix_nano=1_500_000_000)
    got = list(series(decoded(request), Settings(created=True)))
    assert [(labels["__name__"], value) for labels, value, _ in got] == [("c_total", 3.0), ("c_created", 1.5)]


def test_resource_attributes_as_labels():
    request, made = metric("up")
    made.gauge.data_points.add(as_int=1, time_unix_nano=1_000_000)
    for key, value in (("service.name", "api"), ("k8s.pod.name", "p")):
        request.resource_metrics[0].resource.attributes.add(key=key).value.string_value = value
    ((labels, *_),) = series(decoded(request), Settings(resource_labels=True, target_info=False))
    assert labels == {"__name__": "up", "job": "api", "k8s_pod_name": "p", "service_name": "api"}
    ((labels, *_),) = series(
        decoded(request), Settings(resource_labels=True, exclude_service_attributes=True, target_info=False)
    )
    assert labels == {"__name__": "up", "job": "api", "k8s_pod_name": "p"}


def test_a_stale_marker_has_prometheus_own_bits():
    request, made = metric("up")
    made.gauge.data_points.add(time_unix_nano=1_000_000, flags=1)
    ((_, value, _),) = series(decoded(request))
    assert struct.pack("<d", value) == struct.pack("<d", STALE) == bytes.fromhex("020000000000f07f")


def test_wide_gaps_between_buckets_make_spans():
    request, made = metric("h")
    made.exponential_histogram.aggregation_temporality = 2
    point = made.exponential_histogram.data_points.add(count=6, time_unix_nano=1)
    point.positive.offset = -3
    point.positive.bucket_counts[:] = [1, 0, 0, 2, 0, 0, 0, 3]
    ((_, value, _),) = series(decoded(request))
    assert (value.positive_spans, value.positive_deltas) == (((-2, 4), (3, 1)), (1, -1, 0, 2, 1))


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_malformed_is_an_error(at):
    request, made = metric("up", description="d" * 20)
    made.gauge.data_points.add(as_int=1, time_unix_nano=1).attributes.add(key="k").value.string_value = "v"
    whole = request.resource_metrics[0].scope_metrics[0].SerializeToString()
    cut = field(2, whole[: max(1, len(whole) - 1 - at)])
    batch = Batch(Signal.METRICS, [Group(Resource(encode_attributes({"service.name": "x"})), (cut,), 1)])
    try:
        list(series(batch))
    except WireError as error:
        assert "malformed" in str(error) or "message" in str(error) or "byte" in str(error)
