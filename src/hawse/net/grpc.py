"""gRPC's framing and statuses (grpc/grpc, doc/PROTOCOL-HTTP2.md, doc/statuscodes.md), apart from sockets.

A unary method is mounted like any HTTP handler, with the method `GRPC` and the path `/package.Service/Method`. Its
Request has the message as body, decompressed; its Response's body is the answer's message. What goes wrong is raised
as `GrpcError`.

A method with any number of messages, in either direction or both, is mounted with the method `GRPC-STREAM` and a
handler that is given a Request without body and an async iterator of messages, and is an async generator of messages.
"""

import base64
import binascii
import enum
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from hawse.net.http import HttpError
from hawse.wire import LENGTH, VARINT, WireError, field, read_varint, varint, walk

METHOD = "GRPC"
STREAM = "GRPC-STREAM"
PREFIX = 5  # bytes before a message: compressed or not, length
ENCODINGS = ("gzip", "deflate", "zstd", "snappy", "identity")
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Code(enum.IntEnum):
    """Status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class GrpcError(Exception):
    """Ends a call with a status. `details` are google.protobuf.Any messages for grpc-status-details-bin."""

    def __init__(self, code: Code, message: str, details: Sequence[bytes] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def status(self) -> bytes:
        """The google.rpc.Status message (googleapis, google/rpc/status.proto)."""
        inside = b"\x08" + varint(self.code) + field(2, self.message.encode("utf-8", "replace"))
        return inside + b"".join(field(3, detail) for detail in self.details)


def retry_info(seconds: float) -> bytes:
    """google.rpc.RetryInfo in an Any: when to try again (OTLP asks for it in UNAVAILABLE and RESOURCE_EXHAUSTED)."""
    whole = int(seconds)
    delay = b"\x08" + varint(whole) + b"\x10" + varint(int((seconds - whole) * 1e9))
    return field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, delay))


def retry_delay(details: Sequence[bytes]) -> float | None:
    """Seconds that a RetryInfo among the details asks to wait; None where there is none."""
    for detail in details:
        try:
            kind, value = b"", b""
            for number, wire_type, _, start, end in walk(detail):
                if wire_type == LENGTH and number in {1, 2}:
                    kind, value = (detail[start:end], value) if number == 1 else (kind, detail[start:end])
            if kind.endswith(b"/google.rpc.RetryInfo"):
                return _duration(value)
        except WireError:
            continue
    return None


def _duration(info: bytes) -> float:
    """Seconds of a RetryInfo: field 1, a google.protobuf.Duration (seconds, nanoseconds)."""
    seconds = 0.0
    for number, kind, _, start, end in walk(info):
        if number == 1 and kind == LENGTH:
            for inner, inner_kind, _, at, behind in walk(info, start, end):
                if inner_kind == VARINT and inner in {1, 2}:
                    value = read_varint(info, at, behind)[0]
                    seconds += 0 if value >> 63 else value * (1 if inner == 1 else 1e-9)
    return min(seconds, _LONGEST_DELAY)


def status_of(fields: Mapping[str, str]) -> GrpcError | None:
    """What trailers say: None for OK. A status that is none is UNKNOWN, as is one that is missing."""
    raw = fields.get("grpc-status", "")
    if raw == "0":
        return None
    message = unquote(fields.get("grpc-message", ""), errors="replace")
    details: tuple[bytes, ...] = ()
    try:
        text = fields.get("grpc-status-details-bin", "")
        status = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        details = tuple(status[at:end] for number, kind, _, at, end in walk(status) if number == 3 and kind == LENGTH)
    except (binascii.Error, WireError, ValueError):
        pass  # the code is what counts
    if not raw:
        return GrpcError(Code.UNKNOWN, message or "the answer has no grpc-status", details)
    known = raw.isdecimal() and int(raw) in _KNOWN
    return GrpcError(Code(int(raw)) if known else Code.UNKNOWN, message or f"grpc-status {raw[:20]}", details)


_LONGEST_DELAY = 3600.0
_KNOWN = frozenset(Code)
_CODES = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    405: Code.UNIMPLEMENTED,
    408: Code.UNAVAILABLE,
    413: Code.RESOURCE_EXHAUSTED,
    415: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    431: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
}


def of_http(error: HttpError) -> GrpcError:
    """A refusal of the server's own as gRPC has it. What may be tried again says when."""
    code = _CODES.get(error.response.status, Code.UNKNOWN)
    wait = error.response.headers.get("retry-after", "")
    details = (retry_info(float(wait)),) if code is Code.UNAVAILABLE and wait.isdigit() else ()
    return GrpcError(code, error.message, details)


def unary(prefix: bytes, received: int) -> bool:
    """Whether the one message of a request is compressed; `received` counts the bytes of both. Raises GrpcError."""
    if len(prefix) < PREFIX:
        raise GrpcError(Code.INTERNAL, "the request has no message")
    size = int.from_bytes(prefix[1:PREFIX], "big")
    if size > received - PREFIX:
        raise GrpcError(Code.INTERNAL, "the message is cut off")
    if size < received - PREFIX:
        raise GrpcError(Code.UNIMPLEMENTED, "the message is followed by more; the method takes one")
    if prefix[0] > 1:
        raise GrpcError(Code.INTERNAL, f"the message has the flags {prefix[0]}, of which only 1 is known")
    return prefix[0] == 1


def framed(message: bytes, *, compressed: bool = False) -> bytes:
    """A message with its prefix."""
    return (b"\1" if compressed else b"\0") + len(message).to_bytes(4, "big") + message


def timeout(value: str) -> float | None:
    """Seconds of a grpc-timeout field; None where it is none."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS[found[2]] if found else None


def timeout_of(seconds: float) -> str:
    """A grpc-timeout field: at most eight digits."""
    milliseconds = max(1, round(seconds * 1000))
    return f"{milliseconds}m" if milliseconds < 100_000_000 else f"{min(round(seconds), 99_999_999)}S"


def percent(message: str) -> str:
    """A grpc-message: percent-encoded UTF-8, printable ASCII as it is."""
    return quote(message[:1000], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
