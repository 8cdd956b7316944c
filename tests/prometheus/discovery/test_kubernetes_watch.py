"""Discovery against the demo's API server over real sockets: what is watched, what is published, and when."""

import asyncio
import gc
import json
import logging
import time
import tracemalloc

import msgspec
import pytest

from hawse.component import Calls
from hawse.demo import apiview, objects
from hawse.demo.apiserver import DemoApi
from hawse.kube import reflector
from hawse.prometheus.decoding import decoded
from hawse.prometheus.discovery import discoverers, needs
from hawse.prometheus.discovery.kubernetes import finder, reach
from hawse.prometheus.discovery.kubernetes.finders import Finders
from hawse.prometheus.discovery.kubernetes.kept import Keeper
from hawse.prometheus.discovery.kubernetes.objects import PodObject
from hawse.prometheus.discovery.kubernetes.stores import Store
from hawse.prometheus.discovery.kubernetes.watching import ObjectWatches
from hawse.prometheus.settings import ScrapeConfig

META = "__meta_kubernetes_"
MORE = {
    ("", "services"): ("Service", True),
    ("", "endpoints"): ("Endpoints", True),
    ("discovery.k8s.io", "endpointslices"): ("EndpointSlice", True),
    ("networking.k8s.io", "ingresses"): ("Ingress", True),
    ("apps", "replicasets"): ("ReplicaSet", True),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(reflector, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(reflector, "_STEADY", 0.05)
    monkeypatch.setattr(finder, "_GATHER", 0.005)
    monkeypatch.setattr(finder, "_AGAIN", 0.05)
    for key, kind in MORE.items():
        if key not in apiview.RESOURCES:
            monkeypatch.setitem(apiview.RESOURCES, key, kind)
            monkeypatch.setitem(apiview.KINDS, kind[0], key)


async def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


class Context:
    """What is shared in a process."""

    def __init__(self):
        self.made = {}

    def shared(self, kind):
        if kind not in self.made:
            self.made[kind] = kind()
        return self.made[kind]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        for one in reversed(list(self.made.values())):
            await one.close()

    @property
    def watched(self):
        servers = self.shared(ObjectWatches)._servers.values()
        return sorted(str(wish.call) for server in servers for wish in server.watches)


class Found:
    """One kubernetes_sd_configs entry, discovered for the length of a block."""

    def __init__(self, context, role, kubeconfig, **keys):
        entry = {"role": role, **({"kubeconfig_file": str(kubeconfig)} if kubeconfig else {}), **keys}
        self.config = decoded({"job_name": "j", "kubernetes_sd_configs": [entry]}, ScrapeConfig)
        self.discoverer = discoverers(self.config, context)[0]
        self.published = []
        self.last = {}

    async def __aenter__(self):
        self.task = asyncio.create_task(self.discoverer.run(self.take))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def take(self, groups):
        self.published += groups
        for group in groups:
            if group.targets:
                self.last[group.source] = group
            else:
                self.last.pop(group.source)

    @property
    def sources(self):
        return sorted(self.last)

    async def synced(self):
        await until(lambda: self.discoverer.synced)


def pod(name, namespace="shop", ip="10.1.0.1", **keys):
    return objects.pod(namespace, name, ips=(ip,), **keys)


def endpoints(name, *pods, namespace="shop"):
    made = objects.plain("Endpoints", name, namespace)
    addresses = [{"ip": "10.1.0.1", "targetRef": {"kind": "Pod", "name": one, "namespace": namespace}} for one in pods]
    made["subsets"] = [{"addresses": addresses, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]
    return made


def test_pods_come_change_and_go(tmp_path):
    async def run():
        async with DemoApi() as api, Context() as context:
            api.put(pod("a"))
            api.put(pod("waits", phase="Pending"))
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config")) as found:
                await found.synced()
                assert found.sources == ["pod/shop/a"]
                assert found.last["pod/shop/a"].targets[0]["__address__"] == "10.1.0.1:8080"
                api.put(pod("b", namespace="other"))
                await until(lambda: "pod/other/b" in found.sources)
                before = len(found.published)
                changed = pod("a", labels={"app": "a", "version": "2"})
                changed["metadata"]["managedFields"] = []  # nothing that anybody reads
                api.put(changed)
                await until(lambda: f"{META}pod_label_version" in found.last["pod/shop/a"].labels)
                assert [group.source for group in found.published[before:]] == ["pod/shop/a"]
                api.delete("shop", "a")
                await until(lambda: found.sources == ["pod/other/b"])
            assert api.requests == ["list pods", "watch pods"]

    asyncio.run(run())


def test_what_changes_nothing_is_not_published(tmp_path):
    async def run():
        async with DemoApi() as api, Context() as context:
            api.put(pod("a"))
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config")) as found:
                await found.synced()
                before = len(found.published)
                for number in range(20):
                    again = pod("a")
                    again["metadata"]["annotations"] = {}
                    again["status"]["conditions"][0]["lastHeartbeatTime"] = str(number)
                    api.put(again)
                api.put(pod("b"))
                await until(lambda: "pod/shop/b" in found.sources)
                assert [group.source for group in found.published[before:]] == ["pod/shop/b"]

    asyncio.run(run())


def test_jobs_share_watches_and_groups(tmp_path):
    async def run():
        async with DemoApi() as api, Context() as context:
            file = api.kubeconfig(tmp_path / "config")
            for number in range(50):
                api.put(pod(f"p{number}"))
            async with Found(context, "pod", file) as one, Found(context, "pod", file) as same:
                await one.synced()
                assert one.last["pod/shop/p7"] is same.last["pod/shop/p7"]
                async with Found(context, "pod", file) as late:  # gets at once what is known
                    assert len(late.last) == 50 and late.discoverer.synced
                    assert len(context.shared(Finders)._finders) == 1
                    async with Found(context, "endpoints", file, attach_metadata={"namespace": True}) as other:
                        await other.synced()
                        assert context.watched == ["endpoints", "namespaces", "pods", "services"]
                        assert api.requests.count("list pods") == 1
                await asyncio.sleep(0)
                assert context.watched == ["pods"]
            assert context.watched == [] and context.shared(Finders)._finders == {}

    asyncio.run(run())


def test_namespaces_and_selectors_narrow_what_is_watched(tmp_path):
    async def run():
        async with DemoApi() as api, Context() as context:
            for namespace in ("one", "two", "three"):
                api.put(pod("yes", namespace=namespace, labels={"app": "web"}))
                api.put(pod("no", namespace=namespace, labels={"app": "db"}))
            keys = {
                "namespaces": {"names": ["one", "two", "one"]},
                "selectors": [{"role": "pod", "label": "app=web", "field": "status.phase=Running"}],
            }
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config"), **keys) as found:
                await found.synced()
                assert found.sources == ["pod/one/yes", "pod/two/yes"]
                assert context.watched == ["pods in namespace one", "pods in namespace two"]

    asyncio.run(run())


def test_endpoints_follow_their_service_pods_and_nodes(tmp_path):
    async def run():
        async with DemoApi() as api, Context() as context:
            api.put(endpoints("web", "a"))
            keys = {"attach_metadata": {"node": True, "namespace": True, "deployment": True}}
            async with Found(context, "endpoints", api.kubeconfig(tmp_path / "config"), **keys) as found:
                await found.synced()

                def now():
                    group = found.last["endpoints/shop/web"]
                    return {**group.labels, **group.targets[0]}

                assert f"{META}pod_name" not in now()
                api.put(pod("a", owners=[objects.owner("ReplicaSet", "web-1", "shop")]))
                await until(lambda: now().get(f"{META}pod_name") == "a")
                api.put(
                    objects.plain("ReplicaSet", "web-1", "shop", owners=[objects.owner("Deployment", "web", "shop")])
                )
                await until(lambda: now().get(f"{META}pod_deployment_name") == "web")
                api.put(objects.plain("Service", "web", "shop", labels={"tier": "front"}))
                await until(lambda: now().get(f"{META}service_label_tier") == "front")
                api.put(objects.namespace("shop", labels={"team": "x"}))
                await until(lambda: now().get(f"{META}namespace_label_team") == "x")
                api.put(objects.plain("Node", "node-1", labels={"zone": "z"}))
                with_node = endpoints("web", "a")
                with_node["subsets"][0]["addresses"][0]["nodeName"] = "node-1"
                api.put(with_node)
                await until(lambda: now().get(f"{META}node_label_zone") == "z")
                api.put(objects.plain("Node", "node-1", labels={"zone": "y"}))
                await until(lambda: now().get(f"{META}node_label_zone") == "y")
                api.delete("shop", "a")
                await until(lambda: f"{META}pod_name" not in now())
                api.delete("shop", "web", "Service")
                await until(lambda: f"{META}service_name" not in now())
                api.delete("shop", "web", "Endpoints")
                await until(lambda: found.sources == [])
            assert found.discoverer._finder._users == {}

    asyncio.run(run())


def test_a_pod_on_a_node_that_the_selector_leaves_out(tmp_path):
    async def run():
        async with DemoApi() as api, Context() as context:
            api.put(pod("in", node="n1"))
            api.put(pod("out", node="n2"))
            api.put(objects.plain("Node", "n1", labels={"pool": "a"}))
            api.put(objects.plain("Node", "n2", labels={"pool": "b"}))
            keys = {"attach_metadata": {"node": True}, "selectors": [{"role": "node", "label": "pool=a"}]}
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config"), **keys) as found:
                await found.synced()
                assert found.sources == ["pod/shop/in"]
                api.put(objects.plain("Node", "n2", labels={"pool": "a"}))
                await until(lambda: found.sources == ["pod/shop/in", "pod/shop/out"])

    asyncio.run(run())


def test_a_server_that_forgets_and_one_that_refuses(tmp_path, caplog):
    async def run():
        async with DemoApi() as api, Context() as context:
            api.put(pod("stays"))
            api.put(pod("goes"))
            api.faults.forbidden = {("list", "pods")}
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config")) as found:
                await until(lambda: found.discoverer.error)
                assert 'resources: ["pods"], verbs: ["list", "watch"]' in found.discoverer.error
                assert not found.discoverer.synced and found.published == []
                api.faults.forbidden = set()
                await found.synced()
                assert found.discoverer.error == "" and len(found.last) == 2
                await api.stop()
                api.delete("shop", "goes")
                api.forget_history()
                await until(lambda: "cannot be reached" in found.discoverer.error)
                assert len(found.last) == 2  # what was known stays
                await api.start()
                await until(lambda: found.sources == ["pod/shop/stays"])

    caplog.set_level(logging.CRITICAL)
    asyncio.run(run())


def test_outside_a_cluster_it_says_so_and_tries_again(monkeypatch, caplog):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def run():
        async with Context() as context, Found(context, "node", None) as found:
            await until(lambda: "this is not inside a Kubernetes pod" in found.discoverer.error)
            await asyncio.sleep(0.2)
            assert len(caplog.records) == 1 and not found.discoverer.synced

    asyncio.run(run())


def test_an_api_server_by_its_url(tmp_path):
    async def run():
        tokens = {"sesame": "discovery"}
        async with DemoApi(tokens=tokens) as api, Context() as context:
            api.put(pod("a"))
            token = tmp_path / "token"
            token.write_text("sesame\n")
            async with Found(context, "pod", None, api_server=api.url, bearer_token_file=str(token)) as found:
                await found.synced()
                assert found.sources == ["pod/shop/a"]
            async with Found(context, "pod", None, api_server=api.url, authorization={"credentials": "wrong"}) as found:
                await until(
                    lambda: "the credentials (kubernetes_sd_configs) are not accepted" in found.discoverer.error
                )

    asyncio.run(run())


def test_own_namespace(tmp_path, monkeypatch):
    monkeypatch.setattr(reach, "SERVICE_ACCOUNT", tmp_path)
    entry = {"role": "pod", "namespaces": {"own_namespace": True, "names": ["other"]}}
    config = decoded({"job_name": "j", "kubernetes_sd_configs": [entry]}, ScrapeConfig)
    monkeypatch.setenv("POD_NAMESPACE", "mine")
    assert reach.scopes(config.kubernetes_sd_configs[0]) == ("other", "mine")
    (tmp_path / "namespace").write_text("here")
    assert reach.scopes(config.kubernetes_sd_configs[0]) == ("other", "here")
    assert reach.namespaces(config.kubernetes_sd_configs[0]) == ("other", "here")


@pytest.mark.parametrize(
    ("entry", "calls"),
    [
        ({"role": "node"}, {("", "nodes", "cluster")}),
        ({"role": "pod"}, {("", "pods", "cluster")}),
        ({"role": "pod", "namespaces": {"names": ["a", "b"]}, "attach_metadata": {"node": True, "deployment": True, "job": True}},
         {("", "pods", "a"), ("", "pods", "b"), ("", "nodes", "cluster"), ("apps", "replicasets", "a"), ("apps", "replicasets", "b")}),
        ({"role": "pod", "attach_metadata": {"cronjob": True}}, {("", "pods", "cluster"), ("batch", "jobs", "cluster")}),
        ({"role": "service", "attach_metadata": {"namespace": True}}, {("", "services", "cluster"), ("", "namespaces", "cluster")}),
        ({"role": "endpoints"}, {("", "endpoints", "cluster"), ("", "services", "cluster"), ("", "pods", "cluster")}),
        ({"role": "endpointslice", "namespaces": {"names": ["a"]}},
         {("discovery.k8s.io", "endpointslices", "a"), ("", "services", "a"), ("", "pods", "a")}),
        ({"role": "ingress"}, {("networking.k8s.io", "ingresses", "cluster")}),
    ],
)  # fmt: skip
def test_needs_are_what_is_watched(entry, calls, tmp_path):
    config = decoded({"job_name": "j", "kubernetes_sd_configs": [entry]}, ScrapeConfig)
    found = [need for need in needs(config) if isinstance(need, Calls)]
    assert {(need.api_group, need.resource, need.scope) for need in found} == calls
    assert all(need.verbs == ("list", "watch") for need in found)

    async def run():
        async with DemoApi() as api, Context() as context:
            async with Found(context, kubeconfig=api.kubeconfig(tmp_path / "config"), **entry) as seen:
                await seen.synced()
                wishes = [wish for server in context.shared(ObjectWatches)._servers.values() for wish in server.watches]
                assert {(one.call.group, one.call.resource, one.namespace or "cluster") for one in wishes} == calls
            asked = {request.split()[1] for request in api.requests}
            assert asked == {resource for _, resource, _ in calls}

    asyncio.run(run())


def test_ten_thousand_pods_are_small():
    one = pod(
        "APP-5d4f7c9b8-NUMBER",
        namespace="NAMESPACE",
        ip="10.1.HIGH.LOW",
        node="NODE",
        owners=[objects.owner("ReplicaSet", "APP-5d4f7c9b8")],
        labels={"app.kubernetes.io/name": "APP", "pod-template-hash": "5d4f7c9b8", "team": "payments"},
        annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
    )
    one["metadata"]["uid"] = "UID"
    text = json.dumps(one)

    def body(number):
        made = (
            text.replace("APP", f"app{number % 300}").replace("NUMBER", str(number)).replace("HIGH", str(number >> 8))
        )
        made = made.replace("NAMESPACE", f"ns{number % 50}").replace("LOW", str(number & 255))
        made = made.replace("NODE", f"node-{number % 500}").replace("UID", objects.uid_of(str(number)))
        return made.replace("containerd://", f"containerd://{number}").encode()

    bodies = [body(number) for number in range(10_000)]
    decoder = msgspec.json.Decoder(PodObject)
    gc.collect()
    tracemalloc.start()
    store = Store(Keeper().pod)
    store.begin()
    for one in bodies:
        store.put(decoder.decode(one))
    store.end()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(store.objects) == 10_000
    assert size < 16 << 20, f"{size / (1 << 20):.1f} MiB"


def test_a_fault_of_ours_does_not_end_discovery(tmp_path, monkeypatch, caplog):
    async def run():
        async with DemoApi() as api, Context() as context:
            api.put(pod("stays"))
            api.put(pod("goes"))
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config")) as found:
                await found.synced()
                real = finder.Finder._build
                monkeypatch.setattr(finder.Finder, "_build", lambda self, key: 1 / 0)
                api.delete("shop", "goes")
                await until(lambda: "division by zero" in found.discoverer.error)
                assert len(found.last) == 2
                monkeypatch.setattr(finder.Finder, "_build", real)
                await until(lambda: found.sources == ["pod/shop/stays"])
                await until(lambda: found.discoverer.error == "")
            assert context.watched == []
            async with Found(context, "pod", api.kubeconfig(tmp_path / "config")) as again:
                await again.synced()
                assert again.sources == ["pod/shop/stays"]

    asyncio.run(run())
    assert "unexpected error" in caplog.text


def test_a_hundred_watches_at_once(tmp_path):
    """Each has a connection to itself; none waits for another to end."""

    async def run():
        async with DemoApi() as api, Context() as context:
            names = [f"n{number}" for number in range(34)]
            for name in names:
                api.put(pod("a", namespace=name))
            keys = {"namespaces": {"names": names}}
            async with Found(context, "endpointslice", api.kubeconfig(tmp_path / "config"), **keys) as found:
                await found.synced()
                assert len(context.watched) == 102
                part = objects.plain("EndpointSlice", "web", "n7")
                part |= {"endpoints": [{"addresses": ["10.1.1.1"]}], "ports": [{"port": 80}]}
                api.put(part)
                await until(lambda: found.sources == ["endpointslice/n7/web"])

    asyncio.run(run())
