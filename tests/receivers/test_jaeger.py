"""The jaeger receiver, as clients and agents see it: by UDP, HTTP and gRPC."""

import asyncio
import json
import logging
import os
import socket
import time
from collections import defaultdict
from contextlib import asynccontextmanager

import grpc
import msgspec
import pytest

from hawse.component import Busy, ComponentID, Listens, NoLedger, Reads, Refused
from hawse.diagnostics import HawseError
from hawse.net.budget import Budget
from hawse.net.server import HttpServers
from hawse.net.settings import TLSServer
from hawse.receivers.jaeger import factory
from hawse.receivers.jaeger.config import JaegerConfig, Protocols, RemoteSampling, ThriftHttpConfig, needs
from hawse.values import Duration
from tests.codecs import jaeger as w
from tests.codecs.jaeger_oracle import read
from tests.codecs.test_jaeger_proto import API, SPAN, request

THRIFT = {"content-type": "application/x-thrift"}
POST_SPANS = "/jaeger.api_v2.CollectorService/PostSpans"
GET_STRATEGY = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy"


class Meter:
    """Remembers sums by name and attributes."""

    def __init__(self):
        self.sums = defaultdict(float)

    def counter(self, name, description, unit="1"):
        meter = self

        class Counter:
            def add(self, amount, **attributes):
                meter.sums[name, *sorted(attributes.values())] += amount

        return Counter()

    def gauge(self, *_, **__):
        pass


class Ledger(NoLedger):
    def __init__(self):
        self.lost = defaultdict(int)

    def dropped(self, group, reason):
        self.lost[reason] += group.items


class Context:
    id = ComponentID("jaeger")

    def __init__(self):
        self.log = logging.LoggerAdapter(logging.getLogger("test.jaeger"), {})
        self.meter = Meter()
        self.ledger = Ledger()
        self.budget = Budget()
        self.tasks = []
        self._shared = {HttpServers: HttpServers(self.budget), Budget: self.budget}

    def shared(self, kind):
        return self._shared[kind]

    def spawn(self, coroutine, name):
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine, name=name))


class Sink:
    """A consumer that keeps what comes, or answers as told."""

    def __init__(self):
        self.batches = []
        self.answer = None
        self.calls = 0

    async def consume(self, batch):
        self.calls += 1
        if self.answer is not None:
            raise self.answer
        self.batches.append((batch.peer, read(batch.groups)))

    @property
    def spans(self):
        return [span for _, groups in self.batches for _, spans in groups for _, span in spans]


def configured(document):
    def made(kind, value):
        return kind.parse(value) if isinstance(value, str) else kind(value)

    return msgspec.convert(document, JaegerConfig, dec_hook=made)


HERE = {"endpoint": "127.0.0.1:0"}
ALL = dict.fromkeys(("grpc", "thrift_http", "thrift_compact", "thrift_binary"), HERE)


@asynccontextmanager
async def receiving(protocols=ALL, **settings):
    context, sink = Context(), Sink()
    config = configured({"protocols": protocols, **settings})
    receiver = factory.create(config, context, {"traces": sink})
    await receiver.start()
    try:
        yield receiver, sink, context
    finally:
        await asyncio.wait_for(receiver.stop(), 10)
        for task in context.tasks:
            task.cancel()
        assert context.budget.used == 0


def body(spans=3, writer=w.BinaryWriter()):
    return writer.value(w.STRUCT, w.batch([w.span(id_=number) for number in range(1, spans + 1)]))


async def post(port, data, headers=THRIFT, path="/api/traces", method=b"POST"):
    """Status, headers and body of an answer, by a socket of our own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = {"host": "x", "content-length": str(len(data)), "connection": "close", **headers}
    head = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields.items())
    writer.write(method + b" " + path.encode() + b" HTTP/1.1\r\n" + head + b"\r\n" + data)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head, _, found = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:]), found


async def get(port, path):
    status, _, found = await post(port, b"", {}, path, b"GET")
    return status, found


def send(port, *payloads):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for payload in payloads:
            client.sendto(payload, ("127.0.0.1", port))


async def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.005)


async def call(port, path, message, **options):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        return await channel.unary_unary(path)(message, timeout=5, **options)


# --- UDP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "writer"),
    [("thrift_compact", w.CompactWriter()), ("thrift_binary", w.BinaryWriter()), ("thrift_binary", w.LooseWriter())],
)
def test_datagrams(protocol, writer):
    async def run():
        async with receiving() as (receiver, sink, context):
            packets = [w.emit(writer, [w.span(id_=10 * i + j) for j in range(5)]) for i in range(20)]
            send(receiver.ports[protocol], *packets)
            await until(lambda: len(sink.spans) == 100)
            assert {peer for peer, _ in sink.batches} == {"127.0.0.1"}
            assert len({span["span"] for span in sink.spans}) == 100
            assert sink.batches[0][1][0][0] == {"service.name": "shop"}
            assert not context.meter.sums

    asyncio.run(run())


def test_malformed_datagrams_are_counted_and_nothing_else(caplog):
    async def run():
        async with receiving() as (receiver, sink, context):
            good = w.emit(w.CompactWriter(), [w.span()])
            send(receiver.ports["thrift_compact"], b"", b"GET / HTTP/1.1", good[:-3], good)
            await until(lambda: sink.spans)
            await until(lambda: context.meter.sums["hawse_receiver_malformed_requests",] == 3)
            assert "malformed thrift_compact datagram" in caplog.text
            assert caplog.text.count("WARNING") == 1  # a broken client tries without end

    asyncio.run(run())


def test_busy_datagrams_are_kept_and_tried_again():
    async def run():
        async with receiving() as (receiver, sink, context):
            sink.answer = Busy("full", 0.01)
            send(receiver.ports["thrift_compact"], w.emit(w.CompactWriter(), [w.span()]))
            await until(lambda: sink.calls > 3)
            assert context.budget.used > 0
            sink.answer = None
            await until(lambda: len(sink.spans) == 1)
            assert not context.ledger.lost

    asyncio.run(run())


def test_what_cannot_be_kept_is_dropped_and_counted_as_spans():
    async def run():
        one = {"thrift_compact": {**HERE, "queue_size": 2, "workers": 1}}
        async with receiving(one) as (receiver, sink, context):
            sink.answer = Busy("full", 0.01)
            packet = w.emit(w.CompactWriter(), [w.span(), w.span()])
            send(receiver.ports["thrift_compact"], packet)
            await until(lambda: sink.calls)
            send(receiver.ports["thrift_compact"], *[packet] * 6)
            await until(lambda: context.ledger.lost["queue_full"] == 8)
            dropped = context.meter.sums["hawse_receiver_dropped_datagrams", "queue_full", "thrift_compact"]
            assert dropped == 4
            sink.answer = None
            await until(lambda: len(sink.spans) == 6)

    asyncio.run(run())


def test_what_is_refused_is_gone():
    async def run():
        async with receiving() as (receiver, sink, _):
            sink.answer = Refused("no")
            packet = w.emit(w.CompactWriter(), [w.span()])
            send(receiver.ports["thrift_compact"], packet)
            await until(lambda: sink.calls == 1)
            sink.answer = None
            send(receiver.ports["thrift_compact"], packet)
            await until(lambda: len(sink.spans) == 1)
            assert sink.calls == 2

    asyncio.run(run())


def test_stopping_hands_on_what_has_come():
    async def run():
        async with receiving() as (receiver, sink, _):
            packet = w.emit(w.CompactWriter(), [w.span()])
            send(receiver.ports["thrift_compact"], *[packet] * 200)
            await receiver.stop()
            assert len(sink.spans) == 200

    asyncio.run(run())


def test_stopping_at_the_deadline_counts_what_is_left():
    async def run():
        one = {"thrift_compact": {**HERE, "workers": 1}}
        async with receiving(one) as (receiver, sink, context):
            sink.answer = Busy("full", 60)
            packet = w.emit(w.CompactWriter(), [w.span(), w.span()])
            send(receiver.ports["thrift_compact"], packet)
            await until(lambda: sink.calls)
            send(receiver.ports["thrift_compact"], *[packet] * 3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receiver.stop(), 0.1)
            for task in context.tasks:
                task.cancel()
            await asyncio.gather(*context.tasks, return_exceptions=True)
            assert context.ledger.lost == {"shutdown": 8}

    asyncio.run(run())


def test_a_flood_by_udp_does_not_hold_up_tcp():
    def flood(port, stop):
        packet = w.emit(w.CompactWriter(), [w.span(tags=[w.tag("k", "v")] * 5)] * 50)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            count = 0
            while time.monotonic() < stop:
                client.send(packet)
                count += 1
        return count

    async def run():
        small = {**HERE, "queue_size": 3, "socket_buffer_size": 20_000}
        async with receiving(ALL | {"thrift_compact": small}) as (receiver, sink, context):
            ended = time.monotonic() + 1.5
            flooding = asyncio.create_task(asyncio.to_thread(flood, receiver.ports["thrift_compact"], ended))
            times = []
            while not flooding.done():
                since = time.monotonic()
                assert (await post(receiver.ports["thrift_http"], body(1)))[0] == 202
                times.append(time.monotonic() - since)
            await receiver.stop()
            assert len(times) > 5
            assert max(times) < 1
            by_http = len(times)
            dropped = sum(
                count for (name, *_), count in context.meter.sums.items() if name == "hawse_receiver_dropped_datagrams"
            )
            assert (len(sink.spans) - by_http) / 50 + dropped == flooding.result()
            assert dropped

    asyncio.run(run())


# --- HTTP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "writer"),
    [
        ("application/x-thrift", w.BinaryWriter()),
        ("application/vnd.apache.thrift.binary; charset=x", w.BinaryWriter()),
        ("application/vnd.apache.thrift.compact", w.CompactWriter()),
    ],
)
def test_posts(kind, writer):
    async def run():
        async with receiving() as (receiver, sink, _):
            status, _, found = await post(
                receiver.ports["thrift_http"], body(writer=writer), {"content-type": kind}
            )  # fmt: skip
            assert (status, found) == (202, b"")
            assert [span["span"][-1] for span in sink.spans] == [1, 2, 3]
            assert sink.batches[0][0] == "127.0.0.1"

    asyncio.run(run())


def test_posts_without_spans_are_fine():
    async def run():
        async with receiving() as (receiver, sink, _):
            assert (await post(receiver.ports["thrift_http"], body(0)))[0] == 202
            assert sink.calls == 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "headers", "settings", "status", "text"),
    [
        (body(), {"content-type": "application/json"}, {}, 415, b"'application/json' is not Thrift"),
        (body()[:-9], THRIFT, {}, 400, b"malformed batch: the input ends within a value, after"),
        (b"\x07", THRIFT, {}, 400, b"type 7 at byte 0"),
        (b"", THRIFT, {}, 400, b"after 0 bytes"),
        (body(3), THRIFT, {"max_request_spans": 2}, 413, b"3 spans, 2 are allowed (max_request_spans)"),
    ],
)
def test_refused_posts(data, headers, settings, status, text):
    async def run():
        async with receiving(**settings) as (receiver, sink, context):
            found, _, told = await post(receiver.ports["thrift_http"], data, headers)
            assert (found, sink.calls) == (status, 0)
            assert text in told
            assert context.meter.sums["hawse_receiver_malformed_requests",] == (status != 415)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "status", "headers"),
    [
        (Busy("full", 2.5), 503, {"retry-after": "3"}),
        (Busy("full"), 503, {"retry-after": "1"}),
        (Refused("no"), 400, {}),
    ],
)
def test_the_answer_tells_what_became_of_a_post(answer, status, headers):
    async def run():
        async with receiving() as (receiver, sink, _):
            sink.answer = answer
            found, fields, text = await post(receiver.ports["thrift_http"], body())
            assert (found, text) == (status, answer.reason.encode() + b"\n")
            assert headers.items() <= fields.items()

    asyncio.run(run())


def test_memory_that_is_used_up_is_told():
    async def run():
        async with receiving() as (receiver, sink, context):
            context.budget.charge(context.budget.limit - 300)
            found, fields, text = await post(receiver.ports["thrift_http"], body(3))
            context.budget.release(context.budget.limit - 300)
            assert found in {429, 503}
            assert fields["retry-after"] == "1"
            assert b"memory_limit" in text
            assert not sink.batches

    asyncio.run(run())


# --- gRPC -------------------------------------------------------------------------------------------------------------


def test_post_spans():
    async def run():
        async with receiving() as (receiver, sink, _):
            message = request([SPAN] * 3, tags=[("hostname", "h")]).SerializeToString()
            assert await call(receiver.ports["grpc"], POST_SPANS, message, compression=grpc.Compression.Gzip) == b""
            assert len(sink.spans) == 3
            assert sink.batches[0][0] == "127.0.0.1"
            assert sink.batches[0][1][0][0] == {"service.name": "shop", "host.name": "h"}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "message", "settings", "code", "text"),
    [
        (Busy("full", 2), request([SPAN]), {}, grpc.StatusCode.UNAVAILABLE, "full"),
        (Refused("no"), request([SPAN]), {}, grpc.StatusCode.INVALID_ARGUMENT, "no"),
        (None, b"\x0a\x05", {}, grpc.StatusCode.INVALID_ARGUMENT, "malformed PostSpansRequest: the field at byte 0"),
        (
            None,
            request([SPAN] * 3),
            {"max_request_spans": 2},
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "3 spans, 2 are allowed (max_request_spans)",
        ),
    ],
)
def test_the_status_tells_what_became_of_a_call(answer, message, settings, code, text):
    async def run():
        async with receiving(**settings) as (receiver, sink, _):
            sink.answer = answer
            data = message if isinstance(message, bytes) else message.SerializeToString()
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await call(receiver.ports["grpc"], POST_SPANS, data)
            assert told.value.code() is code
            assert text in told.value.details()

    asyncio.run(run())


# --- sampling ---------------------------------------------------------------------------------------------------------

STRATEGIES = {
    "service_strategies": [
        {
            "service": "foo",
            "type": "probabilistic",
            "param": 0.8,
            "operation_strategies": [
                {"operation": "op1", "type": "probabilistic", "param": 0.2},
                {"operation": "/health", "type": "probabilistic", "param": 1},
            ],
        },
        {"service": "bar", "type": "ratelimiting", "param": 5},
    ],
    "default_strategy": {
        "type": "probabilistic",
        "param": 0.5,
        "operation_strategies": [{"operation": "/health", "type": "probabilistic", "param": 0.0}],
    },
}


@pytest.fixture
def strategies(tmp_path):
    file = tmp_path / "strategies.json"
    file.write_text(json.dumps(STRATEGIES))
    return file


def sampled(file, **settings):
    return {"remote_sampling": {"host_endpoint": "127.0.0.1:0", "strategy_file": str(file), **settings}}


def operations(default, **own):
    return {
        "defaultSamplingProbability": default,
        "defaultLowerBoundTracesPerSecond": 0,
        "perOperationStrategies": [
            {"operation": name, "probabilisticSampling": {"samplingRate": rate}} for name, rate in own.items()
        ],
    }


def test_strategies_over_http(strategies):
    async def run():
        async with receiving(**sampled(strategies)) as (receiver, *_):
            port = receiver.ports["remote_sampling"]
            status, found = await get(port, "/sampling?service=foo")
            assert status == 200
            assert json.loads(found) == {
                "strategyType": "PROBABILISTIC",
                "probabilisticSampling": {"samplingRate": 0.8},
                "operationSampling": operations(0.8, **{"/health": 1, "op1": 0.2}),
            }
            assert json.loads((await get(port, "/sampling?service=bar"))[1]) == {
                "strategyType": "RATE_LIMITING",
                "rateLimitingSampling": {"maxTracesPerSecond": 5},
                "operationSampling": operations(0.5, **{"/health": 0}),
            }
            default = json.loads((await get(port, "/?service=any%20one"))[1])
            assert default["strategyType"] == 0
            assert default["probabilisticSampling"] == {"samplingRate": 0.5}
            assert json.loads((await get(port, "/?service=bar"))[1])["strategyType"] == 1
            by_collector = await get(receiver.ports["thrift_http"], "/api/sampling?service=bar")
            assert json.loads(by_collector[1])["strategyType"] == "RATE_LIMITING"
            for path in ("/sampling", "/sampling?service=a&service=b"):
                assert await get(port, path) == (400, b"'service' parameter must be provided once\n")

    asyncio.run(run())


def test_strategies_over_grpc(strategies):
    async def run():
        async with receiving(**sampled(strategies)) as (receiver, *_):
            ask = API["Parameters"](serviceName="foo").SerializeToString()
            found = API["Response"].FromString(await call(receiver.ports["grpc"], GET_STRATEGY, ask))
            assert found.probabilisticSampling.samplingRate == 0.8
            own = found.operationSampling.perOperationStrategies
            assert {one.operation: one.probabilisticSampling.samplingRate for one in own} == {"/health": 1, "op1": 0.2}
            with pytest.raises(grpc.aio.AioRpcError, match="malformed SamplingStrategyParameters"):
                await call(receiver.ports["grpc"], GET_STRATEGY, b"\x0a\x05")

    asyncio.run(run())


def test_without_a_file_one_in_a_thousand_is_sampled():
    async def run():
        async with receiving(remote_sampling={"host_endpoint": "127.0.0.1:0"}) as (receiver, *_):
            found = json.loads((await get(receiver.ports["remote_sampling"], "/sampling?service=x"))[1])
            assert found == {"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": 0.001}}

    asyncio.run(run())


def test_a_changed_file_is_read_again_and_a_broken_one_is_not(strategies, caplog):
    async def rate(receiver):
        found = json.loads((await get(receiver.ports["remote_sampling"], "/sampling?service=any"))[1])
        return found["probabilisticSampling"]["samplingRate"]

    def replace(text):
        other = strategies.with_suffix(".new")
        other.write_text(text)
        os.replace(other, strategies)

    async def run():
        settings = sampled(strategies, strategy_file_reload_interval=0.02)
        async with receiving(**settings) as (receiver, _, context):
            replace('{"default_strategy": {"type": "probabilistic", "param": 0.25}}')
            while await rate(receiver) != 0.25:
                await asyncio.sleep(0.01)
            replace('{"default_strategy": {"type": "probabilistic", "param": 25}}')
            failures = ("hawse_receiver_sampling_reload_failures",)
            await until(lambda: context.meter.sums[failures] > 1)
            assert await rate(receiver) == 0.25
            assert caplog.text.count("`param` of 25 is above 1") == 1
            strategies.unlink()
            await until(lambda: "No such file" in caplog.text)
            replace('{"default_strategy": {"type": "probabilistic", "param": 0.75}}')
            while await rate(receiver) != 0.75:
                await asyncio.sleep(0.01)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "Input data was truncated"),
        (
            '{"default_strategy": {"type": "sometimes", "param": 1}}',
            r"Invalid enum value 'sometimes'.*default_strategy",
        ),
        ('{"service_strategies": [{"type": "probabilistic", "param": 1}]}', r"`service`.*service_strategies\[0\]"),
        ('{"service_strategies": [{"service": "a", "param": 3}]}', r"above 1.*service_strategies\[0\]"),
        ('{"default_strategy": {"type": "ratelimiting", "param": 40000}}', "above 32767"),
        (
            '{"default_strategy": {"param": 1, "operation_strategies":[{"operation": "o", "param": 1, "type": "ratelimiting"}]}}',
            "operations can only be probabilistic",
        ),
        ('{"service_strategies": [{"service": "a"}, {"service": "a"}]}', "'a' is there twice"),
    ],
)
def test_a_file_that_is_wrong_at_the_start_is_told(tmp_path, text, message):
    file = tmp_path / "strategies.json"
    if text is not None:
        file.write_text(text)

    async def run():
        with pytest.raises(HawseError, match=message) as told:
            async with receiving(**sampled(file)):
                pass
        assert told.value.findings[0].where.path == "remote_sampling.strategy_file"

    asyncio.run(run())


# --- configuration ----------------------------------------------------------------------------------------------------


def test_each_protocol_is_off_when_its_key_is_absent():
    async def run():
        async with receiving({"thrift_http": HERE}) as (receiver, *_):
            assert list(receiver.ports) == ["thrift_http"]

    asyncio.run(run())


def test_needs():
    tls = TLSServer(cert_file="/c", key_file="/k")
    config = JaegerConfig(
        protocols=Protocols(thrift_http=ThriftHttpConfig(endpoint=":14268", tls=tls)),
        remote_sampling=RemoteSampling(host_endpoint="10.0.0.1:5778", strategy_file="/etc/strategies.json"),
    )
    assert list(needs(config)) == [
        Listens(14268, "tcp", "Jaeger Thrift over HTTP"),
        Reads("/c", "TLS"),
        Reads("/k", "TLS"),
        Listens(5778, "tcp", "Jaeger sampling strategies", "10.0.0.1"),
        Reads("/etc/strategies.json", "sampling strategies"),
    ]
    udp = configured({"protocols": {"thrift_compact": {}, "thrift_binary": {}}})
    assert [(need.port, need.protocol) for need in needs(udp)] == [(6831, "udp"), (6832, "udp")]


def test_problems():
    config = JaegerConfig(protocols=Protocols(), remote_sampling=RemoteSampling(host_endpoint="x", strategy_file="a"))
    assert [one.path for one in config.problems()] == ["protocols"]
    assert [one.path for one in config.remote_sampling.problems()] == ["host_endpoint", "strategy_file"]
    assert RemoteSampling().strategy_file_reload_interval == Duration(10)
