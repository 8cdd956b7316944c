"""The request reader alone: whatever arrives, in whatever pieces, becomes the same requests or the same refusal."""

import asyncio
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.net.budget import Budget
from hawse.net.head import decoded
from hawse.net.http import HttpError, Response
from hawse.net.parsing import RequestReader
from hawse.net.routes import Mount, Routes
from hawse.net.settings import ServerConfig
from hawse.values import ByteSize

SETTINGS = ServerConfig(
    endpoint=":0", max_request_body_size=ByteSize(200_000), max_header_bytes=ByteSize(2000), max_header_count=20
)


class Sink:
    def __init__(self):
        self.seen = []

    def head(self, incoming):
        pass

    def request(self, incoming):
        try:
            request = asyncio.run(decoded(incoming, Budget()))
        except HttpError as error:
            self.seen.append(error.response.status)
            return
        self.seen.append((request.method, request.path, bytes(request.body), incoming.close))

    def refuse(self, error):
        assert error.response.body
        self.seen.append(error.response.status)


async def nothing(request):
    return Response()


def read(data, cuts):
    """What a reader makes of data that arrives cut into pieces."""
    routes, sink = Routes(SETTINGS), Sink()
    mount = Mount("o", SETTINGS)
    routes.add(mount, {("POST", "/a"): nothing, ("*", "/b/*"): nothing}, "here", "o")
    reader = RequestReader(SETTINGS, routes, memoryview(bytearray(65_536)), "peer", sink)
    at = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        while at < cut:
            target = reader.buffer()
            size = min(cut - at, len(target))
            target[:size] = data[at : at + size]
            reader.received(size)
            at += size
    return sink.seen, reader


bodies = st.binary(max_size=50) | st.integers(60_000, 150_000).map(lambda size: b"x" * size)
names = st.text(string.ascii_letters + "-", min_size=1, max_size=10).filter(
    lambda name: (
        name.lower()
        not in {"host", "upgrade", "connection", "expect", "content-length", "transfer-encoding", "content-encoding"}
    )
)


@st.composite
def requests(draw):
    """A well-formed request and what it means."""
    method = draw(st.sampled_from(["POST", "GET", "PUT"]))
    path = "/a" if method == "POST" and draw(st.booleans()) else "/b/" + draw(st.text(string.ascii_letters, max_size=5))
    body = draw(bodies)
    lines = [f"{method} {path} HTTP/1.1", "Host: x"]
    lines += [
        f"{name}: {value}"
        for name, value in draw(st.dictionaries(names, st.text(string.printable[:94], max_size=9), max_size=4)).items()
    ]
    if draw(st.booleans()):
        lines += ["Connection: Upgrade", "Upgrade: h2c"]
    if draw(st.booleans()):
        lines.append(f"content-length: {len(body)}")
        payload = body
    else:
        lines.append("transfer-encoding: chunked")
        size = draw(
            st.integers(8, 70_000) if len(body) > 4096 else st.integers(1, 70)
        )  # tiny ones are refused in numbers
        payload = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for at in range(0, len(body), size) if (part := body[at : at + size])
        )
        payload += b"0\r\n\r\n"
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + payload, (method, path, body, False)


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 10**6), max_size=30))
@settings(max_examples=300, deadline=None)
def test_pieces_make_no_difference(made, cuts):
    data = b"".join(data for data, _ in made)
    seen, reader = read(data, cuts)
    assert seen == [meaning for _, meaning in made]
    assert reader.idle


@given(
    st.lists(requests(), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([b"\r", b"\n", b"\0", b":", b" ", b"\xff", b"0", b""]))),
    st.lists(st.integers(0, 10**6), max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_damaged_requests_end_in_the_same_way_however_they_are_cut(made, damage, cuts):
    data = bytearray(b"".join(data for data, _ in made))
    for at, byte in damage:
        at %= len(data)
        data[at : at + 1] = byte or data[at : at + 1]
    whole, _ = read(bytes(data), [])
    pieces, reader = read(bytes(data), cuts)
    assert whole == pieces
    if reader.failed:
        assert isinstance(whole[-1], int)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_or_waited_for(data, cuts):
    for start in (
        b"",
        b"POST /a HTTP/1.1\r\nhost: x\r\n",
        b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    ):
        assert read(start + data, cuts)[0] == read(start + data, [])[0]
