"""OTLP in JSON ↔ batches (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding").

That is protobuf's JSON mapping (protobuf.dev/programming-guides/json) with these differences: trace and span ids are
hexadecimal, and enums are written as numbers. What is read may also have enum names, field names as in the proto
files, integers as text or as numbers; unknown fields are ignored.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import DecodeError

from hawse.batch import Batch, Signal
from hawse.codecs import otlp
from hawse.codecs.otlp_descriptors import message
from hawse.codecs.otlp_schema import ENUMS, Field, messages
from hawse.wire import Buffer, WireError, field, varint

_ROOTS = {Signal.LOGS: "logs.LogsData", Signal.METRICS: "metrics.MetricsData", Signal.TRACES: "trace.TracesData"}
_ID_SIZES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
_DEEPEST = 100  # messages inside messages

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
_AS_TEXT = frozenset({"int64", "uint64", "fixed64", "sfixed64"})  # beyond what a JSON number holds everywhere
_WIRE_TYPES = {"double": 1, "fixed64": 1, "sfixed64": 1, "fixed32": 5, "string": 2, "bytes": 2}  # others: 0, varint

_double = struct.Struct("<d").pack
_fixed64 = struct.Struct("<Q").pack
_sfixed64 = struct.Struct("<q").pack
_fixed32 = struct.Struct("<I").pack


# --- JSON → bytes ---------------------------------------------------------------------------------------------------


def decode(signal: Signal, data: Buffer, peer: str = "") -> Batch:
    """An Export…ServiceRequest in JSON as a batch. Raises WireError, which says where in the document and why."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"not JSON: {error}") from None
    except RecursionError:
        raise WireError("the JSON nests too deep") from None
    try:
        encoded = _reader(_ROOTS[signal])(document, 0)
    except _Misfit as misfit:
        raise WireError(f"{misfit.path or 'the request'}: {misfit.message}") from None
    return otlp.decode(signal, encoded, peer)


class _Misfit(Exception):
    """A JSON value that does not fit. `path` grows on the way up."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = ""

    def within(self, place: str) -> None:
        dot = "." if self.path and not self.path.startswith("[") else ""
        self.path = place + dot + self.path


_Reader: TypeAlias = Callable[[Any, int], bytes]  # JSON value and depth → the message's bytes
_Scalar: TypeAlias = Callable[[Any], bytes]  # JSON value → the payload, without tag (and without length)


@cache
def _reader(name: str) -> _Reader:
    """What turns the JSON of a message into its bytes."""
    fields: dict[str, Callable[[Any, int], bytes]] = {}
    for each in messages()[name]:
        fields[_camel(each.name)] = fields[each.name] = _field_reader(each)

    def read(value: Any, depth: int) -> bytes:
        if not isinstance(value, dict):
            raise _Misfit(f"expected an object, got {_shown(value)}")
        if depth > _DEEPEST:
            raise _Misfit(f"nests deeper than {_DEEPEST} messages")
        out = []
        for key, item in value.items():
            known = fields.get(key)
            if known is None or item is None:
                continue
            try:
                out.append(known(item, depth + 1))
            except _Misfit as misfit:
                misfit.within(key)
                raise
        return b"".join(out)

    return read


def _field_reader(of: Field) -> Callable[[Any, int], bytes]:
    if "." in of.type and of.type not in ENUMS:
        return _message_reader(of)
    scalar = _scalar(of)
    kind = _WIRE_TYPES.get(of.type, 0)
    tag = varint(of.number << 3 | kind)
    if of.repeated:
        return _many(of, scalar, tag, kind)
    absent = b"" if kind == 2 else scalar(0 if of.type != "bool" else False)
    present = bool(of.oneof) or of.optional  # elsewhere a default value is not written

    def read(value: Any, depth: int) -> bytes:  # noqa: ARG001
        payload = scalar(value)
        if payload == absent and not present:
            return b""
        return b"".join((tag, varint(len(payload)), payload)) if kind == 2 else tag + payload

    return read


def _many(of: Field, scalar: _Scalar, tag: bytes, kind: int) -> Callable[[Any, int], bytes]:
    """Numbers are packed into one field, text is a field each."""

    def read(value: Any, depth: int) -> bytes:  # noqa: ARG001
        items = [scalar(item) for item in _list(value)]
        if kind == 2:
            return b"".join(b"".join((tag, varint(len(item)), item)) for item in items)
        return field(of.number, b"".join(items)) if items else b""

    return read


def _message_reader(of: Field) -> Callable[[Any, int], bytes]:
    tag = varint(of.number << 3 | 2)
    name = of.type

    def one(value: Any, depth: int) -> bytes:
        inner = _reader(name)(value, depth)
        return b"".join((tag, varint(len(inner)), inner))

    def many(value: Any, depth: int) -> bytes:
        out = []
        for at, item in enumerate(_list(value)):
            try:
                out.append(one(item, depth))
            except _Misfit as misfit:
                misfit.within(f"[{at}]")
                raise
        return b"".join(out)

    return many if of.repeated else one


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Misfit(f"expected an array, got {_shown(value)}")
    return value


def _scalar(of: Field) -> _Scalar:
    if of.name in _ID_SIZES:
        size = _ID_SIZES[of.name]
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
        raise _Misfit(f"expected text, got {_shown(value)}")
    return value.encode("utf-8", "replace")


def _bool(value: Any) -> bytes:
    if value is True or value is False:
        return b"\x01" if value else b"\x00"
    raise _Misfit(f"expected true or false, got {_shown(value)}")


def _integer(value: Any, low: int, high: int) -> int:
    whole = isinstance(value, float) and value.is_integer()
    written = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value)
    number = int(value) if whole or written else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise _Misfit(f"expected an integer, got {_shown(value)}")
    if not low <= number <= high:
        raise _Misfit(f"{_shown(value)} is not between {low} and {high}")
    return number


def _number(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            value = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value) or float(value)
        except ValueError:
            raise _Misfit(f"expected a number, got {_shown(value)}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Misfit(f"expected a number, got {_shown(value)}")
    try:
        return _double(value)
    except OverflowError:
        raise _Misfit(f"{_shown(value)} is too large") from None


def _bytes(value: Any) -> bytes:
    """Base64 in either alphabet, with or without padding."""
    if isinstance(value, str):
        try:
            text = value.encode("ascii").translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
            return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            pass
    raise _Misfit(f"expected base64, got {_shown(value)}")


def _identifier(value: Any, size: int) -> bytes:
    if value == "":
        return b""
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", value):
        raise _Misfit(f"expected {2 * size} hexadecimal digits, got {_shown(value)}")
    return bytes.fromhex(value)


def _enum(value: Any, names: tuple[str, ...]) -> bytes:
    if isinstance(value, str) and value in names:
        return varint(names.index(value))
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise _Misfit(f"expected one of {', '.join(names[:8])}, … or its number, got {_shown(value)}")
    return varint(_integer(value, *_INTEGERS["int32"]))


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


# --- bytes → JSON ---------------------------------------------------------------------------------------------------

_Writer: TypeAlias = Callable[[Any], Any]


def encode(batch: Batch) -> bytes:
    """A batch as an Export…ServiceRequest in JSON. Raises WireError where its records are malformed.

    Text that is not UTF-8 gets U+FFFD.
    """
    return msgspec.json.encode(as_dict(batch.signal, batch.encode()))


def as_dict(signal: Signal, data: Buffer) -> dict[str, Any]:
    """The same request, from its bytes, as dicts and lists to be written as JSON."""
    root = _ROOTS[signal]
    try:
        parsed = message(_full_name(root), text_as_bytes=True).FromString(bytes(data))
    except DecodeError as error:
        raise WireError(f"malformed {signal} request: {error}") from None
    made: dict[str, Any] = _writer(root)(parsed)
    return made


def _full_name(name: str) -> str:
    package, _, rest = name.partition(".")
    return f"opentelemetry.proto.{package}.v1.{rest}"


@cache
def _writer(name: str) -> _Writer:
    fields = {each.number: (_camel(each.name), _value_writer(each), each.repeated) for each in messages()[name]}

    def write(parsed: Any) -> dict[str, Any]:
        made = {}
        for descriptor, value in parsed.ListFields():
            key, written, repeated = fields[descriptor.number]
            made[key] = [written(item) for item in value] if repeated else written(value)
        return made

    return write


def _value_writer(of: Field) -> _Writer:
    if "." in of.type and of.type not in ENUMS:
        name = of.type

        def write(value: Any) -> Any:
            return _writer(name)(value)  # looked up late: messages hold each other

        return write
    if of.name in _ID_SIZES:
        return bytes.hex
    if of.type in _AS_TEXT:
        return str
    if of.type == "double":
        return _json_number
    if of.type == "string":
        return lambda value: value.decode("utf-8", "replace")
    if of.type == "bytes":
        return lambda value: base64.b64encode(value).decode("ascii")
    return lambda value: value


def _json_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
