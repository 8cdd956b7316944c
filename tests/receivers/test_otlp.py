"""The otlp receiver, as OpenTelemetry's own SDK and as raw requests see it."""

import asyncio
import gzip
import json
import logging
from collections import defaultdict
from contextlib import asynccontextmanager

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from hawse import wire
from hawse.batch import Signal
from hawse.component import Busy, ComponentID, Listens, NoLedger, Reads, Refused
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig, TLSServer
from hawse.receivers.otlp import HttpConfig, OtlpConfig, Protocols, factory, needs


class Counts:
    """A meter that remembers."""

    def __init__(self):
        self.sums = defaultdict(float)

    def counter(self, name, description, unit="1"):
        meter = self

        class Counter:
            def add(self, amount, **attributes):
                meter.sums[name] += amount

        return Counter()

    def gauge(self, *_, **__):
        pass


class FakeContext:
    id = ComponentID("otlp")

    def __init__(self):
        self.log = logging.LoggerAdapter(logging.getLogger("test.otlp"), {})
        self.meter = Counts()
        self.ledger = NoLedger()
        self._servers = HttpServers()

    def shared(self, kind):
        assert kind is HttpServers
        return self._servers


class Sink:
    """A consumer that keeps what comes, or answers as told."""

    def __init__(self):
        self.batches = []
        self.answer = None
        self.gate = None

    async def consume(self, batch):
        if self.gate is not None:
            await self.gate.wait()
        if self.answer is not None:
            raise self.answer
        # Buffers are the caller's: keep a copy.
        self.batches.append(
            (batch.signal, batch.encode(), batch.items, batch.peer, [dict(g.resource.attributes) for g in batch.groups])
        )


@asynccontextmanager
async def receiving(signals=tuple(Signal), **options):
    context, sink = FakeContext(), Sink()
    config = OtlpConfig(protocols=Protocols(http=HttpConfig(endpoint="127.0.0.1:0", **options)))
    receiver = factory.create(config, context, dict.fromkeys(signals, sink))
    await receiver.start()
    client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{receiver.port}"))
    try:
        yield receiver, sink, client, context
    finally:
        await client.close()
        await receiver.stop()


def logs(records=1, body="hello", **resource):
    data = LogsData()
    group = data.resource_logs.add()
    for key, value in resource.items():
        group.resource.attributes.add(key=key).value.string_value = value
    scope = group.scope_logs.add()
    for number in range(records):
        scope.log_records.add(time_unix_nano=number + 1).body.string_value = body
    return data.SerializeToString()


PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}


def exchange(body, headers=PROTOBUF, *, path="/v1/logs", answer=None, **options):
    """Post once; the response, what the sink got, and the counts."""

    async def run():
        async with receiving(**options) as (_, sink, client, context):
            sink.answer = answer
            response = await client.request("POST", path, body, headers)
            return response, sink.batches, context.meter.sums

    return asyncio.run(run())


# --- the SDK ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", list(Compression))
def test_what_the_sdk_sends(compression):
    async def run():
        async with receiving() as (receiver, sink, _, _):
            await asyncio.to_thread(_use_sdk, f"http://127.0.0.1:{receiver.port}", compression)
            return sink.batches

    batches = {signal: (data, items, peer, attributes) for signal, data, items, peer, attributes in asyncio.run(run())}
    assert set(batches) == set(Signal)
    for _, _, peer, attributes in batches.values():
        assert peer == "127.0.0.1"
        assert attributes[0]["service.name"] == "shop"
    data, items, *_ = batches[Signal.LOGS]
    records = [r for s in LogsData.FromString(data).resource_logs[0].scope_logs for r in s.log_records]
    assert items == len(records) == 50
    assert [record.body.string_value for record in records] == [f"order {n}" for n in range(50)]
    data, items, *_ = batches[Signal.METRICS]
    names = {m.name for s in MetricsData.FromString(data).resource_metrics[0].scope_metrics for m in s.metrics}
    assert names == {"orders", "size"}
    assert items == 3
    data, items, *_ = batches[Signal.TRACES]
    assert items == 1
    assert TracesData.FromString(data).resource_spans[0].scope_spans[0].spans[0].name == "checkout"


def _use_sdk(endpoint, compression):
    resource = Resource({"service.name": "shop"})
    how = {"compression": compression, "timeout": 5}
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces", **how)))
    with tracers.get_tracer("t").start_as_current_span("checkout", kind=trace.SpanKind.SERVER):
        pass
    tracers.shutdown()
    meters = MeterProvider(
        [PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics", **how), 60_000)], resource=resource
    )
    meter = meters.get_meter("m")
    counter = meter.create_counter("orders")
    counter.add(1, {"kind": "a"})
    counter.add(2, {"kind": "b"})
    meter.create_histogram("size").record(5)
    meters.shutdown()
    loggers = LoggerProvider(resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs", **how)))
    logger = loggers.get_logger("l")
    for number in range(50):
        logger.emit(body=f"order {number}", severity_text="INFO")
    loggers.shutdown()


# --- answers by outcome -----------------------------------------------------------------------------------------------------


def test_protobuf_is_passed_on_byte_for_byte():
    body = logs(3, **{"k8s.pod.uid": "u1"})
    response, batches, _ = exchange(body)
    assert (response.status, response.body, response.headers["content-type"]) == (200, b"", "application/x-protobuf")
    assert batches == [(Signal.LOGS, body, 3, "127.0.0.1", [{"k8s.pod.uid": "u1"}])]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress), ("identity", bytes)],
)
def test_compressed(encoding, encode):
    body = logs(1000, body="x" * 500, a="b")
    response, batches, _ = exchange(encode(body), {**PROTOBUF, "content-encoding": encoding})
    assert response.status == 200
    assert [(data == body, items) for _, data, items, *_ in batches] == [(True, 1000)]


def test_json():
    document = {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "a", "value": {"stringValue": "b"}}]},
                "scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": "hello"}}]}],
            }
        ]
    }
    response, batches, _ = exchange(json.dumps(document).encode(), JSON)
    assert (response.status, response.body, response.headers["content-type"]) == (200, b"{}", "application/json")
    assert batches == [(Signal.LOGS, logs(1, a="b"), 1, "127.0.0.1", [{"a": "b"}])]


def test_nothing_to_take_is_taken():
    for body in (b"", b"\x0a\x00"):
        response, batches, _ = exchange(body)
        assert (response.status, batches) == (200, [])


@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
@pytest.mark.parametrize(
    ("answer", "status", "code", "retry_after"),
    [
        (Busy("the queue is full"), 503, 14, "1"),
        (Busy("the queue is full", 2.5), 503, 14, "3"),
        (Busy("the queue is full", 0), 503, 14, "1"),
        (Refused("the queue is full"), 400, 3, None),
    ],
)
def test_what_the_consumer_says_is_what_the_client_hears(headers, answer, status, code, retry_after):
    body = logs() if headers is PROTOBUF else b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}'
    response, batches, _ = exchange(body, headers, answer=answer)
    assert (response.status, batches) == (status, [])
    assert response.headers.get("retry-after") == retry_after
    assert response.headers["content-type"] == headers["content-type"].partition(";")[0]
    if headers is JSON:
        assert json.loads(response.body) == {"code": code, "message": "the queue is full"}
    else:
        assert response.body == bytes([8, code, 18, 17]) + b"the queue is full"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"not protobuf at all",
        logs()[:-1],  # cut off
        b"\x0a\x05\x0a\x03\x0a\x07x",  # an attribute that ends behind its resource
        b"\x0a\x06\x12\x04\x12\x05abc",  # a record that ends behind its scope
        b"\x0a\x09\x0a\x07\x0a\x05\x0a\x01k\x12\x7f",  # a value that ends behind its attribute
    ],
)
def test_malformed_protobuf_is_never_accepted(body, caplog):
    response, batches, counts = exchange(body)
    assert (response.status, batches) == (400, [])
    assert response.body[:2] == b"\x08\x03"
    assert b"malformed logs request: " in response.body
    assert counts["hawse_receiver_malformed_requests"] == 1
    assert "from 127.0.0.1, refused" in caplog.text


def test_malformed_json_says_where():
    response, _, _ = exchange(b'{"resourceLogs":[{"scopeLogs":5}]}', JSON)
    assert response.status == 400
    assert json.loads(response.body) == {
        "code": 3,
        "message": "malformed logs request: resourceLogs[0].scopeLogs: expected an array, got 5",
    }


@pytest.mark.parametrize(
    ("body", "headers", "limit"),
    [
        (b"\x0a\0" * 300_000, PROTOBUF, "max_request_items"),  # groups: each of two bytes becomes kilobytes of objects
        (wire.field(1, b"\x12\0" * 300_000), PROTOBUF, "max_request_items"),  # scopes
        (wire.field(1, wire.field(2, b"\x12\0" * 300_000)), PROTOBUF, "max_request_items"),  # records
        (wire.field(1, wire.field(2, b"\x12\0" * 3_000_000)), PROTOBUF, "max_request_items"),
        (wire.field(1, wire.field(1, b"\x0a\0" * 200_000)), PROTOBUF, "max_resource_size"),
        (b'{"resourceLogs":[' + b"{}," * 300_000 + b"{}]}", JSON, "max_request_items"),
        (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + b"{}," * 300_000 + b"{}]}]}]}", JSON, "max_request_items"),
        (b'{"x":"' + b"y" * (4 << 20) + b'"}', JSON, "max_json_body_size"),
    ],
)
def test_parts_without_number_are_refused_before_they_are_made(body, headers, limit):
    answer, taken, _ = exchange(body, headers)
    assert (answer.status, taken) == (413, [])
    assert answer.headers["content-type"] == headers["content-type"].partition(";")[0]
    assert f"({limit})".encode() in answer.body


@pytest.mark.parametrize(
    ("path", "inner"), [("/v1/metrics", b"\x12\0"), ("/v1/metrics", b"\x12\4\x2a\2\x0a\0"), ("/v1/traces", b"\x12\0")]
)
def test_so_are_those_of_metrics_and_traces(path, inner):
    answer, _, _ = exchange(wire.field(1, wire.field(2, inner * 300_000)), path=path)
    assert (answer.status, b"(max_request_items)" in answer.body) == (413, True)


def test_over_the_memory_budget_a_client_is_told_in_otlp():
    async def run():
        async with receiving() as (receiver, sink, client, context):
            budget = context.shared(HttpServers)._budget
            budget.charge(budget.limit)
            answers = []
            for headers in (PROTOBUF, JSON):
                answers.append(await client.request("POST", "/v1/logs", b"x" * 100, headers))
            budget.release(budget.limit)
            return [(one.status, one.headers["retry-after"], one.headers["content-type"], one.body) for one in answers]

    (one, two) = asyncio.run(run())
    assert one[:3] == (429, "1", "application/x-protobuf")
    assert one[3].startswith(b"\x08\x08\x12")  # google.rpc.Status, code 8: RESOURCE_EXHAUSTED
    assert two[:3] == (429, "1", "application/json")
    assert json.loads(two[3]) == {
        "code": 8,
        "message": "as much is in flight as memory allows; send it again later (memory_limit)",
    }


def test_other_content_types_and_paths():
    response, _, _ = exchange(b"x", {"content-type": "text/plain"})
    assert response.status == 415
    assert b"'text/plain' is not OTLP; send application/x-protobuf or application/json" in response.body
    assert exchange(b"", path="/v1/traces", signals=(Signal.LOGS,))[0].status == 404  # no pipeline for traces
    assert exchange(logs(), path="/custom", logs_url_path="/custom")[0].status == 200


def test_an_unanswered_request_is_cancelled_with_its_client_and_finished_at_stop():
    async def run():
        async with receiving() as (receiver, sink, client, _):
            sink.gate = asyncio.Event()
            leaving = asyncio.create_task(client.request("POST", "/v1/logs", logs(), PROTOBUF))
            await asyncio.sleep(0.05)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await asyncio.sleep(0.05)
            staying = asyncio.create_task(client.request("POST", "/v1/logs", logs(2), PROTOBUF))
            await asyncio.sleep(0.05)
            stopping = asyncio.create_task(receiver.stop())
            await asyncio.sleep(0.05)
            assert not stopping.done()
            sink.gate.set()
            assert (await staying).status == 200
            await stopping
            return [items for _, _, items, *_ in sink.batches]

    assert asyncio.run(run()) == [2]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(list(Signal)))
def test_whatever_is_accepted_can_be_read_by_components(data, signal):
    """All that components rely on later has been walked: lengths down to records, and resources."""
    from hawse.net.http import Request
    from hawse.receivers.otlp import HttpConfig, decode, read_resources
    from hawse.wire import WireError

    limits = HttpConfig()

    for body in (
        data,
        b"\x0a" + bytes([len(data)]) + data,
        b"\x0a" + bytes([len(data) + 2]) + b"\x0a" + bytes([len(data)]) + data,
    ):
        try:
            batch = decode(signal, Request("POST", "/", body=body), limits, as_json=False)
            asyncio.run(read_resources(batch))
        except WireError:
            continue
        for group in batch.groups:
            changed = group.resource.replaced({"x": "y"}, remove=list(group.resource.attributes)[:1])
            assert changed.attributes["x"] == "y"
            assert group.with_resource(changed).items == group.items
        again = decode(signal, Request("POST", "/", body=batch.encode()), limits, as_json=False)
        assert [g.items for g in again.groups] == [g.items for g in batch.groups]
        assert [str(g.resource.attributes) for g in again.groups] == [str(g.resource.attributes) for g in batch.groups]


# --- configuration ------------------------------------------------------------------------------------------------------------


def test_needs():
    config = OtlpConfig(protocols=Protocols(http=HttpConfig()))
    assert list(needs(config)) == [Listens(4318, "tcp", "OTLP/HTTP", "localhost")]
    tls = TLSServer(cert_file="/c", key_file="/k")
    config = OtlpConfig(protocols=Protocols(http=HttpConfig(endpoint=":24321", tls=tls)))
    assert list(needs(config)) == [
        Listens(24321, "tcp", "OTLP/HTTP", "0.0.0.0"),
        Reads("/c", "TLS"),
        Reads("/k", "TLS"),
    ]


def test_a_port_in_use_is_told_with_its_place():
    async def run():
        async with receiving() as (first, *_):
            http = HttpConfig(endpoint=f"127.0.0.1:{first.port}")
            second = factory.create(OtlpConfig(protocols=Protocols(http=http)), FakeContext(), {Signal.LOGS: Sink()})
            with pytest.raises(HawseError) as caught:
                await second.start()
            await second.stop()
            return caught.value.findings[0]

    finding = asyncio.run(run())
    assert finding.where.path == "protocols.http.endpoint"
    assert "is in use" in finding.message


def test_problems():
    (problem,) = OtlpConfig(protocols=Protocols()).problems()
    assert "no protocol" in problem.message
    same = HttpConfig(logs_url_path="/v1/traces")
    assert [problem.path for problem in same.problems()] == ["logs_url_path", "traces_url_path"]
