"""Values and times of a whole request at once.

A series of one sample ends in `12 10 09 <double> 10 <ms>` (fields samples, value, timestamp), or in `12 07 10 <ms>`
where the value is zero and so is left out; a time between 1971 and 2109 takes six bytes as a varint of milliseconds.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hawse.wire import Buffer

Numbers: TypeAlias = npt.NDArray[np.uint64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Integers: TypeAlias = npt.NDArray[np.int32]
Places: TypeAlias = npt.NDArray[np.intp]
Flags: TypeAlias = npt.NDArray[np.bool_]

TAIL = 15  # bytes: a value, a tag, a time
_CONTINUED = np.uint64(0x0080_8080_8080_0000)  # of a word whose last six bytes are a varint
_LAST = np.uint64(0x8000_0000_0000_0000)


def words(buffer: Buffer) -> Numbers:
    """The eight bytes that begin at each place of a buffer, as little-endian numbers, without copying."""
    size = max(0, len(buffer) - 7)
    return np.ndarray((size,), np.dtype("<u8"), buffer, 0, (1,))


def read(buffer: Buffer, ends: Sequence[int] | Places, zeros: Flags) -> tuple[Numbers, Numbers, Flags]:
    """Bits of the values, times in Unix ns, and which samples are not of the form: those are to be read otherwise.

    A sample ends at each of `ends`; where `zeros` says so, its value is left out. There are at least 15 bytes before
    each end.
    """
    at = np.asarray(ends, np.intp)
    word = words(buffer)
    last = word[at - 8]
    odd = (last & (_CONTINUED | _LAST)) != _CONTINUED
    odd |= (last >> np.uint64(8)) & np.uint64(0xFF) != np.uint64(0x10)
    time = np.zeros(len(at), np.uint64)
    for place in range(6):
        time |= ((last >> np.uint64(16 + 8 * place)) & np.uint64(0x7F)) << np.uint64(7 * place)
    odd |= time == 0
    values = word[at - TAIL]
    values[zeros] = 0
    return values, time * np.uint64(1_000_000), odd


class Simple(NamedTuple):
    """Where the parts of series of one sample are (2.0); `ok` says which series are such.

    References are from `refs` on, `size` bytes; the time of the sample ends at `ends`, and there begins what else there
    is; `zeros` says where the value is left out.
    """

    ok: Flags
    refs: Places
    size: Places
    ends: Places
    zeros: Flags


# How a sample begins, as the three bytes of a little-endian number; those with a start time are seven bytes longer.
_VALUE, _ZERO, _VALUE_SINCE, _ZERO_SINCE = (np.uint64(number) for number in (0x091012, 0x100712, 0x091712, 0x100E12))
PADDING = 32  # bytes behind the last series, so that everything can be looked at before it is known to be there


def split(buffer: bytes, begins: Places, stops: Places) -> Simple:
    """Look for `0a <references> 12 <value?> <time> <start time?> …` in each of many series.

    `buffer` has `PADDING` behind the last one.
    """
    data = np.frombuffer(buffer, np.uint8)
    size = data[begins + 1].astype(np.intp)
    longer = size > 127
    size = np.where(longer, size & 127 | data[begins + 2].astype(np.intp) << 7, size)
    refs = begins + 2 + longer
    at = np.minimum(refs + size, stops)  # what is too long is not `ok`, but must not lead outside
    start = words(buffer)[at] & np.uint64(0xFFFFFF)
    zeros = (start == _ZERO) | (start == _ZERO_SINCE)
    since = (start == _VALUE_SINCE) | (start == _ZERO_SINCE)
    ends = at + np.where(zeros, 9, 18)
    ok = zeros | since | (start == _VALUE)
    ok &= (
        (data[begins] == 0x0A)
        & (stops - begins >= 12)
        & (size > 0)
        & (size < 1 << 14)
        & (refs + size <= stops)
        & (ends <= stops)
    )
    ends = np.minimum(ends, stops)
    # A start time follows where the sample's length says so, and nowhere else.
    ok &= ((data[ends] == 0x18) & (ends < stops)) == since
    return Simple(ok, refs, size, ends, zeros)


_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_COMPARED = 24  # bytes: three words


def repeated(buffer: bytes, begins: Places, stops: Places) -> Flags:
    """Whether the bytes of each stretch are those of the one before, where they are few enough to be compared.

    `buffer` has `PADDING` behind the last one.
    """
    sizes = stops - begins
    same = np.zeros(len(sizes), np.bool_)
    same[1:] = (sizes[1:] == sizes[:-1]) & (sizes[1:] <= _COMPARED)
    word = words(buffer)
    for place in range(0, _COMPARED, 8):
        part = word[begins + place] & _MASKS[np.clip(sizes - place, 0, 8)]
        same[1:] &= part[1:] == part[:-1]
    return same


def ranges(begins: Places, sizes: Places) -> Places:
    """All places of ranges, one after the other."""
    behind = np.cumsum(sizes)
    total = int(behind[-1]) if len(behind) else 0
    return np.repeat(begins - (behind - sizes), sizes) + np.arange(total)


def varints(packed: Bytes, sizes: Places) -> tuple[Integers, Places] | None:
    """Numbers of packed varints, and how many of them are in each of the pieces, whose sizes in bytes (> 0) are given.

    None where one has more than three bytes, or goes on from one piece into the next.
    """
    last = packed < 128
    stops = np.cumsum(sizes)
    if not last[stops - 1].all():
        return None
    ends = np.flatnonzero(last)
    begins = np.empty_like(ends)
    begins[0] = 0
    np.add(ends[:-1], 1, out=begins[1:])
    more = ends - begins
    first, second = packed[begins].astype(np.int32), packed[ends].astype(np.int32)
    numbers = np.where(more, first & 127 | second << 7, first)
    if (longest := more.max()) > 1:
        if longest > 2:
            return None
        longer = np.flatnonzero(more == 2)
        middle = packed[begins[longer] + 1].astype(np.int32) & 127
        numbers[longer] = first[longer] & 127 | middle << 7 | second[longer] << 14
    return numbers, np.add.reduceat(last, stops - sizes, dtype=np.intp)


def records(numbers: npt.NDArray[np.uint32], counts: Places, stories: Places) -> bytes:
    """A record for each series, of 32-bit numbers: how many symbols, the story, the symbols."""
    size = counts + 2
    begins = np.cumsum(size) - size
    out = np.empty(len(numbers) + 2 * len(counts), "<u4")
    rest = np.ones(len(out), np.bool_)
    rest[begins] = rest[begins + 1] = False
    out[begins] = counts
    out[begins + 1] = stories
    out[rest] = numbers
    return out.tobytes()


def write(buffer: bytearray, ends: Places, values: Numbers, times: Numbers) -> None:
    """Put values and times into points that end at `ends` (`remote_write_series.template`)."""
    word = words(buffer)
    word[ends - 17] = times
    word[ends - 8] = values
