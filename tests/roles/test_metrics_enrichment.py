"""The role metrics-enrichment as it is bundled: pods of a demo API server, real sockets in front and behind."""

import asyncio
from pathlib import Path

import cramjam
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

import hawse.roles
from hawse.demo import objects
from hawse.demo.apiserver import DemoApi
from hawse.net.compression import decompress
from hawse.pipeline.check import check
from hawse.pipeline.ledger.report import report
from hawse.pipeline.running import running
from hawse.pipeline.telemetry import Telemetry
from hawse.registry import Registry
from hawse.wire import field, varint, walk
from tests.roles.backend import Backend, post

ROLE = str(Path(hawse.roles.__file__).parent / "metrics-enrichment.yaml")


def resources(backend):
    """Of OTLP: names of metrics, by the attributes of their resources."""
    found = {}
    for _, encoding, data in backend.bodies:
        for group in ExportMetricsServiceRequest.FromString(decompress(data, encoding, limit=1 << 20)).resource_metrics:
            attributes = tuple(sorted((one.key, one.value.string_value) for one in group.resource.attributes))
            found.setdefault(attributes, []).extend(m.name for s in group.scope_metrics for m in s.metrics)
    return [(dict(attributes), sorted(names)) for attributes, names in found.items()]


def put(target, attributes):
    for key, value in attributes.items():
        target.add(key=key).value.string_value = value


def request(resource, *names, **labels):
    made = ExportMetricsServiceRequest()
    group = made.resource_metrics.add()
    put(group.resource.attributes, resource)
    scope = group.scope_metrics.add()
    for name in names:
        metric = scope.metrics.add(name=name)
        put(metric.metadata, {"prometheus.type": "gauge"})
        put(metric.gauge.data_points.add(time_unix_nano=10**18, as_double=1).attributes, labels)
    return made.SerializeToString()


def histogram(resource):
    made = ExportMetricsServiceRequest()
    group = made.resource_metrics.add()
    put(group.resource.attributes, resource)
    metric = group.scope_metrics.add().metrics.add(name="latency")
    metric.histogram.aggregation_temporality = 2
    metric.histogram.data_points.add(time_unix_nano=10**18, count=2, sum=1, bucket_counts=[1, 1], explicit_bounds=[1])
    return made.SerializeToString()


def written(**labels):
    """A remote-write request of one series with one sample."""
    pairs = sorted({"__name__": "rw", "job": "node", "instance": "n:1", **labels}.items())
    series = b"".join(field(1, field(1, key.encode()) + field(2, value.encode())) for key, value in pairs)
    return bytes(
        cramjam.snappy.compress_raw(field(1, series + field(2, b"\x09" + bytes(8) + b"\x10" + varint(10**12))))
    )


REMOTE_WRITE = {"content-encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}


@pytest.fixture
def role(tmp_path, monkeypatch):
    """Run the role, hand it requests, and give what the backend has got, and the ledger's report."""

    def run(otlp=(), remote_write=(), over=(), **environ):
        async def whole():
            telemetry = Telemetry()
            with Backend() as backend:
                async with DemoApi() as api:
                    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(tmp_path / "kubeconfig")))
                    owners = [objects.owner("ReplicaSet", "web-abc", "shop")]
                    labels = {"pod-template-hash": "abc", "team": "blue"}
                    api.put(objects.pod("shop", "web-abc-x", uid="u1", owners=owners, labels=labels))
                    for namespace in ("kube-system", "kube-public"):
                        api.put(objects.pod(namespace, "x", uid=namespace))
                    settings = {
                        "HAWSE_OTLP_HOST": "127.0.0.1",
                        "HAWSE_OTLP_PORT": "0",
                        "HAWSE_REMOTE_WRITE_HOST": "127.0.0.1",
                        "HAWSE_REMOTE_WRITE_PORT": "0",
                        "HAWSE_TELEMETRY_HOST": "127.0.0.1",
                        "HAWSE_TELEMETRY_PORT": "0",
                        "HAWSE_HEALTH_HOST": "127.0.0.1",
                        "HAWSE_HEALTH_PORT": "0",
                        "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
                        "HAWSE_STATE": str(tmp_path / "state"),
                        "HAWSE_CLUSTER_NAME": "c1",
                        "HAWSE_BACKEND_ENDPOINT": backend.url,
                        **environ,
                    }
                    graph = check([ROLE, *over], Registry, environ=settings).required()
                    async with running(graph, telemetry) as it:
                        loop = asyncio.get_running_loop()
                        ports = (
                            it.components["receiver:otlp"].port,
                            it.components["receiver:prometheusremotewrite"].port,
                        )
                        for data in otlp:
                            assert await loop.run_in_executor(None, post, ports[0], "/v1/metrics", data) == 200
                        for data in remote_write:
                            send = lambda data=data: post(ports[1], "/api/v1/write", data, **REMOTE_WRITE)
                            assert await loop.run_in_executor(None, send) in {200, 204}
                        found = None
                        for _ in range(200):
                            found = report(telemetry.ledger)
                            if found.quiet and not any(line.in_flight for line in found.totals):
                                break
                            await asyncio.sleep(0.02)
                assert found.balanced
                return backend, found

        return asyncio.run(whole())

    return run


POD = {
    "service.name": "api",
    "service.instance.id": "10.0.0.1:80",
    "k8s.namespace.name": "shop",
    "k8s.pod.name": "web-abc-x",
}


def test_metrics_for_sumo_logic_bear_its_names(role):
    node = {"service.name": "node", "service.instance.id": "n:1", "server.address": "n"}
    backend, _ = role(
        otlp=[request(POD | {"prometheus_service": "web"}, "up"), request(node, "load1")],
        remote_write=[written(namespace="shop", pod="web-abc-x", service="web")],
    )
    by_name = {names[0]: attributes for attributes, names in resources(backend)}
    assert by_name["up"] == {
        "_origin": "kubernetes",
        "_collector": "c1",
        "cluster": "c1",
        "job": "api",
        "instance": "10.0.0.1:80",
        "namespace": "shop",
        "pod": "web-abc-x",
        "node": by_name["up"]["node"],
        "deployment": "web",
        "replicaset": "web-abc",
        "prometheus_service": "web",
        "pod_labels_team": "blue",
        "pod_labels_pod-template-hash": "abc",
    }  # fmt: skip
    assert by_name["load1"] == {
        "_origin": "kubernetes",
        "_collector": "c1",
        "cluster": "c1",
        "job": "node",
        "instance": "n:1",
    }
    assert by_name["rw"] == by_name["up"] | {"job": "node", "instance": "n:1"}
    assert all(path == "/v1/metrics" for path, _, _ in backend.bodies)


def test_an_http_source_gets_the_same_as_text(role):
    backend, _ = role(otlp=[request(POD, "up", code="200")], HAWSE_METRICS_FORMAT="prometheus")
    ((_, encoding, body),) = backend.bodies
    line = decompress(body, encoding, limit=1 << 20).decode()
    assert line.startswith("up{")
    for label in (
        'job="api"',
        'instance="10.0.0.1:80"',
        'code="200"',
        'pod="web-abc-x"',
        'namespace="shop"',
        'deployment="web"',
        'cluster="c1"',
        '_origin="kubernetes"',
        'pod_labels_team="blue"',
    ):
        assert label in line


def test_otlp_keeps_opentelemetrys_names(role):
    backend, _ = role(otlp=[request(POD, "up")], HAWSE_METRICS_EXPORTER="otlphttp")
    ((attributes, names),) = resources(backend)
    assert names == ["up"]
    assert (
        attributes.items() >= {**POD, "cluster": "c1", "k8s.deployment.name": "web", "pod_labels_team": "blue"}.items()
    )
    assert "service.namespace" not in attributes


def test_remote_write_has_what_is_known_as_labels(role):
    backend, _ = role(otlp=[request(POD, "up", code="200")], HAWSE_METRICS_EXPORTER="prometheusremotewrite")
    series = {one["__name__"]: one for _, encoding, body in backend.bodies for one in labels_of(body)}
    assert series["up"].items() >= {
        "job": "api", "instance": "10.0.0.1:80", "code": "200", "cluster": "c1", "k8s_namespace_name": "shop",
        "k8s_deployment_name": "web", "pod_labels_team": "blue",
    }.items()  # fmt: skip


def test_namespaces_and_metrics_are_dropped_by_rule(role):
    other = POD | {"k8s.namespace.name": "kube-system", "k8s.pod.name": "x"}
    third = POD | {"k8s.namespace.name": "kube-public", "k8s.pod.name": "x"}
    bare = {"service.name": "node"}
    backend, found = role(
        otlp=[
            request(POD, "up", "go_gc"),
            request(other, "up"),
            request(third, "up"),
            request(bare, "up", code="500"),
            histogram(POD),
        ],
        HAWSE_METRICS_EXPORTER="otlphttp",
        HAWSE_METRICS_INCLUDE_NAMESPACES="^(shop|kube-.*)$",
        HAWSE_METRICS_EXCLUDE_NAMESPACES="^kube-system$",
        HAWSE_METRICS_DROP="['IsMatch(name, \"^go_\")']",
        HAWSE_METRICS_DROP_POINTS='[\'attributes["code"] == "500"\']',
        HAWSE_METRICS_KEEP_BUCKETS="^$",
    )
    names = {attributes.get("k8s.namespace.name"): names for attributes, names in resources(backend)}
    assert names == {"shop": ["latency", "up"], "kube-public": ["up"]}
    (line,) = found.totals
    assert (line.received, line.delivered, line.filtered) == (6, 3, 3)
    reasons = {line.component: line.reasons for line in found.components if line.filtered}
    assert reasons == {
        "filter/namespaces": {"filtered": {"metrics.resource[1]": 1}},
        "filter": {"filtered": {"metrics.metric[0]": 1, "metrics.datapoint[0]": 1}},
    }
    data = [
        metric
        for _, encoding, body in backend.bodies
        for group in ExportMetricsServiceRequest.FromString(decompress(body, encoding, limit=1 << 20)).resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
    ]
    assert [metric.WhichOneof("data") for metric in data if metric.name == "latency"] == ["summary"]


def test_points_of_other_collectors_are_grouped_by_their_pod(role):
    backend, _ = role(
        otlp=[request({"service.name": "ksm"}, "kube_pod_info", namespace="shop", pod="web-abc-x")],
        HAWSE_METRICS_EXPORTER="otlphttp",
        HAWSE_METRICS_GROUP_BY="[namespace, pod]",
    )
    ((attributes, _),) = resources(backend)
    assert attributes["k8s.deployment.name"] == "web"
    assert "pod" not in attributes


PAYMENTS = """yaml:
  connectors:
    routing:
      default_pipelines: [metrics/rest]
      table: [{condition: 'attributes["k8s.namespace.name"] == "shop"', pipelines: [metrics/rest, metrics/payments]}]
  exporters:
    otlphttp/payments: {endpoint: "${env:HAWSE_BACKEND_ENDPOINT}/payments"}
  service:
    pipelines:
      metrics: {exporters: [routing]}
      metrics/rest: {receivers: [routing], exporters: ["${env:HAWSE_METRICS_EXPORTER:-sumologic}"]}
      metrics/payments: {receivers: [routing], exporters: [otlphttp/payments]}
"""


def test_an_additional_endpoint(role):
    backend, found = role(
        [request(POD, "up"), request({"service.name": "node"}, "load1")],
        over=[PAYMENTS],
        HAWSE_METRICS_EXPORTER="otlphttp",
    )
    assert sorted(path for path, _, _ in backend.bodies) == ["/payments/v1/metrics", "/v1/metrics", "/v1/metrics"]
    assert (found.totals[0].received, found.totals[0].copied, found.totals[0].delivered) == (2, 1, 3)


def labels_of(body):
    data = bytes(cramjam.snappy.decompress_raw(body))
    for number, _, _, at, end in walk(data):
        if number == 1:
            pairs = [data[a:b] for one, _, _, a, b in walk(data, at, end) if one == 1]
            yield {
                key: value
                for key, value in (tuple(pair[a:b].decode() for _, _, _, a, b in walk(pair)) for pair in pairs)
            }
