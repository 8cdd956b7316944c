"""How senders lay number points out: what is of fixed width in them, and what tells their series.

NumberDataPoint of opentelemetry-proto, `metrics/v1/metrics.proto`.
"""

from typing import Any, NamedTuple

STALE_FLAG = 1  # DataPointFlags: no recorded value
# Tags of NumberDataPoint's fields.
_START, _TIME, _DOUBLE, INT, _ATTRIBUTES, _FLAGS = 0x11, 0x19, 0x21, 0x31, 0x3A, 0x40


class Layout(NamedTuple):
    """How a number point is laid out: `size` bytes of times and value, `first` or after the attributes."""

    first: bool
    size: int


# Start (9 bytes), time (9), flags (2), value (9): the start and the flags may be missing. 0: some other way.
WITH_FLAGS = frozenset({29, 20})
SIZES = (29, 27, 20, 18)
NOWHERE = Layout(first=True, size=0)
_LAYOUTS = {_START: Layout(first=True, size=27), _TIME: Layout(first=True, size=18)}  # by their first tag


def layout_of(point: bytes) -> Layout:
    """As Go's encoder writes it (in the order of field numbers, attributes last), or with the attributes first."""
    size = len(point)
    if size < 18:
        return NOWHERE
    tag = point[0]
    if tag == _ATTRIBUTES or size in WITH_FLAGS:
        fixed = 20 if size >= 20 and point[-11] == _FLAGS and point[-10] <= STALE_FLAG else 18
        if size >= fixed + 9 and point[-fixed] == _TIME and point[-fixed - 9] == _START:
            fixed += 9
        if tag == _ATTRIBUTES or size == fixed:
            return Layout(first=False, size=fixed)
    return _LAYOUTS.get(tag, NOWHERE)


def key_of(raw: bytes, point: Any) -> bytes | None:
    """What the point will be recognised by; None where that is not all of it but times and value."""
    first, size = layout_of(raw)
    fixed = raw[:size] if first else raw[-size:]
    if not size or point.exemplars or not regular(fixed, size, 1):
        return None
    at = time_at(size)
    start = point.start_time_unix_nano == (int.from_bytes(fixed[1:9], "little") if size >= 27 else 0)
    found = start and point.time_unix_nano == int.from_bytes(fixed[at : at + 8], "little")
    return (raw[size:] if first else raw[:-size]) if found else None


def regular(blob: bytes, size: int, points: int) -> bool:
    """Whether each piece has its tags where the layout says; a stale point, or one with exemplars there, has not."""
    values = blob[size - 9 :: size]
    return (
        len(blob) == size * points
        and values.count(_DOUBLE) + values.count(INT) == points
        and blob[time_at(size) - 1 :: size].count(_TIME) == points
        and (size not in WITH_FLAGS or blob[size - 11 :: size].count(_FLAGS) == points)
        and (size < 27 or blob[::size].count(_START) == points)
    )


def time_at(size: int) -> int:
    """Where the time is in the fixed part."""
    return size - (19 if size in WITH_FLAGS else 17)
