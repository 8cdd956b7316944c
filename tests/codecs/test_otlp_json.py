"""OTLP in JSON, held against protobuf's own JSON mapping of OpenTelemetry's own descriptors."""

import base64
import json
import math
import struct

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from hawse.batch import Batch, Signal
from hawse.codecs import otlp, otlp_json
from hawse.wire import WireError

ROOTS = {Signal.LOGS: LogsData, Signal.METRICS: MetricsData, Signal.TRACES: TracesData}
IDS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
ID_KEYS = {"traceId", "spanId", "parentSpanId", *IDS}

SCALARS = {
    F.TYPE_STRING: st.text(max_size=8),
    F.TYPE_BOOL: st.booleans(),
    F.TYPE_BYTES: st.binary(max_size=9),
    F.TYPE_DOUBLE: st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, math.inf, -math.inf]),
    F.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    F.TYPE_SINT32: st.integers(-(2**31), 2**31 - 1),
    F.TYPE_UINT32: st.integers(0, 2**32 - 1),
    F.TYPE_FIXED32: st.integers(0, 2**32 - 1),
    F.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    F.TYPE_SFIXED64: st.integers(-(2**63), 2**63 - 1),
    F.TYPE_UINT64: st.integers(0, 2**64 - 1),
    F.TYPE_FIXED64: st.integers(0, 2**64 - 1),
}


@st.composite
def filled(draw, cls, depth=0):
    """Any message of a class, from its descriptor: nothing here knows OTLP."""
    made = cls()
    fields = list(cls.DESCRIPTOR.fields)
    for field in draw(st.lists(st.sampled_from(fields), unique=True, max_size=6)) if depth > 2 else fields:
        if field.message_type is not None:
            if depth > 7 or (depth and not draw(st.booleans())):
                continue
            inner = filled(_class(field), depth + 1)
            if field.is_repeated:
                getattr(made, field.name).extend(draw(st.lists(inner, max_size=2)))
            else:
                getattr(made, field.name).CopyFrom(draw(inner))
            continue
        scalar = _scalar(field)
        if field.is_repeated:
            getattr(made, field.name).extend(draw(st.lists(scalar, max_size=3)))
        elif draw(st.booleans()):
            setattr(made, field.name, draw(scalar))
    return made


def _class(field):
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(field.message_type)


def _scalar(field):
    if field.name in IDS:
        return st.just(b"") | st.binary(min_size=IDS[field.name], max_size=IDS[field.name])
    if field.type == F.TYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.type]


def hexed(value):
    """Protobuf's JSON to OTLP's: ids in hexadecimal."""
    if isinstance(value, list):
        return [hexed(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in ID_KEYS and isinstance(item, str) else hexed(item)
            for key, item in value.items()
        }
    return value


fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
any_request = st.sampled_from(list(Signal)).flatmap(lambda signal: st.tuples(st.just(signal), filled(ROOTS[signal])))


@fuzz
@given(any_request, st.booleans(), st.booleans(), st.booleans())
def test_reads_what_protobufs_mapping_writes(request, proto_names, numbers, defaults):
    signal, message = request
    document = json_format.MessageToDict(
        message,
        preserving_proto_field_name=proto_names,
        use_integers_for_enums=numbers,
        always_print_fields_with_no_presence=defaults,
    )
    batch = otlp_json.decode(signal, json.dumps(hexed(document)).encode())
    assert ROOTS[signal].FromString(batch.encode()) == _only_groups(message)


@fuzz
@given(any_request)
def test_writes_what_protobufs_mapping_writes(request):
    signal, message = request
    batch = otlp.decode(signal, message.SerializeToString())
    written = json.loads(otlp_json.encode(batch))
    assert written == hexed(json_format.MessageToDict(_only_groups(message), use_integers_for_enums=True))


def _only_groups(message):
    """A group always has a resource on our wire, be it empty: that is the one difference."""
    copy = type(message).FromString(message.SerializeToString())
    for group in next((list(value) for _, value in copy.ListFields()), []):
        group.resource.SetInParent()
    return copy


def log(record):
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()


def one(record):
    batch = otlp_json.decode(Signal.LOGS, log(record))
    assert batch.items == 1
    return LogsData.FromString(batch.encode()).resource_logs[0].scope_logs[0].log_records[0]


def test_takes_what_clients_write():
    read = one(
        {
            "timeUnixNano": 1544712660300000000,
            "observed_time_unix_nano": "1544712660300000001",
            "severityNumber": "SEVERITY_NUMBER_ERROR",
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "eee19b7ec3c1b174",
            "flags": 1.0,
            "body": {"bytesValue": "-_8"},
            "attributes": [
                {"key": "n", "value": {"doubleValue": "NaN"}},
                {"key": "i", "value": {"intValue": -1}},
                {"key": "none", "value": None},
                {"key": "zero", "value": {"intValue": "0"}},
            ],
            "droppedAttributesCount": None,
            "somethingNew": {"nested": [1, 2]},
        }
    )
    assert (read.time_unix_nano, read.observed_time_unix_nano) == (1544712660300000000, 1544712660300000001)
    assert (read.severity_number, read.flags) == (17, 1)
    assert read.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert read.body.bytes_value == b"\xfb\xff"
    assert math.isnan(read.attributes[0].value.double_value)
    assert read.attributes[1].value.int_value == -1
    assert read.attributes[3].value.WhichOneof("value") == "int_value"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "the request: expected an object, got []"),
        (b'{"resourceLogs": {}}', "resourceLogs: expected an array, got {}"),
        (log({"traceId": "zz"}), "resourceLogs[0].scopeLogs[0].logRecords[0].traceId: expected 32 hexadecimal digits"),
        (log({"timeUnixNano": "-1"}), 'timeUnixNano: "-1" is not between 0 and 18446744073709551615'),
        (log({"timeUnixNano": True}), "expected an integer, got true"),
        (log({"timeUnixNano": 1.5}), "expected an integer, got 1.5"),
        (log({"severityNumber": "LOUD"}), "expected one of SEVERITY_NUMBER_UNSPECIFIED"),
        (log({"severityText": 5}), "severityText: expected text, got 5"),
        (log({"body": {"bytesValue": "*"}}), 'body.bytesValue: expected base64, got "*"'),
        (log({"body": {"boolValue": "true"}}), "expected true or false"),
        (log({"body": {"doubleValue": "much"}}), "expected a number"),
        (log({"body": []}), "body: expected an object, got []"),
    ],
)
def test_says_where_a_request_is_wrong(document, says):
    with pytest.raises(WireError) as caught:
        otlp_json.decode(Signal.LOGS, document)
    assert says in str(caught.value)


@pytest.mark.parametrize("depth", [60, 500, 100_000])
def test_nesting_ends(depth):
    text = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    with pytest.raises(WireError, match="nests|not JSON"):
        otlp_json.decode(
            Signal.LOGS, f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{text}}}]}}]}}]}}'.encode()
        )


@fuzz
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from("resourceLogs scopeLogs logRecords body attributes key value traceId intValue".split()),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_batch_or_an_error(document):
    try:
        batch = otlp_json.decode(Signal.LOGS, json.dumps(document).encode())
    except WireError:
        return
    LogsData.FromString(batch.encode())


def test_text_that_is_not_utf8_is_written_with_replacement():
    data = LogsData()
    data.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "a?b"
    raw = data.SerializeToString().replace(b"a?b", b"a\xffb")
    written = json.loads(otlp_json.encode(otlp.decode(Signal.LOGS, raw)))
    assert written["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"] == {"stringValue": "a�b"}


def test_malformed_records_are_an_error_when_written():
    bad = otlp.decode(Signal.LOGS, b"\x0a\x06\x12\x04\x12\x02\x2a\x7f")  # a body that ends behind its record
    assert bad.items == 1
    with pytest.raises(WireError, match="malformed logs request"):
        otlp_json.encode(bad)


def test_not_a_number_is_text_in_json():
    data = MetricsData()
    data.resource_metrics.add().scope_metrics.add().metrics.add().gauge.data_points.add().as_double = math.nan
    written = otlp_json.encode(Batch(Signal.METRICS, otlp.decode(Signal.METRICS, data.SerializeToString()).groups))
    assert b'"asDouble":"NaN"' in written
    again = MetricsData.FromString(otlp_json.decode(Signal.METRICS, written).encode())
    value = again.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].as_double
    assert struct.pack("<d", value) == struct.pack("<d", math.nan)
