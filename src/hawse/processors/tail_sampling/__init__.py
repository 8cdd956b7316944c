"""The `tail_sampling` processor: waits until a trace is likely whole, and keeps it if a policy says so.

Keys and semantics are those of the OpenTelemetry Collector's processor of this name; docs/sampling.md tells users.
Holding, answering and delivering is `hawse.sampling.holder`.
"""

from collections import Counter
from collections.abc import Sequence

from hawse import component
from hawse.batch import Batch, Signal
from hawse.component import Consumer, Context, ProcessorFactory, no_needs
from hawse.processors.tail_sampling.config import Config
from hawse.processors.tail_sampling.policies import DROPPED, NOT_SAMPLED, SAMPLED, Decision, Evaluator, evaluator
from hawse.sampling.decisions import Decisions, Stamps, Verdict
from hawse.sampling.holder import Holder
from hawse.sampling.trace import Trace
from hawse.turns import Turns
from hawse.wire import WireError

_NOT_SAMPLED = "not_sampled"  # the rule of traces that no policy sampled


class TailSampling(component.Processor):
    """Decides each trace by its policies."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._policies = [evaluator(policy) for policy in config.policies]
        self._first = config.sample_on_first_match
        self._records = config.record_policy
        self._stamps = Stamps()
        cache = config.decision_cache
        decisions = Decisions(
            cache.sampled_cache_size or config.num_traces, cache.non_sampled_cache_size or config.num_traces
        )
        self._votes = context.meter.counter(
            "processor_tail_sampling_count_traces_sampled", "Decisions by policy: sampled, not_sampled, dropped…"
        )
        self._counts: Counter[tuple[str, Decision]] = Counter()
        self.holder = Holder(config, context, output, self._decide, decisions)

    async def start(self) -> None:
        """Begin to decide."""
        self.holder.start()

    async def stop(self) -> None:
        """Decide what is held with what has come of it."""
        await self.holder.stop()

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        await self.holder.consume(batch)

    async def _decide(self, traces: Sequence[Trace], now: float, turns: Turns) -> list[Verdict]:
        verdicts = []
        for trace in traces:
            try:
                verdicts.append(self._verdict(trace, now))
            except WireError:
                verdicts.append(Verdict(keep=False, rule="malformed", malformed=True))
            trace.forget()
            await turns.give()
        for (policy, decision), number in self._counts.items():
            self._votes.add(number, policy=policy, decision=decision.value)
        self._counts.clear()
        return verdicts

    def _verdict(self, trace: Trace, now: float) -> Verdict:
        said: list[tuple[Evaluator, Decision]] = []
        for policy in self._policies:
            decision = policy.evaluate(trace, now)
            self._counts[policy.name, decision] += 1
            said.append((policy, decision))
            if decision is DROPPED or (self._first and decision is SAMPLED):
                break
        return self._weighed(trace, said)

    def _weighed(self, trace: Trace, said: list[tuple[Evaluator, Decision]]) -> Verdict:
        by_decision: dict[Decision, Evaluator] = {}
        for policy, decision in said:
            by_decision.setdefault(decision, policy)
        against = by_decision.get(DROPPED) or by_decision.get(Decision.INVERT_NOT_SAMPLED)
        if against is not None:
            return Verdict(keep=False, rule=against.name)
        found = by_decision.get(SAMPLED)
        if found is None and NOT_SAMPLED not in by_decision:
            found = by_decision.get(Decision.INVERT_SAMPLED)
        if found is None:
            return Verdict(keep=False, rule=_NOT_SAMPLED)
        if not self._records:
            return Verdict(keep=True, rule=found.name)
        attributes: dict[str, str | float] = {"sampling.rule": found.name, "tailsampling.policy": found.name}
        if trace.note:
            attributes["tailsampling.composite_policy"] = trace.note
        if found.probability is not None:
            attributes["sampling.probability"] = found.probability
        late = {**attributes, "tailsampling.cached_decision": True}
        return Verdict(keep=True, rule=found.name, stamp=self._stamps(attributes), late=self._stamps(late))


factory = ProcessorFactory("tail_sampling", Config, TailSampling, needs=no_needs, signals={Signal.TRACES})
