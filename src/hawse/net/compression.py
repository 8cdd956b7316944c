"""Content encodings: gzip (RFC 1952), zstd (RFC 8878), deflate (RFC 1950), snappy, identity.

Snappy is its block format (github.com/google/snappy, format_description.txt), as Prometheus remote write has it, or
its framing format (framing_format.txt), as Go's gRPC has it: the two are told apart by their beginning.

`compress` takes pieces and never joins them first. `decompress` is for bytes from strangers: what it may produce is
bounded while it is produced.
"""

from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

import cramjam
import zstandard
from isal import igzip_lib, isal_zlib

from hawse.wire import Buffer, WireError, read_varint

ENCODINGS = ("gzip", "zstd", "deflate", "snappy", "identity")
_GzipError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # the stubs take it for an instance
_PIECE = 256 << 10
_UNJUDGED = 1 << 20  # a small body may have any ratio
_STEP = 1 << 20  # bytes of output, about a millisecond
_WHOLE = 1 << 20  # bytes of input up to which a single member is fed at once
_SLICE = 64 << 10
# Parts that a body may have. Each costs us more than its bytes cost the sender, who needs few: 4096 members are a
# gigabyte of bgzip's, 65536 blocks are eight of zstd's.
_MEMBERS = 4096
_BLOCKS = 65_536
_SNAPPY_STREAM = b"\xff\x06\0\0sNaPpY"
_SNAPPY_CHUNK = 65_536
_WINDOW = 8 << 20  # RFC 8878, 3.1.1.1.2: what every decoder must support, and what a stranger may make us allocate


Steps: TypeAlias = Generator[int, None, bytes]


class TooLarge(ValueError):
    """More output than `limit` allows, which is the name of a setting."""

    def __init__(self, message: str = "", limit: str = "max_request_body_size") -> None:
        super().__init__(f"{message} ({limit})")
        self.message = message
        self.limit = limit


class Malformed(ValueError):
    """Not what the content encoding says, or cut off."""


def content_encoding(compression: str) -> str:
    """The Content-Encoding of a `compression` setting; "" for none."""
    return {"none": "", "zlib": "deflate"}.get(compression, compression)


def compress(parts: Iterable[Buffer], compression: str, level: int = 1) -> bytes:
    """Pieces to one body. `compression` is a setting's value ("gzip", "zstd", "deflate", "zlib", "none", ""), or
    "snappy", for which the pieces are joined after all: a block is compressed at once.
    """
    encoding = content_encoding(compression)
    if encoding == "zstd":
        return _flushed(zstandard.ZstdCompressor(level=level or 3).compressobj(), parts)
    if encoding in {"gzip", "deflate"}:
        wbits = 31 if encoding == "gzip" else 15
        return _flushed(isal_zlib.compressobj(min(level, 3), isal_zlib.DEFLATED, wbits), parts)
    if encoding == "snappy":
        return bytes(cramjam.snappy.compress_raw(b"".join(parts)))
    if encoding == "":
        return b"".join(parts)
    raise ValueError(f"no such compression: {compression!r}")


def _flushed(compressor: "isal_zlib.Compress | zstandard.ZstdCompressionObj", parts: Iterable[Buffer]) -> bytes:
    """Small pieces are gathered: a call of the compressor costs more than copying a few bytes."""
    out: list[bytes] = []
    gathered: list[Buffer] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= _PIECE:
            out.append(compressor.compress(b"".join(gathered)))
            gathered.clear()
            size = 0
    if gathered:
        out.append(compressor.compress(b"".join(gathered)))
    out.append(compressor.flush())
    return b"".join(out)


def decompress(body: bytes, encoding: str, limit: int, ratio: int = 0) -> bytes:
    """Undo a Content-Encoding (several may be listed, the last is undone first).

    Gives at most `limit` bytes and, above 1 MiB, at most `ratio` times the input (0: any). Raises TooLarge, Malformed,
    or KeyError with the name of an encoding that is not in ENCODINGS.
    """
    steps = decompressing(body, encoding, limit, ratio)
    try:
        while True:
            next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def decompressing(body: bytes, encoding: str, limit: int, ratio: int = 0) -> Steps:
    """The same in steps of about a MiB, so that other work can be done between two: yields what each added."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name not in {"", "identity"}:
            allowed = min(limit, max(_UNJUDGED, ratio * len(body))) if ratio else limit
            try:
                body = yield from _DECODERS[name](body, allowed)
            except TooLarge:
                if allowed == limit:
                    raise TooLarge(f"decompressed, the body has over {limit} bytes") from None
                message = f"the body decompresses to over {ratio} times its size"
                raise TooLarge(message, "max_decompression_ratio") from None
    return body


def _inflated(data: bytes, limit: int, wbits: int) -> Steps:
    """A gzip body may have several members in a row (RFC 1952, 2.2)."""
    out: list[bytes] = []
    left = limit + 1  # one more, to tell full from too much
    members = at = 0
    view = memoryview(data)
    while at < len(data):
        if members and (wbits != 31 or data[at : at + 2] != b"\x1f\x8b"):
            raise Malformed("something follows the compressed body that is no gzip data")
        members += 1
        if members > _MEMBERS:
            raise Malformed(f"the body has more than {_MEMBERS} gzip members")
        stream = isal_zlib.decompressobj(wbits)
        # What is left over behind a member is copied: that of a slice, not the whole rest for each of many.
        slice_ = _WHOLE if members == 1 and len(data) <= _WHOLE else _SLICE
        while True:
            fed: Buffer = stream.unconsumed_tail
            if not fed:
                fed = view[at : at + slice_]
                at += len(fed)
            try:
                piece = stream.decompress(fed, min(left, _STEP))
            except _GzipError as error:
                raise Malformed(f"the body is no valid {'gzip' if wbits == 31 else 'deflate'} data: {error}") from None
            out.append(piece)
            left -= len(piece)
            if left == 0:
                raise TooLarge
            yield len(piece)
            if stream.eof:
                break
            if at >= len(data) and not stream.unconsumed_tail and len(piece) < _STEP:
                raise Malformed("the compressed body is cut off")
        at -= len(stream.unused_data)
    return out[0] if len(out) == 1 else b"".join(out)


def _gunzip(data: bytes, limit: int) -> Steps:
    if not data.startswith(b"\x1f\x8b"):
        raise Malformed("the body is no gzip data")
    return _inflated(data, limit, 31)


def _undeflate(data: bytes, limit: int) -> Steps:
    """HTTP's deflate is zlib's format (RFC 9110, 8.4.1.2), but some clients send it without header."""
    if len(data) < 2:
        raise Malformed("the compressed body is cut off")
    has_header = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return _inflated(data, limit, 15 if has_header else -15)


def _unzstd(data: bytes, limit: int) -> Steps:
    """Frames in a row (RFC 8878, 3.1). Their ends are found first: libzstd's bindings either cannot bound the output
    or cannot tell a frame that is cut off, or what follows it, from its end.
    """
    out: list[bytes] = []
    at = frames = blocks = 0
    left = limit
    view = memoryview(data)
    try:
        while at < len(view) or not out:
            end, skipped, inside = _zstd_frame(view, at, _BLOCKS - blocks)
            frames += 1
            blocks += inside
            if frames > _MEMBERS:
                raise Malformed(f"the body has more than {_MEMBERS} zstd frames")
            if not skipped:
                out.append(_unzstd_frame(view[at:end], left))
                left -= len(out[-1])
                yield len(out[-1])
            elif end == len(view):
                break
            at = end
    except (zstandard.ZstdError, ValueError) as error:
        if isinstance(error, TooLarge | Malformed):
            raise
        raise Malformed(f"the body is no valid zstd data: {error}") from None
    return out[0] if len(out) == 1 else b"".join(out)


def _unzstd_frame(frame: memoryview, limit: int) -> bytes:
    size = zstandard.frame_content_size(frame)  # -1 where the sender didn't know
    if size > limit:
        raise TooLarge
    try:
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompress(frame, max_output_size=max(limit, 1))
    except zstandard.ZstdError as error:
        if "did not decompress full frame" in str(error):  # it is whole, so its output is larger than allowed
            raise TooLarge from None
        raise


def _zstd_frame(data: memoryview, at: int, most: int) -> tuple[int, bool, int]:
    """Where the frame that begins at `at` ends, whether it is one to be skipped, and how many blocks it has.

    Raises Malformed, for more than `most` blocks, too, or ZstdError.
    """
    magic = int.from_bytes(data[at : at + 4], "little")
    if magic & 0xFFFF_FFF0 == 0x184D_2A50:
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        return _whole(end, data), True, 0
    parameters = zstandard.get_frame_parameters(data[at : at + 18])
    at += zstandard.frame_header_size(data[at : at + 18])
    last = False
    blocks = 0
    while not last:
        blocks += 1
        if blocks > most:
            raise Malformed(f"the body has more than {_BLOCKS} zstd blocks")
        header = int.from_bytes(data[at : _whole(at + 3, data)], "little")
        last = bool(header & 1)
        kind, size = header >> 1 & 3, header >> 3
        at = _whole(at + 3 + (1 if kind == 1 else size), data)  # 1: one byte, repeated `size` times
    return _whole(at + 4 * parameters.has_checksum, data), False, blocks


def _unsnappy(data: bytes, limit: int) -> Steps:
    """The block says first how long it is inside: a length that no block of this size can have is no reason to
    allocate it. Three bytes, a copy of 64, are the best that the format can do.
    """
    if data.startswith(_SNAPPY_STREAM):
        return (yield from _unsnappy_frames(data, limit))
    try:
        size, at = read_varint(data, 0, len(data))
    except WireError:
        raise Malformed("the body is no snappy block: it does not begin with its length") from None
    if size > limit:
        raise TooLarge
    if size >> 32 or size > 22 * (len(data) - at):
        raise Malformed(f"the body is no snappy block: it cannot unfold to the {size} bytes that it announces")
    try:
        out = bytes(cramjam.snappy.decompress_raw(data))
    except cramjam.DecompressionError as error:
        raise Malformed(f"the body is no valid snappy block: {error}") from None
    yield len(out)
    return out


def _unsnappy_frames(data: bytes, limit: int) -> Steps:
    """Chunks: type, length in three bytes, data. Each says how long it is inside, 64 KiB at most; some are taken
    together.
    """
    out: list[bytes] = []
    at = run = 0
    left, size = limit, 0
    view = memoryview(data)
    while at < len(data):
        kind = data[at]
        begin = at + 4
        at = _whole(begin + int.from_bytes(data[at + 1 : at + 4], "little"), view)
        if kind in {0, 1}:
            size += _snappy_chunk(data, kind, begin, at)
        elif kind < 0x80 or (kind == 0xFF and data[begin:at] != _SNAPPY_STREAM[4:]):
            raise Malformed(f"the body is no valid snappy data: a chunk of type {kind}")
        if size > left:
            raise TooLarge
        if size >= _STEP or at - run >= _STEP or at == len(data):
            try:
                out.append(bytes(cramjam.snappy.decompress(_SNAPPY_STREAM + data[run:at])))
            except cramjam.DecompressionError as error:
                raise Malformed(f"the body is no valid snappy data: {error}") from None
            left -= size
            run, size = at, 0
            yield len(out[-1])
    return b"".join(out)


def _snappy_chunk(data: bytes, kind: int, start: int, end: int) -> int:
    """How many bytes a chunk has inside, behind its checksum."""
    size = end - start - 4
    if kind == 0 and size >= 0:
        try:
            size, _ = read_varint(data, start + 4, end)
        except WireError:
            size = -1
    if not 0 <= size <= _SNAPPY_CHUNK:
        raise Malformed("the body is no valid snappy data: a chunk that is cut off, or too large")
    return size


def _whole(end: int, data: memoryview) -> int:
    if end > len(data):
        raise Malformed("the compressed body is cut off")
    return end


_DECODERS: dict[str, Callable[[bytes, int], Steps]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "zstd": _unzstd,
    "snappy": _unsnappy,
}
