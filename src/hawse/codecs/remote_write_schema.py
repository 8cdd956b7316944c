"""Prometheus' remote write messages for upb, for series that are not of the common form.

Sources: prometheus/prometheus, `prompb/types.proto` and `prompb/remote.proto` (1.0), and
`prompb/io/prometheus/write/v2/types.proto` (2.0, up to 2.0-rc.4, which has moved the created timestamp from the series
into samples and histograms). Text is read as bytes: it is for us to say which series is no UTF-8, not for upb to
refuse the request.
"""

from functools import cache
from typing import Any

from hawse.codecs.descriptors import classes

_TABLE = """\
BucketSpan: 1 sint32 offset, 2 uint32 length
Histogram: 1 uint64 count_int|count, 2 double count_float|count, 3 double sum, 4 sint32 schema,
    5 double zero_threshold, 6 uint64 zero_count_int|zero_count, 7 double zero_count_float|zero_count,
    8 BucketSpan negative_spans*, 9 sint64 negative_deltas*, 10 double negative_counts*,
    11 BucketSpan positive_spans*, 12 sint64 positive_deltas*, 13 double positive_counts*, 14 uint32 reset_hint,
    15 int64 timestamp, 16 double custom_values*, 17 int64 start_timestamp
Sample: 1 double value, 2 int64 timestamp, 3 int64 start_timestamp
Label: 1 bytes name, 2 bytes value
Exemplar1: 1 Label labels*, 2 double value, 3 int64 timestamp
Metadata1: 1 uint32 type, 2 bytes metric_family_name, 4 bytes help, 5 bytes unit
TimeSeries1: 1 Label labels*, 2 Sample samples*, 3 Exemplar1 exemplars*, 4 Histogram histograms*
Exemplar2: 1 uint32 labels_refs*, 2 double value, 3 int64 timestamp
Metadata2: 1 uint32 type, 3 uint32 help_ref, 4 uint32 unit_ref
TimeSeries2: 1 uint32 labels_refs*, 2 Sample samples*, 3 Histogram histograms*, 4 Exemplar2 exemplars*,
    5 Metadata2 metadata, 6 int64 created_timestamp
Tail2: 5 Metadata2 metadata, 6 int64 created_timestamp
Request2: 4 bytes symbols*, 5 bytes timeseries*
"""

# MetricType of MetricMetadata (1.0) and Metadata (2.0), which agree; what is behind them is unknown, too.
TYPES = ("unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset")
GAUGE_HINT = 3  # Histogram.ResetHint of a histogram that may go down


@cache
def _classes() -> dict[str, Any]:
    return classes("hawse.remote_write", _TABLE)


def message(name: str) -> Any:
    """The class of a message by its name in the table; those of version 1.0 end in 1, of 2.0 in 2."""
    return _classes()[name]
