"""Content encodings against other implementations, and bounds while decompressing."""

import gzip
import os
import random
import time
import zlib

import cramjam
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.net.compression import Malformed, TooLarge, compress, decompress, decompressing

REFERENCE = {"gzip": gzip.decompress, "deflate": zlib.decompress, "zlib": zlib.decompress, "none": bytes, "": bytes}
REFERENCE["zstd"] = lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
REFERENCE["snappy"] = lambda data: bytes(cramjam.snappy.decompress_raw(data))


@pytest.mark.parametrize("compression", list(REFERENCE))
@pytest.mark.parametrize("level", [0, 1, 3, 9])
@given(parts=st.lists(st.binary(max_size=50)))
@settings(max_examples=20, deadline=None)
def test_pieces_become_one_body(compression, level, parts):
    assert REFERENCE[compression](compress(iter(parts), compression, level)) == b"".join(parts)


def test_large_pieces_of_all_kinds():
    pieces = [b"a" * 300_000, bytearray(b"b" * 10), memoryview(b"c" * 700_000)]
    for compression, decode in REFERENCE.items():
        assert decode(compress(pieces, compression)) == b"a" * 300_000 + b"b" * 10 + b"c" * 700_000


ENCODED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("encoding", list(ENCODED))
def test_the_limit_is_exact(encoding):
    body = ENCODED[encoding](b"x" * 1000)
    assert decompress(body, encoding, 1000) == b"x" * 1000
    with pytest.raises(TooLarge, match=r"over 999 bytes \(max_request_body_size\)"):
        decompress(body, encoding, 999)
    twice = body + body
    if encoding != "deflate":
        assert decompress(twice, encoding, 2000) == b"x" * 2000
        with pytest.raises(TooLarge):
            decompress(twice, encoding, 1999)


def test_a_snappy_block_is_believed_as_far_as_it_can_be_so():
    body = compress([b"x" * 100_000], "snappy")
    assert len(body) < 100_000 / 21  # the best that the format can do, which is let through
    assert decompress(body, "snappy", 100_000) == b"x" * 100_000
    with pytest.raises(TooLarge):
        decompress(body, "snappy", 99_999)
    for announced in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\x01", b"\xff" * 12, b"\xff"):
        with pytest.raises(Malformed, match="no snappy block"):
            decompress(announced + b"\x00a", "snappy", 1 << 40)
    for cut in range(len(body)):
        with pytest.raises(Malformed):
            decompress(body[:cut], "snappy", 1 << 20)


@given(body=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_snappy_is_decompressed_or_refused(body):
    try:
        assert len(decompress(body, "snappy", 5000)) <= 5000
    except (Malformed, TooLarge):
        pass


def test_the_ratio_counts_above_a_mebibyte():
    small, large = (ENCODED["zstd"](b"x" * size) for size in (1 << 20, (1 << 20) + 1))
    assert len(decompress(small, "zstd", 1 << 30, ratio=10)) == 1 << 20
    assert len(decompress(large, "zstd", 1 << 30)) == (1 << 20) + 1
    with pytest.raises(TooLarge, match="over 10 times its size"):
        decompress(large, "zstd", 1 << 30, ratio=10)


def test_zstd_frames_without_size_and_to_be_skipped():
    def unsized(data):
        made = zstandard.ZstdCompressor().compressobj()
        return made.compress(data) + made.flush()

    skippable = (0x184D2A53).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    body = skippable + unsized(b"x" * 500_000) + skippable + unsized(b"") + ENCODED["zstd"](b"y") + skippable
    assert decompress(body, "zstd", 500_001) == b"x" * 500_000 + b"y"
    with pytest.raises(TooLarge):
        decompress(body, "zstd", 500_000)
    for end in range(1, len(skippable)):
        with pytest.raises(Malformed):
            decompress(skippable[:end], "zstd", 10)


@pytest.mark.parametrize("encoding", list(ENCODED))
@given(data=st.binary(min_size=1, max_size=400), cut=st.floats(0, 0.999), flip=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_what_is_cut_off_or_spoilt_is_never_taken_for_something_else(encoding, data, cut, flip):
    body = ENCODED[encoding](data * 3)
    with pytest.raises(Malformed):
        decompress(body[: int(cut * len(body))], encoding, 10_000)
    spoilt = bytearray(body)
    spoilt[flip // 8 % len(body)] ^= 1 << flip % 8
    try:
        read = decompress(bytes(spoilt), encoding, 10_000)
    except (Malformed, TooLarge):
        return
    # All three have a checksum of the content; what is left are the flags and times of gzip's header and the like.
    assert read == data * 3


@pytest.mark.parametrize("encoding", [*ENCODED, "gzip, zstd"])
@given(body=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_decompressed_or_refused(encoding, body):
    for start in (b"", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"\x78\x9c", b"\x28\xb5\x2f\xfd"):
        try:
            assert len(decompress(start + body, encoding, 5000)) <= 5000
        except (Malformed, TooLarge):
            pass


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", gzip.compress(b"") * 500_000, "4096 gzip members"),
        ("zstd", zstandard.ZstdCompressor().compress(b"") * 1_000_000, "4096 zstd frames"),
        ("zstd", b"\x28\xb5\x2f\xfd\0\x58" + b"\0\0\0" * 5_000_000 + b"\1\0\0", "65536 zstd blocks"),
    ],
)
def test_parts_without_number_cost_next_to_nothing(encoding, body, says):
    """Each part costs us a call, and in gzip's case a copy of what is behind it: twenty megabytes of them took hours."""
    began = time.process_time()
    with pytest.raises(Malformed, match=says):
        decompress(body, encoding, 20 << 20)
    assert time.process_time() - began < 1


def test_many_members_and_frames_are_joined():
    parts = [os.urandom(random.randrange(3000)) for _ in range(300)]
    assert decompress(b"".join(map(gzip.compress, parts)), "gzip", 20 << 20) == b"".join(parts)
    packed = zstandard.ZstdCompressor()
    assert decompress(b"".join(map(packed.compress, parts)), "zstd", 20 << 20) == b"".join(parts)


def test_large_bodies_come_in_steps():
    body = os.urandom(2_500_000) + b"x" * 3_000_000
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        sizes, steps = [], decompressing(packed, encoding, 20 << 20)
        try:
            while True:
                sizes.append(next(steps))
        except StopIteration as done:
            assert done.value == body
        assert sum(sizes) == len(body)
        assert max(sizes) <= 1 << 20
