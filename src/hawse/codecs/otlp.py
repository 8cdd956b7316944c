"""OTLP requests in protobuf ↔ batches (opentelemetry-proto, `collector/{logs,metrics,trace}/v1`).

A request is field 1, repeated: ResourceLogs, ResourceMetrics or ResourceSpans. Nothing below the scopes' lengths is
looked at. Records with their fields are `hawse.codecs.otlp_records`, JSON is `hawse.codecs.otlp_json`.
"""

from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from hawse.batch import Batch, Group, Resource, Signal
from hawse.wire import LENGTH, Buffer, WireError, count, field, read_varint, varint, walk

PATHS = {Signal.LOGS: "/v1/logs", Signal.METRICS: "/v1/metrics", Signal.TRACES: "/v1/traces"}

# Where data points sit in a Metric: gauge, sum, histogram, exponential histogram, summary (metrics.proto, Metric).
_POINTS = frozenset({5, 7, 9, 10, 11})


def decode(signal: Signal, data: Buffer, peer: str = "") -> Batch:
    """Cut an Export…ServiceRequest into groups. The groups refer to `data`; raises WireError where it is malformed."""
    view = memoryview(data)
    groups = []
    for number, kind, _, start, end in walk(view):
        if number == 1 and kind == LENGTH:
            groups.append(_group(signal, view, start, end))
    return Batch(signal, groups, peer)


def _group(signal: Signal, view: memoryview, start: int, end: int) -> Group:
    resources: list[tuple[int, int]] = []
    scopes: list[Buffer] = []
    items = 0
    run = start  # where the current run of fields other than the resource began
    for number, kind, tag_at, at, behind in walk(view, start, end):
        if number == 1 and kind == LENGTH:
            resources.append((at, behind))
            if tag_at > run:
                scopes.append(view[run:tag_at])
            run = behind
        elif number == 2 and kind == LENGTH:
            items += _count(signal, view, at, behind)
    if end > run:
        scopes.append(view[run:end])
    # One Resource message stays one; two in a row are merged, as protobuf says, by joining their bytes.
    raw = b"".join(view[at:behind] for at, behind in resources)
    return Group(Resource(raw), tuple(scopes), items)


@cache
def _scope_class() -> Any:
    """A Scope… message of which nothing is known but that its field 2 repeats.

    Records and spans are counted in C by it, at 20 ns each; walking to them takes 700 (measured: more than half of
    what enriching logs cost). Made when first needed: who only sends has no use for it.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="hawse.scope.proto", package="hawse.scope", syntax="proto3")
    file.message_type.add(name="Scope").field.add(name="items", number=2, type="TYPE_BYTES", label="LABEL_REPEATED")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("hawse.scope.Scope"))


def _count(signal: Signal, view: memoryview, start: int, end: int) -> int:
    if signal is not Signal.METRICS:
        try:
            return len(_scope_class().FromString(view[start:end]).items)
        except DecodeError as error:
            raise WireError(f"the scope at byte {start} is malformed: {error}") from None
    points = 0
    for number, kind, _, at, behind in walk(view, start, end):
        if number == 2 and kind == LENGTH:
            for found, inner, _, a, b in walk(view, at, behind):
                if found in _POINTS and inner == LENGTH:
                    points += count(view, 1, a, b)
    return points


def partial_success(rejected: int, message: str) -> bytes:
    """An Export…ServiceResponse with partial_success (field 1: rejected items, message)."""
    inner = (b"\x08" + varint(rejected) if rejected else b"") + (field(2, message.encode()) if message else b"")
    return field(1, inner) if inner else b""


def rejected(response: Buffer) -> tuple[int, str]:
    """Rejected items and message of an Export…ServiceResponse; (0, "") for an empty one. Raises WireError."""
    items, message = 0, ""
    for number, kind, _, start, end in walk(response):
        if number == 1 and kind == LENGTH:
            for inner, inner_kind, _, at, behind in walk(response, start, end):
                if inner == 1 and inner_kind == 0:
                    items = read_varint(response, at, behind)[0]
                elif inner == 2 and inner_kind == LENGTH:
                    message = bytes(response[at:behind]).decode("utf-8", "replace")
    return items, message


__all__ = ["PATHS", "WireError", "decode", "partial_success", "rejected"]
