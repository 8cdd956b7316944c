"""The allocator beside an API server, over HTTP."""

import asyncio
import base64
import json
import shutil

import pytest

from hawse.allocator import allocator as allocator_module
from hawse.demo import objects
from hawse.component import Busy
from hawse.demo.apiserver import DemoApi
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig, TLSClient
from tests.allocator.cluster import (
    WEB,
    allocating,
    collector,
    endpoints,
    found,
    pod_monitor,
    service,
    service_monitor,
    settings,
    shop,
)
from tests.net.certificates import make

STATIC = {"static": ["c-0", "c-1"]}
CR = {"enabled": True, "kinds": ["ServiceMonitor", "PodMonitor"]}
EVERYWHERE = {"namespaces": ["*"], "prometheus_cr": CR, "collectors": STATIC}
JOB = "serviceMonitor/shop/web/0"


def test_targets_of_a_monitor_come_change_and_go(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                assert list(await run.json("/jobs")) == [JOB]
                assert (await run.json("/jobs"))[JOB] == {"_link": "/jobs/serviceMonitor%2Fshop%2Fweb%2F0/targets"}
                first, second = [await run.targets(JOB, name) for name in ("c-0", "c-1")]
                assert sorted(first + second) == ["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]
                assert await run.targets(JOB, "stranger") == []
                by_collector = await run.json(f"/jobs/{JOB.replace('/', '%2F')}/targets")
                assert {name: len(one["targets"]) for name, one in by_collector.items()} == {
                    "c-0": len(first),
                    "c-1": len(second),
                }
                (one,) = [each for each in by_collector["c-0"]["targets"] + by_collector["c-1"]["targets"]][:1]
                assert one["labels"]["__meta_kubernetes_service_label_app"] == "web"
                assert "__address__" not in one["labels"]

                api.put(endpoints("shop", "web", {"http": 8080}, {"10.1.0.9": ""}))
                await run.until(lambda: run.addresses(JOB) == ["10.1.0.9:8080"])
                api.put(service_monitor("shop", "web", {**WEB, "selector": {"matchLabels": {"app": "api"}}}))
                await run.until(lambda: not run.addresses(JOB))
                assert JOB in await run.json("/scrape_configs")  # the job is there, and may get targets
                api.delete("shop", "web", "ServiceMonitor")
                await run.until(lambda: JOB not in run.allocator.board.working)
                assert await run.json("/scrape_configs") == {}
                assert not list(run.allocator.looks)  # nobody wants to know any more

    asyncio.run(whole())


def test_scrape_configs_are_what_the_client_needs(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            config = {"scrape_configs": [{"job_name": "a b/c+d", "static_configs": [{"targets": ["x:1"]}]}]}
            async with allocating(api, tmp_path, config=config, **EVERYWHERE) as run:
                made = await run.json("/scrape_configs")
                assert set(made) == {JOB, "a b/c+d"}
                assert made[JOB]["scrape_interval"] == "30s"
                assert made["a b/c+d"]["scrape_interval"] == "1m"
                assert not [key for one in made.values() for key in one if key.endswith("_sd_configs")]
                # As Go's url.QueryEscape writes the job's name.
                listed = [
                    json.loads((await run.get(f"/jobs/a+b%2Fc%2Bd/targets?collector_id={name}"))[1])
                    for name in ("c-0", "c-1")
                ]
                assert sum(listed, []) == [{"targets": ["x:1"], "labels": {}}]

    asyncio.run(whole())


def test_monitors_that_do_not_count(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(objects.namespace("other", {"team": "other"}))
            api.put(service_monitor("shop", "web", WEB, {"release": "a"}))
            api.put(service_monitor("shop", "unlabelled", WEB))
            api.put(service_monitor("other", "web", WEB, {"release": "a"}))
            api.put(service_monitor("denied", "web", WEB, {"release": "a"}))
            cr = {
                "enabled": True,
                "kinds": ["ServiceMonitor"],
                "service_monitor_selector": {"matchLabels": {"release": "a"}},
                "service_monitor_namespace_selector": {"matchLabels": {"team": "shop"}},
                "deny_namespaces": ["denied"],
            }
            async with allocating(api, tmp_path, namespaces=["*"], prometheus_cr=cr, collectors=STATIC) as run:
                assert set(run.allocator.board.working) == {JOB}
                passed = {f"{one.namespace}/{one.name}": one.reason for one in run.allocator.monitors.passed()}
                assert passed["shop/unlabelled"].startswith("its label release is not there, not 'a'")
                assert "its namespace's label team is 'other', not 'shop'" in passed["other/web"]
                assert "deny_namespaces" in passed["denied/web"]
                api.put(objects.namespace("other", {"team": "shop"}))
                await run.until(lambda: "serviceMonitor/other/web/0" in run.allocator.board.working)
                api.put(service_monitor("shop", "web", WEB, {"release": "b"}))
                await run.until(lambda: JOB not in run.allocator.board.working)

    asyncio.run(whole())


def test_only_the_namespaces_that_are_named_are_asked_for(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            api.put(service_monitor("other", "web", {**WEB, "namespaceSelector": {"matchNames": ["shop"]}}))
            api.put(service_monitor("other", "any", {**WEB, "namespaceSelector": {"any": True}}))
            paths = []
            served = api._served

            async def spy(request):
                paths.append(request.path)
                return await served(request)

            api._served = spy
            async with allocating(api, tmp_path, namespaces=["other"], prometheus_cr=CR, collectors=STATIC) as run:
                assert set(run.allocator.board.working) == {"serviceMonitor/other/any/0"}
                assert run.allocator.jobs["serviceMonitor/other/web/0"].refused == (
                    "its targets are in shop, where the allocator may not look (namespaces)"
                )
                assert paths
                assert all("/namespaces/other/" in path for path in paths), set(paths)

    asyncio.run(whole())


def test_addresses_of_others_are_not_handed_out(tmp_path):
    def rewritten(address):
        return {
            **WEB,
            "endpoints": [{"port": "http", "relabelings": [{"targetLabel": "__address__", "replacement": address}]}],
        }

    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "fine", rewritten("web.shop.svc:80")))
            api.put(service_monitor("shop", "imds", rewritten("169.254.169.254:80")))
            api.put(service_monitor("shop", "theirs", rewritten("10.2.0.1:5432")))
            api.put(service_monitor("shop", "name", rewritten("db.other.svc:5432")))
            api.put(service_monitor("shop", "self", rewritten("127.0.0.1:13133")))
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                assert list(await run.json("/jobs")) == ["serviceMonitor/shop/fine/0"]
                assert sum(run.allocator.assignment.counts.values()) == 3
                _, text = await run.get("/metrics")
                for name in ("imds", "theirs", "name", "self"):
                    line = f'opentelemetry_allocator_targets_refused{{job_name="serviceMonitor/shop/{name}/0"}} 3'
                    assert line in text.decode()
                explained = await run.explain("10.1.0.1:8080")
                reasons = {one["job"].split("/")[2]: one["reason"] for one in explained["found"]}
                assert "169.254.169.254 is a link-local address" in reasons["imds"]
                assert "10.2.0.1 is not an address of the pod shop/web-0" in reasons["theirs"]
            loose = {"local_addresses": True, "foreign_addresses": True}
            async with allocating(api, tmp_path, allow=loose, **EVERYWHERE) as run:
                assert len(await run.json("/jobs")) == 5

    asyncio.run(whole())


def secret(**texts):
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return found("Secret", "v1", "shop", "auth", data=data)


AUTH = {
    **WEB,
    "endpoints": [{"port": "http", "authorization": {"credentials": {"name": "auth", "key": "token"}}}],
}


def test_secrets_by_name_only(tmp_path, monkeypatch):
    monkeypatch.setattr("hawse.allocator.named._EVERY", 0.1)

    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(secret(token="hunter2"))
            api.put(service_monitor("shop", "web", AUTH))
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                assert run.allocator.jobs[JOB].refused == (
                    "the Secret shop/auth is not one that the allocator may read (not in secrets)"
                )
            assert not [request for request in api.requests if "secrets" in request]
            named = {"secrets": [{"namespace": "shop", "name": "auth"}], **EVERYWHERE}
            async with allocating(api, tmp_path, **named) as run:
                assert {request for request in api.requests if "secrets" in request} == {"get secrets"}
                status, body = await run.get("/scrape_configs")  # no TLS: Prometheus' word for a secret
                assert b"hunter2" not in body
                assert json.loads(body)[JOB]["authorization"]["credentials"] == "<secret>"
            async with allocating(api, tmp_path, allow_insecure_auth_secrets=True, **named) as run:
                made = await run.json("/scrape_configs")
                assert made[JOB]["authorization"]["credentials"] == "hunter2"
                api.put(secret(token="renewed"))

                def credentials():
                    return run.allocator.board.working[JOB].config.authorization.credentials.reveal()

                await run.until(lambda: credentials() == "renewed")
                api.delete("shop", "auth", "Secret")
                await run.until(lambda: "can't be read" in run.allocator.jobs[JOB].refused)
                assert JOB not in await run.json("/scrape_configs")

    asyncio.run(whole())


def test_annotated_pods_and_kubelets(tmp_path):
    def annotated(name, ip, **annotations):
        given = {f"prometheus.io/{key}": value for key, value in annotations.items()}
        return objects.pod("shop", name, ips=(ip,), annotations=given, containers={"app": "a:1", "side": "b:1"})

    def node(name, ip):
        made = objects.plain("Node", name)
        made["status"] = {
            "addresses": [{"type": "InternalIP", "address": ip}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        }
        return made

    async def whole():
        async with DemoApi() as api:
            api.put(annotated("on", "10.1.0.1", scrape="true", port="9090", path="/m", scheme="https"))
            api.put(annotated("ports", "10.1.0.2", scrape="true"))
            api.put(annotated("off", "10.1.0.3", scrape="false", port="9090"))
            api.put(annotated("odd", "10.1.0.4", scrape="true", port="80@169.254.169.254:80"))
            api.put(annotated("six", "fd00::6", scrape="true", port="9090"))
            api.put(node("node-1", "10.0.0.1"))
            own = {"pod_annotations": {"enabled": True}, "kubelet": {"enabled": True}}
            async with allocating(api, tmp_path, namespaces=["*"], collectors=STATIC, **own) as run:
                jobs = run.allocator.assignment.jobs
                working = run.allocator.board.working["pod-annotations"]
                urls = sorted(
                    {str(working.populate(item.labels, item.group.labels).url) for item in jobs["pod-annotations"]}
                )
                assert urls == [
                    "http://10.1.0.2:8080/metrics",
                    "http://10.1.0.4:8080/metrics",
                    "http://[fd00::6]:9090/metrics",
                    "https://10.1.0.1:9090/m",
                ]
                assert len([item for item in jobs["pod-annotations"] if "10.1.0.1" in item.labels["__address__"]]) == 1
                configs = await run.json("/scrape_configs")
                assert configs["kubelet"]["metrics_path"] == "/metrics"
                assert configs["cadvisor"]["metrics_path"] == "/metrics/cadvisor"
                for name in ("kubelet", "cadvisor"):
                    assert configs[name]["scheme"] == "https"
                    assert configs[name]["authorization"]["credentials_file"].endswith("/token")
                    assert configs[name]["tls_config"] == {
                        "ca_file": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
                    }
                    assert run.addresses(name) == ["10.0.0.1:10250"]

    asyncio.run(whole())


def test_collectors_that_are_pods(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api, pods=40)
            api.put(service_monitor("shop", "web", WEB))
            for number in range(3):
                api.put(collector(f"c-{number}"))
            keys = {"namespaces": ["*"], "prometheus_cr": CR, "collector_not_ready_grace_period": "1s"}
            async with allocating(api, tmp_path, **keys) as run:

                def counts():
                    return {name: count for name, count in run.allocator.assignment.counts.items()}

                assert set(counts()) == {"c-0", "c-1", "c-2"}
                assert sum(counts().values()) == 40
                api.put(collector("c-3", ready=False))
                await asyncio.sleep(0.5)
                assert set(counts()) == {"c-0", "c-1", "c-2"}
                api.put(collector("c-3"))
                await run.until(lambda: len(counts()) == 4)
                before = counts()
                api.delete("monitoring", "c-1", "Pod")
                await asyncio.sleep(0.6)
                assert counts() == before  # it may be back
                await run.until(lambda: len(counts()) == 3)
                assert sum(counts().values()) == 40

    asyncio.run(whole())


def test_nothing_is_handed_out_before_all_is_known(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            api.faults.forbidden.add(("list", "pods"))
            keys = {"namespaces": ["*"], "prometheus_cr": CR}
            async with allocating(api, tmp_path, wait=False, **keys) as run:
                await run.until(lambda: "cannot list pods" in run.allocator.why_not_ready())
                for path in ("/scrape_configs", "/jobs", "/jobs/x/targets?collector_id=c-0", "/readyz"):
                    status, body = await run.get(path)
                    assert status == 503, path
                    assert b"not listed yet" in body
                assert (await run.get("/livez"))[0] == 200
                assert (await run.get("/explain?target=10.1.0.1:8080"))[0] == 200
                api.faults.forbidden.clear()
                await run.ready()
                assert (await run.get("/readyz")) == (200, b"ready\n")

    asyncio.run(whole())


def test_a_kind_that_is_not_there_keeps_nothing_from_work(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            api.faults.forbidden |= {("list", "podmonitors"), ("list", "ingresses")}
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                assert JOB in await run.json("/jobs")
                status, body = await run.get("/readyz")
                assert status == 200
                assert b"cannot list podmonitors" in body

    asyncio.run(whole())


def test_what_was_handed_out_stays_while_the_api_server_is_away(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                before = run.addresses(JOB)
                await api.stop()
                await run.until(lambda: run.allocator.errors())
                assert run.addresses(JOB) == before
                api.put(endpoints("shop", "web", {"http": 8080}, {"10.1.0.9": ""}))
                await api.start()
                await run.until(lambda: run.addresses(JOB) == ["10.1.0.9:8080"], 20)

    asyncio.run(whole())


def test_a_place_that_cannot_be_seen_delays_the_start_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(allocator_module, "PATIENCE", 1.0)

    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            api.put(pod_monitor("shop", "web", {"selector": {}, "podMetricsEndpoints": [{"port": "http"}]}))
            api.faults.forbidden.add(("list", "endpointslices"))
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                assert list(await run.json("/jobs")) == ["podMonitor/shop/web/0"]
                assert any("endpointslices" in error for error in run.allocator.errors())
                api.faults.forbidden.clear()
                await run.until(lambda: run.addresses(JOB), 20)

    asyncio.run(whole())


def test_one_bad_monitor_harms_no_other(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            bad = [
                None,
                7,
                "x",
                [],
                {"endpoints": {"a": 1}},
                {"endpoints": [{"port": "http", "interval": "1 minute"}]},
                {"endpoints": [{"port": "http", "relabelings": [{"action": "explode"}]}]},
                {"endpoints": [{"port": "http", "relabelings": [{"regex": "(", "action": "drop"}]}]},
                {"endpoints": [{"port": "http"}], "sampleLimit": 10**30},
            ]
            for number, spec in enumerate(bad):
                api.put(service_monitor("shop", f"bad-{number}", spec))
            async with allocating(api, tmp_path, **EVERYWHERE) as run:
                assert run.addresses(JOB)
                refused = {name for name, job in run.allocator.jobs.items() if job.refused}
                assert len(refused) >= 7
                api.put(service_monitor("shop", "bad-0", WEB))
                await run.until(lambda: run.addresses("serviceMonitor/shop/bad-0/0"))

    asyncio.run(whole())


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"collectors": {}}, "collector_selector"),
        ({"collectors": {"static": ["a"], "dns": {"hostname": "x"}}}, "collectors.dns"),
        ({"collector_selector": {}}, "collector_selector"),
        ({"namespaces": ["*", "a"]}, "namespaces"),
        ({"allow": {"addresses": ["a b"]}}, "allow.addresses[0]"),
        ({"config": {"scrape_config_files": ["/x/*.yml"]}}, "config.scrape_config_files"),
        ({"kubelet": {"enabled": True}, "config": {"scrape_configs": [{"job_name": "kubelet"}]}}, "job_name"),
        ({"prometheus_cr": {"kinds": ["Rule"]}}, "prometheus_cr.kinds[0]"),
    ],
)
def test_settings_that_are_wrong(keys, path):
    with pytest.raises(AssertionError, match=path.replace("[", r"\[").replace("]", r"\]")):
        settings(**keys)


def test_without_collectors_there_is_nobody_to_list(tmp_path):
    async def whole():
        async with DemoApi() as api:
            shop(api)
            api.put(service_monitor("shop", "web", WEB))
            async with allocating(api, tmp_path, namespaces=["*"], prometheus_cr=CR) as run:
                assert await run.json(f"/jobs/{JOB.replace('/', '%2F')}/targets") == {}
                assert list(await run.json("/jobs")) == [JOB]
                _, text = await run.get("/metrics")
                assert b"opentelemetry_allocator_targets_unassigned 3" in text

    asyncio.run(whole())


def test_few_explain_at_a_time(tmp_path, monkeypatch):
    async def whole():
        async with allocating(None, tmp_path, collectors=STATIC) as run:
            go = asyncio.Event()

            async def slow(allocator, query):
                await go.wait()
                return {"query": query}

            monkeypatch.setattr("hawse.allocator.api.explain", slow)
            asked = [asyncio.ensure_future(run.get("/explain?target=a")) for _ in range(6)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.2)
            go.set()
            statuses = sorted(status for status, _ in await asyncio.gather(*asked))
            assert statuses == [200, 200, 200, 200, 503, 503]

    asyncio.run(whole())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_credentials_are_for_those_who_show_a_certificate(tmp_path):
    make(tmp_path)
    server = {"cert_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server.key")}
    client = {"cert_file": str(tmp_path / "client.pem"), "key_file": str(tmp_path / "client.key")}
    config = {"scrape_configs": [{"job_name": "a", "authorization": {"credentials": "hunter2"}}]}

    async def credentials(tls, shown):
        async with allocating(None, tmp_path, collectors=STATIC, config=config, tls=tls) as run:
            trust = TLSClient(ca_file=str(tmp_path / "ca.pem"), **shown)
            http = HttpClient(ClientConfig(endpoint="", tls=trust, compression="none"))
            try:
                url = run.url.replace("http://", "https://")
                answer = await http.request("GET", f"{url}/scrape_configs")
            finally:
                await http.close()
            return json.loads(answer.body)["a"]["authorization"]["credentials"]

    assert asyncio.run(credentials(server, {})) == "<secret>"
    mutual = {**server, "client_ca_file": str(tmp_path / "ca.pem")}
    assert asyncio.run(credentials(mutual, client)) == "hunter2"
    with pytest.raises(Busy):
        asyncio.run(credentials(mutual, {}))
