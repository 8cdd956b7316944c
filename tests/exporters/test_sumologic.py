"""The sumologic exporter against a source on a real socket."""

import asyncio
import logging
from collections import Counter

import pytest

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.component import Busy, Connects, NoLedger, Refused
from hawse.exporters.sumologic import Config, SumoLogic, factory
from hawse.net.http import Response
from hawse.net.retry import RetryConfig
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.values import ByteSize, Duration, Secret

PATH = "/receiver/v1/http/SECRETCODE"
FAST = RetryConfig(initial_interval=Duration(0.001), max_interval=Duration(0.001))


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
        self.said.append((group.resource.attributes["_sourceName"], group.items, reason))


class Context:
    id = "sumologic"

    def __init__(self):
        self.meter = Meter()
        self.ledger = Told()
        self.log = logging.LoggerAdapter(logging.getLogger("sumologic"))


class Backend:
    """Answers by `answer(number of the request, request)`; keeps requests and what was under way at once."""

    def __init__(self, answer=None):
        self.answer = answer or (lambda number, request: Response())
        self.requests = []
        self.now = self.most = 0

    async def handle(self, request):
        self.requests.append(request)
        number = len(self.requests) - 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002)
        self.now -= 1
        return self.answer(number, request)

    @property
    def taken(self):
        return [(request.headers.get("x-sumo-name"), request.body.decode()) for request in self.requests]


def sent(*batches, backend=None, path=PATH, **settings):
    """Send batches one after the other; gives what each raised, the backend and the counts."""
    backend, context = backend or Backend(), Context()

    async def run():
        servers = HttpServers()
        port = await servers.mount(
            ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/*"): backend.handle}, owner="backend"
        )
        config = Config(
            **{
                "endpoint": Secret(f"http://127.0.0.1:{port}{path}"),
                "log_format": "text",
                "retry_on_failure": FAST,
                **settings,
            }
        )
        exporter = Sending(SumoLogic(config, context), config, context, Ledger())
        await exporter.start()
        outcomes = []
        for batch in batches:
            try:
                outcomes.append(await exporter.consume(batch))
            except (Busy, Refused) as outcome:
                outcomes.append(outcome)
        await exporter.stop()
        await servers.close()
        return outcomes

    outcomes = asyncio.run(run())
    backend.counts = context.meter.counts
    backend.refused = context.ledger.said
    return outcomes, backend


def group(source, *bodies, **attributes):
    records = b"".join(wire.field(2, wire.field(5, wire.encode_value(body))) for body in bodies)
    resource = Resource(Resource.of({"_sourceName": source, **attributes}).raw)
    return Group(resource, (memoryview(wire.field(2, records)),), len(bodies))


def logs(*groups):
    return Batch(Signal.LOGS, groups)


def test_a_request_has_the_lines_of_one_source_and_its_headers():
    outcomes, backend = sent(
        logs(
            group("a", "1", "2", _sourceCategory="c/1", _sourceHost="h", cluster="k8s", pod="p,1"),
            group("b", "3"),
            group("a", "4", _sourceCategory="c/1", _sourceHost="h", cluster="k8s", pod="p,1"),
        ),
        client="k8s_1.0",
    )
    assert outcomes == [None]
    assert sorted(backend.taken) == [("a", "1\n2\n4"), ("b", "3")]
    (first,) = [request for request in backend.requests if request.headers["x-sumo-name"] == "a"]
    wanted = {
        "x-sumo-client": "k8s_1.0",
        "x-sumo-category": "c/1",
        "x-sumo-host": "h",
        "x-sumo-fields": "cluster=k8s, pod=p_1",
        "content-type": "application/x-www-form-urlencoded",
        "content-encoding": "gzip",
    }
    assert {name: first.headers.get(name) for name in wanted} == wanted
    assert first.path == PATH


@pytest.mark.parametrize("compression", ["gzip", "zstd", "deflate", "none", ""])
def test_compressions(compression):
    _, backend = sent(logs(group("a", "ä" * 1000)), compression=compression)
    assert backend.taken == [("a", "ä" * 1000)]
    assert backend.requests[0].headers.get("content-encoding", "none") == (compression or "none")


@pytest.mark.parametrize(
    ("log_format", "body"),
    [
        ("text", '{"a":1}\nplain'),
        ("fields", '{"a":1}\nplain'),
        ("json", '{"log":"{\\"a\\":1}"}\n{"log":"plain"}'),
        ("json_merge", '{"a":1}\n{"log":"plain"}'),
    ],
)
def test_formats(log_format, body):
    _, backend = sent(logs(group("a", '{"a":1}', "plain")), log_format=log_format)
    assert backend.taken == [("a", body)]


def test_requests_stay_below_the_limit_and_in_order():
    bodies = [f"{number:04}" for number in range(100)]
    _, backend = sent(logs(group("a", *bodies)), max_request_body_size=ByteSize(49))
    assert [len(body) for _, body in backend.taken] == [49] * 10
    assert "\n".join(body for _, body in backend.taken).split("\n") == bodies


def test_empty_lines_make_no_empty_requests():
    outcomes, backend = sent(logs(group("a", ""), group("b")))
    assert outcomes == [None]
    assert backend.requests == []


def test_header_values_cannot_break_out():
    _, backend = sent(logs(group("a\r\nx-evil: 1", "1", **{"k\r\nx-evil": "2\r\nx-evil: 3", "name": "Zoë"})))
    (request,) = backend.requests
    assert "x-evil" not in request.headers
    assert request.headers["x-sumo-fields"].encode("latin-1").decode().endswith("name=Zoë")


# --- answers


def test_only_what_failed_is_sent_again():
    outcomes, backend = sent(
        logs(group("a", "1"), group("b", "2"), group("c", "3")),
        backend=Backend(lambda number, request: Response(503 if number in (1, 3) else 200)),
    )
    assert outcomes == [None]
    names = Counter(name for name, _ in backend.taken)
    assert sorted(names.values()) in ([1, 1, 3], [1, 2, 2])
    assert backend.counts[("otelcol_exporter_requests_records", ("pipeline", "logs"), ("status_code", "200"))] == 3
    assert backend.counts[("otelcol_exporter_requests_sent", ("pipeline", "logs"), ("status_code", "503"))] == 2


def test_sources_go_side_by_side_within_bounds():
    _, backend = sent(logs(*(group(str(number), "x") for number in range(30))), max_conns_per_host=4)
    assert len(backend.requests) == 30
    assert 2 <= backend.most <= 4


def test_busy_when_retrying_is_off_or_over():
    for retry in (RetryConfig(enabled=False), RetryConfig(max_elapsed_time=Duration(0.5))):
        (outcome,), backend = sent(
            logs(group("a", "1"), group("b", "2")),
            backend=Backend(
                lambda number, request: (
                    Response(429, headers={"retry-after": "7"}) if request.headers["x-sumo-name"] == "a" else Response()
                )
            ),
            retry_on_failure=retry,
        )
        assert isinstance(outcome, Busy)
        assert outcome.retry_after == 7
        assert "answered 429" in outcome.reason
        assert len(backend.requests) == 2


def test_400_is_permanent_and_says_why():
    body = b'{"status":400,"id":"X-1","code":"bad","message":"no","errors":[{"code":"e1","message":"m1"}]}'
    (partly, outcome, after), backend = sent(
        logs(group("a", "1"), group("b", "2")),
        logs(group("a", "1")),
        logs(group("b", "3")),
        backend=Backend(
            lambda number, request: (
                Response(400, body, content_type="application/json")
                if request.headers["x-sumo-name"] == "a"
                else Response()
            )
        ),
    )
    assert partly is None
    assert backend.refused == [("a", 1, "http_400")]
    assert isinstance(outcome, Refused)
    assert outcome.reason.endswith("answered 400: bad, no, e1 m1, id X-1")
    assert after is None
    assert len(backend.requests) == 4


def test_busy_goes_before_refused():
    (outcome,), _ = sent(
        logs(group("a", "1"), group("b", "2")),
        backend=Backend(lambda number, request: Response(400 if request.headers["x-sumo-name"] == "a" else 500)),
        retry_on_failure=RetryConfig(enabled=False),
    )
    assert isinstance(outcome, Busy)


def test_401_says_what_to_do_and_no_message_has_the_secret():
    (outcome,), _ = sent(
        logs(group("a", "1")),
        backend=Backend(lambda number, request: Response(401)),
        retry_on_failure=RetryConfig(enabled=False),
    )
    assert isinstance(outcome, Busy)
    assert "`endpoint`" in outcome.reason
    assert "SECRETCODE" not in outcome.reason


@pytest.mark.parametrize("status", [200, 204])
def test_empty_success_is_silent(status, caplog):
    outcomes, _ = sent(logs(group("a", "1")), backend=Backend(lambda number, request: Response(status)))
    assert outcomes == [None]
    assert not caplog.records


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b'{"status":200,"id":"I-1","code":"header.invalid","message":"odd header"}',
            "header.invalid, odd header, id I-1",
        ),
        (b"something else", "something else"),
        (b'{"code":5}', '{"code":5}'),
    ],
)
def test_success_with_a_complaint_is_told_and_not_retried(body, told, caplog):
    outcomes, backend = sent(logs(group("a", "1")), backend=Backend(lambda number, request: Response(200, body)))
    assert outcomes == [None]
    assert len(backend.requests) == 1
    assert [record.getMessage().partition("says: ")[2] for record in caplog.records] == [told]


def test_a_backend_that_is_away_is_busy():
    async def run():
        exporter = SumoLogic(
            Config(
                endpoint=Secret("http://127.0.0.1:1/x"), log_format="text", retry_on_failure=RetryConfig(enabled=False)
            ),
            Context(),
        )
        with pytest.raises(Busy, match="not running"):
            await exporter.consume(logs(group("a", "1")))
        await exporter.stop()
        await exporter.start()
        with pytest.raises(Busy, match="127.0.0.1:1"):
            await exporter.consume(logs(group("a", "1")))
        await exporter.stop()

    asyncio.run(run())


def test_a_malformed_batch_is_refused_before_anything_is_sent():
    for bad in (
        Group(Resource(b""), (b"\x12\x05\x12\xff",), 1),
        Group(Resource(b"\x0a\x7f"), (b"",), 1),
    ):
        (outcome,), backend = sent(logs(group("a", "1"), bad))
        assert isinstance(outcome, Refused)
        assert backend.requests == []


# --- OTLP source


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("suffix", ["", "/", "/v1/logs", "/v1/traces/"])
def test_otlp_goes_to_the_signals_path(signal, suffix):
    batch = Batch(signal, [Group(Resource.of({"a": "b"}), (b"\x12\x02\x12\x00",), 1)])
    outcomes, backend = sent(batch, path=PATH + suffix, log_format="otlp")
    assert outcomes == [None]
    (request,) = backend.requests
    assert request.path == PATH + "/v1/" + signal.value
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["x-sumo-client"] == "hawse"
    assert request.body == batch.encode()


def test_metrics_and_traces_are_otlp_in_any_log_format():
    _, backend = sent(Batch(Signal.TRACES, [Group(Resource(b""), (b"",), 0)]), log_format="json")
    assert backend.requests[0].path == PATH + "/v1/traces"


def test_otlp_partial_success_is_told(caplog):
    def answer(body):
        return Backend(lambda number, request: Response(200, body, content_type="application/x-protobuf"))

    sent(logs(group("a", "1")), log_format="otlp", backend=answer(b""))
    assert not caplog.records
    sent(logs(group("a", "1")), log_format="otlp", backend=answer(otlp.partial_success(3, "too old")))
    assert caplog.records[0].getMessage().endswith("says: 3 items rejected: too old")


# --- configuration


def test_problems_and_needs():
    assert [problem.path for problem in Config(endpoint=Secret("")).problems()] == ["endpoint"]
    (problem,) = Config(endpoint=Secret("ftp://host/SECRETCODE")).problems()
    assert problem.path == "endpoint"
    assert "SECRETCODE" not in problem.message
    config = Config(endpoint=Secret("https://endpoint.collection.sumologic.com/receiver/v1/http/SECRETCODE"))
    assert not list(config.problems())
    assert "SECRETCODE" not in repr(config)
    (need,) = factory.needs(config)
    assert (need.host, need.port, need.protocol) == ("endpoint.collection.sumologic.com", 443, "tcp")
    assert isinstance(need, Connects)


# --- metrics


def gauges(source, values, **attributes):
    import struct

    points = b"".join(
        wire.field(1, wire.encode_attributes({"n": str(at)}, 7) + b"\x19" + struct.pack("<q", 10**9) + b"\x21" + struct.pack("<d", value))
        for at, value in enumerate(values)
    )  # fmt: skip
    metric = wire.field(2, wire.field(1, b"up") + wire.field(5, points))
    resource = Resource(Resource.of({"_sourceName": source, **attributes}).raw)
    return Group(resource, (memoryview(wire.field(2, metric)),), len(values))


def metrics(*groups):
    return Batch(Signal.METRICS, groups)


def test_metrics_go_as_prometheus_text_with_the_headers_of_their_source():
    outcomes, backend = sent(
        metrics(gauges("a", [1, 2.5], pod="p"), gauges("b", [3]), gauges("a", [4], pod="q")), metric_format="prometheus"
    )
    assert outcomes == [None]
    assert sorted(backend.taken) == [
        ("a", 'up{n="0",pod="p"} 1 1000\nup{n="1",pod="p"} 2.5 1000\nup{n="0",pod="q"} 4 1000'),
        ("b", 'up{n="0"} 3 1000'),
    ]
    assert {request.headers["content-type"] for request in backend.requests} == {"application/vnd.sumologic.prometheus"}
    assert {request.path for request in backend.requests} == {PATH}
    assert "x-sumo-fields" not in backend.requests[0].headers


def test_metrics_for_an_otlp_source_go_as_they_are():
    batch = metrics(gauges("a", [1]))
    _, backend = sent(batch)
    (request,) = backend.requests
    assert request.path == f"{PATH}/v1/metrics"
    assert request.body == batch.encode()


def test_bodies_of_metrics_keep_to_the_limit_and_count_points():
    _, backend = sent(
        metrics(gauges("a", range(100))), metric_format="prometheus", max_request_body_size=ByteSize(1000)
    )
    assert len(backend.requests) > 1
    assert all(len(request.body) <= 1000 for request in backend.requests)
    lines = [line for _, body in backend.taken for line in body.split("\n")]
    assert lines == [f'up{{n="{n}"}} {n} 1000' for n in range(100)]
    assert sum(
        count for (name, *_), count in backend.counts.items() if name == "otelcol_exporter_requests_records"
    ) == 100  # fmt: skip


def test_a_line_that_is_refused_is_found():
    def answer(number, request):
        return Response(400 if b" 13 " in request.body else 200)

    outcomes, backend = sent(
        metrics(gauges("a", range(20)), gauges("a", [50], pod="p")), backend=Backend(answer), metric_format="prometheus"
    )
    assert outcomes == [None]
    assert backend.refused == [("a", 1, "http_400")]


def test_what_can_be_no_line_is_told():
    broken = Group(
        Resource(Resource.of({"_sourceName": "b"}).raw),
        (wire.field(2, wire.field(2, wire.field(5, wire.field(1, b"")))),),
        1,
    )
    outcomes, backend = sent(metrics(gauges("a", [1]), broken), metric_format="prometheus")
    assert outcomes == [None]
    assert backend.refused == [("b", 1, "no_name")]
    assert len(backend.requests) == 1
