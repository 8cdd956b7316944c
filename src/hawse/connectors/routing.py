"""The `routing` connector: which pipelines telemetry goes on in, by conditions on its resource, records or points.

Keys are those of the OpenTelemetry Collector's connector of this name. What is routed is moved: each record, span or
point goes to the pipelines of the first entry that matches, or else to the default ones. docs/routing.md tells users.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from hawse import component
from hawse.batch import Batch, Group, Signal
from hawse.component import ConnectorFactory, Context, Problem, Refused, Routes, Section, no_needs
from hawse.ottl import Condition, OttlError, parse, parse_statement
from hawse.ottl.sorting import ITEM_CONTEXTS, NONE, Sorter
from hawse.values import PipelineID
from hawse.wire import WireError

_NO_ROUTE = "no route"  # what the ledger calls telemetry that no entry matches, where there are no default pipelines


class Route(Section, frozen=True):
    """An entry of the table: what meets the condition goes to these pipelines."""

    pipelines: Annotated[tuple[PipelineID, ...], Meta(min_length=1)]
    context: Annotated[
        Literal["resource", "log", "span", "metric", "datapoint"],
        Meta(description="What the condition is about, and what is moved: all of a resource, or single records."),
    ] = "resource"
    condition: Annotated[str, Meta(description='A condition (OTTL): attributes["team"] == "a".')] = ""
    statement: Annotated[str, Meta(description="The same as `route() where CONDITION`.")] = ""

    def problems(self) -> Iterator[Problem]:
        if bool(self.condition) == bool(self.statement):
            message = "one of condition and statement is needed, and only one"
            yield Problem("condition", message, 'write condition: attributes["key"] == "value"')
            return
        try:
            self.made()
        except OttlError as error:
            yield Problem("condition" if self.condition else "statement", f"no condition: {error}", error.fix)
        kinds = [signal for signal, context in ITEM_CONTEXTS.items() if self.context in {context, "datapoint"}]
        if kinds and not any(_signal(name) in kinds for name in self.pipelines):
            fix = f"name a pipeline of {kinds[-1]}, or use context: resource"
            yield Problem("pipelines", f"none of them takes what context: {self.context} is about", fix)

    def made(self) -> Condition:
        """The condition. Raises OttlError."""
        if self.statement:
            return parse_statement(self.statement, self.context)
        return parse(self.condition, self.context)


class Config(component.Config, frozen=True):
    """Sends telemetry to pipelines by conditions. The pipelines named here must begin with this connector."""

    table: Annotated[tuple[Route, ...], Meta(min_length=1, description="The first entry that matches counts.")]
    default_pipelines: Annotated[
        tuple[PipelineID, ...], Meta(description="For what no entry matches. None: it is dropped, and counted so.")
    ] = ()
    error_mode: Annotated[
        Literal["propagate", "ignore", "silent"],
        Meta(description="No effect: conditions that could fail are not accepted."),
    ] = "propagate"


def _signal(pipeline: str) -> str:
    return pipeline.partition("/")[0]


class _Table:
    """The entries for one signal: those whose pipelines take it."""

    def __init__(self, config: Config, signal: Signal) -> None:
        mine = {"resource", ITEM_CONTEXTS[signal]} | ({"datapoint"} if signal is Signal.METRICS else set())
        routes = [(route, _of(route.pipelines, signal)) for route in config.table if route.context in mine]
        routes = [(route, names) for route, names in routes if names]
        self.pipelines = {number: names for number, (_, names) in enumerate(routes)}
        self.pipelines[NONE] = _of(config.default_pipelines, signal)
        self.sorter = Sorter(signal, [route.made() for route, _ in routes])


def _of(names: Sequence[str], signal: Signal) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if _signal(name) == signal))


class Routing(component.Connector):
    """Sorts each batch into one for each entry, and hands them on all at once."""

    def __init__(self, config: Config, context: Context, outputs: Routes) -> None:
        self._routes = outputs
        self._ledger = context.ledger
        self._tables = {signal: _Table(config, signal) for signal in Signal}

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        table = self._tables[batch.signal]
        sorted_: dict[int, list[Group]] = {}
        try:
            for group in batch.groups:
                for number, part in await table.sorter.sort(group):
                    sorted_.setdefault(number, []).append(part)
        except WireError as error:
            raise Refused(f"malformed {batch.signal}: {error}", "malformed") from None
        parts = []
        for number in sorted(sorted_):
            if names := table.pipelines[number]:
                parts.append((batch.with_groups(sorted_[number]), names))
            else:
                for group in sorted_[number]:
                    self._ledger.filtered(group, _NO_ROUTE)
        await self._routes.deliver(parts)


factory = ConnectorFactory("routing", Config, Routing, needs=no_needs, by_pipeline=True)
