"""The way from forms to OTLP that is remembered, too: stretches of series that come in the same order again and again.

A sender's requests begin and end anywhere in its series, but in between the order is that of the scrapes. So the
series of a target are cut into segments where one metric has ended and another begins; the metrics of a segment are
encoded once, and the next time only values and times are filled in.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hawse.batch import Group
from hawse.codecs import remote_write_columns as columns
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write_cache import Form, Forms
from hawse.codecs.remote_write_columns import Numbers, Places
from hawse.codecs.remote_write_output import SCOPE
from hawse.wire import varint

if TYPE_CHECKING:
    from hawse.codecs.remote_write_series import Slot, Target

_SHORTEST = 24  # forms of a segment: shorter ones cost more than they spare
_LONGEST = 4096
_FEW = 8  # stretches of fewer forms are for `remote_write_output`, which brings them together


class Segment:
    """Series in a row, of one target. `metrics` are their Metric messages, `ends` where the point of each ends there.

    `version` is that of the metadata that it was made with.
    """

    __slots__ = ("cost", "ends", "forms", "metrics", "target", "version")

    def __init__(self, forms: list[Form], version: int) -> None:
        self.forms = forms
        self.version = version
        self.target: Target = forms[0].slot.target
        self.metrics, ends = _encode(forms)
        self.ends: Places = np.array(ends, np.intp)
        self.cost = 400 + len(self.metrics) + 16 * len(forms)


def _encode(forms: Sequence[Form]) -> tuple[bytes, list[int]]:
    """Metrics, one for each name, and where in them the points of the forms end."""
    of: dict[Slot, list[int]] = {}
    for place, form in enumerate(forms):
        of.setdefault(form.slot, []).append(place)
    ends = [0] * len(forms)
    pieces: list[bytes] = []
    at = 0
    for slot, places in of.items():
        points = [forms[place].point for place in places]
        head, behind = slot.frame()
        size = sum(map(len, points)) + len(behind)
        head += varint(size)
        head = b"\x12" + varint(len(head) + size) + head
        at += len(head)
        for place, point in zip(places, points, strict=True):
            at += len(point)
            ends[place] = at
        at += len(behind)
        pieces += (head, *points, behind)
    return b"".join(pieces), ends


def groups(
    forms: list[Form], values: Numbers, times: Numbers, known: Forms, version: int, most: int
) -> list[Group] | None:
    """Encode to at most `most` bytes; one buffer for all. Raises TooMany.

    None where targets take turns series by series: then the way over `remote_write_output` makes less of it.
    """
    segments: list[Segment] = []
    at = short = 0
    while at < len(forms):
        segment = forms[at].segment
        if segment is None or segment.version != version or forms[at : at + len(segment.forms)] != segment.forms:
            made, behind = _make(forms, at, known, version)
            if behind - at < _FEW:
                short += 1
                if short > _FEW:
                    return None
            segments += made
            at = behind
        else:
            segments.append(segment)
            at += len(segment.forms)
    return _join(segments, values, times, most)


def _make(forms: list[Form], at: int, known: Forms, version: int) -> tuple[list[Segment], int]:
    """Segments for what comes next, up to another target or what is known, and the place behind that."""
    target = forms[at].slot.target
    behind = at + 1
    while behind < len(forms) and forms[behind].slot.target is target and forms[behind].segment is None:
        behind += 1
    made = []
    cuts = [at, *_cuts(forms, at, behind), behind]
    for begin, end in pairwise(cuts):
        segment = Segment(forms[begin:end], version)
        made.append(segment)
        # The first and the last of a request may be parts of a segment only.
        if begin and end < len(forms) and _SHORTEST <= end - begin <= _LONGEST:
            known.remember_segment(segment)
    return made, behind


def _cuts(forms: list[Form], at: int, behind: int) -> Iterator[int]:
    """Where, not too near to each other, no metric goes on."""
    last = {forms[place].slot: place for place in range(at, behind)}
    begun, open_until = at, at
    for place in range(at, behind):
        if place > open_until and place - begun >= _SHORTEST and behind - place >= _SHORTEST:
            yield place
            begun = place
        open_until = max(open_until, last[forms[place].slot])


def _join(segments: list[Segment], values: Numbers, times: Numbers, most: int) -> list[Group]:
    """Segments of a target that come in a row are one group."""
    pieces: list[bytes] = []
    begins: list[int] = []  # of the segments, in the buffer
    cuts: list[tuple[Target, int, int]] = []  # target, place in the buffer, samples
    at = number = 0
    while number < len(segments):
        target = segments[number].target
        behind = number
        size = len(SCOPE)
        samples = 0
        while behind < len(segments) and segments[behind].target is target:
            size += len(segments[behind].metrics)
            samples += len(segments[behind].forms)
            behind += 1
        opening = b"\x12" + varint(size) + SCOPE
        pieces.append(opening)
        at += len(opening)
        for segment in segments[number:behind]:
            begins.append(at)
            pieces.append(segment.metrics)
            at += len(segment.metrics)
        cuts.append((target, at, samples))
        number = behind
        if at > most:
            raise TooMany("the request unfolds to more bytes than are allowed")
    buffer = bytearray().join(pieces)
    counts = [len(segment.forms) for segment in segments]
    ends = np.concatenate([segment.ends for segment in segments])
    columns.write(buffer, ends + np.repeat(np.array(begins, np.intp), counts), values, times)
    view = memoryview(buffer)
    made = []
    at = 0
    for target, end, samples in cuts:
        made.append(Group(target.resource, (view[at:end],), samples))
        at = end
    return made
