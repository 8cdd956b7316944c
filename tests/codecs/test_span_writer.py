"""What the span writer writes is what OTLP's own descriptors read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.codecs import span_writer
from hawse.codecs.otlp_descriptors import message
from hawse.wire import encode_attributes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TIME = st.integers(0, (1 << 64) - 1)
ATTRIBUTES = st.dictionaries(TEXT, TEXT | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1), max_size=3)
TRACE_ID = st.binary(min_size=16, max_size=16)
SPAN_ID = st.binary(min_size=8, max_size=8)


def attributes_of(parsed):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in parsed}


@given(
    trace_id=TRACE_ID,
    span_id=SPAN_ID,
    parent=SPAN_ID | st.just(b""),
    name=TEXT,
    kind=st.integers(0, 5),
    times=st.tuples(TIME, TIME),
    attributes=ATTRIBUTES,
    events=st.lists(st.tuples(TIME, TEXT, ATTRIBUTES), max_size=2),
    links=st.lists(st.tuples(TRACE_ID, SPAN_ID, ATTRIBUTES), max_size=2),
    status=st.none() | st.tuples(st.integers(0, 2), TEXT),
    state=TEXT,
    flags=st.none() | st.integers(0, 0xFFFF_FFFF),
)
def test_every_field_comes_back(
    trace_id, span_id, parent, name, kind, times, attributes, events, links, status, state, flags
):
    raw = span_writer.span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        kind=kind,
        start=times[0],
        end=times[1],
        attributes=attributes,
        events=events,
        links=links,
        status=status,
        trace_state=state,
        flags=flags,
    )
    read = message("opentelemetry.proto.trace.v1.Span").FromString(raw)
    assert (read.trace_id, read.span_id, read.parent_span_id) == (trace_id, span_id, parent)
    assert (read.name, read.kind, read.trace_state) == (name, kind, state)
    assert (read.start_time_unix_nano, read.end_time_unix_nano) == times
    assert attributes_of(read.attributes) == attributes
    assert [(e.time_unix_nano, e.name, attributes_of(e.attributes)) for e in read.events] == events
    assert [(one.trace_id, one.span_id, attributes_of(one.attributes)) for one in read.links] == links
    assert read.HasField("status") == (status is not None)
    assert (read.status.code, read.status.message) == (status or (0, ""))
    assert read.flags == (flags or 0)


@given(spans=st.lists(st.binary(max_size=3).map(lambda name: b"\x2a" + bytes([len(name)]) + name)), scope=TEXT)
def test_scopes(spans, scope):
    raw = span_writer.scope_spans(spans, scope, "1.2")
    read = message("opentelemetry.proto.trace.v1.ResourceSpans", text_as_bytes=True).FromString(raw)
    (found,) = read.scope_spans
    assert (found.scope.name.decode(), found.scope.version) == (scope, b"1.2")
    assert [one.name for one in found.spans] == [one[2:] for one in spans]


def test_a_scope_without_name_is_left_out():
    raw = span_writer.scope_spans([b""])
    (found,) = message("opentelemetry.proto.trace.v1.ResourceSpans").FromString(raw).scope_spans
    assert not found.HasField("scope")
    assert len(found.spans) == 1


def test_encoded_attributes_are_taken_as_they_are():
    ids = {"trace_id": bytes(16), "span_id": bytes(8), "name": "n", "kind": 0, "start": 1, "end": 2}
    plain = span_writer.span(**ids, attributes={"a": 1}, events=[(1, "e", {"b": 2})])
    ready = (encode_attributes({"a": 1}, span_writer.SPAN), encode_attributes({"b": 2}, span_writer.EVENT))
    assert span_writer.span(**ids, attributes=ready[0], events=[(1, "e", ready[1])]) == plain


@pytest.mark.parametrize(("given_", "kept"), [(-1, 0), (1 << 64, (1 << 64) - 1), (5, 5)])
def test_times_that_do_not_fit_become_the_nearest(given_, kept):
    raw = span_writer.span(trace_id=bytes(16), span_id=bytes(8), name="", kind=0, start=given_, end=given_)
    read = message("opentelemetry.proto.trace.v1.Span").FromString(raw)
    assert (read.start_time_unix_nano, read.end_time_unix_nano) == (kept, kept)
