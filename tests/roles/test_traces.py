"""The roles traces, traces-gateway and traces-sampler as they are bundled: real sockets in front and behind."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import hawse.roles
from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.component import Connects, Listens
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.net.compression import decompress
from hawse.net.grpc_client import GrpcClient, GrpcClientConfig
from hawse.pipeline.check import check
from hawse.pipeline.ledger.report import report
from hawse.pipeline.needs import needs
from hawse.pipeline.running import running
from hawse.pipeline.telemetry import Telemetry
from hawse.registry import Registry
from tests.roles.backend import Backend, post

ROLES = Path(hawse.roles.__file__).parent
LOCAL = {
    "HAWSE_OTLP_HOST": "127.0.0.1",
    "HAWSE_OTLP_GRPC_PORT": "0",
    "HAWSE_OTLP_HTTP_PORT": "0",
    "HAWSE_OTLP_LEGACY_GRPC_PORT": "0",
    "HAWSE_OTLP_LEGACY_HTTP_PORT": "0",
    "HAWSE_JAEGER_HOST": "127.0.0.1",
    "HAWSE_JAEGER_GRPC_PORT": "0",
    "HAWSE_JAEGER_HTTP_PORT": "0",
    "HAWSE_JAEGER_COMPACT_PORT": "0",
    "HAWSE_JAEGER_BINARY_PORT": "0",
    "HAWSE_JAEGER_SAMPLING_PORT": "0",
    "HAWSE_ZIPKIN_HOST": "127.0.0.1",
    "HAWSE_ZIPKIN_PORT": "0",
    "HAWSE_OPENCENSUS_HOST": "127.0.0.1",
    "HAWSE_OPENCENSUS_PORT": "0",
    "HAWSE_TELEMETRY_HOST": "127.0.0.1",
    "HAWSE_TELEMETRY_PORT": "0",
    "HAWSE_HEALTH_HOST": "127.0.0.1",
    "HAWSE_HEALTH_PORT": "0",
    "HAWSE_CLUSTER_NAME": "c1",
}


def request(resource, *names, trace=b"t" * 16):
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    for key, value in resource.items():
        group.resource.attributes.add(key=key).value.string_value = value
    scope = group.scope_spans.add()
    for name in names:
        scope.spans.add(trace_id=trace, span_id=b"12345678", name=name, start_time_unix_nano=1, end_time_unix_nano=2)
    return made.SerializeToString()


def spans(backend):
    """Of what has arrived: resource attributes by span name."""
    found = {}
    for path, encoding, data in backend.bodies:
        assert path == "/v1/traces"
        for group in ExportTraceServiceRequest.FromString(decompress(data, encoding, limit=1 << 20)).resource_spans:
            attributes = {one.key: one.value.string_value for one in group.resource.attributes}
            found.update({span.name: attributes for scope in group.scope_spans for span in scope.spans})
    return found


async def call(port, message):
    client = GrpcClient(GrpcClientConfig(endpoint=f"http://127.0.0.1:{port}"))
    try:
        await client.call(otlp.SERVICES[Signal.TRACES], message)
    finally:
        await client.close()


async def settled(telemetry):
    """The ledger's report once nothing is under way, or held by a sampler."""
    for _ in range(300):
        found = report(telemetry.ledger)
        if found.totals and found.balanced and found.quiet and not any(line.in_flight for line in found.totals):
            break
        await asyncio.sleep(0.02)
    assert found.balanced
    return found


async def started(stack, role, **environ):
    telemetry = Telemetry()
    graph = check([str(ROLES / f"{role}.yaml")], Registry, environ={**LOCAL, **environ}).required()
    return (await stack.enter_async_context(running(graph, telemetry))).components, telemetry


@pytest.fixture
def role(tmp_path, monkeypatch):
    """Run the role traces, call `send` with its components, and give what the backend has got, and the ledger's report."""

    def run(send, **environ):
        async def whole():
            with Backend() as backend:
                async with DemoApi() as api, AsyncExitStack() as stack:
                    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
                    owners = [objects.owner("ReplicaSet", "web-abc", "shop")]
                    labels = {"pod-template-hash": "abc", "team": "blue", "app.kubernetes.io/name": "web-shop"}
                    api.put(objects.namespace("shop", labels={"tier": "gold"}))
                    pod = objects.pod("shop", "web-abc-x", uid="u1", owners=owners, labels=labels)
                    pod["status"]["podIP"], pod["status"]["podIPs"] = "127.0.0.1", [{"ip": "127.0.0.1"}]
                    api.put(pod)
                    hidden = objects.pod("shop", "secret-0", uid="u2", annotations={"sumologic.com/exclude": "true"})
                    hidden["status"]["podIP"], hidden["status"]["podIPs"] = "10.0.0.2", [{"ip": "10.0.0.2"}]
                    api.put(hidden)
                    components, telemetry = await started(
                        stack,
                        "traces",
                        HAWSE_KUBE_AUTH_TYPE="kubeConfig",
                        HAWSE_STATE=str(tmp_path / "state"),
                        HAWSE_BACKEND_ENDPOINT=backend.url,
                        **environ,
                    )
                    await send(components)
                    return backend, await settled(telemetry)

        return asyncio.run(whole())

    return run


async def posted(port, path, data, **headers):
    assert await asyncio.to_thread(post, port, path, data, **headers) in {200, 202}


def test_spans_by_every_way_in_are_those_of_the_pod_that_sent_them(role):
    async def send(components):
        otlp_, legacy, zipkin = (components[f"receiver:{name}"] for name in ("otlp", "otlp/legacy", "zipkin"))
        await call(otlp_.grpc_port, request({}, "by 4317"))
        await posted(otlp_.port, "/v1/traces", request({}, "by 4318"))
        await call(legacy.grpc_port, request({}, "by 55680"))
        await posted(legacy.port, "/v1/traces", request({"service.name": "mine"}, "by 55681"))
        span = {"traceId": "1" * 32, "id": "2" * 16, "name": "by 9411", "localEndpoint": {"serviceName": "z"}}
        await posted(zipkin.port, "/api/v2/spans", json.dumps([span]).encode(), **{"content-type": "application/json"})

    backend, found = role(send)
    by_name = spans(backend)
    assert {"by 4317", "by 4318", "by 55680", "by 55681", "by 9411"} == by_name.keys()
    first = by_name["by 4317"]
    assert (
        first.items()
        >= {
            "k8s.namespace.name": "shop",
            "k8s.pod.name": "web-abc-x",
            "k8s.pod.uid": "u1",
            "k8s.pod.ip": "127.0.0.1",
            "k8s.deployment.name": "web",
            "k8s.replicaset.name": "web-abc",
            "k8s.pod.label.team": "blue",
            "k8s.namespace.label.tier": "gold",
            "k8s.cluster.name": "c1",
            "service.name": "web-shop",
            "service.namespace": "shop",
            "_collector": "c1",
            "_sourceCategory": "kubernetes/shop/web",
            "_sourceName": f"shop.web-abc-x.{first['k8s.container.name']}",
            "_sourceHost": first["k8s.pod.hostname"],
        }.items()
    )
    assert not any(key.startswith("k8s.pod.annotation") for key in first)
    assert by_name["by 4318"] == by_name["by 55680"] == first
    assert by_name["by 55681"] == first | {"service.name": "mine"}
    assert by_name["by 9411"].items() >= (first | {"service.name": "z"}).items()
    assert (found.totals[0].received, found.totals[0].delivered) == (5, 5)


def test_uid_and_pod_ip_come_before_the_connection_and_annotations_exclude(role):
    async def send(components):
        port = components["receiver:otlp"].grpc_port
        await call(port, request({"k8s.pod.uid": "u2"}, "by uid"))
        await call(port, request({"k8s.pod.ip": "10.0.0.2"}, "by ip"))
        await call(port, request({"k8s.pod.name": "web-abc-x", "k8s.namespace.name": "shop"}, "kept"))

    backend, found = role(send, HAWSE_TRACES_RECEIVERS="[otlp]", HAWSE_OTLP_HTTP="", HAWSE_TRACES_EXPORTER="otlphttp")
    assert spans(backend).keys() == {"kept"}
    (line,) = found.totals
    assert (line.received, line.delivered, line.filtered) == (3, 1, 2)


def test_traces_meet_in_one_sampler_and_what_is_rejected_is_told(tmp_path):
    async def whole():
        with Backend() as backend:
            async with AsyncExitStack() as stack:
                samplers = [
                    await started(
                        stack,
                        "traces-sampler",
                        HAWSE_TRACES_DECISION_WAIT="300ms",
                        HAWSE_TRACES_REJECT="[{name: health, name_pattern: ^health}]",
                        HAWSE_BACKEND_ENDPOINT=backend.url,
                    )
                    for _ in range(2)
                ]
                hosts = [f"127.0.0.1:{components['receiver:otlp'].grpc_port}" for components, _ in samplers]
                gateway, passed = await started(
                    stack, "traces-gateway", HAWSE_TRACES_SAMPLERS=f"static: {{hostnames: {json.dumps(hosts)}}}"
                )
                port = gateway["receiver:otlp"].grpc_port
                for number in range(20):
                    for part in ("a", "b"):
                        await call(port, request({}, f"{number}{part}", trace=bytes([number]) * 16))
                await call(port, request({}, "health", "beside", trace=b"h" * 16))
                await settled(passed)
                shares = [(await settled(telemetry)).totals[0] for _, telemetry in samplers]
                return backend, shares

    backend, shares = asyncio.run(whole())
    assert spans(backend).keys() == {f"{number}{part}" for number in range(20) for part in "ab"}
    assert sum(one.received for one in shares) == 42
    assert all(one.received and one.received % 2 == 0 for one in shares)
    assert sum(one.filtered for one in shares) == 2


def listened(role, **environ):
    graph = check([str(ROLES / f"{role}.yaml")], Registry, environ=environ).required()
    found = [one.need for one in needs(graph)]
    return {(one.port, one.protocol) for one in found if isinstance(one, Listens)} - {(24321, "tcp"), (13133, "tcp")}


def test_what_is_off_has_no_port():
    tcp = {4317, 4318, 55680, 55681, 5778, 14268, 14250, 9411, 55678}
    assert listened("traces") == {(port, "tcp") for port in tcp} | {(6831, "udp"), (6832, "udp")}
    assert listened("traces", HAWSE_TRACES_RECEIVERS="[otlp]", HAWSE_OTLP_GRPC="") == {(4318, "tcp")}
    off = dict.fromkeys(("HAWSE_JAEGER_GRPC", "HAWSE_JAEGER_HTTP", "HAWSE_JAEGER_BINARY", "HAWSE_JAEGER_SAMPLING"), "")
    assert listened("traces", HAWSE_TRACES_RECEIVERS="[jaeger]", **off) == {(6831, "udp")}
    assert listened("traces-gateway") == listened("traces-sampler") == {(4317, "tcp")}
