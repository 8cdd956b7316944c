"""The cascading filter: rejects, accepts within budgets, fills up, and tells what it did."""

import asyncio

import pytest

from hawse.processors.cascading_filter import CascadingFilter
from hawse.processors.cascading_filter.config import Config
from tests.sampling.traces import Bench, a_span, attributes_of, batch, findings, trace_id


async def decided(text, *traces, rounds=1):
    bench = Bench(CascadingFilter, f"{{acknowledge: received, {text}}}", Config)
    for _ in range(rounds):
        for spans in traces:
            await bench.sampler.consume(batch(*spans))
        await bench.decide()
    bench.even(received=rounds * sum(map(len, traces)))
    return bench


def run(text, *traces, **options):
    return asyncio.run(decided(text, *traces, **options))


def ids(bench):
    return [int.from_bytes(one.trace_id, "big") for one in bench.kept]


def kept(text, **traces):
    """Names of the traces that are kept."""
    known = {trace_id(number): name for number, name in enumerate(traces, 1)}
    bench = run(text, *([a_span(known_id, **one) for one in spans] for known_id, spans in zip(known, traces.values(),
                                                                                             strict=True)))  # fmt: skip
    return {known[one.trace_id] for one in bench.kept}


ONES = {
    "quick": [{"ms": 5}],
    "slow": [{"ms": 9000}],
    "spread": [{"ms": 1}, {"number": 2, "start": 9500}],
    "failed": [{"status": 2}, {"number": 2, "status": 2, "parent": 1}],
    "inner": [{}, {"number": 2, "status": 2, "parent": 1}],
    "health": [{"name": "healthcheck"}],
    "long": [{"number": number} for number in range(1, 13)],
    "tagged": [{"attributes": {"foo": "abc", "key1": 70, "bar": 1.5}}],
    "apart": [{"attributes": {"foo": "abc"}}, {"number": 2, "attributes": {"bar": 1.5}}],
}


def accept(rule, **more):
    return kept(f"trace_accept_filters: [{{name: it, spans_per_second: 1000, {rule}}}]", **(more or ONES))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("", set(ONES)),
        ("properties: {min_duration: 9s}", {"slow", "spread"}),
        ("properties: {min_number_of_errors: 2}", {"failed"}),
        ("properties: {min_number_of_spans: 10}", {"long"}),
        ("properties: {name_pattern: 'health.*'}", {"health"}),
        ("properties: {name_pattern: 'health.*', min_duration: 9s}", set()),
        ("numeric_attribute: {key: key1, min_value: 50, max_value: 100}", {"tagged"}),
        ("string_attribute: {key: foo, values: [abc]}", {"tagged", "apart"}),
        ("string_attribute: {key: foo, values: ['^a.c$'], use_regex: true}", {"tagged", "apart"}),
        ("string_attribute: {key: service.name, values: [shop]}", set(ONES)),
        ("attributes: [{key: foo, values: [abc, d]}, {key: bar, ranges: [{min: 1, max: 2}]}]", {"tagged"}),
        ("attributes: [{key: foo}]", {"tagged", "apart"}),
        ("attributes: [{key: service.name, values: [shop]}, {key: key1}]", {"tagged"}),
        ("attributes: [{key: foo}], invert_match: true", set(ONES) - {"tagged", "apart"}),
    ],
)
def test_what_filters_accept(rule, expected):
    assert accept(rule) == expected


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        ("name_pattern: 'health.*'", {"health"}),
        ("status_code: Error", {"failed"}),
        ("string_attribute: {key: foo, values: ['a'], use_regex: true}", {"tagged", "apart"}),
        ("attributes: [{key: service.name, values: [other]}]", set()),
    ],
)
def test_what_filters_reject(rule, gone):
    assert kept(f"trace_reject_filters: [{{name: it, {rule}}}]", **ONES) == set(ONES) - gone


def test_rejected_traces_are_told_by_the_name_of_their_filter_and_the_rest_is_not_touched():
    bench = run("trace_reject_filters: [{name: health, name_pattern: health}]", [a_span(1, name="health")], [a_span(2)])
    assert bench.context.rules == {"health": 1}
    assert attributes_of(bench.kept[0]) == {}


def test_without_any_rules_nothing_is_held():
    async def body():
        bench = Bench(CascadingFilter, "{acknowledge: received}", Config)
        given = batch(a_span(1))
        await bench.sampler.consume(given)
        assert bench.sink.batches == [given]

    asyncio.run(body())


def traces(amount, size=10, first=0, **more):
    return [[a_span(first + number, one, **more) for one in range(1, size + 1)] for number in range(amount)]


def test_budgets_hold_whole_traces_only():
    slow = "trace_accept_filters: [{name: slow, spans_per_second: 35, properties: {min_duration: 1s}}]"
    bench = run(slow, *traces(10, ms=2000), *traces(5, first=100))
    assert len(bench.kept) == 30
    assert bench.context.rules == {"not_sampled": 120}
    found = attributes_of(bench.kept[0])
    assert found == {"sampling.rule": "filtered", "sampling.filter": "slow"}
    assert len(run(slow, *traces(1, size=36, ms=2000)).kept) == 0


def test_the_whole_budget_is_never_exceeded_and_the_first_filters_have_it():
    text = """spans_per_second: 50, trace_accept_filters: [
      {name: a, spans_per_second: 30, properties: {name_pattern: '^a'}},
      {name: b, spans_per_second: 30, properties: {name_pattern: '^b'}}]"""
    bench = run(text, *traces(5, name="a"), *traces(5, first=100, name="b"))
    assert [one.name for one in bench.kept].count("a") == 30
    assert [one.name for one in bench.kept].count("b") == 20
    assert bench.context.rules == {"not_sampled": 40, "spans_per_second": 10}


def test_what_is_left_is_filled_up_after_all_others():
    text = """spans_per_second: 50, trace_accept_filters: [
      {name: rest, spans_per_second: -1}, {name: b, spans_per_second: 30, properties: {name_pattern: '^b'}}]"""
    bench = run(text, *traces(5, name="a"), *traces(5, first=100, name="b"))
    names = [(one.name, attributes_of(one)["sampling.filter"]) for one in bench.kept]
    assert names.count(("b", "b")) == 30
    assert len(names) == 50
    assert sum(filter_ == "rest" for _, filter_ in names) == 20


@pytest.mark.parametrize(
    "rate", ["probabilistic_filtering_rate: 30", "probabilistic_filtering_ratio: 0.3, spans_per_second: 100"]
)
def test_a_share_is_kept_whatever_filters_say_and_tells_how_large_it_was(rate):
    bench = run(rate, *traces(9), [a_span(50, one, attributes={"sampling.probability": 0.5}) for one in range(10)])
    assert len(bench.kept) == 30
    assert bench.context.rules == {"not_sampled": 70}
    for one in bench.kept:
        assert attributes_of(one) == {"sampling.rule": "probabilistic", "sampling.probability": pytest.approx(0.3)}


def test_a_probability_that_is_there_is_multiplied():
    bench = run(
        "probabilistic_filtering_rate: 10",
        [a_span(50, one, attributes={"sampling.probability": 0.5}) for one in range(10)],
        *traces(1, first=60),
    )
    assert {attributes_of(one)["sampling.probability"] for one in bench.kept} == {0.25}


def test_late_spans_follow_their_trace_within_a_rate_of_their_own():
    async def body():
        text = "trace_accept_filters: [{name: slow, spans_per_second: 100, properties: {min_duration: 1s}}]"
        bench = await decided(f"spans_per_second: 100, prior_spans_rate: 4, {text}", [a_span(1, ms=2000)], [a_span(2)])
        await bench.sampler.consume(batch(*(a_span(1, number) for number in range(10, 13))))
        await bench.sampler.consume(batch(a_span(2, 9)))
        await bench.sampler.consume(batch(*(a_span(1, number) for number in range(20, 23))))
        await asyncio.sleep(0.01)
        assert [one.span_id[-1] for one in bench.kept] == [1, 10, 11, 12]
        assert attributes_of(bench.kept[1]) == {"sampling.filter": "slow", "sampling.late_arrival": True}
        assert bench.context.rules == {"not_sampled": 2, "prior_spans_rate": 3}

    asyncio.run(body())


def test_samplers_share_rates():
    text = "collector_instances: 2, trace_accept_filters: [{name: a, spans_per_second: 40}]"
    assert len(run(text, *traces(10)).kept) == 20


def test_what_is_wrong_is_said_with_its_place():
    text = """trace_accept_filters: [{name: a, properties: {name_pattern: '('}}, {name: a}],
      probabilistic_filtering_rate: 1, probabilistic_filtering_ratio: 0.5"""
    told = "\n".join(findings(f"{{acknowledge: received, {text}}}", Config))
    assert "sampler.trace_accept_filters[0].properties.name_pattern" in told
    told = "\n".join(
        findings(
            "{acknowledge: received, trace_accept_filters: [{name: a}, {name: a}], probabilistic_filtering_rate: 1, "
            "probabilistic_filtering_ratio: 0.5}",
            Config,
        )
    )
    assert "sampler.trace_accept_filters[1].name: a is there already" in told
    assert "probabilistic_filtering_ratio" in told
