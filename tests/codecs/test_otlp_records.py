"""Records against OpenTelemetry's own descriptors, in every legal spelling, and against hostile bytes."""

import math

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2

from hawse import wire
from hawse.batch import Group, Resource
from hawse.codecs import otlp_records
from hawse.codecs.otlp_records import as_text, bodies, log_records, log_scopes

TEXT = st.text(max_size=140).map(lambda text: text.encode("utf-8", "replace").decode())
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=40),
    st.none(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=6)
U64 = st.integers(0, 2**64 - 1)
RECORDS = st.fixed_dictionaries(
    {
        "time_unix_nano": U64,
        "observed_time_unix_nano": U64,
        "severity_number": st.integers(0, 24),
        "severity_text": TEXT,
        "body": VALUES,
        "attributes": ATTRIBUTES,
        "trace_id": st.sampled_from([b"", bytes(range(16))]),
        "span_id": st.sampled_from([b"", bytes(range(8))]),
        "flags": st.integers(0, 2**32 - 1),
        "event_name": TEXT,
    }
)


def any_value(value):
    if value is None:
        return common_pb2.AnyValue()
    if isinstance(value, bool):
        return common_pb2.AnyValue(bool_value=value)
    if isinstance(value, str):
        return common_pb2.AnyValue(string_value=value)
    if isinstance(value, int):
        return common_pb2.AnyValue(int_value=value)
    if isinstance(value, float):
        return common_pb2.AnyValue(double_value=value)
    if isinstance(value, bytes):
        return common_pb2.AnyValue(bytes_value=value)
    if isinstance(value, list):
        return common_pb2.AnyValue(array_value=common_pb2.ArrayValue(values=map(any_value, value)))
    return common_pb2.AnyValue(kvlist_value=common_pb2.KeyValueList(values=pairs(value)))


def pairs(attributes):
    return [common_pb2.KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def resource_logs(records, scope="", version="", attributes=None, schema_url=""):
    message = logs_pb2.ResourceLogs(schema_url=schema_url)
    logs = message.scope_logs.add()
    logs.scope.name, logs.scope.version = scope, version
    logs.scope.attributes.extend(pairs(attributes or {}))
    for record in records:
        fields = dict(record)
        body = any_value(fields.pop("body"))
        logs.log_records.add(**{**fields, "attributes": pairs(fields["attributes"]), "body": body})
    return message


def group_of(data, items=0):
    return Group(Resource(b""), (data,), items)


def loose(message: Message, stretch: int) -> bytes:
    """The message with every length and varint spelled `stretch` bytes longer than needed, and every unset plain
    field of a LogRecord written out."""
    out = b""
    for number, kind, _, start, end in wire.walk(data := message.SerializeToString()):
        field = message.DESCRIPTOR.fields_by_number[number]
        tag = stretched(number << 3 | kind, stretch)
        if kind == wire.LENGTH and field.message_type is not None:
            inner = field.message_type._concrete_class.FromString(data[start:end])
            payload = loose(inner, stretch)
            out += tag + stretched(len(payload), stretch) + payload
        elif kind == wire.LENGTH:
            out += tag + stretched(end - start, stretch) + data[start:end]
        elif kind == wire.VARINT:
            out += tag + stretched(wire.read_varint(data, start, end)[0], stretch, 10)
        else:
            out += tag + data[start:end]
    if message.DESCRIPTOR.name == "LogRecord":
        # Defaults first: what follows wins. Unknown field 100 is skipped.
        out = b"\x10\x00\x1a\x00\x4a\x00\x62\x00" + b"\x09" + bytes(8) + b"\xa2\x06\x01x" + out
    return out


def stretched(value: int, by: int, most: int = 5) -> bytes:
    """A varint with padding, of at most `most` bytes: 5 is what protobuf's own parser takes for tags and lengths."""
    plain = bytearray(wire.varint(value))
    room = max(0, min(by, most - len(plain)))
    if room:
        plain[-1] |= 128
        plain += b"\x80" * (room - 1) + b"\x00"
    return bytes(plain)


def expected(record, scope, version):
    return otlp_records.LogRecord(
        **{**record, "trace_id": record["trace_id"].hex(), "span_id": record["span_id"].hex()},
        scope_name=scope,
        scope_version=version,
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(RECORDS, max_size=5), TEXT, TEXT, ATTRIBUTES, st.integers(0, 4))
def test_every_field_in_every_spelling(records, scope, version, attributes, stretch):
    message = resource_logs(records, scope, version, attributes, "https://opentelemetry.io/schemas/1.27.0")
    group = group_of(loose(message, stretch))
    assert list(log_records(group)) == [expected(record, scope, version) for record in records]
    (found,) = log_scopes(group)
    assert (found.name, found.version, found.attributes) == (scope, version, attributes)
    assert found.schema_url == "https://opentelemetry.io/schemas/1.27.0"
    assert bodies(group) == [as_text(record["body"]).encode() for record in records]


def test_scopes_cut_into_pieces_of_a_shared_buffer():
    data = resource_logs([plain("one"), plain("two")]).SerializeToString()
    view = memoryview(bytearray(data))
    group = Group(Resource(b""), tuple(view[at : at + 7] for at in range(0, len(data), 7)), 2)
    records = list(log_records(group))
    view[:] = bytes(len(data))  # the buffer is its owner's again
    assert [record.body for record in records] == ["one", "two"]


def plain(body, **fields):
    empty = {
        "time_unix_nano": 0,
        "observed_time_unix_nano": 0,
        "severity_number": 0,
        "severity_text": "",
        "attributes": {},
        "trace_id": b"",
        "span_id": b"",
        "flags": 0,
        "event_name": "",
    }
    return {**empty, "body": body, **fields}


def test_text_that_is_not_utf8_keeps_its_record():
    record = wire.field(5, wire.field(1, b"caf\xe9 \xff")) + wire.field(
        6, wire.field(1, b"k\xff") + wire.field(2, b"\x0a\x01\xfe")
    )
    record += wire.field(3, b"\xe9")
    group = group_of(wire.field(2, wire.field(2, record)))
    (found,) = log_records(group)
    assert (found.body, found.attributes, found.severity_text) == ("caf� �", {"k�": "�"}, "�")
    assert bodies(group) == [b"caf\xe9 \xff"]


def test_the_last_of_a_repeated_key_counts_and_known_attributes_are_found_again():
    pair = wire.field(6, wire.encode_attribute("k", "a")) + wire.field(6, wire.encode_attribute("k", "b"))
    group = group_of(wire.field(2, wire.field(2, pair)))
    for _ in range(2):
        assert [record.attributes for record in log_records(group)] == [{"k": "b"}]


def test_values_that_could_be_modified_are_not_shared_between_records():
    group = group_of(resource_logs([plain("a", attributes={"k": ["x"]})] * 2).SerializeToString())
    first, second = log_records(group)
    first.attributes["k"].append("y")
    assert second.attributes == {"k": ["x"]}
    assert [record.attributes for record in log_records(group)] == [{"k": ["x"]}] * 2


def test_memory_for_known_attributes_is_bounded():
    records = [plain("", attributes={"k": number}) for number in range(3 * otlp_records._SEEN_MOST)]
    group = group_of(resource_logs(records).SerializeToString())
    assert [record.attributes["k"] for record in log_records(group)] == list(range(len(records)))
    assert len(otlp_records._seen) <= otlp_records._SEEN_MOST


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (-7, "-7"),
        (1.5, "1.5"),
        (3.0, "3"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (b"\x00\xff", "AP8="),
        ({"a": [1, "ä"], "b": None}, '{"a":[1,"ä"],"b":null}'),
    ],
)
def test_values_as_text(value, text):
    assert as_text(value) == text


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=120))
def test_hostile_bytes_give_records_or_a_wire_error(data):
    for read in (bodies, lambda group: list(log_records(group))):
        for group in (group_of(data), group_of(wire.field(2, wire.field(2, data)))):
            try:
                read(group)
            except wire.WireError:
                pass


def test_a_value_nested_without_end_is_an_error_not_a_crash():
    value = b""
    for _ in range(5000):
        value = wire.field(5, wire.field(1, value))
    with pytest.raises(wire.WireError):
        list(log_records(group_of(wire.field(2, wire.field(2, wire.field(5, value))))))
