"""Annotations as events.

Zipkin's annotations are a time and a text. Exporters of OpenTelemetry write attributes into the text, in one of these
forms, which are read back; every other text is the event's name:

    name|{"key": "value"}|0         the collector's, with the number of dropped attributes
    {"name": {"key": "value"}}      Python's
    "name": {"key": "value"}        the specification's (Java's)
    name: {"key": "value"}          Go's
"""

from typing import TypeAlias

import msgspec

from hawse.batch import AttributeValue
from hawse.codecs.span_writer import event as write_event
from hawse.codecs.zipkin.tags import fitting
from hawse.wire import field, varint

_Scalar: TypeAlias = str | int | float | bool | None
_Attributes: TypeAlias = dict[str, _Scalar | list[_Scalar]]  # nothing deeper: a stranger wrote it
_attributes = msgspec.json.Decoder(_Attributes)
_named = msgspec.json.Decoder(dict[str, _Attributes])
_name = msgspec.json.Decoder(str)


def event(time: int, told: str) -> bytes:
    """An annotation as field of a Span; `time` in nanoseconds."""
    if told.endswith("}") and "{" in told:
        named = _as_specified(told)
        if named is not None:
            return field(11, write_event(time, *named))
    elif "}|" in told:
        read = _as_the_collector_writes(told)
        if read is not None:
            name, attributes, dropped = read
            count = b"\x20" + varint(dropped) if dropped else b""
            return field(11, write_event(time, name, attributes) + count)
    return field(11, write_event(time, told))


def attributes_of(told: str) -> dict[str, AttributeValue] | None:
    """A JSON object of scalars and lists of them; None where it is none."""
    try:
        return _fitting(_attributes.decode(told))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _fitting(attributes: _Attributes) -> dict[str, AttributeValue]:
    return {key: fitting(list(value) if isinstance(value, list) else value) for key, value in attributes.items()}


def _as_the_collector_writes(told: str) -> tuple[str, dict[str, AttributeValue], int] | None:
    head, _, dropped = told.rpartition("|")
    name, bar, attributes = head.partition("|")
    if not bar or not dropped.isdecimal() or len(dropped) > 9:
        return None
    read = attributes_of(attributes)
    return None if read is None else (name, read, int(dropped))


def _as_specified(told: str) -> tuple[str, dict[str, AttributeValue]] | None:
    try:
        if told.startswith("{"):
            ((name, attributes),) = _named.decode(told).items()
            return name, _fitting(attributes)
        at = told.index("{")
        name = told[:at].rstrip()
        if not name.endswith(":"):
            return None
        name = name[:-1].rstrip()
        if name.startswith('"'):
            name = _name.decode(name)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    read = attributes_of(told[at:])
    return None if read is None else (name, read)
