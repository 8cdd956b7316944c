"""Lines of log files: CRI, Docker's, raw; cut into pieces at random, with multiline and small limits."""

import re
from collections.abc import Iterator

from fuzz.targets import Target, table
from hawse.batch import Group, Resource
from hawse.codecs.container_log import SLACK, Multiline, Parser, Records
from hawse.codecs.otlp_records import bodies

_NOW = 1_790_000_000_000_000_000


def _take(out: dict[str, Records]) -> int:
    items = 0
    for records in out.values():
        scope = records.scope()
        found = bodies(Group(Resource(b""), scope, records.items))
        assert len(found) == records.items, (len(found), records.items)
        for body in found:
            body.decode()
        items += records.items
    return items


def _run(data: bytes) -> None:
    if len(data) < 4:
        return
    mode, step, big, limit = data[:4]
    text = data[4:]
    if big & 1 and text:  # numpy's way begins at four kilobytes
        text = text * (1 + 5000 // len(text))
    parser = Parser(
        raw=mode % 8 == 1,
        multiline=Multiline(re.compile(rb"^[A-Z]")) if mode % 8 == 2 else None,
        max_log_size=1 << 20 if limit & 1 else 8 + limit,
    )
    at, size = 0, len(text)
    while at < size:
        end = text.rfind(b"\n", at, at + 1 + step * 32) + 1
        if end <= at:
            end = text.find(b"\n", at) + 1
        if end <= at or (step & 3 == 3 and end - at > 300):
            end = min(size, at + 300)
            piece = text[at:end].partition(b"\n")[0]
            if piece:
                _take(parser.feed_unfinished(piece, at, _NOW))
                at += len(piece)
                continue
            end = at + 1
        buffer = bytearray(1 + end - at + SLACK)
        buffer[1 : 1 + end - at] = text[at:end]
        _take(parser.feed(buffer, 1, 1 + end - at, at, _NOW))
        at = end
        for start, stop in parser.held:
            assert 0 <= start <= stop <= at
        if mode & 64:
            _take(parser.flush(_NOW, older_than=0))
    _take(parser.flush(_NOW))
    assert parser.held == []


def _seeds() -> Iterator[bytes]:
    cri = (
        b"2026-11-24T13:05:00.123456789Z stdout F one line\n"
        b"2026-11-24T13:05:00.1Z stderr P a part, \n2026-11-24T13:05:00.2+01:00 stderr F and its end\n"
        b"2026-11-24T13:05:01Z stdout F \n2026-11-24T13:05:01.5-05:30 stdout F tail\r\n"
    )
    docker = (
        b'{"log":"one\\n","stream":"stdout","time":"2026-11-24T13:05:00.123456789Z"}\n'
        b'{"log":"a part","stream":"stderr","time":"2026-11-24T13:05:00Z"}\n'
        b'{"log":" and \\u00e9nd\\n","stream":"stderr","time":"2026-11-24T13:05:00.5Z"}\n'
    )
    for text in (cri, docker, b"raw text\n\nTrace\n  more\nno end", b"\xff\xfe\n\0\n\xc3\n"):
        for head in (b"\0\xff\0\1", b"\1\3\0\x10", b"\2\1\0\1", b"\0\x08\1\1", b"\x40\2\0\x05"):
            yield head + text


_WORDS = [
    b"2026-11-24T13:05:00.123456789Z stdout F ", b"2026-11-24T13:05:00.1Z stderr P ", b"2026-11-24T13:05:00+14:00 stdout F ",
    b"9999-12-31T23:59:59.999999999Z", b"0001-01-01T00:00:00Z", b"1969-12-31T23:59:60Z", b"-00:00", b" P:x ", b" F:tag ", b"\n", b"\r\n",
    b'{"log":"', b'\\n","stream":"stdout","time":"2026-11-24T13:05:00Z"}\n', b"\\ud800", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
]  # fmt: skip

TARGETS = table(Target("container_log", _run, _seeds, _WORDS, 2048))
