"""Protocol Buffers by hand, held against Google's implementation."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from hawse import wire
from hawse.wire import WireError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
attributes = st.dictionaries(st.text(max_size=10), values, max_size=5)


def plain(value):
    """An AnyValue of Google's as Python."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return [plain(item) for item in found.values]
    if kind == "kvlist_value":
        return {item.key: plain(item.value) for item in found.values}
    return found


@given(attributes)
@settings(deadline=None)
def test_attributes_are_what_google_reads(given_):
    raw = wire.encode_attributes(given_)
    theirs = Resource.FromString(raw)
    assert {item.key: plain(item.value) for item in theirs.attributes} == given_
    assert wire.decode_attributes(theirs.SerializeToString()) == given_
    assert wire.decode_attributes(memoryview(raw)) == given_


@given(values)
@settings(deadline=None)
def test_values_both_ways(value):
    raw = wire.encode_value(value)
    assert plain(AnyValue.FromString(raw)) == value
    assert wire.decode_value(raw) == value


@given(st.integers(0, 2**64 - 1))
def test_varints(number):
    raw = wire.varint(number)
    assert wire.varint_size(number) == len(raw)
    assert wire.read_varint(raw + b"\xff", 0, len(raw)) == (number, len(raw))


def test_varints_that_are_none():
    with pytest.raises(WireError, match="more than ten bytes"):
        wire.read_varint(b"\xff" * 10 + b"\x01", 0, 11)
    for cut in (b"", b"\x80", b"\xff" * 9):
        with pytest.raises(WireError, match="ends inside a varint"):
            wire.read_varint(cut, 0, len(cut))


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused_and_never_left(data):
    try:
        fields = list(wire.walk(data))
    except WireError:
        return
    at = 0
    for _, _, tag_at, start, end in fields:
        assert tag_at == at < start <= end <= len(data)
        at = end
    assert at == len(data)


@given(st.binary(max_size=200), st.sampled_from([wire.decode_attributes, wire.decode_value]))
def test_any_bytes_are_decoded_or_refused(data, decode):
    try:
        decode(data)
    except WireError:
        pass


@given(attributes, st.integers(0, 500))
@settings(deadline=None)
def test_google_and_we_agree_on_what_is_malformed(given_, cut):
    """A cut-off message is refused by both, or read by both alike."""
    raw = wire.encode_attributes(given_)[: cut or None]
    try:
        ours = wire.decode_attributes(raw)
    except WireError:
        ours = None
    try:
        theirs = {item.key: plain(item.value) for item in Resource.FromString(raw).attributes}
    except Exception:
        theirs = None
    assert ours == theirs


def test_nesting_ends():
    value = 1
    for _ in range(33):
        value = [value]
    with pytest.raises(WireError, match="nests deeper than 32"):
        wire.decode_value(wire.encode_value(value))
    raw = b""
    for _ in range(5000):  # deeper than Python's stack
        raw = wire.field(5, wire.field(1, raw))
    with pytest.raises(WireError, match="nests deeper"):
        wire.decode_value(raw)


def test_odd_values():
    assert math.isnan(wire.decode_value(wire.encode_value(math.nan)))
    assert wire.decode_value(wire.encode_value("a\ud800b")) == "a?b"  # a lone surrogate is no text
    assert wire.decode_value(wire.field(1, b"a\xffb")) == "a�b"
    assert wire.decode_value(b"\x10\x01\x18\x05") == 5  # of several, the last counts
    with pytest.raises(TypeError, match="no AnyValue for object"):
        wire.encode_value(object())
    twice = KeyValue(key="k", value=AnyValue(string_value="a")).SerializeToString()
    assert wire.decode_attributes(wire.field(1, twice) + wire.encode_attributes({"k": "b"})) == {"k": "b"}


@given(attributes, st.data())
@settings(deadline=None)
def test_without_attributes_leaves_all_else(given_, data):
    gone = data.draw(st.sets(st.sampled_from(sorted(given_)))) if given_ else set()
    raw = wire.encode_attributes(given_) + b"\x10\x07" + wire.field(99, b"unknown")
    left = wire.without_attributes(raw, gone)
    assert wire.decode_attributes(left) == {key: value for key, value in given_.items() if key not in gone}
    assert left.endswith(b"\x10\x07" + wire.field(99, b"unknown"))


def test_groups_and_field_zero_are_refused():
    for data in (b"\x0b", b"\x0c", b"\x0f", b"\x00\x01", b"\x02\x00"):
        with pytest.raises(WireError):
            list(wire.walk(data))
