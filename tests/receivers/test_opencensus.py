"""The opencensus receiver through a socket: streams with grpcio's client, JSON by HTTP."""

import asyncio
import json
from contextlib import asynccontextmanager

import grpc
import pytest

from hawse.component import Busy, ComponentID, Listens, Reads, Refused
from hawse.net.budget import Budget
from hawse.net.settings import Cors, TLSServer
from hawse.receivers.opencensus import OpenCensusConfig, factory, needs
from hawse.values import ByteSize
from tests.codecs.test_opencensus import DOCUMENT, request, span
from tests.receivers.test_zipkin import Context, Sink, post

SERVICE = "/opencensus.proto.agent.trace.v1.TraceService"
JSON = {"content-type": "application/json"}


class Turning(Sink):
    """Raises each of `fails` once, before it takes anything."""

    def __init__(self, *fails):
        super().__init__()
        self.left = list(fails)

    async def consume(self, batch):
        if self.left:
            raise self.left.pop(0)
        self.batches.append(batch)


@asynccontextmanager
async def listening(sink, **settings):
    context = Context()
    context.id = ComponentID("opencensus")
    config = OpenCensusConfig(**{"endpoint": "127.0.0.1:0", **settings})
    receiver = factory.create(config, context, dict.fromkeys(factory.signals, sink))
    await receiver.start()
    try:
        yield receiver, context
    finally:
        await receiver.stop()
        assert context.shared(Budget).used == 0


async def export(port, *messages, method="Export", compression=None, rest=0.0):
    """Code and details of a call, and how many answers came."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            if method == "ExportOne":
                await channel.unary_unary(f"{SERVICE}/{method}", None, None)(messages[0], compression=compression)
                return grpc.StatusCode.OK, "", 1

            async def sent():
                for message in messages:
                    yield message
                    await asyncio.sleep(rest)

            call = channel.stream_stream(f"{SERVICE}/{method}", None, None)(sent(), compression=compression)
            answers = [answer async for answer in call]
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details(), 0
        return grpc.StatusCode.OK, "", len(answers)


def exported(*messages, sink=None, method="Export", compression=None, **settings):
    sink = sink or Turning()

    async def run():
        async with listening(sink, **settings) as (receiver, context):
            told = await export(receiver.port, *messages, method=method, compression=compression)
        return *told, context.meter.sums["hawse_receiver_malformed_requests"]

    return *asyncio.run(run()), sink


FIRST, LATER = request(span(), span()), request(span(), node=None)


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_stream(compression):
    code, _, answers, malformed, sink = exported(FIRST, LATER, LATER, compression=compression)
    assert (code, answers, malformed) == (grpc.StatusCode.OK, 0, 0)
    assert [batch.items for batch in sink.batches] == [2, 1, 1]
    assert {batch.peer for batch in sink.batches} == {"127.0.0.1"}
    assert all(dict(batch.groups[0].resource.attributes) == {"service.name": "svc"} for batch in sink.batches)


def test_messages_are_handed_on_while_the_stream_is_open():
    sink = Turning()

    async def run():
        async with listening(sink) as (receiver, _):
            call = asyncio.ensure_future(export(receiver.port, FIRST, LATER, rest=0.3))
            await asyncio.sleep(0.2)
            assert len(sink.batches) == 1
            assert (await call)[0] is grpc.StatusCode.OK
            assert len(sink.batches) == 2

    asyncio.run(run())


def test_streams_beside_each_other_do_not_mix_their_nodes():
    other = request(span(), node=b"\x1a\x03\x0a\x01b")
    sink = Turning()

    async def run():
        async with listening(sink) as (receiver, _):
            await asyncio.gather(
                export(receiver.port, FIRST, LATER, rest=0.05), export(receiver.port, other, LATER, rest=0.05)
            )

    asyncio.run(run())
    services = [batch.groups[0].resource.attributes["service.name"] for batch in sink.batches]
    assert sorted(services) == ["b", "b", "svc", "svc"]


def test_who_is_busy_holds_the_stream_back_and_loses_nothing():
    code, _, _, _, sink = exported(FIRST, LATER, sink=Turning(Busy("full", 0.01), Busy("full", 0.01)))
    assert (code, [batch.items for batch in sink.batches]) == (grpc.StatusCode.OK, [2, 1])


def test_a_stop_ends_a_stream_that_is_held_back():
    class Full(Sink):
        async def consume(self, batch):
            raise Busy("full", 60)

    async def run():
        async with listening(Full()) as (receiver, _):
            call = asyncio.ensure_future(export(receiver.port, FIRST))
            await asyncio.sleep(0.2)
            assert not call.done()
            await asyncio.wait_for(receiver.stop(), 5)
            return await call

    assert asyncio.run(run())[:2] == (grpc.StatusCode.UNAVAILABLE, "full")


@pytest.mark.parametrize(
    ("messages", "settings", "code", "text", "malformed", "taken"),
    [
        ([LATER], {}, grpc.StatusCode.INVALID_ARGUMENT, "first message of a stream must have a node", 1, 0),
        (
            [FIRST, b"\x0a\xff"],  # and no more: grpcio tells of its own failed write otherwise
            {},
            grpc.StatusCode.INVALID_ARGUMENT,
            "malformed ExportTraceServiceRequest",
            1,
            1,
        ),
        ([FIRST], {"max_request_spans": 1}, grpc.StatusCode.RESOURCE_EXHAUSTED, "max_request_spans", 1, 0),
    ],
)
def test_what_cannot_be_read_ends_the_stream(messages, settings, code, text, malformed, taken):
    found, details, _, counted, sink = exported(*messages, **settings)
    assert (found, counted, len(sink.batches)) == (code, malformed, taken)
    assert text in details


def test_what_is_refused_ends_the_stream():
    code, details, *_ = exported(FIRST, sink=Turning(Refused("never")))
    assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "never")


def test_single_messages():
    assert exported(FIRST, method="ExportOne")[0] is grpc.StatusCode.OK
    code, details, *_ = exported(FIRST, method="ExportOne", sink=Turning(Busy("full", 2)))
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "full")


def test_what_is_not_built_says_so():
    assert exported(b"", method="Config")[0] is grpc.StatusCode.UNIMPLEMENTED


def posted(document, sink=None, path="/v1/trace", headers=JSON, **settings):
    sink = sink or Turning()
    body = document if isinstance(document, bytes) else json.dumps(document).encode()

    async def run():
        async with listening(sink, **settings) as (receiver, _):
            return await post(receiver.port, path, body, headers)

    status, fields, answer = asyncio.run(run())
    return status, fields, answer, sink


def test_json_over_http_on_the_same_port():
    status, fields, answer, sink = posted(DOCUMENT)
    assert (status, fields["content-type"], answer) == (200, "application/json", "{}")
    assert [batch.items for batch in sink.batches] == [1]


def test_json_is_refused_as_a_whole():
    status, _, answer, sink = posted({"spans": DOCUMENT["spans"]})
    assert (status, sink.batches) == (400, [])
    assert "must have a node" in answer
    status, _, answer, _ = posted({**DOCUMENT, "spans": [{"traceId": 1}]})
    assert (status, answer) == (400, "malformed request: spans[0].traceId: expected a text\n")
    assert posted(DOCUMENT, max_json_body_size=ByteSize(10))[0] == 413
    assert posted({**DOCUMENT, "spans": DOCUMENT["spans"] * 2}, max_request_spans=1)[0] == 413
    status, fields, answer, _ = posted(DOCUMENT, Turning(Busy("full", 2.5)))
    assert (status, fields["retry-after"], answer) == (503, "3", "full\n")
    assert posted(DOCUMENT, Turning(Refused("never")))[0] == 400


def test_pages_that_may_post():
    headers = {**JSON, "origin": "https://a.example.com"}
    _, fields, *_ = posted(DOCUMENT, headers=headers, cors_allowed_origins=("https://*.example.com",))
    assert fields["access-control-allow-origin"] == "https://a.example.com"
    config = OpenCensusConfig(cors=Cors(), cors_allowed_origins=("*",))
    assert [problem.path for problem in config.problems()] == ["cors_allowed_origins"]


def test_needs():
    config = OpenCensusConfig(endpoint="0.0.0.0:55678", tls=TLSServer(cert_file="/c", key_file="/k"))
    assert list(needs(config)) == [
        Listens(55678, "tcp", "OpenCensus", "0.0.0.0"), Reads("/c", "TLS"), Reads("/k", "TLS"),
    ]  # fmt: skip
