"""The `filter` processor: keeps out what conditions say, by resource, metric name, and attributes.

Keys are those of the OpenTelemetry Collector's processor of this name. What is kept out is counted in the ledger under
the rule that says so, which is called by its place in the configuration (`metrics.metric[0]`). docs/filter.md tells
users; what a condition costs is what it reads: `hawse.ottl.sorting`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from hawse import component
from hawse.batch import AttributeValue, Batch, Group, Signal
from hawse.codecs.otlp_records import as_text
from hawse.component import Consumer, Context, Counter, Problem, ProcessorFactory, Refused, Section, no_needs
from hawse.ottl import OttlError, parse
from hawse.ottl.sorting import ITEM_CONTEXTS, NONE, Rule, Sorter
from hawse.values import Regex
from hawse.wire import WireError

# --- what the user writes ---------------------------------------------------------------------------------------------

Conditions = tuple[str, ...]


class Attribute(Section, frozen=True):
    """An attribute that the resource must have. Without `value`, whatever its value."""

    key: Annotated[str, Meta(min_length=1)]
    value: str | int | float | bool | None = None


class Match(Section, frozen=True):
    """What a resource must have: all that is listed."""

    match_type: Annotated[
        Literal["strict", "regexp"], Meta(description="regexp: patterns match anywhere in a name or value.")
    ]
    resource_attributes: tuple[Attribute, ...] = ()

    def problems(self) -> Iterator[Problem]:
        if not self.resource_attributes and not self.names:
            yield Problem("", "lists nothing", "name resource_attributes" + self._also)
        if self.match_type == "strict":
            return
        for key, patterns in (("metric_names[{}]", self.names), ("resource_attributes[{}].value", self._values)):
            for number, pattern in enumerate(patterns):
                try:
                    Regex.parse(pattern)
                except ValueError as error:
                    yield Problem(key.format(number), str(error), "")

    @property
    def names(self) -> tuple[str, ...]:
        """Of metrics: one of them must match."""
        return ()

    @property
    def _also(self) -> str:
        return ""

    @property
    def _values(self) -> tuple[str, ...]:
        return tuple("" if one.value is None else as_text(one.value) for one in self.resource_attributes)


class MetricMatch(Match, frozen=True):
    """What a metric must have: one of the names, if there are any, and all of the resource attributes."""

    metric_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.metric_names

    @property
    def _also(self) -> str:
        return " or metric_names"


def _of(conditions: Conditions, key: str, context: str) -> Iterator[Problem]:
    for number, text in enumerate(conditions):
        try:
            parse(text, context)
        except OttlError as error:
            yield Problem(f"{key}[{number}]", f"no condition: {error}", error.fix)


class _Signal(Section, frozen=True):
    resource: Annotated[Conditions, Meta(description="Conditions (OTTL) on the resource.")] = ()

    def problems(self) -> Iterator[Problem]:
        for key, context, conditions in self.conditions():
            yield from _of(conditions, key, context)

    def conditions(self) -> Iterator[tuple[str, str, Conditions]]:
        """Key, context and texts, in the order in which they are asked."""
        yield "resource", "resource", self.resource

    @property
    def matches(self) -> "tuple[Match | None, Match | None]":
        """`include` and `exclude`."""
        return None, None


class Metrics(_Signal, frozen=True):
    """Metrics: kept are those that `include` matches, less those that `exclude` or a condition matches."""

    include: MetricMatch | None = None
    exclude: MetricMatch | None = None
    metric: Annotated[Conditions, Meta(description="Conditions (OTTL) on metrics.")] = ()
    datapoint: Annotated[
        Conditions, Meta(description="Conditions (OTTL) on data points; a metric that has none left goes, too.")
    ] = ()

    def conditions(self) -> Iterator[tuple[str, str, Conditions]]:
        yield from super().conditions()
        yield "metric", "metric", self.metric
        yield "datapoint", "datapoint", self.datapoint

    @property
    def matches(self) -> tuple[Match | None, Match | None]:
        return self.include, self.exclude


class Logs(_Signal, frozen=True):
    """Log records: kept are those that `include` matches, less those that `exclude` or a condition matches."""

    include: Match | None = None
    exclude: Match | None = None
    log_record: Annotated[Conditions, Meta(description="Conditions (OTTL) on log records.")] = ()

    def conditions(self) -> Iterator[tuple[str, str, Conditions]]:
        yield from super().conditions()
        yield "log_record", "log", self.log_record

    @property
    def matches(self) -> tuple[Match | None, Match | None]:
        return self.include, self.exclude


class Traces(_Signal, frozen=True):
    """Spans: kept are those that no condition matches."""

    span: Annotated[Conditions, Meta(description="Conditions (OTTL) on spans.")] = ()

    def conditions(self) -> Iterator[tuple[str, str, Conditions]]:
        yield from super().conditions()
        yield "span", "span", self.span


class Config(component.Config, frozen=True):
    """Conditions under which telemetry is dropped, by signal. One that matches is enough."""

    error_mode: Annotated[
        Literal["propagate", "ignore", "silent"],
        Meta(description="No effect: conditions that could fail are not accepted."),
    ] = "propagate"
    metrics: Metrics = Metrics()
    logs: Logs = Logs()
    traces: Traces = Traces()


# --- what it does -----------------------------------------------------------------------------------------------------


class _Matches:
    """`include` (then: what does not match) or `exclude`, as a rule."""

    def __init__(self, match: Match, context: str, *, opposite: bool) -> None:
        self.context = context
        self._opposite = opposite
        self._attributes = [(one.key, _judge(match, one.value)) for one in match.resource_attributes]
        self._names = _any(match) if match.names else None
        self.uses = frozenset({"name"} if match.names else ())
        self.keys: frozenset[str] = frozenset()

    def settle(self, attributes: Mapping[str, AttributeValue]) -> tuple[bool, ...]:
        return (all(key in attributes and judge(attributes[key]) for key, judge in self._attributes),)

    def test(self, settled: tuple[bool, ...]) -> bool | Callable[[Any], bool]:
        names, opposite = self._names, self._opposite
        if not settled[0] or names is None:
            return settled[0] is not opposite
        return lambda item: names(item.name) is not opposite


def _judge(match: Match, wanted: AttributeValue) -> Callable[[AttributeValue], bool]:
    if wanted is None:
        return lambda _: True
    if match.match_type == "strict":
        return lambda value: value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
    search = Regex.parse(as_text(wanted)).compiled.search
    return lambda value: search(as_text(value)) is not None


def _any(match: Match) -> Callable[[str], bool]:
    if match.match_type == "strict":
        return frozenset(match.names).__contains__
    searches = [Regex.parse(pattern).compiled.search for pattern in match.names]
    return lambda name: any(search(name) for search in searches)


def _rules(settings: _Signal, signal: Signal) -> list[tuple[str, Rule]]:
    """The rules of a signal and what they are called."""
    context = ITEM_CONTEXTS[signal]
    found: list[tuple[str, Rule]] = []
    for key, match in zip(("include", "exclude"), settings.matches, strict=True):
        if match is not None:
            found.append((f"{signal}.{key}", _Matches(match, context, opposite=key == "include")))
    for key, of, texts in settings.conditions():
        found += [(f"{signal}.{key}[{number}]", parse(text, of)) for number, text in enumerate(texts)]
    return found


class Filter(component.Processor):
    """Sorts each group by the first rule that matches, and hands on what none does."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._output = output
        self._ledger = context.ledger
        self._meter = context.meter
        self._counters: dict[Signal, Counter] = {}
        self._rules: dict[Signal, tuple[str, ...]] = {}
        self._sorters: dict[Signal, Sorter] = {}
        for signal in Signal:
            rules = _rules(getattr(config, signal), signal)
            self._rules[signal] = tuple(name for name, _ in rules)
            self._sorters[signal] = Sorter(signal, [rule for _, rule in rules])

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        rules, sorter = self._rules[batch.signal], self._sorters[batch.signal]
        if not rules:
            await self._output.consume(batch)
            return
        kept: list[Group] = []
        filtered = 0
        changed = False
        try:
            for group in batch.groups:
                for number, part in await sorter.sort(group):
                    changed |= part is not group or number != NONE
                    if number == NONE:
                        kept.append(part)
                    else:
                        filtered += part.items
                        self._ledger.filtered(part, rules[number])
        except WireError as error:
            raise Refused(f"malformed {batch.signal}: {error}", "malformed") from None
        if kept:
            await self._output.consume(batch.with_groups(kept) if changed else batch)
        # Only now: after Busy the whole batch comes again, and would be counted again.
        if filtered:
            self._counter(batch.signal).add(filtered)

    def _counter(self, signal: Signal) -> Counter:
        """As the Collector calls them: `datapoints.filtered`, `logs.filtered`, `spans.filtered`."""
        if signal not in self._counters:
            what = {Signal.METRICS: "datapoints", Signal.LOGS: "logs", Signal.TRACES: "spans"}[signal]
            name = f"processor_filter_{what}.filtered"
            self._counters[signal] = self._meter.counter(name, f"Number of {what} that a condition kept out.")
        return self._counters[signal]


factory = ProcessorFactory("filter", Config, Filter, needs=no_needs)
