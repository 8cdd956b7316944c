"""Jaeger's Thrift (jaegertracing/jaeger-idl, thrift/{jaeger,agent}.thrift) as groups of spans.

A `Translator` is for one protocol and is kept: it remembers tags, names and processes by their bytes. What it makes
owns its bytes. `body` is a Batch, as posted to a collector, `datagram` a call of emitBatch, as sent to an agent.
"""

import struct
from collections.abc import Generator
from contextlib import suppress
from typing import Any, TypeVar

from hawse.batch import Group, Resource
from hawse.codecs import jaeger_spans
from hawse.codecs.jaeger_compact import Columns
from hawse.codecs.jaeger_spans import NO_ID, Reference, Scope, Tag
from hawse.codecs.jaeger_thrift_tags import read_tags, tag_of, tag_parser
from hawse.codecs.thrift import (
    A_STRING,
    AN_I32,
    AN_I64,
    CALL,
    LIST,
    ONEWAY,
    STOP,
    STRUCT,
    Binary,
    Compact,
    Fields,
    Reader,
    a_list,
    complete,
    structs,
)
from hawse.wire import WireError

T = TypeVar("T")
_REFERENCE: Fields = {1: AN_I32, 2: AN_I64, 3: AN_I64, 4: AN_I64}
_SPAN_FIELDS = {1: "traceIdLow", 2: "traceIdHigh", 3: "spanId", 4: "parentSpanId", 5: "operationName", 7: "flags"}
_SPAN_FIELDS |= {8: "startTime", 9: "duration"}
_MOST_KEPT = 1024  # names, processes
_HEAD = 48  # bytes by which a process is looked for
_LONGEST_KEPT = 4096  # bytes of a process that is remembered
_STEP, _COLUMNS = 32, 128  # spans between two turns for others: read one by one, in columns
_BYTES = 32 << 10  # the same, since a span may be large
_FEW = 12  # spans that are not worth columns
# Runs of fields in the binary protocol: a type and a number before each.
_IDS, _ID_HEADS = (
    struct.Struct(">3s8s3s8s3s8s3s8s3si"),
    (b"\x0a\0\1", b"\x0a\0\2", b"\x0a\0\3", b"\x0a\0\4", b"\x0b\0\5"),
)
_REST, _REST_HEADS = struct.Struct(">3si3sq3sq"), (b"\x08\0\7", b"\x0a\0\x08", b"\x0a\0\x09")
_trace_id, _id = struct.Struct(">qq"), struct.Struct(">q")


class TooMany(WireError):
    """More spans than the caller allows."""


class Translator:
    """Reads one of Thrift's protocols."""

    def __init__(self, protocol: type[Reader], most_parts: int = 10_000) -> None:
        """`most_parts` bounds tags, log fields, logs and references of a span, all together."""
        self._protocol = protocol
        self._most_parts = most_parts
        self._span_tags = jaeger_spans.span_tags(tag_parser(protocol))
        self._event_tags = jaeger_spans.event_tags(tag_parser(protocol))
        self._settled = jaeger_spans.Settled()
        self._names: dict[bytes, bytes] = {}
        # By their first bytes: all of a struct tells where it ends, so one that begins like another whole one is it.
        self._processes: dict[bytes, tuple[bytes, Resource]] = {}
        self._span: Fields = {
            **dict.fromkeys((1, 2, 3, 4, 8, 9), AN_I64),
            5: A_STRING,
            6: a_list(_REFERENCE),
            7: AN_I32,
            10: (LIST, lambda reader, _, at: read_tags(reader, at, self._span_tags)),
            11: (LIST, self._read_logs),
        }
        self._log: Fields = {1: AN_I64, 2: (LIST, lambda reader, _, at: read_tags(reader, at, self._event_tags))}
        self._process: Fields = {1: A_STRING, 2: (LIST, _resource_tags)}
        self._fixed = protocol is Binary
        self._columns = (
            Columns(self._span_tags, self._name, self._settled, most_parts, self._read_span, self._read_logs)
            if protocol is Compact
            else None
        )

    def body(self, data: bytes, most: int = 1 << 62) -> Generator[None, None, Group]:
        """A Batch. Yields now and then, for others to run; returns the group. Raises WireError, TooMany."""
        reader = self._protocol(data)
        with complete(data):
            group, at = yield from self._batch(reader, 0, most)
        if at != len(data):
            raise WireError(f"{len(data) - at} bytes follow the batch, from byte {at}")
        return group

    def datagram(self, data: bytes) -> list[Group]:
        """The same as `calls`, at once."""
        return _finish(self.calls(data))

    def calls(self, data: bytes) -> Generator[None, None, list[Group]]:
        """Calls of Agent.emitBatch, nearly always one. Yields now and then, as `body` does. Raises WireError."""
        reader = self._protocol(data)
        groups: list[Group] = []
        at = 0
        with complete(data):
            while at < len(data) or not groups:
                message, at = reader.message(at)
                if message.name != "emitBatch":
                    raise WireError(f"the message calls {message.name[:60]!r}, not emitBatch")
                if message.kind not in {CALL, ONEWAY}:
                    raise WireError("emitBatch is answered, not called")
                group, at = yield from self._arguments(reader, at)
                groups.append(group)
        return groups

    def count(self, data: bytes) -> int:
        """How many spans a datagram says that it has, for who drops it; 1 where it cannot be read."""
        reader = self._protocol(data)
        try:
            _, at = reader.message(0)
            kind, _, at = reader.field(at, 0)
            number = 0
            while kind == STRUCT or number:  # into the batch, then over its process
                kind, number, at = reader.field(at, number)
                if kind == LIST and number == 2:
                    return reader.elements(at)[1]
                at = reader.skip(kind, at)
        except (WireError, IndexError, struct.error, KeyError):
            pass
        return 1

    def _arguments(self, reader: Reader, at: int) -> Generator[None, None, tuple[Group, int]]:
        group, number = None, 0
        while True:
            kind, number, at = reader.field(at, number)
            if kind == STOP:
                break
            if number == 1 and kind == STRUCT:
                group, at = yield from self._batch(reader, at, 1 << 62)
            else:
                at = reader.skip(kind, at)
        if group is None:
            raise WireError("emitBatch is called without a batch")
        return group, at

    def _batch(self, reader: Reader, at: int, most: int) -> Generator[None, None, tuple[Group, int]]:
        start, number = at, 0
        resource, spans, items = None, None, 0
        while True:
            kind, number, at = reader.field(at, number)
            if kind == STOP:
                break
            if number == 1 and kind == STRUCT:
                resource, at = self._resource(reader, at)
            elif number == 2 and kind == LIST:
                spans, items, at = yield from self._spans(reader, at, most)
            else:
                at = reader.skip(kind, at)
        if resource is None or spans is None:
            missing = "process" if resource is None else "spans"
            raise WireError(f"the batch at byte {start} has no {missing}")
        return Group(resource, jaeger_spans.scopes(spans), items), at

    def _resource(self, reader: Reader, at: int) -> tuple[Resource, int]:
        data = reader.data
        known = self._processes.get(data[at : at + _HEAD])
        if known is not None and data.startswith(known[0], at):
            return known[1], at + len(known[0])
        reader.left = self._most_parts
        found, end = reader.struct(at, self._process)
        if 1 not in found:
            raise WireError(f"the process at byte {at} has no serviceName")
        resource = jaeger_spans.resource(found[1].decode("utf-8", "replace"), found.get(2, []))
        if _HEAD < end - at <= _LONGEST_KEPT:
            if len(self._processes) >= _MOST_KEPT:
                self._processes.clear()
            self._processes[data[at : at + _HEAD]] = (data[at:end], resource)
        return resource, end

    def _spans(
        self, reader: Reader, at: int, most: int
    ) -> Generator[None, None, tuple[dict[Scope, list[bytes]], int, int]]:
        reader.left = 1 << 62
        size, at = structs(reader, at)
        if size > most:
            raise TooMany(f"the batch has {size} spans, {most} are allowed")
        found: dict[Scope, list[bytes]] = {}
        left = size
        while left:
            if self._columns is not None and left >= _FEW:
                spans, at = self._columns.read(reader, at, min(left, _COLUMNS), at + _BYTES)
            else:
                spans, at = self._one_by_one(reader, at, min(left, _STEP), at + _BYTES)
            left -= len(spans)
            for scope, span in spans:
                if scope in found:
                    found[scope].append(span)
                else:
                    found[scope] = [span]
            if left:
                yield
        return found, size, at

    def _one_by_one(self, reader: Reader, at: int, count: int, until: int) -> tuple[list[tuple[Scope, bytes]], int]:
        """The next `count` spans, or as many as begin before `until`."""
        spans: list[tuple[Scope, bytes]] = []
        while len(spans) < count and (at < until or not spans):
            scope, span, at = self._read_span(reader, at)
            spans.append((scope, span))
        return spans, at

    def _read_span(self, reader: Reader, at: int) -> tuple[Scope, bytes, int]:
        if self._fixed:
            skipped = reader.skipped
            with suppress(WireError, IndexError, struct.error):  # what is wrong is told below
                if (quick := self._fixed_span(reader, at)) is not None:
                    return quick
            reader.skipped = skipped
        reader.left = self._most_parts
        found, end = reader.struct(at, self._span)
        for number in _SPAN_FIELDS:
            if number not in found:
                raise WireError(f"the span at byte {at} has no {_SPAN_FIELDS[number]}")
        trace_id = _trace_id.pack(found[2], found[1])
        references = [_reference(one, at) for one in found.get(6, ())]
        parent = _id.pack(found[4])
        if parent == NO_ID and references:
            parent = jaeger_spans.parent_of(trace_id, references)
        plain, special = found.get(10, ({}, {}))
        scope, told = self._settled.of(plain, special)
        start = found[8] * 1000
        parts = (
            jaeger_spans.encoded_ids(trace_id, _id.pack(found[3]), parent),
            self._name(found[5]),
            told,
            jaeger_spans.times(start, start + found[9] * 1000),
            *plain.values(),
            *found.get(11, ()),
            *jaeger_spans.links(references, parent),
            jaeger_spans.flagged(found[7]),
        )
        return scope, b"".join(parts), end

    def _fixed_span(self, reader: Reader, at: int) -> tuple[Scope, bytes, int] | None:
        """A span of the binary protocol as most write it: the IDL's order, no references, so that sizes are known."""
        data = reader.data
        one, low, two, high, three, span_id, four, parent, five, size = _IDS.unpack_from(data, at)
        if (one, two, three, four, five) != _ID_HEADS or size < 0:
            return None
        named, end = at + _IDS.size, at + _IDS.size + size
        seven, flags, eight, start, nine, duration = _REST.unpack_from(data, end)
        if (seven, eight, nine) != _REST_HEADS:
            return None
        end += _REST.size
        tags: tuple[dict[str, bytes], jaeger_spans.Special] = ({}, {})
        events: list[bytes] = []
        reader.left = self._most_parts
        if data[end : end + 3] == b"\x0f\0\x0a":
            tags, end = read_tags(reader, end + 3, self._span_tags)
        if data[end : end + 3] == b"\x0f\0\x0b":
            events, end = self._read_logs(reader, LIST, end + 3)
        if data[end]:
            return None
        scope, told = self._settled.of(*tags)
        start *= 1000
        parts = (
            jaeger_spans.encoded_ids(high + low, span_id, parent),
            self._name(data[named : named + size]),
            told,
            jaeger_spans.times(start, start + duration * 1000),
            *tags[0].values(),
            *events,
            jaeger_spans.flagged(flags),
        )
        return scope, b"".join(parts), end + 1

    def _name(self, text: bytes) -> bytes:
        name = self._names.get(text)
        if name is None:
            name = jaeger_spans.name(text)
            if len(text) < 256:
                if len(self._names) >= _MOST_KEPT:
                    self._names.clear()
                self._names[text] = name
        return name

    def _read_logs(self, reader: Reader, _: int, at: int) -> tuple[list[bytes], int]:
        size, at = structs(reader, at)
        events = []
        for _ in range(size):
            found, end = reader.struct(at, self._log)
            if 1 not in found or 2 not in found:
                raise WireError(f"the log at byte {at} has no {'timestamp' if 1 not in found else 'fields'}")
            events.append(jaeger_spans.event(found[1] * 1000, *found[2]))
            at = end
        return events, at


def _reference(found: dict[int, Any], at: int) -> Reference:
    for number, name in ((1, "refType"), (2, "traceIdLow"), (3, "traceIdHigh"), (4, "spanId")):
        if number not in found:
            raise WireError(f"a reference of the span at byte {at} has no {name}")
    return Reference(found[1], _trace_id.pack(found[3], found[2]), _id.pack(found[4]))


def _resource_tags(reader: Reader, _: int, at: int) -> tuple[list[Tag], int]:
    size, at = structs(reader, at)
    tags = []
    for _ in range(size):
        tag, at = tag_of(reader, at)
        tags.append(tag)
    return tags, at


def _finish(work: Generator[None, None, T]) -> T:
    """The result of what is short enough to be done at once."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: T = done.value
            return found
