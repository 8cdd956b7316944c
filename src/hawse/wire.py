"""Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding), walked and written by hand.

Only what OTLP's envelopes need: lengths are skipped over, never decoded into objects. Attributes are `KeyValue`
and `AnyValue` of opentelemetry-proto, `common/v1/common.proto`. All functions raise `WireError` on bytes that are
not well formed; none reads outside its buffer.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_DEEPEST = 32  # AnyValue may nest; a stranger's recursion ends here

_double = struct.Struct("<d")
_fixed64 = struct.Struct("<q")


class WireError(ValueError):
    """Not a well-formed message."""


_ONE_BYTE = tuple(bytes((number,)) for number in range(128))


def varint(value: int) -> bytes:
    """Encode an unsigned number (a negative one as its 64-bit two's complement)."""
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    if 128 <= value < 16384:  # most lengths: a third of what the loop takes
        return bytes((value & 127 | 128, value >> 7))
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_size(value: int) -> int:
    """How many bytes `varint(value)` has, for value ≥ 0."""
    return (value.bit_length() + 6) // 7 or 1


def read_varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """Value and position behind it. At most ten bytes."""
    result = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise WireError(f"a varint of more than ten bytes ends at byte {at}")
    raise WireError("the message ends inside a varint")


def field(number: int, payload: Buffer) -> bytes:
    """A length-delimited field."""
    return b"".join((varint(number << 3 | LENGTH), varint(len(payload)), payload))


def walk(data: Buffer, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield `(field number, wire type, tag position, payload start, payload end)` of each field.

    The payload of a varint field is the varint's bytes. Groups (types 3 and 4, unused since 2008) are refused.
    """
    at = start
    stop = len(data) if end is None else end
    while at < stop:
        tag_at = at
        tag = data[at]
        if tag < 128:
            at += 1
        else:
            tag, at = read_varint(data, at, stop)
        kind = tag & 7
        if kind == LENGTH:
            size, at = read_varint(data, at, stop)
            behind = at + size
        elif kind == VARINT:
            _, behind = read_varint(data, at, stop)
        elif kind == FIXED64:
            behind = at + 8
        elif kind == FIXED32:
            behind = at + 4
        else:
            raise WireError(f"wire type {kind} at byte {tag_at}")
        if behind > stop:
            raise WireError(f"the field at byte {tag_at} ends {behind - stop} bytes behind its message")
        if tag < 8:
            raise WireError(f"field number 0 at byte {tag_at}")
        yield tag >> 3, kind, tag_at, at, behind
        at = behind


def count(data: Buffer, number: int, start: int = 0, end: int | None = None) -> int:
    """How often the length-delimited field `number` is in a message."""
    return sum(1 for found, kind, *_ in walk(data, start, end) if found == number and kind == LENGTH)


# --- AnyValue, KeyValue ---------------------------------------------------------------------------------------------


def encode_value(value: Any) -> bytes:
    """An AnyValue, without tag and length. Lone surrogates in text become U+FFFD."""
    if isinstance(value, str):
        return field(1, value.encode("utf-8", "replace"))
    if value is True or value is False:
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value)
    if isinstance(value, float):
        return b"\x21" + _double.pack(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return field(7, value)
    if isinstance(value, Mapping):
        return field(6, b"".join(field(1, encode_attribute(key, item)) for key, item in value.items()))
    if isinstance(value, Iterable):
        return field(5, b"".join(field(1, encode_value(item)) for item in value))
    if value is None:
        return b""
    raise TypeError(f"no AnyValue for {type(value).__name__}")


def encode_attribute(key: str, value: Any) -> bytes:
    """A KeyValue, without tag and length."""
    return field(1, key.encode("utf-8", "replace")) + field(2, encode_value(value))


def encode_attributes(attributes: Mapping[str, Any], number: int = 1) -> bytes:
    """Attributes as repeated field `number` (1 in a Resource, 6 in a LogRecord, 9 in a Span)."""
    return b"".join(field(number, encode_attribute(key, value)) for key, value in attributes.items())


def _text(data: Buffer, start: int, end: int) -> str:
    return bytes(data[start:end]).decode("utf-8", "replace")


def decode_value(data: Buffer, start: int = 0, end: int | None = None, depth: int = 0) -> Any:
    """The value of an AnyValue message; None where it has none. Text that is not UTF-8 gets U+FFFD."""
    if depth > _DEEPEST:
        raise WireError(f"an attribute value nests deeper than {_DEEPEST}")
    value: Any = None
    for number, kind, _, at, behind in walk(data, start, end):
        if number == 1 and kind == LENGTH:
            value = _text(data, at, behind)
        elif number == 2 and kind == VARINT:
            value = read_varint(data, at, behind)[0] != 0
        elif number == 3 and kind == VARINT:
            raw = read_varint(data, at, behind)[0]
            value = raw - (1 << 64) if raw >> 63 else raw
        elif number == 4 and kind == FIXED64:
            value = _double.unpack_from(data, at)[0]
        elif number == 5 and kind == LENGTH:
            items = [(a, b) for n, k, _, a, b in walk(data, at, behind) if n == 1 and k == LENGTH]
            value = [decode_value(data, a, b, depth + 1) for a, b in items]
        elif number == 6 and kind == LENGTH:
            value = decode_attributes(data, at, behind, depth=depth + 1)
        elif number == 7 and kind == LENGTH:
            value = bytes(data[at:behind])
    return value


def _decode_key_value(data: Buffer, start: int, end: int, depth: int) -> tuple[str, Any]:
    # As nearly all are written: key, then value (0x12), a text (0x0A), their lengths in one byte. Four times faster.
    if end - start > 5 and data[start] == 0x0A and (size := data[start + 1]) < 128:
        at = start + 2 + size
        if at + 4 <= end and data[at] == 0x12 and data[at + 2] == 0x0A:
            length = end - at - 4
            if data[at + 3] == length < 126 and data[at + 1] == length + 2:
                return _text(data, start + 2, at), _text(data, at + 4, end)
    key, value = "", None
    for number, kind, _, at, behind in walk(data, start, end):
        if kind == LENGTH:
            if number == 1:
                key = _text(data, at, behind)
            elif number == 2:
                value = decode_value(data, at, behind, depth)
    return key, value


def decode_attributes(
    data: Buffer, start: int = 0, end: int | None = None, number: int = 1, depth: int = 0
) -> dict[str, Any]:
    """The KeyValues in repeated field `number` of a message; other fields are skipped."""
    return dict(
        _decode_key_value(data, at, behind, depth)
        for found, kind, _, at, behind in walk(data, start, end)
        if found == number and kind == LENGTH
    )


def without_attributes(data: Buffer, keys: Iterable[str], number: int = 1) -> bytes:
    """A message without the KeyValues of these keys in repeated field `number`; all else stays as it was."""
    gone = set(keys)
    kept = []
    for found, kind, tag_at, at, behind in walk(data):
        if found == number and kind == LENGTH:
            key = ""
            for inner, inner_kind, _, a, b in walk(data, at, behind):
                if inner == 1 and inner_kind == LENGTH:
                    key = _text(data, a, b)  # as `decode_attributes` reads it, where it is no UTF-8, too
            if key in gone:
                continue
        kept.append(data[tag_at:behind])
    return b"".join(kept)
