"""OpenCensus' messages, in protobuf and JSON, read back with OpenTelemetry's own descriptors."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.codecs.opencensus import Stream, TooMany, Translator
from hawse.codecs.opencensus import json as oc_json
from hawse.wire import WireError, field, varint
from tests.codecs.test_zipkin import attributes, finish, one, parsed

NOW = 1_790_000_000_000_000_000
TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


def number(at, value):
    return varint(at << 3) + varint(value)


def time(nanoseconds):
    return number(1, nanoseconds // 10**9) + number(2, nanoseconds % 10**9)


def cut(text):
    return field(1, text.encode())


def value(of):
    if isinstance(of, bool):
        return number(3, of)
    if isinstance(of, int):
        return number(2, of)
    if isinstance(of, float):
        return b"\x21" + struct.pack("<d", of)
    return field(1, cut(of)) if of is not None else b""


def attribute_map(of, dropped=0):
    entries = b"".join(field(1, field(1, key.encode()) + field(2, value(item))) for key, item in of.items())
    return entries + (number(2, dropped) if dropped else b"")


def span(*parts, trace=TRACE, id=SPAN):  # noqa: A002
    return field(1, trace) + field(2, id) + b"".join(parts)


def labels(at, of):
    return b"".join(field(at, field(1, key.encode()) + field(2, item.encode())) for key, item in of.items())


NODE = field(3, field(1, b"svc"))
FULL_NODE = (
    field(1, field(1, b"host-1") + number(2, 77) + field(3, time(1_500_000_000_250_000_000)))
    + field(2, number(1, 8) + field(2, b"0.7.1") + field(3, b"0.11"))
    + NODE
    + labels(4, {"region": "eu", "k8s.pod.uid": "u"})
)


def request(*spans, node=NODE, resource=None):
    made = field(1, node) if node is not None else b""
    return made + b"".join(field(2, each) for each in spans) + (field(3, resource) if resource is not None else b"")


def read(*messages, translator=None):
    """What a stream of messages becomes, message by message."""
    stream = Stream(translator or Translator())
    return [parsed(finish(stream.read(message, NOW))) for message in messages]


def only(*parts):
    ((resource,),) = read(request(span(*parts)))
    return one([resource])


def test_node_and_resource_as_one_resource():
    resource = field(1, b"container") + labels(2, {"cloud.zone": "z", "region": "us", "host.name": "no"})
    ((found,),) = read(request(span(), node=FULL_NODE, resource=resource))
    assert attributes(found.resource) == {
        "cloud.availability_zone": "z",
        "region": "eu",
        "k8s.pod.uid": "u",
        "service.name": "svc",
        "opencensus.starttime": "2017-07-14T02:40:00.25Z",
        "host.name": "host-1",
        "process.pid": 77,
        "telemetry.sdk.version": "0.11",
        "opencensus.exporterversion": "0.7.1",
        "telemetry.sdk.language": "python",
        "opencensus.resourcetype": "container",
    }


def test_all_of_a_span():
    state = field(1, field(1, b"a") + field(2, b"1")) + field(1, field(1, b"b") + field(2, b"2"))
    annotation = field(1, field(1, b"")) + field(2, attribute_map({"k": 1.5}, 4))
    annotation = field(1, cut("note")) + field(2, attribute_map({"k": 1.5}, 4))
    message = number(1, 2) + number(2, 9) + number(3, 100) + number(4, 50)
    events = field(1, field(1, time(NOW + 1)) + field(2, annotation))
    events += field(1, field(1, time(NOW + 2)) + field(3, message)) + field(1, field(1, time(NOW + 3)))
    events += number(2, 3) + number(3, 4)
    link = field(1, bytes(15) + b"\1") + field(2, bytes(7) + b"\2") + number(3, 1)
    link += field(4, attribute_map({"l": True}, 2)) + field(5, state)
    found = only(
        field(3, b"parent-1"),
        field(4, cut("get /x")),
        field(5, time(NOW)),
        field(6, time(NOW + 5_000_000_001)),
        field(7, attribute_map({"s": "t", "i": -5 & (1 << 64) - 1, "b": False, "f": 0.5, "none": None}, 6)),
        field(8, field(1, field(1, field(1, cut("main"))))),
        field(9, events),
        field(10, field(1, link) + number(2, 8)),
        field(11, number(1, 5) + field(2, b"gone")),
        field(12, number(1, 1)),
        field(13, number(1, 3)),
        number(14, 2),
        field(15, state),
    )
    assert (found.trace_id, found.span_id, found.parent_span_id) == (TRACE, SPAN, b"parent-1")
    assert (found.name, found.kind, found.trace_state) == ("get /x", 3, "a=1,b=2")
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (NOW, NOW + 5_000_000_001)
    assert attributes(found) == {
        "s": "t", "i": -5, "b": False, "f": 0.5, "none": "<Unknown OpenCensus attribute value type>",
        "opencensus.same_process_as_parent_span": True,
    }  # fmt: skip
    assert (found.status.code, found.status.message) == (2, "gone")
    assert (found.dropped_attributes_count, found.dropped_events_count, found.dropped_links_count) == (6, 7, 8)
    note, sent, odd = found.events
    assert (note.time_unix_nano, note.name, note.dropped_attributes_count) == (NOW + 1, "note", 4)
    assert attributes(note) == {"k": 1.5}
    assert (sent.name, attributes(sent)) == (
        "message",
        {
            "message.type": "RECEIVED",
            "messaging.message_id": 9,
            "messaging.message_payload_size_bytes": 100,
            "messaging.message_payload_compressed_size_bytes": 50,
        },
    )
    assert odd.name.startswith("An unknown OpenCensus TimeEvent")
    (linked,) = found.links
    assert (linked.trace_id[-1], linked.span_id[-1], linked.trace_state) == (1, 2, "a=1,b=2")
    assert attributes(linked) == {"l": True, "opencensus.link_type": "CHILD_LINKED_SPAN"}
    assert linked.dropped_attributes_count == 2


@pytest.mark.parametrize(
    ("kind", "attribute", "wanted", "left"),
    [
        (1, None, 2, {}),
        (2, None, 3, {}),
        (0, None, 0, {}),
        (7, None, 0, {}),
        (0, "producer", 4, {}),
        (0, "consumer", 5, {}),
        (0, "internal", 1, {}),
        (0, "odd", 0, {"span.kind": "odd"}),
        (1, "producer", 2, {"span.kind": "producer"}),
    ],
)
def test_kinds(kind, attribute, wanted, left):
    given_ = attribute_map({"span.kind": attribute}) if attribute else b""
    found = only(number(14, kind), field(7, given_))
    assert (found.kind, attributes(found)) == (wanted, left)


def test_status():
    assert only().HasField("status") is False
    assert only(field(11, b"")).status.code == 0
    found = only(field(11, number(1, 2)), field(7, attribute_map({"otel.status_code": 1})))
    assert (found.status.code, attributes(found)) == (1, {})


def test_times_that_are_not_told():
    found = only()
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (NOW, NOW)
    found = only(field(5, time(7)))
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (7, 7)


def test_node_and_resource_count_for_the_messages_after_them():
    first, second, third, fourth = read(
        request(span(), resource=labels(2, {"r": "1"})),
        request(span(), node=None),
        request(span(), node=field(3, field(1, b"other"))),
        request(span(), span(field(16, labels(2, {"own": "1"}))), node=None, resource=labels(2, {"r": "2"})),
    )
    assert attributes(first[0].resource) == attributes(second[0].resource) == {"service.name": "svc", "r": "1"}
    assert attributes(third[0].resource) == {"service.name": "other", "r": "1"}
    assert [attributes(each.resource) for each in fourth] == [
        {"service.name": "other", "r": "2"},
        {"service.name": "other", "own": "1"},
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (request(span(), node=None), "first message of a stream must have a node"),
        (b"\x0a\x05", "byte 0"),
        (request(span(trace=b"123")), "span 0, at byte 11: trace_id has 3 bytes, not 16"),
        (request(span(id=bytes(8))), "span_id is zero"),
        (request(span(field(3, b"12"))), "parent_span_id has 2 bytes"),
        (request(span(field(10, field(1, b"")))), "trace_id of a link has 0 bytes"),
        (request(b"\x0a\xff"), "span 0, at byte 11: no Span"),
        (request(span(field(7, field(1, b"\x0a\xff")))), "no Entry"),
        (request(span(), node=b"\x0a\xff"), "no Node"),
        (request(span(field(7, field(1, b"") * 20_000))), "more than 10000 attributes"),
        (request(span(field(9, field(1, field(2, field(2, field(1, b"") * 20_000)))))), "more than 10000 attributes"),
    ],
)
def test_errors_name_the_place(data, message):
    with pytest.raises(WireError, match=message):
        read(data)


def test_a_long_text_is_no_part():
    text = "\n\0" * 50_000
    assert attributes(only(field(7, attribute_map({"x": text})))) == {"x": text}


def test_too_many_spans():
    with pytest.raises(TooMany, match="3 spans, 2 are allowed"):
        read(request(span(), span(), span()), translator=Translator(2))


# --- JSON -------------------------------------------------------------------------------------------------------------


def from_json(document):
    (message,) = finish(oc_json.read(json.dumps(document).encode()))
    return read(message)[0]


def b64(raw):
    return base64.b64encode(raw).decode()


DOCUMENT = {
    "node": {
        "identifier": {"hostName": "h", "pid": 5, "startTimestamp": "2017-07-14T02:40:00.25Z"},
        "libraryInfo": {"language": "PYTHON", "exporterVersion": "1", "coreLibraryVersion": "2"},
        "service_info": {"name": "svc"},
        "attributes": {"a": "b"},
    },
    "resource": {"type": "t", "labels": {"r": "1"}},
    "spans": [
        {
            "traceId": b64(TRACE),
            "span_id": b64(SPAN),
            "name": {"value": "n", "truncatedByteCount": 0},
            "kind": "SERVER",
            "startTime": "2026-01-02T03:04:05.000000006+01:00",
            "endTime": "2026-01-02T02:04:06Z",
            "attributes": {
                "attributeMap": {
                    "s": {"stringValue": {"value": "t"}}, "i": {"intValue": "12"}, "b": {"boolValue": True},
                    "f": {"doubleValue": 1.5},
                },
                "droppedAttributesCount": 2,
            },
            "timeEvents": {"timeEvent": [
                {"time": "1970-01-01T00:00:01Z", "annotation": {"description": {"value": "d"}}},
                {"time": "1970-01-01T00:00:02Z", "messageEvent": {"type": "SENT", "id": "3"}},
            ]},
            "links": {"link": [{"traceId": b64(TRACE), "spanId": b64(SPAN), "type": "PARENT_LINKED_SPAN"}]},
            "status": {"code": 3, "message": "m"},
            "sameProcessAsParentSpan": False,
            "tracestate": {"entries": [{"key": "k", "value": "v"}]},
            "unknown": [{}],
            "parentSpanId": None,
        }
    ],
}  # fmt: skip


def test_json():
    (resource,) = from_json(DOCUMENT)
    assert attributes(resource.resource) == {
        "r": "1", "a": "b", "service.name": "svc", "opencensus.starttime": "2017-07-14T02:40:00.25Z", "host.name": "h",
        "process.pid": 5, "telemetry.sdk.version": "2", "opencensus.exporterversion": "1",
        "telemetry.sdk.language": "python", "opencensus.resourcetype": "t",
    }  # fmt: skip
    found = one([resource])
    assert (found.trace_id, found.span_id, found.name, found.kind, found.trace_state) == (TRACE, SPAN, "n", 2, "k=v")
    assert found.end_time_unix_nano - found.start_time_unix_nano == 999_999_994
    same = {"opencensus.same_process_as_parent_span": False}
    assert attributes(found) == {"s": "t", "i": 12, "b": True, "f": 1.5, **same}
    assert [(each.time_unix_nano, each.name) for each in found.events] == [(10**9, "d"), (2 * 10**9, "message")]
    assert attributes(found.links[0]) == {"opencensus.link_type": "PARENT_LINKED_SPAN"}
    assert (found.status.code, found.status.message, found.dropped_attributes_count) == (2, "m", 2)


def test_several_messages_on_lines_of_their_own():
    body = json.dumps(DOCUMENT) + "\n" + json.dumps({"spans": DOCUMENT["spans"]})
    first, second = read(*finish(oc_json.read(body.encode())))
    assert first == second


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the message: expected an object"),
        ({"spans": {}}, "the message: expected an array"),
        ({"spans": [{}, {"traceId": 5}]}, r"spans\[1\].traceId: expected a text"),
        ({"spans": [{"traceId": "a"}]}, r"spans\[0\].traceId: expected base64"),
        ({"spans": [{"startTime": "today"}]}, r"spans\[0\].startTime: expected a time"),
        ({"spans": [{"startTime": "2026-99-01T00:00:00Z"}]}, "expected a time"),
        ({"spans": [{"kind": "ODD"}]}, r"spans\[0\].kind: expected an integer"),
        ({"spans": [{"attributes": {"attributeMap": {"k": {"intValue": "x"}}}}]},
         r"spans\[0\].attributes.attributeMap\['k'\].intValue: expected an integer"),
        ({"spans": [{"attributes": {"attributeMap": []}}]}, "attributeMap: expected an object"),
        ({"spans": [{"attributes": {"attributeMap": {"k": {"doubleValue": "x"}}}}]}, "expected a number"),
        ({"spans": [{"links": {"link": [{"type": 1}, 5]}}]}, r"spans\[0\].links.link\[1\]: expected an object"),
        ({"spans": [{"sameProcessAsParentSpan": 1}]}, "expected true or false"),
        ({"node": {"identifier": {"pid": 1 << 64}}}, "node.identifier.pid: expected an integer"),
    ],
)  # fmt: skip
def test_json_errors_name_the_place(document, message):
    with pytest.raises(WireError, match=message):
        finish(oc_json.read(json.dumps(document).encode()))


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":"\xff"}', b"[" * 100_000])
def test_what_is_no_json(body):
    with pytest.raises(WireError, match="not JSON|nests too deep"):
        finish(oc_json.read(body))


# --- anything ---------------------------------------------------------------------------------------------------------

_warm = Translator()
_whole = request(
    span(field(4, cut("n")), field(7, attribute_map({"a": 1, "b": "c"})), field(9, field(1, field(1, time(5))))),
    node=FULL_NODE,
)


@given(st.data())
def test_bytes_changed_anywhere_are_an_error_or_spans_and_memory_changes_nothing(data):
    at = data.draw(st.integers(0, len(_whole) - 1))
    changed = _whole[:at] + data.draw(st.binary(max_size=3)) + _whole[at + data.draw(st.integers(0, 2)) :]
    found = []
    for translator in (Translator(), _warm):
        try:
            found.append(read(changed, translator=translator))
        except WireError as error:
            found.append(type(error))
    assert found[0] == found[1]


@given(
    st.dictionaries(st.text(max_size=5), st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.text(max_size=5))
)
def test_attributes_come_back(of):
    sent = {k: v & (1 << 64) - 1 if type(v) is int else v for k, v in of.items() if k not in {"span.kind"}}
    try:
        encoded = attribute_map(sent)
    except UnicodeEncodeError:
        return
    assert attributes(only(field(7, encoded))) == {k: of[k] for k in sent}
