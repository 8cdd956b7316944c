"""Traces for tests of samplers, a sink for what is kept, and a context that counts what is said to the ledger."""

import asyncio
import logging
from collections import Counter

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.span_writer import scope_spans, span
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.health import Health
from hawse.net.budget import Budget

START = 1_700_000_000_000_000_000


def trace_id(number):
    """16 bytes, as random as real ones, the same for the same number."""
    return ((number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 & (1 << 128) - 1).to_bytes(16, "big")


def a_span(trace, number=1, name="GET /", parent=0, ms=10, start=0, status=None, state="", attributes=None):
    begin = START + start * 1_000_000
    return span(
        trace_id=trace_id(trace) if isinstance(trace, int) else trace,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        kind=2,
        start=begin,
        end=begin + ms * 1_000_000,
        attributes=attributes or {},
        status=(status, "") if status is not None else None,
        trace_state=state,
    )


def batch(*spans, service="shop"):
    """One group of spans."""
    made = Group(Resource.of({"service.name": service}), (scope_spans(spans, "tests", "1"),), len(spans))
    return Batch(Signal.TRACES, [made])


def request(batches):
    """Batches as OpenTelemetry's own message."""
    made = ExportTraceServiceRequest()
    for one in batches:
        assert otlp.decode(Signal.TRACES, one.encode()).items == one.items
        made.MergeFromString(one.encode())
    return made


def spans_of(batches):
    return [one for group in request(batches).resource_spans for scope in group.scope_spans for one in scope.spans]


def attributes_of(one):
    found = {}
    for pair in one.attributes:
        assert pair.key not in found, f"{pair.key} twice"
        found[pair.key] = getattr(pair.value, pair.value.WhichOneof("value"))
    return found


class Context:
    def __init__(self):
        self.ledger = self.meter = self
        self.log = logging.getLogger("test")
        self.rules, self.refusals, self.losses, self.counted = Counter(), Counter(), Counter(), Counter()
        self.known = {}
        self.tasks = []

    def filtered(self, group, rule):
        self.rules[rule] += group.items

    def refused(self, group, reason):
        self.refusals[reason] += group.items

    def dropped(self, group, reason):
        self.losses[reason] += group.items

    def counter(self, name, description, unit="1"):
        context = self

        class One:
            def add(self, amount, **attributes):
                context.counted[name] += amount

        return One()

    def gauge(self, name, description, read, **attributes):
        self.known[name] = read

    def shared(self, kind):
        return self.known.setdefault(kind, {Budget: lambda: Budget(1 << 30), Health: Health}[kind]())

    def spawn(self, coroutine, name):
        self.tasks.append(asyncio.ensure_future(coroutine))


class Sink:
    def __init__(self):
        self.batches = []
        self.raises = []

    async def consume(self, batch):
        await asyncio.sleep(0)
        if self.raises:
            raise self.raises.pop(0)
        self.batches.append(batch)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def decoded(text, kind):
    findings = []
    made = Decoder(findings).struct(load([f"yaml:{text}"], environ={}).root, kind, "sampler")
    assert made is not FAILED, findings
    return made


def findings(text, kind):
    found = []
    Decoder(found).struct(load([f"yaml:{text}"], environ={}).root, kind, "sampler")
    return [f"{one.where.path}: {one.message}; {one.fix}" for one in found]


class Bench:
    """A sampler with a clock of its own, whose decisions are made when the test says so."""

    def __init__(self, make, text, kind):
        self.context, self.sink, self.clock = Context(), Sink(), Clock()
        self.config = decoded(text, kind)
        self.sampler = make(self.config, self.context, self.sink)
        self.holder = self.sampler.holder
        self.holder._clock = self.clock

    async def decide(self, after=None):
        """Let time pass, decide what is due, and let it arrive."""
        self.clock.now += self.config.decision_wait + 1 if after is None else after
        await self.holder.tick()
        for _ in range(10):
            await asyncio.sleep(0)

    @property
    def kept(self):
        return spans_of(self.sink.batches)

    def even(self, received):
        """Every span has an outcome, and nothing is charged any more."""
        told = sum(self.context.rules.values()) + sum(self.context.refusals.values())
        assert told + sum(one.items for one in self.sink.batches) == received
        assert self.context.shared(Budget).used == 0
        assert self.context.known["hawse_processor_held_bytes"]() == 0
        assert self.context.known["hawse_processor_held_traces"]() == 0
