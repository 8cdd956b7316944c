"""The prometheusremotewrite receiver, as raw requests see it; tests/peers has real senders."""

import asyncio
import gzip
import logging
from collections import defaultdict
from contextlib import asynccontextmanager

import cramjam
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from hawse.batch import Signal
from hawse.component import Busy, ComponentID, Listens, NoLedger, Reads, Refused
from hawse.net.budget import Budget
from hawse.net.client import HttpClient
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig, TLSServer
from hawse.receivers.prometheusremotewrite import PrometheusRemoteWriteConfig, factory, needs

from ..codecs.remote_write import LABELS, NOW, VERSIONS, One, Two, expected, points

V1 = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}
V2 = {**V1, "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}
WRITTEN = [f"x-prometheus-remote-write-{what}-written" for what in ("samples", "histograms", "exemplars")]


class Counts:
    """A meter that remembers."""

    def __init__(self):
        self.sums = defaultdict(float)

    def counter(self, name, description, unit="1"):
        meter = self

        class Counter:
            def add(self, amount, **attributes):
                meter.sums[(name, *attributes.values())] += amount

        return Counter()

    def gauge(self, name, description, read, **attributes):
        self.sums[name] = read


class FakeContext:
    id = ComponentID("prometheusremotewrite")

    def __init__(self):
        self.log = logging.LoggerAdapter(logging.getLogger("test.remotewrite"), {})
        self.meter = Counts()
        self.ledger = NoLedger()
        self.budget = Budget()
        self._shared = {HttpServers: HttpServers(self.budget), Budget: self.budget}

    def shared(self, kind):
        return self._shared[kind]


class Sink:
    """A consumer that keeps what comes, or answers as told."""

    def __init__(self):
        self.batches = []
        self.answer = None

    async def consume(self, batch):
        if self.answer is not None:
            raise self.answer
        assert (batch.signal, batch.peer) == (Signal.METRICS, "")  # the sender is not where the series come from
        self.batches.append(batch.encode())


@asynccontextmanager
async def receiving(**options):
    context, sink = FakeContext(), Sink()
    receiver = factory.create(
        PrometheusRemoteWriteConfig(endpoint="127.0.0.1:0", **options), context, {Signal.METRICS: sink}
    )
    await receiver.start()
    client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{receiver.port}"))
    try:
        yield receiver, sink, client, context
    finally:
        await client.close()
        await receiver.stop()
        assert context.budget.used == 0


def snappy(body):
    return bytes(cramjam.snappy.compress_raw(body))


def exchange(body, headers=V1, *, path="/api/v1/write", answer=None, **options):
    """Post once; the response, the points that the sink got, and the counts."""

    async def run():
        async with receiving(**options) as (_, sink, client, context):
            sink.answer = answer
            response = await client.request("POST", path, body, headers)
            found = [point for batch in sink.batches for point in points(MetricsData.FromString(batch))]
            return (
                response,
                found,
                {key: value for key, value in context.meter.sums.items() if isinstance(value, float)},
            )

    return asyncio.run(run())


def headers_of(request_of):
    return V1 if request_of is One else V2


@VERSIONS
def test_what_is_sent_is_handed_on(request_of):
    made = request_of().series(LABELS, [(1.5, NOW), (2.5, NOW + 1)], [({"trace_id": "1"}, 1, NOW)])
    response, found, counts = exchange(snappy(made.body()), headers_of(request_of))
    assert (response.status, response.body) == (204, b"")
    assert found == [expected(LABELS, "gauge", value, at) for value, at in ((1.5, NOW), (2.5, NOW + 1))]
    told = [response.headers.get(name) for name in WRITTEN]
    assert told == (["2", "0", "1"] if request_of is Two else [None] * 3)
    assert counts == {}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/x-protobuf", 204),
        ("Application/X-Protobuf; proto=prometheus.WriteRequest", 204),
        ('application/x-protobuf;charset=x;proto="prometheus.WriteRequest"', 204),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", 415),
        ("application/x-protobuf;proto=", 415),
        ("application/json", 415),
        ("", 415),
    ],
)
def test_content_types(kind, status):
    body = snappy(One().series(LABELS, [(1.5, NOW)]).body())
    response, found, _ = exchange(body, {**V1, "content-type": kind})
    assert (response.status, len(found)) == (status, status == 204)
    if status == 415:
        assert b"prometheus.WriteRequest, io.prometheus.write.v2.Request" in response.body


@pytest.mark.parametrize(
    ("encoding", "encode", "status"),
    [("snappy", snappy, 204), ("", snappy, 204), ("gzip", gzip.compress, 204), ("br", bytes, 415)],
)
def test_encodings(encoding, encode, status):
    headers = {name: value for name, value in V1.items() if name != "content-encoding"}
    headers |= {"content-encoding": encoding} if encoding else {}
    response, found, _ = exchange(encode(One().series(LABELS, [(1.5, NOW)]).body()), headers)
    assert (response.status, len(found)) == (status, status == 204)


@VERSIONS
def test_nothing_to_take_is_taken(request_of):
    for body in (b"", snappy(b"")):
        response, found, _ = exchange(body, headers_of(request_of))
        assert (response.status, found) == (204, [])


@VERSIONS
@pytest.mark.parametrize(
    ("answer", "status", "retry_after"),
    [
        (Busy("the queue is full"), 503, "1"),
        (Busy("the queue is full", 2.5), 503, "3"),
        (Busy("the queue is full", 0), 503, "1"),
        (Refused("the queue is full"), 400, None),
    ],
)
def test_what_the_consumer_says_is_what_the_sender_hears(request_of, answer, status, retry_after):
    made = request_of().series(LABELS, [(1.5, NOW)]).series({}, [(1, NOW)])
    response, _, _ = exchange(snappy(made.body()), headers_of(request_of), answer=answer)
    assert (response.status, response.body, response.headers.get("retry-after")) == (
        status,
        b"the queue is full\n",
        retry_after,
    )
    assert [response.headers.get(name) for name in WRITTEN] == (["0"] * 3 if request_of is Two else [None] * 3)


@VERSIONS
def test_what_is_invalid_is_left_out_and_told(request_of, caplog):
    made = (
        request_of()
        .series(LABELS, [(1.5, NOW)])
        .series({"job": "x"}, [(1, NOW)])
        .series({**LABELS, "x": b"\xff"}, [(1, NOW)])
    )
    response, found, counts = exchange(snappy(made.body()), headers_of(request_of))
    assert response.status == 400
    assert (
        response.body
        == b'left out 2 that cannot be taken, took the others; the first of them: {job="x"}: there is no __name__\n'
    )
    assert found == [expected(LABELS, "gauge", 1.5, NOW)]
    assert response.headers.get(WRITTEN[0]) == ("1" if request_of is Two else None)
    assert counts == {
        ("hawse_receiver_invalid_samples", "no_name"): 1,
        ("hawse_receiver_invalid_samples", "not_utf8"): 1,
    }
    assert "from 127.0.0.1, answered with 400" in caplog.text


@pytest.mark.parametrize("headers", [V1, V2], ids=["1.0", "2.0"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff\xff\xff\xff\xff\xff", "no snappy block"),
        (b"not snappy at all", "snappy block"),
        (snappy(b"\xff"), "malformed request"),
        (snappy(b"\x0a\x05\x0a\x03\x2a\x05"), "malformed request"),
        (snappy(One().series(LABELS, [(1.5, NOW)]).body()[:-1]), "malformed request"),
        (snappy(Two().series(LABELS, [(1.5, NOW)]).body()[:-1]), "malformed request"),
    ],
)
def test_malformed_requests_are_never_to_be_sent_again(headers, body, says, caplog):
    response, found, counts = exchange(body, headers)
    assert (response.status, found) == (400, [])
    assert says in response.body.decode()
    if says == "malformed request":
        assert counts == {("hawse_receiver_malformed_requests",): 1}


def test_a_bomb_is_refused_before_it_explodes():
    bomb = b"\x80\x80\x80\x80\x08" + b"\xfe\x00\x00" * 100  # announces 2 GiB
    for headers in (V1, {name: value for name, value in V1.items() if name != "content-encoding"}):
        response, _, _ = exchange(bomb, headers)
        assert response.status == 413
        assert b"(max_" in response.body


@pytest.mark.parametrize(("headers", "part"), [(V1, b"\x0a\0"), (V2, b"\x2a\0"), (V2, b"\x22\0"), (V1, b"\x1a\0")])
def test_parts_without_number_are_refused(headers, part):
    response, found, _ = exchange(snappy(part * 2_000_000), headers, max_request_items=10_000)
    assert (response.status, found) == (413, [])
    assert b"max_request_items" in response.body


def test_memory_that_is_used_up_is_no_429_which_prometheus_would_not_repeat():
    async def run():
        async with receiving() as (_, sink, client, context):
            budget = context.budget
            body = snappy(One().series(LABELS, [(1.5, NOW)]).body())
            budget.charge(budget.limit)
            full = await client.request("POST", "/api/v1/write", body, V1)
            budget.release(budget.limit)
            assert budget.used == 0
            real = context.budget.acquire
            calls = []

            def acquire(size, held=0):  # room for the body, none for what becomes of it
                calls.append(size)
                return real(size, held) and len(calls) < 3 or bool(context.budget.release(size))

            context.budget.acquire = acquire
            later = await client.request("POST", "/api/v1/write", body, V1)
            context.budget.acquire = real
            good = await client.request("POST", "/api/v1/write", body, V1)
            return [(one.status, one.headers.get("retry-after")) for one in (full, later, good)], sink.batches

    answers, batches = asyncio.run(run())
    assert answers == [(503, "1"), (503, "1"), (204, None)]
    assert len(batches) == 1


def test_series_are_remembered_and_shown():
    async def run():
        async with receiving(series_cache_size=1 << 20) as (_, sink, client, context):
            for at in range(3):
                made = One()
                for number in range(100):
                    made.series({**LABELS, "n": str(number)}, [(number + at, NOW + at)])
                assert (await client.request("POST", "/api/v1/write", snappy(made.body()), V1)).status == 204
            sums = context.meter.sums
            return (
                len(sink.batches),
                sums["hawse_receiver_series_cached"](),
                sums["hawse_receiver_series_cache_bytes"](),
            )

    batches, cached, size = asyncio.run(run())
    assert (batches, cached) == (3, 100 + 1)  # the one that was zero has two forms
    assert 50_000 < size < 200_000


def test_other_paths():
    response, _, _ = exchange(b"", path="/api/v1/push")
    assert response.status == 404

    async def run():
        async with receiving(path="/receive") as (_, _, client, _):
            return [(await client.request("POST", path, b"", V1)).status for path in ("/receive", "/api/v1/write")]

    assert asyncio.run(run()) == [204, 404]


def test_needs_and_problems():
    config = PrometheusRemoteWriteConfig(endpoint=":9888", tls=TLSServer(cert_file="/c", key_file="/k"))
    assert list(needs(config)) == [
        Listens(9888, "tcp", "Prometheus remote write", "0.0.0.0"), Reads("/c", "TLS"), Reads("/k", "TLS")
    ]  # fmt: skip
    assert list(config.problems()) == []
    wrong = PrometheusRemoteWriteConfig(
        endpoint="9888", path="write", resource_labels={"a": "x", "b": "x", "c": "service.name", "": "y"}
    )
    assert [problem.path for problem in wrong.problems()] == [
        "endpoint", "path", "resource_labels.a", "resource_labels.b", "resource_labels.c", "resource_labels"
    ]  # fmt: skip
