"""The gateway bench sends what it says: as OpenTelemetry's own classes read it."""

import random

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench import otlp_requests, write_requests
from bench.sink import bodies
from hawse.batch import Signal
from hawse.codecs import otlp

MESSAGES = {
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
}


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("items", [2, 1000])
def test_requests_hold_so_many_items_of_one_pod(tmp_path, signal, items):
    pods = write_requests.pods(2 * write_requests.OF_A_POD)
    spool = tmp_path / "spool"
    size = otlp_requests.write(spool, signal, pods, 3, items)
    found = [body.data for body in bodies(spool)]
    assert size == sum(map(len, found))
    assert len(set(found)) == 3
    assert [otlp.decode(signal, data).items for data in found] == [items] * 3
    for number, data in enumerate(found):
        message = MESSAGES[signal].FromString(data)
        assert len(message.SerializeToString()) == len(data)  # nothing unknown, nothing twice
        ((_, groups),) = message.ListFields()
        attributes = {one.key: one.value.string_value for one in groups[0].resource.attributes}
        assert attributes["k8s.pod.name"] == pods[number % 2].name


def test_spans_are_as_long_as_those_of_the_reference():
    assert len(
        otlp_requests.request(Signal.TRACES, write_requests.pods(1000)[0], random.Random(1))
    ) / 1000 == pytest.approx(332, abs=1)
