"""Remote write 2.0: `io.prometheus.write.v2.Request` (prometheus/prometheus, prompb/io/prometheus/write/v2).

Texts are in a table of the request's own (field 4), which the series (field 5) refer to by number: the numbers change
from request to request, so a series is known again by the texts themselves. Metadata come with each series.
"""

import time
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from hawse.codecs import remote_write_columns as columns
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write import Limits, Reading, Written, breathe
from hawse.codecs.remote_write_cache import Form
from hawse.codecs.remote_write_columns import Integers, Numbers, Places
from hawse.codecs.remote_write_histograms import nanoseconds
from hawse.codecs.remote_write_memory import Memory
from hawse.codecs.remote_write_schema import TYPES, message
from hawse.codecs.remote_write_series import Family, Invalid, Labels, text
from hawse.wire import LENGTH, WireError, walk

_SYMBOLS, _SERIES = 4, 5
_METADATA, _CREATED = 5, 6  # of a TimeSeries
_AT_ONCE = 4 << 20  # bytes that are cut up in C, where a part of two bytes becomes one of sixteen
_TURN = 2000  # series read before it is looked at the clock
_PART = 500  # series whose references are decoded at once: what that takes should stay in a processor's cache
_SYMBOLS_TURN = 10_000


async def read(body: bytes, memory: Memory, limits: Limits) -> Written:
    """Decode a request. Others get their turn in between. Raises WireError where it is malformed, TooMany."""
    memory.turn()
    symbols, series = await _cut(body, limits.items)
    since = time.perf_counter()
    known = memory.symbols.of
    numbers = np.zeros(len(symbols), np.uint32)
    for begin in range(0, len(symbols), _SYMBOLS_TURN):
        part = symbols[begin : begin + _SYMBOLS_TURN]
        numbers[begin : begin + _SYMBOLS_TURN] = [known(symbol) for symbol in part]
        since = await breathe(since)
    reader = _Reader(symbols, numbers, memory, limits)
    for begin in range(0, len(series), _TURN):
        reader.some(series[begin : begin + _TURN])
        since = await breathe(since)
    return await reader.complete()


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
    """Values and times of `forms` are in `columns`, part by part."""

    def __init__(self, symbols: list[bytes], numbers: Any, memory: Memory, limits: Limits) -> None:
        """`numbers` are those of the symbols in `memory`."""
        super().__init__(memory, limits)
        self._symbols = symbols
        self._numbers_of = numbers
        self._stories: dict[bytes, int] = {}
        self._values: list[Numbers] = []
        self._times: list[Numbers] = []

    def some(self, series: list[bytes]) -> None:
        """Read some of the series: those of one sample all at once, each of the others by itself."""
        self.spend(0)
        buffer = b"".join((*series, bytes(columns.PADDING)))
        sizes = np.fromiter(map(len, series), np.intp, len(series))
        stops = np.cumsum(sizes)
        begins = stops - sizes
        ok, refs, lengths, ends, zeros = columns.split(buffer, begins, stops)
        places = np.flatnonzero(ok)
        values, times, odd = columns.read(buffer, np.maximum(ends, columns.TAIL), zeros)
        ok &= ~odd
        stories = np.full(len(series), -1, np.int64)
        stories[places] = self._stories_of(series, buffer, places, begins[places], ends[places], stops[places])
        ok &= stories >= 0
        for place in np.flatnonzero(~ok).tolist():
            self._long_way(series[place])
        places = np.flatnonzero(ok)
        data = np.frombuffer(buffer, np.uint8)
        for begin in range(0, len(places), _PART):
            part = places[begin : begin + _PART]
            size = lengths[part]
            symbols = columns.varints(data[columns.ranges(refs[part], size)], size)
            gone = self._simple(series, part, symbols, stories[part])
            taken = np.delete(part, gone) if gone else part
            self._values.append(values[taken])
            self._times.append(times[taken])

    def _stories_of(
        self, series: list[bytes], buffer: bytes, places: Places, begins: Places, ends: Places, stops: Places
    ) -> Any:
        """What `_read_story` says of the series at each of `places`: the same as of the one before, mostly."""
        known = self._stories
        first = ~columns.repeated(buffer, ends, stops)
        found = []
        for place, at in zip(places[first].tolist(), (ends - begins)[first].tolist(), strict=True):
            rest = series[place][at:]
            story = known.get(rest)
            if story is None:
                story = known[rest] = self._read_story(rest)
            found.append(story)
        return np.array(found, np.int64)[np.cumsum(first) - 1]

    def _simple(
        self, series: list[bytes], places: Places, decoded: tuple[Integers, Places] | None, stories: Places
    ) -> list[int]:
        """Find the forms; returns which of `places` have none. As `remote_write_1`'s, on records of our own.

        `decoded` are the symbols of all the series, and how many each has; None where that cannot be said.
        """
        if decoded is None or decoded[0].max() >= len(self._symbols):
            for place in places.tolist():  # a series refers to nothing: the long way finds out which
                self._long_way(series[place])
            return list(range(len(places)))
        symbols, counts = decoded
        record = columns.records(self._numbers_of[symbols], counts, stories)
        end = len(record)
        begins = record.startswith
        form, at = self.last, 0
        epoch = self.memory.forms.epoch
        add = self.forms.append
        already = len(self.forms)
        gone: list[int] = []
        while at < end:
            before = form
            form = form.next
            if not begins(form.head, at):  # type: ignore[arg-type]
                number = len(self.forms) - already + len(gone)
                size = 8 + 4 * int(counts[number])
                head = record[at : at + size]
                found = self.memory.forms.get(head) or self._new(head, series[places[number]])
                if found is None:
                    form = before
                    at += size
                    gone.append(number)
                    continue
                form = found
                form.follows(before)
            form.used = epoch
            at += form.span
            add(form)
        self.last = form
        return gone

    def _new(self, head: bytes, one: bytes) -> Form | None:
        """The form of a series that is not known, read in full; None if it is invalid, which is told then."""
        series = _parse(one)
        sample = series.samples[0]
        try:
            labels = self._pairs(series.labels_refs)
            family = self._family(series.metadata)
            since = sample.start_timestamp or series.created_timestamp
            start = nanoseconds(since) if since else 0
            slot, attributes = self.place(labels, family, own=True)
        except Invalid as error:
            self.spend(1)
            self.invalid(error, 1)
            return None
        form = Form(head, slot, attributes, start=start, cost=len(head))
        form.span = len(head)
        if all(np.frombuffer(head, "<u4")[1:]):  # else, something in it has no number
            self.memory.forms.remember(form)
        return form

    def _read_story(self, rest: bytes) -> int:
        """The number of what comes behind a sample's time.

        -1 where that is more than a start time, metadata and the created timestamp, or wrong: then the long way.
        """
        tail = b"\x30" + rest[1:] if rest[:1] == b"\x18" else rest
        try:
            fields = [number for number, *_ in walk(tail)]
            told = message("Tail2").FromString(tail)
            start = nanoseconds(told.created_timestamp) if told.created_timestamp else 0
            family = self._family(told.metadata)
        except (WireError, DecodeError, Invalid):
            return -1
        if any(number not in {_METADATA, _CREATED} for number in fields) or fields.count(_CREATED) > 1:
            return -1
        return self.memory.stories.of((family, start))

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
        series = _parse(raw)
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

    async def complete(self) -> Written:
        """Encode what was read."""
        if not self._values:
            nothing = np.zeros(0, np.uint64)
            return await self.finish(nothing, nothing)
        return await self.finish(np.concatenate(self._values), np.concatenate(self._times))


def _parse(raw: bytes) -> Any:
    try:
        return message("TimeSeries2").FromString(raw)
    except DecodeError as error:
        raise WireError(f"a series is malformed: {error}") from None
