"""Scalars of OTLP's JSON, to the bytes of protobuf: what clients write is more than one kind for most."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from hawse.codecs.otlp_schema import ENUMS, Field
from hawse.wire import varint

ID_SIZES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}  # bytes; in JSON they are hexadecimal

_INTEGERS = {  # lowest and highest by type
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
    "sint32": (-(1 << 31), (1 << 31) - 1),
    "fixed32": (0, (1 << 32) - 1),
    "fixed64": (0, (1 << 64) - 1),
    "sfixed64": (-(1 << 63), (1 << 63) - 1),
}

_double = struct.Struct("<d").pack
_fixed64 = struct.Struct("<Q").pack
_sfixed64 = struct.Struct("<q").pack
_fixed32 = struct.Struct("<I").pack

Scalar: TypeAlias = Callable[[Any], bytes]  # JSON value → the payload, without tag (and without length)


class Misfit(Exception):
    """A JSON value that does not fit. `path` grows on the way up."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = ""

    def within(self, place: str) -> None:
        """Put a key or an index before the path."""
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = place + dot + self.path


def scalar_reader(of: Field) -> Scalar:
    """What turns the JSON of a field into its payload. It raises Misfit."""
    if of.name in ID_SIZES:
        size = ID_SIZES[of.name]
        return lambda value: _identifier(value, size)
    if of.type in ENUMS:
        names = ENUMS[of.type]
        return lambda value: _enum(value, names)
    if of.type in _INTEGERS:
        pack: Callable[[int], bytes] = {
            "fixed32": _fixed32,
            "fixed64": _fixed64,
            "sfixed64": _sfixed64,
            "sint32": lambda number: varint((number << 1) ^ (number >> 31)),  # zigzag
        }.get(of.type, varint)
        low, high = _INTEGERS[of.type]
        return lambda value: pack(_integer(value, low, high))
    return {"string": _text, "bool": _bool, "double": _number, "bytes": _bytes}[of.type]


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Misfit(f"expected text, got {shown(value)}")
    return value.encode("utf-8", "replace")


def _bool(value: Any) -> bytes:
    if value is True or value is False:
        return b"\x01" if value else b"\x00"
    raise Misfit(f"expected true or false, got {shown(value)}")


def _integer(value: Any, low: int, high: int) -> int:
    whole = isinstance(value, float) and value.is_integer()
    written = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value)
    number = int(value) if whole or written else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise Misfit(f"expected an integer, got {shown(value)}")
    if not low <= number <= high:
        raise Misfit(f"{shown(value)} is not between {low} and {high}")
    return number


def _number(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            value = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value) or float(value)
        except ValueError:
            raise Misfit(f"expected a number, got {shown(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit(f"expected a number, got {shown(value)}")
    try:
        return _double(value)
    except OverflowError:
        raise Misfit(f"{shown(value)} is too large") from None


def _bytes(value: Any) -> bytes:
    """Base64 in either alphabet, with or without padding."""
    if isinstance(value, str):
        try:
            text = value.encode("ascii").translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            pass
    raise Misfit(f"expected base64, got {shown(value)}")


def _identifier(value: Any, size: int) -> bytes:
    if value == "":
        return b""
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", value):
        raise Misfit(f"expected {2 * size} hexadecimal digits, got {shown(value)}")
    return bytes.fromhex(value)


def _enum(value: Any, names: tuple[str, ...]) -> bytes:
    if isinstance(value, str) and value in names:
        return varint(names.index(value))
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise Misfit(f"expected one of {', '.join(names[:8])}, … or its number, got {shown(value)}")
    return varint(_integer(value, *_INTEGERS["int32"]))


def shown(value: Any) -> str:
    """A JSON value for a message: its beginning."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
