"""What processors and connectors that look inside make of a request: nothing is lost that is not told; and conditions."""

import asyncio
from collections.abc import Iterator
from typing import Any

from fuzz.targets import Target, table
from fuzz.targets.otlp import _WIRE, _request
from hawse.batch import Batch, Group, Signal
from hawse.codecs import otlp
from hawse.component import Config, Refused
from hawse.connectors import routing
from hawse.ottl import OttlError, parse
from hawse.ottl.paths import CONTEXTS
from hawse.processors import dropbuckets, groupbyattrs
from hawse.processors import filter as filters
from hawse.values import PipelineID, Regex
from hawse.wire import WireError


class _Context:
    """Takes what is told, and what is handed on."""

    def __init__(self) -> None:
        self.ledger = self.meter = self
        self.filtered_items = 0
        self.out: list[Batch] = []

    def filtered(self, group: Group, rule: str) -> None:
        assert rule
        self.filtered_items += group.items

    def counter(self, *_: str) -> "_Context":
        return self

    def add(self, amount: float, **_: str) -> None:
        assert amount > 0

    async def consume(self, batch: Batch) -> None:
        self.out.append(batch)

    async def deliver(self, parts: list[tuple[Batch, tuple[str, ...]]]) -> None:
        self.out += [part for part, names in parts if names]


_FILTER = filters.Config(
    metrics=filters.Metrics(
        resource=('attributes["n"] == 6',),
        exclude=filters.MetricMatch(match_type="regexp", metric_names=("^x",)),
        metric=('name == "n" or HasAttrKeyOnDatapoint("le")', "type == METRIC_DATA_TYPE_SUMMARY"),
        datapoint=('attributes["k"] == "v" and flags == 0', "flags != 0"),
    ),
    logs=filters.Logs(log_record=('IsMatch(body, "a") and attributes["k"] == "v"', "severity_number > 9")),
    traces=filters.Traces(span=('name == "span" and kind == 2', 'attributes["k"] != nil')),
)
_METRICS = tuple(map(PipelineID, ("metrics/a", "logs/a", "traces/a")))
_ROUTING = routing.Config(
    table=(
        routing.Route(pipelines=_METRICS, condition='attributes["n"] == 5 and attributes["k8s.pod.name"] != "a"'),
        routing.Route(pipelines=_METRICS, context="metric", condition='unit == "s"'),
        routing.Route(pipelines=_METRICS, context="datapoint", condition='attributes["k"] == "v"'),
    ),
    default_pipelines=_METRICS,
)
_PARTS: tuple[tuple[Any, Config], ...] = (
    (filters.Filter, _FILTER),
    (groupbyattrs.GroupByAttrs, groupbyattrs.Config(keys=("k", "le"))),
    (dropbuckets.DropBuckets, dropbuckets.Config(keep=Regex.parse("^kept"))),
    (routing.Routing, _ROUTING),
)


def _run(data: bytes) -> None:
    asyncio.run(_all(data[1:], list(Signal)[data[0] % 3] if data else Signal.METRICS))


async def _all(data: bytes, signal: Signal) -> None:
    try:
        batch = otlp.decode(signal, data, most=20_000)
        for group in batch.groups:
            _ = group.resource.attributes
    except WireError:
        return
    for create, config in _PARTS:
        if create is dropbuckets.DropBuckets and signal is not Signal.METRICS:
            continue
        context = _Context()
        try:
            await create(config, context, context).consume(batch)
        except Refused:
            continue
        left = sum(one.items for one in context.out)
        assert left + context.filtered_items == batch.items, (
            f"{create.__name__}: {batch.items} became {left}, and {context.filtered_items} filtered"
        )
        for one in context.out:
            assert otlp.decode(signal, one.encode()).items == one.items, create.__name__


def _seeds() -> Iterator[bytes]:
    for number, signal in enumerate(Signal):
        yield bytes([number]) + _request(signal)


def _condition(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for context in CONTEXTS:
        try:
            condition = parse(text, context)
        except OttlError:
            continue
        condition.test(condition.settle({"k": "v", "n": 1}))


def _conditions() -> Iterator[bytes]:
    yield b'resource.attributes["k"] != "v" and (IsMatch(name, "^a\\\\.b$") or not name == "x")'
    yield b'attributes["n"] >= -1.5e3 or HasAttrOnDatapoint("k", 1) and type == METRIC_DATA_TYPE_SUM'
    yield b'severity_number < SEVERITY_NUMBER_ERROR and body == nil and HasPrefix(severity_text, "\\u0041")'


_WORDS = [
    b"and ",
    b"or ",
    b"not ",
    b"(",
    b")",
    b"==",
    b"!=",
    b"<=",
    b'"',
    b"\\",
    b"[",
    b"]",
    b"nil",
    b"true",
    b"IsMatch(",
    b"1e5",
    b".",
]

TARGETS = table(
    Target("otlp_changed", _run, _seeds, _WIRE),
    Target("ottl", _condition, _conditions, _WORDS, 1024),
)
