"""The protobuf exposition, encoded here by the library's own classes."""

import asyncio

import pytest

from hawse.batch import Batch, Signal
from hawse.codecs.exposition import Exposition, ExpositionError, LimitExceeded, Limits, Settings
from hawse.codecs.exposition.protobuf import _messages
from hawse.codecs.prometheus_series import series
from hawse.wire import varint
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

NOW = 1_700_000_000_000_000_000
TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
TARGET = {"job": "j", "instance": "i"}


def body(*families):
    out = []
    for family in families:
        raw = _messages()["Family"](**family).SerializeToString()
        out.append(varint(len(raw)) + raw)
    return b"".join(out)


def read(exposition, raw, at=NOW):
    return asyncio.run(exposition.read(raw, TYPE, at))


def plainly(groups):
    return {
        tuple(sorted((k, v) for k, v in labels.items() if k not in TARGET)): value
        for labels, value, _ in series(Batch(Signal.METRICS, groups))
    }


def otlp(groups):
    request = ExportMetricsServiceRequest.FromString(Batch(Signal.METRICS, groups).encode())
    return {m.name: m for group in request.resource_metrics for scope in group.scope_metrics for m in scope.metrics}


CREATED = {"seconds": 1_600_000_000, "nanos": 500_000_000}
NATIVE = {
    "count": 12,
    "sum": 18.4,
    "schema": 1,
    "zero_threshold": 0.001,
    "zero_count": 2,
    "positive_span": [{"offset": 0, "length": 2}, {"offset": 1, "length": 2}],
    "positive_delta": [1, 1, -1, 0],
    "negative_span": [{"offset": 0, "length": 2}],
    "negative_delta": [2, 1],
}
CLASSIC = [{"count": 3, "bound": 0.5}, {"count": 12, "bound": 5.0}]


def test_all_types_but_native_histograms():
    label = [{"name": "x", "value": 'a"\\\n'}]
    raw = body(
        {"name": "c_total", "help": "Counts\nthings", "type": 0, "metric": [
            {"label": label, "counter": {"value": 5, "created": CREATED, "exemplar": {
                "value": 2, "label": [{"name": "trace_id", "value": "0af7651916cd43dd8448eb211c80319c"}]}}}]},
        {"name": "g", "type": 1, "metric": [{"gauge": {"value": -0.5}, "timestamp": 1_600_000_000_123}]},
        {"name": "s", "type": 2, "metric": [
            {"summary": {"count": 3, "sum": 4.5, "quantile": [{"quantile": 1, "value": 2}]}}]},
        {"name": "u", "type": 3, "metric": [{"untyped": {"value": float("inf")}}]},
        {"name": "h", "type": 4, "unit": "seconds", "metric": [
            {"histogram": {"count": 12, "sum": 18, "bucket": CLASSIC}}]},
        {"name": "gh", "type": 5, "metric": [{"histogram": {"count": 12, "sum": 18, "bucket": CLASSIC}}]},
    )  # fmt: skip
    exposition = Exposition({}, TARGET)
    for _ in range(2):
        scraped = read(exposition, raw)
        assert plainly(scraped.groups) == {
            (("__name__", "c_total"), ("x", 'a"\\\n')): 5,
            (("__name__", "g"),): -0.5,
            (("__name__", "s"), ("quantile", "1.0")): 2,
            (("__name__", "s_sum"),): 4.5,
            (("__name__", "s_count"),): 3,
            (("__name__", "u"),): float("inf"),
            (("__name__", "h_bucket"), ("le", "0.5")): 3,
            (("__name__", "h_bucket"), ("le", "5.0")): 12,
            (("__name__", "h_bucket"), ("le", "+Inf")): 12,
            (("__name__", "h_sum"),): 18,
            (("__name__", "h_count"),): 12,
            (("__name__", "gh_bucket"), ("le", "0.5")): 3,
            (("__name__", "gh_bucket"), ("le", "5.0")): 12,
            (("__name__", "gh_bucket"), ("le", "+Inf")): 12,
            (("__name__", "gh_gsum"),): 18,
            (("__name__", "gh_gcount"),): 12,
        }
        metrics = otlp(scraped.groups)
        (point,) = metrics["c_total"].sum.data_points
        assert point.start_time_unix_nano == 1_600_000_000_500_000_000
        assert point.exemplars[0].trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert metrics["c_total"].description == "Counts\nthings"
        assert metrics["g"].gauge.data_points[0].time_unix_nano == 1_600_000_000_123_000_000


def test_native_histograms():
    raw = body({"name": "n", "help": "H", "type": 4, "metric": [{"histogram": {**NATIVE, "bucket": CLASSIC}}]})
    exposition = Exposition({}, TARGET)
    scraped = read(exposition, raw)
    assert (scraped.samples, scraped.kept, scraped.groups[-1].items) == (1, 1, 1)
    (point,) = otlp(scraped.groups)["n"].exponential_histogram.data_points
    assert (point.count, point.sum, point.scale, point.zero_count, point.zero_threshold) == (12, 18.4, 1, 2, 0.001)
    assert (point.positive.offset, list(point.positive.bucket_counts)) == (-1, [1, 2, 0, 1, 1])
    assert (point.negative.offset, list(point.negative.bucket_counts)) == (-1, [2, 3])
    assert point.start_time_unix_nano == point.time_unix_nano == NOW
    again = otlp(read(exposition, raw, NOW + 10**9).groups)["n"].exponential_histogram.data_points[0]
    assert (again.start_time_unix_nano, again.time_unix_nano) == (NOW, NOW + 10**9)
    (gone,) = otlp(read(exposition, b"", NOW + 2 * 10**9).groups)["n"].exponential_histogram.data_points
    assert gone.flags == 1
    assert exposition.stale(NOW) == ()


def test_both_kinds_where_asked_for():
    raw = body({"name": "n", "type": 4, "metric": [{"histogram": {**NATIVE, "bucket": CLASSIC}}]})
    exposition = Exposition({}, TARGET, None, Settings(scrape_classic_histograms=True))
    scraped = read(exposition, raw)
    assert sum(group.items for group in scraped.groups) == 2
    assert len(exposition.stale(NOW)) == 2


def test_too_many_buckets_are_merged_until_they_fit():
    raw = body({"name": "n", "type": 4, "metric": [{"histogram": NATIVE}]})
    exposition = Exposition({}, TARGET, None, Settings(limits=Limits(bucket=5)))
    (point,) = otlp(read(exposition, raw).groups)["n"].exponential_histogram.data_points
    # (2^-½,1] has 1, (1,2^½] 2, (2,2^1½] 1, (2^1½,4] 1, which are (½,1], (1,2], (2,4] one schema coarser.
    assert (point.scale, point.positive.offset, list(point.positive.bucket_counts)) == (0, -1, [1, 2, 2])
    assert list(point.negative.bucket_counts) == [2, 3]
    with pytest.raises(LimitExceeded, match="native_histogram_bucket_limit: 'n' has more than 1 buckets"):
        read(Exposition({}, TARGET, None, Settings(limits=Limits(bucket=1))), raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x05\x0a", "family 1 at byte 0 ends behind the body"),
        (b"\x02\x0a\x05", "family 1 at byte 0 is malformed"),
        (body({"name": "x", "type": 9}), "family 1 \\('x'\\): there is no type 9"),
        (
            body({"name": "n", "type": 4, "metric": [{"histogram": {**NATIVE, "positive_delta": [1]}}]}),
            "positive spans",
        ),
    ],
)
def test_what_is_malformed_is_said(raw, reason):
    with pytest.raises(ExpositionError, match=reason):
        read(Exposition({}, TARGET), raw)


def test_native_histograms_are_new_once_also_after_a_failed_scrape_and_dropped_ones_are_neither_kept_nor_new():
    def relabel(labels):
        return None if labels["__name__"] == "dropped" else labels

    raw = body(*({"name": name, "type": 4, "metric": [{"histogram": NATIVE}]} for name in ("n", "dropped")))
    exposition = Exposition({}, TARGET, relabel)
    first = read(exposition, raw)
    assert (first.samples, first.kept, first.added) == (2, 1, 1)
    assert read(exposition, raw, NOW + 1).added == 0
    assert len(exposition.stale(NOW + 2)) == 1
    assert exposition.stale(NOW + 3) == ()
    back = read(exposition, raw, NOW + 10**9)
    assert back.added == 0
    assert otlp(back.groups)["n"].exponential_histogram.data_points[0].start_time_unix_nano == NOW
    assert read(exposition, b"", NOW + 2 * 10**9).added == 0
    assert read(exposition, raw, NOW + 3 * 10**9).added == 1
