"""The `probabilistic_sampler` processor: keeps a share of spans or log records, consistently, without holding any.

Keys and semantics are those of the OpenTelemetry Collector's processor of this name: processor/
probabilisticsamplerprocessor and pkg/sampling of opentelemetry-collector-contrib. What is kept says how likely that
was: spans in their tracestate (`ot=th:…`) and by attributes, log records by attributes. docs/sampling.md tells users.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal

from google.protobuf.message import DecodeError
from msgspec import Meta

from hawse import component
from hawse.batch import AttributeValue, Batch, Group, Signal
from hawse.codecs import otlp_parts
from hawse.codecs.descriptors import classes
from hawse.codecs.otlp_records import as_text
from hawse.codecs.spans import trace_ids
from hawse.component import Consumer, Context, Problem, ProcessorFactory, Refused, no_needs
from hawse.sampling import threshold as consistent
from hawse.sampling.threshold import ALWAYS, NEVER, TraceState, fnv1a_32
from hawse.turns import Turns
from hawse.wire import WireError, encode_attributes, field, without_attributes

_BUCKETS = 1 << 14  # of the hash, in mode hash_seed
_LATER = 1 << 42  # from 14 bits to 56
_PRIORITY = "sampling.priority"
_RULE = "probabilistic"
_SLICE = 512  # items between looks at the clock
_TH, _RV = "sampling.threshold", "sampling.randomness"
_LAYOUT = """Span: 1 bytes trace_id, 3 bytes trace_state, 9 bytes attributes*
LogRecord: 6 bytes attributes*, 9 bytes trace_id
States: 2 Scope scope
Scope: 2 State item
State: 3 bytes trace_state*"""
_CLASSES = classes("hawse.sampled", _LAYOUT)


_Counts = Counter[tuple[str, bool]]  # by what decided, and whether it was kept
_Choose = Callable[[list[bytes], _Counts], list[bytes]]


class Config(component.Config, frozen=True, kw_only=True):
    """Keeps a share of spans or log records."""

    mode: Annotated[
        Literal["", "hash_seed", "proportional", "equalizing"],
        Meta(description="hash_seed where that is set, or records are chosen by an attribute; else proportional."),
    ] = ""
    sampling_percentage: Annotated[float, Meta(ge=0, description="What is kept; 100 and more is all.")]
    hash_seed: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF, description="All samplers of one tier need the same.")] = 0
    fail_closed: Annotated[
        bool, Meta(description="Drop what has no randomness, or says of itself what cannot be true; else it is kept.")
    ] = True
    sampling_precision: Annotated[int, Meta(ge=1, le=14, description="Hexadecimal digits of thresholds.")] = 4
    attribute_source: Annotated[
        Literal["traceID", "record"], Meta(description="Of log records: what they are chosen by.")
    ] = "traceID"
    from_attribute: Annotated[
        str,
        Meta(
            description="Of log records: the attribute they are chosen by, with attribute_source record or where "
            "there is no trace id."
        ),
    ] = ""
    sampling_priority: Annotated[
        str, Meta(description="Of log records: the attribute that has a percentage of its own.")
    ] = ""

    def problems(self) -> Iterator[Problem]:
        if self.attribute_source == "record" and not self.from_attribute:
            yield Problem("from_attribute", "attribute_source is record, but no attribute is named", "name it")
        if 0 < self.sampling_percentage / 100 * consistent.MOST < 1:
            yield Problem("sampling_percentage", f"{self.sampling_percentage} is too small", "use 0, or 1e-14 and more")


def _parsed(name: str, data: bytes) -> Any:
    try:
        return _CLASSES[name].FromString(data)
    except DecodeError as error:
        raise WireError(f"malformed {name}: {error}") from None


class _Item:
    """A span or record, and what it says of its sampling."""

    __slots__ = ("attributes", "raw", "rv", "state", "th", "trace_id")

    def __init__(self, raw: bytes, message: Any, *, is_span: bool) -> None:
        """Raises ValueError where what it says cannot be read, WireError where it is malformed."""
        self.raw = raw
        self.trace_id: bytes = message.trace_id
        self.attributes = otlp_parts.attributes(message)
        self.state: TraceState | None = None
        self.th: int | None = None
        self.rv: int | None = None
        if is_span:
            self.state = TraceState(message.trace_state.decode("utf-8", "replace"))
            self.th, self.rv = self.state.th, self.state.rv
            return
        self.th = self._number(_TH, consistent.read_threshold)
        self.rv = self._number(_RV, consistent.read_randomness)

    def _number(self, key: str, read: Callable[[str], int | None]) -> int | None:
        text = self.attributes.get(key)
        if not isinstance(text, str) or not text:
            return None
        found = read(text)
        if found is None:
            raise ValueError(f"no {key}: {text!r}")
        return found


class _Chosen:
    """What became of an item: whether it is kept, and its randomness and threshold as far as they are to be told."""

    __slots__ = ("keep", "rule", "rv", "th")

    def __init__(self, *, keep: bool, rule: str, th: int | None = None, rv: int | None = None) -> None:
        self.keep = keep
        self.rule = rule
        self.th = th
        self.rv = rv


class Sampler:
    """Decides items of one signal."""

    def __init__(self, config: Config, signal: Signal) -> None:
        self._config = config
        self.fails_closed = config.fail_closed
        self._spans = signal is Signal.TRACES
        by_record = not self._spans and config.attribute_source == "record"
        self.mode = config.mode or ("hash_seed" if config.hash_seed or by_record else "proportional")
        self._ratio = min(1.0, config.sampling_percentage / 100)
        self._seeded = fnv1a_32(config.hash_seed.to_bytes(4, "little"))
        if self.mode == "hash_seed":
            self.th = NEVER - int(self._ratio * _BUCKETS) * _LATER
        else:
            self.th = consistent.threshold(self._ratio, config.sampling_precision)

    def decide(self, item: _Item) -> _Chosen:
        """Whether an item is kept."""
        if self._spans:
            priority = _span_priority(item.attributes.get(_PRIORITY))
            if priority is not None:
                return _Chosen(keep=priority, rule="sampling_priority", th=ALWAYS if item.th is None else item.th)
        found, explicit = self._randomness(item)
        wrong = found is None or (item.th is not None and found < item.th)
        if self.mode == "hash_seed":
            wrong |= item.rv is not None or item.th is not None
        otherwise = NEVER if self.fails_closed else ALWAYS
        th = otherwise if wrong else self._threshold(item)
        if not self._spans and self._config.sampling_priority:
            th = self._priority(item.attributes.get(self._config.sampling_priority), th)
        keep = th < NEVER and (found is None or found >= th)
        rule = "missing_randomness" if found is None else "inconsistent" if wrong else _RULE
        if wrong:
            return _Chosen(keep=keep, rule=rule)
        return _Chosen(keep=keep, rule=rule, th=max(th, item.th or 0), rv=found if explicit else None)

    def by_id(self, trace_id: bytes) -> tuple[str, bytes | None]:
        """For a span that says nothing of its sampling: what decides, and what is appended to it; None: it goes."""
        if self.mode == "hash_seed":
            found = self._hashed(trace_id) if any(trace_id) else None
        else:
            found = consistent.randomness_of(trace_id)
        if found is None:
            return "missing_randomness", None if self.fails_closed else b""
        if found < self.th:
            return _RULE, None
        return _RULE, _appended(self.th, found if self.mode == "hash_seed" else None)

    def _threshold(self, item: _Item) -> int:
        if self.mode != "proportional" or item.th is None:
            return self.th
        return (
            consistent.threshold(consistent.probability(item.th) * self._ratio, self._config.sampling_precision)
            if self._ratio
            else NEVER
        )

    def _randomness(self, item: _Item) -> tuple[int | None, bool]:
        """The randomness, and whether it has to be told since nobody else would find the same."""
        config = self._config
        by_record = not self._spans and config.attribute_source == "record"
        if self.mode != "hash_seed":
            if item.rv is not None:
                return item.rv, False
            found = consistent.randomness_of(item.trace_id)
            if found is not None:
                return found, False
        elif not by_record and any(item.trace_id):
            return self._hashed(item.trace_id), True
        if not self._spans and config.from_attribute:
            value = item.attributes.get(config.from_attribute)
            if value is not None:
                return self._hashed(_bytes(value)), True
        return None, False

    def _hashed(self, data: bytes) -> int:
        """14 bits of a hash, as the upper ones of 56: what is below decides nothing."""
        hashed = fnv1a_32(data, self._seeded)
        low = hashed & (_BUCKETS - 1)
        unused = hashed >> 18
        return (_BUCKETS - 1 - low) * _LATER | ((unused ^ unused << 10) & 0xFFF_FFFF) << 14 | low

    def _priority(self, value: AttributeValue, otherwise: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return otherwise
        return consistent.threshold(min(1.0, value / 100), self._config.sampling_precision) if value > 0 else NEVER


def _bytes(value: AttributeValue) -> bytes:
    return value if isinstance(value, bytes) else as_text(value).encode("utf-8", "replace")


def _span_priority(value: AttributeValue) -> bool | None:
    """What `sampling.priority` of a span says (OpenTracing's semantic conventions); None for nothing."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if not number >= 0 else number > 0


class ProbabilisticSampler(component.Processor):
    """Decides each item by itself."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._output = output
        self._ledger = context.ledger
        self._samplers = {signal: Sampler(config, signal) for signal in (Signal.TRACES, Signal.LOGS)}
        self._counters = {
            signal: context.meter.counter(f"processor_probabilistic_sampler_count_{signal}_sampled", description)
            for signal, description in (
                (Signal.TRACES, "Spans, by whether they were kept and what decided."),
                (Signal.LOGS, "Log records, by whether they were kept and what decided."),
            )
        }

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        kept: list[Group] = []
        turns = Turns()
        try:
            for group in batch.groups:
                left = await self._sampled(batch.signal, group, turns)
                if left is not None:
                    kept.append(left)
        except WireError as error:
            raise Refused(f"malformed {batch.signal}: {error}", "malformed") from None
        if kept:
            await self._output.consume(batch.with_groups(kept))

    async def _sampled(self, signal: Signal, group: Group, turns: Turns) -> Group | None:
        data = b"".join(group.scopes)
        message = otlp_parts.read("Group", data)
        plain = self._plain(signal, data)
        counts: _Counts = Counter()
        items = 0
        for scope in message.scopes:
            raws = scope.items[:]
            made: list[bytes] = []
            for at in range(0, len(raws), _SLICE):
                made += (
                    plain(raws[at : at + _SLICE], counts)
                    if plain
                    else self._each(signal, raws[at : at + _SLICE], counts)
                )
                await turns.give()
            del scope.items[:]
            scope.items.extend(made)
            items += len(made)
        for (rule, keep), number in counts.items():
            self._counters[signal].add(number, sampled="true" if keep else "false", policy=rule)
            if not keep:
                self._ledger.filtered(Group(group.resource, (), number), rule)
        return otlp_parts.closed(group, message, items)

    def _plain(self, signal: Signal, data: bytes) -> _Choose | None:
        """How to choose among spans that say nothing of their sampling, which is nearly all there are: by their ids."""
        if signal is not Signal.TRACES or b"sampling." in data or _parsed("States", data).scope.item.trace_state:
            return None
        sampler = self._samplers[signal]

        def choose(raws: list[bytes], counts: _Counts) -> list[bytes]:
            ids = trace_ids(raws)
            chosen = {trace_id: sampler.by_id(trace_id) for trace_id in set(ids)}
            kept = [raw + found[1] for raw, one in zip(raws, ids, strict=True) if (found := chosen[one])[1] is not None]
            for one, number in Counter(chosen[one] for one in ids).items():
                counts[one[0], one[1] is not None] += number
            return kept

        return choose

    def _each(self, signal: Signal, raws: list[bytes], counts: _Counts) -> list[bytes]:
        kept = []
        for raw in raws:
            chosen, left = self._one(signal, raw)
            counts[chosen.rule, chosen.keep] += 1
            if chosen.keep:
                kept.append(left)
        return kept

    def _one(self, signal: Signal, raw: bytes) -> tuple[_Chosen, bytes]:
        sampler = self._samplers[signal]
        message = _parsed("Span" if signal is Signal.TRACES else "LogRecord", raw)
        try:
            item = _Item(raw, message, is_span=signal is Signal.TRACES)
        except ValueError as error:
            if isinstance(error, WireError):
                raise
            return _Chosen(keep=not sampler.fails_closed, rule="inconsistent"), raw
        chosen = sampler.decide(item)
        if not chosen.keep or chosen.th is None:
            return chosen, raw
        return chosen, _told_span(item, chosen) if item.state is not None else _told_record(item, chosen)


@lru_cache(maxsize=4096)
def _appended(th: int, rv: int | None) -> bytes:
    """The tracestate and attributes of a kept span that had none."""
    state = TraceState()
    state.th, state.rv = th, rv
    told = {"sampling.rule": _RULE, "sampling.probability": consistent.probability(th)}
    return field(3, str(state).encode()) + encode_attributes(told, 9)


def _told_span(item: _Item, chosen: _Chosen) -> bytes:
    assert item.state is not None
    state, raw = item.state, item.raw
    had = str(state)
    state.th = chosen.th
    if state.rv is None:
        state.rv = chosen.rv
    told = {"sampling.rule": chosen.rule, "sampling.probability": consistent.probability(chosen.th or 0)}
    if any(key in item.attributes for key in told):
        raw = without_attributes(raw, told, 9)
    if had:
        message = _CLASSES["Span"].FromString(raw)
        message.trace_state = str(state).encode()
        raw = message.SerializeToString()
    else:
        raw += field(3, str(state).encode())
    return raw + encode_attributes(told, 9)


def _told_record(item: _Item, chosen: _Chosen) -> bytes:
    told: dict[str, Any] = {_TH: consistent.written(chosen.th or 0)}
    if chosen.rv is not None:
        told[_RV] = f"{chosen.rv:014x}"
    raw = without_attributes(item.raw, told, 6) if any(key in item.attributes for key in told) else item.raw
    return raw + encode_attributes(told, 6)


factory = ProcessorFactory(
    "probabilistic_sampler", Config, ProbabilisticSampler, needs=no_needs, signals={Signal.TRACES, Signal.LOGS}
)
