"""The `debug` exporter: shows what arrives, with the keys of OpenTelemetry's.

The output is for people and may change at any time.
"""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from hawse import component
from hawse.batch import AttributeValue, Batch, Group, Signal
from hawse.codecs import otlp_json
from hawse.codecs.otlp_records import LogRecord, Scope, as_text, log_scopes
from hawse.component import Context, ExporterFactory, no_needs
from hawse.state.settings import QueueConfig
from hawse.wire import LENGTH, WireError, count, walk

_TITLES = {Signal.LOGS: "Logs", Signal.METRICS: "Metrics", Signal.TRACES: "Traces"}
_GROUPS = {Signal.LOGS: "resource logs", Signal.METRICS: "resource metrics", Signal.TRACES: "resource spans"}
_ITEMS = {Signal.LOGS: "log records", Signal.METRICS: "data points", Signal.TRACES: "spans"}
_SEVERITIES = ("Trace", "Debug", "Info", "Warn", "Error", "Fatal")


class Config(component.Config, frozen=True):
    """What is shown, and how often."""

    verbosity: Annotated[
        Literal["basic", "normal", "detailed"],
        Meta(description="basic: counts; normal: a line for each record; detailed: every field."),
    ] = "basic"
    sampling_initial: Annotated[int, Meta(ge=0, description="Batches shown each second, to begin with.")] = 2
    sampling_thereafter: Annotated[int, Meta(ge=0, description="Then every how manieth is shown; 1: all, 0: none.")] = 1
    use_internal_logger: Annotated[bool, Meta(description="false: write to standard output, not to the log.")] = True
    sending_queue: QueueConfig = field(default_factory=QueueConfig)


class Debug(component.Exporter):
    """Takes everything."""

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._second = 0
        self._seen = 0

    async def consume(self, batch: Batch) -> None:
        """Show a batch, or not; never fails."""
        if not self._sampled():
            return
        text = _summary(batch)
        if self._config.verbosity != "basic":
            text += "\n" + "\n".join(_lines(batch, detailed=self._config.verbosity == "detailed"))
        if self._config.use_internal_logger:
            self._log.info("%s", text)
        else:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def _sampled(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._seen = second, 0
        self._seen += 1
        beyond = self._seen - self._config.sampling_initial
        every = self._config.sampling_thereafter
        return beyond <= 0 or (every > 0 and beyond % every == 0)


def _summary(batch: Batch) -> str:
    counts = {_GROUPS[batch.signal]: len(batch.groups)}
    if batch.signal is Signal.METRICS:
        counts["metrics"] = sum(map(_metrics, batch.groups))
    counts[_ITEMS[batch.signal]] = batch.items
    return f"{_TITLES[batch.signal]} {msgspec.json.encode(counts).decode()}"


def _metrics(group: Group) -> int:
    try:
        scopes = b"".join(group.scopes)
        # Field 2 of ResourceMetrics is a ScopeMetrics, whose field 2 is a Metric.
        return sum(count(body, 2) for body in _fields(scopes, 2))
    except WireError:
        return 0


def _fields(data: bytes, number: int) -> Iterator[bytes]:
    for found, kind, _, start, end in walk(data):
        if found == number and kind == LENGTH:
            yield data[start:end]


def _lines(batch: Batch, *, detailed: bool) -> Iterator[str]:
    for number, group in enumerate(batch.groups):
        try:
            if batch.signal is not Signal.LOGS:
                yield _as_json(batch, group)
            elif detailed:
                yield from _detailed(number, group)
            else:
                yield from _normal(number, group)
        except WireError as error:
            yield f"{_GROUPS[batch.signal]} #{number} cannot be decoded: {error}"


def _as_json(batch: Batch, group: Group) -> str:
    """Metrics and spans are shown as OTLP in JSON."""
    return otlp_json.encode(batch.with_groups([group])).decode()


def _normal(number: int, group: Group) -> Iterator[str]:
    yield " ".join((f"ResourceLog #{number}", *_pairs(group.resource.attributes)))
    for at, scope in enumerate(log_scopes(group)):
        name = f"{scope.name}@{scope.version}" if scope.version else scope.name
        yield " ".join(filter(None, (f"ScopeLog #{at}", name, *_pairs(scope.attributes))))
        for record in scope.records:
            ids = filter(None, (record.trace_id, record.span_id))
            yield " ".join((as_text(record.body), *_pairs(record.attributes), *ids))


def _pairs(attributes: Mapping[str, AttributeValue]) -> Iterator[str]:
    return (f"{key}={as_text(value)}" for key, value in attributes.items())


def _detailed(number: int, group: Group) -> Iterator[str]:
    scopes = log_scopes(group)
    yield f"ResourceLog #{number}"
    yield "Resource attributes:"
    yield from _typed_pairs(group.resource.attributes)
    for at, scope in enumerate(scopes):
        yield from _detailed_scope(at, scope)


def _detailed_scope(number: int, scope: Scope) -> Iterator[str]:
    yield f"ScopeLogs #{number}"
    yield f"ScopeLogs SchemaURL: {scope.schema_url}"
    yield f"InstrumentationScope {scope.name} {scope.version}"
    if scope.attributes:
        yield "InstrumentationScope attributes:"
        yield from _typed_pairs(scope.attributes)
    for at, record in enumerate(scope.records):
        yield f"LogRecord #{at}"
        yield from _detailed_record(record)


def _detailed_record(record: LogRecord) -> Iterator[str]:
    yield f"ObservedTimestamp: {_time(record.observed_time_unix_nano)}"
    yield f"Timestamp: {_time(record.time_unix_nano)}"
    yield f"SeverityText: {record.severity_text}"
    yield f"SeverityNumber: {_severity(record.severity_number)}"
    if record.event_name:
        yield f"EventName: {record.event_name}"
    yield f"Body: {_typed(record.body)}"
    if record.attributes:
        yield "Attributes:"
        yield from _typed_pairs(record.attributes)
    yield f"Trace ID: {record.trace_id}"
    yield f"Span ID: {record.span_id}"
    yield f"Flags: {record.flags}"


def _typed_pairs(attributes: Mapping[str, AttributeValue]) -> Iterator[str]:
    return (f"     -> {key}: {_typed(value)}" for key, value in attributes.items())


def _typed(value: AttributeValue) -> str:
    kinds = {str: "Str", bool: "Bool", int: "Int", float: "Double", bytes: "Bytes", list: "Slice", dict: "Map"}
    return f"{kinds.get(type(value), 'Empty')}({as_text(value)})"


def _time(nanoseconds: int) -> str:
    """As Go prints a time: nanoseconds without trailing zeros."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"
    except (OverflowError, ValueError):  # beyond the year 9999
        return f"{seconds}{fraction} s"


def _severity(number: int) -> str:
    """`Info(9)`, `Info2(10)`: four numbers for each name (logs.proto, SeverityNumber)."""
    if not 1 <= number <= 4 * len(_SEVERITIES):
        return f"Unspecified({number})"
    name, within = _SEVERITIES[math.ceil(number / 4) - 1], (number - 1) % 4
    return f"{name}{within + 1 if within else ''}({number})"


factory = ExporterFactory("debug", Config, Debug, needs=no_needs)
