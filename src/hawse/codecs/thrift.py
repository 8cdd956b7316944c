"""Apache Thrift's binary and compact protocols, read (apache/thrift, doc/specs/thrift-{binary,compact}-protocol.md).

A reader has the bytes and no position: every method is given one and returns the one behind what it has read, so that
callers can look ahead, remember places, and pass over what they know. Types are those of the binary protocol in both.
Methods raise WireError with the byte where the input is no Thrift. **Running out of bytes is an IndexError or a
struct.error**, which costs nothing where nothing is wrong: code that reads stands in `with complete(data):`, which
makes a WireError of them.

What a stranger controls is bounded: nothing is allocated for a size before its elements are there, unknown fields may
nest DEEPEST deep and have MOST_SKIPPED elements in a message, and strings are slices of the input.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from hawse.wire import WireError

STOP, BOOL, BYTE, DOUBLE, I16, I32, I64, STRING, STRUCT, MAP, SET, LIST = 0, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15
TRUE, FALSE = 17, 18  # fields of the compact protocol that are their own value
CALL, REPLY, EXCEPTION, ONEWAY = 1, 2, 3, 4
DEEPEST = 32
MOST_SKIPPED = 10_000

_NAMES = {1: "call", 2: "reply", 3: "exception", 4: "oneway"}
_SIZES = {BOOL: 1, BYTE: 1, DOUBLE: 8, I16: 2, I32: 4, I64: 8}
_INTEGERS = {BYTE: struct.Struct(">b"), I16: struct.Struct(">h"), I32: struct.Struct(">i"), I64: struct.Struct(">q")}
_KINDS = frozenset({BOOL, BYTE, DOUBLE, I16, I32, I64, STRING, STRUCT, MAP, SET, LIST})
_i16, _i32, _i64 = _INTEGERS[I16], _INTEGERS[I32], _INTEGERS[I64]
_big_double, _little_double = struct.Struct(">d"), struct.Struct("<d")
_MASK = (1 << 64) - 1


class Message(NamedTuple):
    """The head of a call. `kind` is CALL, REPLY, EXCEPTION or ONEWAY."""

    name: str
    kind: int
    sequence: int


@contextmanager
def complete(data: bytes) -> Iterator[None]:
    """What is read inside ends with the bytes, or a WireError says that they end too early."""
    try:
        yield
    except (IndexError, struct.error):
        raise WireError(f"the input ends within a value, after {len(data)} bytes") from None


class Reader:
    """What both protocols have in common: structs, and passing over what is not known."""

    protocol = ""

    def __init__(self, data: bytes) -> None:
        """`data` is one message, or several in a row."""
        self.data = data
        self.left = 1 << 62  # how many structs lists may have, for the caller to bound
        self.skipped = 0  # elements in fields that are not known, for who reads something again to set back

    def message(self, at: int) -> tuple[Message, int]:
        """The head of a call."""
        raise NotImplementedError

    def field(self, at: int, before: int) -> tuple[int, int, int]:
        """Type and number of a struct's next field, `before` being the number of the one before it (0 at first).

        The type is STOP behind the last, and TRUE or FALSE for a boolean that has no bytes of its own.
        """
        raise NotImplementedError

    def integer(self, kind: int, at: int) -> tuple[int, int]:
        """BYTE, I16, I32 or I64, signed."""
        raise NotImplementedError

    def double(self, at: int) -> tuple[float, int]:
        """A DOUBLE."""
        raise NotImplementedError

    def length(self, at: int) -> tuple[int, int]:
        """How many bytes a STRING has, which begin at the second number. They may be missing."""
        raise NotImplementedError

    def elements(self, at: int) -> tuple[int, int, int]:
        """Type and number of the elements of a LIST or SET, which begin at the third number."""
        raise NotImplementedError

    def entries(self, at: int) -> tuple[int, int, int, int]:
        """Types of the keys and values of a MAP, and how many pairs of them begin at the fourth number."""
        raise NotImplementedError

    def boolean(self, kind: int, at: int) -> tuple[bool, int]:
        """BOOL, TRUE or FALSE."""
        if kind == BOOL:
            return self.data[at] == 1, at + 1
        return kind == TRUE, at

    def text(self, at: int) -> tuple[bytes, int]:
        """The bytes of a STRING."""
        size, at = self.length(at)
        end = at + size
        if end > len(self.data):
            raise WireError(f"a string of {size} bytes begins at byte {at}, of {len(self.data)} bytes in all")
        return self.data[at:end], end

    def struct(self, at: int, known: "Fields") -> tuple[dict[int, Any], int]:
        """The fields of a STRUCT that are `known`, by number; others are passed over, and so are those of another type.

        Of a field that comes twice the last counts.
        """
        found: dict[int, Any] = {}
        number = 0
        while True:
            kind, number, at = self.field(at, number)
            if kind == STOP:
                return found, at
            wanted, read = known.get(number, _UNKNOWN)
            if kind == wanted or (wanted == BOOL and kind in {TRUE, FALSE}):
                found[number], at = read(self, kind, at)
            else:
                at = self.skip(kind, at)

    def skip(self, kind: int, at: int, depth: int = 0) -> int:
        """The place behind a value of that type."""
        if depth > DEEPEST:
            raise WireError(f"at byte {at} structures nest deeper than {DEEPEST}")
        if kind == STRING:
            return self.text(at)[1]
        if kind == STRUCT:
            return self._skip_struct(at, depth)
        if kind == MAP:
            keys, values, size, at = self.entries(at)
            for _ in range(self._counted(size, at)):
                at = self.skip(values, self.skip(keys, at, depth + 1), depth + 1)
            return at
        if kind in {LIST, SET}:
            inner, size, at = self.elements(at)
            for _ in range(self._counted(size, at)):
                at = self.skip(inner, at, depth + 1)
            return at
        return self._skip_number(kind, at)

    def _skip_struct(self, at: int, depth: int) -> int:
        number = 0
        while True:
            kind, number, at = self.field(at, number)
            if kind == STOP:
                return at
            self._counted(1, at)
            at = self.skip(kind, at, depth + 1)

    def _skip_number(self, kind: int, at: int) -> int:
        raise NotImplementedError

    def _counted(self, size: int, at: int) -> int:
        self.skipped += size
        if self.skipped > MOST_SKIPPED:
            raise WireError(f"more than {MOST_SKIPPED} elements in fields that are not known, at byte {at}")
        return size


Read: TypeAlias = Callable[[Any, int, int], tuple[Any, int]]  # reader, type, position → value, position behind it
Fields: TypeAlias = Mapping[int, tuple[int, Read]]  # of a struct: number → type, how it is read


def _integer(reader: Reader, kind: int, at: int) -> tuple[int, int]:
    return reader.integer(kind, at)


def _double(reader: Reader, kind: int, at: int) -> tuple[float, int]:  # noqa: ARG001
    return reader.double(at)


def _boolean(reader: Reader, kind: int, at: int) -> tuple[bool, int]:
    return reader.boolean(kind, at)


def _text(reader: Reader, kind: int, at: int) -> tuple[bytes, int]:  # noqa: ARG001
    return reader.text(at)


# How fields are read, for tables of `Fields`.
AN_I16, AN_I32, AN_I64 = (I16, _integer), (I32, _integer), (I64, _integer)
A_BYTE, A_DOUBLE, A_BOOL, A_STRING = (BYTE, _integer), (DOUBLE, _double), (BOOL, _boolean), (STRING, _text)
_UNKNOWN: tuple[int, Read] = (-1, _integer)


def a_struct(known: Fields) -> tuple[int, Read]:
    """A field that holds a struct: its value is the dict of its fields."""
    return STRUCT, lambda reader, _, at: reader.struct(at, known)


def a_list(known: Fields, kind: int = LIST) -> tuple[int, Read]:
    """A field that holds structs: its value is a list of dicts."""

    def read(reader: Reader, _: int, at: int) -> tuple[list[dict[int, Any]], int]:
        size, at = structs(reader, at)
        found = []
        for _ in range(size):
            one, at = reader.struct(at, known)
            found.append(one)
        return found, at

    return kind, read


def structs(reader: Reader, at: int) -> tuple[int, int]:
    """How many structs are in a LIST, and where the first begins: they are taken from `reader.left`.

    Raises WireError for a list of other things, and for one of more than are left.
    """
    kind, size, behind = reader.elements(at)
    if kind != STRUCT and size:
        raise WireError(f"the list at byte {at} has elements of type {kind}, not structs")
    if size > len(reader.data) - behind:  # a struct has a byte at least
        raise WireError(f"the list at byte {at} is said to have {size} elements, which cannot be in what follows")
    reader.left -= size
    if reader.left < 0:
        raise WireError(f"the list at byte {at} brings {-reader.left} elements more than are allowed")
    return size, behind


class Binary(Reader):
    """The binary protocol, strict or not: numbers are big-endian, of fixed size."""

    protocol = "binary"

    def message(self, at: int) -> tuple[Message, int]:
        first, behind = self.integer(I32, at)
        if first < 0:  # strict: a version, then the type
            if first & 0x7FFF_0000 != 0x0001_0000:
                raise WireError(f"version {first & 0xFFFF_0000:#x} at byte {at} is not 0x80010000")
            name, behind = self.text(behind)
            kind = first & 0xFF
        else:
            name, behind = self.text(at)
            kind = self.data[behind]
            behind += 1
        sequence, behind = self.integer(I32, behind)
        return _head(name, kind, sequence, at), behind

    def field(self, at: int, before: int) -> tuple[int, int, int]:  # noqa: ARG002
        kind = self.data[at]
        if kind == STOP:
            return STOP, 0, at + 1
        if kind not in _KINDS:
            raise WireError(f"type {kind} at byte {at} is none that fields can have")
        return kind, _i16.unpack_from(self.data, at + 1)[0], at + 3

    def integer(self, kind: int, at: int) -> tuple[int, int]:
        value: int = _INTEGERS[kind].unpack_from(self.data, at)[0]
        return value, at + _SIZES[kind]

    def double(self, at: int) -> tuple[float, int]:
        return _big_double.unpack_from(self.data, at)[0], at + 8

    def length(self, at: int) -> tuple[int, int]:
        return self._size(at), at + 4

    def elements(self, at: int) -> tuple[int, int, int]:
        kind = self.data[at]
        size = self._size(at + 1)
        if kind not in _KINDS and size:
            raise WireError(f"type {kind} at byte {at} is none that elements can have")
        return kind, size, at + 5

    def entries(self, at: int) -> tuple[int, int, int, int]:
        keys, values = self.data[at], self.data[at + 1]
        size = self._size(at + 2)
        if size and not (keys in _KINDS and values in _KINDS):
            raise WireError(f"types {keys} and {values} at byte {at} are none that maps can have")
        return keys, values, size, at + 6

    def _size(self, at: int) -> int:
        size: int = _i32.unpack_from(self.data, at)[0]
        if size < 0:
            raise WireError(f"a size of {size} at byte {at}")
        return size

    def _skip_number(self, kind: int, at: int) -> int:
        return at + _SIZES[kind]


# Types of the compact protocol, in fields and in containers, as those of the binary one.
_FIELD = (STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, STRING, LIST, SET, MAP, STRUCT)
_ELEMENT = (STOP, BOOL, BOOL, BYTE, I16, I32, I64, DOUBLE, STRING, LIST, SET, MAP, STRUCT)


class Compact(Reader):
    """The compact protocol: integers are zigzag varints, field numbers are told by their distance."""

    protocol = "compact"

    def message(self, at: int) -> tuple[Message, int]:
        if self.data[at] != 0x82:
            raise WireError(f"byte {at} is {self.data[at]:#04x}, not the 0x82 with which compact messages begin")
        second = self.data[at + 1]
        if second & 31 != 1:
            raise WireError(f"version {second & 31} at byte {at + 1} is not 1")
        sequence, behind = self.varint(at + 2)
        name, behind = self.text(behind)
        return _head(name, second >> 5, sequence, at), behind

    def field(self, at: int, before: int) -> tuple[int, int, int]:
        head = self.data[at]
        if head == 0:
            return STOP, 0, at + 1
        if head & 15 > 12 or head & 15 == 0:
            raise WireError(f"type {head & 15} at byte {at} is none that fields can have")
        if head > 15:
            return _FIELD[head & 15], before + (head >> 4), at + 1
        number, behind = self.integer(I16, at + 1)
        return _FIELD[head], number, behind

    def varint(self, at: int) -> tuple[int, int]:
        """An unsigned number of at most 64 bits."""
        data = self.data
        result = shift = 0
        start = at
        while True:
            byte = data[at]
            at += 1
            result |= (byte & 127) << shift
            if byte < 128:
                return result & _MASK, at
            shift += 7
            if shift > 63:
                raise WireError(f"a number of more than ten bytes begins at byte {start}")

    def integer(self, kind: int, at: int) -> tuple[int, int]:
        if kind == BYTE:
            byte = self.data[at]
            return byte - 256 if byte > 127 else byte, at + 1
        value, at = self.varint(at)
        return value >> 1 ^ -(value & 1), at

    def double(self, at: int) -> tuple[float, int]:
        # Little-endian, as all implementations have it; the specification says both.
        return _little_double.unpack_from(self.data, at)[0], at + 8

    def length(self, at: int) -> tuple[int, int]:
        return self.varint(at)

    def elements(self, at: int) -> tuple[int, int, int]:
        head = self.data[at]
        size, behind = (head >> 4, at + 1) if head < 0xF0 else self.varint(at + 1)
        kind = head & 15
        if kind > 12 or (kind == 0 and size):
            raise WireError(f"type {kind} at byte {at} is none that elements can have")
        return _ELEMENT[kind], size, behind

    def entries(self, at: int) -> tuple[int, int, int, int]:
        size, behind = self.varint(at)
        if not size:
            return STOP, STOP, 0, behind
        kinds = self.data[behind]
        keys, values = kinds >> 4, kinds & 15
        if not (0 < keys < 13 and 0 < values < 13):
            raise WireError(f"types {keys} and {values} at byte {behind} are none that maps can have")
        return _ELEMENT[keys], _ELEMENT[values], size, behind + 1

    def _skip_number(self, kind: int, at: int) -> int:
        if kind in {TRUE, FALSE}:
            return at
        if kind in {BOOL, BYTE}:
            return at + 1
        return at + 8 if kind == DOUBLE else self.varint(at)[1]


def _head(name: bytes, kind: int, sequence: int, at: int) -> Message:
    if kind not in _NAMES:
        raise WireError(f"the message at byte {at} has type {kind}, which is none of {_NAMES}")
    return Message(name.decode("utf-8", "replace"), kind, sequence)
