"""Filters: what a trace must have. Semantics: pkg/processor/cascadingfilterprocessor of sumologic-otel-collector."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hawse.batch import AttributeValue
from hawse.codecs import spans as codec
from hawse.processors.cascading_filter.config import Accept, Attribute, Filter, Reject
from hawse.sampling.trace import Trace
from hawse.values import Regex

Test = Callable[[Trace], bool]
Judge = Callable[[AttributeValue], bool]
Attributes = Mapping[str, AttributeValue]
_CODES = ("Unset", "Ok", "Error")
_UNREAD: Any = object()


def rejecting(config: Reject) -> Test:
    """Whether a trace is rejected. May raise WireError."""
    tests = _tests(config)
    if config.name_pattern is not None:
        tests.append(_named(config.name_pattern))
    if config.status_code is not None:
        code = _CODES.index(config.status_code)
        tests.append(
            lambda trace: any(span.status.code == code and not any(span.parent_span_id) for span in trace.all_spans())
        )
    return _together(tests)


def accepting(config: Accept) -> Test:
    """Whether a trace is what a filter asks for, `invert_match` included. May raise WireError."""
    wanted = config.properties
    tests: list[Test] = []
    if (spans := wanted.min_number_of_spans) is not None:  # cheap ones first
        tests.append(lambda trace: trace.spans >= spans)
    if (duration := wanted.min_duration) is not None:
        least = int(duration * 1e9)
        tests.append(lambda trace: (took := trace.duration()) > 0 and took >= least)
    if (errors := wanted.min_number_of_errors) is not None:
        tests.append(lambda trace: trace.with_status(codec.ERROR) >= errors)
    if wanted.name_pattern is not None:
        tests.append(_named(wanted.name_pattern))
    matches = _together([*tests, *_tests(config)])
    return (lambda trace: not matches(trace)) if config.invert_match else matches


def _together(tests: Sequence[Test]) -> Test:
    return lambda trace: all(test(trace) for test in tests)


def _tests(config: Filter) -> list[Test]:
    found: list[Test] = []
    if (text := config.string_attribute) is not None:
        string = _text(text.values, use_regex=text.use_regex)
        key = text.key
        found.append(lambda trace: trace.has(key, string))
    if (numbers := config.numeric_attribute) is not None:
        number = _between([(numbers.min_value, numbers.max_value)])
        name = numbers.key
        found.append(lambda trace: trace.has(name, number))
    if config.attributes:
        found.append(_on_one_span(config.attributes))
    return found


def _named(pattern: Regex) -> Test:
    search = pattern.compiled.search
    return lambda trace: any(search(name.decode("utf-8", "replace")) for name in set(trace.columns.name))


def _text(values: Sequence[str], *, use_regex: bool) -> Judge:
    if use_regex:
        patterns = [Regex.parse(value).compiled.search for value in values]
        return lambda value: isinstance(value, str) and any(search(value) for search in patterns)
    exact = frozenset(values) - {""}
    return lambda value: isinstance(value, str) and value in exact


def _between(ranges: Sequence[tuple[int, int]]) -> Judge:
    def test(value: AttributeValue) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and any(low <= value <= high for low, high in ranges)
        )

    return test


def _one(config: Attribute) -> Judge:
    if not config.values and not config.ranges:
        return lambda value: True  # noqa: ARG005 - that it is there is enough
    text = _text(config.values, use_regex=config.use_regex)
    number = _between([(one.min, one.max) for one in config.ranges])
    return lambda value: text(value) or number(value)


def _on_one_span(configs: Sequence[Attribute]) -> Test:
    wanted = [(config.key, _one(config)) for config in configs]

    keys = [key.encode() for key, _ in wanted]

    def found(trace: Trace) -> bool:
        for part in trace.parts:
            of_resource = part.spans.scope.resource.attributes
            data = part.spans.data
            on_spans = [key in data for key in keys]
            if not any(on_spans):  # what the resource says, it says of all of them
                if _matches({}, of_resource, wanted):
                    return True
                continue
            if all(here or key in of_resource for here, (key, _) in zip(on_spans, wanted, strict=True)):
                spans = codec.read(data)
                if any(_matches(codec.attributes(span), of_resource, wanted) for span in spans):
                    return True
        return False

    return found


def _matches(attributes: Attributes, of_resource: Attributes, wanted: Sequence[tuple[str, Judge]]) -> bool:
    for key, test in wanted:
        value = attributes[key] if key in attributes else of_resource.get(key, _UNREAD)
        if value is _UNREAD or not test(value):
            return False
    return True
