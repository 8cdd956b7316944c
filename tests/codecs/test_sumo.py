"""Lines and headers of the HTTP source."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse import wire
from hawse.batch import Group, Resource
from hawse.codecs import sumo
from hawse.codecs.sumo import JsonLogs, fields_header, lines, requests, source_headers

TIME = 1_700_000_000_123_456_789


def record(body, attributes=None, time=TIME, observed=0):
    out = b"\x09" + time.to_bytes(8, "little") + b"\x59" + observed.to_bytes(8, "little")
    return out + wire.field(5, wire.encode_value(body)) + wire.encode_attributes(attributes or {}, 6)


def group(*records):
    scopes = wire.field(2, b"".join(wire.field(2, one) for one in records))
    return Group(Resource(b""), (scopes,), len(records))


def made(form, *records, **settings):
    return [line.decode() for line in lines(group(*records), form, JsonLogs(**settings))]


def test_text_is_the_body():
    assert made("text", record("plain"), record("two\nlines"), record({"a": 1}, {"x": "y"}), record(None)) == [
        "plain",
        "two\nlines",
        '{"a":1}',
        "",
    ]


def test_text_keeps_bytes_that_are_not_utf8():
    odd = wire.field(2, wire.field(2, wire.field(5, wire.field(1, b"caf\xe9"))))
    for form in ("text", "fields"):
        assert lines(Group(Resource(b""), (odd,), 1), form, JsonLogs()) == [b"caf\xe9"]
    assert lines(Group(Resource(b""), (odd,), 1), "json", JsonLogs()) == ['{"log":"caf�"}'.encode()]


def test_fields_is_the_body_unless_the_record_has_attributes_of_its_own():
    assert made("fields", record("plain"), record("two", {"level": "warn"}), record({"a": 1})) == [
        "plain",
        '{"timestamp":1700000000123,"level":"warn","log":"two"}',
        '{"a":1}',
    ]
    assert made("fields", record("plain"), record("")) == ["plain", ""]


@pytest.mark.parametrize(
    ("body", "attributes", "line"),
    [
        ("hello", {}, '{"timestamp":1700000000123,"log":"hello"}'),
        ('two\nlines "ä"', {}, '{"timestamp":1700000000123,"log":"two\\nlines \\"ä\\""}'),
        ('{"a":1}', {"k": 5}, '{"timestamp":1700000000123,"k":5,"log":"{\\"a\\":1}"}'),
        ({"a": [1, None, True]}, {}, '{"timestamp":1700000000123,"log":{"a":[1,null,true]}}'),
        ("x", {"timestamp": "mine", "log": "lost"}, '{"timestamp":"mine","log":"x"}'),
        ("", {"k": "v"}, '{"timestamp":1700000000123,"k":"v"}'),
        (None, {}, '{"timestamp":1700000000123}'),
        (0, {}, '{"timestamp":1700000000123,"log":0}'),
        (False, {}, '{"timestamp":1700000000123,"log":false}'),
        (b"\x00\xff", {}, '{"timestamp":1700000000123,"log":"AP8="}'),
        (float("nan"), {}, '{"timestamp":1700000000123,"log":null}'),
    ],
)
def test_json(body, attributes, line):
    assert made("json", record(body, attributes)) == [line]


def test_json_settings_and_times():
    assert made("json", record("x"), log_key="message", timestamp_key="t") == ['{"t":1700000000123,"message":"x"}']
    assert made("json", record("x"), add_timestamp=False) == ['{"log":"x"}']
    assert made("json", record("x", time=0, observed=5_000_000)) == ['{"timestamp":5,"log":"x"}']
    assert made("json", record("x", time=0)) == ['{"log":"x"}']


@pytest.mark.parametrize(
    ("body", "attributes", "line"),
    [
        ('{"b": 2, "a": 1}', {"k": "v"}, '{"timestamp":1700000000123,"k":"v","b":2,"a":1}'),
        ({"b": 2}, {"b": "attribute"}, '{"timestamp":1700000000123,"b":2}'),
        ('{"timestamp":"its own"}', {}, '{"timestamp":"its own"}'),
        (
            '{"n":1.10,"big":123456789012345678901234567890}',
            {},
            '{"timestamp":1700000000123,"n":1.10,"big":123456789012345678901234567890}',
        ),
        ('  {\n "a": [\n1]}', {}, '{"timestamp":1700000000123,"a":[1]}'),
        ("{}", {}, '{"timestamp":1700000000123}'),
        ("{not json", {}, '{"timestamp":1700000000123,"log":"{not json"}'),
        ("[1]", {}, '{"timestamp":1700000000123,"log":"[1]"}'),
        ('{"a":1} tail', {}, '{"timestamp":1700000000123,"log":"{\\"a\\":1} tail"}'),
        ("text", {"k": "v"}, '{"timestamp":1700000000123,"k":"v","log":"text"}'),
    ],
)
def test_json_merge(body, attributes, line):
    assert made("json_merge", record(body, attributes)) == [line]


def test_json_nested_without_end_is_text():
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    for body in (deep, deep.replace(":", ":\n", 1)):
        (line,) = made("json_merge", record(body))
        assert json.loads(line)["log"] == body


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4), st.sampled_from([None, 1]))
def test_json_merge_of_any_object(value, indent):
    body = json.dumps(value, indent=indent)
    (line,) = made("json_merge", record(body.encode("utf-8", "surrogatepass").decode("utf-8", "replace")))
    assert "\n" not in line
    assert json.loads(line) == {"timestamp": TIME // 10**6, **value}


def test_headers():
    assert source_headers(
        {"_sourceName": "n", "_sourceCategory": "a/b", "_sourceHost": "h", "_collector": "c", "pod": "p-1", "empty": ""}
    ) == {"X-Sumo-Name": "n", "X-Sumo-Category": "a/b", "X-Sumo-Host": "h", "X-Sumo-Fields": "_collector=c, pod=p-1"}
    assert source_headers({}) == {}
    assert source_headers({"_sourceHost": ""}) == {"X-Sumo-Host": ""}


def test_fields_are_sorted_and_cleaned():
    attributes = {"z": "1", "b=c,d\n": "x=y,z\nw", "a": 5, "none": None, "list": ["a", 1], "yes": True}
    assert fields_header(attributes) == 'a=5, b:c_d_=x:y_z_w, list=["a"_1], yes=true, z=1'


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=30), st.integers(1, 40))
def test_requests_keep_lines_order_and_limit(all_lines, most):
    found = list(requests(all_lines, most)) if all_lines else []
    assert sum(count for _, count in found) == len(all_lines)
    assert [line for body, _ in found for line in body.split(b"\n")] == all_lines
    for body, count in found:
        assert len(body) <= most or count == 1
    for (first, _), (second, _) in zip(found, found[1:], strict=False):
        assert len(first) + 1 + len(second.split(b"\n")[0]) > most  # no request could have taken one line more


def test_malformed_groups_are_wire_errors():
    for form in ("text", "fields", "json", "json_merge"):
        with pytest.raises(wire.WireError):
            sumo.lines(Group(Resource(b""), (b"\x12\x05\x12\xff",), 1), form, JsonLogs())
