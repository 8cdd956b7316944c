"""Prometheus' messages for remote read and write (prometheus/prompb, types.proto and remote.proto), for upb.

Written from the format, apart from `hawse.codecs`: what judges our codecs must not share their mistakes.
"""

from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

# message → field: (number, type). "*" repeats; a capital letter begins a message's name.
_MESSAGES = {
    "Label": {"name": (1, "string"), "value": (2, "string")},
    "Sample": {"value": (1, "double"), "timestamp": (2, "int64")},
    "Exemplar": {"labels": (1, "Label*"), "value": (2, "double"), "timestamp": (3, "int64")},
    "BucketSpan": {"offset": (1, "sint32"), "length": (2, "uint32")},
    "Histogram": {
        "count_int": (1, "uint64"), "count_float": (2, "double"), "sum": (3, "double"), "schema": (4, "sint32"),
        "zero_threshold": (5, "double"), "zero_count_int": (6, "uint64"), "zero_count_float": (7, "double"),
        "negative_spans": (8, "BucketSpan*"), "negative_deltas": (9, "sint64*"), "negative_counts": (10, "double*"),
        "positive_spans": (11, "BucketSpan*"), "positive_deltas": (12, "sint64*"), "positive_counts": (13, "double*"),
        "reset_hint": (14, "int32"), "timestamp": (15, "int64"), "custom_values": (16, "double*"),
    },
    "TimeSeries": {
        "labels": (1, "Label*"), "samples": (2, "Sample*"), "exemplars": (3, "Exemplar*"),
        "histograms": (4, "Histogram*"),
    },
    "MetricMetadata": {"type": (1, "int32"), "metric_family_name": (2, "string"), "help": (4, "string"), "unit": (5, "string")},
    "WriteRequest": {"timeseries": (1, "TimeSeries*"), "metadata": (3, "MetricMetadata*")},
    "LabelMatcher": {"type": (1, "int32"), "name": (2, "string"), "value": (3, "string")},
    "Query": {"start_timestamp_ms": (1, "int64"), "end_timestamp_ms": (2, "int64"), "matchers": (3, "LabelMatcher*")},
    "ReadRequest": {"queries": (1, "Query*"), "accepted_response_types": (2, "int32*")},
    "QueryResult": {"timeseries": (1, "TimeSeries*")},
    "ReadResponse": {"results": (1, "QueryResult*")},
}  # fmt: skip


@cache
def message(name):
    """The class of a message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"prometheus.{name}"))


@cache
def _pool():
    file = descriptor_pb2.FileDescriptorProto(name="prompb.proto", package="prometheus", syntax="proto3")
    for name, fields in _MESSAGES.items():
        made = file.message_type.add(name=name)
        for field, (number, type_) in fields.items():
            plain = type_.removesuffix("*")
            label = _Field.LABEL_REPEATED if type_ != plain else _Field.LABEL_OPTIONAL
            added = made.field.add(name=field, number=number, label=label)
            if plain[0].isupper():
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".prometheus.{plain}"
            else:
                added.type = _Field.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
