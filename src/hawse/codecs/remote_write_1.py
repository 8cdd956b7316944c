"""Remote write 1.0: `prometheus.WriteRequest` (prometheus/prometheus, prompb/remote.proto).

Field 1 are the series, field 3 metadata of families, which Prometheus sends once a minute in requests of their own.
"""

import time
from itertools import compress
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from hawse.codecs import remote_write_columns as columns
from hawse.codecs.remote_write import Limits, Reading, Written, breathe
from hawse.codecs.remote_write_cache import Form
from hawse.codecs.remote_write_memory import Memory
from hawse.codecs.remote_write_schema import TYPES, message
from hawse.codecs.remote_write_series import Family, Invalid, Labels, text
from hawse.wire import LENGTH, WireError, read_varint, walk

_STRETCH = 1 << 20  # bytes read before it is looked at the clock: some milliseconds
_PATIENCE = 128  # series that take the long way before it is
_VALUE, _ZERO = b"\x12\x10\x09", b"\x12\x07\x10"  # how a sample begins, up to its value or, without one, its time
_SERIES, _METADATA = 1, 3


async def read(body: bytes, memory: Memory, limits: Limits) -> Written:
    """Decode a request. Others get their turn in between. Raises WireError where it is malformed, TooMany."""
    memory.turn()
    reader = _Reader(body, memory, limits)
    since = time.perf_counter()
    while reader.at < len(body):
        reader.stretch()
        since = await breathe(since)
    return await reader.complete()


class _Reader(Reading):
    """Where it is in a request: `at`, and where each of `forms` ended."""

    def __init__(self, body: bytes, memory: Memory, limits: Limits) -> None:
        super().__init__(memory, limits)
        self._body = body
        self._ends: list[int] = []
        self.at = 0

    def stretch(self) -> None:
        """Read on for a while. The loop is what most series cost, beside `finish`."""
        body, at, form = self._body, self.at, self.last
        stop = min(len(body), at + _STRETCH)
        begins = body.startswith
        epoch = self.memory.forms.epoch
        add, end = self.forms.append, self._ends.append
        patience = _PATIENCE
        while at < stop:
            before = form
            form = form.next
            if not begins(form.head, at):  # type: ignore[arg-type]
                found, behind = self._other(at)
                patience -= 1
                if patience < 0:
                    stop = behind
                if found is None:
                    form, at = before, behind
                    continue
                form = found
                form.follows(before)
            form.used = epoch
            at += form.span
            add(form)
            end(at)
        self.last = form
        self.at = at
        if at > len(body):
            raise WireError(f"the series before byte {at} ends behind the request")
        self.spend(0)

    def _other(self, at: int) -> tuple[Form | None, int]:
        """The form of the series at `at`; None where it has none, and the position behind what has been read."""
        body = self._body
        number, kind, _, begin, end = next(walk(body, at))
        if kind != LENGTH or number not in {_SERIES, _METADATA}:
            return None, end
        if number == _METADATA:
            self._learn(begin, end)
            return None, end
        head, zero = self._head(at, begin, end)
        form = self.memory.forms.get(head) if head else None
        if form is None:
            form = self._new(at, head, begin, end)
            if form is not None:
                form.zero = zero
                form.span = end - at
                self.memory.forms.remember(form)
        return form, end

    def _head(self, at: int, begin: int, end: int) -> tuple[bytes, bool]:
        """What comes before the value, or before the time where the value is zero; empty for a series of other form."""
        body = self._body
        if end - begin >= 18 and body[end - 18 : end - 15] == _VALUE:
            return body[at : end - 15], False
        if end - begin >= 9 and body[end - 9 : end - 6] == _ZERO:
            return body[at : end - 6], True
        return b"", False

    def _new(self, at: int, head: bytes, begin: int, end: int) -> Form | None:
        """Read a series in full. Returns its form if it has one, with which its sample is still to be read."""
        series = self._parse(begin, end)
        labels = _labels(series)
        if not head or not _is_run(self._body, begin, at + len(head) - 3):
            self._take(series, labels)
            return None
        try:
            slot, attributes = self.place(labels, self._family(labels), own=False)
        except Invalid as error:
            self.spend(1)
            self.invalid(error, 1)
            return None
        return Form(head, slot, attributes, cost=len(head))

    def _parse(self, begin: int, end: int) -> Any:
        try:
            return message("TimeSeries1").FromString(self._body[begin:end])
        except DecodeError as error:
            raise WireError(f"the series at byte {begin} is malformed: {error}") from None

    def _take(self, series: Any, labels: Labels) -> None:
        exemplars = [(_labels(one), one.value, one.timestamp) for one in series.exemplars]
        self.take(labels, series, exemplars, self._family(labels), own=False)

    def _family(self, labels: Labels) -> Family:
        return self.memory.families.of(next((value for name, value in labels if name == b"__name__"), b""))

    def _learn(self, begin: int, end: int) -> None:
        self.spend(1)
        try:
            told = message("Metadata1").FromString(self._body[begin:end])
        except DecodeError as error:
            raise WireError(f"the metadata at byte {begin} are malformed: {error}") from None
        type_ = TYPES[told.type] if told.type < len(TYPES) else TYPES[0]
        family = Family(type_, text(told.help), text(told.unit))
        self.memory.families.learn(told.metric_family_name, family)

    async def complete(self) -> Written:
        """Encode what was read."""
        zeros = np.fromiter([form.zero for form in self.forms], np.bool_, len(self.forms))
        values, times, odd = columns.read(self._body, self._ends, zeros)
        if odd.any():
            for index in np.flatnonzero(odd).tolist():
                end = self._ends[index]
                begin = end - self.forms[index].span
                _, _, _, begin, end = next(walk(self._body, begin, end))
                series = self._parse(begin, end)
                self._take(series, _labels(series))
            kept = ~odd
            self.forms = list(compress(self.forms, kept.tolist()))
            values, times = values[kept], times[kept]
        return await self.finish(values, times)


def _labels(of: Any) -> list[tuple[bytes, bytes]]:
    return [(label.name, label.value) for label in of.labels]


def _is_run(body: bytes, at: int, stop: int) -> bool:
    """Whether labels, fields 1, are all that is between two places."""
    while at < stop:
        if body[at] != 0x0A:
            return False
        size = body[at + 1]
        at += 2
        if size > 127:
            size, at = read_varint(body, at - 1, stop)
        at += size
    return at == stop
