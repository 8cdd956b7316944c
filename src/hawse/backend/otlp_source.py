"""OTLP/HTTP requests into what the store keeps (opentelemetry-proto, docs/specification.md, "OTLP/HTTP")."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from hawse.backend.columns import Extra, Lot
from hawse.backend.intake import Arrival
from hawse.backend.metrics.points import Decoder
from hawse.backend.metrics.registry import Registry
from hawse.backend.traces import spans
from hawse.batch import Batch, Group, Signal
from hawse.codecs import otlp
from hawse.codecs.otlp_records import LogRecord, bodies, log_records

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_MOST_ITEMS = 2_000_000  # points or spans of a request, and what is around them: one may be of two bytes


def arrival(signal: Signal, content_type: str, body: bytes, peer: str, registry: Registry) -> Arrival:
    """Decode a request. Raises ValueError saying what is wrong with it."""
    if content_type == JSON:
        from hawse.codecs import otlp_json

        return of_batch(otlp_json.decode(signal, body, peer), registry)
    most = 1 << 62 if signal is Signal.LOGS else _MOST_ITEMS
    return of_batch(otlp.decode(signal, body, peer, most), registry)


def of_batch(batch: Batch, registry: Registry) -> Arrival:
    """What a batch holds."""
    if batch.signal is Signal.LOGS:
        return Arrival(lots=[lot for group in batch.groups if (lot := _lot(group)).bodies])
    if batch.signal is Signal.METRICS:
        decoder = Decoder(registry)
        for group in batch.groups:
            decoder.read(group)
        return Arrival(samples=decoder.samples())
    return Arrival(spans=[spans.read(group) for group in batch.groups if group.items])


def _lot(group: Group) -> Lot:
    now = time.time_ns()
    records = list(log_records(group))
    extras = [_extra(record) for record in records]
    return Lot(
        group.resource.attributes,
        [record.time_unix_nano or record.observed_time_unix_nano or now for record in records],
        [record.observed_time_unix_nano for record in records],
        _bodies(records, group),
        extras if any(extras) else [],
    )


def _bodies(records: Sequence[LogRecord], group: Group) -> list[bytes]:
    found = [_body(record.body) for record in records]
    if any(b"\xef\xbf\xbd" in body for body in found):
        # U+FFFD may stand for bytes that are no UTF-8, which OTLP forbids and we still keep as they are.
        exact = bodies(group)
        found = [
            raw if isinstance(record.body, str) else body
            for record, raw, body in zip(records, exact, found, strict=True)
        ]
    return found


def _body(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return b"" if value is None else msgspec.json.encode(value)


def _extra(record: LogRecord) -> Extra | None:
    is_json = not isinstance(record.body, str) and record.body is not None
    if not (
        is_json
        or record.attributes
        or record.severity_number
        or record.severity_text
        or record.trace_id
        or record.span_id
        or record.flags
        or record.event_name
        or record.scope_name
        or record.scope_version
    ):
        return None
    return Extra(
        record.severity_number,
        record.severity_text,
        record.attributes,
        record.trace_id,
        record.span_id,
        record.flags,
        record.event_name,
        record.scope_name,
        record.scope_version,
        is_json,
    )
