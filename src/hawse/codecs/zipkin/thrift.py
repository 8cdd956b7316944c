"""Version 1 in Thrift (openzipkin/zipkin-api, thrift/zipkinCore.thrift): a list of spans in the binary protocol."""

import base64
import struct
from collections.abc import Generator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hawse.batch import AttributeValue
from hawse.codecs.thrift import (
    A_BOOL,
    A_STRING,
    AN_I16,
    AN_I32,
    AN_I64,
    Binary,
    Fields,
    a_list,
    a_struct,
    complete,
    structs,
)
from hawse.codecs.zipkin import version_1
from hawse.codecs.zipkin.limits import Limits
from hawse.codecs.zipkin.spans import NOBODY, Endpoint, Known, Spans
from hawse.codecs.zipkin.version_1 import Annotation, BinaryAnnotation, Span
from hawse.wire import WireError

_ENDPOINT: Fields = {1: AN_I32, 2: AN_I16, 3: A_STRING, 4: A_STRING}
_ANNOTATION: Fields = {1: AN_I64, 2: A_STRING, 3: a_struct(_ENDPOINT)}
_BINARY: Fields = {1: A_STRING, 2: A_STRING, 3: AN_I32, 4: a_struct(_ENDPOINT)}
_SPAN: Fields = {
    1: AN_I64, 3: A_STRING, 4: AN_I64, 5: AN_I64, 6: a_list(_ANNOTATION), 8: a_list(_BINARY), 9: A_BOOL, 10: AN_I64,
    11: AN_I64, 12: AN_I64,
}  # fmt: skip
_STEP = 32  # spans between two turns for others
_trace_id, _id, _ipv4 = struct.Struct(">qq"), struct.Struct(">q"), struct.Struct(">i")
_BOOL, _BYTES, _STRING = 0, 1, 6  # AnnotationType
_NUMBERS = {2: struct.Struct(">h"), 3: struct.Struct(">i"), 4: struct.Struct(">q"), 5: struct.Struct(">d")}


def read(data: bytes, limits: Limits, known: Known, *, debug: bool) -> Generator[None, None, Spans]:
    """The spans of a body; all are debug where `debug` says so. Yields now and then. Raises WireError, TooMany."""
    reader = Binary(data)
    spans = Spans(known)
    with complete(data):
        size, at = structs(reader, 0)
        limits.check_spans(size)
        for index in range(size):
            start = at
            try:
                reader.left = limits.parts
                found, at = reader.struct(at, _SPAN)
                version_1.add(spans, _span(found, debug=debug))
            except WireError as error:
                raise WireError(f"span {index}, at byte {start}: {error}") from None
            if index % _STEP == _STEP - 1:
                yield
    if at != len(data):
        raise WireError(f"{len(data) - at} bytes follow the list of spans, from byte {at}")
    return spans


def _span(found: dict[int, Any], *, debug: bool) -> Span:
    for number, name in ((1, "trace_id"), (4, "id")):
        if not found.get(number) and not (number == 1 and found.get(12)):
            raise WireError(f"{name} is {'zero' if number in found else 'missing'}")
    return Span(
        trace_id=_trace_id.pack(found.get(12, 0), found.get(1, 0)),
        span_id=_id.pack(found[4]),
        parent_id=_id.pack(found[5]) if found.get(5) else b"",
        name=_text(found.get(3, b"")),
        start=found.get(10, 0),
        duration=found.get(11, 0),
        debug=debug or found.get(9, False),
        annotations=[
            Annotation(one.get(1, 0), _text(one.get(2, b"")), _endpoint(one.get(3))) for one in found.get(6, ())
        ],
        binary=[
            BinaryAnnotation(_text(one.get(1, b"")), _value(one.get(3, _BYTES), one.get(2, b"")), _endpoint(one.get(4)))
            for one in found.get(8, ())
        ],
    )


def _endpoint(found: dict[int, Any] | None) -> Endpoint:
    if found is None:
        return NOBODY
    ipv4, ipv6 = found.get(1, 0), found.get(4, b"")
    return Endpoint(
        _text(found.get(3, b"")),
        str(IPv4Address(_ipv4.pack(ipv4))) if ipv4 else "",
        str(IPv6Address(ipv6)) if len(ipv6) == 16 else "",
        found.get(2, 0) & 0xFFFF,
    )


def _value(kind: int, raw: bytes) -> AttributeValue:
    """A value by its AnnotationType. Bytes become base64, what cannot be read a text that says so (the collector's)."""
    if kind == _STRING:
        return _text(raw)
    if kind == _BOOL:
        return raw == b"\1"
    if kind == _BYTES:
        return base64.b64encode(raw).decode("ascii")
    number = _NUMBERS.get(kind)
    if number is None:
        return f"<unknown zipkin v1 binary annotation type ({kind})>"
    if len(raw) < number.size:
        return "<not enough bytes representing the number>"
    value: int | float = number.unpack_from(raw)[0]
    return value


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
