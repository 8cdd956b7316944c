"""OTLP's metrics decoded as far as series need it, by upb (opentelemetry-proto, `metrics/v1/metrics.proto`).

Attributes stay the bytes of their messages, since the same come with every scrape and are looked up, and so do points,
which most often need no decoding at all. Text is declared as bytes: upb would refuse a whole message for a stray one.
"""

from functools import cache
from typing import Any, NamedTuple

from hawse.codecs.descriptors import classes

# Message: its fields, as `descriptors` has them.
_LAYOUT = {
    "Exemplar": "7 bytes attributes*, 2 fixed64 time, 3 double as_double|value, 6 sfixed64 as_int|value, "
    "4 bytes span_id, 5 bytes trace_id",
    "Number": "7 bytes attributes*, 2 fixed64 start, 3 fixed64 time, 4 double as_double|value, "
    "6 sfixed64 as_int|value, 5 Exemplar exemplars*, 8 uint32 flags",
    "Histogram": "9 bytes attributes*, 2 fixed64 start, 3 fixed64 time, 4 fixed64 count, 5 double sum?, "
    "6 fixed64 bucket_counts*, 7 double explicit_bounds*, 8 Exemplar exemplars*, 10 uint32 flags",
    "Buckets": "1 sint32 offset, 2 uint64 bucket_counts*",
    "Exponential": "1 bytes attributes*, 2 fixed64 start, 3 fixed64 time, 4 fixed64 count, 5 double sum?, "
    "6 sint32 scale, 7 fixed64 zero_count, 8 Buckets positive, 9 Buckets negative, 10 uint32 flags, "
    "11 Exemplar exemplars*, 14 double zero_threshold",
    "Quantile": "1 double quantile, 2 double value",
    "Summary": "7 bytes attributes*, 2 fixed64 start, 3 fixed64 time, 4 fixed64 count, 5 double sum, "
    "6 Quantile quantile_values*, 8 uint32 flags",
    "Points": "1 bytes data_points*, 2 int32 aggregation_temporality, 3 bool is_monotonic",
    "Metric": "1 bytes name, 2 bytes description, 3 bytes unit, 5 Points gauge|data, 7 Points sum|data, "
    "9 Points histogram|data, 10 Points exponential|data, 11 Points summary|data, 12 bytes metadata*",
    "Scope": "1 bytes name, 2 bytes version",
    "Scopes": "1 Scope scope, 2 bytes metrics*",
    "Group": "2 Scopes scopes*",
}


class Messages(NamedTuple):
    """The classes. `Group` takes a group's scopes, `Metric` what is in `Scopes.metrics`, the rest what is in points."""

    Group: Any
    Metric: Any
    Number: Any
    Histogram: Any
    Exponential: Any
    Summary: Any


@cache
def messages() -> Messages:
    """Made when first needed."""
    found = classes("hawse.series", "\n".join(f"{name}: {fields}" for name, fields in _LAYOUT.items()))
    return Messages(*(found[name] for name in Messages._fields))
