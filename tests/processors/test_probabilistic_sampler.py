"""Shares of spans and log records: how large, how consistent, and what is told of them."""

import asyncio

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from hawse.batch import Signal
from hawse.codecs import otlp
from hawse.component import Refused
from hawse.processors.probabilistic_sampler import Config, ProbabilisticSampler
from hawse.sampling import threshold as consistent
from hawse.sampling.threshold import TraceState
from tests.sampling.traces import (
    Context,
    Sink,
    a_span,
    attributes_of,
    batch,
    decoded,
    findings,
    spans_of,
    trace_id,
)


def run(text, given):
    context, sink = Context(), Sink()
    asyncio.run(ProbabilisticSampler(decoded(f"{{{text}}}", Config), context, sink).consume(given))
    assert sum(context.rules.values()) + sum(one.items for one in sink.batches) == given.items
    return context, sink.batches


def kept(text, *spans):
    return spans_of(run(text, batch(*spans))[1])


def ids(text, amount=4000):
    return {one.trace_id for one in kept(text, *map(a_span, range(amount)))}


@pytest.mark.parametrize("mode", ["hash_seed", "proportional", "equalizing"])
def test_the_share_is_as_large_as_was_asked_and_samplers_agree(mode):
    ten = ids(f"mode: {mode}, sampling_percentage: 10")
    assert 300 < len(ten) < 500
    assert ten == ids(f"mode: {mode}, sampling_percentage: 10")
    assert ten < ids(f"mode: {mode}, sampling_percentage: 25")
    assert len(ids(f"mode: {mode}, sampling_percentage: 100", 50)) == 50
    assert not ids(f"mode: {mode}, sampling_percentage: 0", 50)


def test_another_seed_chooses_others():
    one, two = (ids(f"sampling_percentage: 50, hash_seed: {seed}") for seed in (1, 2))
    assert one != two
    assert len(one & two) < 1300


def test_the_hash_is_the_collectors():
    # FNV-1a's own test vectors (isthe.com/chongo/tech/comp/fnv), and the seed in front, lowest byte first.
    assert consistent.fnv1a_32(b"foobar") == 0xBF9CF968
    assert consistent.fnv1a_64(b"foobar") == 0x85944171F73967E8
    seed = 22
    for one in kept("sampling_percentage: 30, hash_seed: 22", *map(a_span, range(300))):
        hashed = consistent.fnv1a_32(seed.to_bytes(4, "little") + one.trace_id)
        assert hashed & 0x3FFF < int(0.3 * 0x4000)


def test_what_the_specification_says_of_thresholds():
    # opentelemetry-collector-contrib's README: 25% is th:c, 50% of randomness 9b8233f7e3a151 is kept as th:8.
    assert consistent.written(consistent.threshold(0.25, 4)) == "c"
    assert consistent.written(consistent.threshold(1, 4)) == "0"
    assert consistent.written(consistent.threshold(1 / 3, 4)) == "aaab"
    assert consistent.written(consistent.threshold(0.999, 3)) == "00419"
    spans = [a_span(1, state="ot=th:0;rv:9b8233f7e3a151,vendor=1")]
    (one,) = kept("mode: equalizing, sampling_percentage: 50", *spans)
    assert one.trace_state == "ot=th:8;rv:9b8233f7e3a151,vendor=1"
    assert attributes_of(one)["sampling.probability"] == 0.5
    assert not kept("mode: equalizing, sampling_percentage: 25", *spans)


def with_randomness(number):
    return b"\1" * 9 + number.to_bytes(7, "big")


def test_modes_differ_in_what_they_make_of_earlier_sampling():
    spans = [a_span(with_randomness(0xA0 << 48), state="ot=th:8")]  # was kept with 50%
    (one,) = kept("mode: equalizing, sampling_percentage: 50", *spans)
    assert one.trace_state == "ot=th:8"
    (one,) = kept("mode: equalizing, sampling_percentage: 75", *spans)  # never more than it was
    assert one.trace_state == "ot=th:8"
    assert not kept("mode: proportional, sampling_percentage: 50", *spans)  # a quarter in all: th:c
    (one,) = kept("mode: proportional, sampling_percentage: 50", a_span(with_randomness(0xC0 << 48), state="ot=th:8"))
    assert one.trace_state == "ot=th:c"
    assert attributes_of(one)["sampling.probability"] == 0.25


def test_what_cannot_be_true_is_dropped_or_passed_as_it_is():
    wrong = [a_span(with_randomness(0x10 << 48), state="ot=th:8"), a_span(2, state="ot=th:xyz"), a_span(b"\0" * 16)]
    context, batches = run("sampling_percentage: 100", batch(*wrong))
    assert not batches
    assert context.rules == {"inconsistent": 2, "missing_randomness": 1}
    left = kept("sampling_percentage: 0.1, fail_closed: false", *wrong)
    assert [one.trace_state for one in left] == ["ot=th:8", "ot=th:xyz", ""]


def test_mode_hash_seed_tells_its_randomness_so_that_others_decide_alike():
    left = kept("mode: hash_seed, sampling_percentage: 40", *map(a_span, range(200)))
    assert 50 < len(left) < 110
    for one in left:
        state = TraceState(one.trace_state)
        assert state.rv >= state.th
    assert len(kept("mode: equalizing, sampling_percentage: 40", *(
        a_span(one.trace_id, state=one.trace_state) for one in left))) == len(left)  # fmt: skip


def test_priorities_of_spans():
    def one(value):
        return a_span(5, attributes={"sampling.priority": value})

    assert len(kept("sampling_percentage: 0", one(1), one(0.5), one("2"))) == 3
    assert not kept("sampling_percentage: 100", one(0), one("0"), one(0.0))
    assert len(kept("sampling_percentage: 100", one("high"), one(-1), one(True))) == 3
    context, _ = run("sampling_percentage: 100", batch(one(0)))
    assert context.rules == {"sampling_priority": 1}


def test_attributes_that_are_there_are_replaced():
    (one,) = kept("sampling_percentage: 100", a_span(1, attributes={"sampling.rule": "head", "a": 1}))
    assert attributes_of(one) == {"a": 1, "sampling.rule": "probabilistic", "sampling.probability": 1.0}
    assert one.trace_state == "ot=th:0"


# --- logs


def records(*all_attributes, ids_from=None):
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for number, attributes in enumerate(all_attributes):
        record = scope.log_records.add(trace_id=trace_id(number) if ids_from is None else ids_from)
        record.body.string_value = str(number)
        for key, value in attributes.items():
            kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
            setattr(record.attributes.add(key=key).value, kind, value)
    return otlp.decode(Signal.LOGS, request.SerializeToString())


def logs(text, given):
    context, batches = run(text, given)
    made = ExportLogsServiceRequest()
    made.MergeFromString(b"".join(one.encode() for one in batches))
    return context, [one for group in made.resource_logs for scope in group.scope_logs for one in scope.log_records]


def test_records_go_with_their_traces_and_tell_their_threshold():
    given = records(*[{}] * 1000)
    _, left = logs("sampling_percentage: 25", given)
    spans = {one.trace_id for one in kept("sampling_percentage: 25", *map(a_span, range(1000)))}
    assert {one.trace_id for one in left} == spans
    assert {tuple(attributes_of(one).items()) for one in left} == {(("sampling.threshold", "c"),)}


def test_records_may_go_by_an_attribute():
    given = records(*[{"pod": f"p-{number % 20}"} for number in range(400)], ids_from=b"")
    _, left = logs("sampling_percentage: 30, attribute_source: record, from_attribute: pod", given)
    pods = {attributes_of(one)["pod"] for one in left}
    assert 1 <= len(pods) < 20
    assert len(left) == 20 * len(pods)
    assert all("sampling.randomness" in attributes_of(one) for one in left)
    context, left = logs("sampling_percentage: 30, from_attribute: other", given)
    assert (context.rules, left) == ({"missing_randomness": 400}, [])


def test_records_may_have_a_percentage_of_their_own():
    given = records(*[{"share": 100}, {"share": 0}, {}] * 100)
    _, left = logs("sampling_percentage: 0.0001, sampling_priority: share", given)
    assert len(left) == 100
    _, left = logs("sampling_percentage: 100, sampling_priority: share", given)
    assert len(left) == 200


def test_thresholds_of_records_are_read():
    given = records({"sampling.threshold": "8", "sampling.randomness": "c0000000000000"}, {"sampling.threshold": "?"})
    context, left = logs("mode: proportional, sampling_percentage: 50", given)
    assert attributes_of(left[0]) == {"sampling.threshold": "c", "sampling.randomness": "c0000000000000"}
    assert context.rules == {"inconsistent": 1}


def test_bad_input():
    whole = batch(a_span(1) + b"\x7a\x05\x18")
    with pytest.raises(Refused, match="malformed"):
        run("sampling_percentage: 10", whole)
    told = findings("{sampling_percentage: 10, attribute_source: record}", Config)
    assert "from_attribute" in told[0]
    assert "sampling_percentage" in findings("{}", Config)[0]
    assert "too small" in findings("{sampling_percentage: 0.000000000000001}", Config)[0]
