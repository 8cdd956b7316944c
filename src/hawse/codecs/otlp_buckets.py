"""Histograms of OTLP without their buckets: sum and count, which Prometheus calls `x_sum` and `x_count`.

OTLP has two ways to say so. A Summary without quantiles is what every exporter writes as `x_sum` and `x_count` and
nothing else; a Histogram without bounds still becomes `x_bucket{le="+Inf"}` in most of them. So a cumulative histogram
becomes a Summary. One with delta temporality, which a Summary cannot have, or with a point that has no sum (there were
negative observations) stays a Histogram, without bounds. Exemplars, minimum and maximum go in either case.

Fields: opentelemetry-proto, `metrics/v1/metrics.proto`.
"""

from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from hawse.codecs.otlp_descriptors import message
from hawse.wire import WireError

_CUMULATIVE = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE
_NO_RECORDED_VALUE = 1  # a flag: the point is a stale marker, and has no sum
_TYPE, _LE = b"prometheus.type", b"prometheus.le"


@cache
def _class(name: str) -> Any:
    return message(f"opentelemetry.proto.metrics.v1.{name}", text_as_bytes=True)


def without_buckets(metric: bytes) -> bytes:
    """A Metric with its histogram reduced to sum and count. Other metrics stay. Raises WireError."""
    try:
        made = _class("Metric").FromString(metric)
    except DecodeError as error:
        raise WireError(f"malformed metric: {error}") from None
    if made.WhichOneof("data") != "histogram":
        return metric
    histogram = made.histogram
    if histogram.aggregation_temporality == _CUMULATIVE and all(map(_has_sum, histogram.data_points)):
        points = [_quantileless(point) for point in histogram.data_points]
        made.summary.SetInParent()  # in place of the histogram: they are a `oneof`
        made.summary.data_points.extend(points)
        _retype(made)
    else:
        for point in histogram.data_points:
            for field in ("bucket_counts", "explicit_bounds", "exemplars", "min", "max"):
                point.ClearField(field)
        _without(made, _LE)
    encoded: bytes = made.SerializeToString()
    return encoded


def _has_sum(point: Any) -> bool:
    return bool(point.HasField("sum") or point.flags & _NO_RECORDED_VALUE)


def _quantileless(point: Any) -> Any:
    """A SummaryDataPoint of a HistogramDataPoint."""
    return _class("SummaryDataPoint")(
        attributes=point.attributes,
        start_time_unix_nano=point.start_time_unix_nano,
        time_unix_nano=point.time_unix_nano,
        count=point.count,
        sum=point.sum,
        flags=point.flags,
    )


def _retype(metric: Any) -> None:
    """What Prometheus metadata says of the type must be right, too."""
    _without(metric, _LE)
    for pair in metric.metadata:
        if pair.key == _TYPE:
            pair.value.string_value = b"summary"


def _without(metric: Any, key: bytes) -> None:
    kept = [pair for pair in metric.metadata if pair.key != key]
    if len(kept) < len(metric.metadata):
        del metric.metadata[:]
        metric.metadata.extend(kept)
