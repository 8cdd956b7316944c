"""OTLP's metrics in protobuf down to the data points, which stay bytes (opentelemetry-proto, `metrics/v1`)."""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Field number, name, type and whether it repeats; a type that begins with a capital is a message.
_ENVELOPES = {
    "Data": ((1, "points", "bytes", True), (2, "temporality", "int32", False), (3, "monotonic", "bool", False)),
    "Metric": (
        (1, "name", "bytes", False),
        (2, "description", "bytes", False),
        (3, "unit", "bytes", False),
        (12, "metadata", "bytes", True),
        (5, "gauge", "Data", False),
        (7, "sum", "Data", False),
        (9, "histogram", "Data", False),
        (10, "exponential_histogram", "Data", False),
        (11, "summary", "Data", False),
    ),
    "Scope": ((2, "metrics", "Metric", True),),
    "Group": ((2, "scopes", "Scope", True),),
}


@cache
def message_class(name: str) -> Any:
    """`Group` (a ResourceMetrics) or `Metric`, of which only the envelopes are known: points stay bytes."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"hawse.metrics.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="hawse.metrics.proto", package="hawse.metrics", syntax="proto3")
    for name, fields in _ENVELOPES.items():
        made = file.message_type.add(name=name)
        for number, own, kind, repeated in fields:
            added = made.field.add(name=own, number=number)
            added.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in _ENVELOPES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".hawse.metrics.{kind}"
            else:
                added.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
            if kind == "Data":  # the metric has one of these
                added.oneof_index = 0
    metric = next(found for found in file.message_type if found.name == "Metric")
    metric.oneof_decl.add(name="data")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
