"""The otlp exporter against grpcio's servers of opentelemetry-proto, which answer as told, and against our own."""

import asyncio
import gzip
import logging
from collections import defaultdict
from concurrent import futures
from contextlib import asynccontextmanager

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Busy, ComponentID, Connects, NoLedger, Reads, Refused
from hawse.exporters.otlp import OtlpConfig, factory, needs
from hawse.net.grpc_client import GrpcTLS
from hawse.net.retry import RetryConfig
from hawse.net.server import HttpServers
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.receivers.otlp import GrpcConfig, Protocols
from hawse.receivers.otlp import OtlpConfig as ReceiverConfig
from hawse.receivers.otlp import factory as receiver_factory
from hawse.state.settings import QueueConfig
from hawse.values import Duration, Secret
from hawse.wire import field

QUICK = RetryConfig(initial_interval=Duration(0.01), max_interval=Duration(0.02))
ONCE = RetryConfig(enabled=False)


class FakeContext:
    id = ComponentID("otlp")

    def __init__(self):
        self.log = logging.LoggerAdapter(logging.getLogger("test.otlp"), {})
        self.meter = self
        self.ledger = NoLedger()
        self.sums = defaultdict(float)
        self.kinds = {}

    def counter(self, name, description, unit="1"):
        sums = self.sums

        class Counter:
            def add(self, amount, **attributes):
                sums[name, *attributes.values()] += amount

        return Counter()

    def gauge(self, name, description, read, **attributes):
        pass

    def shared(self, kind):
        return self.kinds.setdefault(kind, kind())


def sending(config, context):
    """The exporter with what the pipeline does for it."""
    return Sending(factory.create(config, context), config, context, Ledger())


class Backend(
    trace_service_pb2_grpc.TraceServiceServicer,
    logs_service_pb2_grpc.LogsServiceServicer,
    metrics_service_pb2_grpc.MetricsServiceServicer,
):
    """Keeps requests; gives the next of its answers, then OK. An answer is a response, a code, or code and wait."""

    def __init__(self, port=0, *, most=0):
        self.answers = []
        self.requests = []
        self.metadata = []
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", most or 64 << 20)]
        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(self, self.server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def Export(self, request, context):  # noqa: N802
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        kind = type(request).__name__.replace("Request", "Response")
        module = {"T": trace_service_pb2, "L": logs_service_pb2, "M": metrics_service_pb2}[kind[6]]
        answer = self.answers.pop(0) if self.answers else getattr(module, kind)()
        if isinstance(answer, tuple):
            code, wait = answer
            info = any_pb2.Any()
            info.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=int(wait * 1e9))))
            details = status_pb2.Status(code=code.value[0], message="later", details=[info])
            context.set_trailing_metadata((("grpc-status-details-bin", details.SerializeToString()),))
            context.abort(code, "later")
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as told")
        return answer

    async def stop(self, grace=None):
        await asyncio.to_thread(self.server.stop(grace).wait)


@asynccontextmanager
async def exporting(most=0, **options):
    backend, context = Backend(most=most), FakeContext()
    options.setdefault("retry_on_failure", QUICK)
    config = OtlpConfig(endpoint=f"127.0.0.1:{backend.port}", tls=GrpcTLS(insecure=True), **options)
    exporter = sending(config, context)
    await exporter.start()
    try:
        yield exporter, backend, context
    finally:
        await exporter.stop()
        await backend.stop()


def batch(signal=Signal.TRACES, records=3, groups=2):
    """Records of field 5 (a log's body, a span's name, a metric's gauge)."""
    inside = {
        Signal.TRACES: field(5, b"a span"),
        Signal.LOGS: b"\x09" + (1).to_bytes(8, "little") + field(5, field(1, b"hello")),
        Signal.METRICS: field(1, b"m") + field(5, field(1, b"\x19" + bytes(8))),
    }[signal]
    scopes = memoryview(bytearray(field(2, field(2, inside) * records)))
    made = [Group(Resource.of({"pod": f"p{n}"}), (scopes[:5], scopes[5:]), records) for n in range(groups)]
    return Batch(signal, made)


def export(*answers, what=None, **options):
    """Export one batch; the backend, and what was counted."""

    async def run():
        async with exporting(**options) as (exporter, backend, context):
            backend.answers = list(answers)
            await asyncio.wait_for(exporter.consume(what or batch()), 20)
            return backend, context.sums

    return asyncio.run(run())


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_arrives_is_the_batch(signal, compression):
    sent = batch(signal)
    headers = {"X-Tenant": Secret("a")}
    backend, _ = export(what=sent, compression=compression, headers=headers)
    (request,) = backend.requests
    assert request == type(request).FromString(sent.encode())
    assert backend.metadata[0]["x-tenant"] == "a"


@pytest.mark.parametrize(
    "code", ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS",
             "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"]
)  # fmt: skip
def test_what_may_be_tried_again_is(code):
    backend, _ = export(getattr(grpc.StatusCode, code))
    assert len(backend.requests) == 2
    with pytest.raises(Busy, match=f"{code}: as told"):
        export(getattr(grpc.StatusCode, code), retry_on_failure=ONCE)


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "UNKNOWN", "FAILED_PRECONDITION", "ALREADY_EXISTS",
             "RESOURCE_EXHAUSTED"]
)  # fmt: skip
def test_what_may_not_is_refused(code):
    with pytest.raises(Refused, match=f"{code}: as told") as raised:
        export(getattr(grpc.StatusCode, code), what=batch(groups=1))
    assert raised.value.code == f"grpc_{code.lower()}"


def test_the_server_says_when_to_come_again():
    async def run():
        async with exporting() as (exporter, backend, _):
            backend.answers = [(grpc.StatusCode.UNAVAILABLE, 0.3), (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.3)]
            began = asyncio.get_running_loop().time()
            await exporter.consume(batch())
            assert len(backend.requests) == 3
            assert asyncio.get_running_loop().time() - began >= 0.6

    asyncio.run(run())


def test_of_what_is_refused_only_the_group_at_fault_is():
    backend, _ = export(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INVALID_ARGUMENT)
    assert [len(request.resource_spans) for request in backend.requests] == [2, 1, 1]


def test_what_is_too_large_for_the_server_is_split():
    sent = batch(records=100, groups=4)
    backend, _ = export(what=sent, most=1500, compression="none")
    spans = sum(len(s.spans) for r in backend.requests for g in r.resource_spans for s in g.scope_spans)
    assert spans == 400
    assert len(backend.requests) >= 4


@pytest.mark.parametrize(("signal", "kind"), [(Signal.TRACES, "spans"), (Signal.LOGS, "log_records")])
def test_a_partial_success_is_counted(signal, kind):
    module = {Signal.TRACES: trace_service_pb2, Signal.LOGS: logs_service_pb2}[signal]
    response = getattr(module, "ExportTraceServiceResponse", None) or module.ExportLogsServiceResponse
    answer = response(partial_success={f"rejected_{kind}": 2, "error_message": "too old"})
    backend, sums = export(answer, what=batch(signal))
    assert len(backend.requests) == 1
    assert sums["hawse_exporter_rejected_items", str(signal)] == 2


def test_a_server_that_is_killed_and_comes_again_gets_all():
    async def run():
        async with exporting() as (exporter, backend, _):
            await exporter.consume(batch(records=1))
            port = backend.port
            await backend.stop()
            waiting = [asyncio.ensure_future(exporter.consume(batch(records=n))) for n in range(2, 6)]
            await asyncio.sleep(0.2)
            assert not any(one.done() for one in waiting)
            again = Backend(port)
            await asyncio.wait_for(asyncio.gather(*waiting), 10)
            records = sorted(len(request.resource_spans[0].scope_spans[0].spans) for request in again.requests)
            assert records == [2, 3, 4, 5]
            await again.stop()

    asyncio.run(run())


def test_while_nothing_listens_it_is_busy_and_says_where():
    async def run():
        context = FakeContext()
        config = OtlpConfig(endpoint="127.0.0.1:1", tls=GrpcTLS(insecure=True), retry_on_failure=ONCE)
        exporter = sending(config, context)
        await exporter.start()
        with pytest.raises(Busy, match="cannot connect to 127.0.0.1:1"):
            await exporter.consume(batch())
        await exporter.stop()

    asyncio.run(run())


class Sink:
    def __init__(self):
        self.bodies = []
        self.answers = []

    async def consume(self, batch):
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        self.bodies.append((batch.signal, batch.encode(), batch.items))


@pytest.mark.parametrize("compression", ["gzip", "zstd", "snappy", "none"])
def test_to_our_own_receiver(compression):
    async def run():
        sink, context = Sink(), FakeContext()
        server = ReceiverConfig(protocols=Protocols(grpc=GrpcConfig(endpoint="127.0.0.1:0")))
        receiver = receiver_factory.create(server, context, dict.fromkeys(Signal, sink))
        await receiver.start()
        config = OtlpConfig(
            endpoint=f"http://127.0.0.1:{receiver.grpc_port}", compression=compression, retry_on_failure=QUICK
        )
        exporter = sending(config, context)
        await exporter.start()
        sink.answers = [Busy("full", 0.05), None, Refused("never"), Refused("never")]
        sent = [batch(signal, groups=1) for signal in Signal]
        await exporter.consume(sent[0])
        assert len(sink.answers) == 2
        with pytest.raises(Refused, match="INVALID_ARGUMENT: never"):
            await exporter.consume(sent[1])
        sink.answers = []
        await exporter.consume(sent[2])
        await exporter.stop()
        await receiver.stop()
        await context.shared(HttpServers).close()
        assert [(signal, body, items) for signal, body, items in sink.bodies] == [
            (one.signal, one.encode(), one.items) for one in (sent[0], sent[2])
        ]

    asyncio.run(run())


@pytest.mark.parametrize("compression", ["gzip", "zstd", "snappy", "none", ""])
@pytest.mark.parametrize("signal", list(Signal))
def test_requests_come_back_from_the_queue(signal, compression):
    exporter = factory.create(OtlpConfig(endpoint="a:1", compression=compression), FakeContext())
    sent = batch(signal, records=40)
    (request,) = exporter.prepare(sent)
    assert exporter.restore(request).encode() == sent.encode()
    first, second = exporter.split(request, by_group=True)
    assert (first.items, second.items) == (40, 40)
    assert sum(one.items for one in exporter.split(first, by_group=False)) == 40
    assert exporter.split(first, by_group=True) == []
    request.body = b"no"
    with pytest.raises(otlp.WireError):
        exporter.restore(request)


def test_the_body_is_gzip_by_default():
    (request,) = factory.create(OtlpConfig(endpoint="a:1"), FakeContext()).prepare(batch())
    assert gzip.decompress(request.body) == batch().encode()
    assert request.headers == {"grpc-encoding": "gzip"}


def test_needs_and_problems():
    config = OtlpConfig(endpoint="collector:4317", tls=GrpcTLS(ca_file="/ca.pem"))
    assert list(needs(config)) == [Connects("collector", 4317, "tcp", "OTLP/gRPC"), Reads("/ca.pem", "TLS")]
    assert list(needs(OtlpConfig(endpoint="http://c:4317")))[0].port == 4317
    assert [problem.path for problem in OtlpConfig().problems()] == ["endpoint"]
    assert list(OtlpConfig(endpoint="c:4317", sending_queue=QueueConfig(enabled=False)).problems()) == []
