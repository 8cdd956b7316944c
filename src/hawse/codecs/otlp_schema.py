"""OTLP's messages as a table: the one place from which descriptors and the JSON codec are made.

Field names, numbers and types are those of opentelemetry-proto 1.10 (`common`, `resource`, `logs`, `metrics`,
`trace`, each `v1`); a test holds the table against the published descriptors.
"""

from functools import cache

import msgspec

_TABLE = """
common.AnyValue: 1 string string_value|value, 2 bool bool_value|value, 3 int64 int_value|value,
    4 double double_value|value, 5 ArrayValue array_value|value, 6 KeyValueList kvlist_value|value,
    7 bytes bytes_value|value, 8 int32 string_value_strindex|value
common.ArrayValue: 1 AnyValue values*
common.KeyValueList: 1 KeyValue values*
common.KeyValue: 1 string key, 2 AnyValue value, 3 int32 key_strindex
common.InstrumentationScope: 1 string name, 2 string version, 3 KeyValue attributes*,
    4 uint32 dropped_attributes_count
common.EntityRef: 1 string schema_url, 2 string type, 3 string id_keys*, 4 string description_keys*
resource.Resource: 1 KeyValue attributes*, 2 uint32 dropped_attributes_count, 3 EntityRef entity_refs*

logs.LogsData: 1 ResourceLogs resource_logs*
logs.ResourceLogs: 1 Resource resource, 2 ScopeLogs scope_logs*, 3 string schema_url
logs.ScopeLogs: 1 InstrumentationScope scope, 2 LogRecord log_records*, 3 string schema_url
logs.LogRecord: 1 fixed64 time_unix_nano, 11 fixed64 observed_time_unix_nano, 2 SeverityNumber severity_number,
    3 string severity_text, 5 AnyValue body, 6 KeyValue attributes*, 7 uint32 dropped_attributes_count,
    8 fixed32 flags, 9 bytes trace_id, 10 bytes span_id, 12 string event_name

metrics.MetricsData: 1 ResourceMetrics resource_metrics*
metrics.ResourceMetrics: 1 Resource resource, 2 ScopeMetrics scope_metrics*, 3 string schema_url
metrics.ScopeMetrics: 1 InstrumentationScope scope, 2 Metric metrics*, 3 string schema_url
metrics.Metric: 1 string name, 2 string description, 3 string unit, 5 Gauge gauge|data, 7 Sum sum|data,
    9 Histogram histogram|data, 10 ExponentialHistogram exponential_histogram|data, 11 Summary summary|data,
    12 KeyValue metadata*
metrics.Gauge: 1 NumberDataPoint data_points*
metrics.Sum: 1 NumberDataPoint data_points*, 2 AggregationTemporality aggregation_temporality, 3 bool is_monotonic
metrics.Histogram: 1 HistogramDataPoint data_points*, 2 AggregationTemporality aggregation_temporality
metrics.ExponentialHistogram: 1 ExponentialHistogramDataPoint data_points*,
    2 AggregationTemporality aggregation_temporality
metrics.Summary: 1 SummaryDataPoint data_points*
metrics.NumberDataPoint: 7 KeyValue attributes*, 2 fixed64 start_time_unix_nano, 3 fixed64 time_unix_nano,
    4 double as_double|value, 6 sfixed64 as_int|value, 5 Exemplar exemplars*, 8 uint32 flags
metrics.HistogramDataPoint: 9 KeyValue attributes*, 2 fixed64 start_time_unix_nano, 3 fixed64 time_unix_nano,
    4 fixed64 count, 5 double sum?, 6 fixed64 bucket_counts*, 7 double explicit_bounds*, 8 Exemplar exemplars*,
    10 uint32 flags, 11 double min?, 12 double max?
metrics.ExponentialHistogramDataPoint: 1 KeyValue attributes*, 2 fixed64 start_time_unix_nano,
    3 fixed64 time_unix_nano, 4 fixed64 count, 5 double sum?, 6 sint32 scale, 7 fixed64 zero_count,
    8 ExponentialHistogramDataPoint.Buckets positive, 9 ExponentialHistogramDataPoint.Buckets negative,
    10 uint32 flags, 11 Exemplar exemplars*, 12 double min?, 13 double max?, 14 double zero_threshold
metrics.ExponentialHistogramDataPoint.Buckets: 1 sint32 offset, 2 uint64 bucket_counts*
metrics.SummaryDataPoint: 7 KeyValue attributes*, 2 fixed64 start_time_unix_nano, 3 fixed64 time_unix_nano,
    4 fixed64 count, 5 double sum, 6 SummaryDataPoint.ValueAtQuantile quantile_values*, 8 uint32 flags
metrics.SummaryDataPoint.ValueAtQuantile: 1 double quantile, 2 double value
metrics.Exemplar: 7 KeyValue filtered_attributes*, 2 fixed64 time_unix_nano, 3 double as_double|value,
    6 sfixed64 as_int|value, 4 bytes span_id, 5 bytes trace_id

trace.TracesData: 1 ResourceSpans resource_spans*
trace.ResourceSpans: 1 Resource resource, 2 ScopeSpans scope_spans*, 3 string schema_url
trace.ScopeSpans: 1 InstrumentationScope scope, 2 Span spans*, 3 string schema_url
trace.Span: 1 bytes trace_id, 2 bytes span_id, 3 string trace_state, 4 bytes parent_span_id, 16 fixed32 flags,
    5 string name, 6 Span.SpanKind kind, 7 fixed64 start_time_unix_nano, 8 fixed64 end_time_unix_nano,
    9 KeyValue attributes*, 10 uint32 dropped_attributes_count, 11 Span.Event events*,
    12 uint32 dropped_events_count, 13 Span.Link links*, 14 uint32 dropped_links_count, 15 Status status
trace.Span.Event: 1 fixed64 time_unix_nano, 2 string name, 3 KeyValue attributes*, 4 uint32 dropped_attributes_count
trace.Span.Link: 1 bytes trace_id, 2 bytes span_id, 3 string trace_state, 4 KeyValue attributes*,
    5 uint32 dropped_attributes_count, 6 fixed32 flags
trace.Status: 2 string message, 3 Status.StatusCode code
"""

_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")  # four each: TRACE, TRACE2, TRACE3, TRACE4

# Enum names by message type name, in the order of their numbers from 0.
ENUMS: dict[str, tuple[str, ...]] = {
    "logs.SeverityNumber": (
        "SEVERITY_NUMBER_UNSPECIFIED",
        *(f"SEVERITY_NUMBER_{name}{number}" for name in _SEVERITIES for number in ("", 2, 3, 4)),
    ),
    "metrics.AggregationTemporality": tuple(
        f"AGGREGATION_TEMPORALITY_{name}" for name in ("UNSPECIFIED", "DELTA", "CUMULATIVE")
    ),
    "trace.Span.SpanKind": tuple(
        f"SPAN_KIND_{name}" for name in ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
    ),
    "trace.Status.StatusCode": tuple(f"STATUS_CODE_{name}" for name in ("UNSET", "OK", "ERROR")),
}

PACKAGES = ("common", "resource", "logs", "metrics", "trace")


class Field(msgspec.Struct, frozen=True):
    """A field. `type` is protobuf's scalar name, or the key of a message in MESSAGES or of an enum in ENUMS."""

    number: int
    type: str
    name: str
    repeated: bool = False
    optional: bool = False
    oneof: str = ""


@cache
def messages() -> dict[str, tuple[Field, ...]]:
    """All messages by name (`logs.LogRecord`), with their fields in the order of the table."""
    lines = _TABLE.replace(",\n   ", ",").replace(":\n   ", ":").split("\n")
    heads = [(name, fields) for name, _, fields in (line.partition(":") for line in lines if line)]
    known = {*ENUMS, *(name for name, _ in heads)}
    return {name: tuple(_field(text, name, known) for text in fields.split(",")) for name, fields in heads}


def _field(text: str, message: str, known: set[str]) -> Field:
    number, type_, rest = text.split()
    name, _, oneof = rest.partition("|")
    package = message.partition(".")[0]
    found = next((full for of in (package, "common", "resource") if (full := f"{of}.{type_}") in known), type_)
    return Field(
        int(number), found, name.rstrip("*?"), repeated=name.endswith("*"), optional=name.endswith("?"), oneof=oneof
    )
