"""Jaeger's spans as OTLP's: what both of its formats, Thrift and protobuf, have in common.

The translation is OpenTelemetry's (collector contrib, pkg/translator/jaeger; specification,
trace/sdk_exporters/jaeger and common/mapping-to-non-otlp). A tag becomes an attribute. Most tags of a service come
again and again, so what a tag's bytes become is remembered: `Tags` is a function of a tag's bytes, whose format it
does not know.
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from hawse.batch import AttributeValue, Resource
from hawse.codecs.span_writer import ERROR, EVENT, OK, SPAN, UNSET, encoded_status, fitting, link, scope_spans
from hawse.codecs.span_writer import event as write_event
from hawse.wire import encode_attribute, field

Tag: TypeAlias = tuple[str, AttributeValue]
# A tag as it is kept: its key, its encoded field of a Span or Event, its value where that decides something else.
Kept: TypeAlias = tuple[str, bytes, "tuple[AttributeValue, bytes] | None"]

_MOST_KEPT = 8192  # tags; some 400 bytes each
_MOST_SETTLED = 1024  # sets of tags that decide something
_LONGEST_KEPT = 160  # bytes of a tag that is remembered
_KINDS = {"internal": b"\x30\x01", "server": b"\x30\x02", "client": b"\x30\x03", "producer": b"\x30\x04"}
_KINDS["consumer"] = b"\x30\x05"
_SCOPE_NAMES = (("otel.scope.name", "otel.scope.version"), ("otel.library.name", "otel.library.version"))
_OF_SPANS = frozenset({
    "span.kind", "error", "otel.status_code", "otel.status_description", "http.status_code", "http.status_message",
    "w3c.tracestate", *_SCOPE_NAMES[0], *_SCOPE_NAMES[1],
})  # fmt: skip
_OF_EVENTS = frozenset({"event", "message"})
_STATUS = {"OK": OK, "ERROR": ERROR}
_CHILD_OF, _FOLLOWS_FROM = 0, 1  # SpanRefType
_LINKED = {
    kind: field(4, encode_attribute("opentracing.ref_type", name))
    for kind, name in ((_CHILD_OF, "child_of"), (_FOLLOWS_FROM, "follows_from"))
}
_SAMPLED, _DEBUG = 1, 2  # of a span's flags
_DEBUGGED = field(SPAN, encode_attribute("jaeger.debug", value=True))
_NO_SERVICE = "OTLPResourceNoServiceName"  # what OpenTelemetry writes where there is none
_NUMBER = re.compile("[+-]?[0-9]{1,18}")
_TIMES = struct.Struct("<cQcQ")
NO_ID = bytes(8)


class Tags(dict[bytes, Kept]):
    """What tags become: a mapping from a tag's bytes that fills itself. Raises as `parse` does, and keeps no error.

    `plain` and `special` of a list of tags are dicts of a key's last tag: those that are attributes and nothing else,
    encoded, and those that decide something (`_OF_SPANS`), with their value.
    """

    def __init__(self, parse: Callable[[bytes], Tag], number: int, special: frozenset[str]) -> None:
        """`number` is that of the field that attributes are in: SPAN or EVENT."""
        super().__init__()
        self._parse = parse
        self._number = number
        self._special = special
        self._keys: dict[str, tuple[str, bytes]] = {}

    def __missing__(self, raw: bytes) -> Kept:
        kept = self.keep(*self._parse(raw))
        if len(raw) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[raw] = kept
        return kept

    def keep(self, key: str, value: AttributeValue) -> Kept:
        """What a tag that is no longer bytes becomes."""
        known = self._keys.get(key)
        if known is None:
            known = (key, field(1, key.encode("utf-8", "replace")))
            if len(self._keys) >= _MOST_KEPT:
                self._keys.clear()
            if len(key) <= _LONGEST_KEPT:
                self._keys[key] = known
        key, keyed = known
        text = value.encode("utf-8", "replace") if isinstance(value, str) else None
        if text is not None and (size := len(text)) + len(keyed) < 120:  # all lengths are of one byte: most tags
            head = (self._number << 3 | 2, len(keyed) + size + 4)
            encoded = b"".join((bytes(head), keyed, bytes((0x12, size + 2, 0x0A, size)), text))
        else:
            encoded = field(self._number, encode_attribute(key, value))
        return key, encoded, (value, encoded) if key in self._special else None


def span_tags(parse: Callable[[bytes], Tag]) -> Tags:
    """Tags of spans."""
    return Tags(parse, SPAN, _OF_SPANS)


def event_tags(parse: Callable[[bytes], Tag]) -> Tags:
    """Fields of logs."""
    return Tags(parse, EVENT, _OF_EVENTS)


Special: TypeAlias = dict[str, tuple[AttributeValue, bytes]]


class Reference(NamedTuple):
    """A SpanRef: ids as OTLP has them, CHILD_OF (0) or FOLLOWS_FROM (1)."""

    kind: int
    trace_id: bytes
    span_id: bytes


def parent_of(trace_id: bytes, references: list[Reference]) -> bytes:
    """The parent of a span that names none: the first CHILD_OF of its trace, else the first FOLLOWS_FROM; or NO_ID."""
    ours = [one for one in references if one.trace_id == trace_id]
    for wanted in (_CHILD_OF, _FOLLOWS_FROM):
        for one in ours:
            if one.kind == wanted:
                return one.span_id
    return NO_ID


def links(references: list[Reference], parent: bytes) -> list[bytes]:
    """All references but the one to the parent, as fields of a span."""
    return [
        field(13, link(one.trace_id, one.span_id, _LINKED.get(one.kind, _LINKED[_FOLLOWS_FROM])))
        for one in references
        if not (one.kind == _CHILD_OF and one.span_id == parent)
    ]


def event(time: int, plain: dict[str, bytes], special: Special) -> bytes:
    """A log as field of a span; `time` in nanoseconds.

    Its `event` is the event's name. Where there is none, `message` is, which stays an attribute: OTLP wants a name.
    """
    name: AttributeValue = ""
    if special:
        told, _ = special.pop("event", ("", b""))
        message, encoded = special.get("message", ("", b""))
        if encoded:
            plain["message"] = encoded
        name = told or message
    return field(11, write_event(time, name if isinstance(name, str) else "", b"".join(plain.values())))


def times(start: int, end: int) -> bytes:
    """Both times of a span, in nanoseconds."""
    return _TIMES.pack(b"\x39", fitting(start), b"\x41", fitting(end))


def name(text: bytes) -> bytes:
    """A span's name as a field; what is no UTF-8 becomes U+FFFD."""
    return field(5, text.decode("utf-8", "replace").encode())


def flagged(flags: int) -> bytes:
    """Jaeger's flags as fields: sampled is OTLP's (W3C's) bit, debug an attribute."""
    return (b"\x85\x01\x01\0\0\0" if flags & _SAMPLED else b"") + (_DEBUGGED if flags & _DEBUG else b"")


Scope: TypeAlias = tuple[str, str]
UNNAMED: Scope = ("", "")


class Settled(dict[tuple[tuple[str, tuple[AttributeValue, bytes]], ...], "tuple[Scope, bytes, dict[str, bytes]]"]):
    """What special tags say, remembered: spans of a kind say the same again and again."""

    def of(self, plain: dict[str, bytes], special: Special) -> tuple[Scope, bytes]:
        """See `settle`. `special` stays as it is."""
        scope, fields, kept = self[tuple(special.items())]
        if kept:
            plain.update(kept)
        return scope, fields

    def __missing__(
        self, key: tuple[tuple[str, tuple[AttributeValue, bytes]], ...]
    ) -> tuple[Scope, bytes, dict[str, bytes]]:
        kept: dict[str, bytes] = {}
        found = (*settle(kept, dict(key)), kept)
        if sum(len(encoded) for _, (_, encoded) in key) < _LONGEST_KEPT:
            if len(self) >= _MOST_SETTLED:
                self.clear()
            self[key] = found
        return found


def settle(plain: dict[str, bytes], special: Special) -> tuple[Scope, bytes]:
    """What the special tags say: the span's scope, and the fields of kind, state and status.

    Those that stay attributes are put into `plain`; `special` is used up.
    """
    kind = special.pop("span.kind", None)
    fields = _KINDS.get(kind[0], b"") if kind and isinstance(kind[0], str) else b""
    if not special:
        return UNNAMED, fields
    state = special.pop("w3c.tracestate", None)
    if state and isinstance(state[0], str):
        fields += field(3, state[0].encode("utf-8", "replace"))
    scope = _scope(special)
    fields += _status(fields[:2], special)
    for key, (_, encoded) in special.items():
        plain[key] = encoded
    return scope, fields


def _scope(special: Special) -> Scope:
    for name_key, version_key in _SCOPE_NAMES:
        if name_key in special:
            version = special.pop(version_key, ("", b""))[0]
            return _text(special.pop(name_key)[0]), _text(version)
    return UNNAMED


def _text(value: AttributeValue) -> str:
    return value if isinstance(value, str) else ""


def _status(kind: bytes, special: Special) -> bytes:
    """The status, as a field: `error` counts first, then `otel.status_code`, then that of HTTP."""
    code, message = None, ""
    if special.get("error", (None,))[0] is True:
        del special["error"]
        code = ERROR
        message = _description(special, "http.status_message")
    told = special.pop("otel.status_code", None)
    if told is not None:
        if code is None:
            code = _STATUS.get(_text(told[0]).upper(), UNSET)
            message = _description(special)
    elif code is None and "http.status_code" in special:
        code = _of_http(special["http.status_code"][0], kind)
        if code is not None:
            message = _text(special.get("http.status_message", ("",))[0])
    return b"" if code is None else field(15, encoded_status(code, message))


def _description(special: Special, otherwise: str = "") -> str:
    found = special.pop("otel.status_description", None)
    return _text(special.get(otherwise, ("",))[0] if found is None else found[0])


def _of_http(value: AttributeValue, kind: bytes) -> int | None:
    """ERROR for HTTP's errors, None for all else: 4xx is no error of a server's."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        code = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        code = value
    else:
        return None
    if kind == _KINDS["server"] and 400 <= code < 500:
        return None
    return None if 100 <= code < 400 else ERROR


def resource(service: str, tags: list[Tag]) -> Resource:
    """A process as a resource."""
    attributes: dict[str, AttributeValue] = {}
    if service and service != _NO_SERVICE:
        attributes["service.name"] = service
    attributes.update(tags)
    if "hostname" in attributes and "host.name" not in attributes:
        attributes["host.name"] = attributes.pop("hostname")
    if "jaeger.version" in attributes and "opencensus.exporterversion" not in attributes:
        attributes["opencensus.exporterversion"] = f"Jaeger-{_text(attributes.pop('jaeger.version'))}"
    return Resource.of(attributes)


def scopes(spans: Mapping[Scope, list[bytes]]) -> tuple[bytes, ...]:
    """ScopeSpans, one for each scope."""
    return tuple(scope_spans(found, *scope) for scope, found in spans.items())


def unknown(kind: int) -> str:
    """The value of a tag whose type is none that Jaeger has."""
    return f'<Unknown Jaeger TagType "{kind}">'


def encoded_ids(trace_id: bytes, span_id: bytes, parent: bytes) -> bytes:
    """The ids of a span as fields. NO_ID is no parent."""
    above = b"" if parent == NO_ID else b"\x22\x08" + parent
    return b"".join((b"\x0a\x10", trace_id, b"\x12\x08", span_id, above))


def warned(warnings: list[str]) -> bytes:
    """Warnings of a span as an attribute."""
    return field(SPAN, encode_attribute("jaeger.warnings", warnings))
