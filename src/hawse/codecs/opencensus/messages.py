"""OpenCensus' messages (opencensus-proto, trace/v1/trace.proto, agent/common/v1, resource/v1), read in C.

Texts are bytes here: they need not be UTF-8. Entries of maps stay bytes, by which attributes are remembered.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from hawse.wire import LENGTH, WireError, walk

_TABLE = """Text: 1 bytes value
Time: 1 int64 seconds, 2 int32 nanos
Value: 1 Text string_value|value, 2 int64 int_value|value, 3 bool bool_value|value, 4 double double_value|value
Entry: 1 bytes key, 2 Value value
Label: 1 bytes key, 2 bytes value
Attributes: 1 bytes attribute_map*, 2 int32 dropped_attributes_count
Annotation: 1 Text description, 2 Attributes attributes
MessageEvent: 1 int32 type, 2 uint64 id, 3 uint64 uncompressed_size, 4 uint64 compressed_size
TimeEvent: 1 Time time, 2 Annotation annotation|value, 3 MessageEvent message_event|value
TimeEvents: 1 TimeEvent time_event*, 2 int32 dropped_annotations_count, 3 int32 dropped_message_events_count
TracestateEntry: 1 bytes key, 2 bytes value
Tracestate: 1 TracestateEntry entries*
Link: 1 bytes trace_id, 2 bytes span_id, 3 int32 type, 4 Attributes attributes, 5 Tracestate tracestate
Links: 1 Link link*, 2 int32 dropped_links_count
Status: 1 int32 code, 2 bytes message
Bool: 1 bool value
Span: 1 bytes trace_id, 2 bytes span_id, 3 bytes parent_span_id, 4 Text name, 5 Time start_time, 6 Time end_time,
    7 Attributes attributes, 9 TimeEvents time_events, 10 Links links, 11 Status status,
    12 Bool same_process_as_parent_span, 14 int32 kind, 15 Tracestate tracestate, 16 bytes resource|own
Identifier: 1 bytes host_name, 2 uint32 pid, 3 Time start_timestamp
Library: 1 int32 language, 2 bytes exporter_version, 3 bytes core_library_version
Service: 1 bytes name
Node: 1 Identifier identifier, 2 Library library_info, 3 Service service_info, 4 Label attributes*
Resource: 1 bytes type, 2 Label labels*"""
_LARGE = 16 << 10  # bytes of a message whose parts are counted before it is parsed


@cache
def _class(name: str) -> Any:
    from hawse.codecs.descriptors import classes

    return classes("opencensus.proto", _TABLE)[name]


def parse(name: str, raw: bytes, most: int = 1 << 62) -> Any:
    """A message. Raises WireError where it is malformed, or is large and has more than `most` parts."""
    if len(raw) > _LARGE:
        _count(raw, 0, len(raw), _PARTS.get(name, {}), most)
    try:
        return _class(name).FromString(raw)
    except DecodeError as error:
        raise WireError(f"no {name}: {error}") from None


# What becomes objects, and what is inside: by message, the numbers of its fields.
_Parts: TypeAlias = dict[int, "_Parts"]
_ENTRIES: _Parts = {1: {}}
_PARTS: dict[str, _Parts] = {
    "Span": {7: _ENTRIES, 9: {1: {2: {2: _ENTRIES}}}, 10: {1: {4: _ENTRIES, 5: _ENTRIES}}, 15: _ENTRIES},
    "Node": {4: {}},
    "Resource": {2: {}},
}


def _count(raw: bytes, start: int, end: int, parts: _Parts, most: int, found: int = 0) -> int:
    """Parts of two bytes would become objects of hundreds: count them before. Raises WireError."""
    for number, kind, _, at, behind in walk(raw, start, end):
        if kind == LENGTH and number in parts:
            found += 1
            if found > most:
                raise WireError(f"it has more than {most} attributes, events and links")
            if parts[number]:
                found = _count(raw, at, behind, parts[number], most, found)
    return found


def text(raw: bytes) -> str:
    """What is no UTF-8 becomes U+FFFD."""
    return raw.decode("utf-8", "replace")


def nanoseconds(time: Any) -> int:
    """A Timestamp."""
    found: int = time.seconds * 1_000_000_000 + time.nanos
    return found


def rfc3339(time: Any) -> str:
    """A Timestamp as text, with as many digits as it needs; "" where no calendar has it."""
    try:
        whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time.seconds)
    except OverflowError:
        return ""
    fraction = f".{time.nanos:09d}".rstrip("0") if 0 < time.nanos < 1_000_000_000 else ""
    return f"{whole:%Y-%m-%dT%H:%M:%S}{fraction}Z"
