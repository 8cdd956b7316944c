"""Zipkin's four encodings, read back with OpenTelemetry's own descriptors."""

import base64
import json
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from hawse.batch import Batch, Signal
from hawse.codecs.zipkin import Limits, TooMany, Translator
from hawse.wire import WireError, field, varint

TRACE = "463ac35c9f6413ad48485a3953bb6124"
MICROS = 1_790_000_000_000_000
CLIENT, SERVER, PRODUCER, CONSUMER, INTERNAL = 3, 2, 4, 5, 1


def finish(work):
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def parsed(groups):
    """ResourceSpans messages."""
    found = TracesData.FromString(Batch(Signal.TRACES, groups).encode()).resource_spans
    counted = [sum(len(scope.spans) for scope in one.scope_spans) for one in found]
    assert counted == [group.items for group in groups]
    return list(found)


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


def attributes(of):
    keys = [one.key for one in of.attributes]
    assert len(keys) == len(set(keys)), keys
    return {one.key: plain(one.value) for one in of.attributes}


def v2(*spans, translator=None, debug=False):
    return parsed(finish((translator or Translator()).json_v2(json.dumps(spans).encode(), debug=debug)))


def v1(*spans, translator=None):
    return parsed(finish((translator or Translator()).json_v1(json.dumps(spans).encode())))


def one(resources):
    """The only span."""
    ((span,),) = [scope.spans for resource in resources for scope in resource.scope_spans]
    return span


def minimal(**more):
    return {"traceId": TRACE, "id": "a2fb4a1d1a96d312", "timestamp": MICROS, "duration": 10, **more}


# --- version 2 --------------------------------------------------------------------------------------------------------


def test_every_field_of_version_2_in_json():
    (resource,) = v2(
        minimal(
            parentId="0020000000000001",
            kind="CLIENT",
            name="get /x",
            localEndpoint={"serviceName": "frontend", "ipv4": "10.1.2.3", "port": 8080},
            remoteEndpoint={"serviceName": "backend", "ipv6": "2001:db8::1", "port": 9000},
            annotations=[{"timestamp": MICROS + 3, "value": "ws"}],
            tags={"http.method": "GET", "n": "5", "error": "broken pipe"},
            debug=True,
            shared=True,
        )
    )
    assert attributes(resource.resource) == {"service.name": "frontend"}
    span = one([resource])
    assert span.trace_id.hex() == TRACE
    assert (span.span_id.hex(), span.parent_span_id.hex()) == ("a2fb4a1d1a96d312", "0020000000000001")
    assert (span.name, span.kind, span.flags) == ("get /x", CLIENT, 1)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (MICROS * 1000, (MICROS + 10) * 1000)
    assert attributes(span) == {
        "net.host.ip": "10.1.2.3",
        "net.host.port": 8080,
        "net.peer.ip": "2001:db8::1",
        "net.peer.port": 9000,
        "peer.service": "backend",
        "http.method": "GET",
        "n": "5",
        "error": "broken pipe",
        "zipkin.debug": True,
        "zipkin.shared": True,
    }
    assert [(event.time_unix_nano, event.name) for event in span.events] == [((MICROS + 3) * 1000, "ws")]
    assert (span.status.code, span.status.message) == (2, "broken pipe")


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("SERVER", SERVER), ("client", CLIENT), ("PRODUCER", PRODUCER), ("CONSUMER", CONSUMER), ("NEW", 0), (None, 0)],
)
def test_kinds(kind, wanted):
    assert one(v2(minimal(kind=kind))).kind == wanted


def test_the_kind_that_zipkin_has_not_comes_as_a_tag():
    span = one(v2(minimal(tags={"span.kind": "internal"})))
    assert (span.kind, attributes(span)) == (INTERNAL, {})


@pytest.mark.parametrize(
    ("trace", "wanted"),
    [("48485a3953bb6124", "0" * 16 + "48485a3953bb6124"), (TRACE.upper(), TRACE), ("1", "0" * 31 + "1")],
)
def test_trace_ids_of_64_bits_are_padded(trace, wanted):
    assert one(v2(minimal(traceId=trace))).trace_id.hex() == wanted


@pytest.mark.parametrize("parent", [None, "", "0000000000000000", "a2fb4a1d1a96d312"])
def test_roots(parent):
    assert one(v2(minimal(parentId=parent))).parent_span_id == b""


def test_without_a_start_the_span_says_so():
    span = one(v2({"traceId": TRACE, "id": "1", "duration": 5}))
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (0, 5000)
    assert attributes(span) == {"otel.zipkin.absentField.startTime": True}


def test_a_resource_for_each_service_and_its_tags():
    resources = v2(
        minimal(localEndpoint={"serviceName": "a"}, tags={"k8s.pod.name": "p", "x": "1"}),
        minimal(localEndpoint={"serviceName": "b"}),
        minimal(localEndpoint={"serviceName": "a"}, tags={"x": "2", "k8s.pod.name": "p"}),
        minimal(localEndpoint={"serviceName": "a"}, tags={"k8s.pod.name": "q"}),
        minimal(),
    )
    assert [(attributes(each.resource), len(each.scope_spans[0].spans)) for each in resources] == [
        ({"service.name": "a", "k8s.pod.name": "p"}, 2),
        ({"service.name": "b"}, 1),
        ({"service.name": "a", "k8s.pod.name": "q"}, 1),
        ({}, 1),
    ]


def test_tags_of_the_resource_are_texts_and_not_mixed_up():
    resources = v2(*(minimal(tags={"service.version": value}) for value in (1, True, "1", 1.0)))
    assert [attributes(each.resource)["service.version"] for each in resources] == ["1", "true", "1.0"]


@pytest.mark.parametrize("port", [0, -1, 65536, 1 << 70, 1e300, None])
def test_a_port_that_is_none(port):
    assert attributes(one(v2(minimal(localEndpoint={"port": port})))) == {}


@pytest.mark.parametrize("version", [v1, v2])
def test_times_that_do_not_fit_are_the_nearest(version):
    span = one(version(minimal(timestamp=1e300, duration=-1)))
    assert span.start_time_unix_nano == span.end_time_unix_nano == (1 << 64) - 1
    assert one(version(minimal(timestamp=-5))).start_time_unix_nano == 0


def test_shared_spans_of_many_tags_take_linear_time():
    binary = [{"key": f"k{at}", "value": at, "endpoint": FRONT} for at in range(9000)]
    began = time.perf_counter()
    first, second = v1(v1_span(annotations=[core("cs", 1, FRONT), core("sr", 2, BACK)], binaryAnnotations=binary))
    assert time.perf_counter() - began < 2  # 0.1 s; once 3
    assert len(attributes(one([first]))) == 9002
    assert len(attributes(one([second]))) == 2


def test_a_service_name_that_came_from_elsewhere():
    tags = {"otlp.service.name.source": "faas.name"}
    (resource,) = v2(minimal(localEndpoint={"serviceName": "f"}, tags=tags))
    assert attributes(resource.resource) == {"faas.name": "f"}


def test_what_opentelemetry_writes_into_tags_is_read_back():
    link = '000102030405060708090a0b0c0d0e0f|0001020304050607|k=v|{"a":1.5,"b":"x|y"}|3'
    (resource,) = v2(
        minimal(
            tags={
                "otel.scope.name": "lib", "otel.scope.version": "1.2", "otel.library.name": "lib",
                "otel.library.version": "1.2", "w3c.tracestate": "a=1", "otlp.link.0": link,
                "otel.dropped_attributes_count": "7", "otel.dropped_events_count": "8",
                "otel.dropped_links_count": "9", "otel.status_code": "ERROR", "error": "it broke",
            }
        )
    )  # fmt: skip
    (scope,) = resource.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("lib", "1.2")
    span = one([resource])
    assert attributes(span) == {}
    assert span.trace_state == "a=1"
    (linked,) = span.links
    assert (linked.trace_id.hex(), linked.span_id.hex()) == ("000102030405060708090a0b0c0d0e0f", "0001020304050607")
    assert (linked.trace_state, attributes(linked), linked.dropped_attributes_count) == (
        "k=v",
        {"a": 1.5, "b": "x|y"},
        3,
    )
    assert (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) == (7, 8, 9)
    assert (span.status.code, span.status.message) == (2, "it broke")


@pytest.mark.parametrize(
    "link", ["", "a|b|c|{}|0", TRACE + "|0001020304050607||{|0", TRACE + "|0001020304050607||{}|x"]
)
def test_a_link_that_is_none_stays_a_tag(link):
    span = one(v2(minimal(tags={"otlp.link.0": link})))
    assert (attributes(span), len(span.links)) == ({"otlp.link.0": link}, 0)


@pytest.mark.parametrize(
    ("tags", "status", "left"),
    [
        ({"otel.status_code": "OK"}, (1, ""), {}),
        ({"otel.status_code": "STATUS_CODE_ERROR", "otel.status_description": "d"}, (2, "d"), {}),
        ({"otel.status_code": "odd"}, (0, ""), {"otel.status_code": "odd"}),
        ({"error": "true"}, (2, ""), {}),
        ({"error": ""}, (2, ""), {}),
        ({"error": "false"}, (0, ""), {"error": "false"}),
        ({"error": "no"}, (2, "no"), {"error": "no"}),
        ({"otel.status_code": "ERROR", "error": ""}, (2, ""), {}),
        ({"census.status_code": "5", "census.status_description": "gone"}, (2, "gone"), {}),
        ({"census.status_code": "0"}, (1, ""), {}),
        ({"http.status_code": "500"}, (0, ""), {"http.status_code": "500"}),
    ],
)
def test_status(tags, status, left):
    span = one(v2(minimal(tags=tags)))
    assert ((span.status.code, span.status.message), attributes(span)) == (status, left)


@pytest.mark.parametrize(
    ("told", "name", "wanted", "dropped"),
    [
        ('it|{"a":"b","n":3,"f":1.5,"t":true}|2', "it", {"a": "b", "n": 3, "f": 1.5, "t": True}, 2),
        ('{"it": {"a": ["b", "c"]}}', "it", {"a": ["b", "c"]}, 0),
        ('"i\\"t": {"a": 1}', 'i"t', {"a": 1}, 0),
        ('it: {"a": 1}', "it", {"a": 1}, 0),
        ("plain", "plain", {}, 0),
        ("a|b|c", "a|b|c", {}, 0),
        ("a|{}|x", "a|{}|x", {}, 0),
        ('{"a": 1}', '{"a": 1}', {}, 0),
        ('{"a": {"b": {"c": 1}}}', '{"a": {"b": {"c": 1}}}', {}, 0),
        ("{", "{", {}, 0),
        ("x {y}", "x {y}", {}, 0),
        ("{}", "{}", {}, 0),
    ],
)
def test_annotations(told, name, wanted, dropped):
    (event,) = one(v2(minimal(annotations=[{"timestamp": 1, "value": told}]))).events
    assert (event.name, attributes(event), event.dropped_attributes_count) == (name, wanted, dropped)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [("5", 5), ("-7", -7), ("1.5", 1.5), ("true", True), ("", ""), ("1e3", "1e3"), ("9" * 19, "9" * 19), ("٣", "٣")],
)
def test_texts_become_numbers_where_asked(told, wanted):
    found = attributes(one(v2(minimal(tags={"x": told}), translator=Translator(parse_string_tags=True))))["x"]
    assert found == wanted
    assert type(found) is type(wanted)
    assert attributes(one(v2(minimal(tags={"x": told})))) == {"x": told}


def test_tags_that_are_no_texts_keep_their_types_and_are_not_mixed_up():
    translator = Translator()
    for value in (1, True, 1.0, "1", None, 0, False, 1 << 70):
        found = attributes(one(v2(minimal(tags={"x": value}), translator=translator)))["x"]
        assert found == value
        assert type(found) is (float if value == 1 << 70 else type(value))


@pytest.mark.parametrize(
    ("conventions", "keys"),
    [
        ("v0", {"net.host.ip", "net.peer.port", "peer.service"}),
        ("v1", {"network.local.address", "network.peer.port", "service.peer.name"}),
        ("dup", {"net.host.ip", "net.peer.port", "peer.service",
                 "network.local.address", "network.peer.port", "service.peer.name"}),
    ],
)  # fmt: skip
def test_names_of_addresses(conventions, keys):
    span = minimal(localEndpoint={"ipv4": "1.2.3.4"}, remoteEndpoint={"serviceName": "s", "port": 1})
    assert attributes(one(v2(span, translator=Translator(conventions=conventions)))).keys() == keys


def test_tags_count_before_endpoints():
    span = one(v2(minimal(remoteEndpoint={"serviceName": "s"}, tags={"peer.service": "t"})))
    assert attributes(span) == {"peer.service": "t"}


def test_all_are_debug_where_the_request_says_so():
    assert attributes(one(v2(minimal(), debug=True))) == {"zipkin.debug": True}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no list of spans"),
        (b"{}", "Expected `array`, got `object`"),
        (b"[null]", r"\$\[0\]"),
        (b'[{"traceId":"1","id":"1"},{"id":"1"}]', r"missing required field `traceId` - at `\$\[1\]`"),
        (b'[{"traceId":"1","id":5}]', r"at `\$\[0\]\.id`"),
        (b'[{"traceId":"x","id":"1"}]', "span 0: traceId 'x' is not an id"),
        (b'[{"traceId":"1","id":"+1"}]', "span 0: id"),
        (b'[{"traceId":"1","id":"1 1"}]', "span 0: id"),
        (b'[{"traceId":"0","id":"1"}]', "span 0: traceId is zero"),
        (b'[{"traceId":"1","id":"11111111111111111"}]', "span 0: id"),
        (b'[{"traceId":"1","id":"1","parentId":"?"}]', "span 0: parentId"),
        (b'[{"traceId":"\xff","id":"1"}]', "no list of spans"),
        (b'[{"traceId":"1","id":"1","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "no list|nests too deep"),
        (b'[{"traceId":"1","id":"1","tags":{"a":1,"b":2,"c":3}}]', "span 0: it has 3 tags"),
    ],
)
@pytest.mark.parametrize("version", ["json_v1", "json_v2"])
def test_errors_name_the_place(version, body, message):
    if version == "json_v1" and b"tags" in body:
        body = body.replace(b'"tags":{"a":1,"b":2,"c":3}', b'"annotations":[{},{},{}]')
    with pytest.raises(WireError, match=message):
        finish(getattr(Translator(Limits(parts=2)), version)(body))


def test_too_many_spans():
    for version in ("json_v1", "json_v2"):
        with pytest.raises(TooMany, match="3 spans, 2 are allowed"):
            finish(getattr(Translator(Limits(spans=2)), version)(json.dumps([minimal()] * 3).encode()))


def test_opentelemetry_says_debug_of_all_that_is_sampled():
    span = one(v2(minimal(debug=True, tags={"telemetry.sdk.name": "opentelemetry"})))
    assert (span.flags, attributes(span)) == (1, {})


# --- version 2 in protobuf --------------------------------------------------------------------------------------------


def fixed(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def number_(number, value):
    return varint(number << 3) + varint(value)


def proto_span(span):
    """The same span as protobuf, with addresses of version 4."""

    def endpoint(found):
        made = field(1, found["serviceName"].encode()) if "serviceName" in found else b""
        made += field(2, bytes(map(int, found["ipv4"].split(".")))) if "ipv4" in found else b""
        return made + (number_(4, found["port"]) if "port" in found else b"")

    parts = [field(1, bytes.fromhex(span["traceId"])), field(3, bytes.fromhex(span["id"]))]
    if span.get("parentId"):
        parts.append(field(2, bytes.fromhex(span["parentId"])))
    if span.get("kind"):
        parts.append(number_(4, ("", "CLIENT", "SERVER", "PRODUCER", "CONSUMER").index(span["kind"])))
    parts += [field(5, span.get("name", "").encode()), fixed(6, span["timestamp"]), number_(7, span["duration"])]
    for key, number in (("localEndpoint", 8), ("remoteEndpoint", 9)):
        parts += [field(number, endpoint(span[key]))] if span.get(key) is not None else []
    parts += [field(10, fixed(1, a["timestamp"]) + field(2, a["value"].encode())) for a in span.get("annotations", ())]
    parts += [field(11, field(1, k.encode()) + field(2, v.encode())) for k, v in span.get("tags", {}).items()]
    parts += [number_(12, 1)] if span.get("debug") else []
    parts += [number_(13, 1)] if span.get("shared") else []
    return field(1, b"".join(parts))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
endpoints = st.fixed_dictionaries(
    {}, optional={"serviceName": texts, "ipv4": st.ip_addresses(v=4).map(str), "port": st.integers(1, 65535)}
).filter(lambda found: found.get("ipv4") != "0.0.0.0")
spans_ = st.fixed_dictionaries(
    {
        "traceId": st.binary(min_size=16, max_size=16).filter(any).map(bytes.hex),
        "id": st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex),
        "timestamp": st.integers(0, 1 << 60),
        "duration": st.integers(0, 1 << 40),
    },
    optional={
        "parentId": st.binary(min_size=8, max_size=8).filter(any).map(bytes.hex),
        "kind": st.sampled_from(["CLIENT", "SERVER", "PRODUCER", "CONSUMER"]),
        "name": texts,
        "localEndpoint": endpoints,
        "remoteEndpoint": endpoints,
        "annotations": st.lists(
            st.fixed_dictionaries({"timestamp": st.integers(0, 1 << 60), "value": texts}), max_size=3
        ),
        "tags": st.dictionaries(
            texts | st.sampled_from(["error", "otel.status_code", "host.name", "otlp.link.0"]), texts
        ),
        "debug": st.booleans(),
        "shared": st.booleans(),
    },
)
_warm = Translator()


@given(st.lists(spans_, max_size=4))
def test_protobuf_and_json_say_the_same_and_memory_changes_nothing(spans):
    body = json.dumps(spans, ensure_ascii=False).encode()
    cold = v2(*spans)
    assert parsed(finish(_warm.json_v2(body))) == cold
    data = b"".join(map(proto_span, spans))
    assert parsed(finish(Translator().proto_v2(data))) == cold
    assert parsed(finish(_warm.proto_v2(data))) == cold


def test_protobuf_with_ids_of_64_bits_and_addresses_of_version_6():
    raw = field(1, bytes(range(1, 9))) + field(3, bytes(range(8))) + field(8, field(3, bytes(15) + b"\1"))
    span = one(parsed(finish(Translator().proto_v2(field(1, raw)))))
    assert span.trace_id == bytes(8) + bytes(range(1, 9))
    assert attributes(span)["net.host.ip"] == "::1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\x05", "byte 0"),
        (field(1, b"\x0a\xff"), "span 0, at byte 2: malformed"),
        (field(1, field(1, b"1234") + field(3, b"12345678")), "span 0, at byte 2: trace_id has 4 bytes, not 8 or 16"),
        (field(1, field(1, bytes(8)) + field(3, b"12345678")), "trace_id is zero"),
        (field(1, field(1, b"12345678")), "id has 0 bytes, not 8"),
        (field(1, field(1, b"12345678") + field(3, b"12345678") + field(11, b"\x0a\xff")), "no tag"),
        (field(1, field(1, b"12345678") + field(3, b"12345678") + field(11, b"") * 30_000), "10001 tags"),
    ],
)
def test_malformed_protobuf(data, message):
    with pytest.raises(WireError, match=message):
        finish(Translator().proto_v2(data))


def test_too_many_in_protobuf():
    with pytest.raises(TooMany):
        finish(Translator(Limits(spans=10)).proto_v2(field(1, b"") * 100_000))


# --- version 1 --------------------------------------------------------------------------------------------------------

FRONT = {"serviceName": "front", "ipv4": "10.0.0.1", "port": 80}
BACK = {"serviceName": "back", "ipv4": "10.0.0.2"}


def core(value, time, endpoint):
    return {"value": value, "timestamp": MICROS + time, "endpoint": endpoint}


def v1_span(**more):
    return {"traceId": TRACE, "id": "a2fb4a1d1a96d312", "name": "get", **more}


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [("cs", "cr", CLIENT), ("sr", "ss", SERVER), ("ms", "ws", PRODUCER), ("mr", "x", CONSUMER)],
)
def test_core_annotations_tell_kind_and_times(first, last, kind):
    (resource,) = v1(v1_span(annotations=[core(first, 5, FRONT), core(last, 25, FRONT)]))
    span = one([resource])
    assert attributes(resource.resource) == {"service.name": "front"}
    assert (span.kind, span.name) == (kind, "get")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == ((MICROS + 5) * 1000, (MICROS + 25) * 1000)
    assert [event.name for event in span.events] == ([last] if last in {"ws", "x"} else [])
    shared = {"zipkin.shared": True} if kind == SERVER else {}
    assert attributes(span) == {"net.host.ip": "10.0.0.1", "net.host.port": 80, **shared}


def test_the_spans_own_times_count_first():
    span = one(v1(v1_span(timestamp=MICROS, duration=7, annotations=[core("cs", 5, FRONT), core("cr", 25, FRONT)])))
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (MICROS * 1000, (MICROS + 7) * 1000)
    span = one(v1(v1_span(timestamp=MICROS, annotations=[core("cs", 0, FRONT), core("cr", 25, FRONT)])))
    assert span.end_time_unix_nano == (MICROS + 25) * 1000


def test_addresses_are_the_other_side():
    binary = [{"key": "sa", "value": True, "endpoint": BACK}, {"key": "x", "value": "1", "endpoint": FRONT}]
    (resource,) = v1(v1_span(timestamp=1, annotations=[core("cs", 0, FRONT)], binaryAnnotations=binary))
    found = attributes(one([resource]))
    assert (found["peer.service"], found["net.peer.ip"], found["x"]) == ("back", "10.0.0.2", "1")
    assert "sa" not in found
    span = one(v1(v1_span(timestamp=1, binaryAnnotations=[{"key": "ca", "value": "true", "endpoint": BACK}])))
    assert (span.kind, attributes(span)["peer.service"]) == (SERVER, "back")


def test_a_span_that_client_and_server_share_becomes_two():
    client, server = v1(
        v1_span(
            timestamp=MICROS,
            duration=100,
            annotations=[core("cs", 0, FRONT), core("sr", 10, BACK), core("note", 20, BACK), core("ss", 60, BACK),
                         core("cr", 100, FRONT)],
            binaryAnnotations=[
                {"key": "a", "value": "f", "endpoint": FRONT},
                {"key": "b", "value": "g", "endpoint": BACK},
                {"key": "sa", "value": True, "endpoint": BACK},
                {"key": "ca", "value": True, "endpoint": FRONT},
            ],
        )
    )  # fmt: skip
    assert [attributes(each.resource)["service.name"] for each in (client, server)] == ["front", "back"]
    client, server = one([client]), one([server])
    assert client.span_id == server.span_id
    assert (client.kind, client.end_time_unix_nano - client.start_time_unix_nano) == (CLIENT, 100_000)
    assert (server.kind, server.end_time_unix_nano - server.start_time_unix_nano) == (SERVER, 50_000)
    assert (attributes(client)["a"], attributes(client)["peer.service"], len(client.events)) == ("f", "back", 0)
    assert (attributes(server)["b"], attributes(server)["peer.service"], len(server.events)) == ("g", "front", 1)
    assert ("zipkin.shared" in attributes(client), attributes(server)["zipkin.shared"]) == (False, True)


def test_a_local_component():
    (resource,) = v1(v1_span(timestamp=1, binaryAnnotations=[{"key": "lc", "value": "finatra"}]))
    assert (attributes(resource.resource), attributes(one([resource]))) == (
        {"service.name": "finatra"},
        {"component": "finatra"},
    )
    (resource,) = v1(v1_span(timestamp=1, binaryAnnotations=[{"key": "lc", "value": "", "endpoint": BACK}]))
    assert (attributes(resource.resource), "component" in attributes(one([resource]))) == (
        {"service.name": "back"},
        False,
    )


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({"http.status_code": "503", "http.status_message": "Down"}, (2, "Down")),
        ({"http.status_code": 200}, (0, "")),
        ({"error": "boom"}, (2, "boom")),
        ({"error": "boom", "census.status_description": "more"}, (2, "more")),
    ],
)
def test_status_of_version_1(tags, status):
    binary = [{"key": key, "value": value} for key, value in tags.items()]
    span = one(v1(v1_span(timestamp=1, binaryAnnotations=binary)))
    assert (span.status.code, span.status.message) == status


def test_types_of_binary_annotations_in_json():
    told = [("I64", "12", 12), ("DOUBLE", "1.5", 1.5), ("BOOL", "false", False), ("I32", "x", "x"), (None, "12", "12"),
            (None, 3, 3), ("STRING", "s", "s")]  # fmt: skip
    binary = [{"key": f"k{at}", "value": value, "type": kind} for at, (kind, value, _) in enumerate(told)]
    found = attributes(one(v1(v1_span(timestamp=1, binaryAnnotations=binary))))
    for at, (_, _, wanted) in enumerate(told):
        assert found[f"k{at}"] == wanted
        assert type(found[f"k{at}"]) is type(wanted)


# --- Thrift -----------------------------------------------------------------------------------------------------------


def t_field(kind, number, payload):
    return struct.pack(">bh", kind, number) + payload


def t_text(payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return struct.pack(">i", len(payload)) + payload


def t_endpoint(service, ipv4=0, port=0, ipv6=b""):
    made = t_field(8, 1, struct.pack(">i", ipv4)) + t_field(6, 2, struct.pack(">H", port))
    return made + t_field(11, 3, t_text(service)) + (t_field(11, 4, t_text(ipv6)) if ipv6 else b"") + b"\0"


def t_annotation(value, time, host=b""):
    made = t_field(10, 1, struct.pack(">q", time)) + t_field(11, 2, t_text(value))
    return made + (t_field(12, 3, host) if host else b"") + b"\0"


def t_binary(key, kind, value, host=b""):
    made = t_field(11, 1, t_text(key)) + t_field(11, 2, t_text(value)) + t_field(8, 3, struct.pack(">i", kind))
    return made + (t_field(12, 4, host) if host else b"") + b"\0"


def t_list(*items):
    return b"\x0c" + struct.pack(">i", len(items)) + b"".join(items)


def t_span(annotations=(), binary=(), more=b""):
    made = t_field(10, 1, struct.pack(">q", -2)) + t_field(11, 3, t_text("get")) + t_field(10, 4, struct.pack(">q", -1))
    return made + t_field(15, 6, t_list(*annotations)) + t_field(15, 8, t_list(*binary)) + more + b"\0"


def thrift(*spans, limits=None):
    return parsed(finish(Translator(limits).thrift_v1(t_list(*spans))))


def test_all_of_thrift():
    host = t_endpoint("front", 0x0A000001, 40000)
    values = [
        (0, b"\1", True), (0, b"\0", False), (1, b"\xff\0", base64.b64encode(b"\xff\0").decode()),
        (2, b"\xff\xfe", -2), (3, struct.pack(">i", -3), -3), (4, struct.pack(">q", 1 << 40), 1 << 40),
        (5, struct.pack(">d", 2.5), 2.5), (6, "text", "text"), (4, b"1", "<not enough bytes representing the number>"),
        (9, b"", "<unknown zipkin v1 binary annotation type (9)>"),
    ]  # fmt: skip
    binary = [t_binary(f"k{at}", kind, value, host) for at, (kind, value, _) in enumerate(values)]
    binary.append(t_binary("sa", 0, b"\1", t_endpoint("back", ipv6=bytes(15) + b"\1")))
    more = b"".join(
        [
            t_field(10, 5, struct.pack(">q", 3)),
            t_field(2, 9, b"\1"),
            t_field(10, 10, struct.pack(">q", MICROS)),
            t_field(10, 11, struct.pack(">q", 9)),
            t_field(10, 12, struct.pack(">q", 1)),
        ]
    )
    (resource,) = thrift(
        t_span([t_annotation("cs", MICROS, host), t_annotation("note", MICROS + 1, host)], binary, more)
    )
    assert attributes(resource.resource) == {"service.name": "front"}
    span = one([resource])
    assert span.trace_id.hex() == "0000000000000001" + "f" * 15 + "e"
    assert (span.span_id.hex(), span.parent_span_id.hex()) == ("f" * 16, "0000000000000003")
    assert (span.name, span.kind, span.flags) == ("get", CLIENT, 1)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (MICROS * 1000, (MICROS + 9) * 1000)
    assert [event.name for event in span.events] == ["note"]
    found = attributes(span)
    for at, (_, _, wanted) in enumerate(values):
        assert found.pop(f"k{at}") == wanted
    assert found == {
        "net.host.ip": "10.0.0.1", "net.host.port": 40000, "net.peer.ip": "::1", "peer.service": "back",
        "zipkin.debug": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends within a value"),
        (b"\x0c\0\0\0\5\0", "5 elements"),
        (t_list(t_span())[:-1], "ends within a value"),
        (t_list(t_span()) + b"x", "1 bytes follow"),
        (t_list(b"\0"), "span 0, at byte 5: trace_id is missing"),
        (t_list(t_span([t_annotation("a", 1)] * 3)), "span 0, at byte 5: .* more than are allowed"),
        (b"\x08\0\0\0\1\0\0\0\1", "not structs"),
    ],
)
def test_malformed_thrift(data, message):
    with pytest.raises(WireError, match=message):
        finish(Translator(Limits(parts=2)).thrift_v1(data))


@given(st.data())
def test_thrift_cut_or_changed_anywhere_is_an_error_or_spans(data):
    whole = t_list(t_span([t_annotation("cs", MICROS, t_endpoint("s"))], [t_binary("k", 6, "v")]), t_span())
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + (data.draw(st.binary(max_size=3)) + whole[at + 1 :] if data.draw(st.booleans()) else b"")
    try:
        parsed(finish(Translator().thrift_v1(changed)))
    except WireError:
        pass
