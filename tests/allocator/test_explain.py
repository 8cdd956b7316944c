"""Why a target is or is not scraped; and `hawse targets`, which shows it."""

import asyncio
import json

import pytest

from hawse import cli
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from tests.allocator.cluster import (
    WEB,
    allocating,
    collector,
    endpoints,
    found,
    pod_monitor,
    service,
    service_monitor,
    shop,
)

KEYS = {
    "namespaces": ["*"],
    "prometheus_cr": {"enabled": True, "pod_monitor_selector": {"matchLabels": {"release": "a"}}},
    "collectors": {"static": ["c-0", "c-1"]},
}


def cluster(api):
    shop(api)
    api.put(service_monitor("shop", "web", WEB))
    api.put(service_monitor("shop", "api", {**WEB, "selector": {"matchLabels": {"app": "api"}}}))
    api.put(service_monitor("shop", "grpc", {**WEB, "endpoints": [{"port": "grpc"}]}))
    api.put(service_monitor("shop", "thief", {**WEB, "endpoints": [{"port": "http", "bearerTokenFile": "/token"}]}))
    api.put(service_monitor("other", "web", WEB))
    api.put(pod_monitor("shop", "web", {"podMetricsEndpoints": [{"port": "http"}]}))
    probe = {"prober": {"url": "blackbox.shop.svc:9115"}, "targets": {"staticConfig": {"static": ["example.com"]}}}
    api.put(found("Probe", "monitoring.coreos.com/v1", "shop", "site", spec=probe))


def explained(tmp_path, *queries, keys=None, change=None):
    async def whole():
        async with DemoApi() as api:
            cluster(api)
            if change:
                change(api)
            async with allocating(api, tmp_path, **{**KEYS, **(keys or {})}) as run:
                return [await run.explain(query) for query in queries]

    return asyncio.run(whole())


def test_rule_by_rule(tmp_path):
    (made,) = explained(tmp_path, "10.1.0.1:8080")
    assert made["summary"].startswith("10.1.0.1:8080 is scraped by c-")
    by = {one["job"]: one for one in made["found"]}
    scraped = by["serviceMonitor/shop/web/0"]
    assert scraped["verdict"] == "scraped"
    assert scraped["reason"] == "consistent-hashing over 2 collectors"
    assert scraped["url"] == "http://10.1.0.1:8080/metrics"
    assert scraped["origin"] == "ServiceMonitor shop/web"
    assert "endpointslice/shop/web-x7x2k" in scraped["found_by"]
    (rule,) = [one for one in scraped["rules"] if one["config"].get("target_label") == "job"]
    assert rule["labels"] == {"job": ["serviceMonitor/shop/web/0", "web"]}
    wrong_selector = by["serviceMonitor/shop/api/0"]
    assert wrong_selector["verdict"] == "dropped"
    assert wrong_selector["reason"] == (
        "the service's label app is 'web', not 'api' (selector of ServiceMonitor shop/api)"
    )
    last = wrong_selector["rules"][-1]
    assert (last["action"], last["dropped"], last["source"]) == ("keep", True, "web;true")
    wrong_port = by["serviceMonitor/shop/grpc/0"]
    assert wrong_port["reason"].endswith("__meta_kubernetes_endpointslice_port_name is 'http'")
    not_by = {one["by"]: one["reason"] for one in made["not_by"]}
    assert "bearerTokenFile names a file" in not_by["serviceMonitor/shop/thief/0"]
    assert "serviceMonitor/other/web/0" not in not_by  # it is of no interest while somebody scrapes
    assert not_by["PodMonitor shop/web"] == (
        "its label release is not there, not 'a' (prometheus_cr.pod_monitor_selector)"
    )


@pytest.mark.parametrize(
    "query",
    ["10.1.0.1", "web-0", "shop/web-0", "http://10.1.0.1:8080/metrics", "web-x7x2k", "shop/web"],
)
def test_whatever_one_knows_of_it(tmp_path, query):
    (made,) = explained(tmp_path, query)
    assert "10.1.0.1:8080" in [one["address"] for one in made["found"] if one["verdict"] == "scraped"]


def test_what_was_never_discovered(tmp_path):
    first, second = explained(tmp_path, "10.9.9.9:1", "shop/nothing", keys={"namespaces": ["shop"]})
    assert "found" not in first
    assert "found" not in second
    assert first["summary"].startswith("10.9.9.9:1 was not discovered. The allocator may look in the namespaces shop")
    assert "endpointslice in shop" in first["summary"]


def test_a_probe_is_found_by_what_it_asks(tmp_path):
    by_prober, by_target = explained(tmp_path, "blackbox.shop.svc:9115", "example.com")
    for made in (by_prober, by_target):
        (one,) = made["found"]
        assert one["job"] == "probe/shop/site"
        assert one["url"] == "http://blackbox.shop.svc:9115/probe?target=example.com"


def test_no_collector_on_the_node(tmp_path):
    keys = {"allocation_strategy": "per-node", "allocation_fallback_strategy": "none", "collectors": {}}
    keys["collector_selector"] = {"matchLabels": {"app": "collector"}}

    def change(api):
        api.put(collector("c-0", node="node-1"))

    one, other = explained(tmp_path, "web-1", "web-0", keys=keys, change=change)
    assert one["found"][0]["verdict"] == "scraped"
    assert one["found"][0]["reason"] == "per-node over 1 collectors"
    assert other["found"][0]["verdict"] == "unassigned"
    assert "no collector runs on its node" in other["found"][0]["reason"]


def test_questions_that_are_none(tmp_path):
    async def whole():
        async with DemoApi() as api, allocating(api, tmp_path, **KEYS) as run:
            for query in ("", "%20", "x" * 2000):
                status, body = await run.get(f"/explain?target={query}")
                assert status == 400
                assert b"/explain?target=10.1.2.3:8080" in body
            assert (await run.get("/explain"))[0] == 400
            for odd in ("http://[", "]:[", "%00", "[::1", "::::", "://", "a://b://c"):
                assert (await run.get(f"/explain?target={odd}"))[0] == 200, odd
            assert (await run.get("/jobs/x"))[0] == 404
            assert (await run.get("/jobs/targets"))[0] == 404

    asyncio.run(whole())


def command(tmp_path, capsys, *arguments):
    """Run `hawse targets …` against an allocator; returns code, output, errors."""

    async def whole():
        async with DemoApi() as api:
            cluster(api)
            async with allocating(api, tmp_path, **KEYS) as run:
                return await asyncio.to_thread(cli.main, ["targets", *arguments, "--allocator", run.url])

    code = asyncio.run(whole())
    out, err = capsys.readouterr()
    return code, out, err


def test_command_explain(tmp_path, capsys):
    code, out, err = command(tmp_path, capsys, "explain", "shop/web-0")
    assert (code, err) == (0, "")
    assert "shop/web-0 is scraped by c-" in out
    assert "  job         serviceMonitor/shop/web/0 (ServiceMonitor shop/web)\n" in out
    assert "dropped, for it was 'web;true'" in out
    assert "\nnot by\n" in out
    assert "\n  serviceMonitor/shop/thief/0: refused: bearerTokenFile" in out
    code, out, err = command(tmp_path, capsys, "explain", "nobody", "-o", "json")
    assert code == 1
    assert json.loads(out)["summary"].startswith("nobody was not discovered")
    code, out, err = command(tmp_path, capsys, "explain", "shop/web-0", "--rules")
    assert "job: 'serviceMonitor/shop/web/0' → 'web'" in out


def test_command_list(tmp_path, capsys):
    code, out, err = command(tmp_path, capsys, "list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["JOB", "TARGET", "COLLECTOR"]
    assert [line.split()[1] for line in lines[1:]] == ["example.com", "10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]
    code, out, err = command(tmp_path, capsys, "list", "--job", "probe/shop/site", "-o", "json")
    (one,) = json.loads(out)
    assert (one["job"], one["target"], one["labels"]) == ("probe/shop/site", "example.com", {"namespace": "shop"})
    code, out, err = command(tmp_path, capsys, "list", "--collector", "c-9")
    assert out == "no targets\n"


def test_command_without_an_allocator(capsys):
    assert cli.main(["targets", "list", "--allocator", "http://127.0.0.1:1"]) == 3
    assert "connection refused" in capsys.readouterr().err
    assert cli.main(["targets", "list", "--allocator", "http://"]) == 2
    assert "is no HTTP URL" in capsys.readouterr().err


def test_a_pod_that_no_service_leads_to(tmp_path):
    def change(api):
        api.put(objects.pod("shop", "db-0", ips=("10.1.7.7",), labels={"app": "db"}))
        api.put(objects.pod("shop", "db-1", phase="Pending", labels={"app": "db"}))

    for made in explained(tmp_path, "shop/db-0", "10.1.7.7:5432", keys={"namespaces": ["shop"]}, change=change):
        assert made["summary"] == "the pod shop/db-0 (10.1.7.7; app=db) is there, but no job has found it"
        not_by = {one["by"]: one["reason"] for one in made["not_by"]}
        assert not_by["serviceMonitor/shop/web/0"] == (
            "it looks at endpoints of a Service with app=web, and none of them is it"
        )
        assert not_by["probe/shop/site"] == "its targets are a list"
        assert "release" in not_by["PodMonitor shop/web"]
    (made,) = explained(tmp_path, "shop/db-1", change=change)
    assert made["summary"].startswith("the pod shop/db-1 (no address yet; app=db) is there")
    assert {"by": "serviceMonitor/other/web/0", "reason": "it looks in the namespaces other only"} in made["not_by"]


def test_who_else_looks_where(tmp_path):
    def change(api):
        for name in ("web", "api", "grpc"):
            api.delete("shop", name, "ServiceMonitor")
        spec = {**WEB, "namespaceSelector": {"matchNames": ["shop"]}, "endpoints": [{"port": "grpc"}]}
        api.put(service_monitor("other", "grpc", spec))

    for namespaces in (["*"], ["shop", "other"]):
        (made,) = explained(tmp_path, "10.1.0.1:8080", keys={"namespaces": namespaces}, change=change)
        assert made["summary"].startswith(
            "10.1.0.1:8080 was discovered, and is not scraped: serviceMonitor/other/grpc/0"
        )
        not_by = {one["by"]: one["reason"] for one in made["not_by"]}
        assert not_by["serviceMonitor/other/web/0"] == "it looks in the namespaces other only"


def test_what_was_changed_for_safety_is_told(tmp_path):
    def change(api):
        spec = {**WEB, "attachMetadata": {"node": True}, "endpoints": [{"port": "http", "followRedirects": True}]}
        api.put(service_monitor("shop", "web", {**spec, "serviceDiscoveryRole": "Endpoints"}))

    (made,) = explained(tmp_path, "10.1.0.1:8080", change=change)
    (one,) = [one for one in made["found"] if one["job"] == "serviceMonitor/shop/web/0"]
    assert [note.partition(" ")[0] for note in one["notes"]] == [
        "followRedirects",
        "attachMetadata.node",
        "serviceDiscoveryRole",
    ]
