"""Points, in the order of their series, to groups: one for each target, with one Metric for each name in it."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

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

    def sort(self) -> tuple[dict[Target, list[Slot]], dict[Slot, int]]:
        """Bring the points of a slot and the slots of a target together; say how many points of `points` each has."""
        ranges: dict[Slot, list[tuple[int, int]]] = {}
        at = 0
        for slot, same in groupby(self.slots):
            behind = at + len(list(same))
            ranges.setdefault(slot, []).append((at, behind))
            at = behind
        targets: dict[Target, list[Slot]] = {}
        for slot in dict.fromkeys((*ranges, *self.others)):
            targets.setdefault(slot.target, []).append(slot)
        self._sort([one for slots in targets.values() for slot in slots for one in ranges.get(slot, ())])
        return targets, {slot: sum(b - a for a, b in found) for slot, found in ranges.items()}

    def _sort(self, order: list[tuple[int, int]]) -> None:
        if all(one[1] == two[0] for one, two in pairwise(order)):
            return
        self.points = [point for a, b in order for point in self.points[a:b]]
        index = np.concatenate([np.arange(a, b) for a, b in order])
        self.values, self.times = self.values[index], self.times[index]
        if self.made:
            self.made = {new for new, old in enumerate(index.tolist()) if old in self.made}


class _Metric(NamedTuple):
    """A Metric message: what is before the points, the points that are templates and those that are not, the rest."""

    opening: bytes
    count: int
    others: Sequence[bytes]
    behind: bytes


def groups(points: Points, most: int) -> list[Group]:
    """Encode to at most `most` bytes. The groups share a buffer. Raises TooMany."""
    targets, counts = points.sort()
    sums = np.zeros(len(points.points) + 1, np.intp)
    np.cumsum(np.fromiter(map(len, points.points), np.intp, len(points.points)), out=sums[1:])
    slots = [slot for found in targets.values() for slot in found]
    firsts = np.cumsum([0, *(counts.get(slot, 0) for slot in slots)])
    edges = iter(pairwise(sums[firsts].tolist()))
    begins = iter(firsts.tolist())
    pieces: list[bytes] = []
    spots: list[int] = []  # where the templates of each slot begin in the buffer
    cuts = [0]  # where the groups end there
    items = []
    at = 0
    for found in targets.values():
        metrics = []
        sizes = []
        for slot in found:
            begin, end = next(edges)
            metric, size = _metric(slot, counts.get(slot, 0), end - begin, points.others.get(slot, ()))
            metrics.append(metric)
            sizes.append(size)
        inside = len(SCOPE) + sum(sizes)
        opening = b"\x12" + varint(inside) + SCOPE
        pieces.append(opening)
        at += len(opening)
        for metric, size in zip(metrics, sizes, strict=True):
            first = next(begins)
            pieces += (metric.opening, *points.points[first : first + metric.count], *metric.others, metric.behind)
            spots.append(at + len(metric.opening))
            at += size
        cuts.append(at)
        items.append(sum(metric.count + len(metric.others) for metric in metrics))
        if at > most:
            raise TooMany(f"the request unfolds to more than {most} bytes")
    buffer = bytearray().join(pieces)
    _fill(buffer, points, sums, firsts, spots)
    view = memoryview(buffer)
    return [
        Group(target.resource, (view[a:b],), count)
        for target, (a, b), count in zip(targets, pairwise(cuts), items, strict=True)
    ]


def _metric(slot: Slot, count: int, templates: int, others: Sequence[bytes]) -> tuple[_Metric, int]:
    """The message, and its size with tag and length. `templates` is the size of `count` points."""
    head, tag, behind = slot.frame()
    inside = templates + sum(map(len, others)) + len(behind)
    opening = tag + varint(inside)
    opening = b"\x12" + varint(len(head) + len(opening) + inside) + head + opening
    return _Metric(opening, count, others, behind), len(opening) + inside


def _fill(buffer: bytearray, points: Points, sums: Places, firsts: Places, spots: list[int]) -> None:
    """Write values and times into the templates."""
    shifts = np.array(spots, np.intp) - sums[firsts[:-1]]
    ends = sums[1:] + np.repeat(shifts, np.diff(firsts))
    values, times_ = points.values, points.times
    if points.made:
        kept = np.ones(len(ends), np.bool_)
        kept[list(points.made)] = False
        ends, values, times_ = ends[kept], values[kept], times_[kept]
    columns.write(buffer, ends, values, times_)
