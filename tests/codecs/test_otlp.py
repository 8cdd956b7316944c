"""Requests cut into groups, held against protobuf's own reading."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.wire import WireError, field

counts = st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=3)  # items by scope by resource


def resource(group, number):
    group.resource.attributes.add(key="n").value.int_value = number
    group.schema_url = "https://schema"
    return group


def logs_of(groups):
    request = ExportLogsServiceRequest()
    for number, scopes in enumerate(groups):
        group = resource(request.resource_logs.add(), number)
        for records in scopes:
            scope = group.scope_logs.add()
            for at in range(records):
                scope.log_records.add(time_unix_nano=at).body.string_value = "x" * at
    return request


def spans_of(groups):
    request = ExportTraceServiceRequest()
    for number, scopes in enumerate(groups):
        group = resource(request.resource_spans.add(), number)
        for spans in scopes:
            scope = group.scope_spans.add()
            for at in range(spans):
                scope.spans.add(name=f"s{at}", trace_id=b"t" * 16)
    return request


def points_of(groups):
    request = ExportMetricsServiceRequest()
    for number, scopes in enumerate(groups):
        group = resource(request.resource_metrics.add(), number)
        for points in scopes:
            scope = group.scope_metrics.add()
            for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
                metric = scope.metrics.add(name=kind)
                for at in range(points):
                    getattr(metric, kind).data_points.add(time_unix_nano=at)
    return request


@pytest.mark.parametrize(
    ("signal", "make", "each"),
    [(Signal.LOGS, logs_of, 1), (Signal.TRACES, spans_of, 1), (Signal.METRICS, points_of, 5)],
)
@given(groups=counts)
@settings(deadline=None, max_examples=50)
def test_groups_items_and_bytes(signal, make, each, groups):
    data = make(groups).SerializeToString()
    batch = otlp.decode(signal, data, "peer")
    assert batch.encode() == data
    assert [group.items for group in batch.groups] == [each * sum(scopes) for scopes in groups]
    assert [group.resource.attributes for group in batch.groups] == [{"n": n} for n in range(len(groups))]
    assert (batch.signal, batch.peer) == (signal, "peer")


def test_fields_in_another_order_and_split_resources():
    """Protobuf allows any order, and merges a message that comes in two parts."""
    record, attribute = field(2, field(2, b"")), field(1, field(1, b"a"))
    odd = field(1, record + field(1, attribute) + record + field(1, field(1, field(1, b"b"))) + field(3, b"url"))
    batch = otlp.decode(Signal.LOGS, field(9, b"unknown") + odd)
    (group,) = batch.groups
    assert group.items == 2
    assert set(group.resource.attributes) == {"a", "b"}
    theirs = ExportLogsServiceRequest.FromString(odd).resource_logs[0]
    ours = ExportLogsServiceRequest.FromString(batch.encode()).resource_logs[0]
    assert ours == theirs


@given(counts, st.integers(1, 60))
@settings(deadline=None, max_examples=100)
def test_what_is_cut_off_is_refused_or_read_like_protobuf_reads_it(groups, cut):
    data = logs_of(groups).SerializeToString()[:-cut]
    try:
        theirs = ExportLogsServiceRequest.FromString(data)
    except Exception:
        with pytest.raises(WireError):
            otlp.decode(Signal.LOGS, data)
    else:
        assert ExportLogsServiceRequest.FromString(otlp.decode(Signal.LOGS, data).encode()) == theirs


@given(st.binary(max_size=300), st.sampled_from(list(Signal)))
@settings(max_examples=300)
def test_any_bytes_are_a_batch_or_an_error(data, signal):
    for body in (data, field(1, data), field(1, field(2, data)), field(1, field(2, field(2, data)))):
        try:
            batch = otlp.decode(signal, body)
        except WireError:
            continue
        assert otlp.decode(signal, batch.encode()).items == batch.items


def test_points_are_counted_wherever_they_stand():
    """Two kinds of data in one metric, metrics without any, and a scope cut anywhere."""
    point, other = field(1, b"\x19" + bytes(8)), field(2, b"")
    metric = field(1, b"name") + field(5, point + point) + field(7, point + b"\x10\x02") + field(9, point)
    scope = field(1, b"") + field(2, metric) + field(2, b"") + field(3, b"url") + field(2, metric + field(11, other))
    batch = otlp.decode(Signal.METRICS, field(1, field(2, scope)))
    assert batch.items == otlp.metric_points(scope) == 8
    assert otlp.decode(Signal.METRICS, field(1, field(2, scope)), most=8 + 4 + 8 + 3).items == 8
    for most in range(8 + 4 + 8 + 3):
        with pytest.raises(otlp.TooMany):
            otlp.decode(Signal.METRICS, field(1, field(2, scope)), most=most)


@pytest.mark.parametrize("parsed", [1, 7, 40, 200])
@given(groups=counts)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_large_scopes_are_counted_in_runs(monkeypatch, parsed, groups):
    for signal, make in ((Signal.LOGS, logs_of), (Signal.METRICS, points_of)):
        data = make(groups).SerializeToString()
        monkeypatch.setattr(otlp, "_PARSED", 1 << 30)
        whole = [group.items for group in otlp.decode(signal, data).groups]
        monkeypatch.setattr(otlp, "_PARSED", parsed)
        assert [group.items for group in otlp.decode(signal, data).groups] == whole
        cost = sum(whole) + 8 * len(whole) + 4 * sum(1 + len(scopes) + 1 for scopes in groups)
        cost += 5 * sum(map(len, groups)) if signal is Signal.METRICS else 0
        assert otlp.decode(signal, data, most=cost).items == sum(whole)


def test_empty_parts_cannot_be_made_many():
    """Two bytes on the wire each, far more as objects."""
    for scope in (b"\x12\x00" * 300_000, field(2, field(5, b"\x0a\x00" * 300_000))):
        with pytest.raises(otlp.TooMany):
            otlp.decode(Signal.METRICS, field(1, field(2, scope)), most=200_000)


def test_partial_success_both_ways():
    for rejected, message in ((0, ""), (3, "too old"), (1 << 40, ""), (0, "slow down, please: é")):
        raw = otlp.partial_success(rejected, message)
        theirs = ExportLogsServiceResponse.FromString(raw).partial_success
        assert (theirs.rejected_log_records, theirs.error_message) == (rejected, message)
        assert otlp.rejected(raw) == (rejected, message)
