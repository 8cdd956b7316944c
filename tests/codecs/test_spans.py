"""Spans are cut, stamped and put together again without losing a bit: held against OpenTelemetry's own classes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from hawse.batch import Batch, Signal
from hawse.codecs import otlp, spans
from hawse.wire import WireError

IDS = [b"", b"\0" * 16, *(bytes([number]) * 16 for number in (1, 2, 3)), b"short"]
TEXT = st.text(max_size=12)


@st.composite
def requests(draw):
    made = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 3))):
        group = made.resource_spans.add(schema_url=draw(TEXT))
        group.resource.attributes.add(key="service.name").value.string_value = draw(TEXT)
        for _ in range(draw(st.integers(0, 3))):
            scope = group.scope_spans.add(schema_url=draw(TEXT))
            scope.scope.name = draw(TEXT)
            for _ in range(draw(st.integers(0, 6))):
                span = scope.spans.add(
                    trace_id=draw(st.sampled_from(IDS)),
                    span_id=draw(st.binary(min_size=8, max_size=8)),
                    name=draw(TEXT),
                )
                span.start_time_unix_nano, span.end_time_unix_nano = draw(st.integers(0, 9)), draw(st.integers(0, 9))
                span.status.code = draw(st.integers(0, 2))
                for key in draw(st.lists(st.sampled_from(["a", "b", "sampling.rule"]), unique=True)):
                    span.attributes.add(key=key).value.string_value = draw(TEXT)
    return made


def flat(request):
    return sorted(
        (
            group.resource.SerializeToString(), group.schema_url, scope.scope.SerializeToString(), scope.schema_url,
            span.SerializeToString(),
        )
        for group in request.resource_spans for scope in group.scope_spans for span in scope.spans
    )  # fmt: skip


def cut(request):
    batch = otlp.decode(Signal.TRACES, request.SerializeToString())
    return [one for group in batch.groups for lot in spans.cut(group) for one in lot]


def together(parts):
    batch = Batch(Signal.TRACES, spans.groups(parts))
    data = batch.encode()
    assert otlp.decode(Signal.TRACES, data).items == batch.items == sum(part.count for part in parts)
    return ExportTraceServiceRequest.FromString(data)


@settings(max_examples=150, deadline=None)
@given(requests())
def test_what_is_cut_and_put_together_is_what_it_was(request):
    parts = cut(request)
    assert flat(together([part for _, part in parts])) == flat(request)
    for trace_id, part in parts:
        assert part.count == len(spans.read(part.data)) == len(spans.apart(part.data))
        assert {one.trace_id for one in spans.read(part.data)} == {trace_id}


@settings(max_examples=100, deadline=None)
@given(requests(), TEXT)
def test_stamps_set_attributes_and_leave_all_else(request, text):
    stamp = spans.Stamp({"sampling.rule": text, "sampling.probability": 0.25})
    stamped = together([stamp.on(part) for _, part in cut(request)])
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                left = [pair for pair in span.attributes if pair.key != "sampling.rule"]
                del span.attributes[:]
                span.attributes.extend(left)
                span.attributes.add(key="sampling.rule").value.string_value = text
                span.attributes.add(key="sampling.probability").value.double_value = 0.25
    assert flat(stamped) == flat(request)


def test_fields_are_read_and_attributes_decoded_when_asked_for():
    span = Span(trace_id=b"t" * 16, parent_span_id=b"p" * 8, name="GET", kind=2, trace_state="a=b", flags=1)
    span.start_time_unix_nano, span.end_time_unix_nano, span.status.code = 5, 9, 2
    span.attributes.add(key="n").value.int_value = -1
    (found,) = spans.read(spans.joined([span.SerializeToString()]))
    assert (found.trace_id, found.parent_span_id, found.name) == (b"t" * 16, b"p" * 8, b"GET")
    assert (found.kind, found.start, found.end, found.status.code, found.flags) == (2, 5, 9, 2, 1)
    assert found.trace_state == b"a=b"
    assert spans.attributes(found) == {"n": -1}


def test_text_that_is_no_utf8_and_ids_anywhere_in_the_message_are_no_reason_to_fail():
    late_id = Span(name="x").SerializeToString() + Span(trace_id=b"t" * 16).SerializeToString()
    odd = late_id + b"\x2a\x02\xff\xfe"
    assert spans.trace_ids([odd]) == [b"t" * 16]
    (found,) = spans.read(spans.joined([odd]))
    assert found.name == b"\xff\xfe"


def test_large_groups_are_cut_in_lots():
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(5000):
        scope.spans.add(trace_id=(number % 7).to_bytes(16, "big"), name=str(number))
    (group,) = otlp.decode(Signal.TRACES, request.SerializeToString()).groups
    lots = list(spans.cut(group))
    assert [sum(part.count for _, part in lot) for lot in lots] == [2048, 2048, 904]
    assert len({id(part.scope) for lot in lots for _, part in lot}) == 1


def test_what_is_malformed_raises_wire_error():
    with pytest.raises(WireError):
        spans.read(b"\x12\x05\x18")
    with pytest.raises(WireError):
        spans.trace_ids([b"\x2a\x09x"])
