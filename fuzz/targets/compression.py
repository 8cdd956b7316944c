"""Content encodings of bodies from strangers: at most so many bytes come out, whatever goes in."""

from collections.abc import Iterator

import cramjam

from fuzz.targets import Target, table
from hawse.net.compression import Malformed, TooLarge, compress, decompress

_ENCODINGS = ("gzip", "zstd", "deflate", "gzip,zstd", "zstd,gzip", "x-gzip", "deflate,gzip", "zstd,zstd", "snappy")


def _run(data: bytes) -> None:
    if len(data) < 2:
        return
    limit = 1 << (data[1] % 23)
    try:
        out = decompress(data[2:], _ENCODINGS[data[0] % len(_ENCODINGS)], limit, ratio=200 if data[0] & 128 else 0)
    except (Malformed, TooLarge):
        return
    assert len(out) <= limit, (len(out), limit)


def _seeds() -> Iterator[bytes]:
    for number, encoding in enumerate(_ENCODINGS):
        for body in (b"", b"some text, some text, some text", b"\0" * 100_000):
            packed = body
            for name in encoding.replace("x-gzip", "gzip").split(","):
                packed = compress([packed], name, 1)
            yield bytes((number, 22)) + packed
            yield bytes((number, 5)) + packed
    member = compress([b"two"], "gzip")
    yield b"\0\x16" + member + member
    framed = bytes(cramjam.snappy.compress(b"some text, some text, some text" * 3000))
    yield b"\x08\x16" + framed
    yield b"\x08\x16" + framed + b"\x80\3\0\0abc" + framed
    frame = compress([b"two"], "zstd")
    yield b"\1\x16" + frame + b"\x50\x2a\x4d\x18\3\0\0\0abc" + frame


_WORDS = [
    b"\x1f\x8b\x08\0",
    b"\x28\xb5\x2f\xfd",
    b"\x78\x9c",
    b"\x50\x2a\x4d\x18",
    b"\xff\xff\xff\xff",
    b"\0\0\xff\xff",
    b"\xff\6\0\0sNaPpY",
    b"\1\7\0\0",
]

TARGETS = table(Target("compression", _run, _seeds, _WORDS, 2048))
