"""Permissions: what the configuration says it needs is what the API server is asked for, no more and no less."""

import asyncio

import pytest

from hawse.allocator.needs import needs
from hawse.component import Calls, Listens, Reads
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.demo.apiview import route
from tests.allocator.cluster import WEB, allocating, collector, found, pod_monitor, service_monitor, settings, shop

SOURCES = {"collectors": {"static": ["c-0"]}}
EVERYTHING = {
    "namespaces": ["shop", "other"],
    "collector_selector": {"matchLabels": {"app": "collector"}},
    "prometheus_cr": {
        "enabled": True,
        "scrape_config_roles": ["pod", "service", "endpointslice", "endpoints", "ingress"],
        "probe_namespace_selector": {"matchLabels": {"team": "shop"}},
    },
    "pod_annotations": {"enabled": True},
    "kubelet": {"enabled": True},
    "allow": {"node_discovery": True},
    "secrets": [{"namespace": "shop", "name": "auth"}],
    "config_maps": [{"namespace": "shop", "name": "ca"}, {"namespace": "other", "name": "ca"}],
}
CASES = {
    "all": EVERYTHING,
    "cluster": {**EVERYTHING, "namespaces": ["*"]},
    "monitors": {"namespaces": ["shop"], "prometheus_cr": {"enabled": True, "kinds": ["ServiceMonitor"]}, **SOURCES},
    "pods": {"namespaces": ["shop"], "prometheus_cr": {"enabled": True, "kinds": ["PodMonitor"]}, **SOURCES},
    "annotations": {"pod_annotations": {"enabled": True}, **SOURCES},
    "kubelet": {"kubelet": {"enabled": True}, **SOURCES},
    "own jobs": {
        "config": {"scrape_configs": [{"job_name": "a", "kubernetes_sd_configs": [{"role": "service"}]}]},
        **SOURCES,
    },
    "collectors": {"collector_selector": {"matchLabels": {"app": "collector"}}},
    "nothing": SOURCES,
}


def monitors(api):
    """One that makes use of everything, in each namespace."""
    roles = ("Pod", "Service", "EndpointSlice", "Endpoints", "Ingress", "Node")
    for namespace in ("shop", "other"):
        api.put(objects.namespace(namespace, {"team": "shop"}))
        api.put(service_monitor(namespace, "web", WEB))
        api.put(pod_monitor(namespace, "web", {"podMetricsEndpoints": [{"port": "http"}]}))
        probe = {"prober": {"url": f"b.{namespace}.svc:9115"}, "targets": {"ingress": {}}}
        api.put(found("Probe", "monitoring.coreos.com/v1", namespace, "site", spec=probe))
        for role in roles:
            names = {} if role == "Node" else {"namespaces": {"ownNamespace": True}}
            spec = {"kubernetesSDConfigs": [{"role": role, **names}]}
            api.put(found("ScrapeConfig", "monitoring.coreos.com/v1alpha1", namespace, role.lower(), spec=spec))
    api.put(collector("c-0"))


def asked(api):
    """Everything that is asked of the API server: group, resource, verb, scope, and the object's name."""
    calls = set()
    served = api._served

    async def spy(request):
        group, resource, namespace, name = route(request.path)
        verb = "get" if name else "watch" if request.query.get("watch") else "list"
        calls.add((group, resource, verb, namespace or "cluster", name))
        return await served(request)

    api._served = spy
    return calls


def stated(keys):
    calls = set()
    for need in needs(settings(**keys)):
        if isinstance(need, Calls):
            for verb in need.verbs:
                calls |= {(need.api_group, need.resource, verb, need.scope, name) for name in need.names or ("",)}
    return calls


@pytest.mark.parametrize("case", CASES)
def test_what_is_stated_is_what_is_asked(tmp_path, case):
    keys = CASES[case]

    async def whole():
        async with DemoApi() as api:
            shop(api)
            monitors(api)
            calls = asked(api)
            async with allocating(api, tmp_path, **keys) as run:
                expected = stated(keys)
                async with asyncio.timeout(5):
                    while calls < expected:
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.1)
                refused = {name for name, job in run.allocator.jobs.items() if job.refused}
                assert not refused
            return calls, expected

    calls, expected = asyncio.run(whole())
    assert calls == expected


def test_the_port_and_files(tmp_path):
    tls = {"cert_file": "/tls/cert", "key_file": "/tls/key", "client_ca_file": "/tls/ca"}
    found = list(needs(settings(endpoint="127.0.0.1:9000", tls=tls, **SOURCES)))
    assert found[0] == Listens(9000, "tcp", "target allocator", "127.0.0.1")
    assert [need.path for need in found if isinstance(need, Reads)] == ["/tls/cert", "/tls/key", "/tls/ca"]
    dns = list(needs(settings(collectors={"dns": {"hostname": "collectors.monitoring.svc"}})))
    assert {(need.host, need.port) for need in dns[1:]} == {("kube-dns.kube-system.svc", 53)}
