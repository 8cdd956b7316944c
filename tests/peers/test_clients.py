"""OpenTelemetry's own clients of the metrics pipeline: what they send is in Prometheus, by way of Hawse."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from .compare import differences, runs
from .programs import Hawse, Program, port, until
from .prometheus import Prometheus

ROOT = Path(__file__).parents[2]

# One collection, exported twice: to the first and the second of the addresses. Runs in an environment of its own.
_REMOTE_WRITE = """
import sys
from opentelemetry.exporter.prometheus_remote_write import PrometheusRemoteWriteMetricsExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.resources import Resource
reader = InMemoryMetricReader()
provider = MeterProvider([reader], Resource({"service.name": "shop", "host.name": "web-1"}))
meter = provider.get_meter("client")
counter = meter.create_counter("orders", "1", "Orders.")
counter.add(3, {"country": "de", "http.route": "/a"})
counter.add(4.5, {"country": "é"})
meter.create_up_down_counter("queue").add(-2)
meter.create_histogram("latency", "ms").record(7, {"op": "read"})
meter.create_observable_gauge("ratio", [lambda options: [__import__("opentelemetry.metrics").metrics.Observation(0.1)]])
data = reader.get_metrics_data()
for url in sys.argv[1:]:
    assert PrometheusRemoteWriteMetricsExporter(url).export(data) is MetricExportResult.SUCCESS, url
"""


def _write(url, **more):
    return {
        "endpoint": f"{url}/api/v1/write",
        "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
        **more,
    }


@contextlib.contextmanager
def _through(peer, folder, receivers, write):
    """A Prometheus that takes remote write, and a Hawse before it."""
    flags = ["--web.enable-remote-write-receiver"]
    with Prometheus(peer("prometheus"), folder / "through", name="through", flags=flags) as prometheus:
        (receiver,) = receivers
        pipeline = {"receivers": [receiver], "exporters": ["prometheusremotewrite"]}
        config = {
            "receivers": receivers,
            "exporters": {"prometheusremotewrite": _write(prometheus.url, **write)},
            "service": {"pipelines": {"metrics": pipeline}},
        }
        with Hawse(folder, config) as hawse:
            yield prometheus, hawse


def test_the_remote_write_exporter(peer, tmp_path):
    """What it sends to Prometheus, and what it sends to Prometheus by way of us: the same."""
    client = peer("opentelemetry-exporter-prometheus-remote-write")
    own = port()
    receivers = {"prometheusremotewrite": {"endpoint": f"127.0.0.1:{own}"}}
    flags = ["--web.enable-remote-write-receiver"]
    with (
        Prometheus(peer("prometheus"), tmp_path / "direct", flags=flags) as direct,
        _through(peer, tmp_path, receivers, {"target_info": {"enabled": False}}) as (through, hawse),
    ):
        urls = [f"{direct.url}/api/v1/write", f"http://127.0.0.1:{own}/api/v1/write"]
        run = subprocess.run(
            [client, "-c", _REMOTE_WRITE, *urls], capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 0, run.stderr + hawse.tail()
        until(lambda: len(through.samples()) >= len(direct.samples()), lambda: f"all series\n{hawse.tail()}")
        sent, arrived = direct.samples(), through.samples()
    assert not differences(sent, arrived)
    assert sent == arrived  # the times, too
    assert len(sent) > 10


@pytest.fixture
def sdk():
    """A function that records some metrics with OpenTelemetry's SDK and sends them to an OTLP/HTTP endpoint, of a
    resource with `more` attributes."""

    def send(endpoint, more):
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint), export_interval_millis=3_600_000)
        attributes = {
            "service.name": "shop",
            "service.namespace": "prod",
            "service.instance.id": "i-1",
            **more,
        }
        provider = MeterProvider([reader], Resource(attributes))
        meter = provider.get_meter("sdk", "1.0")
        meter.create_counter("http.server.requests", "{request}").add(3, {"http.route": "/a", "code": 200})
        meter.create_counter("io", "By").add(4096)
        meter.create_up_down_counter("queue.length").add(-2)
        meter.create_gauge("memory.usage", "1").set(0.25)
        histogram = meter.create_histogram("latency", "ms", explicit_bucket_boundaries_advisory=[5, 10.5])
        for value in (1, 7, 7, 100):
            histogram.record(value, {"op": "read"})
        assert provider.force_flush()
        provider.shutdown()

    return send


def test_the_sdk(peer, tmp_path, sdk):
    """OTLP in, series by the rules of "Prometheus and OpenMetrics compatibility" out."""
    own = port()
    receivers = {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{own}"}}}}
    with _through(peer, tmp_path, receivers, {}) as (through, hawse):
        sdk(f"http://127.0.0.1:{own}/v1/metrics", {"host.name": "web"})
        until(lambda: through.query("target_info"), lambda: f"series\n{hawse.tail()}")
        found = {labels: runs(samples) for labels, samples in through.samples().items()}
    assert {frozenset(labels): values[0] for labels, values in found.items()} == _expected()


def _expected():
    where = {("job", "prod/shop"), ("instance", "i-1")}
    scope = {("otel_scope_name", "sdk"), ("otel_scope_version", "1.0")}

    def series(name, **labels):
        return frozenset({("__name__", name), *labels.items(), *where, *scope})

    buckets = {"5": 1.0, "10.5": 3.0, "+Inf": 4.0}
    return {
        series("http_server_requests_total", http_route="/a", code="200"): 3.0,
        series("io_bytes_total"): 4096.0,
        series("queue_length"): -2.0,
        series("memory_usage_ratio"): 0.25,
        **{series("latency_milliseconds_bucket", op="read", le=le): value for le, value in buckets.items()},
        series("latency_milliseconds_sum", op="read"): 115.0,
        series("latency_milliseconds_count", op="read"): 4.0,
        frozenset({("__name__", "target_info"), ("host_name", "web"), *where}): 1.0,
    }


def test_the_sdk_through_enrichment(peer, tmp_path, sdk):
    """The role, as it is: what the API server knows of the pod is on the series in Prometheus."""
    pod = ("shop", "orders-7d8f9c6b5-x2x4z", "0b1c2d3e")
    (tmp_path / "pods" / "_".join(pod)).mkdir(parents=True)
    kubeconfig = tmp_path / "kubeconfig"
    otlp, write, telemetry = port(), port(), port()
    flags = ["--web.enable-remote-write-receiver"]
    api = [sys.executable, "-m", "bench.cluster", tmp_path / "pods", kubeconfig]
    with (
        Prometheus(peer("prometheus"), tmp_path / "through", flags=flags) as prometheus,
        subprocess.Popen(api, stdout=subprocess.PIPE, cwd=ROOT) as cluster,
    ):
        try:
            assert cluster.stdout.readline()
            env = {
                "KUBECONFIG": str(kubeconfig),
                "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
                "HAWSE_OTLP_HOST": "127.0.0.1",
                "HAWSE_OTLP_PORT": str(otlp),
                "HAWSE_REMOTE_WRITE_HOST": "127.0.0.1",
                "HAWSE_REMOTE_WRITE_PORT": str(write),
                "HAWSE_TELEMETRY_HOST": "127.0.0.1",
                "HAWSE_TELEMETRY_PORT": str(telemetry),
                "HAWSE_HEALTH_HOST": "127.0.0.1",
                "HAWSE_HEALTH_PORT": "0",
                "HAWSE_METRICS_EXPORTER": "prometheusremotewrite",
                "HAWSE_BACKEND_ENDPOINT": f"{prometheus.url}/api/v1/write",
                "HAWSE_STATE": str(tmp_path / "state"),
            }
            argv = [sys.executable, "-m", "hawse", "run", "--role", "metrics-enrichment", "--no-watch"]
            ready = f"http://127.0.0.1:{telemetry}/metrics"
            with Program("enrichment", argv, tmp_path / "enrichment", ready, env) as role:
                sdk(f"http://127.0.0.1:{otlp}/v1/metrics", {"k8s.namespace.name": pod[0], "k8s.pod.name": pod[1]})
                until(lambda: prometheus.query("target_info"), lambda: f"series\n{role.tail()}")
                found = {dict(labels)["__name__"]: dict(labels) for labels in prometheus.samples()}
        finally:
            cluster.terminate()
    labels = found["http_server_requests_total"]
    assert (labels["job"], labels["instance"], labels["http_route"]) == ("prod/shop", "i-1", "/a")
    assert (labels["k8s_pod_name"], labels["k8s_deployment_name"]) == (pod[1], "orders")
    assert labels["cluster"] == "kubernetes"
    assert labels["pod_labels_team"] == "shop"
    assert {*found} >= {"io_bytes_total", "latency_milliseconds_bucket", "memory_usage_ratio", "queue_length"}
