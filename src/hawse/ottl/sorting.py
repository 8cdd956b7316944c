"""Sorts what is in a group by the first of several rules that matches: what filters and routers do.

No more is read than the rules ask for: of a group whose resource settles all of them nothing, of metrics judged by
name their names alone, of points their attributes. What is not split keeps its bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from hawse.batch import AttributeValue, Group, Remembered, Resource, Signal
from hawse.codecs import otlp_parts
from hawse.ottl.condition import Test
from hawse.ottl.items import FlagsItem, LogItem, MetricItem, PointItem, SpanItem
from hawse.turns import Turns
from hawse.wire import field

_SLICE = 512  # items between looks at the clock
_NAMES = 65536  # metric names whose rule is remembered, of all resources together
_LONGEST_NAME = 256  # bytes; longer ones are judged each time
NONE = -1  # of what no rule matches

ITEM_CONTEXTS = {Signal.LOGS: "log", Signal.TRACES: "span", Signal.METRICS: "metric"}
_ITEMS: dict[Signal, Callable[[bytes], Any]] = {
    Signal.LOGS: LogItem,
    Signal.TRACES: SpanItem,
    Signal.METRICS: MetricItem,
}


class Rule(Protocol):
    """A `Condition`, or what behaves like one. `context` is "resource", "datapoint", or that of the signal's items."""

    context: str
    uses: frozenset[str]
    keys: frozenset[str]

    def settle(self, attributes: Mapping[str, AttributeValue]) -> tuple[bool, ...]:
        """What a resource answers to the questions that are about it."""

    def test(self, settled: tuple[bool, ...]) -> bool | Test:
        """The rest of the rule where resources answer so."""


Settled: TypeAlias = tuple[tuple[bool, ...], ...]


class _OfPoints:
    """A test of data points."""

    __slots__ = ("_keys", "_test", "_uses")

    def __init__(self, rule: Rule, test: Test) -> None:
        self._test = test
        self._uses = rule.uses
        # As they are on the wire. A metric in which none of them occurs has no point with such an attribute.
        readable = "flags" not in rule.uses and "" not in rule.keys
        self._keys = [field(1, key.encode()) for key in rule.keys] if readable else [b""]

    def idle(self, scopes: bytes) -> bool:
        """Whether a group's bytes show that no point passes: mostly, where flags or rare attributes are asked for."""
        if self._uses == {"flags"}:
            return not any(self._test(FlagsItem(flags)) for flags in otlp_parts.point_flags(scopes))
        if self._uses == {"attributes"} and not any(key in scopes for key in self._keys):
            return not self._test(PointItem(MetricItem(b"")))
        return False

    async def cut(self, metric: MetricItem, turns: Turns) -> tuple[bytes | None, bytes | None]:
        """The metric with the points that pass the test alone, and with the others; None where there are none."""
        test = self._test
        judged = any([key in metric.raw for key in self._keys])  # noqa: C419  # as a list it takes half the time
        if not judged and "type" not in self._uses and not test(PointItem(metric)):
            return None, metric.raw
        split: dict[str, tuple[list[bytes], list[bytes]]] = {}
        for kind, data in otlp_parts.data_of(metric.message):
            points = data.points[:]
            taken: list[bytes] = []
            left: list[bytes] = []
            split[kind] = taken, left
            if not judged:
                (taken if test(PointItem(metric, kind)) else left).extend(points)
            for at in range(0, len(points) if judged else 0, _SLICE):
                some = points[at : at + _SLICE]
                for raw, message in zip(some, otlp_parts.read_points(kind, some), strict=True):
                    (taken if test(PointItem(metric, kind, message)) else left).append(raw)
                await turns.give()
        return otlp_parts.apart(metric.raw, split)


Tests: TypeAlias = list[tuple[int, _OfPoints | None, Test]]  # rule, how it judges points if it does, test


class _Bound:
    """The rules as they are for resources that answer alike. `rest` is the rule of all that no test takes."""

    __slots__ = ("by_name", "rest", "tests")

    def __init__(self, rules: Sequence[Rule], settled: Settled) -> None:
        self.tests: Tests = []
        self.rest = NONE
        for number, (rule, answers) in enumerate(zip(rules, settled, strict=True)):
            test = rule.test(answers)
            if callable(test):
                of_points = _OfPoints(rule, test) if rule.context == "datapoint" else None
                self.tests.append((number, of_points, test))
            elif test:
                self.rest = number
                break
        named = all(rules[number].uses <= {"name"} and not of_points for number, of_points, _ in self.tests)
        self.by_name: dict[bytes, int] | None = {} if named else None


class Sorter:
    """The rules of one signal, in order. Remembers what it found of resources and of metric names."""

    def __init__(self, signal: Signal, rules: Sequence[Rule]) -> None:
        self._signal = signal
        self._rules = tuple(rules)
        self._item = _ITEMS[signal]
        self._bounds: dict[Settled, _Bound] = {}
        self._names = 0
        self._bound = Remembered(self._settle)

    def _settle(self, resource: Resource) -> _Bound:
        settled = tuple(rule.settle(resource.attributes) for rule in self._rules)
        if settled not in self._bounds:
            if len(self._bounds) >= 1024:
                self._bounds.clear()
            self._bounds[settled] = _Bound(self._rules, settled)
        return self._bounds[settled]

    async def sort(self, group: Group) -> list[tuple[int, Group]]:
        """The parts of a group by the number of the rule that takes them, NONE for the rest. At least one part.

        A part that is the whole is `group` itself. Raises WireError where what must be read is malformed.
        """
        bound = self._bound(group.resource)
        if not bound.tests:
            return [(bound.rest, group)]
        tests = bound.tests
        if bound.by_name is None:
            data = b"".join(group.scopes)
            tests = [one for one in tests if one[1] is None or not one[1].idle(data)]
            if not tests:
                return [(bound.rest, group)]
        message = otlp_parts.opened(group)
        scopes = list(message.scopes)
        found = [await self._scope(scope.items[:], bound, tests) for scope in scopes]
        numbers = sorted({number for parts in found for number in parts})
        if len(numbers) <= 1:
            return [(numbers[0] if numbers else NONE, group)]
        del message.scopes[:]
        return self._split(group, scopes, found, numbers, message.SerializeToString())

    async def _scope(self, items: list[bytes], bound: _Bound, tests: Tests) -> dict[int, list[bytes]]:
        """The items of a scope by rule; metrics may be in several parts."""
        parts: dict[int, list[bytes]] = {}
        turns = Turns()
        if self._signal is not Signal.METRICS or bound.by_name is None:
            for raw in items:
                await self._by_test(raw, bound.rest, tests, parts, turns)
            return parts
        for at in range(0, len(items), _SLICE):
            self._by_name(items[at : at + _SLICE], bound, parts)
            await turns.give()
        return parts

    def _by_name(self, items: list[bytes], bound: _Bound, parts: dict[int, list[bytes]]) -> None:
        known = bound.by_name
        assert known is not None
        name_of = otlp_parts.metric_name
        for raw in items:
            name = name_of(raw)
            number = known.get(name)
            if number is None:
                item = MetricItem(raw)
                number = next((rule for rule, _, test in bound.tests if test(item)), bound.rest)
                if len(name) <= _LONGEST_NAME:
                    self._remember(known, name, number)
            part = parts.get(number)
            if part is None:
                parts[number] = [raw]
            else:
                part.append(raw)

    def _remember(self, known: dict[bytes, int], name: bytes, number: int) -> None:
        if self._names >= _NAMES:
            for bound in self._bounds.values():
                if bound.by_name is not None:
                    bound.by_name.clear()
            known.clear()  # of a bound that may be forgotten itself
            self._names = 0
        self._names += 1
        known[name] = number

    async def _by_test(self, raw: bytes, rest: int, tests: Tests, parts: dict[int, list[bytes]], turns: Turns) -> None:
        item = self._item(raw)
        for number, of_points, test in tests:
            if of_points:
                taken, left = await of_points.cut(item, turns)
                if taken is not None:
                    parts.setdefault(number, []).append(taken)
                    if left is None:
                        return
                    raw, item = left, MetricItem(left)
            elif test(item):
                parts.setdefault(number, []).append(raw)
                return
        parts.setdefault(rest, []).append(raw)
        await turns.give()

    def _split(
        self, group: Group, scopes: list[Any], found: list[dict[int, list[bytes]]], numbers: list[int], rest: bytes
    ) -> list[tuple[int, Group]]:
        sizes = {number: sum(len(parts.get(number, ())) for parts in found) for number in numbers}
        largest = max(numbers, key=lambda number: sizes[number])  # is what the others leave: not counted
        items = {}
        for number in numbers:
            if number != largest:
                inside = [raw for parts in found for raw in parts.get(number, ())]
                items[number] = otlp_parts.count(self._signal, inside)
        items[largest] = group.items - sum(items.values())
        made = []
        for number in numbers:
            pieces = []
            for scope, parts in zip(scopes, found, strict=True):
                if kept := parts.get(number):
                    del scope.items[:]
                    scope.items.extend(kept)
                    pieces.append(field(2, scope.SerializeToString()))
            made.append((number, Group(group.resource, (*pieces, rest) if rest else tuple(pieces), items[number])))
        return made
