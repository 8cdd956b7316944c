"""The server as hostile HTTP/2 clients see it: raw frames over real sockets."""

import asyncio
import struct
import time
from contextlib import asynccontextmanager

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.net.budget import Budget
from hawse.net.grpc import METHOD, framed
from hawse.net.http import Response
from hawse.net.http2 import frames
from hawse.net.http2.fields import FieldReader, block, literal, status
from hawse.net.http2.frames import Code
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.values import ByteSize, Duration

PATH = "/t.T/Echo"
CALL = [
    (":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x"),
    ("content-type", "application/grpc"), ("te", "trailers"),
]  # fmt: skip


async def echo(request):
    return Response(200, request.body)


@asynccontextmanager
async def serving(handler=echo, memory=0, **settings):
    refused = []
    budget = Budget(memory)
    servers = HttpServers(budget, refused.append)
    config = ServerConfig(endpoint="127.0.0.1:0", **settings)
    port = await servers.mount(config, {(METHOD, PATH): handler, ("POST", "/echo"): handler}, owner="test")
    try:
        yield port, refused, budget
    finally:
        await servers.close()
    assert budget.used == 0


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.encoder = Encoder()
        self.got = []

    @classmethod
    @asynccontextmanager
    async def to(cls, port, greet=True):
        self = cls(*await asyncio.open_connection("127.0.0.1", port))
        if greet:
            self.send(frames.PREFACE + frames.settings({}))
        try:
            yield self
        finally:
            self.writer.close()

    def send(self, data):
        self.writer.write(data)

    def call(self, stream, message=b"hello", fields=CALL, end=True, body_end=True):
        flags = frames.END_HEADERS | (0 if end else 0)
        self.send(frames.frame(frames.HEADERS, flags, stream, self.encoder.encode(fields)))
        self.send(frames.frame(frames.DATA, frames.END_STREAM if body_end else 0, stream, framed(message)))

    async def frame(self, timeout=5):
        async with asyncio.timeout(timeout):
            head = await self.reader.readexactly(frames.HEAD)
            size, kind, flags, stream = frames.read_head(head, 0)
            return kind, flags, stream, await self.reader.readexactly(size)

    async def until(self, kind, timeout=5):
        """The next frame of a kind; b"" as payload where the connection ends first."""
        try:
            while True:
                found = await self.frame(timeout)
                self.got.append(found)
                if found[0] == kind:
                    return found
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def goaway(self):
        found = await self.until(frames.GOAWAY)
        assert found is not None, self.got
        last, code = struct.unpack_from(">II", found[3])
        assert await self.until(-1) is None  # and then the connection ends
        return Code(code)

    async def data(self):
        found = await self.until(frames.DATA)
        return found and found[3]


def run(test):
    asyncio.run(test)


def test_a_call():
    async def test():
        async with serving() as (port, _, _), Client.to(port) as client:
            for stream in (1, 3, 5):
                client.call(stream)
                assert await client.data() == framed(b"hello")
                kind, flags, number, payload = await client.until(frames.HEADERS)
                assert (flags & frames.END_STREAM, number) == (frames.END_STREAM, stream)
                assert payload == literal("grpc-status", "0")

    run(test())


def test_a_byte_at_a_time():
    async def test():
        async with serving() as (port, _, _), Client.to(port, greet=False) as client:
            fields = client.encoder.encode(CALL)
            padded = bytes((5,)) + framed(b"hello") + bytes(5)
            data = (
                frames.PREFACE
                + frames.settings({frames.ENABLE_PUSH: 0})
                + frames.frame(frames.HEADERS, 0, 1, fields[:7])
                + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, fields[7:])
                + frames.frame(frames.DATA, frames.END_STREAM | frames.PADDED, 1, padded)
            )
            for at in range(len(data)):
                client.send(data[at : at + 1])
                await client.writer.drain()
                await asyncio.sleep(0)
            assert await client.data() == framed(b"hello")

    run(test())


def test_http1_in_pieces_is_still_http1():
    async def test():
        async with serving() as (port, _, _), Client.to(port, greet=False) as client:
            for piece in (b"P", b"OST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n", b"hi"):
                client.send(piece)
                await client.writer.drain()
                await asyncio.sleep(0.01)
            assert (await client.reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 200")

    run(test())


FAULTS = {
    "no preface": (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Code.PROTOCOL_ERROR),
    "an even stream": (frames.frame(frames.HEADERS, 4, 2, b""), Code.PROTOCOL_ERROR),
    "data on stream 0": (frames.frame(frames.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    "data on an idle stream": (frames.frame(frames.DATA, 0, 9, b"x"), Code.PROTOCOL_ERROR),
    "more padding than data": (frames.frame(frames.HEADERS, 4 | 8, 1, b"\xff\x82"), Code.PROTOCOL_ERROR),
    "a continuation of nothing": (frames.frame(frames.CONTINUATION, 4, 1, b""), Code.PROTOCOL_ERROR),
    "a ping between": (
        frames.frame(frames.HEADERS, 0, 1, b"\x82") + frames.frame(frames.PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR,
    ),
    "no hpack": (frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
    "an index of nothing": (frames.frame(frames.HEADERS, 4, 1, b"\xfe"), Code.COMPRESSION_ERROR),
    "a short ping": (frames.frame(frames.PING, 0, 0, b"x"), Code.FRAME_SIZE_ERROR),
    "odd settings": (frames.frame(frames.SETTINGS, 0, 0, b"x"), Code.FRAME_SIZE_ERROR),
    "a wide window": (frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), Code.FLOW_CONTROL_ERROR),
    "a small frame": (frames.settings({frames.MAX_FRAME_SIZE: 1}), Code.PROTOCOL_ERROR),
    "a window of nothing": (frames.window_update(0, 0), Code.PROTOCOL_ERROR),
    "too much window": (frames.window_update(0, frames.LARGEST_WINDOW), Code.FLOW_CONTROL_ERROR),
    "a push": (frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "a huge frame": (frames.frame_head(1 << 20, frames.HEADERS, 0, 1), Code.FRAME_SIZE_ERROR),
    "a reset of nothing": (frames.rst_stream(7, Code.CANCEL), Code.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_against_the_rules_ends_the_connection_with_its_code(fault):
    async def test():
        data, code = FAULTS[fault]
        async with serving() as (port, _, _):
            async with Client.to(port, greet=fault != "no preface") as client:
                client.send(data)
                assert await client.goaway() is code
            async with Client.to(port) as client:
                client.call(1)
                assert await client.data() == framed(b"hello")

    run(test())


@pytest.mark.parametrize(
    "fields",
    [
        [*CALL, (":path", "/again")],
        [("x", "y"), *CALL],
        CALL[:2],
        [*CALL, ("connection", "close")],
        [*CALL, ("X-Upper", "a")],
        [*CALL, ("content-length", "many")],
        [(":method", "GET"), (":nonsense", "x"), (":path", "/")],
    ],
)
def test_a_malformed_request_ends_its_stream_only(fields):
    async def test():
        async with serving() as (port, _, _), Client.to(port) as client:
            client.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block(fields)))
            kind, _, stream, payload = await client.until(frames.RST_STREAM)
            assert (stream, payload) == (1, struct.pack(">I", Code.PROTOCOL_ERROR))
            client.call(3)
            assert await client.data() == framed(b"hello")

    run(test())


def flood(make, count):
    """A connection on which `count` frames are sent without reading; what it ends with."""

    async def test():
        async with serving() as (port, refused, _):
            async with Client.to(port) as client:

                async def push():
                    for number in range(count):
                        client.send(make(client, number))
                        if number % 100 == 0:
                            await client.writer.drain()

                pushing = asyncio.ensure_future(push())
                found = await client.goaway()
                pushing.cancel()
                await asyncio.gather(pushing, return_exceptions=True)
            async with Client.to(port) as client:
                client.call(1)
                assert await client.data() == framed(b"hello")
            return found, refused

    return asyncio.run(test())


@pytest.mark.parametrize(
    "make",
    [
        lambda c, n: frames.frame(frames.PING, 0, 0, bytes(8)),
        lambda c, n: frames.settings({frames.INITIAL_WINDOW_SIZE: n % 100}),
        lambda c, n: frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
        lambda c, n: frames.frame(200, 0, 0, b"what"),
        lambda c, n: frames.window_update(0, 1),
        lambda c, n: (
            frames.frame(frames.HEADERS, 4, 2 * n + 1, c.encoder.encode(CALL))
            + frames.rst_stream(2 * n + 1, Code.CANCEL)
        ),
        lambda c, n: (
            (frames.frame(frames.HEADERS, 4, 1, c.encoder.encode(CALL)) if not n else b"")
            + frames.frame(frames.DATA, 0, 1, b"")
        ),
    ],
    ids=["ping", "settings", "priority", "unknown", "window", "rapid reset", "empty data"],
)
def test_floods_of_what_brings_nothing_are_cut_off(make):
    code, refused = flood(make, 20_000)
    assert code is Code.ENHANCE_YOUR_CALM
    assert "http2_flood" in refused


def test_a_header_block_without_end():
    async def test():
        async with serving() as (port, refused, _), Client.to(port) as client:
            client.send(frames.frame(frames.HEADERS, 0, 1, b"\x82"))
            for _ in range(100):
                client.send(frames.frame(frames.CONTINUATION, 0, 1, literal("a", "b" * 1000)))
            assert await client.goaway() is Code.ENHANCE_YOUR_CALM
            assert refused == ["max_header_bytes"]

    run(test())


def test_an_hpack_bomb():
    async def test():
        async with serving() as (port, _, _), Client.to(port) as client:
            # A field of 4,000 bytes goes into the table; 50 references to it are 200 kB.
            client.send(frames.frame(frames.HEADERS, 4, 1, b"\x40\x01a" + b"\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 50))
            assert await client.goaway() is Code.ENHANCE_YOUR_CALM

    run(test())


def test_more_streams_than_allowed_are_refused_and_not_others():
    async def hold(request):
        await asyncio.sleep(0.3)
        return Response(200, request.body)

    async def test():
        async with serving(hold, max_concurrent_streams=5) as (port, _, _), Client.to(port) as client:
            client.send(frames.SETTINGS_ACK)
            for number in range(10):
                client.call(2 * number + 1)
            resets, done = set(), set()
            while len(resets) + len(done) < 10:
                kind, flags, stream, payload = await client.frame()
                if kind == frames.RST_STREAM:
                    assert payload == struct.pack(">I", Code.REFUSED_STREAM)
                    resets.add(stream)
                elif kind == frames.HEADERS and flags & frames.END_STREAM:
                    done.add(stream)
            assert (done, resets) == ({1, 3, 5, 7, 9}, {11, 13, 15, 17, 19})

    run(test())


def test_more_data_than_the_window_is_an_error():
    async def test():
        async with serving(max_request_body_size=ByteSize(100 << 20)) as (port, _, _), Client.to(port) as client:
            client.send(frames.frame(frames.HEADERS, 4, 1, client.encoder.encode(CALL)))
            head = frames.frame_head(1 << 20, frames.DATA, 0, 1)
            for _ in range(5):  # without waiting for the window of 4 MiB to open again: it does, at half
                client.send(head + bytes(1 << 20))
                await client.writer.drain()
            client.send(frames.frame_head((1 << 20) + 1, frames.DATA, 0, 1))
            assert await client.goaway() is Code.FRAME_SIZE_ERROR

    run(test())


def test_a_body_over_the_limit_is_answered_before_it_has_come():
    async def test():
        async with serving(max_request_body_size=ByteSize(1000)) as (port, refused, _), Client.to(port) as client:
            client.send(frames.frame(frames.HEADERS, 4, 1, client.encoder.encode(CALL)))
            client.send(frames.frame(frames.DATA, 0, 1, bytes(2000)))
            _, flags, _, payload = await client.until(frames.HEADERS)
            assert b"grpc-status\x018" in payload
            assert (await client.until(frames.RST_STREAM))[3] == struct.pack(">I", Code.NO_ERROR)
            client.send(frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(2000)))  # was on its way
            client.call(3)
            assert await client.data() == framed(b"hello")
            assert refused == ["max_request_body_size"]

    run(test())


def test_where_memory_is_used_up_clients_are_told_to_come_again():
    async def test():
        async with serving(memory=80 << 20) as (port, refused, budget), Client.to(port) as client:
            budget.charge(budget.limit - 1000)
            client.send(frames.frame(frames.HEADERS, 4, 1, client.encoder.encode(CALL)))
            client.send(frames.frame(frames.DATA, 0, 1, bytes(100_000)))
            _, _, _, payload = await client.until(frames.HEADERS)
            assert b"grpc-status\x0214" in payload
            budget.release(budget.limit - 1000)

    run(test())


def test_a_small_window_is_kept_to():
    async def test():
        async with serving() as (port, _, _), Client.to(port) as client:
            client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}))
            client.call(1, b"x" * 95)
            got = b""
            while len(got) < 100:
                piece = await client.data()
                assert 0 < len(piece) <= 10
                got += piece
                client.send(frames.window_update(1, len(piece)))
            assert got == framed(b"x" * 95)

    run(test())


def test_a_window_that_is_never_opened_holds_nothing_for_ever():
    async def test():
        async with serving(write_timeout=Duration(0.3)) as (port, refused, _), Client.to(port) as client:
            client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
            client.call(1)
            assert (await client.until(frames.RST_STREAM))[2] == 1
            assert refused == ["write_timeout"]

    run(test())


def test_slow_requests_and_silent_connections_end():
    async def test():
        async with serving(read_timeout=Duration(0.2), read_header_timeout=Duration(0.2)) as (port, refused, _):
            async with Client.to(port) as client:
                client.send(frames.frame(frames.HEADERS, 4, 1, client.encoder.encode(CALL)))
                _, _, _, payload = await client.until(frames.HEADERS)
                assert b"grpc-status\x0214" in payload
            async with Client.to(port, greet=False) as client:
                client.send(frames.PREFACE[:10])
                assert await client.goaway() is Code.ENHANCE_YOUR_CALM
            assert set(refused) == {"read_timeout", "read_header_timeout"}

    run(test())


def test_a_client_that_goes_gives_everything_back():
    async def test():
        started = asyncio.Event()
        ended = asyncio.Event()

        async def hold(request):
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        async with serving(hold) as (port, _, budget):
            async with Client.to(port) as client:
                client.call(1)
                client.call(3, body_end=False)
                await started.wait()
                assert budget.used > 0
            async with asyncio.timeout(5):
                await ended.wait()
            await asyncio.sleep(0.05)
            assert budget.used == 0

    run(test())


# --- header fields ------------------------------------------------------------------------------------------------------

FIELD = st.tuples(st.text("abcdefghij-", min_size=1, max_size=12), st.text("abc XYZ09", max_size=200))


@settings(max_examples=100)
@given(st.lists(st.lists(FIELD, max_size=6), max_size=12))
def test_blocks_are_read_as_they_were_meant_whether_known_or_not(blocks):
    encoder, reader = Encoder(), FieldReader(4096, 65536)
    for fields in blocks:
        for _ in range(3):
            found = reader.read(encoder.encode(fields))
            assert [(name.decode(), value.decode()) for name, value in found] == fields


@given(st.lists(FIELD, max_size=5), st.integers(200, 599))
def test_our_blocks_can_be_read(fields, code):
    found = FieldReader(4096, 65536).read(status(code) + block(fields))
    assert found == [(b":status", b"%d" % code), *((n.encode(), v.encode()) for n, v in fields)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_bytes_changed_anywhere_end_in_an_answer_or_an_error(at, junk):
    async def test():
        async with serving() as (port, _, _):
            async with Client.to(port, greet=False) as client:
                data = frames.PREFACE + frames.settings({}) + frames.frame(4, 1, 0)
                for stream in (1, 3):
                    data += frames.frame(frames.HEADERS, 4, stream, client.encoder.encode(CALL))
                    data += frames.frame(frames.DATA, 1, stream, framed(b"hello"))
                client.send(data[:at] + junk + data[at + len(junk) :])
                client.writer.write_eof()
                async with asyncio.timeout(10):
                    await client.reader.read(100_000)
            async with Client.to(port) as client:
                client.call(1)
                assert await client.data() == framed(b"hello")

    before = time.monotonic()
    run(test())
    assert time.monotonic() - before < 10
