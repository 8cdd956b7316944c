"""Jaeger's protobuf becomes what OpenTelemetry's translation says. The messages are written by upb from model.proto."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.codecs.descriptors import classes
from hawse.codecs.jaeger_proto import ProtoTranslator, sampling_response, sampling_service
from hawse.codecs.jaeger_thrift import TooMany
from hawse.wire import WireError

from .jaeger_oracle import by_scope, expected, id_of, read
from .test_jaeger_thrift import SPANS

# proto/api_v2/{model,collector,sampling}.proto; google.protobuf.{Timestamp,Duration} are two numbers each.
API = classes(
    "model",
    """KeyValue: 1 string key, 2 int32 v_type, 3 string v_str, 4 bool v_bool, 5 int64 v_int64, 6 double v_float64,
    7 bytes v_binary
Timestamp: 1 int64 seconds, 2 int32 nanos
Duration: 1 int64 seconds, 2 int32 nanos
Log: 1 Timestamp timestamp, 2 KeyValue fields*
SpanRef: 1 bytes trace_id, 2 bytes span_id, 3 int32 ref_type
Process: 1 string service_name, 2 KeyValue tags*
Span: 1 bytes trace_id, 2 bytes span_id, 3 string operation_name, 4 SpanRef references*, 5 uint32 flags,
    6 Timestamp start_time, 7 Duration duration, 8 KeyValue tags*, 9 Log logs*, 10 Process process,
    11 string process_id, 12 string warnings*
Batch: 1 Span spans*, 2 Process process
PostSpansRequest: 1 Batch batch
Probabilistic: 1 double samplingRate
RateLimiting: 1 int32 maxTracesPerSecond
Operation: 1 string operation, 2 Probabilistic probabilisticSampling
Operations: 1 double defaultSamplingProbability, 2 double lower, 3 Operation perOperationStrategies*
Response: 1 int32 strategyType, 2 Probabilistic probabilisticSampling, 3 RateLimiting rateLimitingSampling,
    4 Operations operationSampling
Parameters: 1 string serviceName""",
)


def put_tags(target, tags):
    for key, value in tags:
        one = target.add(key=key)
        if isinstance(value, bool):
            one.v_type, one.v_bool = 1, value
        elif isinstance(value, int):
            one.v_type, one.v_int64 = 2, value
        elif isinstance(value, float):
            one.v_type, one.v_float64 = 3, value
        elif isinstance(value, bytes):
            one.v_type, one.v_binary = 4, value
        else:
            one.v_str = value


def put_time(target, microseconds):
    target.seconds, target.nanos = microseconds // 1_000_000, microseconds % 1_000_000 * 1000


def put_span(target, span):
    target.trace_id, target.span_id = id_of(span["high"]) + id_of(span["low"]), id_of(span["id"])
    target.operation_name, target.flags = span["name"], span["flags"]
    for kind, high, low, id_ in span["references"]:
        target.references.add(ref_type=kind, trace_id=id_of(high) + id_of(low), span_id=id_of(id_))
    put_time(target.start_time, span["start"])
    put_time(target.duration, span["duration"])
    put_tags(target.tags, span["tags"])
    for time, fields in span["logs"]:
        log = target.logs.add()
        put_time(log.timestamp, time)
        put_tags(log.fields, fields)


def request(spans, service="shop", tags=()):
    made = API["PostSpansRequest"]()
    made.batch.process.service_name = service
    put_tags(made.batch.process.tags, tags)
    for span in spans:
        put_span(made.batch.spans.add(), span)
    return made


def groups(translator, data, most=1 << 62):
    work = translator.request(data, most)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


SPAN = {
    "low": 1, "high": 2, "id": 3, "parent": 0, "name": "op", "references": [(0, 2, 1, 9)], "flags": 1,
    "start": 1_700_000_000_000_000, "duration": 5, "tags": [("span.kind", "server"), ("n", 7)],
    "logs": [(1_700_000_000_000_001, [("event", "e")])],
}  # fmt: skip


@settings(max_examples=150)
@given(st.lists(SPANS, max_size=4))
def test_every_field_is_translated(spans):
    spans = [span | {"parent": 0} for span in spans]  # protobuf has references only
    raw = request(spans, tags=[("hostname", "h")]).SerializeToString()
    translator = ProtoTranslator()
    for _ in range(2):
        found = read(groups(translator, raw))
        if spans:
            ((attributes, translated),) = found
            assert attributes == {"service.name": "shop", "host.name": "h"}
            assert translated == by_scope([expected(span) for span in spans])
        else:
            assert found == []


def test_spans_may_have_a_process_of_their_own():
    made = request([SPAN] * 4)
    for number, service in ((1, "other"), (2, "other")):
        made.batch.spans[number].process.service_name = service
    found = read(groups(ProtoTranslator(), made.SerializeToString()))
    assert [(attributes["service.name"], len(spans)) for attributes, spans in found] == [("shop", 2), ("other", 2)]


def test_warnings_nanoseconds_and_missing_ids():
    made = request([SPAN])
    span = made.batch.spans[0]
    span.warnings.extend(["clock skew", "late"])
    span.start_time.nanos += 7
    span.ClearField("trace_id")
    span.ClearField("references")
    ((_, ((_, found),)),) = read(groups(ProtoTranslator(), made.SerializeToString()))
    assert found["attributes"]["jaeger.warnings"] == ["clock skew", "late"]
    assert found["start"] == 1_700_000_000_000_000_007
    assert (found["trace"], found["span"], found["parent"]) == (bytes(16), id_of(3), b"")


@pytest.mark.parametrize("kind", [5, -1])
def test_types_that_are_none(kind):
    made = request([SPAN | {"tags": [("k", "v")]}])
    made.batch.spans[0].tags[0].v_type = kind
    ((_, ((_, found),)),) = read(groups(ProtoTranslator(), made.SerializeToString()))
    assert found["attributes"] == {"k": f'<Unknown Jaeger TagType "{kind}">'}


def test_an_id_of_another_size_is_refused():
    made = request([SPAN])
    made.batch.spans[0].span_id = b"1234"
    with pytest.raises(WireError, match="span at byte [0-9]+: an id has 4 bytes, not 8"):
        groups(ProtoTranslator(), made.SerializeToString())


def test_limits():
    raw = request([SPAN] * 100).SerializeToString()
    assert sum(1 for _ in ProtoTranslator().request(raw)) == 1  # turns for others
    with pytest.raises(TooMany, match="100 spans, 99 are allowed"):
        groups(ProtoTranslator(), raw, 99)
    empty = b"\x0a" + b"\xc0\x9a\x0c" + b"\x0a\x00" * 100_000
    with pytest.raises(TooMany, match="more than 50000 spans"):
        groups(ProtoTranslator(), empty, 50_000)
    with pytest.raises(TooMany, match="more than 50000 spans"):
        groups(ProtoTranslator(), b"\x0a\x00" * 100_000, 50_000)
    big = request([SPAN | {"tags": [("key", "x" * 70_000)] * 3}]).SerializeToString()
    assert groups(ProtoTranslator(10), big)[0].items == 1
    many = SPAN | {"logs": [(1, [("k", "v" * 100)] * 600)] * 2}
    with pytest.raises(WireError, match="more than 1000 tags, logs and references"):
        groups(ProtoTranslator(1000), request([many]).SerializeToString())
    with pytest.raises(WireError, match="more than 1000 tags"):
        groups(ProtoTranslator(1000), request([SPAN], tags=[("k", "v" * 100)] * 1020).SerializeToString())


def test_cut_off_or_changed_at_any_byte():
    translator = ProtoTranslator()
    raw = request([SPAN, SPAN], tags=[("a", 1), ("b", "c")]).SerializeToString()
    assert groups(translator, raw)
    for at in range(1, len(raw)):
        with pytest.raises(WireError):
            groups(translator, raw[:at])
        for value in (0, 0x7F, 0x80, 0xFF, raw[at] ^ 1):
            try:
                found = groups(translator, raw[:at] + bytes([value]) + raw[at + 1 :])
            except WireError:
                continue
            read(found)


@given(st.binary(max_size=200))
def test_anything_at_all(data):
    try:
        read(groups(ProtoTranslator(), data))
    except WireError:
        pass


def test_sampling_messages():
    assert sampling_service(API["Parameters"](serviceName="shop").SerializeToString()) == "shop"
    with pytest.raises(WireError):
        sampling_service(b"\x0a\x05sh")
    found = API["Response"].FromString(sampling_response(0, 0.25, (0.25, {"a": 0.5, "b": 1})))
    assert (found.strategyType, found.probabilisticSampling.samplingRate) == (0, 0.25)
    assert not found.HasField("rateLimitingSampling")
    assert found.operationSampling.defaultSamplingProbability == 0.25
    own = found.operationSampling.perOperationStrategies
    assert [(one.operation, one.probabilisticSampling.samplingRate) for one in own] == [("a", 0.5), ("b", 1)]
    found = API["Response"].FromString(sampling_response(1, 7, None))
    assert (found.strategyType, found.rateLimitingSampling.maxTracesPerSecond) == (1, 7)
    assert not found.HasField("operationSampling")
