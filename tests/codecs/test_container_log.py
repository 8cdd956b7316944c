"""What the parser hands out is what a plain reading of the format says, for any lines in any pieces."""

import datetime
import json
import re
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs

from hawse.codecs import container_log
from hawse.codecs.container_log import SLACK, Multiline, Parser

OBSERVED = 1_790_000_000_123_456_789


def decode(records):
    """Records → [(time, body)] by OpenTelemetry's own decoder."""
    message = ResourceLogs.FromString(b"".join(records.scope()))
    assert len(message.scope_logs) == 1
    out = [(r.time_unix_nano, r.body.string_value) for r in message.scope_logs[0].log_records]
    for r in message.scope_logs[0].log_records:
        assert r.observed_time_unix_nano == OBSERVED
        assert r.body.WhichOneof("value") == "string_value"
        assert not r.attributes and not r.flags and not r.severity_number and not r.dropped_attributes_count
    assert len(out) == records.items
    return out


def collect(parser, data, cuts=(), chunk=None):
    """Feed complete lines, cut after the given newlines, and decode everything."""
    got = defaultdict(list)
    ends = [m.end() for m in re.finditer(b"\n", data)]
    stops = sorted({ends[c % len(ends)] for c in cuts} | {ends[-1]}) if ends else []
    at = 0
    for stop in stops:
        piece = data[at:stop]
        buffer = bytearray(1 + len(piece) + SLACK)
        buffer[1 : 1 + len(piece)] = piece
        for stream, records in parser.feed(buffer, 1, 1 + len(piece), at, OBSERVED).items():
            got[stream] += decode(records)
        at = stop
    if at < len(data):
        for stream, records in parser.feed_unfinished(data[at:], at, OBSERVED).items():
            got[stream] += decode(records)
    return got


def finish(parser, got):
    for stream, records in parser.flush(OBSERVED).items():
        got[stream] += decode(records)
    assert parser.held == []
    return dict(got)


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def nanoseconds(text):
    """RFC 3339 → nanoseconds, by the standard library."""
    match = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    whole = datetime.datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    delta = whole - EPOCH
    return (delta.days * 86400 + delta.seconds) * 10**9 + int((match[2] or "0")[:9].ljust(9, "0"))


def expected(lines, max_size=container_log.MAX_LOG_SIZE):
    """A plain reading of CRI lines given as (time text, stream, tag, body bytes) or raw bytes."""
    out, partial = defaultdict(list), {}
    for line in lines:
        if isinstance(line, bytes):
            out[""].append((0, line.decode("utf-8", "replace")))
            continue
        time, stream, tag, body = line
        held = partial.setdefault(stream, [nanoseconds(time), b""])
        held[1] += body
        if tag == "F":
            out[stream].append((held[0], held[1].decode("utf-8", "replace")))
            del partial[stream]
    for stream, held in partial.items():
        out[stream].append((held[0], held[1].decode("utf-8", "replace")))
    return dict(out)


def encode(lines, ending=b"\n"):
    return b"".join(
        (line if isinstance(line, bytes) else f"{line[0]} {line[1]} {line[2]} ".encode() + line[3]) + ending
        for line in lines
    )


@st.composite
def timestamps(draw):
    moment = (
        draw(st.datetimes(datetime.datetime(1970, 1, 3), datetime.datetime(2261, 12, 30)).map(str))
        if draw(st.integers(0, 3)) == 0
        else f"2026-11-24 13:0{draw(st.integers(0, 9))}:{draw(st.integers(0, 59)):02}"
    )
    text = moment[:19].replace(" ", "T")
    fraction = draw(st.integers(0, 999_999_999).map(lambda n: f"{n:09}"))
    if draw(st.booleans()):
        fraction = fraction[: draw(st.integers(0, 9))].rstrip("0")
    zone = draw(st.sampled_from(["Z", "Z", "Z", "+00:00", "+05:30", "-08:00", "+14:00", "-00:30"]))
    return text + ("." + fraction if fraction else "") + zone


bodies = st.one_of(
    st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").rstrip(b"\r")),
    st.text(max_size=40).map(lambda t: t.replace("\n", "").encode("utf-8", "replace").rstrip(b"\r")),
    st.just(b""),
    st.binary(min_size=1, max_size=3).map(lambda b: (b.replace(b"\n", b"") * 9000).rstrip(b"\r")),
    st.sampled_from([b"\x00\x00", b'{"a":1}', b"\xff\xfe", "é🙂".encode(), b"2026-11-24T13:00:00Z stdout F x", b" x "]),
)
cri = st.tuples(
    timestamps(), st.sampled_from(["stdout", "stdout", "stdout", "stderr"]), st.sampled_from("FFFFFP"), bodies
)
raw = st.sampled_from(
    [b"", b"garbage", b"2026-11-24T13:00:00Z", b"2026-13-24T13:00:00.000000001Z stdout F no such month",
     b"2026-11-24T13:00:00.000000001Z stdlog F no such stream", b"2026-11-24T13:00:00.00000000xZ stdout F digit",
     b"2026-11-24T13:00:61.000000001Z stdout F second", b"2026-11-24T13:00:00.000000001Y stdout F zone",
     b"2026-11-24T13:00:00.000000001Z stdout X tag", b"\xff\xff raw", b"1969-12-31T23:00:00.000000001Z stdout F before"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(st.one_of(cri, cri, cri, cri, raw), min_size=1, max_size=60),
    st.lists(st.integers(0, 1000), max_size=4),
    st.booleans(),
)
@example([("2026-11-24T13:00:00.123456789+05:30", "stdout", "F", b"x" * 60)] * 200, [], True)
@example([("2026-11-24T13:00:00.12345Z", "stdout", "F", b"x" * 60)] * 200, [], True)
@example([("2026-11-24T13:00:00.1Z", "stderr", "F", b"")] * 300, [], True)
def test_cri_lines_in_any_pieces(lines, cuts, wide):
    """One by one and as columns (wide: enough lines around them that numpy takes the chunk)."""
    if wide:
        filler = [("2026-11-24T13:00:00.123456789Z", "stdout", "F", b"filler %d" % n) for n in range(120)]
        if lines[0] == b"" or not isinstance(lines[0], bytes):
            lines = [*filler, *lines, ("2026-11-24T13:00:00.1Z", "stdout", "F", b"end"), *filler]
    parser = Parser()
    if isinstance(lines[0], bytes) and lines[0][:1] == b"{":
        return
    got = finish(parser, collect(parser, encode(lines), cuts))
    assert got == expected(lines)
    assert parser.odd.unparseable == sum(isinstance(line, bytes) for line in lines)


@settings(max_examples=60, deadline=None)
@given(st.lists(cri, min_size=1, max_size=40))
def test_crlf(lines):
    lines = [(t, s, "F", b) for t, s, _, b in lines] * 8
    parser = Parser()
    assert finish(parser, collect(parser, encode(lines, b"\r\n"))) == expected(lines)


@settings(max_examples=100, deadline=None)
@given(st.lists(cri, min_size=1, max_size=30), st.integers(0, 4000))
def test_a_last_line_without_newline_and_its_rest(lines, cut):
    """Whatever was handed out of an unfinished line and what follows add up to the line."""
    data = encode(lines)
    cut = 1 + cut % len(data)
    parser = Parser()
    got = collect(parser, data[:cut])
    at = data.rfind(b"\n", 0, cut) + 1
    rest = data[cut:]
    if rest:
        buffer = bytearray(1 + len(rest) + SLACK)
        buffer[1 : 1 + len(rest)] = rest
        for stream, records in parser.feed(buffer, 1, 1 + len(rest), cut, OBSERVED).items():
            got[stream] += decode(records)
    got = finish(parser, got)
    if at == cut:
        assert got == expected(lines)
    else:
        text = lambda out: sum(len(b.replace("\ufffd", "")) for r in out.values() for _, b in r)  # noqa: E731
        assert text(got) >= text(expected(lines)) - 4


@settings(max_examples=100, deadline=None)
@given(st.lists(cri, min_size=2, max_size=40), st.integers(0, 10_000))
def test_held_spans_restore_the_parser(lines, cut):
    """A new parser fed the held ranges goes on exactly where the old one was."""
    data = encode(lines)
    ends = [m.end() for m in re.finditer(b"\n", data)]
    cut = ends[cut % len(ends)]
    multiline = Multiline(re.compile(rb"^[a-m]"))
    whole = Parser(multiline=multiline)
    want = finish(whole, collect(whole, data))
    first = Parser(multiline=multiline)
    got = collect(first, data[:cut])
    second = Parser(multiline=multiline)
    for a, b in first.held:
        buffer = bytearray(1 + b - a + SLACK)
        buffer[1 : 1 + b - a] = data[a:b]
        assert second.feed(buffer, 1, 1 + b - a, a, OBSERVED) == {}
    assert second.held == first.held
    if cut < len(data):
        rest = data[cut:]
        buffer = bytearray(1 + len(rest) + SLACK)
        buffer[1 : 1 + len(rest)] = rest
        for stream, records in second.feed(buffer, 1, 1 + len(rest), cut, OBSERVED).items():
            got[stream] += decode(records)
    assert finish(second, got) == want


def test_multiline_entries():
    stamp = "2026-11-24T13:00:00.000000001Z"
    lines = ["orphan", "2026 one", "  at a", "  at b", "2026 two", "2026 three", "  at c"]
    parser = Parser(multiline=Multiline(re.compile(rb"^\d{4}")))
    got = collect(parser, encode([(stamp, "stdout", "F", text.encode()) for text in lines]))
    assert [b for _, b in got["stdout"]] == ["orphan", "2026 one\n  at a\n  at b", "2026 two"]
    got = finish(parser, got)
    assert [b for _, b in got["stdout"]][3:] == ["2026 three\n  at c"]


@pytest.mark.parametrize("size", [10, 1000])
def test_long_lines_go_on_in_further_records(size):
    stamp = "2026-11-24T13:00:00.000000001Z"
    body = "äbc🙂" * size
    filler = [(stamp, "stdout", "F", b"y" * 8)] * 200
    parser = Parser(max_log_size=50)
    got = collect(parser, encode([*filler, (stamp, "stdout", "F", body.encode()), *filler]))["stdout"][200:-200]
    assert "".join(b for _, b in got) == body
    assert all(len(b.encode()) <= 50 for _, b in got) and {t for t, _ in got} == {nanoseconds(stamp)}
    parts = [(stamp, "stderr", "P", body.encode()[i : i + 7]) for i in range(0, len(body.encode()), 7)]
    parser = Parser(max_log_size=50)
    got = finish(parser, collect(parser, encode([*parts, (stamp, "stderr", "F", b"")])))["stderr"]
    assert sum(len(b.encode()) for _, b in got) >= len(body.encode())


docker = st.fixed_dictionaries(
    {"log": st.text(max_size=30), "stream": st.sampled_from(["stdout", "stderr"]), "time": timestamps()}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(docker, min_size=1, max_size=30), st.lists(st.integers(0, 100), max_size=3))
def test_docker_json_file(lines, cuts):
    want, partial = defaultdict(list), {}
    for line in lines:
        held = partial.setdefault(line["stream"], [nanoseconds(line["time"]), ""])
        text = line["log"].encode("utf-8", "replace").decode()
        if text.endswith("\n"):
            want[line["stream"]].append((held[0], held[1] + (text[:-2] if text.endswith("\r\n") else text[:-1])))
            del partial[line["stream"]]
        else:
            held[1] += text
    for stream, held in partial.items():
        want[stream].append(tuple(held))
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    parser = Parser()
    assert finish(parser, collect(parser, data, cuts)) == dict(want)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=9000), st.integers(0, 100))
def test_hostile_bytes_are_never_lost(data, cut):
    """Anything at all: no exception, and no more and no fewer lines come out than went in."""
    parser = Parser()
    got = finish(parser, collect(parser, data + b"\n", [cut]))
    assert sum(map(len, got.values())) >= 1
