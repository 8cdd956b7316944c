"""Data points that Prometheus has as several series: `x_bucket` with `le`, `x_sum`, `x_count`; `x` with `quantile`.

For each kind: how one point is taken apart. `parts` are pairs of a name's suffix and, for buckets and quantiles, the
shortest text of the bound; they are the same for all points of a series, but those of exponential histograms, whose
buckets come and go. Bucket counts are cumulative, as in Prometheus.
"""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any

from hawse.codecs.otlp_descriptors import message
from hawse.codecs.prometheus_series_names import number

Parts = tuple[tuple[str, str], ...]
_PACKAGE = "opentelemetry.proto.metrics.v1."
_MOST_BUCKETS = 2000  # of a point; of one that has more, the sum and the count are kept
_shortest = lru_cache(4096)(number)


class Expander:
    """How points of a kind are taken apart."""

    type: str  # the message
    attributes: int  # its field of attributes
    label: str  # for the bound
    metadata: str  # where a metric keeps the bounds' texts as they came, if they are not the shortest ones

    def message(self) -> Any:
        """The message's class."""
        return message(_PACKAGE + self.type, text_as_bytes=True)

    def parts(self, point: Any) -> tuple[Parts, list[float]]:
        """The series that a point is, and a value for each."""
        raise NotImplementedError

    def texts(self, metadata: Mapping[str, Any], parts: Parts) -> list[str]:
        """The label's value for each part, "" where it has none."""
        own = [text for _, text in parts]
        verbatim = str(metadata.get(self.metadata) or "").split(",")
        bounds = sum(map(bool, own))
        if len(verbatim) != bounds or not all(verbatim):
            return own
        texts = iter(verbatim)
        return [next(texts) if text else "" for text in own]


class Histogram(Expander):
    """Explicit bounds."""

    type, attributes, label, metadata = "HistogramDataPoint", 9, "le", "prometheus.le"

    def parts(self, point: Any) -> tuple[Parts, list[float]]:
        """See Expander."""
        bounds = tuple(point.explicit_bounds) if len(point.explicit_bounds) <= _MOST_BUCKETS else ()
        counts = list(accumulate(point.bucket_counts))
        values = [float(count) for count in counts] or [float(point.count)]  # without buckets: +Inf alone
        values = [*values[: len(bounds)], *[values[-1]] * (len(bounds) - len(values)), float(point.count)]
        parts = _classic(bounds, with_sum=point.HasField("sum"))
        return parts, [*values, float(point.count), *([point.sum] if point.HasField("sum") else [])]


@lru_cache(1024)  # the same bounds come with each point
def _classic(bounds: tuple[float, ...], *, with_sum: bool) -> Parts:
    buckets = [("_bucket", _shortest(bound)) for bound in bounds] + [("_bucket", "+Inf")]
    return (*buckets, ("_count", ""), *([("_sum", "")] if with_sum else []))


class ExponentialHistogram(Expander):
    """Bounds that are powers of 2^(2^-scale). Buckets that hold something have a series, with their upper bound."""

    type, attributes, label, metadata = "ExponentialHistogramDataPoint", 1, "le", ""

    def parts(self, point: Any) -> tuple[Parts, list[float]]:
        """See Expander."""
        found = sorted(_exponential(point))
        totals = accumulate(count for _, count in found)
        parts = [("_bucket", number(bound)) for bound, _ in found] + [("_bucket", "+Inf"), ("_count", "")]
        values = [*map(float, totals), float(point.count), float(point.count)]
        if point.HasField("sum"):
            parts.append(("_sum", ""))
            values.append(point.sum)
        return tuple(parts), values


def _exponential(point: Any) -> Iterator[tuple[float, int]]:
    """Upper bound and count of each bucket that holds something, but the last one's."""
    if len(point.positive.bucket_counts) + len(point.negative.bucket_counts) > _MOST_BUCKETS:
        return
    for at, count in enumerate(point.negative.bucket_counts):
        if count:
            yield -_bound(point.scale, point.negative.offset + at), count
    if point.zero_count:
        yield max(0.0, point.zero_threshold), point.zero_count
    for at, count in enumerate(point.positive.bucket_counts):
        if count and (bound := _bound(point.scale, point.positive.offset + at + 1)) < math.inf:
            yield bound, count


def _bound(scale: int, index: int) -> float:
    """The lower bound of a bucket: 2^(index · 2^-scale)."""
    exponent = math.ldexp(float(index), -min(max(scale, -32), 32))
    return 2.0**exponent if exponent < 1024 else math.inf


class Summary(Expander):
    """Quantiles."""

    type, attributes, label, metadata = "SummaryDataPoint", 7, "quantile", "prometheus.quantile"

    def parts(self, point: Any) -> tuple[Parts, list[float]]:
        """See Expander."""
        quantiles = [(pair.quantile, pair.value) for pair in point.quantile_values]
        parts = [("", _shortest(quantile)) for quantile, _ in quantiles]
        return (*parts, ("_count", ""), ("_sum", "")), [
            *[value for _, value in quantiles],
            float(point.count),
            point.sum,
        ]


EXPANDERS: dict[str, Expander] = {
    "histogram": Histogram(),
    "exponential_histogram": ExponentialHistogram(),
    "summary": Summary(),
}
