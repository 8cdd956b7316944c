"""HTTP/2's frames (RFC 9113, section 6): numbers, and the bytes of those that we send."""

import enum
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = 9  # bytes: length (24 bits), type, flags, stream

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

# Parameters of SETTINGS (6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
LARGEST_WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
LARGEST_FRAME = (1 << 24) - 1

_head = struct.Struct(">BHBBI")
_u32 = struct.Struct(">I")
_setting = struct.Struct(">HI")


class Code(enum.IntEnum):
    """Error codes (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFailed(Exception):
    """The peer has broken the rules, or taken too much: the connection ends (5.4.1)."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class StreamFailed(Exception):
    """One stream ends (5.4.2)."""

    def __init__(self, stream: int, code: Code) -> None:
        super().__init__(f"stream {stream}: {code.name}")
        self.stream = stream
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame."""
    size = len(payload)
    return _head.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def frame_head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """What stands before a payload of `size` bytes."""
    return _head.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def read_head(data: bytes | memoryview, at: int) -> tuple[int, int, int, int]:
    """Length, type, flags, stream of the frame that begins at `at`."""
    high, low, kind, flags, stream = _head.unpack_from(data, at)
    return high << 16 | low, kind, flags, stream & 0x7FFF_FFFF


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_setting.pack(key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """What a SETTINGS frame says, in order. Raises ConnectionFailed."""
    if len(payload) % 6:
        raise ConnectionFailed(Code.FRAME_SIZE_ERROR, "a SETTINGS frame whose length is no multiple of 6")
    return list(_setting.iter_unpack(payload))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def window_update(stream: int, size: int) -> bytes:
    """So many bytes more may be sent."""
    return frame(WINDOW_UPDATE, 0, stream, _u32.pack(size))


def rst_stream(stream: int, code: Code) -> bytes:
    """The stream has ended."""
    return frame(RST_STREAM, 0, stream, _u32.pack(code))


def goaway(last: int, code: Code, reason: str = "") -> bytes:
    """No stream above `last` has been, or will be, looked at."""
    return frame(GOAWAY, 0, 0, _u32.pack(last) + _u32.pack(code) + reason.encode()[:1000])


def read_u32(payload: bytes | memoryview, at: int = 0) -> int:
    """A number of four bytes."""
    return int(_u32.unpack_from(payload, at)[0])
