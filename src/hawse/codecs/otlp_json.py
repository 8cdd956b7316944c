"""OTLP in JSON ↔ batches (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding").

That is protobuf's JSON mapping (protobuf.dev/programming-guides/json) with these differences: trace and span ids are
hexadecimal, and enums are written as numbers. What is read may also have enum names, field names as in the proto
files, integers as text or as numbers; unknown fields are ignored.
"""

import base64
import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import msgspec
from google.protobuf.message import DecodeError

from hawse.batch import Batch, Signal
from hawse.codecs import otlp
from hawse.codecs.otlp_descriptors import message
from hawse.codecs.otlp_json_scalars import ID_SIZES, Misfit, Scalar, scalar_reader, shown
from hawse.codecs.otlp_schema import ENUMS, Field, messages
from hawse.wire import Buffer, WireError, field, varint

_ROOTS = {Signal.LOGS: "logs.LogsData", Signal.METRICS: "metrics.MetricsData", Signal.TRACES: "trace.TracesData"}
_DEEPEST = 100  # messages inside messages

_AS_TEXT = frozenset({"int64", "uint64", "fixed64", "sfixed64"})  # beyond what a JSON number holds everywhere
_WIRE_TYPES = {"double": 1, "fixed64": 1, "sfixed64": 1, "fixed32": 5, "string": 2, "bytes": 2}  # others: 0, varint


# --- JSON → bytes ---------------------------------------------------------------------------------------------------


def decode(signal: Signal, data: Buffer, peer: str = "", most: int = 1 << 62) -> Batch:
    """An Export…ServiceRequest in JSON as a batch. Raises WireError, which says where in the document and why.

    For `most` see `otlp.decode`.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"not JSON: {error}") from None
    except RecursionError:
        raise WireError("the JSON nests too deep") from None
    if _parts(document, most) > most:
        raise otlp.TooMany("too many parts")
    try:
        encoded = _reader(_ROOTS[signal])(document, 0)
    except Misfit as misfit:
        raise WireError(f"{misfit.path or 'the request'}: {misfit.message}") from None
    return otlp.decode(signal, encoded, peer, most)


def _parts(document: Any, most: int) -> int:
    """How much the arrays in the document are together, three levels down, weighed as `otlp.decode` does.

    Before anything is made of them: an array of empty objects is a hundred times its text.
    """
    objects, total = [document], 0
    for weight in (otlp.GROUP, otlp.SCOPE, 1):
        below: list[Any] = []
        for each in objects:
            for value in each.values() if isinstance(each, dict) else ():
                if isinstance(value, list):
                    total += weight * len(value)
                    if total > most:
                        return total
                    below += value
        objects = below
    return total


_Reader: TypeAlias = Callable[[Any, int], bytes]  # JSON value and depth → the message's bytes


@cache
def _reader(name: str) -> _Reader:
    """What turns the JSON of a message into its bytes."""
    fields: dict[str, Callable[[Any, int], bytes]] = {}
    for each in messages()[name]:
        fields[_camel(each.name)] = fields[each.name] = _field_reader(each)

    def read(value: Any, depth: int) -> bytes:
        if not isinstance(value, dict):
            raise Misfit(f"expected an object, got {shown(value)}")
        if depth > _DEEPEST:
            raise Misfit(f"nests deeper than {_DEEPEST} messages")
        out = []
        for key, item in value.items():
            known = fields.get(key)
            if known is None or item is None:
                continue
            try:
                out.append(known(item, depth + 1))
            except Misfit as misfit:
                misfit.within(key)
                raise
        return b"".join(out)

    return read


def _field_reader(of: Field) -> Callable[[Any, int], bytes]:
    if "." in of.type and of.type not in ENUMS:
        return _message_reader(of)
    scalar = scalar_reader(of)
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


def _many(of: Field, scalar: Scalar, tag: bytes, kind: int) -> Callable[[Any, int], bytes]:
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
            except Misfit as misfit:
                misfit.within(f"[{at}]")
                raise
        return b"".join(out)

    return many if of.repeated else one


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit(f"expected an array, got {shown(value)}")
    return value


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
    if of.name in ID_SIZES:
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
