"""Our remote write into a real Prometheus: what it stores is what was sent, in order, through a restart of it."""

import asyncio
import importlib.util
import json
import logging
import sys
import time
from pathlib import Path

import pytest

from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.component import NoLedger
from hawse.exporters.prometheusremotewrite import Config, PrometheusRemoteWrite
from hawse.net.retry import RetryConfig
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.sending import Sending
from hawse.values import Duration

from .programs import get
from .prometheus import STALE, Prometheus

FLAGS = ("--web.enable-remote-write-receiver", "--enable-feature=native-histograms,exemplar-storage")


def _oracle():
    name = "series_oracle"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "codecs" / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


oracle = _oracle()


class Context:
    id = "prometheusremotewrite"
    ledger = NoLedger()
    log = logging.LoggerAdapter(logging.getLogger("prometheusremotewrite"))

    class meter:
        counter = staticmethod(lambda *_, **__: type("Counter", (), {"add": staticmethod(lambda *_, **__: None)}))
        gauge = staticmethod(lambda *_, **__: None)


def request(turn, now):
    """Two targets, all kinds of metrics; one series goes stale in the middle."""
    made = oracle.ExportMetricsServiceRequest()
    for target in range(2):
        group = made.resource_metrics.add()
        for key, value in (("service.name", "shop"), ("service.instance.id", str(target)), ("host.name", "h")):
            group.resource.attributes.add(key=key).value.string_value = value
        scope = group.scope_metrics.add()
        total = scope.metrics.add(name="orders", unit="{req}").sum
        total.aggregation_temporality, total.is_monotonic = 2, True
        for path in range(50):
            point = total.data_points.add(time_unix_nano=now, as_int=turn * path)
            point.attributes.add(key="http.path").value.string_value = f"/{path}"
        lat = scope.metrics.add(name="lat", unit="s").histogram
        lat.aggregation_temporality = 2
        lat.data_points.add(
            time_unix_nano=now, count=6, sum=1.5 * turn, bucket_counts=[1, 2, 3], explicit_bounds=[0.005, 1e6]
        )
        exact = scope.metrics.add(name="exact").exponential_histogram
        exact.aggregation_temporality = 2
        point = exact.data_points.add(time_unix_nano=now, count=3 + turn, sum=turn, scale=3, zero_count=2)
        point.positive.offset = -1
        point.positive.bucket_counts[:] = [1, 0, 0, turn]
        gone = scope.metrics.add(name="gone").gauge
        gone.data_points.add(time_unix_nano=now, as_double=turn, flags=1 if turn == 3 else 0)
    return made


async def write(server, requests, message):
    config = Config(
        endpoint=f"{server.url}/api/v1/write",
        protobuf_message=message,
        disable_scope_info=True,
        retry_on_failure=RetryConfig(initial_interval=Duration(0.05), max_interval=Duration(0.2)),
    )
    exporter = Sending(PrometheusRemoteWrite(config, Context()), config, Context(), Ledger())
    await exporter.start()
    under_way = []
    for turn, one in enumerate(requests):
        if turn == 2:
            await asyncio.to_thread(server.kill)
        under_way.append(asyncio.create_task(exporter.consume(otlp.decode(Signal.METRICS, one.SerializeToString()))))
        await asyncio.sleep(0.05)
        if turn == 4:
            await asyncio.to_thread(server.start)
    await asyncio.gather(*under_way)
    await exporter.stop()


def native(server):
    """Of each native histogram its labels, count, sum, and buckets as (upper bound, count): remote read of 2.42 has none."""
    status, _, body = get(f"{server.url}/api/v1/query?query=exact")
    assert status == 200, body
    for row in json.loads(body)["data"]["result"]:
        one = row["histogram"][1]
        buckets = [(round(float(upper), 6), float(count)) for _, _, upper, count in one["buckets"]]
        yield tuple(sorted(row["metric"].items())), float(one["count"]), float(one["sum"]), buckets


@pytest.mark.parametrize("message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])
def test_what_prometheus_stores_is_what_was_sent(peer, tmp_path, message):
    now = time.time_ns() - 60 * 10**9
    requests = [request(turn, now + turn * 10**9) for turn in range(1, 8)]
    wanted = {}
    for one in requests:
        rows, lost = oracle.expected(one)
        assert lost == 0
        for labels, value, moment in rows:
            wanted.setdefault(tuple(sorted(labels.items())), []).append((moment, value))
    with Prometheus(peer("prometheus"), tmp_path, flags=FLAGS) as server:
        asyncio.run(write(server, requests, message))
        found = {labels: samples for labels, samples in server.samples().items() if samples}
        histograms = list(native(server))
    assert any(value == STALE for samples in found.values() for _, value in samples)
    exact = {labels: samples.pop()[1] for labels, samples in wanted.items() if dict(labels)["__name__"] == "exact"}
    # Newer versions give the native histograms by remote read, too.
    found = {labels: samples for labels, samples in found.items() if labels not in exact}
    assert found == {labels: samples for labels, samples in wanted.items() if labels not in exact}
    assert len(histograms) == len(exact) == 2
    for labels, count, total, buckets in histograms:
        value = exact[labels]
        upper = [(round(2 ** (index / 8), 6), float(number)) for index, number in value["positive"].items()]
        assert (count, total) == (value["count"], value["sum"])
        assert buckets == [(1e-128, 2.0), *upper] or buckets == [(0.0, 2.0), *upper]
