"""What samplers make of requests of spans and log records: every one is kept, left out or refused, and told."""

import asyncio
from collections.abc import Iterator
from typing import Any, TypeVar

from fuzz.targets import Target, table
from fuzz.targets.otlp import _WIRE, _request
from hawse.batch import Batch, Group, Signal
from hawse.codecs import otlp
from hawse.component import Refused
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.processors import cascading_filter, probabilistic_sampler, tail_sampling
from hawse.processors.cascading_filter.config import Config as CascadingConfig
from hawse.processors.tail_sampling.config import Config as TailConfig
from hawse.sampling.threshold import TraceState
from hawse.wire import WireError

T = TypeVar("T")


class _Context:
    """Counts what is told, and takes what is handed on."""

    log: Any = None

    def __init__(self) -> None:
        self.ledger = self.meter = self
        self.told = 0
        self.out: list[Batch] = []
        self._shared: dict[type, Any] = {}

    def filtered(self, group: Group, rule: str) -> None:
        assert rule
        self.told += group.items

    def refused(self, group: Group, reason: str) -> None:
        assert reason
        self.told += group.items

    def counter(self, *_: str) -> "_Context":
        return self

    def gauge(self, *_: object) -> None:
        pass

    def add(self, amount: float, **_: str) -> None:
        assert amount > 0

    def shared(self, kind: type[T]) -> T:
        found: T = self._shared.setdefault(kind, kind())
        return found

    async def consume(self, batch: Batch) -> None:
        self.out.append(batch)


def _config(kind: Any, text: str) -> Any:
    made = Decoder([]).struct(load([f"yaml:{text}"], environ={}).root, kind, "sampler")
    assert made is not FAILED
    return made


_TAIL = _config(
    TailConfig,
    """{acknowledge: received, policies: [
      {name: failed, type: status_code, status_code: {status_codes: [ERROR]}},
      {name: slow, type: latency, latency: {threshold_ms: 5}},
      {name: k, type: string_attribute, string_attribute: {key: k, values: ["^v"], enabled_regex_matching: true}},
      {name: n, type: numeric_attribute, numeric_attribute: {key: n, min_value: 1}},
      {name: state, type: trace_state, trace_state: {key: a, values: [b]}},
      {name: o, type: ottl_condition, ottl_condition: {span: ['name == "span" and attributes["k"] != nil']}},
      {name: half, type: probabilistic, probabilistic: {sampling_percentage: 50}}]}""",
)
_CASCADING = _config(
    CascadingConfig,
    """{acknowledge: received, probabilistic_filtering_rate: 3,
      trace_reject_filters: [{name: no, name_pattern: "^x", status_code: Error}],
      trace_accept_filters: [{name: k, attributes: [{key: k, values: [v]}], spans_per_second: 3},
        {name: slow, properties: {min_duration: 1ms, min_number_of_errors: 1}, spans_per_second: 3},
        {name: rest, spans_per_second: -1}]}""",
)
_SHARES = [
    _config(probabilistic_sampler.Config, f"{{mode: {mode}, sampling_percentage: 50, from_attribute: k, {more}}}")
    for mode in ("hash_seed", "proportional", "equalizing")
    for more in ("sampling_priority: n", "fail_closed: false")
]


def _even(context: _Context, received: int) -> None:
    out = 0
    for batch in context.out:
        again = otlp.decode(batch.signal, batch.encode())
        assert again.items == batch.items
        out += batch.items
    assert out + context.told == received


async def _held(make: Any, config: Any, batch: Batch) -> None:
    context: Any = _Context()
    sampler = make(config, context, context)
    try:
        await sampler.consume(batch)
    except Refused:
        _even(context, 0)
        return
    await sampler.stop()
    _even(context, batch.items)


def _traces(data: bytes) -> None:
    try:
        batch = otlp.decode(Signal.TRACES, data)
    except WireError:
        return
    asyncio.run(_held(tail_sampling.TailSampling, _TAIL, batch))
    asyncio.run(_held(cascading_filter.CascadingFilter, _CASCADING, batch))
    _shares(batch)


def _logs(data: bytes) -> None:
    try:
        _shares(otlp.decode(Signal.LOGS, data))
    except WireError:
        return


def _shares(batch: Batch) -> None:
    for config in _SHARES:
        context: Any = _Context()
        sampler = probabilistic_sampler.ProbabilisticSampler(config, context, context)
        try:
            asyncio.run(sampler.consume(batch))
        except Refused:
            continue
        _even(context, batch.items)


def _state(data: bytes) -> None:
    """What is written is read the same."""
    try:
        read = TraceState(data.decode("utf-8", "replace"))
    except ValueError:
        return
    again = TraceState(str(read))
    assert (again.th, again.rv, str(again)) == (read.th, read.rv, str(read))


def _of(signal: Signal) -> Iterator[bytes]:
    yield _request(signal)


TARGETS = table(
    Target("samplers", _traces, lambda: _of(Signal.TRACES), (*_WIRE, b"sampling.priority", b"ot=th:8")),
    Target("log_samplers", _logs, lambda: _of(Signal.LOGS), (*_WIRE, b"sampling.threshold", b"sampling.randomness")),
    Target("trace_state", _state, lambda: iter((b"ot=th:8;rv:9b8233f7e3a151,a=b",)), (b"ot=", b"th:", b"rv:", b";")),
)
