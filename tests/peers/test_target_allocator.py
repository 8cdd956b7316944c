"""A real Prometheus as the target allocator's client: it takes our jobs as its configuration, finds the targets by HTTP
discovery, and makes of them what we say is scraped.
"""

import asyncio
import json
import subprocess
from urllib.parse import quote_plus

from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from tests.allocator.cluster import allocating, found, pod_monitor, service_monitor, shop

from .programs import get, until
from .prometheus import Prometheus

ENDPOINT = {
    "port": "http",
    "path": "/m",
    "scheme": "HTTPS",
    "interval": "90s",
    "scrapeTimeout": "1500ms",
    "params": {"a": ["1", "2 3"]},
    "honorLabels": True,
    "tlsConfig": {"insecureSkipVerify": True, "serverName": "web", "minVersion": "TLS12"},
    "basicAuth": {"username": {"name": "auth", "key": "user"}, "password": {"name": "auth", "key": "user"}},
    "relabelings": [
        {
            "sourceLabels": ["__meta_kubernetes_pod_name"],
            "regex": "web-(\\d+)",
            "targetLabel": "n",
            "replacement": "$1",
        },
        {"sourceLabels": ["namespace"], "targetLabel": "namespace", "action": "Uppercase"},
        {"action": "LabelMap", "regex": "__meta_kubernetes_(node)_name"},
        {"sourceLabels": ["pod"], "separator": "", "targetLabel": "gone", "replacement": ""},
        {"sourceLabels": ["pod"], "targetLabel": "shard", "modulus": 7, "action": "hashmod"},
        {"sourceLabels": ["pod"], "targetLabel": "pod", "action": "KeepEqual"},
    ],
    "metricRelabelings": [
        {"sourceLabels": ["__name__"], "regex": "go_.*", "action": "drop"},
        {"regex": "a|b", "action": "labeldrop"},
        {"sourceLabels": ["a"], "targetLabel": "b", "action": "DropEqual"},
    ],
}
SPEC = {
    "selector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]},
    "endpoints": [ENDPOINT, {"port": "http"}],
    "targetLabels": ["app"],
    "sampleLimit": 10,
    "bodySizeLimit": "10MB",
    "labelNameLengthLimit": 100,
}


def cluster(api):
    shop(api, pods=5)
    secret = found("Secret", "v1", "shop", "auth", data={"user": "aHVudGVyMg=="})
    api.put(secret)
    api.put(service_monitor("shop", "web", SPEC))
    api.put(service_monitor("shop", "odd name", {**SPEC, "selector": {}}))
    relabelings = [{"sourceLabels": ["pod"], "regex": "web-[01]", "action": "drop"}]
    api.put(
        pod_monitor(
            "shop", "web", {"podMetricsEndpoints": [{"port": "http", "relabelings": relabelings}], "jobLabel": "app"}
        )
    )
    probe = {"prober": {"url": "b.shop.svc:9115"}, "module": "m", "targets": {"staticConfig": {"static": ["a?b=c"]}}}
    api.put(found("Probe", "monitoring.coreos.com/v1", "shop", "site", spec=probe))
    static = {"staticConfigs": [{"targets": ["x.shop.svc:1"], "labels": {"env": "ü"}}], "jobName": "mine"}
    api.put(found("ScrapeConfig", "monitoring.coreos.com/v1alpha1", "shop", "own", spec=static))
    given = {"prometheus.io/scrape": "true", "prometheus.io/port": "9999", "prometheus.io/path": "/x y"}
    api.put(objects.pod("shop", "annotated", ips=("10.1.9.9",), annotations=given))


def configuration(url, jobs):
    """As the OpenTelemetry Collector's receiver puts it together."""
    made = []
    for name, job in jobs.items():
        where = f"{url}/jobs/{quote_plus(name)}/targets?collector_id=c-0"
        made.append({**job, "http_sd_configs": [{"url": where, "refresh_interval": "1s"}]})
    return {"scrape_configs": made}


def expected(allocator):
    """(job, URL, labels) of all targets."""
    made = []
    for name, items in allocator.assignment.jobs.items():
        populate = allocator.board.working[name].populate
        for item in items:
            target = populate(item.labels, item.group.labels)
            made.append((name, str(target.url), target.labels))
    return sorted(made, key=str)


def active(prometheus):
    _, _, body = get(f"{prometheus.url}/api/v1/targets?state=active")
    listed = json.loads(body)["data"]["activeTargets"]
    return sorted(((one["scrapePool"], one["scrapeUrl"], one["labels"]) for one in listed), key=str)


def test_prometheus_makes_of_it_what_we_say(peer, tmp_path):
    binary, promtool = peer("prometheus"), peer("promtool")

    async def whole():
        async with DemoApi() as api:
            cluster(api)
            keys = {
                "namespaces": ["shop"],
                "collectors": {"static": ["c-0"]},
                "prometheus_cr": {"enabled": True},
                "pod_annotations": {"enabled": True},
                "secrets": [{"namespace": "shop", "name": "auth"}],
                "allow_insecure_auth_secrets": True,
            }
            async with allocating(api, tmp_path, **keys) as run:
                jobs = await run.json("/scrape_configs")
                assert not [job for job in run.allocator.jobs.values() if job.refused]
                await asyncio.to_thread(ask, run, jobs)

    def ask(run, jobs):
        with Prometheus(binary, tmp_path / "prometheus", configuration(run.url, jobs)) as prometheus:
            checked = subprocess.run([promtool, "check", "config", prometheus.config], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
            wanted = expected(run.allocator)
            # Two endpoints of five pods for each of two monitors; four pods; a probe, a list, an annotation.
            assert len(wanted) == 2 * 2 * 5 + 4 + 3
            until(lambda: len(active(prometheus)) == len(wanted), "all targets are found")
            assert active(prometheus) == wanted

    asyncio.run(whole())
