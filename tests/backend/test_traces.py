import asyncio
import json
import sqlite3

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.backend.schema import open_for_writing
from hawse.backend.server import Backend
from hawse.backend.store import Limits, Store
from hawse.backend.traces import spans as columns
from hawse.backend.traces import trace as trace_module
from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.codecs.span_writer import CLIENT, ERROR, SERVER, scope_spans, span
from hawse.wire import WireError, encode_attributes, field

PROTOBUF = {"content-type": "application/x-protobuf"}
T0 = 1_800_000_000 * 10**9


def tid(number):
    return bytes.fromhex("4bf92f3577b34da6a3ce929d") + number.to_bytes(4, "big")


def sid(number):
    return number.to_bytes(8, "big")


def group(resource, spans, scope="lib", version="1.2"):
    inner = field(1, encode_attributes(resource)) + scope_spans(spans, scope, version)
    return field(1, inner)


def trace(number, start, took=100, service=("web", "orders"), error=False):
    """A trace of a server span and, a tenth later, its client's call of another service; durations in ms."""
    ms = 10**6
    root = span(
        trace_id=tid(number), span_id=sid(1), name="GET /", kind=SERVER, start=start, end=start + took * ms,
        attributes={"http.route": "/", "http.status_code": 500 if error else 200, "n": number},
    )  # fmt: skip
    child = span(
        trace_id=tid(number), span_id=sid(2), parent_span_id=sid(1), name="place", kind=CLIENT,
        start=start + took * ms // 10, end=start + took * ms // 2, status=(ERROR, "boom") if error else None,
        attributes={"db": True},
    )  # fmt: skip
    return group({"service.name": service[0]}, [root]) + group({"service.name": service[1]}, [child])


@pytest.fixture
def post(call):
    async def posting(backend, body, status=200, content_type=PROTOBUF):
        reply = await call("POST", backend.url + "/v1/traces", body, content_type)
        assert reply.status == status, reply.body
        return reply

    return posting


def running(work, **options):
    async def run():
        async with Backend(**options) as backend:
            return await work(backend)

    return asyncio.run(run())


# --- what comes out is what went in ---------------------------------------------------------------------------------


def rich():
    request = ExportTraceServiceRequest()
    for service in ("web", "orders"):
        resource = request.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.26.0")
        resource.resource.attributes.add(key="service.name").value.string_value = service
        resource.resource.attributes.add(key="n").value.int_value = 2**62 + 1
        for version in ("1", "2"):
            scope = resource.scope_spans.add(schema_url="https://example.com/own" if version == "2" else "")
            scope.scope.name, scope.scope.version = "lib", version
            scope.scope.attributes.add(key="beta").value.bool_value = True
            for number in range(3):
                one = scope.spans.add(
                    trace_id=tid(7), span_id=f"{service:.4}{version}{number:03}".ljust(8)[:8].encode(),
                    parent_span_id=sid(9) if number else b"", trace_state="a=1,b=2", flags=0x301,
                    name=f"{service} {number} Größe", kind=number + 1, start_time_unix_nano=T0 + number,
                    end_time_unix_nano=T0 + 10**9 + number, dropped_attributes_count=3, dropped_events_count=4,
                    dropped_links_count=5,
                )  # fmt: skip
                one.status.code, one.status.message = number, "why" * number
                values = {"s": "é", "i": -(2**63), "d": 1.0, "b": False}
                for key, value in values.items():
                    kind = {"s": "string_value", "i": "int_value", "d": "double_value", "b": "bool_value"}[key]
                    setattr(one.attributes.add(key=key).value, kind, value)
                one.attributes.add(key="raw").value.bytes_value = b"\x00\xff"
                one.attributes.add(key="list").value.array_value.values.add().int_value = 5
                one.attributes.add(key="map").value.kvlist_value.values.add(key="k").value.double_value = 0.5
                event = one.events.add(time_unix_nano=T0 + 5, name="exception", dropped_attributes_count=1)
                event.attributes.add(key="exception.message").value.string_value = "no"
                link = one.links.add(trace_id=tid(8), span_id=sid(8), trace_state="c=3", flags=1)
                link.attributes.add(key="why").value.string_value = "batch"
                link.dropped_attributes_count = 2
    return request


def test_a_trace_comes_out_as_it_was_sent_every_field_and_type(post, call):
    sent = rich()

    async def work(backend):
        await post(backend, sent.SerializeToString())
        reply = await call("GET", f"{backend.url}/api/v1/traces/trace?trace_id={tid(7).hex()}&format=otlp")
        return reply.json, await backend.trace(tid(7).hex())

    told, spans = running(work)
    held = json_format.ParseDict(_with_base64_ids(told), ExportTraceServiceRequest())
    assert _flat(held) == _flat(sent)
    one = next(s for s in spans if s["name"] == "orders 2 Größe" and s["scope"]["version"] == "2")
    assert {key: one[key] for key in ("kind", "service", "start_unix_nano", "duration_nano", "flags", "trace_state")} == {
        "kind": "client", "service": "orders", "start_unix_nano": str(T0 + 2), "duration_nano": str(10**9),
        "flags": 0x301, "trace_state": "a=1,b=2",
    }  # fmt: skip
    assert one["status"] == {"code": "error", "message": "whywhy"}
    assert one["parent_span_id"] == sid(9).hex()
    assert one["attributes"] == {
        "s": "é", "i": -(2**63), "d": 1.0, "b": False, "raw": "AP8=", "list": [5], "map": {"k": 0.5},
    }  # fmt: skip
    assert one["events"] == [
        {
            "name": "exception", "time": "2027-01-15T08:00:00.000000005Z", "time_unix_nano": str(T0 + 5),
            "attributes": {"exception.message": "no"}, "dropped_attributes_count": 1,
        }
    ]  # fmt: skip
    assert one["links"] == [
        {
            "trace_id": tid(8).hex(), "span_id": sid(8).hex(), "trace_state": "c=3", "flags": 1,
            "attributes": {"why": "batch"}, "dropped_attributes_count": 2,
        }
    ]  # fmt: skip
    assert [one[f"dropped_{part}_count"] for part in ("attributes", "events", "links")] == [3, 4, 5]
    assert (one["scope"], one["schema_url"]) == (
        {"name": "lib", "version": "2", "attributes": {"beta": True}},
        "https://example.com/own",
    )
    assert one["resource"] == {"service.name": "orders", "n": 2**62 + 1}


def _with_base64_ids(told):
    """OTLP writes ids in hexadecimal, protobuf's library expects base64."""
    import base64

    def walk(value):
        if isinstance(value, dict):
            return {
                key: base64.b64encode(bytes.fromhex(one)).decode() if key in {"traceId", "spanId", "parentSpanId"} else walk(one)
                for key, one in value.items()
            }  # fmt: skip
        return [walk(one) for one in value] if isinstance(value, list) else value

    return walk(told)


def _flat(request):
    """Each span with its origin: what belongs together may be grouped in other ways."""
    return sorted(
        (
            sorted(one.SerializeToString() for one in resource.resource.attributes),
            scope.scope.SerializeToString(deterministic=True),
            scope.schema_url or resource.schema_url,
            one.SerializeToString(deterministic=True),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for one in scope.spans
    )


def test_ids_of_a_wrong_length_and_odd_numbers_are_held_as_they_came(post):
    odd = span(trace_id=tid(1), span_id=sid(1), name="odd", kind=77, start=2**64 - 1, end=5, status=(9, ""))
    short = odd.replace(b"\x12\x08" + sid(1), b"\x12\x02ab")

    async def work(backend):
        await post(backend, group({}, [short, odd]))
        found = await backend.ask("traces/trace", {"trace_id": tid(1).hex()})
        return found, await backend.ask("traces/count", {"by": "kind,status,service"})

    found, counted = running(work)
    assert {one["span_id"] for one in found["items"]} == {"6162", sid(1).hex()}
    assert found["items"][0]["kind"] == "77"
    assert found["items"][0]["status"]["code"] == "9"
    assert found["items"][0]["start_unix_nano"] == str(2**64 - 1)
    assert found["duration_nano"] == "0"
    assert counted["groups"][0]["values"] == {"kind": "77", "status": "9", "service": "(unnamed)"}


def test_what_is_malformed_is_refused_and_what_is_malformed_inside_is_told(post, call):
    whole = trace(1, T0)
    inside = span(trace_id=tid(2), span_id=sid(1), name="x", kind=1, start=T0, end=T0, more=field(9, b"\x0a\x7fk"))

    async def work(backend):
        reply = await post(backend, whole[:-3], 400)
        assert b"message" in reply.body
        await post(backend, group({"service.name": "bad"}, [inside]))
        found = await backend.ask("traces/trace", {"trace_id": tid(2).hex()})
        reply = await call("GET", f"{backend.url}/api/v1/traces/trace?trace_id={tid(2).hex()}&format=otlp")
        assert (reply.status, "malformed" in reply.json["error"]) == (400, True)
        assert await backend.spans({"k": "x"}) == 0
        assert "name" in {one["name"] for one in (await backend.ask("traces/fields"))["fields"]}
        return found["items"][0]

    one = running(work)
    assert (one["name"], one["attributes"]) == ("x", {})
    assert "ends" in one["malformed"]


def test_otlp_in_json_is_taken_too(post):
    body = json_format.MessageToDict(rich())
    for resource in body["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [
                {"traceId": tid(3).hex(), "spanId": sid(n).hex(), "name": "j", "startTimeUnixNano": str(T0), "kind": 2}
                for n in range(2)
            ]

    async def work(backend):
        await post(backend, json.dumps(body).encode(), content_type={"content-type": "application/json"})
        return await backend.ask("traces/count", {"kind": "server"})

    assert running(work) == {"count": 8, "errors": 0, "traces": 1, "duplicates": 6}


# --- search ---------------------------------------------------------------------------------------------------------


def many(count):
    """Traces a second apart; each takes as many ms as its number says, every tenth fails, every other is of `api`."""
    return [
        trace(n, T0 + n * 10**9, took=n + 1, service=("api" if n % 2 else "web", "orders"), error=n % 10 == 3)
        for n in range(count)
    ]


@pytest.mark.parametrize("together", [1, 7, 40])
def test_search_by_service_operation_duration_status_attribute_and_time(post, together):
    traces = many(40)

    async def work(backend):
        for at in range(0, 40, together):
            await post(backend, b"".join(traces[at : at + together]))

        async def numbers(**asked):
            found = await backend.ask("traces/search", {"limit": "1000", **asked})
            assert found["complete"]
            return [int(one["trace_id"][-8:], 16) for one in found["traces"]]

        latest_first = list(range(39, -1, -1))
        assert await numbers() == latest_first
        assert await numbers(service="api") == latest_first[::2]
        assert await numbers(**{"service!": "api|orders"}) == latest_first[1::2]
        assert await numbers(operation="GET.*") == latest_first
        assert await numbers(name="GET") == [], "from beginning to end"
        assert await numbers(status="error") == [33, 23, 13, 3]
        assert await numbers(status="error", service="web") == [], "one span has to meet all conditions"
        assert await numbers(min_duration="30ms") == list(range(39, 28, -1))
        assert await numbers(min_duration="10ms", max_duration="12ms") == [11, 10, 9]
        assert await numbers(min_span_duration="30ms", name="place") == []
        assert await numbers(max_span_duration="5ms", kind="server") == [4, 3, 2, 1, 0]
        assert await numbers(**{"http.status_code": "500"}) == [33, 23, 13, 3]
        assert await numbers(**{"attributes.n": "1."}) == list(range(19, 9, -1))
        assert await numbers(db="") == latest_first, "is there"
        assert await numbers(db="", **{"http.route": ""}) == []
        assert await numbers(status_message="bo+m") == [33, 23, 13, 3]
        since, before = str(T0 + 5 * 10**9), str(T0 + 8 * 10**9)
        assert await numbers(kind="server", **{"from": since, "to": before}) == [7, 6, 5]
        assert await numbers(trace_id=tid(12).hex()) == [12]
        assert await numbers(span_id=sid(2).hex(), parent_span_id=sid(1).hex()) == latest_first
        assert await numbers(parent_span_id=sid(2).hex()) == []
        assert await numbers(**{"scope.name": "lib", "scope.version!": "1.2"}) == []
        return await backend.ask("traces/search", {"limit": "3", "status": "error"})

    found = running(work)
    assert found["more"]
    assert [one["errors"] for one in found["traces"]] == [1, 1, 1]
    first = found["traces"][0]
    assert first["root"] == {"service": "api", "name": "GET /", "missing": False}
    assert (first["spans"], first["duration_nano"], first["start_unix_nano"]) == (2, "34000000", str(T0 + 33 * 10**9))
    assert first["services"] == [
        {"name": "api", "spans": 1, "errors": 0},
        {"name": "orders", "spans": 1, "errors": 1},
    ]


def test_a_trace_without_its_root_names_the_first_span_it_has(post):
    late = span(trace_id=tid(1), span_id=sid(5), parent_span_id=sid(1), name="b", kind=1, start=T0 + 9, end=T0 + 10)
    first = span(trace_id=tid(1), span_id=sid(6), parent_span_id=sid(1), name="a", kind=1, start=T0, end=T0 + 10)

    async def work(backend):
        await post(backend, group({"service.name": "s"}, [late, first]))
        return await backend.ask("traces/search")

    assert running(work)["traces"][0]["root"] == {"service": "s", "name": "a", "missing": True}


def test_counts_by_fields_and_spans_that_came_again(post):
    async def work(backend):
        for one in [*many(20), many(20)[3]]:
            await post(backend, one)
        shared = [
            span(trace_id=tid(99), span_id=sid(1), name="z", kind=kind, start=T0, end=T0) for kind in (CLIENT, SERVER)
        ]
        await post(backend, group({"service.name": "zipkin"}, shared))
        assert await backend.ask("traces/count") == {"count": 44, "errors": 3, "traces": 21, "duplicates": 2}
        by = await backend.ask("traces/count", {"by": "service,name", "service!": "zipkin"})
        values = await backend.ask("traces/values", {"field": "operation", "limit": "1"})
        attribute = await backend.ask("traces/values", {"field": "http.status_code"})
        names = {(one["name"], one["of"]) for one in (await backend.ask("traces/fields"))["fields"]}
        assert {("service", "span"), ("service.name", "resource"), ("http.route", "attributes")} <= names
        return by, values, attribute, await backend.spans({"service": "zipkin"})

    by, values, attribute, zipkin = running(work)
    assert by["groups"] == [
        {"values": {"service": "orders", "name": "place"}, "count": 21, "errors": 3},
        {"values": {"service": "api", "name": "GET /"}, "count": 11, "errors": 0},
        {"values": {"service": "web", "name": "GET /"}, "count": 10, "errors": 0},
    ]
    assert (values["values"], values["distinct"]) == ([{"value": "GET /", "count": 21, "errors": 0}], 3)
    assert (attribute["values"][1]["value"], attribute["values"][1]["count"], attribute["without"]) == ("500", 3, 23)
    assert zipkin == 2


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("traces/trace", 400, "trace_id: '' is none"),
        ("traces/trace?trace_id=zz", 400, "32 hexadecimal digits"),
        ("traces/trace?trace_id=" + "0f" * 16, 404, "there is no trace"),
        ("traces/trace?trace_id=" + "0f" * 16 + "&format=xml", 400, "format"),
        ("traces/logs?trace_id=" + "0f" * 16, 404, "there is no trace"),
        ("traces/search?min_duration=long", 400, "min_duration"),
        ("traces/search?service=(", 400, "is no regular expression"),
        ("traces/search?limit=1001", 400, "limit"),
        ("traces/search?from=yesterday", 400, "is no time"),
        ("traces/count?by=a,b,c,d,e,f", 400, "at most 5"),
        ("traces/values", 400, "field: say which one"),
    ],
)
def test_mistakes_are_told(call, path, status, says):
    async def work(backend):
        return await call("GET", f"{backend.url}/api/v1/{path}")

    reply = running(work)
    assert (reply.status, says in reply.json["error"]) == (status, True), reply.json


def test_a_search_that_takes_too_long_ends(post):
    async def work(backend):
        await post(backend, b"".join(many(3)))
        with pytest.raises(ValueError, match="took longer"):
            await backend.ask("traces/search", {"attributes.http.route": "(.*)*x" * 20, "from": "0"})

    running(work, search_seconds=0.0)


# --- logs beside a trace --------------------------------------------------------------------------------------------


def test_logs_that_name_the_trace_and_those_of_its_pods_meanwhile(post, send, record):
    pod = {"k8s.namespace.name": "shop", "k8s.pod.name": "web-1", "service.name": "web"}
    other = {"namespace": "shop", "pod": "orders-0"}
    one = span(trace_id=tid(1), span_id=sid(1), name="a", kind=1, start=T0, end=T0 + 10**9)
    hexed, s = tid(1).hex(), 10**9

    async def work(backend):
        await post(backend, group(pod, [one]))
        await send(
            backend.url,
            {"namespace": "shop", "pod": "web-1"},  # as Sumo Logic names them
            [record("before", T0 - 2 * s), record("meanwhile", T0 + s // 2), record("after", T0 + 2 * s + s // 2)],
        )
        await send(
            backend.url,
            other,
            [
                record("far", T0 + 5, trace_id=tid(2)),
                record("by its field", T0 + 60 * s, trace_id=tid(1)),
                record(f'{{"trace_id":"{hexed}","msg":"in JSON"}}', T0 + 3),
                record(f"as text {hexed.upper()}", T0 + 4),
                record("as attribute", T0 + 6, attributes={"traceId": hexed}),
                record("too late", T0 + 3600 * s, trace_id=tid(1)),
            ],
        )
        asked = {"trace_id": hexed}
        return (
            await backend.ask("traces/logs", asked),
            await backend.ask("traces/logs", {**asked, "around": "2s"}),
            await backend.ask("traces/logs", {**asked, "limit": "2", "body_limit": "7"}),
        )

    usual, wider, few = running(work)
    told = [(one["of"], one["body"].replace(hexed, "ID").replace(hexed.upper(), "ID")) for one in usual["records"]]
    assert told == [
        ("trace", '{"trace_id":"ID","msg":"in JSON"}'),
        ("trace", "as text ID"),
        ("trace", "as attribute"),
        ("pod", "meanwhile"),
        ("trace", "by its field"),
    ]
    assert (usual["more"], usual["pods"]) == (False, ["shop/web-1"])
    assert {one["body"] for one in wider["records"]} >= {"before", "meanwhile", "after"}
    assert [(one["body"], one["of"]) for one in few["records"]] == [('{"trace', "trace"), ("as text", "trace")]
    assert few["more"]


# --- the store ------------------------------------------------------------------------------------------------------


def lots(body):
    return [columns.read(group) for group in otlp.decode(Signal.TRACES, body).groups]


def rows(path):
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT level, items, received FROM span_chunk ORDER BY id").fetchall()
    connection.close()
    return found


def test_small_requests_are_gathered_and_the_oldest_go_first(tmp_path):
    path = tmp_path / "a.db"
    store = Store(path, Limits(max_age=3600))
    for n in range(2100):
        store.append([], [], T0 + n, spans=lots(trace(n, T0 + n)))
    gathered = [row for row in rows(path) if row[0] == 1]
    assert [row[1] for row in gathered] == [4096]
    assert sum(row[1] for row in rows(path)) == 4200
    store.expire(T0 + 2060 + 3600 * 10**9)
    total = store.totals[Signal.TRACES]
    assert (total.accepted, total.expired) == (4200, 4096 + 24)
    assert sum(row[1] for row in rows(path)) == 80
    store.close()
    again = Store(path, Limits())
    for n in range(2100, 4120):
        again.append([], [], T0 + n, spans=lots(trace(n, T0 + n)))
    assert [row[:2] for row in rows(path) if row[0] == 1] == [(1, 4096)], "what waited before is gathered, too"
    again.close()


def test_the_size_of_the_file_is_kept_and_resources_go_with_their_spans(tmp_path):
    path = tmp_path / "a.db"
    store = Store(path, Limits(max_size=1 << 20))
    rng = np.random.default_rng(1)
    for n in range(400):
        big = span(
            trace_id=tid(n), span_id=sid(1), name="x", kind=1, start=T0, end=T0, attributes={"x": rng.bytes(20_000)}
        )
        store.append([], [], T0 + n, spans=lots(group({"service.name": f"s{n}"}, [big])))
        assert store.size <= 1 << 20
    total = store.totals[Signal.TRACES]
    held = sum(row[1] for row in rows(path))
    assert total.accepted - total.expired == held > 10
    connection = sqlite3.connect(path)
    (resources,) = connection.execute("SELECT count(*) FROM resource").fetchone()
    (runs,) = connection.execute(
        "SELECT count(*) FROM span_run WHERE chunk NOT IN (SELECT id FROM span_chunk)"
    ).fetchone()
    connection.close()
    assert (resources < 350, runs) == (True, 0)
    store.close()


def test_a_file_of_the_version_before_gets_what_is_new(tmp_path):
    path = tmp_path / "a.db"
    Store(path, Limits()).close()
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE span_chunk; DROP TABLE span_run; PRAGMA user_version=2;")
    connection.close()
    store = Store(path, Limits())
    store.append([], [], T0, spans=lots(trace(1, T0)))
    store.close()
    assert rows(path) == [(0, 2, T0)]
    open_for_writing(path).close()


def test_what_a_failed_transaction_had_is_not_held(tmp_path):
    store = Store(tmp_path / "a.db", Limits())
    store.append([], [], T0, spans=lots(trace(1, T0)))
    store._connection.executescript("CREATE TRIGGER no BEFORE INSERT ON span_run BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(sqlite3.Error):
        store.append([], [], T0, spans=lots(trace(2, T0)))
    assert store.totals[Signal.TRACES].accepted == 2
    assert rows(store.path) == [(0, 2, T0)]
    store.close()


# --- columns --------------------------------------------------------------------------------------------------------

IDS = st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8))
SPANS = st.builds(
    lambda ids, name, kind, start, took, attributes: span(
        trace_id=ids[0], span_id=ids[1], name=name, kind=kind, start=start, end=start + took, attributes=attributes
    ),
    IDS,
    st.text(max_size=5),
    st.integers(0, 300),
    st.integers(0, 2**62),
    st.integers(0, 2**20),
    st.dictionaries(st.text(max_size=3), st.integers(-5, 5), max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=3), st.lists(SPANS, max_size=5)), max_size=4))
def test_columns_hold_what_they_were_given_in_any_order(groups):
    body = b"".join(group({}, spans, scope) for scope, spans in groups)
    read = [columns.read(one).spans for one in otlp.decode(Signal.TRACES, body).groups]
    if not read:
        return
    together = columns.joined(read)
    for held in (together, together.by_trace(), columns.unpack(columns.pack(together), len(together))):
        scopes = [held.names.scopes[place].name for place in held.columns["scope"].tolist()]
        names = [held.names.names[place] for place in held.columns["name"].tolist()]
        assert sorted(zip(held.raw, scopes, strict=True)) == sorted(
            (one, scope) for scope, spans in groups for one in spans
        )
        for raw, name, start in zip(held.raw, names, held.columns["start"].tolist(), strict=True):
            parsed = columns.message_class("Span").FromString(raw)
            assert (parsed.name.decode(), parsed.start) == (name, start)
    assert sum(len(piece) for piece in columns.pieces(together)) == len(together)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([(), (1,), (2,), (2, 9), (2, 11), (2, 13), (2, 15)]))
def test_bytes_that_are_no_spans_are_refused_or_read(data, inside):
    """At each place of a request: what is taken can be shown."""
    for number in reversed(inside):
        data = field(number, data)
    try:
        read = lots(field(1, field(2, data + field(2, b""))))
    except WireError:
        return
    for lot in read:
        held = columns.unpack(columns.pack(lot.spans), len(lot.spans))
        for message, place in zip(held.raw, held.columns["scope"].tolist(), strict=True):
            shown = trace_module._span(message, 1, held.names.scopes[place], {})
            json.dumps(shown, default=str)


def test_pieces_fit_and_a_large_span_has_one_for_itself():
    small = span(trace_id=tid(1), span_id=sid(1), name="s", kind=1, start=T0, end=T0)
    large = span(trace_id=tid(1), span_id=sid(2), name="l", kind=1, start=T0, end=T0, attributes={"x": "y" * (2 << 20)})
    held = columns.joined([lot.spans for lot in lots(group({}, [small] * 5000 + [large] + [small] * 10))])
    assert [len(piece) for piece in columns.pieces(held)] == [4096, 904, 1, 10]
