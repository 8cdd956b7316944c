"""The prometheusremotewrite exporter against a receiver on a real socket."""

import asyncio
import importlib.util
import logging
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Busy, Connects, NoLedger, Reads, Refused
from hawse.exporters.prometheusremotewrite import Config, PrometheusRemoteWrite, factory
from hawse.net.http import Response
from hawse.net.retry import RetryConfig
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, TLSClient
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.values import ByteSize, Duration, Secret

V2 = "io.prometheus.write.v2.Request"
FAST = RetryConfig(initial_interval=Duration(0.001), max_interval=Duration(0.001))
NOW = 1_700_000_000_000_000_000


def _codecs_tests(name):
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "codecs" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


read = _codecs_tests("test_remote_write_encode").read


class Meter:
    def __init__(self):
        self.counts = Counter()

    def counter(self, name, description, unit="1"):
        meter = self

        class One:
            def add(self, amount, **attributes):
                meter.counts[(name, *sorted(attributes.items()))] += amount

        return One()

    def gauge(self, name, description, read, **attributes):
        pass


class Told(NoLedger):
    def __init__(self):
        self.said = []

    def refused(self, group, reason):
        self.said.append((group.resource.attributes.get("service.name"), group.items, reason))


class Context:
    id = "prometheusremotewrite"

    def __init__(self):
        self.meter = Meter()
        self.ledger = Told()
        self.log = logging.LoggerAdapter(logging.getLogger("prometheusremotewrite"))


class Receiver:
    """Answers by `answer(number of the request, request)`; by default as a receiver of both versions does."""

    def __init__(self, answer=None):
        self.answer = answer or self.take
        self.requests = []

    async def handle(self, request):
        self.requests.append(request)
        return self.answer(len(self.requests) - 1, request)

    def take(self, number, request):
        if version(request) == 1:
            return Response(204)
        rows, _, _ = read(plain(request), 2)
        return Response(204, headers=written(len(rows)))

    @property
    def rows(self):
        return [row for request in self.requests for row in read(plain(request), version(request))[0]]


def written(samples, histograms=0, exemplars=0):
    kinds = {"Samples": samples, "Histograms": histograms, "Exemplars": exemplars}
    return {f"X-Prometheus-Remote-Write-{kind}-Written": str(count) for kind, count in kinds.items()}


def version(request):
    return 2 if V2 in request.headers["content-type"] else 1


def plain(request):
    return request.body  # the server has decompressed it


def sent(*batches, receiver=None, together=False, **settings):
    """Send batches; gives what each raised, and the receiver, with counts and what the ledger was told."""
    receiver, context = receiver or Receiver(), Context()

    async def run():
        servers = HttpServers()
        port = await servers.mount(
            ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/api/v1/write"): receiver.handle}, owner="receiver"
        )
        config = Config(
            **{
                "endpoint": f"http://127.0.0.1:{port}/api/v1/write",
                "retry_on_failure": FAST,
                "target_info": Config(endpoint="x").target_info,
                **settings,
            }
        )
        exporter = Sending(PrometheusRemoteWrite(config, context), config, context, Ledger())
        await exporter.start()

        async def one(batch):
            try:
                return await exporter.consume(batch)
            except (Busy, Refused) as outcome:
                return outcome

        if together:
            outcomes = await asyncio.gather(*map(one, batches))
        else:
            outcomes = [await one(batch) for batch in batches]
        await exporter.stop()
        await servers.close()
        return outcomes

    outcomes = asyncio.run(run())
    receiver.counts = context.meter.counts
    receiver.refused = context.ledger.said
    return outcomes, receiver


def gauges(job, values, time=NOW, temporality=None):
    points = b"".join(
        wire.field(1, wire.encode_attributes({"n": str(at)}, 7) + b"\x19" + struct.pack("<q", time) + b"\x21" + struct.pack("<d", value))
        for at, value in enumerate(values)
    )  # fmt: skip
    data = wire.field(5, points) if temporality is None else wire.field(7, points + bytes([0x10, temporality]))
    metric = wire.field(2, wire.field(1, b"up") + data)
    return Group(Resource(Resource.of({"service.name": job}).raw), (memoryview(wire.field(2, metric)),), len(values))


def metrics(*groups):
    return Batch(Signal.METRICS, groups)


def row(job, n, value, time=NOW):
    return {"__name__": "up", "job": job, "n": str(n)}, value, time // 1_000_000


def test_a_request_of_1():
    outcomes, receiver = sent(metrics(gauges("a", [1.5, 2.5])), headers={"x-scope-orgid": Secret("tenant")})
    assert outcomes == [None]
    assert receiver.rows == [row("a", 0, 1.5), row("a", 1, 2.5)]
    (request,) = receiver.requests
    wanted = {
        "content-encoding": "snappy",
        "content-type": "application/x-protobuf",
        "x-prometheus-remote-write-version": "0.1.0",
        "x-scope-orgid": "tenant",
    }
    assert {name: request.headers.get(name) for name in wanted} == wanted
    assert request.headers["user-agent"].startswith("hawse/")
    assert receiver.counts["exporter_prometheusremotewrite_translated_time_series",] == 2


def test_a_request_of_2():
    outcomes, receiver = sent(metrics(gauges("a", [1.5, 2.5])), protobuf_message=V2)
    assert outcomes == [None]
    assert receiver.rows == [row("a", 0, 1.5), row("a", 1, 2.5)]
    (request,) = receiver.requests
    assert request.headers["content-type"] == f"application/x-protobuf;proto={V2}"
    assert request.headers["x-prometheus-remote-write-version"] == "2.0.0"
    assert receiver.counts["exporter_prometheusremotewrite_written_samples",] == 2


def test_what_a_receiver_of_2_did_not_write_is_told(caplog):
    receiver = Receiver(lambda number, request: Response(204, headers=written(1)))
    outcomes, _ = sent(metrics(gauges("a", [1, 2, 3])), receiver=receiver, protobuf_message=V2)
    assert outcomes == [None]
    assert "wrote only 1 of its 3 samples" in caplog.text


@pytest.mark.parametrize(
    ("first", "said"), [(Response(415), "415"), (Response(204), "204 without saying what it has written")]
)
def test_a_receiver_that_does_not_know_2_gets_1(first, said, caplog):
    receiver = Receiver(lambda number, request: first if version(request) == 2 else Response(204))
    outcomes, _ = sent(
        metrics(gauges("a", [1])), metrics(gauges("a", [2], NOW + 10**9)), receiver=receiver, protobuf_message=V2
    )
    assert outcomes == [None, None]
    assert [version(request) for request in receiver.requests] == [2, 1, 1]
    assert receiver.rows[1:] == [row("a", 0, 1.0), row("a", 0, 2.0, NOW + 10**9)]
    assert said in caplog.text


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 401, 404])
def test_what_can_come_right_is_tried_again(status):
    receiver = Receiver(lambda number, request: Response(status if number < 2 else 204))
    outcomes, _ = sent(metrics(gauges("a", [1])), receiver=receiver)
    assert outcomes == [None]
    assert len(receiver.requests) == 3


def test_retry_after_is_kept_to():
    receiver = Receiver(lambda number, request: Response(429, headers={"Retry-After": "7"}))
    (outcome,), _ = sent(metrics(gauges("a", [1])), receiver=receiver, retry_on_failure=RetryConfig(enabled=False))
    assert isinstance(outcome, Busy)
    assert outcome.retry_after == 7


@pytest.mark.parametrize("message", ["prometheus.WriteRequest", V2])
def test_of_a_refused_request_the_series_at_fault_are_found(message):
    def answer(number, request):
        rows = read(plain(request), version(request))[0]
        bad = any(value == 13 for _, value, _ in rows)
        return Response(400, b"out of order sample") if bad else Response(204, headers=written(len(rows)))

    receiver = Receiver(answer)
    values = list(range(20))
    outcomes, receiver = sent(
        metrics(gauges("a", values), gauges("b", [1, 2])), receiver=receiver, protobuf_message=message,
        remote_write_queue=Config(endpoint="x").remote_write_queue,
    )  # fmt: skip
    assert outcomes == [None]
    assert receiver.refused == [("a", 1, "http_400")]
    taken = set()
    for request in receiver.requests:
        rows = read(plain(request), version(request))[0]
        if all(value != 13 for _, value, _ in rows):
            taken |= {(labels["job"], value) for labels, value, _ in rows}
    assert taken == {*(("a", float(v)) for v in values if v != 13), ("b", 1.0), ("b", 2.0)}


def test_all_refused_is_refused():
    receiver = Receiver(lambda number, request: Response(400, b"no such tenant"))
    (outcome,), _ = sent(metrics(gauges("a", [1])), receiver=receiver)
    assert isinstance(outcome, Refused)
    assert outcome.code == "http_400"
    assert "no such tenant" in outcome.reason


def test_too_large_is_sent_in_parts():
    receiver = Receiver(lambda number, request: Response(413 if len(plain(request)) > 200 else 204))
    outcomes, receiver = sent(metrics(gauges("a", range(20))), receiver=receiver)
    assert outcomes == [None]
    taken = [one for request in receiver.requests if len(plain(request)) <= 200 for one in read(plain(request), 1)[0]]
    assert taken == [row("a", n, float(n)) for n in range(20)]


def test_what_can_be_no_series_is_told_with_its_reason(caplog):
    outcomes, receiver = sent(metrics(gauges("a", [1, 2], temporality=1), gauges("b", [3])))
    assert outcomes == [None]
    assert receiver.rows == [row("b", 0, 3.0)]
    assert receiver.refused == [("a", 2, "delta_temporality")]
    assert "let the sender use cumulative" in caplog.text
    (outcome,), _ = sent(metrics(gauges("a", [1, 2], temporality=1)))
    assert isinstance(outcome, Refused)
    assert outcome.code == "delta_temporality"


def test_malformed_is_refused_and_logs_too():
    broken = Batch(Signal.METRICS, [Group(Resource(b""), (b"\x12\x05\x12",), 1)])
    (one, other), receiver = sent(broken, Batch(Signal.LOGS, []))
    assert (one.code, other.code) == ("malformed", "no_metrics")
    assert receiver.requests == []


def test_samples_of_a_series_stay_in_order_while_a_request_is_tried_again():
    """Batches of two targets at once; those of one fail now and then, with the queue's ten consumers."""
    failed = Counter()

    def answer(number, request):
        labels, value, _ = read(plain(request), 1)[0][0]
        if labels["job"] == "a" and value % 2 == 0 and failed[value] < 3:
            failed[value] += 1
            return Response(503)
        return Response(204)

    receiver = Receiver(answer)
    batches = [metrics(gauges(job, [turn], NOW + turn * 10**9)) for turn in range(8) for job in "ab"]
    outcomes, receiver = sent(*batches, receiver=receiver, together=True)
    assert outcomes == [None] * 16
    for job in "ab":
        times = [time for labels, _, time in receiver.rows if labels["job"] == job]
        assert times == sorted(times)
    assert sum(failed.values()) == 12


def test_a_large_batch_is_several_requests_in_order():
    outcomes, receiver = sent(metrics(gauges("a", range(3000))), max_batch_size_bytes=ByteSize(20_000))
    assert outcomes == [None]
    assert len(receiver.requests) > 1
    assert receiver.rows == [row("a", n, float(n)) for n in range(3000)]


def test_many_new_series_give_others_their_turn_and_keep_their_order():
    async def run():
        exporter = PrometheusRemoteWrite(Config(endpoint="http://127.0.0.1:1"), Context())
        made, ticks = [], 0

        async def one(batch):
            await exporter.warm(batch)
            made.append(exporter.prepare(batch))

        async def tick():
            nonlocal ticks
            while len(made) < 3:
                ticks += 1
                await asyncio.sleep(0)

        batches = [
            metrics(gauges("a", range(8000), NOW)),
            metrics(gauges("a", [1], NOW + 1)),
            metrics(gauges("a", range(8000), NOW + 2)),
        ]
        await asyncio.gather(*map(one, batches), tick())
        return [sum(request.items for request in requests) for requests in made], ticks

    items, ticks = asyncio.run(run())
    assert items == [8000, 1, 8000]
    assert ticks >= 15


def test_what_was_made_ready_for_one_batch_is_not_taken_for_another():
    async def run():
        exporter = PrometheusRemoteWrite(Config(endpoint="http://127.0.0.1:1"), Context())
        first, second = metrics(gauges("a", range(8000))), metrics(gauges("b", range(3)))
        await exporter.warm(first)
        return [sum(request.items for request in exporter.prepare(batch)) for batch in (second, first)]

    assert asyncio.run(run()) == [3, 8000]


def test_what_is_inside_comes_back():
    config = Config(endpoint="http://127.0.0.1:1")
    exporter = PrometheusRemoteWrite(config, Context())
    batch = metrics(gauges("a", [1, 2]), gauges("b", [3]), gauges("d", [3], temporality=1))
    found = [group for request in exporter.prepare(batch) for group in exporter.restore(request).groups]
    assert sorted((group.resource.attributes["service.name"], group.items) for group in found) == [
        ("a", 2), ("b", 1), ("d", 1),
    ]  # fmt: skip
    assert sum(otlp.decode(Signal.METRICS, metrics(*found).encode()).items for _ in (1,)) == 4


def test_needs_and_problems():
    config = Config(endpoint="https://mimir:8443/push", tls=TLSClient(ca_file="/ca.pem"))
    assert list(factory.needs(config)) == [Connects("mimir", 8443, "tcp", "remote write"), Reads("/ca.pem", "TLS")]
    wrong = Config(
        endpoint="", headers={"Content-Type": Secret("x")}, external_labels={"a-b": "c", "__name__": "x", "d": ""}
    )
    assert [problem.path for problem in wrong.problems()] == [
        "endpoint", "headers.Content-Type", "external_labels.a-b", "external_labels.__name__", "external_labels.d",
    ]  # fmt: skip
