"""The JSON of OpenCensus' messages (protobuf.dev/programming-guides/json) as their bytes.

Field names may be in either style, bytes are base64, times RFC 3339, integers numbers or texts, enums names or numbers.
Unknown fields are ignored. Errors name the place.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from hawse.wire import WireError, field, varint

_Write: TypeAlias = Callable[[Any], bytes]  # a JSON value → the payload, with which the field's tag goes
_double = struct.Struct("<d")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEP = 32  # spans between two turns for others


class _Misfit(Exception):
    """What is wrong, and where, told from the inside out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path = ""

    def within(self, part: str) -> None:
        self.path = part + ("" if self.path.startswith("[") or not self.path else ".") + self.path


def read(data: bytes) -> Generator[None, None, list[bytes]]:
    """The ExportTraceServiceRequests of a body, one after another. Yields now and then. Raises WireError."""
    try:
        documents = (
            msgspec.json.Decoder().decode_lines(data) if _LINES.search(data.strip()) else [msgspec.json.decode(data)]
        )
    except (msgspec.DecodeError, UnicodeError) as error:
        raise WireError(f"not JSON: {error}") from None
    except RecursionError:
        raise WireError("the JSON nests too deep") from None
    found = []
    for document in documents:
        try:
            found.append((yield from _request(document)))
        except _Misfit as misfit:
            raise WireError(f"{misfit.path or 'the message'}: {misfit}") from None
    return found


_LINES = re.compile(rb"}\s*\n\s*{")  # messages of a stream stand on lines of their own


def _request(document: Any) -> Generator[None, None, bytes]:
    if not isinstance(document, dict):
        raise _Misfit("expected an object")
    parts = [_message(_NODE_AND_RESOURCE)({key: document[key] for key in ("node", "resource") if key in document})]
    write = _message(_SPAN)
    spans = document.get("spans")
    for index, span in enumerate(_list([] if spans is None else spans)):
        try:
            parts.append(field(2, write(span)))
        except _Misfit as misfit:
            misfit.within(f"spans[{index}]")
            raise
        if index % _STEP == _STEP - 1:
            yield
    return b"".join(parts)


# --- how values are written -------------------------------------------------------------------------------------------


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Misfit("expected an array")
    return value


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _Misfit("expected a text")
    return value.encode("utf-8", "replace")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value).translate(_URL_SAFE) + b"==", validate=False)
    except binascii.Error:
        raise _Misfit("expected base64") from None


_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def _integer(value: Any) -> bytes:
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 64:
        raise _Misfit("expected an integer of 64 bits")
    return varint(value)


def _boolean(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise _Misfit("expected true or false")
    return b"\1" if value else b"\0"


def _number(value: Any) -> bytes:
    try:
        if not isinstance(value, bool) and isinstance(value, int | float | str):
            return _double.pack(float(value))
    except (ValueError, OverflowError):
        pass
    raise _Misfit("expected a number")


def _enum(*names: str) -> _Write:
    known = {name: varint(number) for number, name in enumerate(names)}

    def write(value: Any) -> bytes:
        return known[value] if isinstance(value, str) and value in known else _integer(value)

    return write


def _time(value: Any) -> bytes:
    """A Timestamp."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is None:
            raise ValueError
        whole = datetime.fromisoformat(found[1] + found[3]) - _EPOCH
    except (ValueError, OverflowError):
        raise _Misfit("expected a time as RFC 3339 has it") from None
    nanos = int((found[2] or "").ljust(9, "0"))
    return b"\x08" + varint(whole.days * 86400 + whole.seconds) + (b"\x10" + varint(nanos) if nanos else b"")


def _map(write: _Write) -> _Write:
    """An object as entries, each of which is a message; goes with `_many`."""

    def entry(item: Any) -> bytes:
        key, value = item
        try:
            return field(1, _text(key)) + field(2, write(value))
        except _Misfit as misfit:
            misfit.within(f"[{key!r}]")
            raise

    return entry


# Fields: name → number, wire type, how a value is written, whether there are many ("map": of an object).
_Field: TypeAlias = tuple[int, int, _Write, str]
_Fields: TypeAlias = dict[str, _Field]


def _message(fields: _Fields) -> _Write:
    by_name = {style: made for name, made in fields.items() for style in (name, _camel(name))}

    def write(value: Any) -> bytes:
        if not isinstance(value, dict):
            raise _Misfit("expected an object")
        out = []
        for key, item in value.items():
            known = by_name.get(key)
            if known is None or item is None:
                continue
            try:
                out.append(_written(known, item))
            except _Misfit as misfit:
                misfit.within(key)
                raise
        return b"".join(out)

    return write


def _written(known: _Field, item: Any) -> bytes:
    number, kind, write, many = known
    tag = varint(number << 3 | kind)
    if many == "map" and not isinstance(item, dict):
        raise _Misfit("expected an object")
    items = item.items() if many == "map" else _list(item) if many else (item,)
    out = []
    for index, one in enumerate(items):
        try:
            payload = write(one)
        except _Misfit as misfit:
            if many == "list":
                misfit.within(f"[{index}]")
            raise
        out.append(tag + (varint(len(payload)) if kind == 2 else b"") + payload)
    return b"".join(out)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _of(number: int, write: _Write, kind: int = 2, many: str = "") -> _Field:
    return number, kind, write, many


# --- the messages -----------------------------------------------------------------------------------------------------

_cut_text = _message({"value": _of(1, _text)})
_value = _message({
    "string_value": _of(1, _cut_text), "int_value": _of(2, _integer, 0), "bool_value": _of(3, _boolean, 0),
    "double_value": _of(4, _number, 1),
})  # fmt: skip
_attributes = _message({
    "attribute_map": _of(1, _map(_value), many="map"), "dropped_attributes_count": _of(2, _integer, 0),
})  # fmt: skip
_state = _message({"entries": _of(1, _message({"key": _of(1, _text), "value": _of(2, _text)}), many="list")})
_labels = _map(_text)
_resource = _message({"type": _of(1, _text), "labels": _of(2, _labels, many="map")})
_annotation = _message({"description": _of(1, _cut_text), "attributes": _of(2, _attributes)})
_message_event = _message({
    "type": _of(1, _enum("TYPE_UNSPECIFIED", "SENT", "RECEIVED"), 0), "id": _of(2, _integer, 0),
    "uncompressed_size": _of(3, _integer, 0), "compressed_size": _of(4, _integer, 0),
})  # fmt: skip
_time_event = _message({
    "time": _of(1, _time), "annotation": _of(2, _annotation), "message_event": _of(3, _message_event),
})  # fmt: skip
_link = _message({
    "trace_id": _of(1, _bytes), "span_id": _of(2, _bytes),
    "type": _of(3, _enum("TYPE_UNSPECIFIED", "CHILD_LINKED_SPAN", "PARENT_LINKED_SPAN"), 0),
    "attributes": _of(4, _attributes), "tracestate": _of(5, _state),
})  # fmt: skip
_SPAN: _Fields = {
    "trace_id": _of(1, _bytes), "span_id": _of(2, _bytes), "parent_span_id": _of(3, _bytes),
    "name": _of(4, _cut_text), "start_time": _of(5, _time), "end_time": _of(6, _time),
    "attributes": _of(7, _attributes),
    "time_events": _of(9, _message({
        "time_event": _of(1, _time_event, many="list"), "dropped_annotations_count": _of(2, _integer, 0),
        "dropped_message_events_count": _of(3, _integer, 0),
    })),
    "links": _of(10, _message({"link": _of(1, _link, many="list"), "dropped_links_count": _of(2, _integer, 0)})),
    "status": _of(11, _message({"code": _of(1, _integer, 0), "message": _of(2, _text)})),
    "same_process_as_parent_span": _of(12, lambda value: b"\x08" + _boolean(value)),
    "kind": _of(14, _enum("SPAN_KIND_UNSPECIFIED", "SERVER", "CLIENT"), 0),
    "tracestate": _of(15, _state), "resource": _of(16, _resource),
}  # fmt: skip
_LANGUAGE = _enum(
    "LANGUAGE_UNSPECIFIED", "CPP", "C_SHARP", "ERLANG", "GO_LANG", "JAVA", "NODE_JS", "PHP", "PYTHON", "RUBY", "WEB_JS"
)  # fmt: skip
_NODE_AND_RESOURCE: _Fields = {
    "node": _of(1, _message({
        "identifier": _of(1, _message({
            "host_name": _of(1, _text), "pid": _of(2, _integer, 0), "start_timestamp": _of(3, _time),
        })),
        "library_info": _of(2, _message({
            "language": _of(1, _LANGUAGE, 0), "exporter_version": _of(2, _text), "core_library_version": _of(3, _text),
        })),
        "service_info": _of(3, _message({"name": _of(1, _text)})),
        "attributes": _of(4, _labels, many="map"),
    })),
    "resource": _of(3, _resource),
}  # fmt: skip
