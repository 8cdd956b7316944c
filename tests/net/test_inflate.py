"""gzip undone piece by piece: as the standard library undoes it in one, however it is cut; bounded in what it makes."""

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.net.compression import Malformed, TooLarge
from hawse.net.inflate import Inflater


def inflated(pieces, limit=1 << 20):
    inflater = Inflater(limit)
    found = b"".join(out for piece in pieces for out in inflater.feed(piece))
    inflater.finish()
    return found


def cut(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 700))
def test_any_cut_gives_the_same(members, size):
    body = b"".join(map(gzip.compress, members))
    assert inflated(cut(body, size)) == b"".join(members)


def test_long_bodies_come_in_steps():
    data = b"some text that repeats " * 100_000
    body = gzip.compress(data)
    inflater = Inflater(1 << 30)
    pieces = list(inflater.feed(body))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 256 << 10
    assert inflated(cut(body, 97), 1 << 30) == data


def test_the_limit_is_exact():
    body = gzip.compress(b"x" * 1000)
    assert len(inflated([body], 1000)) == 1000
    with pytest.raises(TooLarge, match="over 999 bytes"):
        inflated([body], 999)


def test_a_bomb_is_not_unfolded():
    bomb = gzip.compress(bytes(50 << 20), 9)
    tracemalloc.start()
    try:
        inflater = Inflater(4 << 20)
        with pytest.raises(TooLarge):
            for _ in inflater.feed(bomb):
                pass
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", [1, 9, 10, 15, -1])
def test_cut_off(end):
    with pytest.raises(Malformed, match="cut off"):
        inflated([gzip.compress(b"hello, hello, hello")[:end]])
    with pytest.raises(Malformed, match="cut off"):
        inflated([])


@given(st.binary(min_size=1, max_size=200))
def test_what_is_no_gzip(data):
    with pytest.raises(Malformed):
        inflated([data])
    with pytest.raises(Malformed):
        inflated([gzip.compress(b"ok"), data])


def test_empty_members_without_end():
    with pytest.raises(Malformed, match="more than 4096 gzip members"):
        inflated([gzip.compress(b"")] * 5000)
