"""The otlp receiver over gRPC, as OpenTelemetry's own exporters see it."""

import asyncio
import threading
from contextlib import contextmanager

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from hawse.batch import Signal
from hawse.codecs.otlp import SERVICES
from hawse.component import Busy, Listens, Refused
from hawse.receivers.otlp import GrpcConfig, OtlpConfig, Protocols, factory, needs

from .test_otlp import FakeContext


class Sink:
    def __init__(self):
        self.batches = []
        self.answer = None

    async def consume(self, batch):
        if self.answer is not None:
            raise self.answer
        self.batches.append((batch.signal, batch.encode(), batch.items, batch.peer))


@contextmanager
def receiving(**settings):
    """Port, sink and the counts of a receiver in a thread of its own."""
    started, box = threading.Event(), {}

    async def run():
        context, sink = FakeContext(), Sink()
        config = OtlpConfig(protocols=Protocols(grpc=GrpcConfig(endpoint="127.0.0.1:0", **settings)))
        receiver = factory.create(config, context, dict.fromkeys(Signal, sink))
        await receiver.start()
        box.update(port=receiver.grpc_port, sink=sink, loop=asyncio.get_running_loop(), done=asyncio.Event())
        box["counts"] = context.meter.sums
        started.set()
        await box["done"].wait()
        await receiver.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10)
    try:
        yield box
    finally:
        box["loop"].call_soon_threadsafe(box["done"].set)
        thread.join(20)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_all_signals_of_the_sdk(compression):
    with receiving() as box:
        options = {"endpoint": f"http://127.0.0.1:{box['port']}", "insecure": True, "compression": compression}
        tracer = TracerProvider()
        tracer.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**options)))
        with tracer.get_tracer("t").start_as_current_span("a span", kind=trace.SpanKind.SERVER):
            pass
        tracer.shutdown()
        meter = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(**options), 60_000)])
        meter.get_meter("m").create_counter("c").add(3)
        meter.shutdown()
        logs = LoggerProvider()
        logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**options)))
        logs.get_logger("l").emit(body="a line", severity_text="INFO")
        logs.shutdown()
        found = {signal: (body, items, peer) for signal, body, items, peer in box["sink"].batches}
    assert {signal: found[signal][1:] for signal in Signal} == dict.fromkeys(Signal, (1, "127.0.0.1"))
    (span,) = TracesData.FromString(found[Signal.TRACES][0]).resource_spans[0].scope_spans[0].spans
    assert (span.name, span.kind) == ("a span", 2)


def call(box, body, signal=Signal.TRACES):
    with grpc.insecure_channel(f"127.0.0.1:{box['port']}") as channel:
        return channel.unary_unary(SERVICES[signal])(body, timeout=10)


def test_answers_tell_what_became_of_the_batch():
    body = b"\x0a\x06\x12\x04\x12\x02\x2a\x00"
    with receiving() as box:
        assert ExportTraceServiceResponse.FromString(call(box, body)) == ExportTraceServiceResponse()
        for answer, code in [
            (Busy("full", 3), grpc.StatusCode.UNAVAILABLE),
            (Refused("never"), grpc.StatusCode.INVALID_ARGUMENT),
        ]:
            box["sink"].answer = answer
            with pytest.raises(grpc.RpcError) as raised:
                call(box, body)
            assert (raised.value.code(), raised.value.details()) == (code, answer.reason)
            assert ("grpc-status-details-bin" in dict(raised.value.trailing_metadata())) is isinstance(answer, Busy)
        with pytest.raises(grpc.RpcError) as raised:
            call(box, b"\xff")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "malformed traces request" in raised.value.details()
        assert box["counts"]["hawse_receiver_malformed_requests"] == 1


def test_the_largest_message():
    with receiving(max_recv_msg_size_mib=1) as box:
        big = b"\x0a" + b"\x80\x80\x48" + bytes(1 << 20 | 1 << 17)
        with pytest.raises(grpc.RpcError) as raised:
            call(box, big)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_needs():
    config = OtlpConfig(protocols=Protocols(grpc=GrpcConfig(endpoint="0.0.0.0:4317")))
    assert list(needs(config)) == [Listens(4317, "tcp", "OTLP/gRPC", "0.0.0.0")]
