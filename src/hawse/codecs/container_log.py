r"""Container log files ↔ OTLP log records: CRI (containerd, CRI-O) and Docker's json-file.

CRI lines are described in `hawse.codecs.cri_columns`. A json-file line is
`{"log":"text\n","stream":"stdout","time":"2026-11-24T13:05:00.123456789Z"}`; its `log` lacks the newline where the
text goes on in the next line of the stream (moby, `daemon/logger/jsonfilelog`).

A `Parser` belongs to one file and is fed its complete lines in order. What it can't hand out yet (the pieces of a
partial line, the lines of a multi-line entry) it holds, and can say in which ranges of the file that stands: to go on
after a restart, a new parser is fed these ranges first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias

import msgspec

from hawse.codecs import cri_columns, cri_runs
from hawse.codecs.cri_columns import SLACK, Clock
from hawse.codecs.cri_runs import is_utf8
from hawse.wire import Buffer, varint

MAX_LOG_SIZE = 1 << 20
UNKNOWN = ""  # the stream of lines that could not be parsed

_CRI = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d):([0-5]\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)"
    rb" (stdout|stderr) ([FP])(?::[^ \n]*)?(?: (.*))?",
    re.DOTALL,
)
_FEW = 4096  # bytes below which numpy's calls cost more than the lines one by one
_MANY = 16  # pieces

Span: TypeAlias = tuple[int, int]


class _DockerLine(msgspec.Struct):
    log: str
    stream: str = "stdout"
    time: str = ""


_decode_docker = msgspec.json.Decoder(_DockerLine).decode


@dataclass(slots=True)
class Multiline:
    """Lines that do not match `first` belong to the entry before them. Joined by `separator`."""

    first: re.Pattern[bytes]
    separator: bytes = b"\n"


@dataclass(slots=True)
class Odd:
    """What was not as it should be, in numbers of lines since the parser was made."""

    unparseable: int = 0  # delivered raw
    invalid_utf8: int = 0  # delivered with U+FFFD
    split: int = 0  # longer than max_log_size: delivered in several records


@dataclass(slots=True)
class Records:
    """Log records of one stream: pieces of encoded `ScopeLogs.log_records` fields, in order, and how many."""

    pieces: list[Buffer] = field(default_factory=list)
    items: int = 0

    def scope(self) -> tuple[Buffer, ...]:
        """One ScopeLogs, as field 2 of a ResourceLogs. Many pieces are joined: each costs all who follow."""
        pieces = self.pieces if len(self.pieces) <= _MANY else [b"".join(self.pieces)]
        return (b"\x12" + varint(sum(map(len, pieces))), *pieces)


@dataclass(slots=True)
class _Held:
    """An entry that waits for more: its time, its pieces of text, and where they stand in the file."""

    time: int
    pieces: list[bytes]
    spans: list[Span]
    size: int = 0
    since: float = 0.0
    begun: bool = False  # an earlier part was handed out already

    def add(self, text: bytes, span: Span) -> None:
        self.pieces.append(text)
        self.size += len(text)
        if self.spans and self.spans[-1][1] == span[0]:
            self.spans[-1] = (self.spans[-1][0], span[1])
        else:
            self.spans.append(span)


class Parser:
    """The state of one file. Not thread-safe; does no I/O."""

    def __init__(
        self,
        *,
        raw: bool = False,
        multiline: Multiline | None = None,
        max_log_size: int = MAX_LOG_SIZE,
        clock: Clock | None = None,
    ) -> None:
        """`raw`: lines are records as they are. `clock` may be shared by any number of parsers."""
        self.odd = Odd()
        self._raw = raw
        self._multiline = multiline
        self._max = max_log_size
        self._clock = clock or Clock()
        self._docker: bool | None = None  # None until a line was recognised
        self._partial: dict[str, _Held] = {}
        self._entries: dict[str, _Held] = {}
        self._unfinished: tuple[str, int, bool] | None = None  # stream, time, is full: of a line whose rest is to come
        self._observed = 0
        self._now = 0.0
        self._out: dict[str, Records] = {}

    # --- what the file's reader calls ---

    def feed(self, buffer: bytearray, start: int, end: int, base: int, observed: int) -> dict[str, Records]:
        """Parse the complete lines `buffer[start:end]`; the last byte is a newline.

        The buffer must have a byte before `start` and SLACK bytes behind `end`; all of it is overwritten at will,
        and the records refer to it. `base` is the position of `start` in the file, `observed` the present time in
        nanoseconds. Returns the records by stream.
        """
        self._begin(observed)
        if self._unfinished is not None:
            rest = buffer.index(10, start) + 1
            self._continue(bytes(buffer[start : rest - 1]), (base, base + rest - start))
            base += rest - start
            start = rest
        if start < end:
            if self._docker is None:
                self._docker = buffer[start] == 0x7B  # {
            if self._docker or self._raw or self._multiline or end - start < _FEW:
                self._each(buffer, start, end, base)
            else:
                self._columns(buffer, start, end, base)
        return self._handed_out()

    def feed_unfinished(self, text: bytes, base: int, observed: int) -> dict[str, Records]:
        """Parse the beginning of a line without its end, or more of one: its records are handed out at once.

        For lines longer than the reader cares to hold, and for the last line of a file that has no newline. The next
        `feed` takes the text up to its first newline as the rest of this line.
        """
        self._begin(observed)
        span = (base, base + len(text))
        if self._unfinished is not None:
            stream, time, full = self._unfinished
            self._emit(stream, time, text)
            return self._handed_out()
        match = None if self._docker or self._raw else _CRI.fullmatch(text)
        found = _cri_time(match, self._clock) if match else -1
        if match is None or found < 0:
            if self._raw or not self._docker_line(text, span):
                self.odd.unparseable += not self._raw
                self._emit(UNKNOWN, 0, text)
                self._unfinished = (UNKNOWN, 0, True)
            return self._handed_out()
        stream, full = match[5].decode(), match[6] == b"F"
        self._part(stream, found, match[7] or b"", full, span)
        self._unfinished = (stream, found, full)
        if not full:
            self._release_partial(stream)
        return self._handed_out()

    def flush(self, observed: int, older_than: float | None = None) -> dict[str, Records]:
        """Hand out what is held: all of it, or what came in before `older_than` (time.monotonic())."""
        self._begin(observed)
        for held, release in ((self._partial, self._release_partial), (self._entries, self._release_entry)):
            for stream in [s for s, entry in held.items() if older_than is None or entry.since < older_than]:
                release(stream)
        return self._handed_out()

    @property
    def held(self) -> list[Span]:
        """Ranges of the file whose text was taken but not handed out, sorted."""
        entries = (*self._partial.values(), *self._entries.values())
        return sorted(span for entry in entries for span in entry.spans)

    @property
    def oldest_held(self) -> float | None:
        """When the oldest held text came in (time.monotonic()), or None."""
        return min((e.since for e in (*self._partial.values(), *self._entries.values())), default=None)

    @property
    def unfinished(self) -> tuple[str, int, bool] | None:
        """The line whose beginning was handed out and whose end was not seen: stream, time, whether it is full."""
        return self._unfinished

    @unfinished.setter
    def unfinished(self, value: tuple[str, int, bool] | None) -> None:
        self._unfinished = value

    # --- whole chunks ---

    def _columns(self, buffer: bytearray, start: int, end: int, base: int) -> None:
        columns = cri_columns.read(buffer, start, end, self._clock)
        simple = cri_runs.simple_lines(buffer, columns, self._partial, self._max)
        odd = iter(cri_runs.odd_lines(buffer, columns, simple))
        if simple.any():
            cri_columns.write(buffer, columns, simple, self._observed)
        view = memoryview(buffer)
        counts, runs = cri_runs.runs(columns, simple)
        append = [self._records(stream).pieces.append for stream in cri_columns.STREAMS]
        opened: cri_runs.Odd | None = None
        for begin, behind, kind in runs:
            if kind != cri_runs.ODD:
                append[kind](view[begin:behind])
                continue
            line = next(odd)
            if line.opens and self._partial.get(line.stream) is None:
                opened = line  # the rest of it is at hand: nothing needs to be held
            elif opened is not None and line.closes:
                self._emit(line.stream, opened.time, opened.text + line.text)
                opened = None
            elif line.known:
                span = (line.begin - start + base, line.behind - start + base)
                self._part(line.stream, line.time, line.text, line.full, span)
            else:
                self._line(line.text, (line.begin - start + base, line.behind - start + base))
        for stream, items in zip(cri_columns.STREAMS, counts, strict=True):
            self._out[stream].items += items
            if not self._out[stream].items:
                del self._out[stream]

    # --- line by line ---

    def _each(self, buffer: bytearray, start: int, end: int, base: int) -> None:
        for line in bytes(buffer[start : end - 1]).split(b"\n"):
            behind = base + len(line) + 1
            self._line(line, (base, behind))
            base = behind

    def _line(self, line: bytes, span: Span) -> None:
        if line.endswith(b"\r"):
            line = line[:-1]
        if self._raw:
            self._entry(UNKNOWN, 0, line, [span])
            return
        if self._docker and self._docker_line(line, span):
            return
        match = _CRI.fullmatch(line)
        if match is not None:
            time = _cri_time(match, self._clock)
            if time >= 0:
                self._part(match[5].decode(), time, match[7] or b"", match[6] == b"F", span)
                return
        if not self._docker and line[:1] == b"{" and self._docker_line(line, span):
            return
        self.odd.unparseable += 1
        self._emit(UNKNOWN, 0, line)

    def _docker_line(self, line: bytes, span: Span) -> bool:
        try:
            parsed = _decode_docker(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:  # Docker replaces invalid UTF-8 itself; others may not
                parsed = _decode_docker(line.decode("utf-8", "replace"))
            except (msgspec.DecodeError, RecursionError):
                return False
            self.odd.invalid_utf8 += 1
        match = _TIME.fullmatch(parsed.time.encode())
        time = _cri_time(match, self._clock) if match else -1
        if time < 0:
            return False
        text = parsed.log.encode("utf-8", "replace")
        full = text.endswith(b"\n")
        if full:
            text = text[:-2] if text.endswith(b"\r\n") else text[:-1]
        self._part(parsed.stream, time, text, full, span)
        return True

    def _part(self, stream: str, time: int, text: bytes, full: bool, span: Span) -> None:  # noqa: FBT001
        held = self._partial.get(stream)
        if held is None:
            if full:
                self._entry(stream, time, text, [span])
                return
            held = self._partial[stream] = _Held(time, [], [], since=self._now)
        held.add(text, span)
        if full:
            del self._partial[stream]
            if held.size or not held.begun:
                self._entry(stream, held.time, b"".join(held.pieces), held.spans)
        elif held.size >= self._max:
            self._hand_out_begun(stream, held, b"")

    def _continue(self, text: bytes, span: Span) -> None:
        """The rest of an unfinished line."""
        assert self._unfinished is not None
        stream, time, full = self._unfinished
        self._unfinished = None
        if text.endswith(b"\r"):
            text = text[:-1]
        if stream == UNKNOWN:
            if text:
                self._emit(UNKNOWN, 0, text)
        elif full:
            if text:
                self._emit(stream, time, text)
        else:
            self._part(stream, time, text, False, span)

    def _entry(self, stream: str, time: int, text: bytes, spans: list[Span]) -> None:
        if self._multiline is None:
            self._emit(stream, time, text)
            return
        held = self._entries.get(stream)
        if self._multiline.first.search(text):
            if held is not None:
                self._release_entry(stream)
            held = self._entries[stream] = _Held(time, [], [], since=self._now)
        elif held is None:
            self._emit(stream, time, text)
            return
        elif held.size + len(text) >= self._max and held.pieces:
            self._hand_out_begun(stream, held, self._multiline.separator)
        held.pieces.append(text)
        held.size += len(text) + 1
        held.spans.extend(spans)

    def _hand_out_begun(self, stream: str, held: _Held, separator: bytes) -> None:
        """Hand out what is held of an entry that has grown too large; the rest will follow as a continuation."""
        self._emit(stream, held.time, separator.join(held.pieces))
        self.odd.split += 1
        held.pieces, held.spans, held.size, held.begun = [], [], 0, True

    def _release_partial(self, stream: str) -> None:
        held = self._partial.pop(stream)
        if held.pieces:
            self._entry(stream, held.time, b"".join(held.pieces), held.spans)

    def _release_entry(self, stream: str) -> None:
        held = self._entries.pop(stream)
        if held.pieces:
            assert self._multiline is not None
            self._emit(stream, held.time, self._multiline.separator.join(held.pieces))

    # --- records ---

    def _begin(self, observed: int) -> None:
        self._observed = observed
        self._now = monotonic()  # a clock that is set must not make a half line look old
        self._out = {}

    def _handed_out(self) -> dict[str, Records]:
        """What came of this call. It is the caller's: a reference here would keep its buffer alive."""
        out, self._out = self._out, {}
        return out

    def _records(self, stream: str) -> Records:
        records = self._out.get(stream)
        if records is None:
            records = self._out[stream] = Records()
        return records

    def _emit(self, stream: str, time: int, text: bytes) -> None:
        if not is_utf8(text):
            text = text.decode("utf-8", "replace").encode()
            self.odd.invalid_utf8 += 1
        records = self._records(stream)
        if len(text) <= self._max:
            records.pieces.append(record(time, self._observed, text))
            records.items += 1
            return
        self.odd.split += 1
        for piece in _pieces(text, self._max):
            records.pieces.append(record(time, self._observed, piece))
            records.items += 1


_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d):([0-5]\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def _cri_time(match: re.Match[bytes], clock: Clock) -> int:
    """Nanoseconds since 1970 of a match of _CRI or _TIME, or -1. Digits beyond the ninth are dropped."""
    minute = clock.minute(match[1])
    offset = 0 if match[4] == b"Z" else clock.offset(match[4])
    if minute < 0 or offset == -1:
        return -1
    seconds = minute + int(match[2]) - offset
    return seconds * 10**9 + int((match[3] or b"0")[:9].ljust(9, b"0")) if seconds >= 0 else -1


def _pieces(text: bytes, size: int) -> Iterator[bytes]:
    """Cut UTF-8 text into pieces of at most `size` bytes, never inside a character."""
    start = 0
    while len(text) - start > size:
        stop = start + size
        while stop > start + 1 and text[stop] & 0xC0 == 0x80:
            stop -= 1
        yield text[start:stop]
        start = stop
    yield text[start:]


def record(time: int, observed: int, text: bytes) -> bytes:
    """A LogRecord as field 2 of a ScopeLogs. Times are nanoseconds since 1970; a `time` of 0 is left out."""
    value = b"\x0a" + varint(len(text))
    head = (b"\x09" + time.to_bytes(8, "little") if time else b"") + b"\x59" + observed.to_bytes(8, "little")
    head += b"\x2a" + varint(len(value) + len(text)) + value
    return b"\x12" + varint(len(head) + len(text)) + head + text


__all__ = ["MAX_LOG_SIZE", "SLACK", "UNKNOWN", "Clock", "Multiline", "Odd", "Parser", "Records", "record"]
