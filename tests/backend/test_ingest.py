import asyncio
import gzip
import json
import random
import re
import zlib

import zstandard
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.backend.server import Backend

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}

ODD = [
    "",
    "\0",
    "a\0b",
    "\ufffd",
    "line one\nline two\r\n\r\n",
    "\n",
    " \t trailing ",
    "😀 ünïcödé \u202e\u2066",
    "\x1b[31mred\x1b[0m \x7f",
    '{"not": "parsed"',
    '{"a": 1}',
    "<script>alert(1)</script>",
    "'; DROP TABLE chunk; --",
    "x" * (3 << 20),
    "\U0010ffff\ue000",
]


def test_bodies_arrive_byte_for_byte_and_in_order(send, record):
    dice = random.Random(7)
    bodies = ODD + ["".join(chr(dice.randrange(0xD800)) for _ in range(dice.randrange(60))) for _ in range(500)]
    dice.shuffle(bodies)

    async def run():
        async with Backend() as backend:
            at = 0
            while at < len(bodies):
                some = bodies[at : at + dice.randrange(1, 90)]
                rows = [record(body, time=10**18 + at + n) for n, body in enumerate(some)]
                await send(backend.url, {"k8s.pod.name": f"p{at % 3}"}, rows)
                assert await backend.count() == at + len(some)  # at once
                at += len(some)
            return await backend.records()

    found = asyncio.run(run())
    assert [r["body"] for r in found] == bodies
    assert [int(r["time_unix_nano"]) for r in found] == [10**18 + n for n in range(len(bodies))]
    assert not any("body_base64" in r for r in found)


def test_invalid_utf8_in_a_string_is_kept_as_it_came(send, record):
    async def run():
        async with Backend() as backend:
            await send(
                backend.url, {}, [record(raw_body=b"\xff\xfe"), record("fine"), record(raw_body="\ufffd".encode())]
            )
            return await backend.records()

    one, two, three = asyncio.run(run())
    assert (one["body"], one["body_base64"]) == ("\ufffd\ufffd", "//4=")
    assert two["body"] == "fine"
    assert three["body"] == "\ufffd"
    assert "body_base64" not in three


def test_all_fields_of_otlp_protobuf_and_json():
    request = {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
                "scopeLogs": [
                    {
                        "scope": {"name": "lib", "version": "1.2"},
                        "logRecords": [
                            {
                                "timeUnixNano": "1700000000123456789",
                                "observedTimeUnixNano": "1700000000123456790",
                                "severityNumber": 17,
                                "severityText": "ERROR",
                                "body": {
                                    "kvlistValue": {
                                        "values": [
                                            {
                                                "key": "a",
                                                "value": {
                                                    "arrayValue": {"values": [{"intValue": "1"}, {"boolValue": True}]}
                                                },
                                            }
                                        ]
                                    }
                                },
                                "attributes": [{"key": "n", "value": {"doubleValue": 1.5}}],
                                "traceId": "0102030405060708090a0b0c0d0e0f10",
                                "spanId": "0102030405060708",
                                "flags": 1,
                            },
                            {"observedTimeUnixNano": "5", "body": {"stringValue": "plain"}},
                        ],
                    }
                ],
            }
        ]
    }
    from hawse.batch import Signal
    from hawse.codecs.otlp_json import decode

    as_json = json.dumps(request).encode()
    as_protobuf = decode(Signal.LOGS, as_json).encode()
    assert len(ExportLogsServiceRequest.FromString(as_protobuf).resource_logs) == 1

    async def run():
        async with Backend() as backend:
            for body, kind in ((as_protobuf, PROTOBUF), (as_json, JSON)):
                reply = await asyncio.to_thread(post, backend.url + "/receiver/v1/otlp/TOKEN/v1/logs", body, kind)
                assert (reply[0], reply[1]) == (200, b"" if kind is PROTOBUF else b"{}")
                assert reply[2] == kind["content-type"]
            counts = [
                await backend.count(query)
                for query in (
                    {"severity_text": "ERROR"},
                    {"n": r"1\.5"},
                    {"a": r"\[1,true\]"},
                    {"scope.name": "lib"},
                    {"trace_id": "01.*10"},
                    {"severity_number": "17"},
                )
            ]
            return await backend.records(), counts

    found, counts = asyncio.run(run())
    assert counts == [2, 2, 2, 4, 2, 2]
    for rich in found[::2]:
        del rich["received"], rich["id"]
        assert rich == {
            "time": "2023-11-14T22:13:20.123456789Z",
            "time_unix_nano": "1700000000123456789",
            "observed_time_unix_nano": "1700000000123456790",
            "source": "shop",
            "body": '{"a":[1,true]}',
            "body_type": "json",
            "severity_number": 17,
            "severity_text": "ERROR",
            "attributes": {"n": 1.5},
            "resource": {"service.name": "shop"},
            "trace_id": "0102030405060708090a0b0c0d0e0f10",
            "span_id": "0102030405060708",
            "flags": 1,
            "event_name": "",
            "scope": {"name": "lib", "version": "1.2"},
        }
    for plain in found[1::2]:
        assert (plain["body"], plain["body_type"], plain["time_unix_nano"]) == ("plain", "string", "5")


def post(url, body, headers):
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(url, body, dict(headers), method="POST"), timeout=20) as got:
            return got.status, got.read(), got.headers.get("content-type")
    except HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("content-type")


def test_bad_otlp_is_refused_in_the_words_of_its_own_encoding(call):
    async def run():
        async with Backend() as backend:
            url = backend.url + "/v1/logs"
            reply = await call("POST", url, b"\x0a\xff\xff", PROTOBUF)
            assert (reply.status, reply.headers["content-type"]) == (400, "application/x-protobuf")
            status = Status.FromString(reply.body)
            assert status.code == 3
            assert "varint" in status.message or "ends" in status.message
            inside = b"\x0a\x05\x12\x03\x12\x01\x09"  # the group is fine, the record in it is cut off
            assert (await call("POST", url, inside, PROTOBUF)).status == 400
            reply = await call("POST", url, b'{"resourceLogs": 5}', JSON)
            assert reply.status == 400
            assert reply.json["code"] == 3
            assert "resourceLogs" in reply.json["message"]
            assert (await call("POST", url, b"x", {"content-type": "text/plain"})).status == 415
            reply = await call("POST", url, b"", PROTOBUF)
            assert reply.status == 200
            ExportLogsServiceResponse.FromString(reply.body)
            assert (await call("POST", backend.url + "/api/v1/logs/nothing", b"x")).status == 404
            assert await backend.count() == 0

    asyncio.run(run())


def test_one_bad_request_costs_no_other_its_records(call, record, send):
    async def run():
        async with Backend() as backend:
            good = [send(backend.url, {}, [record(f"{n}")]) for n in range(20)]
            bad = [call("POST", backend.url + "/v1/logs", b"\x0a\xff\xff", PROTOBUF) for _ in range(20)]
            replies = await asyncio.gather(*(one for pair in zip(good, bad, strict=True) for one in pair))
            assert {reply.status for reply in replies[1::2]} == {400}
            assert await backend.count() == 20

    asyncio.run(run())


def test_http_source_takes_lines(call):
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}
    body = b'one\n\ntwo\r\n{"log":"three","timestamp":1700000000123}\n{"timestamp":"x"}\n\xff\n'
    headers = {
        "x-sumo-name": "web.1",
        "x-sumo-category": "prod/web",
        "x-sumo-host": "h",
        "x-sumo-client": "k8s_1",
        "x-sumo-fields": "cluster=harbour, k8s.pod.name=web-1,empty=, =x, junk",
        "content-type": "application/x-www-form-urlencoded",
    }

    async def run():
        async with Backend() as backend:
            reply = await call("POST", backend.url + "/receiver/v1/http/TOKEN==", body, headers)
            assert (reply.status, reply.body) == (200, b"")
            for name, packed in pack.items():
                reply = await call("POST", backend.url + "/", packed(body), headers | {"content-encoding": name})
                assert (reply.status, reply.body) == (200, b"")
            assert await backend.count({"_sourceName": "web.1", "_sourceCategory": "prod/web", "cluster": "h.*"}) == 24
            assert await backend.count({"log": "three", "from_ts": "1700000000123", "to_ts": "1700000000124"}) == 4
            return await backend.records()

    found = asyncio.run(run())
    expected = ["one", "", "two\r", '{"log":"three","timestamp":1700000000123}', '{"timestamp":"x"}', "\ufffd"]
    assert [r["body"] for r in found] == expected * 4
    assert found[5]["body_base64"] == "/w=="
    assert found[3]["time"] == "2023-11-14T22:13:20.123000000Z"
    assert all(r["time_unix_nano"] == r["observed_time_unix_nano"] for r in found[:3])
    assert found[0]["resource"] == {
        "_client": "k8s_1",
        "_sourceCategory": "prod/web",
        "_sourceHost": "h",
        "_sourceName": "web.1",
        "cluster": "harbour",
        "empty": "",
        "k8s.pod.name": "web-1",
    }


def test_a_last_line_break_begins_no_record(call):
    async def run():
        async with Backend() as backend:
            for body, count in [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2), (b"a\nb", 2)]:
                reply = await call("POST", backend.url + "/", body, {"x-sumo-name": repr(body)})
                assert reply.status == 200
                assert await backend.count({"_sourceName": re.escape(repr(body))}) == count

    asyncio.run(run())


def test_http_source_refuses_protobuf_as_the_service_does(call):
    async def run():
        async with Backend() as backend:
            reply = await call("POST", backend.url + "/", b"x", PROTOBUF)
            assert reply.status == 400
            assert reply.json["errors"] == [
                {"code": "header:invalid", "message": "Invalid Content-Type header: application/x-protobuf"}
            ]

    asyncio.run(run())


def test_metrics_and_traces_are_counted(call):
    metrics = ExportMetricsServiceRequest()
    group = metrics.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    for points in (2, 3):
        gauge = group.scope_metrics.add().metrics.add(name="m").gauge
        for n in range(points):
            gauge.data_points.add(as_int=n)
    traces = ExportTraceServiceRequest()
    traces.resource_spans.add().scope_spans.add().spans.add(name="s")
    prometheus = b"# TYPE up gauge\nup 1\nup 2\n\n"

    async def run():
        async with Backend() as backend:
            for path, body, kind in (
                ("/v1/metrics", metrics.SerializeToString(), PROTOBUF),
                ("/v1/traces", traces.SerializeToString(), PROTOBUF),
                ("/", prometheus, {"content-type": "application/vnd.sumologic.prometheus", "x-sumo-name": "p"}),
            ):
                assert (await call("POST", backend.url + path, body, kind)).status == 200
            signals = (await call("GET", backend.url + "/api/v1/status")).json["signals"]
            assert {name: signal["held"] for name, signal in signals.items()} == {"logs": 0, "metrics": 7, "traces": 1}
            assert (await call("GET", backend.url + "/api/v1/groups")).json["groups"] == []
            counted = (await call("GET", backend.url + "/api/v1/metrics/count")).json
            assert (counted["count"], counted["series"], counted["duplicates"]) == (2, 2, 5)  # of one time, all of them
            text = (await call("GET", backend.url + "/metrics")).body.decode()
            assert 'hawse_backend_accepted_items_total{signal="metrics"} 7\n' in text
            assert 'hawse_backend_requests_total{signal="traces",code="200"} 1\n' in text

    asyncio.run(run())


def test_the_mock_s_question_is_answered_here_too(send, record, call):
    async def run():
        async with Backend() as backend:
            await send(backend.url, {"pod": "web-1", "host": ""}, [record("x", time=1_700_000_000_500 * 10**6)] * 3)
            url = backend.url + "/logs/count"
            for query, count in [
                ({}, 3),
                ({"pod": "web-1"}, 3),
                ({"pod": "web"}, 0),
                ({"pod": "web.*", "host": ""}, 3),
                ({"node": ""}, 0),
                ({"from_ts": 1_700_000_000_500, "to_ts": 1_700_000_000_501}, 3),
                ({"from_ts": 1_700_000_000_501}, 0),
                ({"to_ts": 1_700_000_000_500}, 0),
                ({"to_ts": 2**64 - 1}, 3),
            ]:
                assert (await call("GET", url, query=query)).json == {"count": count}, query

    asyncio.run(run())
