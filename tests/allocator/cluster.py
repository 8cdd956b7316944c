"""A cluster to allocate in: objects for a DemoApi, and an allocator that looks at it."""

import asyncio
import json
from contextlib import asynccontextmanager

from hawse.allocator.allocator import Allocator
from hawse.allocator.api import Api
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.demo.objects import Object
from hawse.extensions.target_allocator import Config
from hawse.net.client import HttpClient
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig

GROUP = "monitoring.coreos.com/v1"


def settings(**keys):
    """The extension's Config; raises AssertionError with the findings."""
    findings = []
    given = {"endpoint": "127.0.0.1:0", "collector_namespace": "monitoring", **keys}
    if "collectors" not in given and "collector_selector" not in given:
        given["collector_selector"] = {"matchLabels": {"app": "collector"}}
    made = Decoder(findings).struct(load([f"yaml:{json.dumps(given)}"], environ={}).root, Config, "")
    assert made is not FAILED, [str(finding) for finding in findings]
    return made


def found(kind, version, namespace, name, labels=None, **rest) -> Object:
    metadata = {"name": name, "namespace": namespace, "uid": objects.uid_of(kind, namespace, name)}
    return {"apiVersion": version, "kind": kind, "metadata": {**metadata, "labels": dict(labels or {})}, **rest}


def service(namespace, name, labels, ports, **spec) -> Object:
    listed = [{"name": key, "port": number, "protocol": "TCP"} for key, number in ports.items()]
    return found("Service", "v1", namespace, name, labels, spec={"type": "ClusterIP", "ports": listed, **spec})


def endpoints(namespace, service_name, ports, addresses, name="") -> Object:
    """An EndpointSlice: `addresses` are IP → pod's name, "" for none."""
    listed = []
    for ip, pod in addresses.items():
        one = {"addresses": [ip], "conditions": {"ready": True}, "nodeName": "node-1"}
        listed.append({**one, "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod}} if pod else one)
    return found(
        "EndpointSlice",
        "discovery.k8s.io/v1",
        namespace,
        name or f"{service_name}-x7x2k",
        {"kubernetes.io/service-name": service_name},
        addressType="IPv4",
        endpoints=listed,
        ports=[{"name": key, "port": number, "protocol": "TCP"} for key, number in ports.items()],
    )


def service_monitor(namespace, name, spec, labels=None) -> Object:
    return found("ServiceMonitor", GROUP, namespace, name, labels, spec=spec)


def pod_monitor(namespace, name, spec, labels=None) -> Object:
    return found("PodMonitor", GROUP, namespace, name, labels, spec=spec)


def collector(
    name, *, ready=True, node="node-1", owner="StatefulSet", phase="Running", since="", namespace="monitoring"
):
    """A collector's pod."""
    made = objects.pod(namespace, name, ips=("10.9.9.9",), node=node, labels={"app": "collector"}, phase=phase)
    made["metadata"]["ownerReferences"] = [objects.owner(owner, "collector", namespace)]
    made["status"]["conditions"] = [
        {"type": "Ready", "status": str(ready), "lastTransitionTime": since or made["metadata"]["creationTimestamp"]}
    ]
    return made


def shop(api: DemoApi, pods=3, port=8080) -> None:
    """Pods web-0…, their Service and EndpointSlice, in the namespace shop."""
    api.put(objects.namespace("shop", {"team": "shop"}))
    addresses = {}
    for number in range(pods):
        ip = f"10.1.{number // 250}.{number % 250 + 1}"
        node = f"node-{number % 3}"
        api.put(objects.pod("shop", f"web-{number}", ips=(ip,), labels={"app": "web"}, node=node))
        addresses[ip] = f"web-{number}"
    api.put(service("shop", "web", {"app": "web"}, {"http": port}))
    api.put(endpoints("shop", "web", {"http": port}, addresses))


WEB = {"selector": {"matchLabels": {"app": "web"}}, "endpoints": [{"port": "http"}]}


class Shared:
    """`context.shared` for an allocator by itself."""

    def __init__(self):
        self.made = {}

    def shared(self, kind):
        return self.made.setdefault(kind, kind())

    async def close(self):
        for one in reversed(self.made.values()):
            if hasattr(one, "close"):
                await one.close()


class Running:
    """An allocator at work, and its HTTP API."""

    def __init__(self, allocator, url, client):
        self.allocator = allocator
        self.url = url
        self._client = client

    async def get(self, path):
        """Status and body."""
        answer = await self._client.request("GET", self.url + path)
        return answer.status, answer.body

    async def json(self, path):
        status, body = await self.get(path)
        assert status == 200, (status, body)
        return json.loads(body)

    async def targets(self, job, collector):
        """Addresses that a collector has of a job."""
        listed = await self.json(f"/jobs/{job.replace('/', '%2F')}/targets?collector_id={collector}")
        return sorted(target for one in listed for target in one["targets"])

    async def explain(self, query):
        return await self.json(f"/explain?target={query}")

    async def until(self, condition, seconds=10):
        """Wait until condition() holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)

    async def ready(self):
        await self.until(lambda: not self.allocator.why_not_ready())

    def addresses(self, job):
        made = self.allocator.assignment
        return sorted(item.labels["__address__"] for item in made.jobs.get(job, ())) if made else []


@asynccontextmanager
async def allocating(api, folder, *, wait=True, **keys):
    """An allocator that looks at a DemoApi."""
    where = {"auth_type": "kubeConfig", "kube_config_path": str(api.kubeconfig(folder / "kubeconfig"))} if api else {}
    made = settings(**where, **keys)
    shared, servers = Shared(), HttpServers()
    allocator = Allocator(made, shared)
    client = HttpClient(ClientConfig(endpoint="", compression="none"))
    try:
        await allocator.start()
        port = await servers.mount(made, Api(allocator).routes(), owner="allocator")
        running = Running(allocator, f"http://127.0.0.1:{port}", client)
        if wait:
            await running.ready()
        yield running
    finally:
        await client.close()
        await servers.close()
        await allocator.close()
        await shared.close()
