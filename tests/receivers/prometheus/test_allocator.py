"""As a client of a target allocator: answers as the OpenTelemetry operator's gives them."""

import asyncio
import json
from urllib.parse import unquote, urlsplit

import pytest

from hawse.prometheus.settings import GlobalConfig
from hawse.receivers.prometheus import assignments

from .rig import decoded, running, targets

# As the operator's server marshals a job: every key that Prometheus knows, defaults filled in (yaml.v2 to JSON).
JOB = {
    "job_name": "serviceMonitor/ns/app/0",
    "honor_timestamps": True,
    "track_timestamps_staleness": False,
    "scrape_interval": "100ms",
    "scrape_timeout": "100ms",
    "scrape_protocols": ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"],
    "always_scrape_classic_histograms": False,
    "convert_classic_histograms_to_nhcb": False,
    "metrics_path": "/metrics",
    "scheme": "http",
    "enable_compression": True,
    "follow_redirects": True,
    "enable_http2": True,
    "relabel_configs": [
        {"source_labels": ["job"], "separator": ";", "target_label": "__tmp_prometheus_job_name", "replacement": "$1",
         "regex": "(.*)", "action": "replace"},
        {"source_labels": ["__meta_kubernetes_namespace"], "separator": ";", "regex": "(.*)",
         "target_label": "namespace", "replacement": "$1", "action": "replace"},
        {"source_labels": ["__address__", "__tmp_hash"], "separator": ";", "regex": "(.+);", "target_label": "__tmp_hash",
         "replacement": "$1", "action": "replace"},
        {"source_labels": ["__tmp_hash"], "modulus": 1, "separator": ";", "regex": "(.*)", "target_label": "__tmp_hash",
         "replacement": "$1", "action": "hashmod"},
        {"source_labels": ["__tmp_hash"], "separator": ";", "regex": "$(SHARD)", "replacement": "$1", "action": "keep"},
    ],
    "kubernetes_sd_configs": [
        {"role": "endpointslice", "kubeconfig_file": "", "follow_redirects": True, "enable_http2": True,
         "namespaces": {"own_namespace": False, "names": ["ns"]}}
    ],
}  # fmt: skip
LABELS = {"__meta_kubernetes_namespace": "ns", "__meta_kubernetes_pod_name": "p-1", "__meta_kubernetes_pod_uid": "u"}


class Allocator:
    """Like the operator's: jobs, who has which target, and what was asked."""

    def __init__(self):
        self.jobs = {}
        self.assigned = {}  # job → collector → [address]
        self.asked = []
        self.ready = True
        self.status = 200
        self.port = 0

    def give(self, job, **collectors):
        self.assigned[job] = {name.replace("_", "-"): addresses for name, addresses in collectors.items()}

    def item(self, address):
        return {"targets": [address], "labels": LABELS}

    def answer(self, target):
        parts = urlsplit(target)
        self.asked.append(target)
        if parts.path == "/readyz":
            return (200 if self.ready else 503), b""
        if self.status != 200:
            return self.status, b"oops"
        if parts.path == "/scrape_configs":
            return 200, json.dumps(self.jobs).encode()
        _, jobs, job, last = parts.path.split("/")
        assert (jobs, last) == ("jobs", "targets")
        found = self.assigned.get(unquote(job), {})
        if parts.query:
            (key, _, name) = parts.query.partition("=")
            assert key == "collector_id"
            return 200, json.dumps([self.item(one) for one in found.get(name, [])]).encode()
        everybody = {
            name: {"_link": f"/jobs/{job}/targets?collector_id={name}", "targets": [self.item(one) for one in its]}
            for name, its in found.items()
        }
        return 200, json.dumps(everybody).encode()

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                status, body = self.answer(head.split(" ")[1])
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def against(use, count=2, settings=None, monkeypatch=None, **receiver):
    """Run `use(allocator, receiver, targets)` with everything there is."""

    async def run():
        allocator = Allocator()
        server = await asyncio.start_server(allocator.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        own = {
            "endpoint": f"http://127.0.0.1:{port}",
            "interval": "200ms",
            "collector_id": "col-0",
            "http_sd_config": {"refresh_interval": "100ms"},
            **(settings or {}),
        }
        config = decoded({"target_allocator": own, **receiver})
        try:
            async with targets(count) as made, running(config) as made_receiver:
                return await use(allocator, made_receiver, made)
        finally:
            server.close()
            await asyncio.sleep(0.05)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("hawse.receivers.prometheus.pool._SETTLE", 0.05)
    monkeypatch.setattr("hawse.receivers.prometheus.pool._SETTLE_AT_FIRST", 0.05)
    monkeypatch.setattr("hawse.receivers.prometheus.allocator._FRESH", 0.0)


NAME = JOB["job_name"]


def test_jobs_and_targets_of_ours():
    async def use(allocator, receiver, made):
        allocator.jobs = {NAME: JOB}
        allocator.give(NAME, col_0=[made[0].address], col_1=[made[1].address])
        await receiver.sink.until(lambda: receiver.sink.of("a"))
        return allocator.asked, receiver, made

    asked, receiver, made = against(use)
    assert f"/jobs/serviceMonitor%2Fns%2Fapp%2F0/targets?collector_id=col-0" in asked
    assert made[1].heads == []
    (point,) = [point for point in receiver.sink.scrapes[0] if point.name == "a"]
    assert point.labels == {"__name__": "a", "job": NAME, "instance": made[0].address, "namespace": "ns"}
    resource = receiver.sink.resources[0][0]
    assert (resource["k8s.pod.name"], resource["k8s.pod.uid"], resource["k8s.namespace.name"]) == ("p-1", "u", "ns")


def test_targets_that_come_and_go_leave_the_others_alone():
    async def use(allocator, receiver, made):
        one, other = made
        other.answer = "b 1\n"
        sink = receiver.sink
        allocator.jobs = {NAME: JOB}
        allocator.give(NAME, col_0=[one.address])
        await sink.until(lambda: len(sink.of("a")) >= 2)
        allocator.give(NAME, col_0=[other.address, one.address])
        await sink.until(lambda: sink.of("b"))
        allocator.give(NAME, col_0=[one.address])
        await sink.until(lambda: None in sink.of("b"))
        return sink, one.connections

    sink, connections = against(use)
    assert connections == 1
    assert None not in sink.of("a") and sink.of("b").count(None) == 1


def test_a_target_that_another_collector_has_now_is_not_marked_stale():
    async def use(allocator, receiver, made):
        sink = receiver.sink
        allocator.jobs = {NAME: JOB}
        allocator.give(NAME, col_0=[made[0].address])
        await sink.until(lambda: sink.of("a"))
        allocator.give(NAME, col_0=[], col_1=[made[0].address])
        await asyncio.sleep(0.6)
        asked = len(made[0].heads)
        await asyncio.sleep(0.3)
        return sink, asked == len(made[0].heads), receiver.manager._memory.series

    sink, quiet, series = against(use)
    assert quiet and series == 0
    assert all(point.value is not None for scrape in sink.scrapes for point in scrape)


def test_a_job_that_is_configured_otherwise_is_replaced_without_a_gap_in_its_series():
    async def use(allocator, receiver, made):
        sink = receiver.sink
        allocator.jobs = {NAME: JOB}
        allocator.give(NAME, col_0=[made[0].address])
        await sink.until(lambda: len(sink.of("a")) >= 2)
        made[0].answer = "a 1\nb 1\n"
        drop = {"source_labels": ["__name__"], "regex": "b", "action": "drop"}
        allocator.jobs = {NAME: {**JOB, "metric_relabel_configs": [drop], "brand_new": {"x": 1}}}
        await sink.until(lambda: receiver.manager.pools[NAME].job.metric_relabel_configs)
        await asyncio.sleep(0.15)
        before = len(sink.scrapes)
        await sink.until(lambda: len(sink.scrapes) >= before + 6)
        assert all("b" not in {p.name for p in scrape} for scrape in sink.scrapes[before:])
        assert None not in sink.of("a")
        allocator.jobs = {}
        allocator.assigned = {}
        await sink.until(lambda: None in sink.of("a"))
        await asyncio.sleep(0.1)
        return receiver.manager.pools, receiver.manager._retiring

    assert against(use) == ({}, [])


def test_what_is_known_stays_while_the_allocator_is_away_or_not_ready(caplog):
    async def use(allocator, receiver, made):
        sink = receiver.sink
        allocator.jobs = {NAME: JOB}
        allocator.give(NAME, col_0=[made[0].address])
        await sink.until(lambda: sink.of("a"))
        allocator.status = 500
        await asyncio.sleep(0.4)
        allocator.status = 200
        allocator.ready = False
        allocator.jobs = {}  # as one that has just begun has it
        allocator.assigned = {}
        await asyncio.sleep(0.7)
        before = len(sink.scrapes)
        await sink.until(lambda: len(sink.scrapes) >= before + 3)
        failures = receiver.context.meter.sums["hawse_target_allocator_failures"]
        allocator.ready = True
        await sink.until(lambda: None in sink.of("a"))
        return failures

    assert against(use) >= 2
    (told,) = [r.getMessage() for r in caplog.records if "target allocator" in r.getMessage()]
    assert "answered 500: oops; going on with the 1 targets known" in told


def test_a_job_that_is_no_use_is_told_and_the_one_before_stays(caplog):
    async def use(allocator, receiver, made):
        sink = receiver.sink
        allocator.jobs = {NAME: JOB, "bad": {**JOB, "scrape_interval": "soon", "proxy_url": "http://p"}}
        allocator.give(NAME, col_0=[made[0].address])
        await sink.until(lambda: sink.of("a"))
        allocator.jobs = {NAME: {**JOB, "proxy_url": "http://p"}}
        await asyncio.sleep(0.5)
        before = len(sink.scrapes)
        await sink.until(lambda: len(sink.scrapes) >= before + 3)
        return list(receiver.manager.pools)

    assert against(use) == [NAME]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 2
    assert "job bad cannot be scraped: scrape_interval: 'soon' is no duration" in told[0]
    assert "proxy_url: scraping through a proxy is not supported; going on with the job as it was" in told[1]


def test_hidden_secrets_are_told_and_ones_own_credentials_used(caplog):
    job = {**JOB, "basic_auth": {"username": "u", "password": "<secret>"}}

    async def use(allocator, receiver, made):
        allocator.jobs = {NAME: job}
        allocator.give(NAME, col_0=[made[0].address])
        await receiver.sink.until(lambda: receiver.sink.of("a"))
        return made[0].header("authorization")

    assert against(use).startswith("Basic ")
    assert "credentials that the target allocator does not give over plain HTTP" in caplog.text
    caplog.clear()
    override = {"http_scrape_config": {"authorization": {"credentials": "mine"}}}
    assert against(use, settings=override) == "Bearer mine"
    assert caplog.text == ""


def test_jobs_of_ones_own_come_first(caplog):
    own = {
        "job_name": NAME,
        "scrape_interval": "100ms",
        "scrape_timeout": "100ms",
        "static_configs": [{"targets": ["127.0.0.1:1"]}],
    }

    async def use(allocator, receiver, made):
        allocator.jobs = {NAME: JOB, "other": {**JOB, "job_name": "other"}}
        allocator.give(NAME, col_0=[made[0].address])
        allocator.give("other", col_0=[made[1].address])
        await receiver.sink.until(lambda: receiver.sink.of("a"))
        gauges = receiver.context.meter.gauges
        return (
            len(made[0].heads),
            gauges["prometheus_target_scrape_pool_targets", "other"](),
            set(receiver.manager.pools),
        )

    assert against(use, config={"scrape_configs": [own]}) == (0, 1, {NAME, "other"})


def test_credentials_for_the_allocator_itself():
    heads = []

    async def use(allocator, receiver, made):
        answer = allocator.answer
        allocator.answer = lambda target: heads.append(target) or answer(target)
        allocator.jobs = {NAME: JOB}
        allocator.give(NAME, col_0=[made[0].address])
        await receiver.sink.until(lambda: receiver.sink.of("a"))

    against(use, settings={"http_sd_config": {"refresh_interval": "100ms", "bearer_token": "t"}})
    assert any("/targets" in head for head in heads)


def test_an_allocator_that_is_away_at_the_start(caplog):
    async def run():
        async with running(decoded({"target_allocator": {"endpoint": "http://127.0.0.1:1"}})) as receiver:
            await asyncio.sleep(0.2)
            return receiver.sink.calls

    assert asyncio.run(run()) == 0
    assert "cannot connect to 127.0.0.1:1: connection refused" in caplog.text


# --- the answers themselves ----------------------------------------------------------------------------------------


def test_jobs(monkeypatch):
    above = GlobalConfig()
    (raw,) = assignments.jobs(json.dumps({NAME: JOB}).encode()).values()
    job, left_out = assignments.job(NAME, raw, above)
    assert (job.job_name, left_out, job.kubernetes_sd_configs) == (NAME, (), ())
    assert str(job.relabel_configs[4].regex) == "0"
    monkeypatch.setenv("SHARD", "3")
    (raw,) = assignments.jobs(json.dumps({NAME: JOB}).encode()).values()
    assert str(assignments.job(NAME, raw, above)[0].relabel_configs[4].regex) == "3"
    odd = {**JOB, "new": 1, "tls_config": {"newer": {"x": 1}}, "nomad_sd_configs": [{}]}
    job, left_out = assignments.job(NAME, json.dumps(odd).encode(), above)
    assert set(left_out) == {"new", "tls_config.newer"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": ', b"null", b'"x"', b"\xff"])
def test_answers_that_are_none(body):
    with pytest.raises(ValueError):
        assignments.jobs(body)
    if body != b"[]":
        with pytest.raises(ValueError):
            assignments.Targets().changes(body)
    with pytest.raises(ValueError):
        assignments.has(body, {}, {})


@pytest.mark.parametrize(
    "raw", [b"1", b"[]", b"null", b'{"scrape_interval": {}}', b'{"relabel_configs": [{"action": "?"}]}']
)
def test_jobs_that_are_none(raw):
    with pytest.raises(assignments.JobError):
        assignments.job("a", raw, GlobalConfig())


def test_changes():
    def item(address, **labels):
        return {"targets": [address], "labels": labels}

    def changed(*items):
        return [(group.targets, group.labels) for group in mine.changes(json.dumps(items).encode())]

    mine = assignments.Targets()
    one, two = item("h:1", a="b"), item("h:2")
    assert changed(one) == [(({"__address__": "h:1"},), {"a": "b"})]
    assert changed(one) == []
    assert changed(two, one, two) == [(({"__address__": "h:2"},), {})]
    assert changed(two) == [((), {})]
    with pytest.raises(ValueError):
        mine.changes(b'[{"targets": [1]}]')
    assert changed(two) == []
    assert changed() == [((), {})]
