"""Snappy's framing format, which Go's gRPC calls snappy, from strangers."""

import os

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.net.compression import Malformed, TooLarge, decompress, decompressing

MAGIC = b"\xff\x06\0\0sNaPpY"


def chunk(kind, data):
    return bytes((kind,)) + len(data).to_bytes(3, "little") + data


def framed(data):
    return bytes(cramjam.snappy.compress(data))


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 5_000_000])
def test_what_was_compressed(size):
    data = (os.urandom(3000) * (size // 3000 + 1))[:size]
    assert decompress(framed(data), "snappy", size) == data
    assert (
        decompress(
            framed(data) + chunk(0x80, b"skipped") + chunk(0xFE, b"padding") + MAGIC + framed(data), "snappy", 2 * size
        )
        == data * 2
    )
    with pytest.raises(TooLarge):
        decompress(framed(data), "snappy", size - 1)


def test_others_get_their_turn():
    assert len(list(decompressing(framed(bytes(8 << 20)), "snappy", 8 << 20))) == 8


@pytest.mark.parametrize(
    "data",
    [
        MAGIC[:-1],
        MAGIC + b"\0",
        framed(b"hello" * 100)[:-1],
        MAGIC + chunk(0, b""),
        MAGIC + chunk(0, b"1234"),
        MAGIC + chunk(1, b"123"),
        MAGIC + chunk(2, b"12345"),
        MAGIC + chunk(0xFF, b"sNaPpX"),
        MAGIC + chunk(1, b"\0\0\0\0hello"),  # a wrong checksum
        MAGIC + chunk(1, bytes(4 + 65_537)),
        MAGIC + chunk(0, bytes(4) + b"\xff\xff\xff\xff\x0f"),
    ],
)
def test_malformed(data):
    with pytest.raises(Malformed):
        decompress(data, "snappy", 1 << 20)


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 0x80, 0xFF]), st.binary(max_size=40)), max_size=6),
    st.binary(max_size=3),
)
def test_any_chunks(chunks, rest):
    data = MAGIC + b"".join(chunk(kind, content) for kind, content in chunks) + rest
    try:
        assert len(decompress(data, "snappy", 1000)) <= 1000
    except (Malformed, TooLarge):
        pass
