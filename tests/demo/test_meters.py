"""The demo's metrics: what is exposed is well formed, counts what was logged, and is counted itself."""

import asyncio
import random

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from hawse.demo import cast, monitors
from hawse.demo.apiview import KINDS
from hawse.demo.exporters import SCRAPE, Exporters, free_network
from hawse.demo.meters import OPENMETRICS, SCRAPES, TEXT, Meters
from hawse.demo.workload import Node
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path, random.Random(7), rate=2, network=free_network(random.Random()))
    yield made
    made.close()


def _samples(families):
    return [sample for family in families for sample in family.samples]


@pytest.mark.parametrize("form", ["text", "openmetrics"])
def test_expositions_are_well_formed_and_their_samples_are_counted(node, form):
    for _ in range(100):
        node.advance(0.1)
    for running in node.running:
        body, told = running.meters.render(openmetrics=form == "openmetrics")
        families = list((openmetrics if form == "openmetrics" else text)(body.decode()))
        assert len(_samples(families)) == told > 3
        assert all(family.documentation and family.type != "unknown" for family in families)


def test_metrics_count_what_is_logged(node):
    for _ in range(50):
        node.advance(0.1)
    counted = {}
    for running in node.running:
        body, _ = running.meters.render(openmetrics=False)
        for sample in _samples(text(body.decode())):
            key = (running.container.name, sample.name)
            counted[key] = counted.get(key, 0) + sample.value
    events = {}
    for running in node.running:
        events[running.container.name] = events.get(running.container.name, 0) + running.number
    assert counted["nginx", "http_requests_total"] == events["nginx"] > 50
    assert counted["nginx", "http_request_duration_seconds_count"] == events["nginx"]
    assert counted["orders", "orders_total"] == counted["orders", "order_value_euros_count"] == events["orders"]
    assert counted["payments", "payments_total"] == events["payments"]


def test_a_restarted_container_counts_anew(node):
    for _ in range(70):  # it crashes after 6 seconds
        node.advance(0.1)
    report = next(running for running in node.running if running.pod.crashes)
    body, _ = report.meters.render(openmetrics=False)
    rows = [sample.value for sample in _samples(text(body.decode())) if sample.name == "report_rows_total"]
    assert 0 < rows[0] < report.number


async def _scraped(node):
    exporters = Exporters()
    await exporters.start(node.running)
    found = []
    try:
        for tally, running in zip(
            node.tally.exporters, (one for one in node.running if one.container.port), strict=True
        ):
            client = HttpClient(ClientConfig(endpoint=f"http://{tally.instance}"))
            headers = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
            for more in ({SCRAPE: "1"}, {SCRAPE: "1"}, {}):  # the last is somebody who looks
                answer = await client.request("GET", running.container.path, headers={**headers, **more})
                found.append((tally.instance, answer.status, answer.headers["content-type"], answer.body.decode()))
            await client.close()
    finally:
        await exporters.stop()
    return found


def test_each_container_is_scraped_at_its_own_address_and_says_what_it_told(node):
    node.advance(1)
    found = asyncio.run(_scraped(node))
    assert {status for _, status, *_ in found} == {200}
    assert {kind for _, _, kind, _ in found} == {TEXT, OPENMETRICS}
    for tally in node.tally.exporters:
        told = [
            list((openmetrics if kind == OPENMETRICS else text)(body))
            for instance, _, kind, body in found
            if instance == tally.instance
        ]
        assert tally.scrapes == 2
        assert tally.samples == sum(len(_samples(families)) for families in told[:2])
        scrapes = [sample.value for families in told for sample in _samples(families) if sample.name == SCRAPES]
        assert scrapes == [1, 2, 3]
    assert len({tally.instance for tally in node.tally.exporters}) == len(node.tally.exporters) == 8


def test_summaries_of_nothing_have_no_quantiles():
    meters = Meters(random.Random(1))
    meters.summary("x", "y")
    body, _ = meters.render(openmetrics=False)
    assert 'x{quantile="0.5"} NaN' in body.decode()


def test_all_pods_with_metrics_are_found_by_something():
    pods = cast.pods(random.Random(1), "127.99")
    objects = [*monitors.of_pods(pods), *monitors.of_processes({"logs-collector": 2020})]
    assert all(found["kind"] in KINDS and found["metadata"]["namespace"] for found in objects)
    chosen = set()
    for monitor in objects:
        if monitor["kind"] == "PodMonitor":
            (label,) = monitor["spec"]["selector"]["matchLabels"].items()
            ports = {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]}
            for pod in pods:
                if pod.namespace == monitor["metadata"]["namespace"] and label in pod.labels.items():
                    named = {
                        port["name"] for spec in pod.manifest()["spec"]["containers"] for port in spec.get("ports", [])
                    }
                    assert ports == named
                    chosen.add(pod.name)
        if monitor["kind"] == "EndpointSlice":
            chosen |= {end["targetRef"]["name"] for end in monitor["endpoints"] if "targetRef" in end}
    annotated = {pod.name for pod in pods if "prometheus.io/scrape" in pod.annotations}
    assert chosen | annotated == {pod.name for pod in pods if any(one.port for one in pod.containers)}
    assert not chosen & annotated
