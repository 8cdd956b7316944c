"""Prometheus remote write, 1.0 and 2.0, to groups of OTLP metrics (prometheus.io/docs/specs/prw/remote_write_spec).

Nearly all series come again and again, with one sample each: `Form`s remember them, and which comes after which, so
that such a series costs one comparison of its bytes; values and times are read and written for all at once. Every
other series takes the long way, `Reading.take`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hawse.batch import Group
from hawse.codecs import remote_write_histograms as native
from hawse.codecs import remote_write_output as output
from hawse.codecs import remote_write_segments as segments
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write_cache import NOTHING, Form
from hawse.codecs.remote_write_columns import Numbers
from hawse.codecs.remote_write_memory import Memory
from hawse.codecs.remote_write_schema import GAUGE_HINT
from hawse.codecs.remote_write_series import Family, Invalid, Labels, Slot, describe

TURN = 0.005  # seconds of work without a turn for others
_AT_ONCE = 20_000  # samples that are encoded without a turn for others
_STEP = 1 << 20  # bytes that are charged at a time
_FORM = 600  # bytes that a series takes beside its texts while it is read in full…
_SAMPLE = 200  # …and that a sample does which is no form's
_BUCKETS = 1 << 22  # that the histograms of a request may unfold to


class Written:
    """What became of a request. `groups` share a buffer that is theirs.

    `samples`, `histograms` and `exemplars` are what is in the groups. `invalid` counts what is not, by reason;
    `message` tells the first of it. `lonely` exemplars came without a sample of their series.
    """

    def __init__(self) -> None:
        self.groups: Sequence[Group] = ()
        self.samples = 0
        self.histograms = 0
        self.exemplars = 0
        self.lonely = 0
        self.invalid: dict[str, int] = {}
        self.message = ""


class NoRoom(Exception):
    """Memory is used up at the moment."""


class Limits:
    """What a request may cost: samples and other parts, and bytes that it unfolds to.

    What is made of it on the way is charged by `acquire`, in steps, which says whether there is room; `held` is what
    has been, for the caller to give back.
    """

    def __init__(
        self, items: int = 200_000, size: int = 80 << 20, acquire: Callable[[int, int], bool] = lambda _, __: True
    ) -> None:
        self.items = items
        self.size = size
        self.held = 0
        self._acquire = acquire
        self._due = 0

    def charge(self, size: int) -> None:
        """Account for bytes. Raises NoRoom."""
        self._due += size
        if self._due > _STEP:
            if not self._acquire(self._due, self.held):
                raise NoRoom("as much is in flight as memory allows")
            self.held += self._due
            self._due = 0


class _Number:
    """A sample that took the long way."""

    __slots__ = ("attributes", "bits", "exemplars", "slot", "start", "time")

    def __init__(self, slot: Slot, attributes: bytes, start: int, time: int, bits: int) -> None:
        self.slot = slot
        self.attributes = attributes
        self.start = start
        self.time = time
        self.bits = bits
        self.exemplars: list[bytes] = []

    def encode(self) -> bytes:
        return output.number(self.attributes, self.start, self.time, self.bits, self.exemplars)


class Reading:
    """A request that is being read."""

    def __init__(self, memory: Memory, limits: Limits) -> None:
        self.memory = memory
        self.written = Written()
        self.forms: list[Form] = []
        self.last = NOTHING
        self._items = limits.items
        self._size = limits.size  # bytes that may yet come out
        self._limits = limits
        self._buckets = [_BUCKETS]
        self._numbers: list[_Number] = []
        self._histograms: dict[Slot, list[bytes]] = {}
        self._exemplars: list[tuple[Slot, bytes, list[bytes]]] = []  # of series without a sample of their own

    def spend(self, items: int, size: int = 0) -> None:
        """Count parts, and bytes made of them on the way. Raises TooMany, NoRoom."""
        self._items -= items
        if self._items < 0 or self._items < len(self.forms):
            raise TooMany(f"the request has more than {self._limits.items} samples and other parts")
        if size:
            self._limits.charge(size)

    def place(self, labels: Labels, family: Family, *, own: bool) -> tuple[Slot, bytes]:
        """As Series.slot, for a series that is read in full. Raises Invalid, TooMany, NoRoom."""
        usage = self.memory.usage
        before = usage.bytes
        slot, attributes = self.memory.series.slot(labels, family, own=own)
        self.spend(0, _FORM + len(attributes) + usage.bytes - before)
        return slot, attributes

    def invalid(self, error: Invalid, items: int) -> None:
        """Leave something out."""
        written = self.written
        written.invalid[error.reason] = written.invalid.get(error.reason, 0) + max(1, items)
        written.message = written.message or str(error)

    def take(
        self, labels: Labels, message: Any, exemplars: Sequence[tuple[Labels, float, int]], family: Family, *, own: bool
    ) -> None:
        """A series of any form: `message` is a TimeSeries of either version."""
        created = message.created_timestamp if own else 0
        samples, histograms = message.samples, message.histograms
        items = len(samples) + len(histograms)
        self.spend(1 + items + len(exemplars), _SAMPLE * items)
        try:
            slot, attributes = self.place(labels, family, own=own)
        except Invalid as error:
            self.invalid(error, items + len(exemplars))
            return
        ready = self._ready(exemplars)
        for sample in samples:
            try:
                since = sample.start_timestamp or created
                start = native.nanoseconds(since) if since else 0
                at = native.nanoseconds(sample.timestamp)
            except Invalid as error:
                self.invalid(_of(labels, error), 1)
                continue
            self._numbers.append(_Number(slot, attributes, start, at, native.bits(sample.value)))
        for number, histogram in enumerate(histograms):
            last = number == len(histograms) - 1
            self._histogram(labels, slot, attributes, histogram, created, ready if last else [])
        if ready and not histograms:
            self._exemplars.append((slot, attributes, ready))

    def _histogram(
        self, labels: Labels, slot: Slot, attributes: bytes, message: Any, created: int, exemplars: list[bytes]
    ) -> None:
        try:
            points, encoded = native.point(message, attributes, created, exemplars, self._buckets)
        except Invalid as error:
            self.invalid(_of(labels, error), 1)
            return
        self.spend(0, len(encoded))
        series = self.memory.series
        gauge = message.reset_hint == GAUGE_HINT
        self._histograms.setdefault(series.beside(slot, points, gauge=gauge), []).append(encoded)
        self.written.histograms += 1
        self.written.exemplars += len(exemplars)

    def _ready(self, exemplars: Sequence[tuple[Labels, float, int]]) -> list[bytes]:
        ready = []
        for labels, value, at in exemplars:
            try:
                ready.append(native.exemplar(labels, value, at))
            except Invalid as error:
                self.invalid(error, 1)
        self.spend(0, sum(map(len, ready)))
        return ready

    async def finish(self, values: Numbers, times: Numbers) -> Written:
        """Encode what was read; `values` and `times` are those of `forms`. Others get their turn in between."""
        self.written.samples = len(self.forms) + len(self._numbers)
        stale = np.flatnonzero(values == np.uint64(native.STALE)).tolist()
        plain = not (stale or self._exemplars or self._numbers or self._histograms)
        points = None if plain else self._points(values, times, stale)
        groups: list[Group] = []
        since = time.perf_counter()
        for begin in range(0, len(self.forms) or not plain, _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            if points is None:
                made = self._plain(self.forms[some], values[some], times[some])
            else:
                made = output.groups(points.part(some), self._size)
            self._size -= sum(group.nbytes for group in made)
            groups += made
            since = await breathe(since)
        self.written.groups = groups
        return self.written

    def _plain(self, forms: list[Form], values: Numbers, times: Numbers) -> list[Group]:
        """Encode a part by what is remembered; where that is no help, as `output` does all the others."""
        memory = self.memory
        made = segments.groups(forms, values, times, memory.forms, memory.families.version, self._size)
        return output.groups(_points_of(forms, values, times), self._size) if made is None else made

    def _points(self, values: Numbers, times: Numbers, stale: list[int]) -> output.Points:
        points = _points_of(self.forms, values, times)
        for index in stale:
            self._by_hand(points, index, ())
        if self._exemplars:
            self._attach(points)
        for one in self._numbers:
            points.others.setdefault(one.slot, []).append(one.encode())
        for slot, encoded in self._histograms.items():
            points.others.setdefault(slot, []).extend(encoded)
        return points

    def _by_hand(self, points: output.Points, index: int, exemplars: Sequence[bytes]) -> None:
        form = self.forms[index]
        bits, at = int(points.values[index]), int(points.times[index])
        points.replace(index, output.number(form.attributes, form.start, at, bits, exemplars))

    def _attach(self, points: output.Points) -> None:
        """Exemplars come beside the samples of their series, in an element of their own; points are where they live."""
        numbers = {(id(one.slot), one.attributes): one for one in self._numbers}
        indices: dict[tuple[int, bytes], int] = {}
        if any((id(slot), attributes) not in numbers for slot, attributes, _ in self._exemplars):
            indices = {(id(form.slot), form.attributes): index for index, form in enumerate(self.forms)}
        gathered: dict[int, list[bytes]] = {}
        for slot, attributes, exemplars in self._exemplars:
            key = (id(slot), attributes)
            if (one := numbers.get(key)) is not None:
                one.exemplars += exemplars
            elif (index := indices.get(key)) is not None:
                gathered.setdefault(index, []).extend(exemplars)
            else:
                self.written.lonely += len(exemplars)
                continue
            self.written.exemplars += len(exemplars)
        for index, exemplars in gathered.items():
            self._by_hand(points, index, exemplars)


def _points_of(forms: list[Form], values: Numbers, times: Numbers) -> output.Points:
    return output.Points([form.slot for form in forms], [form.point for form in forms], values, times)


def _of(labels: Labels, error: Invalid) -> Invalid:
    return Invalid(error.reason, f"{describe(labels)}: {error}")


async def breathe(since: float) -> float:
    """Give others their turn where it is due; the time since when it is ours."""
    now = time.perf_counter()
    if now - since > TURN:
        await asyncio.sleep(0)
        return time.perf_counter()
    return since
