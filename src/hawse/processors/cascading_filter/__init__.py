"""The `cascading_filter` processor: rejects, then accepts by filters within budgets of spans per second, then fills up.

Keys and semantics are those of Sumo Logic's collector, which the collection chart sets; docs/sampling.md tells users.
A trace is kept whole or not at all. Holding, answering and delivering is `hawse.sampling.holder`.
"""

import math
from collections.abc import Sequence

from hawse import component
from hawse.batch import Batch, Signal
from hawse.codecs import spans as codec
from hawse.component import Consumer, Context, ProcessorFactory, no_needs
from hawse.processors.cascading_filter.config import Accept, Config
from hawse.processors.cascading_filter.rules import Test, accepting, rejecting
from hawse.sampling.decisions import Decisions, Stamps, Verdict
from hawse.sampling.holder import Holder
from hawse.sampling.limits import PerSecond
from hawse.sampling.trace import Trace
from hawse.turns import Turns
from hawse.wire import WireError

_PROBABILISTIC = "probabilistic"
_NOT_SAMPLED, _RATE = "not_sampled", "spans_per_second"  # rules of the ledger: no filter wanted it; it did not fit
_LATE = "sampling.late_arrival"


class _Filter:
    """An accept filter and its budget: `second` is for those that take what others have left."""

    __slots__ = ("budget", "most", "name", "second", "test")

    def __init__(self, config: Accept, instances: int) -> None:
        self.name = config.name
        self.test: Test = accepting(config)
        self.second = config.spans_per_second < 0
        self.most = math.ceil(config.spans_per_second / instances)
        self.budget = PerSecond(self.most)

    def fits(self, trace: Trace, now: float) -> bool:
        """Take the trace's spans out of the budget; a filter without one keeps nothing."""
        return self.most > 0 and self.budget.take(trace.spans, now)


class CascadingFilter(component.Processor):
    """Decides traces together as they become due, so that what filters leave can be filled up."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._rejects = [(one.name, rejecting(one)) for one in config.trace_reject_filters]
        shared = config.collector_instances
        self._filters = [_Filter(one, shared) for one in (*config.trace_accept_filters, *config.policies)]
        total = math.ceil(config.spans_per_second / shared)
        rate = config.probabilistic_filtering_rate or 0
        total = total or sum(max(0, one.most) for one in self._filters) + rate
        if config.probabilistic_filtering_ratio and total:
            rate = int(total * config.probabilistic_filtering_ratio)
        self._probabilistic = PerSecond(rate) if rate else None
        self._total = PerSecond(total)
        late = config.spans_per_second // 2 if config.prior_spans_rate is None else config.prior_spans_rate
        self._passes = not self._filters and self._probabilistic is None
        self._stamps = Stamps()
        history = config.history_size or config.num_traces
        self.holder = Holder(config, context, output, self._decide, Decisions(history, history), late=PerSecond(late))
        self._all = not self._filters and not self._rejects and self._probabilistic is None
        self._output = output
        self._seen = self._chosen = 0  # spans: evaluated, and chosen probabilistically, in the lot that is decided now

    async def start(self) -> None:
        """Begin to decide."""
        self.holder.start()

    async def stop(self) -> None:
        """Decide what is held with what has come of it."""
        await self.holder.stop()

    async def consume(self, batch: Batch) -> None:
        """See Consumer. Without any rules nothing is held."""
        await (self._output.consume(batch) if self._all else self.holder.consume(batch))

    async def _decide(self, traces: Sequence[Trace], now: float, turns: Turns) -> list[Verdict]:
        self._seen = self._chosen = 0
        first: list[Verdict | str] = []  # a verdict; the name of a filter that takes what is left
        for trace in traces:
            try:
                found = self._first(trace, now)
            except WireError:
                found = Verdict(keep=False, rule="malformed", malformed=True)
            first.append(found)
            trace.forget()
            await turns.give()
        verdicts = [
            found if isinstance(found, Verdict) else self._within(trace, found, now)
            for trace, found in zip(traces, first, strict=True)
        ]
        made = []
        for trace, verdict in zip(traces, verdicts, strict=True):
            made.append(self._stamped(trace, verdict))
            await turns.give()
        return made

    def _first(self, trace: Trace, now: float) -> Verdict | str:
        for name, rejects in self._rejects:
            if rejects(trace):
                return Verdict(keep=False, rule=name)
        self._seen += trace.spans
        if self._passes:
            return self._within(trace, "", now)
        if self._probabilistic is not None and self._probabilistic.take(trace.spans, now):
            found = self._within(trace, _PROBABILISTIC, now)
            self._chosen += trace.spans if found.keep else 0
            return found
        second = ""
        for one in self._filters:
            if one.second and not second and one.test(trace):
                second = one.name
            elif not one.second and one.most >= trace.spans and one.test(trace) and one.fits(trace, now):
                return self._within(trace, one.name, now)
        return second or Verdict(keep=False, rule=_NOT_SAMPLED)

    def _within(self, trace: Trace, name: str, now: float) -> Verdict:
        if self._total.take(trace.spans, now):
            return Verdict(keep=True, rule=name)
        return Verdict(keep=False, rule=_RATE)

    def _stamped(self, trace: Trace, verdict: Verdict) -> Verdict:
        """What is set on spans: which rule, and what share it keeps."""
        if not verdict.keep or not verdict.rule:
            return verdict
        if verdict.rule != _PROBABILISTIC:
            told = {"sampling.rule": "filtered", "sampling.filter": verdict.rule}
            late = {"sampling.filter": verdict.rule, _LATE: True}
            return Verdict(keep=True, rule=verdict.rule, stamp=self._stamps(told), late=self._stamps(late))
        share = self._chosen / self._seen if self._seen else 1.0
        probability = share * _before(trace)
        told_all = {"sampling.rule": _PROBABILISTIC, "sampling.probability": probability}
        late = {"sampling.filter": _PROBABILISTIC, _LATE: True}
        return Verdict(keep=True, rule=_PROBABILISTIC, stamp=self._stamps(told_all), late=self._stamps(late))


def _before(trace: Trace) -> float:
    """The probability with which the trace was sampled before it came here, where that is told."""
    for part in trace.parts:
        for value in codec.pairs(part.spans.data, "sampling.probability"):
            if isinstance(value, float) and value > 0:
                return value
    return 1.0


factory = ProcessorFactory("cascading_filter", Config, CascadingFilter, needs=no_needs, signals={Signal.TRACES})
