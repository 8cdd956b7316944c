"""What each policy says of traces, and what comes of several."""

import asyncio

import pytest

from hawse.processors.tail_sampling import TailSampling
from hawse.processors.tail_sampling.config import Config
from tests.sampling.traces import Bench, a_span, attributes_of, batch, findings, trace_id

# What a trace is like → its spans. Each is sampled by the policies that name it below.
TRACES = {
    "fast": [a_span(1, ms=10, status=0)],
    "slow": [a_span(2, ms=300), a_span(2, 2, start=4000, ms=2000, status=1)],
    "very_slow": [a_span(3, ms=20_000)],
    "failed": [a_span(4), a_span(4, 2, status=2)],
    "paid": [a_span(5, attributes={"plan": "gold", "amount": 70, "share": 0.5, "vip": True})],
    "unpaid": [a_span(6, attributes={"plan": "silver", "amount": 170, "vip": False})],
    "many": [a_span(7, number) for number in range(1, 8)],
    "vendor": [a_span(8, state="other=1, congo=t61rcWkgMzE")],
    "route": [a_span(9, name="GET /healthz", attributes={"url.path": "/healthz/live"})],
}
NUMBERS = {trace_id(number): name for number, name in enumerate(TRACES, 1)}
ALL = set(TRACES)


async def decided(policies, traces=TRACES, rounds=1, more=""):
    bench = Bench(TailSampling, f"{{acknowledge: received, {more} policies: [{policies}]}}", Config)
    for _ in range(rounds):
        for name, spans in traces.items():
            service = "billing" if name == "paid" else "shop"
            await bench.sampler.consume(batch(*spans, service=service))
        await bench.decide()
    bench.even(received=rounds * sum(map(len, traces.values())))
    return bench


def kept(policies, **options):
    bench = asyncio.run(decided(policies, **options))
    return {NUMBERS[one.trace_id] for one in bench.kept}


def policy(type_, section="", name="p"):
    return f"{{name: {name}, type: {type_}" + (f", {type_}: {section}" if section else "") + "}"


@pytest.mark.parametrize(
    ("type_", "section", "expected"),
    [
        ("always_sample", "", ALL),
        ("latency", "{threshold_ms: 6000}", {"slow", "very_slow"}),
        ("latency", "{threshold_ms: 20000}", {"very_slow"}),
        ("latency", "{threshold_ms: 10, upper_threshold_ms: 6000}", {"slow"}),
        ("status_code", "{status_codes: [ERROR]}", {"failed"}),
        ("status_code", "{status_codes: [OK, ERROR]}", {"failed", "slow"}),
        ("string_attribute", "{key: plan, values: [gold, lead]}", {"paid"}),
        ("string_attribute", "{key: plan, values: [ol], enabled_regex_matching: false}", set()),
        ("string_attribute", "{key: plan, values: [ol, '^s'], enabled_regex_matching: true}", {"paid", "unpaid"}),
        ("string_attribute", "{key: service.name, values: [billing]}", {"paid"}),
        ("string_attribute", "{key: service.name, values: [shop], invert_match: true}", {"paid"}),
        ("string_attribute", "{key: amount, values: ['70']}", set()),
        ("numeric_attribute", "{key: amount, min_value: 70, max_value: 100}", {"paid"}),
        ("numeric_attribute", "{key: amount, min_value: 71}", {"unpaid"}),
        ("numeric_attribute", "{key: share, max_value: 1}", {"paid"}),
        ("numeric_attribute", "{key: vip, min_value: 0}", set()),
        ("numeric_attribute", "{key: amount, min_value: 71, invert_match: true}", ALL - {"unpaid"}),
        ("boolean_attribute", "{key: vip, value: true}", {"paid"}),
        ("boolean_attribute", "{key: vip, value: false}", {"unpaid"}),
        ("boolean_attribute", "{key: vip, value: true, invert_match: true}", ALL - {"paid"}),
        ("span_count", "{min_spans: 2}", {"slow", "failed", "many"}),
        ("span_count", "{min_spans: 2, max_spans: 6}", {"slow", "failed"}),
        ("trace_state", "{key: congo, values: [x, t61rcWkgMzE]}", {"vendor"}),
        ("trace_state", "{key: congo, values: [t61]}", set()),
        ("ottl_condition", "{span: ['attributes[\"plan\"] == \"gold\"', 'name == \"GET /healthz\"']}", {"paid", "route"}),
        ("ottl_condition", "{span: ['resource.attributes[\"service.name\"] == \"billing\"']}", {"paid"}),
        ("ottl_condition", "{span: ['status.code == STATUS_CODE_ERROR and kind == SPAN_KIND_SERVER']}", {"failed"}),
        ("not", "{not_sub_policy: {name: q, type: span_count, span_count: {min_spans: 2}}}",
         ALL - {"slow", "failed", "many"}),
        ("and", "{and_sub_policy: [" + policy("span_count", "{min_spans: 2}", "a") + ", "
         + policy("status_code", "{status_codes: [ERROR]}", "b") + "]}", {"failed"}),
        ("probabilistic", "{sampling_percentage: 100}", ALL),
        ("probabilistic", "{sampling_percentage: 0}", set()),
    ],
)  # fmt: skip
def test_policies(type_, section, expected):
    assert kept(policy(type_, section)) == expected


def test_flags_of_the_trace_context():
    spans = {"fast": [a_span(1) + b"\x85\x01\x01\0\0\0"], "slow": [a_span(2) + b"\x85\x01\x00\x01\0\0"]}
    assert kept(policy("trace_flags"), traces=spans) == {"fast"}


def test_drop_weighs_more_than_any_other():
    drop = policy("drop", "{drop_sub_policy: [" + policy("boolean_attribute", "{key: vip, value: true}", "no") + "]}")
    bench = asyncio.run(decided(f"{policy('always_sample', name='all')}, {drop}"))
    assert {NUMBERS[one.trace_id] for one in bench.kept} == ALL - {"paid"}
    assert bench.context.rules == {"p": 1}


def test_an_inverted_no_weighs_more_than_a_yes_and_an_inverted_yes_less_than_a_no():
    silver = policy("string_attribute", "{key: plan, values: [silver], invert_match: true}", "silver")
    every = policy("always_sample", name="all")
    assert kept(f"{every}, {silver}") == ALL - {"unpaid"}
    slow = policy("latency", "{threshold_ms: 6000}", "slow")
    assert kept(f"{slow}, {silver}") == {"slow", "very_slow"}
    assert kept(silver) == ALL - {"unpaid"}


def test_inside_and_an_inverted_yes_is_a_yes():
    silver = policy("string_attribute", "{key: plan, values: [silver], invert_match: true}", "silver")
    every = policy("always_sample", name="all")
    assert kept(policy("and", f"{{and_sub_policy: [{silver}, {every}]}}")) == ALL - {"unpaid"}


def test_rates():
    traces = {name: [a_span(number, one) for one in range(1, 11)] for number, name in enumerate(TRACES, 1)}
    # A bucket of 20 spans: two traces of ten; then a second for each more.
    assert len(kept(policy("rate_limiting", "{spans_per_second: 10}"), traces=traces)) == 2
    assert len(kept(policy("rate_limiting", "{spans_per_second: 10, burst_capacity: 35}"), traces=traces)) == 3
    assert len(kept(policy("bytes_limiting", "{bytes_per_second: 1000, burst_capacity: 2400}"), traces=traces)) == 2
    bench = asyncio.run(decided(policy("rate_limiting", "{spans_per_second: 10}"), traces={}))

    async def more():
        for lot in range(3):
            for number in range(4):
                await bench.sampler.consume(batch(*(a_span(100 * lot + number + 50, one) for one in range(1, 11))))
            await bench.decide(after=31)  # the bucket is full again

    asyncio.run(more())
    assert len(bench.kept) == 3 * 20


def test_composite_gives_each_policy_its_share_and_the_first_that_matches_decides():
    traces = {
        f"{kind}{number}": [a_span(number + shift, one, attributes={"kind": kind}) for one in range(1, 11)]
        for shift, kind in ((100, "gold"), (200, "silver"), (300, "none"))
        for number in range(10)
    }
    section = """{max_total_spans_per_second: 100, policy_order: [gold, silver, rest], composite_sub_policy: [
      {name: rest, type: always_sample},
      {name: gold, type: string_attribute, string_attribute: {key: kind, values: [gold]}},
      {name: silver, type: string_attribute, string_attribute: {key: kind, values: [silver]}}],
      rate_allocation: [{policy: gold, percent: 50}, {policy: silver, percent: 20}]}"""
    bench = asyncio.run(decided(policy("composite", section), traces=traces))
    found = [attributes_of(one) for one in bench.kept]
    assert sum(one["kind"] == "gold" for one in found) == 50
    assert sum(one["kind"] == "silver" for one in found) == 20
    assert sum(one["kind"] == "none" for one in found) == 30
    assert {one["tailsampling.composite_policy"] for one in found if one["kind"] == "none"} == {"rest"}


def test_the_share_of_a_probability_is_kept_the_same_by_every_sampler_and_told():
    traces = {str(number): [a_span(number)] for number in range(1000)}
    ten = policy("probabilistic", "{sampling_percentage: 10}")
    bench = asyncio.run(decided(ten, traces=traces))
    ids = {one.trace_id for one in bench.kept}
    assert 70 < len(ids) < 130
    assert {attributes_of(one)["sampling.probability"] for one in bench.kept} == {0.1}
    assert {attributes_of(one)["sampling.rule"] for one in bench.kept} == {"p"}
    more = asyncio.run(decided(policy("probabilistic", "{sampling_percentage: 50}"), traces=traces))
    assert ids < {one.trace_id for one in more.kept}
    other = asyncio.run(decided(policy("probabilistic", "{sampling_percentage: 10, hash_salt: x}"), traces=traces))
    assert {one.trace_id for one in other.kept} != ids


def test_first_match_and_nothing_recorded():
    limited = policy("rate_limiting", "{spans_per_second: 1, burst_capacity: 5}", "limited")
    more = "sample_on_first_match: true, record_policy: false,"
    bench = asyncio.run(decided(f"{policy('always_sample', name='all')}, {limited}", more=more))
    assert len(bench.kept) == sum(map(len, TRACES.values()))
    assert not any("sampling.rule" in attributes_of(one) for one in bench.kept)
    assert {attributes_of(one).get("plan") for one in bench.kept} == {"gold", "silver", None}


def test_what_is_kept_keeps_its_bytes_but_for_what_is_set():
    unknown = a_span(5, attributes={"sampling.rule": "old", "a": "b"}) + b"\xfa\x3f\x03abc"  # a field nobody knows
    bench = asyncio.run(decided(policy("always_sample"), traces={"paid": [unknown, a_span(5, 2)]}))
    (first, second) = bench.kept
    assert attributes_of(first) == {"a": "b", "sampling.rule": "p", "tailsampling.policy": "p"}
    assert first.name == second.name == "GET /"
    (out,) = bench.sink.batches
    assert b"\xfa\x3f\x03abc" in out.encode()
    scope = out.encode()
    assert b"tests" in scope


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("policies: []", "policies"),
        ("policies: [{name: a, type: latency}]", "policies[0].type: is latency, but there is no section latency"),
        ("policies: [{name: a, type: always_sample}, {name: a, type: always_sample}]",
         "policies[1].name: a is there already"),
        ("policies: [{name: a, type: slow}]", "policies[0].type"),
        ("policies: [{name: a, type: string_attribute, string_attribute: {key: k, values: ['('], "
         "enabled_regex_matching: true}}]", "policies[0].string_attribute.values[0]"),
        ("policies: [{name: a, type: ottl_condition, ottl_condition: {span: ['nmae == 1']}}]",
         "policies[0].ottl_condition.span[0]: no condition"),
        ("policies: [{name: a, type: ottl_condition, ottl_condition: {spanevent: ['name == \"x\"']}}]",
         "policies[0].ottl_condition.spanevent: conditions on events are not supported"),
        ("policies: [{name: a, type: numeric_attribute, numeric_attribute: {key: k}}]",
         "policies[0].numeric_attribute.min_value"),
        ("policies: [{name: a, type: and, and: {and_sub_policy: [{name: b, type: latency}]}}]",
         "policies[0].and.and_sub_policy[0].type"),
        ("policies: [{name: a, type: composite, composite: {max_total_spans_per_second: 1, policy_order: [y], "
         "composite_sub_policy: [{name: x, type: always_sample}]}}]",
         "policies[0].composite.policy_order[0]: there is no policy y"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text, expected):
    told = findings(f"{{acknowledge: received, {text}}}", Config)
    assert any(one.startswith(f"sampler.{expected}") for one in told), told
