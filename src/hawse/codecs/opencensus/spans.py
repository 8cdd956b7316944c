"""A Span of OpenCensus as one of OTLP.

What OTLP has no field for becomes an attribute, but for stack traces, the number of child spans, and how much was cut
off from texts, which are left out, as OpenTelemetry's collector does.
"""

from typing import Any, TypeAlias

from hawse.batch import AttributeValue
from hawse.codecs import span_writer
from hawse.codecs.opencensus.messages import nanoseconds, parse, text
from hawse.codecs.span_writer import CLIENT, CONSUMER, ERROR, EVENT, INTERNAL, LINK, PRODUCER, SERVER, SPAN, UNSET
from hawse.wire import WireError, encode_attribute, field, varint

Kept: TypeAlias = tuple[str, bytes, AttributeValue]
_MOST_KEPT, _LONGEST_KEPT = 8192, 160
_KINDS = (0, SERVER, CLIENT)
_TOLD_KINDS = {"consumer": CONSUMER, "producer": PRODUCER, "internal": INTERNAL}
_MESSAGE_TYPES = ("TYPE_UNSPECIFIED", "SENT", "RECEIVED")
_LINK_TYPES = {1: "CHILD_LINKED_SPAN", 2: "PARENT_LINKED_SPAN"}
_UNKNOWN_VALUE = "<Unknown OpenCensus attribute value type>"
_UNKNOWN_EVENT = "An unknown OpenCensus TimeEvent type was detected when translating"
_SAME_PROCESS = "opencensus.same_process_as_parent_span"
_DROPPED_ATTRIBUTES, _DROPPED_EVENTS, _DROPPED_LINKS = b"\x50", b"\x60", b"\x70"  # of a Span
_OF_EVENT, _OF_LINK = b"\x20", b"\x28"  # dropped attributes


class Attributes(dict[bytes, Kept]):
    """Entries of attribute maps by their bytes: key, encoded attribute, value. Fills itself; raises WireError."""

    def __init__(self, number: int) -> None:
        """`number` is that of the field that they are in: SPAN, EVENT or LINK."""
        super().__init__()
        self._number = number

    def __missing__(self, raw: bytes) -> Kept:
        entry = parse("Entry", raw)
        kind = entry.value.WhichOneof("value")
        value: AttributeValue
        if kind is None:
            value = _UNKNOWN_VALUE
        else:
            value = getattr(entry.value, kind)
            if kind == "string_value":
                value = text(entry.value.string_value.value)
        key = text(entry.key)
        kept = key, field(self._number, encode_attribute(key, value)), value
        if len(raw) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[raw] = kept
        return kept

    def encoded(self, attributes: Any) -> bytes:
        """An Attributes message, all of it."""
        return b"".join({key: made for key, made, _ in map(self.__getitem__, attributes.attribute_map)}.values())


class SpanReader:
    """Is kept: it remembers attributes."""

    def __init__(self, most_parts: int) -> None:
        self._most_parts = most_parts
        self._of_spans, self._of_events, self._of_links = Attributes(SPAN), Attributes(EVENT), Attributes(LINK)

    def read(self, raw: bytes, now: int) -> tuple[bytes | None, bytes]:
        """The span's own Resource message, where it has one, and the Span of OTLP. Raises WireError."""
        span = parse("Span", raw, self._most_parts)
        attributes: dict[str, bytes] = {}
        values: dict[str, AttributeValue] = {}
        for entry in span.attributes.attribute_map:
            key, encoded, value = self._of_spans[entry]
            attributes[key] = encoded
            if key in {"span.kind", "otel.status_code"}:
                values[key] = value
        kind = _kind(span.kind, values, attributes)
        status = _status(span, values, attributes)
        if span.HasField("same_process_as_parent_span"):
            same = span.same_process_as_parent_span.value
            attributes[_SAME_PROCESS] = field(SPAN, encode_attribute(_SAME_PROCESS, same))
        start = nanoseconds(span.start_time) if span.HasField("start_time") else now
        parent = span.parent_span_id
        written = span_writer.span(
            trace_id=_id(span.trace_id, 16, "trace_id"),
            span_id=_id(span.span_id, 8, "span_id"),
            parent_span_id=_id(parent, 8, "parent_span_id") if any(parent) else b"",
            name=text(span.name.value),
            kind=kind,
            start=start,
            end=nanoseconds(span.end_time) if span.HasField("end_time") else start,
            attributes=b"".join(attributes.values()),
            status=status,
            trace_state=_state(span.tracestate),
            more=self._more(span),
        )
        return (span.resource if span.HasField("resource") else None), written

    def _more(self, span: Any) -> bytes:
        events, links = span.time_events, span.links
        dropped_events = events.dropped_annotations_count + events.dropped_message_events_count
        return b"".join(
            (
                *(field(11, self._event(one)) for one in events.time_event),
                *(field(13, self._link(one)) for one in links.link),
                _counted(_DROPPED_ATTRIBUTES, span.attributes.dropped_attributes_count),
                _counted(_DROPPED_EVENTS, dropped_events),
                _counted(_DROPPED_LINKS, links.dropped_links_count),
            )
        )

    def _event(self, event: Any) -> bytes:
        time = nanoseconds(event.time)
        kind = event.WhichOneof("value")
        if kind == "annotation":
            told = event.annotation
            written = span_writer.event(time, text(told.description.value), self._of_events.encoded(told.attributes))
            return written + _counted(_OF_EVENT, told.attributes.dropped_attributes_count)
        if kind is None:
            return span_writer.event(time, _UNKNOWN_EVENT)
        message = event.message_event
        attributes = {
            "message.type": _MESSAGE_TYPES[message.type] if 0 <= message.type < 3 else str(message.type),
            "messaging.message_id": message.id,
            "messaging.message_payload_size_bytes": message.uncompressed_size,
            "messaging.message_payload_compressed_size_bytes": message.compressed_size,
        }
        return span_writer.event(time, "message", attributes)

    def _link(self, link: Any) -> bytes:
        attributes = self._of_links.encoded(link.attributes)
        if link.type in _LINK_TYPES:
            attributes += field(LINK, encode_attribute("opencensus.link_type", _LINK_TYPES[link.type]))
        ids = _id(link.trace_id, 16, "trace_id of a link"), _id(link.span_id, 8, "span_id of a link")
        written = span_writer.link(*ids, attributes, _state(link.tracestate))
        return written + _counted(_OF_LINK, link.attributes.dropped_attributes_count)


def _kind(told: int, values: dict[str, AttributeValue], attributes: dict[str, bytes]) -> int:
    """The kind, or that of an attribute, by which exporters tell those that OpenCensus has not."""
    if told:
        return _KINDS[told] if told < len(_KINDS) and told > 0 else 0
    name = values.get("span.kind")
    kind = _TOLD_KINDS.get(name, 0) if isinstance(name, str) else 0
    if kind:
        del attributes["span.kind"]
    return kind


def _status(span: Any, values: dict[str, AttributeValue], attributes: dict[str, bytes]) -> tuple[int, str] | None:
    """OpenCensus has gRPC's codes: 0 says nothing, others are errors. `otel.status_code` counts before them."""
    if not span.HasField("status"):
        return None
    code = ERROR if span.status.code else UNSET
    told = values.get("otel.status_code")
    if isinstance(told, int) and 0 <= told <= ERROR:
        code = int(told)
        del attributes["otel.status_code"]
    return code, text(span.status.message)


def _state(state: Any) -> str:
    return ",".join(f"{text(one.key)}={text(one.value)}" for one in state.entries)


def _counted(tag: bytes, count: int) -> bytes:
    return tag + varint(min(count, 0xFFFF_FFFF)) if count > 0 else b""


def _id(raw: bytes, size: int, name: str) -> bytes:
    if len(raw) != size:
        raise WireError(f"{name} has {len(raw)} bytes, not {size}")
    if not any(raw):
        raise WireError(f"{name} is zero")
    return raw
