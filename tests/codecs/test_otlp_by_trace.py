"""Dividing spans by trace ID, against the published classes."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.otlp_by_trace import divide, dividing, trace_id
from hawse.codecs.span_writer import scope_spans, span
from hawse.wire import WireError, field


def written(trace, name="s"):
    return span(trace_id=trace, span_id=b"12345678", name=name, kind=1, start=1, end=2)


def seen(request):
    """All spans with what is around them."""
    return sorted(
        (
            group.resource.SerializeToString(),
            group.schema_url,
            scope.scope.name,
            scope.scope.version,
            scope.schema_url,
            one.SerializeToString(),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for one in scope.spans
    )


traces = st.sampled_from([b"", b"short", *(bytes((n,)) * 16 for n in range(6))])


@st.composite
def requests(draw):
    request = ExportTraceServiceRequest()
    for number in range(draw(st.integers(0, 3))):
        group = request.resource_spans.add(schema_url=draw(st.sampled_from(["", "https://a"])))
        group.resource.attributes.add(key="n").value.int_value = number
        for inner in range(draw(st.integers(0, 3))):
            scope = group.scope_spans.add(schema_url=draw(st.sampled_from(["", "https://b"])))
            scope.scope.name, scope.scope.version = f"scope {inner}", "1"
            for trace in draw(st.lists(traces, max_size=5)):
                scope.spans.add(trace_id=trace, name=draw(st.sampled_from(["a", "b"])))
    return request


@given(requests())
def test_every_span_is_in_its_part_with_what_is_around_it(request_):
    batch = otlp.decode(Signal.TRACES, request_.SerializeToString())
    parts = divide(batch, lambda key: "abc"[len(key) and key[0] % 3])
    found = []
    for part, own in parts.items():
        back = ExportTraceServiceRequest.FromString(own.encode())
        assert all(
            "abc"[len(one.trace_id) and one.trace_id[0] % 3] == part
            for group in back.resource_spans
            for scope in group.scope_spans
            for one in scope.spans
        )
        assert own.items == otlp.decode(Signal.TRACES, own.encode()).items
        found += seen(back)
    assert sorted(found) == seen(request_)


def test_what_belongs_together_is_not_touched():
    scopes = memoryview(scope_spans([written(b"x" * 16)] * 3, "s"))
    batch = Batch(Signal.TRACES, [Group(Resource.of({"a": "b"}), (scopes,), 3)])
    parts = divide(batch, lambda key: key[:1].decode())
    assert parts["x"].groups[0] is batch.groups[0]


def test_trace_ids_that_are_not_first_are_found():
    one = written(b"x" * 16)
    assert trace_id(one) == b"x" * 16
    assert trace_id(field(5, b"name") + one) == b"x" * 16
    assert trace_id(b"") == b""


def test_malformed_spans():
    for scopes in (b"\xff", field(2, field(2, b"\xff\xff"))):
        with pytest.raises(WireError):
            divide(Batch(Signal.TRACES, [Group(Resource(), (scopes,), 1)]), lambda key: "a")


def test_a_hundred_thousand_spans_let_others_have_their_turn():
    spans = [written(os.urandom(16)) for _ in range(1000)] * 100
    data = scope_spans(spans)
    batch = Batch(Signal.TRACES, [Group(Resource(), (data,), len(spans))])
    steps, longest, began = dividing(batch, lambda key: "abcdef"[key[0] % 6]), 0.0, time.process_time()
    parts = None
    while parts is None:
        before = time.process_time()
        try:
            next(steps)
        except StopIteration as done:
            parts = done.value
        longest = max(longest, time.process_time() - before)
    assert sum(part.items for part in parts.values()) == 100_000
    assert longest < 0.08
    assert time.process_time() - began < 1.0
