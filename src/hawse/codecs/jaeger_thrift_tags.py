"""Tags in Jaeger's Thrift: where a tag ends is seen at a glance, what is inside is remembered by its bytes."""

import struct
from collections.abc import Callable

from hawse.codecs.jaeger_spans import Special, Tag, Tags, unknown
from hawse.codecs.thrift import A_BOOL, A_DOUBLE, A_STRING, AN_I32, AN_I64, Binary, Compact, Fields, Reader, structs
from hawse.wire import WireError

_TAG: Fields = {1: A_STRING, 2: AN_I32, 3: A_STRING, 4: A_DOUBLE, 5: A_BOOL, 6: AN_I64, 7: A_STRING}
_LONGEST = 4096  # bytes of a tag whose end is guessed: each wrong guess costs to copy as many
_STRING, _DOUBLE, _BOOL, _LONG, _BINARY = range(5)  # TagType


def tag_of(reader: Reader, at: int) -> tuple[Tag, int]:
    """A Tag, and the place behind it. A value that is missing is its type's zero, as Thrift's own code has it."""
    found, end = reader.struct(at, _TAG)
    if 1 not in found or 2 not in found:
        raise WireError(f"the tag at byte {at} has no {'key' if 1 not in found else 'vType'}")
    kind = found[2]
    value: str | float | bool | bytes
    if kind == _STRING:
        value = found.get(3, b"").decode("utf-8", "replace")
    elif kind == _DOUBLE:
        value = found.get(4, 0.0)
    elif kind == _BOOL:
        value = found.get(5, False)
    elif kind == _LONG:
        value = found.get(6, 0)
    elif kind == _BINARY:
        value = found.get(7, b"")
    else:
        value = unknown(kind)
    return (found[1].decode("utf-8", "replace"), value), end


def tag_parser(protocol: type[Reader]) -> Callable[[bytes], Tag]:
    """A function of a tag's bytes, which must be all of it and nothing else."""

    def parse(raw: bytes) -> Tag:
        text = _short_text(raw) if protocol is Compact else _fixed_text(raw)
        if text is not None:
            return text
        tag, end = tag_of(protocol(raw), 0)
        if end != len(raw):
            raise WireError("more than a tag")
        return tag

    return parse


def _short_text(raw: bytes) -> Tag | None:
    """A tag of text as most are, in a fifth of the time: key (0x18, size), type (0x15, 0), text (0x18, size), end."""
    at = 2 + raw[1]
    if raw[0] == 0x18 and at < 130 and raw[at : at + 3] == b"\x15\0\x18":
        size = raw[at + 3]
        if size < 128 and len(raw) == at + 5 + size and not raw[-1]:
            return raw[2:at].decode("utf-8", "replace"), raw[at + 4 : -1].decode("utf-8", "replace")
    return None


def _fixed_text(raw: bytes) -> Tag | None:
    """The same in the binary protocol: each field has a head of three bytes, and sizes have four."""
    at = 7 + int.from_bytes(raw[3:7], "big")
    value = at + 14
    if raw[:3] == b"\x0b\0\1" and raw[at : value - 4] == b"\x08\0\2\0\0\0\0\x0b\0\3":
        end = value + int.from_bytes(raw[value - 4 : value], "big")
        if len(raw) == end + 1 and not raw[end]:
            return raw[7:at].decode("utf-8", "replace"), raw[value:end].decode("utf-8", "replace")
    return None


def read_tags(reader: Reader, at: int, tags: Tags) -> tuple[tuple[dict[str, bytes], Special], int]:
    """A list of tags: those that are attributes only, and those that decide something. Of a key the last tag counts."""
    size, at = structs(reader, at)
    data = reader.data
    end_of = _ENDS[type(reader)]
    plain: dict[str, bytes] = {}
    special: Special = {}
    usual = True
    for _ in range(size):
        found = None
        if usual:
            try:
                end = end_of(data, at)
                found = tags[data[at:end]] if end - at <= _LONGEST else None
            except (WireError, IndexError, struct.error):
                usual = False  # not as most write it, or wrong: the long way tells
        if found is None:
            tag, end = tag_of(reader, at)
            found = tags.keep(*tag)
        key, encoded, decides = found
        if decides is None:
            plain[key] = encoded
        else:
            special[key] = decides
        at = end
    return (plain, special), at


def _compact_end(data: bytes, at: int) -> int:
    """Where a tag ends whose fields come as in the IDL: a guess that parsing its bytes proves.

    Behind the key (0x18, size) is the type (0x15, one byte), then the value with its own head, then 0.
    """
    end = at + 2 + data[at + 1]
    head = data[end + 2]
    if head == 0x18 or head == 0x58:  # noqa: PLR1714
        size = data[end + 3]
        return end + 5 + size if size < 128 else end + 6 + (size & 127 | data[end + 4] << 7)
    if head == 0x46:
        end += 3
        while data[end] > 127:
            end += 1
        return end + 2
    return end + 12 if head == 0x27 else end + 4


def _binary_end(data: bytes, at: int) -> int:
    """The same in the binary protocol: heads of fields and sizes have fixed lengths."""
    end = at + 7 + int.from_bytes(data[at + 3 : at + 7], "big") + 7
    head = data[end]
    if head == 11:
        return end + 8 + int.from_bytes(data[end + 3 : end + 7], "big")
    return end + (5 if head == 2 else 12)


_ENDS: dict[type[Reader], Callable[[bytes, int], int]] = {Compact: _compact_end, Binary: _binary_end}
