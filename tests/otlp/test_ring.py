"""The ring of members: OpenTelemetry's, and little changes with it."""

import os

from hawse.otlp.ring import Ring


def test_positions_are_opentelemetrys():
    ring = Ring(["endpoint-2", "endpoint-1", "endpoint-1"])
    own = dict(zip(ring._positions, ring._owners, strict=True))
    # From the tests of its exporter: the first five of each.
    assert {own[position] for position in (1401, 4175, 14133, 17836, 21667)} == {"endpoint-1"}
    assert {own[position] for position in (10240, 15002, 21263, 26806, 27020)} == {"endpoint-2"}
    assert len(own) == 200
    assert ring.member(bytes((1, 2)) + bytes(14)) == "endpoint-1"
    assert ring.member(bytes((128, 128)) + bytes(14)) == "endpoint-2"


def test_the_order_of_members_makes_no_difference():
    members = [f"10.0.0.{n}:4317" for n in range(7)]
    one, other = Ring(members), Ring(reversed(members))
    assert one.id == other.id
    assert all(one.member(key) == other.member(key) for key in (os.urandom(16) for _ in range(1000)))


def test_a_member_more_or_less_moves_only_its_share():
    members = [f"10.0.0.{n}:4317" for n in range(8)]
    keys = [os.urandom(16) for _ in range(20_000)]
    before, after = Ring(members), Ring(members[:-1])
    moved = [(before.member(key), after.member(key)) for key in keys if before.member(key) != after.member(key)]
    assert {was for was, _ in moved} == {members[-1]}  # nothing else moved
    assert 0.06 < len(moved) / len(keys) < 0.22
    assert len({now for _, now in moved}) == 7  # and it is spread over all others
    shares = [sum(before.member(key) == member for key in keys) / len(keys) for member in members]
    assert min(shares) > 0.06
    assert max(shares) < 0.22


def test_without_members():
    assert Ring([]).member(b"x") == ""
    assert Ring(["a:1"]).member(b"x") == "a:1"
