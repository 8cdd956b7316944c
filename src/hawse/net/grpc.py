"""gRPC's framing and statuses (grpc/grpc, doc/PROTOCOL-HTTP2.md, doc/statuscodes.md), apart from sockets.

A unary method is mounted like any HTTP handler, with the method `GRPC` and the path `/package.Service/Method`. Its
Request has the message as body, decompressed; its Response's body is the answer's message. What goes wrong is raised
as `GrpcError`.

A method with any number of messages, in either direction or both, is mounted with the method `GRPC-STREAM` and a
handler that is given a Request without body and an async iterator of messages, and is an async generator of messages.
"""

import enum
import re
from collections.abc import Sequence
from urllib.parse import quote

from hawse.net.http import HttpError
from hawse.wire import field, varint

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


def framed(message: bytes) -> bytes:
    """A message with its prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def timeout(value: str) -> float | None:
    """Seconds of a grpc-timeout field; None where it is none."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS[found[2]] if found else None


def percent(message: str) -> str:
    """A grpc-message: percent-encoded UTF-8, printable ASCII as it is."""
    return quote(message[:1000], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
