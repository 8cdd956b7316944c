"""Remote write 2.0: `io.prometheus.write.v2.Request` (prometheus/prometheus, prompb/io/prometheus/write/v2).

Texts are in a table of the request's own (field 4), which the series (field 5) refer to by number: the numbers change
from request to request, so a series is known again by the texts themselves. Metadata come with each series.
"""

import time
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError

from hawse.codecs import remote_write_columns as columns
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write import Limits, Memory, Reading, Written, breathe
from hawse.codecs.remote_write_cache import Form
from hawse.codecs.remote_write_histograms import nanoseconds
from hawse.codecs.remote_write_schema import TYPES, message
from hawse.codecs.remote_write_series import Family, Invalid, Labels, text
from hawse.wire import LENGTH, WireError, walk

_SYMBOLS, _SERIES = 4, 5
_METADATA, _CREATED = 5, 6  # of a TimeSeries
_AT_ONCE = 4 << 20  # bytes that are cut up in C, where a part of two bytes becomes one of sixteen
_TURN = 500  # series read before it is looked at the clock
_SYMBOLS_TURN = 10_000
_NO_VALUE = bytes(8)

Story: TypeAlias = tuple[Family, int]  # metadata, and start time in Unix ns, 0 for none


async def read(body: bytes, memory: Memory, limits: Limits) -> Written:
    """Decode a request. Others get their turn in between. Raises WireError where it is malformed, TooMany."""
    memory.forms.turn(time.monotonic())
    symbols, series = await _cut(body, limits.items)
    since = time.perf_counter()
    known = memory.symbol
    for begin in range(0, len(symbols), _SYMBOLS_TURN):
        symbols[begin : begin + _SYMBOLS_TURN] = map(known, symbols[begin : begin + _SYMBOLS_TURN])
        since = await breathe(since)
    reader = _Reader(symbols, memory, limits)
    for begin in range(0, len(series), _TURN):
        reader.some(series[begin : begin + _TURN])
        since = await breathe(since)
    return reader.complete()


async def _cut(body: bytes, most: int) -> tuple[list[bytes], list[bytes]]:
    """Symbols and series, at most `most` of these, and eight times as many of those. Raises WireError, TooMany."""
    if len(body) <= _AT_ONCE:
        try:
            whole = message("Request2").FromString(body)
        except DecodeError as error:
            raise WireError(f"the request is malformed: {error}") from None
        if len(whole.symbols) > 8 * most or len(whole.timeseries) > most:
            raise TooMany(f"the request has more than {most} symbols or series")
        return list(whole.symbols), list(whole.timeseries)
    found: dict[int, list[bytes]] = {_SYMBOLS: [], _SERIES: []}
    since = time.perf_counter()
    for number, kind, _, begin, end in walk(body):
        if kind == LENGTH and number in found:
            of = found[number]
            of.append(body[begin:end])
            if len(of) > (most if number == _SERIES else 8 * most):
                raise TooMany(f"the request has more than {most} symbols or series")
            if len(of) % _TURN == 0:
                since = await breathe(since)
    return found[_SYMBOLS], found[_SERIES]


class _Reader(Reading):
    """Series whose form is known or made are in `forms`, the values and times of these in `tails`, 15 bytes each."""

    def __init__(self, symbols: list[bytes], memory: Memory, limits: Limits) -> None:
        super().__init__(memory, limits)
        self._symbols = symbols
        self._array = np.array([*symbols, None], object)[:-1]
        self._stories: dict[bytes, Story | None] = {}
        self._tails: list[bytes] = []
        self._of: list[bytes] = []  # the whole series, of each of `forms`

    def some(self, series: list[bytes]) -> None:
        """Read some of the series."""
        self.spend(0)
        refs, stories, tails, simple = [], [], [], []
        for one in series:
            parts = _split(one)
            story = self._story(parts[2]) if parts else None
            if parts is None or story is None:
                self._long_way(one)
                continue
            refs.append(parts[0])
            tails.append(parts[1])
            stories.append(story)
            simple.append(one)
        found = self._labels(refs)
        epoch = self.memory.forms.epoch
        form = self.last
        for one, labels, story, tail in zip(simple, found, stories, tails, strict=True):
            before = form
            form = form.next
            head = (labels, story)
            if form.head != head:
                known = self._form(head, one)
                if known is None:
                    form = before
                    continue
                form = known
                form.follows(before)
            form.used = epoch
            self.forms.append(form)
            self._tails.append(tail)
            self._of.append(one)
        self.last = form

    def _labels(self, refs: list[bytes]) -> list[tuple[bytes, ...]]:
        """Names and values of each series by turns; nothing where the references are none."""
        lengths = [len(one) for one in refs]
        numbers, sizes = columns.varints(b"".join(refs), lengths)
        if numbers is None or (len(numbers) and numbers.max() >= len(self._array)):
            return [self._slowly(one) for one in refs]
        texts = self._array[numbers].tolist()
        out = []
        at = 0
        for size in sizes:
            out.append(tuple(texts[at : at + size]))
            at += size
        return out

    def _slowly(self, refs: bytes) -> tuple[bytes, ...]:
        numbers, _ = columns.varints(refs, [len(refs)])
        if numbers is None or (len(numbers) and numbers.max() >= len(self._array)):
            return ()
        return tuple(self._array[numbers].tolist())

    def _form(self, head: tuple[tuple[bytes, ...], Story], one: bytes) -> Form | None:
        forms = self.memory.forms
        form = forms.get(head)
        if form is not None:
            return form
        texts, (family, start) = head
        if not texts or len(texts) % 2:
            self._long_way(one)
            return None
        labels = list(zip(texts[::2], texts[1::2], strict=True))
        try:
            slot, attributes = self.memory.series.slot(labels, family, own=True)
        except Invalid as error:
            self.spend(1)
            self.invalid(error, 1)
            return None
        self.spend(0, len(attributes))
        form = Form(head, slot, attributes, start=start, cost=200 + 8 * len(texts))
        forms.remember(form)
        return form

    def _story(self, rest: bytes) -> Story | None:
        """What comes behind a sample's time; None where that is more than metadata and the created timestamp."""
        try:
            return self._stories[rest]
        except KeyError:
            story = self._stories[rest] = self._read_story(rest)
            return story

    def _read_story(self, rest: bytes) -> Story | None:
        try:
            fields = [number for number, *_ in walk(rest)]
            told = message("Tail2").FromString(rest)
        except (WireError, DecodeError):
            return None  # the long way will tell
        if any(number not in {_METADATA, _CREATED} for number in fields):
            return None
        try:
            start = nanoseconds(told.created_timestamp) if told.created_timestamp else 0
            return self.memory.story(self._family(told.metadata), start)
        except Invalid:
            return None

    def _family(self, metadata: Any) -> Family:
        """Raises Invalid."""
        type_ = TYPES[metadata.type] if metadata.type < len(TYPES) else TYPES[0]
        help_, unit = self._text(metadata.help_ref), self._text(metadata.unit_ref)
        return Family(type_, text(help_), text(unit))

    def _text(self, reference: int) -> bytes:
        if not reference:
            return b""  # the first symbol is the empty text
        if reference >= len(self._symbols):
            raise Invalid("bad_reference", f"there is no symbol {reference}, but {len(self._symbols)} in all")
        return self._symbols[reference]

    def _long_way(self, raw: bytes) -> None:
        try:
            series = message("TimeSeries2").FromString(raw)
        except DecodeError as error:
            raise WireError(f"a series is malformed: {error}") from None
        try:
            labels = self._pairs(series.labels_refs)
            family = self._family(series.metadata)
            exemplars = [(self._pairs(one.labels_refs), one.value, one.timestamp) for one in series.exemplars]
        except Invalid as error:
            self.spend(1)
            self.invalid(error, len(series.samples) + len(series.histograms) + len(series.exemplars))
            return
        self.take(labels, series, exemplars, family, own=True)

    def _pairs(self, references: Any) -> Labels:
        """Raises Invalid."""
        if len(references) % 2:
            raise Invalid("bad_reference", f"{len(references)} references are no pairs of names and values")
        self.spend(len(references) // 16)
        texts = [self._symbols[at] if at < len(self._symbols) else None for at in references]
        if None in texts:
            missing = references[texts.index(None)]
            raise Invalid("bad_reference", f"there is no symbol {missing}, but {len(self._symbols)} in all")
        return list(zip(texts[::2], texts[1::2], strict=True))  # type: ignore[arg-type]

    def complete(self) -> Written:
        """Encode what was read."""
        ends = range(columns.TAIL, columns.TAIL * (len(self.forms) + 1), columns.TAIL)
        values, times, odd = columns.read(b"".join(self._tails), ends, np.zeros(len(self.forms), np.bool_))
        if odd.any():
            for index in np.flatnonzero(odd).tolist():
                self._long_way(self._of[index])
            kept = ~odd
            self.forms = list(compress(self.forms, kept.tolist()))
            values, times = values[kept], times[kept]
        return self.finish(values, times)


def _split(one: bytes) -> tuple[bytes, bytes, bytes] | None:
    """References, value and time (`columns.TAIL` bytes), and what else there is, of a series of one sample.

    Made for `0a <references> 12 <sample> …`, the sample being a value (or not, if it is zero), a time and perhaps a
    start time, which is given out as if it were the series'. None for any other series.
    """
    if len(one) < 12 or one[0] != 0x0A:
        return None
    size, at = one[1], 2
    if size > 127:
        size, at = size & 127 | one[2] << 7, 3
        if size > 0x3FFF:
            return None
    refs = one[at : at + size]
    at += size
    begin = one[at : at + 3]
    if begin == b"\x12\x10\x09":
        tail, rest = one[at + 3 : at + 18], one[at + 18 :]
    elif begin == b"\x12\x07\x10":
        tail, rest = _NO_VALUE + one[at + 2 : at + 9], one[at + 9 :]
    elif begin == b"\x12\x17\x09" and one[at + 18 : at + 19] == b"\x18":
        tail, rest = one[at + 3 : at + 18], b"\x30" + one[at + 19 :]
    elif begin == b"\x12\x0e\x10" and one[at + 9 : at + 10] == b"\x18":
        tail, rest = _NO_VALUE + one[at + 2 : at + 9], b"\x30" + one[at + 10 :]
    else:
        return None
    return (refs, tail, rest) if len(tail) == columns.TAIL else None
