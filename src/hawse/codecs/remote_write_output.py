"""Points, in the order of their series, to groups: one for each target, with one Metric for each name in it."""

from collections.abc import Sequence
from itertools import accumulate, chain, groupby, pairwise
from operator import itemgetter

import numpy as np

from hawse.batch import Group
from hawse.codecs import remote_write_columns as columns
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write_columns import Numbers, Places
from hawse.codecs.remote_write_histograms import STALE, times
from hawse.codecs.remote_write_series import Slot, Target
from hawse.wire import field, varint

SCOPE = field(1, field(1, b"github.com/hawse/hawse/receivers/prometheusremotewrite"))


def number(attributes: bytes, start: int, time: int, bits: int, exemplars: Sequence[bytes] = ()) -> bytes:
    """A NumberDataPoint as field 1. Times are Unix ns; `bits` are the value's, a stale marker's among them."""
    value = b"\x40\x01" if bits == STALE else b"\x21" + bits.to_bytes(8, "little")
    return field(1, b"".join((attributes, times(start, time), value, *(field(5, one) for one in exemplars))))


class Points:
    """What a request has: `slots`, `points`, `values`, `times` belong together, one each for a sample.

    `points` are templates to be filled in, but for those whose index is in `made`, which are whole already. `others`
    are whole points that came in other ways.
    """

    def __init__(self, slots: list[Slot], points: list[bytes], values: Numbers, times: Numbers) -> None:
        self.slots = slots
        self.points = points
        self.values = values
        self.times = times
        self.made: set[int] = set()
        self.others: dict[Slot, list[bytes]] = {}

    def replace(self, index: int, point: bytes) -> None:
        """Put a whole point in the place of a template."""
        self.points[index] = point
        self.made.add(index)

    def part(self, some: slice) -> "Points":
        """Some of the points, `some` having a start and an end; those that came in other ways are with the last."""
        if some.start == 0 and some.stop >= len(self.points):
            return self
        made = Points(self.slots[some], self.points[some], self.values[some], self.times[some])
        made.made = {index - some.start for index in self.made if some.start <= index < some.stop}
        made.others = self.others if some.stop >= len(self.points) else {}
        return made

    def sort(self) -> tuple[dict[Target, list[Slot]], dict[Slot, int]]:
        """Bring the points of a slot and the slots of a target together; say how many points of `points` each has."""
        ranges: dict[Slot, list[range]] = {}
        at = 0
        for slot, same in groupby(self.slots):
            behind = at + len(list(same))
            if slot in ranges:
                ranges[slot].append(range(at, behind))
            else:
                ranges[slot] = [range(at, behind)]
            at = behind
        targets: dict[Target, list[Slot]] = {}
        for slot in dict.fromkeys((*ranges, *self.others)):
            targets.setdefault(slot.target, []).append(slot)
        self._sort([one for slots in targets.values() for slot in slots for one in ranges.get(slot, ())])
        return targets, {slot: sum(map(len, found)) for slot, found in ranges.items()}

    def _sort(self, order: list[range]) -> None:
        if all(one.stop == two.start for one, two in pairwise(order)):
            return
        index = list(chain.from_iterable(order))
        self.points = list(itemgetter(*index)(self.points))  # more than one, or they would be in order
        places = np.array(index, np.intp)
        self.values, self.times = self.values[places], self.times[places]
        if self.made:
            self.made = {new for new, old in enumerate(index) if old in self.made}


def groups(points: Points, most: int) -> list[Group]:
    """Encode to at most `most` bytes. The groups share a buffer. Raises TooMany."""
    targets, counts = points.sort()
    sums = np.zeros(len(points.points) + 1, np.intp)
    np.cumsum(np.fromiter(map(len, points.points), np.intp, len(points.points)), out=sums[1:])
    firsts = [0, *accumulate(counts.get(slot, 0) for slots in targets.values() for slot in slots)]
    edges = sums[firsts].tolist()
    pieces: list[bytes] = []
    spots: list[int] = []  # where the templates of each slot begin in the buffer
    cuts = [0]  # where the groups end there
    items = []
    at = 0
    for slots in targets.values():
        pieces.append(b"")  # the scope's opening, when its length is known
        opening = len(pieces) - 1
        begun = len(spots)
        inside = count = 0
        for slot in slots:
            of = len(spots)
            others = points.others.get(slot, ())
            head, behind = slot.frame()
            size = edges[of + 1] - edges[of] + sum(map(len, others)) + len(behind)
            head += varint(size)
            head = b"\x12" + varint(len(head) + size) + head
            pieces.append(head)
            pieces += points.points[firsts[of] : firsts[of + 1]]
            pieces += others
            pieces.append(behind)
            spots.append(inside + len(head))
            inside += len(head) + size
            count += firsts[of + 1] - firsts[of] + len(others)
        pieces[opening] = b"\x12" + varint(len(SCOPE) + inside) + SCOPE
        at += len(pieces[opening])
        spots[begun:] = [at + spot for spot in spots[begun:]]
        at += inside
        cuts.append(at)
        items.append(count)
        if at > most:
            raise TooMany("the request unfolds to more bytes than are allowed")
    buffer = bytearray().join(pieces)
    _fill(buffer, points, sums, firsts, spots)
    view = memoryview(buffer)
    return [
        Group(target.resource, (view[a:b],), count)
        for target, (a, b), count in zip(targets, pairwise(cuts), items, strict=True)
    ]


def _fill(buffer: bytearray, points: Points, sums: Places, firsts: list[int], spots: list[int]) -> None:
    """Write values and times into the templates."""
    begins = np.array(firsts, np.intp)
    shifts = np.array(spots, np.intp) - sums[begins[:-1]]
    ends = sums[1:] + np.repeat(shifts, np.diff(begins))
    values, times_ = points.values, points.times
    if points.made:
        kept = np.ones(len(ends), np.bool_)
        kept[list(points.made)] = False
        ends, values, times_ = ends[kept], values[kept], times_[kept]
    columns.write(buffer, ends, values, times_)
