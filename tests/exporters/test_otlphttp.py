"""The otlphttp exporter against servers that answer as told."""

import asyncio
import gzip
import json
import logging
import zlib
from collections import defaultdict
from contextlib import asynccontextmanager

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, ComponentID, Connects, NoLedger, Reads, Refused
from hawse.exporters.otlphttp import OtlpHttpConfig, factory, needs
from hawse.net.http import Response
from hawse.net.retry import RetryConfig
from hawse.net.server import HttpServers
from hawse.net.settings import CompressionParams, ServerConfig, TLSClient
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.values import Duration
from hawse.wire import field

QUICK = RetryConfig(initial_interval=Duration(0.01), max_interval=Duration(0.02))
ONCE = RetryConfig(enabled=False)


class FakeContext:
    id = ComponentID("otlphttp")

    def __init__(self):
        self.log = logging.LoggerAdapter(logging.getLogger("test.otlphttp"), {})
        self.meter = self
        self.ledger = NoLedger()
        self.sums = defaultdict(float)

    def counter(self, name, description, unit="1"):
        sums = self.sums

        class Counter:
            def add(self, amount, **attributes):
                sums[name, *attributes.values()] += amount

        return Counter()

    def gauge(self, name, description, read, **attributes):
        pass


def sending(config, context):
    """The exporter with what the pipeline does for it."""
    return Sending(factory.create(config, context), config, context, Ledger())


class Backend:
    """Keeps requests; gives the next of its answers, then 200."""

    def __init__(self):
        self.answers = []
        self.requests = []
        self.most = self.now = 0
        self.delay = 0.0

    async def __call__(self, request):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.delay)
        self.now -= 1
        self.requests.append(request)
        return self.answers.pop(0) if self.answers else Response(200)


@asynccontextmanager
async def exporting(**options):
    backend, context, servers = Backend(), FakeContext(), HttpServers()
    port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/*"): backend}, owner="backend")
    options.setdefault("retry_on_failure", QUICK)
    config = OtlpHttpConfig(**{"endpoint": f"http://127.0.0.1:{port}", **options})
    exporter = sending(config, context)
    await exporter.start()
    try:
        yield exporter, backend, context
    finally:
        await exporter.stop()
        await servers.close()


def batch(signal=Signal.LOGS, records=3):
    record = field(
        2, b"\x09" + (1).to_bytes(8, "little") + field(5, field(1, b"hello"))
    )  # time and body of a LogRecord
    scopes = memoryview(bytearray(field(2, record * records)))
    return Batch(signal, [Group(Resource.of({"pod": f"p{n}"}), (scopes[:5], scopes[5:]), records) for n in range(2)])


def export(*answers, what=None, **options):
    """Export one batch; the backend's requests, and what was counted."""

    async def run():
        async with exporting(**options) as (exporter, backend, context):
            backend.answers = list(answers)
            await exporter.consume(what or batch())
            return backend.requests, context.sums

    return asyncio.run(run())


DECODE = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "deflate": zlib.decompress,
}


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("compression", ["gzip", "zstd", "deflate", "none"])
def test_what_arrives_is_the_batch(signal, compression):
    sent = batch(signal)
    (request,), _ = export(what=sent, compression=compression, headers={})
    assert request.path == f"/v1/{signal}"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers.get("content-encoding", "none") == compression
    assert request.body == sent.encode()


def test_what_is_on_the_wire_is_compressed_as_it_says():
    """The server above undoes the encoding: here a socket sees it."""

    async def run(compression, level):
        seen = asyncio.Future()

        async def serve(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].split()[0])
            seen.set_result((head, await reader.readexactly(length)))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        config = OtlpHttpConfig(
            endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            compression=compression,
            compression_params=CompressionParams(level=level),
        )
        exporter = sending(config, FakeContext())
        await exporter.consume(batch(records=500))
        await exporter.stop()
        server.close()
        await server.wait_closed()
        return await seen

    for compression, decode in DECODE.items():
        for level in (1, 3, 9):
            head, body = asyncio.run(run(compression, level))
            assert f"content-encoding: {compression}\r\n" in head
            assert decode(body) == batch(records=500).encode()
            assert len(body) < 1000


def test_json():
    (request,), _ = export(encoding="json")
    assert request.headers["content-type"] == "application/json"
    groups = json.loads(request.body)["resourceLogs"]
    assert [g["resource"]["attributes"][0]["value"]["stringValue"] for g in groups] == ["p0", "p1"]
    assert groups[0]["scopeLogs"][0]["logRecords"][0] == {"timeUnixNano": "1", "body": {"stringValue": "hello"}}


@pytest.mark.parametrize("status", [401, 403, 404, 405, 408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_with_the_same_bytes(status, caplog):
    requests, _ = export(Response(status, b"not  now\n"), Response(status), Response(200))
    assert len(requests) == 3
    assert len({request.body for request in requests}) == 1
    assert f"/v1/logs answered {status}: not now" in caplog.text


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Response(400, b"\x08\x03" + field(2, b"bad record"), content_type="application/x-protobuf"), "bad record"),
        (Response(400, b'{"code":3,"message":"bad record"}', content_type="application/json"), "bad record"),
        (Response(400, b"{", content_type="application/json"), "{"),
        (Response(413, b"x" * 5000), "x" * 300),
        (Response(301, headers={"location": "/"}), "(empty body)"),
        (Response(418, b"\xff\xfe"), "�"),
    ],
)
def test_what_will_never_pass_is_refused_with_what_was_said(answer, says):
    with pytest.raises(Refused) as caught:
        export(*[answer] * 20)
    assert f"/v1/logs answered {answer.status}: {says}" in caught.value.reason
    assert len(caught.value.reason) < 400


def test_retry_after_is_obeyed():
    async def run():
        async with exporting() as (exporter, backend, _):
            backend.answers = [Response(429, headers={"retry-after": "1"})]
            loop = asyncio.get_running_loop()
            began = loop.time()
            await exporter.consume(batch())
            return loop.time() - began

    assert 1 <= asyncio.run(run()) < 2


def test_without_retries_the_caller_hears_how_long_to_wait():
    with pytest.raises(Busy, match="answered 503: queue full") as caught:
        export(Response(503, b"queue full", headers={"retry-after": "7"}), retry_on_failure=ONCE)
    assert caught.value.retry_after == 7


def test_a_backend_that_is_down_is_waited_for(caplog):
    async def run():
        servers = HttpServers()
        backend = Backend()
        settings = ServerConfig(endpoint="127.0.0.1:0")
        port = await servers.mount(settings, {("POST", "/*"): backend}, owner="b")
        await servers.close()
        config = OtlpHttpConfig(endpoint=f"http://127.0.0.1:{port}", retry_on_failure=QUICK)
        exporter = sending(config, FakeContext())
        waiting = asyncio.create_task(exporter.consume(batch()))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        servers = HttpServers()
        await servers.mount(ServerConfig(endpoint=f"127.0.0.1:{port}"), {("POST", "/*"): backend}, owner="b")
        await waiting
        await exporter.stop()
        await servers.close()
        return port, backend.requests

    port, requests = asyncio.run(run())
    assert len(requests) == 1
    assert f"cannot connect to 127.0.0.1:{port}: connection refused" in caplog.text


def test_the_buffers_may_change_once_consume_has_returned_and_not_before():
    async def run():
        async with exporting() as (exporter, backend, _):
            backend.answers = [Response(503)] * 3
            memory = bytearray(field(2, field(2, b"")))
            consumed = Batch(Signal.LOGS, [Group(Resource(), (memoryview(memory),), 1)])
            expected = consumed.encode()
            await exporter.consume(consumed)
            memory[:] = b"\xff" * len(memory)
            return [request.body == expected for request in backend.requests]

    assert asyncio.run(run()) == [True] * 4


def test_requests_in_flight_are_bounded():
    async def run():
        async with exporting(max_conns_per_host=2) as (exporter, backend, _):
            backend.delay = 0.02
            await asyncio.gather(*(exporter.consume(batch()) for _ in range(10)))
            return backend.most, len(backend.requests)

    assert asyncio.run(run()) == (2, 10)


@pytest.mark.parametrize("json_", [False, True])
def test_rejected_records_are_counted_and_told(json_, caplog):
    if json_:
        body = b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}'
        answer = Response(200, body, content_type="application/json")
    else:
        made = ExportLogsServiceResponse()
        made.partial_success.rejected_log_records = 2
        made.partial_success.error_message = "too old"
        answer = Response(200, made.SerializeToString(), content_type="application/x-protobuf")
    requests, counts = export(answer)
    assert len(requests) == 1  # the specification forbids to send it again
    assert counts["hawse_exporter_rejected_items", "logs"] == 2
    assert "rejected 2 log records: too old" in caplog.text


@pytest.mark.parametrize(
    "body", [b"\xff", b"{", b"[]", b'{"partialSuccess":5}', b'{"partialSuccess":{"rejectedLogRecords":"x"}}']
)
@pytest.mark.parametrize("content_type", ["application/json", "application/x-protobuf", "text/html"])
def test_a_success_is_a_success_whatever_its_body(body, content_type):
    requests, counts = export(Response(202, body, content_type=content_type))
    assert (len(requests), dict(counts)) == (1, {})


def test_signals_may_have_endpoints_of_their_own():
    async def run():
        async with exporting() as (_, backend, context):
            port = next(iter(_._exporter._client._pools))[2]
            exporter = factory.create(OtlpHttpConfig(logs_endpoint=f"http://localhost:{port}/other/path?q=1"), context)
            await exporter.consume(batch())
            with pytest.raises(Refused, match="no endpoint for traces: set endpoint or traces_endpoint"):
                await exporter.consume(batch(Signal.TRACES))
            await exporter.stop()
            return [(request.path, request.query) for request in backend.requests]

    assert asyncio.run(run()) == [("/other/path", {"q": ["1"]})]


def test_needs():
    config = OtlpHttpConfig(
        endpoint="https://backend", traces_endpoint="http://traces:4318/t", tls=TLSClient(ca_file="/etc/ca.pem")
    )
    assert list(needs(config)) == [
        Connects("backend", 443, "tcp", "OTLP/HTTP"),
        Connects("traces", 4318, "tcp", "OTLP/HTTP"),
        Reads("/etc/ca.pem", "TLS"),
    ]


@pytest.mark.parametrize(
    ("options", "path", "says"),
    [
        ({}, "endpoint", "nothing to send to"),
        ({"endpoint": "backend:4318"}, "endpoint", "no HTTP URL"),
        ({"endpoint": "http://backend:99999"}, "endpoint", "no valid port"),
        ({"logs_endpoint": "ftp://x"}, "logs_endpoint", "no HTTP URL"),
        ({"endpoint": "http://user:secret@backend"}, "endpoint", "shown in logs"),
    ],
)
def test_problems(options, path, says):
    problems = list(OtlpHttpConfig(**options).problems())
    assert any(problem.path == path and says in problem.message for problem in problems)
    assert "secret" not in str(problems)
