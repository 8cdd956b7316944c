"""What each policy says of a trace, as processor/tailsamplingprocessor of opentelemetry-collector-contrib has it."""

import enum
from collections.abc import Callable, Sequence
from typing import Any

from hawse.batch import AttributeValue, Remembered
from hawse.codecs import spans as codec
from hawse.ottl import Condition, parse
from hawse.processors.tail_sampling import config as settings
from hawse.sampling.limits import Bucket, PerSecond
from hawse.sampling.threshold import fnv1a_64
from hawse.sampling.trace import Trace
from hawse.values import Regex

_SAMPLED_FLAG = 1


class Decision(enum.StrEnum):
    """What a policy says. The inverted ones are of policies with `invert_match`, and weigh more."""

    SAMPLED = "sampled"
    NOT_SAMPLED = "not_sampled"
    INVERT_SAMPLED = "invert_sampled"
    INVERT_NOT_SAMPLED = "invert_not_sampled"
    DROPPED = "dropped"


SAMPLED, NOT_SAMPLED, DROPPED = Decision.SAMPLED, Decision.NOT_SAMPLED, Decision.DROPPED
_YES = frozenset({Decision.SAMPLED, Decision.INVERT_SAMPLED})
Evaluate = Callable[[Trace, float], Decision]  # a trace, the time (seconds of the sampler's clock)


class Evaluator:
    """A policy, ready to be asked. `probability` is what it keeps of the traces it is asked about, where that is known.

    What is evaluated may raise WireError.
    """

    __slots__ = ("evaluate", "name", "probability")

    def __init__(self, name: str, evaluate: Evaluate, probability: float | None = None) -> None:
        self.name = name
        self.evaluate = evaluate
        self.probability = probability


def evaluator(policy: Any) -> Evaluator:
    """Make a policy of what the user wrote."""
    section = policy.section
    probability = None
    if policy.type == "probabilistic":
        probability = min(1.0, section.sampling_percentage / 100)
    elif policy.type == "and":
        inside = [evaluator(one).probability for one in section.and_sub_policy]
        known = [one for one in inside if one is not None]
        probability = min(known) if known else None
    return Evaluator(policy.name, _MAKERS[policy.type](section), probability)


def _when(test: Callable[[Trace], bool]) -> Evaluate:
    return lambda trace, _: SAMPLED if test(trace) else NOT_SAMPLED


def _latency(section: settings.Latency) -> Evaluate:
    low, high = section.threshold_ms, section.upper_threshold_ms
    if not high:
        return _when(lambda trace: trace.duration() // 1_000_000 >= low)
    return _when(lambda trace: low < trace.duration() // 1_000_000 <= high)


def _span_count(section: settings.SpanCount) -> Evaluate:
    low, high = section.min_spans, section.max_spans
    return _when(lambda trace: low <= trace.spans and (not high or trace.spans <= high))


def _status_code(section: settings.StatusCode) -> Evaluate:
    codes = frozenset(settings.STATUS_CODES.index(one) for one in section.status_codes)
    return _when(lambda trace: any(trace.with_status(code) for code in codes))


def _trace_flags(_: None) -> Evaluate:
    return _when(lambda trace: any(flags & _SAMPLED_FLAG for flags in trace.columns.flags))


def _trace_state(section: settings.TraceState) -> Evaluate:
    wanted = frozenset(f"{section.key}={value}".encode() for value in section.values)

    def found(trace: Trace) -> bool:
        states = set(trace.columns.trace_state)
        return any(entry.strip() in wanted for state in states for entry in state.split(b","))

    return _when(found)


def _attribute(key: str, test: Callable[[AttributeValue], bool], *, invert: bool) -> Evaluate:
    def evaluate(trace: Trace, _: float) -> Decision:
        if trace.has(key, test):
            return Decision.INVERT_NOT_SAMPLED if invert else SAMPLED
        return Decision.INVERT_SAMPLED if invert else NOT_SAMPLED

    return evaluate


def _string(section: settings.StringAttribute) -> Evaluate:
    if not section.enabled_regex_matching:
        exact = frozenset(section.values) - {""}
        return _attribute(
            section.key, lambda value: isinstance(value, str) and value in exact, invert=section.invert_match
        )
    patterns = [Regex.parse(pattern).compiled for pattern in section.values]
    known: dict[str, bool] = {}

    def test(value: AttributeValue) -> bool:
        if not isinstance(value, str):
            return False
        answer = known.get(value)
        if answer is None:
            answer = any(pattern.search(value) for pattern in patterns)
            if len(known) >= (section.cache_max_size or 128):
                known.clear()
            if len(value) <= 1024:
                known[value] = answer
        return answer

    return _attribute(section.key, test, invert=section.invert_match)


def _numeric(section: settings.NumericAttribute) -> Evaluate:
    low = float("-inf") if section.min_value is None else section.min_value
    high = float("inf") if section.max_value is None else section.max_value

    def test(value: AttributeValue) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return _attribute(section.key, test, invert=section.invert_match)


def _boolean(section: settings.BooleanAttribute) -> Evaluate:
    wanted = section.value
    return _attribute(section.key, lambda value: value is wanted, invert=section.invert_match)


def _probabilistic(section: settings.Probabilistic) -> Evaluate:
    salted = fnv1a_64((section.hash_salt or "default-hash-seed").encode())
    most = int(0xFFFF_FFFF_FFFF_FFFF * min(1.0, section.sampling_percentage / 100))
    return _when(lambda trace: fnv1a_64(trace.id, salted) <= most)


def _rate_limiting(section: settings.RateLimiting) -> Evaluate:
    bucket = Bucket(section.spans_per_second, section.burst_capacity or 2 * section.spans_per_second)
    return lambda trace, now: SAMPLED if bucket.take(trace.spans, now) else NOT_SAMPLED


def _bytes_limiting(section: settings.BytesLimiting) -> Evaluate:
    bucket = Bucket(section.bytes_per_second, section.burst_capacity or 2 * section.bytes_per_second)
    return lambda trace, now: SAMPLED if bucket.take(trace.nbytes, now) else NOT_SAMPLED


class _SpanItem:
    """A span as conditions see it."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    @property
    def attributes(self) -> Any:
        return codec.attributes(self._span)

    @property
    def name(self) -> str:
        text: str = self._span.name.decode("utf-8", "replace")
        return text

    @property
    def kind(self) -> int:
        return int(self._span.kind)

    @property
    def status_code(self) -> int:
        return int(self._span.status.code)


def _ottl(section: settings.OttlCondition) -> Evaluate:
    conditions = [parse(text, "span") for text in section.span]
    tests = [_tests_of(condition) for condition in conditions]

    def found(trace: Trace) -> bool:
        for resource, spans in trace.by_resource():
            asked = [test(resource) for test in tests]
            if spans and True in asked:
                return True
            rest = [test for test in asked if callable(test)]
            for span in spans if rest else ():
                item = _SpanItem(span)
                if any(test(item) for test in rest):
                    return True
        return False

    return _when(found)


def _tests_of(condition: Condition) -> "Remembered[bool | Callable[[Any], bool]]":
    return Remembered(lambda resource: condition.test(condition.settle(resource.attributes)))


def _all(policies: Sequence[Any], yes: Decision) -> Evaluate:
    inside = [evaluator(one).evaluate for one in policies]
    return lambda trace, now: yes if all(one(trace, now) in _YES for one in inside) else NOT_SAMPLED


def _not(section: settings.Not) -> Evaluate:
    inside = evaluator(section.not_sub_policy).evaluate
    return lambda trace, now: NOT_SAMPLED if inside(trace, now) in _YES else SAMPLED


def _composite(section: settings.Composite) -> Evaluate:
    total = section.max_total_spans_per_second
    shares = {one.policy: one.percent for one in section.rate_allocation}
    equal = 100 / len(section.composite_sub_policy)
    by_name = {one.name: one for one in section.composite_sub_policy}
    order = [by_name[name] for name in section.policy_order or by_name]
    asked = [(evaluator(one), PerSecond(max(1, int(total * (shares.get(one.name) or equal) / 100)))) for one in order]

    def evaluate(trace: Trace, now: float) -> Decision:
        for one, limit in asked:
            if one.evaluate(trace, now) in _YES:
                if limit.take(trace.spans, now):
                    trace.note = one.name
                    return SAMPLED
                return NOT_SAMPLED
        return NOT_SAMPLED

    return evaluate


_MAKERS: dict[str, Callable[[Any], Evaluate]] = {
    "always_sample": lambda _: lambda trace, now: SAMPLED,  # noqa: ARG005
    "latency": _latency,
    "numeric_attribute": _numeric,
    "probabilistic": _probabilistic,
    "status_code": _status_code,
    "string_attribute": _string,
    "rate_limiting": _rate_limiting,
    "bytes_limiting": _bytes_limiting,
    "span_count": _span_count,
    "trace_state": _trace_state,
    "trace_flags": _trace_flags,
    "boolean_attribute": _boolean,
    "ottl_condition": _ottl,
    "and": lambda section: _all(section.and_sub_policy, SAMPLED),
    "drop": lambda section: _all(section.drop_sub_policy, DROPPED),
    "not": _not,
    "composite": _composite,
}
