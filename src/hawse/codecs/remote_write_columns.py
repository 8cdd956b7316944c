"""Values and times of a whole request at once.

A series of one sample ends in `12 10 09 <double> 10 <ms>` (fields samples, value, timestamp), or in `12 07 10 <ms>`
where the value is zero and so is left out; a time between 1971 and 2109 takes six bytes as a varint of milliseconds.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hawse.wire import Buffer

Numbers: TypeAlias = npt.NDArray[np.uint64]
Places: TypeAlias = npt.NDArray[np.intp]
Flags: TypeAlias = npt.NDArray[np.bool_]

TAIL = 15  # bytes: a value, a tag, a time
_CONTINUED = np.uint64(0x0080_8080_8080_0000)  # of a word whose last six bytes are a varint
_LAST = np.uint64(0x8000_0000_0000_0000)


def words(buffer: Buffer) -> Numbers:
    """The eight bytes that begin at each place of a buffer, as little-endian numbers, without copying."""
    size = max(0, len(buffer) - 7)
    return np.ndarray((size,), np.dtype("<u8"), buffer, 0, (1,))


def read(buffer: Buffer, ends: Sequence[int], zeros: Flags) -> tuple[Numbers, Numbers, Flags]:
    """Bits of the values, times in Unix ns, and which samples are not of the form: those are to be read otherwise.

    A sample ends at each of `ends`; where `zeros` says so, its value is left out. There are at least 15 bytes before
    each end.
    """
    at = np.array(ends, np.intp)
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


def varints(packed: bytes, lengths: Sequence[int]) -> tuple[Places | None, list[int]]:
    """Numbers of packed varints, and how many of them are in each of the pieces, whose lengths are given.

    None where one has more than three bytes, or goes on from one piece into the next.
    """
    data = np.frombuffer(packed, np.uint8)
    last = data < 128
    stops = np.cumsum(lengths)
    if len(data) == 0:
        return np.zeros(0, np.intp), [0] * len(lengths)
    full = [stop - 1 for stop, length in zip(stops.tolist(), lengths, strict=True) if length]
    if not last[full].all():
        return None, []
    ends = np.flatnonzero(last)
    begins = np.empty_like(ends)
    begins[0] = 0
    begins[1:] = ends[:-1] + 1
    size = ends - begins
    if size.max() > 2:
        return None, []
    numbers = (data[begins] & 127).astype(np.intp)
    for place in (1, 2):
        longer = np.flatnonzero(size >= place)
        numbers[longer] |= (data[begins[longer] + place] & np.intp(127)) << (7 * place)
    before = np.concatenate(([0], np.cumsum(last)))
    return numbers, np.diff(before[np.concatenate(([0], stops))]).tolist()


def write(buffer: bytearray, ends: Places, values: Numbers, times: Numbers) -> None:
    """Put values and times into points that end at `ends` (`remote_write_series.template`)."""
    word = words(buffer)
    word[ends - 17] = times
    word[ends - 8] = values
