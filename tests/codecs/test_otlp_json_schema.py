"""The table of OTLP's messages equals what OpenTelemetry publishes."""

from importlib.metadata import version

from google.protobuf import descriptor_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from hawse.codecs.otlp_descriptors import _file, message


def _shape(proto, prefix):
    """Message and enum names, with all that is on the wire or in JSON."""
    found = {}
    for each in proto.message_type if isinstance(proto, descriptor_pb2.FileDescriptorProto) else proto.nested_type:
        oneofs = [one.name for one in each.oneof_decl]
        found[prefix + each.name] = {
            (f.number, f.name, f.type, f.type_name, f.label, oneofs[f.oneof_index] if f.HasField("oneof_index") else "")
            for f in each.field
        }
        found |= _shape(each, f"{prefix}{each.name}.")
    for each in proto.enum_type:
        if not each.name.endswith("Flags"):  # masks for bit fields, no field has their type
            found[prefix + each.name] = [(value.name, value.number) for value in each.value]
    return found


def test_the_table_equals_the_published_descriptors():
    for package, module in (
        ("common", common_pb2),
        ("resource", resource_pb2),
        ("logs", logs_pb2),
        ("metrics", metrics_pb2),
        ("trace", trace_pb2),
    ):
        published = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(published)
        ours, theirs = _shape(_file(package), ""), _shape(published, "")
        if tuple(map(int, version("opentelemetry-proto").split(".")[:2])) > (1, 45):
            theirs = {  # a newer one may have more: that is no reason to fail, but what we have must be right
                name: type(known)(item for item in theirs[name] if item in known) for name, known in ours.items()
            }
        assert ours == theirs


def test_messages_live_beside_the_published_ones():
    ours = message("opentelemetry.proto.logs.v1.ResourceLogs")
    theirs = logs_pb2.ResourceLogs()
    record = theirs.scope_logs.add().log_records.add(time_unix_nano=1 << 63, severity_number=17)
    record.body.string_value = "hello"
    parsed = ours.FromString(theirs.SerializeToString())
    assert parsed.scope_logs[0].log_records[0].body.string_value == "hello"
    assert parsed.SerializeToString() == theirs.SerializeToString()
