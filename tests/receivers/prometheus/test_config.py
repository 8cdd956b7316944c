"""What may be written, what it takes, what is shown."""

import asyncio
import json

import pytest

from hawse.component import Calls, Connects, Listens, Reads
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig
from hawse.receivers.prometheus import Config, needs
from hawse.receivers.prometheus.negotiation import ContentTypeError, accept, content_type

from .rig import decoded, running, scraping, targets

STATIC = {"job_name": "a", "static_configs": [{"targets": ["h:1"]}]}


@pytest.mark.parametrize(
    ("settings", "path", "says"),
    [
        (
            {"config": {"scrape_configs": [STATIC, STATIC]}},
            "config.scrape_configs[1].job_name",
            "multiple scrape configs",
        ),
        (
            {"config": {"scrape_configs": [{**STATIC, "proxy_url": "http://p"}]}},
            "config.scrape_configs[0].proxy_url",
            "proxy is not supported",
        ),
        (
            {
                "config": {
                    "scrape_configs": [{**STATIC, "http_sd_configs": [{"url": "http://h", "proxy_url": "http://p"}]}]
                }
            },
            "config.scrape_configs[0].http_sd_configs[0].proxy_url",
            "proxy is not supported",
        ),
        (
            {"config": {"scrape_configs": [{**STATIC, "scrape_interval": "10s", "scrape_timeout": "11s"}]}},
            "config.scrape_configs[0].scrape_timeout",
            "greater than scrape interval",
        ),
        ({"config": {"scrape_configs": [STATIC]}, "trim_metric_suffixes": True}, "trim_metric_suffixes", "names stay"),
        ({"target_allocator": {"endpoint": "allocator:80"}}, "target_allocator.endpoint", "is no HTTP URL"),
        ({"target_allocator": {"endpoint": "http://a", "interval": "0"}}, "target_allocator.interval", "more than 0"),
        (
            {"config": {"scrape_configs": [{**STATIC, "honour_labels": True}]}},
            "config.scrape_configs[0].honour_labels",
            "",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(settings, path, says):
    found = decoded(settings)
    assert not isinstance(found, Config)
    assert [finding.where.path for finding in found] == [path]
    assert says in found[0].message


def test_dollars_are_for_the_loader():
    rule = {"source_labels": ["a"], "regex": "(.)(.)", "replacement": "$$1-$${2}", "target_label": "b"}
    job = scraping("h:1", relabel_configs=[rule]).config.scrape_configs[0]
    assert job.relabel_configs[0].replacement == "$1-${2}"
    rule["replacement"] = "$1"  # as it stands in Prometheus' own files
    assert scraping("h:1", relabel_configs=[rule]).config.scrape_configs[0].relabel_configs[0].replacement == "$1"


def test_needs():
    job = {
        "job_name": "a",
        "scheme": "https",
        "static_configs": [{"targets": ["h", "10.0.0.1:9100", "[::1]:1"]}],
        "kubernetes_sd_configs": [{"role": "pod"}],
        "file_sd_configs": [{"files": ["/sd/*.json"]}],
        "basic_auth": {"username_file": "/user", "password_file": "/password"},
        "tls_config": {"ca_file": "/ca", "cert_file": "/cert", "key_file": "/key"},
        "http_headers": {"X-A": {"files": ["/header"]}},
        "relabel_configs": [{"source_labels": ["__address__"], "regex": "(.*):9100", "target_label": "__address__",
                             "replacement": "$1:9101"}],
    }  # fmt: skip
    probe = {
        "job_name": "probe",
        "oauth2": {"client_id": "c", "client_secret_file": "/secret", "token_url": "https://idp/token"},
        "static_configs": [{"targets": ["http://example.org"]}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"target_label": "__address__", "replacement": "blackbox:9115"},
        ],
    }
    found = list(
        needs(
            decoded(
                {
                    "config": {"scrape_configs": [job, probe], "scrape_config_files": ["/more/*.yaml"]},
                    "target_allocator": {"endpoint": "http://allocator", "tls": {"ca_file": "/ta-ca"}},
                    "api_server": {"enabled": True, "server_config": {"endpoint": "0.0.0.0:9090"}},
                }
            )
        )
    )
    assert len(found) == len(set(found))
    assert {(need.host, need.port) for need in found if isinstance(need, Connects)} == {
        ("h", 443),
        ("10.0.0.1", 9101),
        ("::1", 1),
        ("blackbox", 9115),
        ("idp", 443),
        ("allocator", 80),
        ("kubernetes.default.svc", 443),
        ("", 0),
    }
    reads = {need.path for need in found if isinstance(need, Reads)}
    assert reads >= {"/user", "/password", "/ca", "/cert", "/key", "/header", "/secret", "/more/*.yaml", "/ta-ca"}
    assert "/sd/*.json" in reads
    assert any(isinstance(need, Calls) and need.resource == "pods" for need in found)
    assert Listens(9090, "tcp", "Prometheus API", "0.0.0.0") in found


def test_a_role_without_static_targets_needs_no_host_by_name():
    found = list(needs(scraping(static_configs=[], file_sd_configs=[{"files": ["/sd/a.json"]}])))
    assert [(need.host, need.port) for need in found if isinstance(need, Connects)] == [("", 0)]


# --- formats --------------------------------------------------------------------------------------------------------


def test_accept():
    protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6"
    assert accept(("PrometheusProto",), "allow-utf-8") == f"{protobuf},*/*;q=0.5"
    assert accept(("PrometheusText0.0.4", "OpenMetricsText1.0.0"), "underscores") == (
        "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.4"
    )


def test_content_types():
    for said in (
        "text/plain",
        "TEXT/Plain; version=0.0.4",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    ):
        assert content_type(said, "") == said
    assert content_type("", "PrometheusText0.0.4") == "text/plain;version=0.0.4"
    assert content_type("text/html", "OpenMetricsText1.0.0") == "application/openmetrics-text;version=1.0.0"
    for said in ("", "text/html", "application/json"):
        with pytest.raises(ContentTypeError):
            content_type(said, "")


# --- status ---------------------------------------------------------------------------------------------------------


def test_targets_as_prometheus_shows_them():
    async def run():
        async with targets(2) as (good, bad):
            bad.status = "500 Oops"
            config = scraping(
                good.address,
                bad.address,
                "h:2",
                scrape_timeout="50ms",
                relabel_configs=[{"source_labels": ["__address__"], "regex": "h:2", "action": "drop"}],
                receiver={"api_server": {"enabled": True, "server_config": {"endpoint": "127.0.0.1:0"}}},
            )
            async with running(config) as receiver:
                sink = receiver.sink
                await sink.until(lambda: {0, 1} <= set(sink.of("up")))
                client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{receiver.port}"))
                try:
                    found = [
                        json.loads((await client.request("GET", path)).body)
                        for path in (
                            "/api/v1/targets",
                            "/api/v1/targets?state=active",
                            "/api/v1/targets?state=dropped&scrapePool=test",
                            "/api/v1/targets?scrapePool=other",
                            "/api/v1/scrape_pools",
                        )
                    ]
                finally:
                    await client.close()
                return found, good.address, bad.address

    (everything, active, dropped, other, pools), good, bad = asyncio.run(run())
    assert everything["status"] == "success"
    by_instance = {one["labels"]["instance"]: one for one in everything["data"]["activeTargets"]}
    assert set(by_instance) == {good, bad}
    shown = by_instance[good]
    assert shown["discoveredLabels"]["__address__"] == good
    assert shown["scrapeUrl"] == f"http://{good}/metrics"
    assert (shown["health"], shown["lastError"], shown["scrapePool"]) == ("up", "", "test")
    assert (shown["scrapeInterval"], shown["scrapeTimeout"]) == ("100ms", "50ms")
    assert shown["lastScrape"].startswith("20") and shown["lastScrape"].endswith("Z")
    assert by_instance[bad]["health"] == "down" and "500" in by_instance[bad]["lastError"]
    (one,) = everything["data"]["droppedTargets"]
    assert one["reason"] == "dropped by relabel_configs[0] (action drop)"
    assert everything["data"]["droppedTargetCounts"] == {"test": 1}
    assert len(active["data"]["activeTargets"]) == 2 and active["data"]["droppedTargets"] == []
    assert dropped["data"]["activeTargets"] == [] and len(dropped["data"]["droppedTargets"]) == 1
    assert other["data"] == {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}
    assert pools["data"] == {"scrapePools": ["test"]}


# --- files of jobs --------------------------------------------------------------------------------------------------


def test_jobs_in_files(tmp_path):
    async def run():
        async with targets() as (other,):
            other.answer = "b 1\n"
            (tmp_path / "1.yaml").write_text(
                f'scrape_configs: [{{job_name: x, static_configs: [{{targets: ["{other.address}"]}}]}}]'
            )
            document = {
                "config": {"global": {"scrape_interval": "100ms"}, "scrape_config_files": [f"{tmp_path}/*.yaml"]}
            }
            config = decoded(document)
            assert isinstance(config, Config), config
            async with running(config) as receiver:
                await receiver.sink.until(lambda: receiver.sink.of("b", job="x"))

    asyncio.run(run())


def test_files_that_are_wrong(tmp_path):
    (tmp_path / "1.yaml").write_text("scrape_configs:\n  - job_name: test\n    proxy_url: http://p\n  - jobname: x\n")
    (tmp_path / "2.yaml").write_text("scrape_configs:\n  - job_name: test\n    proxy_url: http://p\n")
    (tmp_path / "3.yaml").write_text("scrape_configs: [")
    config = scraping("h:1")
    from msgspec.structs import replace

    files = (f"{tmp_path}/[123].yaml", f"{tmp_path}/none.yaml", f"{tmp_path}/none*.yaml")
    config = replace(config, config=replace(config.config, scrape_config_files=files))

    async def run():
        async with running(config):
            pass

    with pytest.raises(HawseError) as caught:
        asyncio.run(run())
    told = [str(finding) for finding in caught.value.findings]
    assert any("1.yaml:4" in one and 'unknown key "jobname"' in one for one in told)
    assert any("2.yaml" in one and "proxy_url: scraping through a proxy is not supported" in one for one in told)
    assert any("2.yaml" in one and 'multiple scrape configs with job name "test"' in one for one in told)
    assert any("3.yaml" in one and "not valid YAML" in one for one in told)
    assert any("none.yaml" in one and "cannot read" in one for one in told)
    assert not any("none*" in one for one in told)
