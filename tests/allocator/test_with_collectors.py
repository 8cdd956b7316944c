"""The role target-allocator, two metrics collectors that are its clients, and real targets: each is scraped by one."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from hawse import roles
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.pipeline.check import check
from hawse.pipeline.running import running
from hawse.registry import Registry
from tests.allocator.cluster import pod_monitor

ROLE = Path(roles.__file__).parent / "target-allocator.yaml"


def collector(name, allocator, folder):
    return {
        "receivers": {
            "prometheus": {
                "target_allocator": {
                    "endpoint": allocator,
                    "interval": "200ms",
                    "collector_id": name,
                    "http_sd_config": {"refresh_interval": "1s"},
                }
            }
        },
        "exporters": {"file": {"path": str(folder / f"{name}.json")}},
        "service": {"pipelines": {"metrics": {"receivers": ["prometheus"], "exporters": ["file"]}}},
    }


def graph(*sources, **environ):
    return check(sources, Registry, environ=environ).required()


def test_each_target_is_scraped_by_one(tmp_path, monkeypatch):
    seen = {}  # target → how often which collector came

    async def whole():
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(DemoApi())
            servers = HttpServers()
            stack.push_async_callback(servers.close)
            for number in range(8):

                async def metrics(request, number=number):
                    seen.setdefault(number, Counter())[request.headers["x-by"]] += 1
                    return Response(200, f"up_and_down {number}\n", content_type="text/plain; version=0.0.4")

                port = await servers.mount(
                    ServerConfig(endpoint="127.0.0.1:0"), {("GET", "/metrics"): metrics}, owner=f"target {number}"
                )
                made = objects.pod("shop", f"web-{number}", ips=("127.0.0.1",), labels={"app": "web"})
                made["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": port, "protocol": "TCP"}]
                api.put(made)
            endpoint = {"port": "http", "interval": "1s", "scrapeTimeout": "1s"}
            api.put(pod_monitor("shop", "web", {"podMetricsEndpoints": [endpoint]}))
            environ = {
                "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig")),
                "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
                "HAWSE_METRICS_COLLECTORS": "[c-0, c-1]",
                "HAWSE_METRICS_NAMESPACES": "[shop]",
                "HAWSE_METRICS_ALLOW_LOCAL_ADDRESSES": "true",
                "HAWSE_ALLOCATOR_HOST": "127.0.0.1",
                "HAWSE_ALLOCATOR_PORT": "0",
            }
            monkeypatch.setenv("KUBECONFIG", environ["KUBECONFIG"])
            allocator = await stack.enter_async_context(running(graph(str(ROLE), **environ)))
            url = f"http://127.0.0.1:{allocator.components['extension:target_allocator'].port}"
            for name in ("c-0", "c-1"):
                document = collector(name, url, tmp_path)
                by = {"http_headers": {"x-by": {"values": [name]}}}
                document["receivers"]["prometheus"]["target_allocator"]["http_scrape_config"] = by
                await stack.enter_async_context(running(graph(f"yaml:{yaml.safe_dump(document)}")))
            async with asyncio.timeout(20):
                while len(seen) < 8 or min(sum(one.values()) for one in seen.values()) < 2:
                    await asyncio.sleep(0.05)
            extension = allocator.components["extension:target_allocator"].allocator
            return dict(extension.assignment.counts)

    counts = asyncio.run(whole())
    assert {name: sum(name in one for one in seen.values()) for name in ("c-0", "c-1")} == counts
    assert all(len(one) == 1 for one in seen.values()), seen
    assert sum(counts.values()) == 8
    assert min(counts.values()) > 0
    assert all((tmp_path / f"{name}.json").read_text() for name in counts)
