"""The server as well-behaved clients, and as hostile ones, see it: real sockets, raw bytes."""

import asyncio
import gzip
import http.client
import json
import logging
import os
import socket
import ssl
import threading
import time
import zlib
from contextlib import asynccontextmanager

import pytest
import zstandard

from hawse.diagnostics import HawseError
from hawse.net.http import HttpError, Response, StreamResponse
from hawse.net.server import HttpServers
from hawse.net.settings import Cors, ServerConfig
from hawse.values import ByteSize, Duration


async def echo(request):
    return Response(200, request.body, content_type="application/octet-stream")


async def about(request):
    fields = {"method": request.method, "path": request.path, "query": request.query, "peer": request.peer}
    return Response(200, json.dumps(fields), content_type="application/json")


@asynccontextmanager
async def serving(routes=None, **settings):
    servers = HttpServers()
    config = ServerConfig(endpoint=settings.pop("endpoint", "127.0.0.1:0"), **settings)
    port = await servers.mount(config, routes or {("POST", "/echo"): echo, ("GET", "/about"): about}, owner="test")
    try:
        yield port
    finally:
        await servers.close()


class Raw:
    """A client that sends what it is told, and reads answers one by one."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, port, **options):
        return cls(*await asyncio.open_connection("127.0.0.1", port, **options))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass

    def send(self, data):
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)

    async def answer(self):
        """Status, headers, body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if status == 100:
            return status, headers, b""
        if "content-length" in headers:
            return status, headers, await self.reader.readexactly(int(headers["content-length"]))
        return status, headers, b""

    async def ended(self):
        """Whether the server hangs up, within five seconds, without another byte."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


def post(body=b"", path="/echo", **headers):
    lines = {"host": "x", "content-length": len(body), **{k.replace("_", "-"): v for k, v in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def ask(scenario, **settings):
    """Run `scenario(client)` against a fresh server."""

    async def run():
        async with serving(**settings) as port, await Raw.to(port) as client:
            return await scenario(client)

    return asyncio.run(run())


def one(request, **settings):
    async def scenario(client):
        client.send(request)
        return await client.answer()

    return ask(scenario, **settings)


# --- what clients do --------------------------------------------------------------------------------------------------


def test_keeps_the_connection_and_answers_pipelined_requests_in_order():
    async def slow_then_fast(request):
        await asyncio.sleep(0.05 if request.body == b"0" else 0)
        return Response(200, request.body)

    async def scenario(client):
        client.send(b"".join(post(str(number).encode()) for number in range(100)))
        return [(await client.answer())[2] for _ in range(100)]

    assert ask(scenario, routes={("POST", "/echo"): slow_then_fast}) == [str(n).encode() for n in range(100)]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 262_144, 1_000_000, 5_000_001])
@pytest.mark.parametrize("chunk", [None, 1000, 100_000])
def test_bodies_of_all_sizes_arrive_as_they_were_sent(size, chunk):
    body = os.urandom(size)

    async def scenario(client):
        for _ in range(2):  # the second finds the connection in order
            if chunk:
                pieces = [body[at : at + chunk] for at in range(0, size, chunk)]
                client.send(post(content_length=None, transfer_encoding="chunked"))
                client.send(b"".join(b"%X;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
            else:
                client.send(post(body))
            status, _, received = await client.answer()
            assert (status, received == body) == (200, True)

    ask(scenario)


def test_a_request_may_come_byte_by_byte():
    async def scenario(client):
        for byte in post(b"hello", x_long="v" * 50) + post(b"again"):
            client.send(bytes([byte]))
            await asyncio.sleep(0)
            await client.writer.drain()
        return [(await client.answer())[2] for _ in range(2)]

    assert ask(scenario) == [b"hello", b"again"]


def test_path_query_and_peer():
    request = "GET /%61bout?a=1&a=2&b=&c=%20%C3%A9 HTTP/1.1\r\nhost: x\r\n\r\n"
    status, _, body = one(request)
    assert status == 200
    assert json.loads(body) == {
        "method": "GET",
        "path": "/about",
        "query": {"a": ["1", "2"], "b": [""], "c": [" é"]},
        "peer": "127.0.0.1",
    }
    assert one("GET http://other/about?x HTTP/1.1\r\nhost: other\r\n\r\n")[0] == 200


def test_expect_continue_is_answered_before_the_body_is_sent():
    async def scenario(client):
        client.send(post(content_length=5, expect="100-continue"))
        first = await client.answer()
        client.send(b"hello")
        return first[0], (await client.answer())[2]

    assert ask(scenario) == (100, b"hello")


def test_an_expected_body_that_is_too_large_is_refused_before_it_is_sent():
    async def scenario(client):
        client.send(post(content_length=1001, expect="100-continue"))
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert b"1000 are allowed (max_request_body_size)" in body
        return await client.ended()

    assert ask(scenario, max_request_body_size=ByteSize(1000))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [5, 300_000])
def test_an_offer_to_upgrade_is_declined_and_the_request_answered(chunked, size):
    body = b"x" * size
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABk"}

    async def scenario(client):
        if chunked:
            client.send(
                post(content_length=None, transfer_encoding="chunked", **offer)
                + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
            )
        else:
            client.send(post(body, **offer))
        first = await client.answer()
        client.send(post(b"next"))
        return first[0], first[2] == body, (await client.answer())[2]

    assert ask(scenario) == (200, True, b"next")


def test_http_1_0_is_answered_and_ended():
    async def scenario(client):
        client.send("GET /about HTTP/1.0\r\n\r\n")
        return (await client.answer())[0], await client.ended()

    assert ask(scenario) == (200, True)


def test_connection_close_is_obeyed():
    async def scenario(client):
        client.send(post(b"x", connection="close"))
        _, headers, body = await client.answer()
        return headers["connection"], body, await client.ended()

    assert ask(scenario) == ("close", b"x", True)


def test_head_has_the_length_but_not_the_body():
    async def scenario(client):
        client.send("HEAD /about HTTP/1.1\r\nhost: x\r\n\r\nGET /about HTTP/1.1\r\nhost: x\r\n\r\n")
        head = (await client.reader.readuntil(b"\r\n\r\n")).lower()
        return int(head.partition(b"content-length: ")[2].split()[0]), len((await client.answer())[2])

    head, body = ask(scenario)
    assert head == body + 1  # "HEAD" is a letter longer than "GET"


def _raw_deflate(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def _streamed_zstd(data):
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
        ("deflate", zlib.compress),
        ("deflate", _raw_deflate),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("zstd", _streamed_zstd),
        ("zstd", lambda data: _streamed_zstd(data[:9]) + zstandard.ZstdCompressor().compress(data[9:])),
        ("identity", bytes),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    ],
)
def test_content_encodings(encoding, encode):
    data = b"a line of log, and another one\n" * 5000
    status, _, body = one(post(encode(data), content_encoding=encoding))
    assert (status, body == data) == (200, True)


def test_streamed_answers_come_while_they_are_made():
    async def pieces(request):
        async def made():
            for number in range(3):
                yield b"piece %d\n" % number
                await release.wait()
                release.clear()

        return StreamResponse(made(), content_type="text/plain")

    async def scenario(client):
        nonlocal release
        release = asyncio.Event()
        client.send("GET /s HTTP/1.1\r\nhost: x\r\n\r\n")
        _, headers, _ = await client.answer()
        assert headers["transfer-encoding"] == "chunked"
        for number in range(3):
            assert await client.reader.readexactly(13) == b"8\r\npiece %d\n\r\n" % number
            release.set()
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"
        client.send("GET /s HTTP/1.0\r\n\r\n")
        release.set()
        head, _, rest = (await client.reader.readuntil(b"piece 0\n")).partition(b"\r\n\r\n")
        return b"chunked" not in head, rest

    release = None
    assert ask(scenario, routes={("GET", "/s"): pieces}) == (True, b"piece 0\n")


def test_a_stream_ends_when_the_client_goes():
    ended = threading.Event()

    async def endless(request):
        async def made():
            try:
                while True:
                    yield b"x" * 100_000
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamResponse(made())

    async def scenario(client):
        client.send("GET /s HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.reader.readexactly(1000)
        client.writer.transport.abort()
        for _ in range(200):
            if ended.is_set():
                return True
            await asyncio.sleep(0.01)
        return False

    assert ask(scenario, routes={("GET", "/s"): endless})


def test_a_client_that_disconnects_cancels_its_handler():
    async def run():
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def wait(request):
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with serving({("POST", "/echo"): wait}) as port:
            async with await Raw.to(port) as client:
                client.send(post(b"x"))
                await begun.wait()
            async with asyncio.timeout(2):
                await cancelled.wait()

    asyncio.run(run())


def test_the_standard_librarys_client_is_content():
    async def run():
        async with serving() as port:
            return await asyncio.to_thread(_with_http_client, port)

    assert asyncio.run(run()) == [(200, 2_000_000)] * 3


def _with_http_client(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    answers = []
    for _ in range(3):
        connection.request("POST", "/echo", b"x" * 2_000_000)
        response = connection.getresponse()
        answers.append((response.status, len(response.read())))
    connection.close()
    return answers


# --- what must be refused -----------------------------------------------------------------------------------------------


HEAD = "POST /echo HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        # Shapes that two parsers read differently: smuggling.
        (HEAD + "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""),
        (HEAD + "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", 400, ""),
        (HEAD + "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", 400, ""),
        (HEAD + "content-length: 5\r\ncontent-length: 5\r\n\r\nhello", 400, ""),
        (HEAD + "content-length: 5, 5\r\n\r\nhello", 400, ""),
        (HEAD + "content-length: +5\r\n\r\nhello", 400, ""),
        (HEAD + "content-length: 0x5\r\n\r\nhello", 400, ""),
        (HEAD + "content-length: -1\r\n\r\n", 400, ""),
        (HEAD + "content-length: 99999999999999999999999\r\n\r\n", 400, ""),
        (HEAD + "content-length : 5\r\n\r\nhello", 400, ""),
        (HEAD + "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, ""),
        (HEAD + "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "chunked"),
        (HEAD + "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 501, "chunked"),
        (HEAD + "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""),
        (HEAD + "transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", 400, ""),
        (HEAD + "transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400, ""),
        (HEAD + "transfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n", 400, ""),
        (HEAD + "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400, ""),
        (HEAD + " folded: x\r\n\r\n", 400, ""),
        (HEAD + "x: a\nb: c\r\n\r\n", 400, ""),
        (HEAD + "x: a\rb\r\n\r\n", 400, ""),
        (HEAD + "x: a\0b\r\n\r\n", 400, ""),
        (HEAD + "na me: x\r\n\r\n", 400, ""),
        ("POST /echo HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 400, "Host"),
        (HEAD + "host: y\r\ncontent-length: 0\r\n\r\n", 400, "Host"),
        ("POST /echo HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 501, "chunked"),
        ("GET /about HTTP/3.0\r\nhost: x\r\n\r\n", 400, ""),
        ("GET /about HTTP/0.9\r\nhost: x\r\n\r\n", 505, "HTTP/0.9"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, ""),  # TLS to a plain port
        ("CONNECT evil:443 HTTP/1.1\r\nhost: evil\r\n\r\n", 405, "proxy"),
        ("GET /\xe9 HTTP/1.1\r\nhost: x\r\n\r\n", 400, ""),
        (HEAD + "expect: a-present\r\ncontent-length: 1\r\n\r\n", 417, "a-present"),
        # Limits, which the answer names.
        (HEAD + "".join(f"x{n}: y\r\n" for n in range(200)) + "\r\n", 431, "100 header fields (max_header_count)"),
        (HEAD + f"x: {'y' * 70_000}\r\n\r\n", 431, "65536 bytes (max_header_bytes)"),
        (f"GET /{'a' * 70_000} HTTP/1.1\r\nhost: x\r\n\r\n", 414, "8192 bytes (max_url_bytes)"),
        (HEAD + "content-length: 20971521\r\n\r\n", 413, "20971520 are allowed (max_request_body_size)"),
        (HEAD + "content-encoding: br\r\ncontent-length: 1\r\n\r\nx", 415, "gzip, zstd, deflate, snappy, identity"),
        (HEAD + "content-encoding: gzip, gzip, gzip\r\ncontent-length: 1\r\n\r\nx", 415, "two"),
        # Nobody there.
        ("POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello", 404, "/about, /echo"),
        ("DELETE /echo HTTP/1.1\r\nhost: x\r\n\r\n", 405, "POST"),
    ],
)
def test_refused_with_the_reason(request_, status, says):
    answered, headers, body = one(request_)
    assert (answered, says in body.decode()) == (status, True), body
    if status == 405 and says == "POST":
        assert headers["allow"] == "post"


def test_nothing_after_a_refused_request_is_answered():
    async def scenario(client):
        client.send(HEAD + "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        client.send(post(b"smuggled"))
        assert (await client.answer())[0] == 400
        return await client.ended()

    assert ask(scenario)


def test_a_refused_request_waits_for_the_answers_before_it():
    async def slow(request):
        await asyncio.sleep(0.05)
        return Response(200, b"first")

    async def scenario(client):
        client.send(post(b"x") + b"garbage\r\n\r\n")
        return [(await client.answer())[0] for _ in range(2)], await client.ended()

    assert ask(scenario, routes={("POST", "/echo"): slow}) == ([200, 400], True)


def test_a_wrong_path_without_a_body_keeps_the_connection():
    async def scenario(client):
        client.send("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\nGET /about HTTP/1.1\r\nhost: x\r\n\r\n")
        return [(await client.answer())[0] for _ in range(2)]

    assert ask(scenario) == [404, 200]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("gzip", gzip.compress(b"\0" * 30_000_000), 413, "over 20971520 bytes (max_request_body_size)"),
        ("gzip", gzip.compress(gzip.compress(b"\0" * 30_000_000)), 200, ""),
        ("gzip, gzip", gzip.compress(gzip.compress(b"\0" * 30_000_000)), 413, "max_request_body_size"),
        ("deflate", zlib.compress(b"\0" * 30_000_000), 413, "max_request_body_size"),
        ("zstd", zstandard.ZstdCompressor().compress(b"\0" * 30_000_000), 413, "max_decompression_ratio"),
        (
            "zstd",
            zstandard.ZstdCompressor().compress(b"\0" * 15_000_000),
            413,
            "1100 times its size (max_decompression_ratio)",
        ),
        ("zstd", _streamed_zstd(b"\0" * 15_000_000), 413, "max_decompression_ratio"),
        ("gzip", gzip.compress(b"hello")[:-1], 400, "cut off"),
        ("gzip", gzip.compress(b"hello")[:-6] + b"123456", 400, "gzip"),
        ("gzip", gzip.compress(b"hello") + b"junk", 400, "gzip"),
        ("gzip", b"hello", 400, "gzip"),
        ("deflate", zlib.compress(b"hello")[:-1], 400, "cut off"),
        ("deflate", b"hello", 400, "deflate"),
        ("zstd", zstandard.ZstdCompressor().compress(b"hello" * 99)[:-1], 400, "cut off"),
        ("zstd", zstandard.ZstdCompressor().compress(b"hello") + b"junk", 400, "zstd"),
        ("zstd", b"hello", 400, "zstd"),
    ],
)
def test_bombs_and_broken_encodings(encoding, body, status, says):
    answered, _, text = one(post(body, content_encoding=encoding))
    assert (answered, status == 200 or says in text.decode()) == (status, True), text[:200]


def test_a_large_chunked_body_is_refused_while_it_comes():
    async def scenario(client):
        client.send(post(content_length=None, transfer_encoding="chunked"))
        for _ in range(50):
            client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        status, _, body = await client.answer()
        return status, b"more than 10000 bytes (max_request_body_size)" in body

    assert ask(scenario, max_request_body_size=ByteSize(10_000)) == (413, True)


# --- time and load --------------------------------------------------------------------------------------------------------


def test_a_slow_head_is_ended():
    async def scenario(client):
        for byte in HEAD.encode():
            client.send(bytes([byte]))
            await asyncio.sleep(0.03)
            if client.reader._buffer:
                break
        status, _, body = await client.answer()
        return status, b"(read_header_timeout)" in body, await client.ended()

    assert ask(scenario, read_header_timeout=Duration(0.2)) == (408, True, True)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_slow_body_is_ended(size):
    async def scenario(client):
        client.send(post(content_length=size))
        client.send(b"x")
        status, _, body = await client.answer()
        return status, b"(read_timeout)" in body

    assert ask(scenario, read_timeout=Duration(0.2)) == (408, True)


def test_an_idle_connection_is_closed():
    async def scenario(client):
        client.send(post(b"x"))
        await client.answer()
        began = time.monotonic()
        return await client.ended(), time.monotonic() - began

    ended, waited = ask(scenario, idle_timeout=Duration(0.2))
    assert ended
    assert 0.1 < waited < 1


def test_a_handler_may_take_longer_than_all_time_outs():
    async def slow(request):
        await asyncio.sleep(0.5)
        return Response(200, b"done")

    limits = dict.fromkeys(("idle_timeout", "read_timeout", "read_header_timeout"), Duration(0.1))
    assert one(post(b"x"), routes={("POST", "/echo"): slow}, **limits)[2] == b"done"


def test_a_client_that_does_not_read_is_cut_off():
    async def big(request):
        return Response(200, b"x" * 50_000_000)

    async def scenario(client):
        client.send(post(b"x"))
        began = time.monotonic()
        await asyncio.sleep(0.8)
        try:
            async with asyncio.timeout(5):
                received = len(await client.reader.read(-1))
        except ConnectionError:
            received = 0
        return received < 50_000_000, time.monotonic() - began < 5

    assert ask(scenario, routes={("POST", "/echo"): big}, write_timeout=Duration(0.3)) == (True, True)


def test_connections_are_limited_and_come_back():
    async def run():
        async with serving(max_connections=2) as port:
            async with await Raw.to(port) as first, await Raw.to(port) as second:
                for client in (first, second):
                    client.send(post(b"x"))
                    assert (await client.answer())[0] == 200
                async with await Raw.to(port) as third:
                    status, headers, body = await third.answer()
                    assert (status, headers["retry-after"]) == (503, "1")
                    assert b"all 2 connections are in use (max_connections)" in body
                    assert await third.ended()
            await asyncio.sleep(0.05)
            async with await Raw.to(port) as fourth:
                fourth.send(post(b"x"))
                assert (await fourth.answer())[0] == 200

    asyncio.run(run())


def test_back_pressure_a_client_that_floods_is_not_read_ahead():
    async def run():
        release = asyncio.Event()

        async def hold(request):
            await release.wait()
            return Response(200, b"ok")

        async with serving({("POST", "/echo"): hold}) as port, await Raw.to(port) as client:
            sent = 0
            request = post(b"x" * 100_000)
            try:
                async with asyncio.timeout(1):
                    while sent < 400:
                        client.send(request)
                        await client.writer.drain()
                        sent += 1
            except TimeoutError:
                pass
            assert sent < 400  # 40 MB: the kernel holds some, we hold little
            release.set()
            for _ in range(sent):
                assert (await client.answer())[0] == 200

    asyncio.run(run())


def test_a_body_that_breaks_off_reaches_no_handler():
    async def run():
        called = []

        async def record(request):
            called.append(request)
            return Response()

        async with serving({("POST", "/echo"): record}) as port:
            for size in (10, 1_000_000):
                async with await Raw.to(port) as client:
                    client.send(post(content_length=size) + b"half")
                    await client.writer.drain()
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.05)
        return called

    assert asyncio.run(run()) == []


# --- handlers, mounts -------------------------------------------------------------------------------------------------------


def test_a_failing_handler_is_answered_and_told_once(caplog):
    async def fail(request):
        raise ValueError("secret")

    async def scenario(client):
        client.send(post(b"x") + post(b"y"))
        return [await client.answer() for _ in range(2)]

    with caplog.at_level(logging.ERROR):
        answers = ask(scenario, routes={("POST", "/echo"): fail})
    assert [status for status, _, _ in answers] == [500, 500]
    assert all(b"secret" not in body for _, _, body in answers)
    assert [record.getMessage() for record in caplog.records] == ["test: POST /echo from 127.0.0.1 failed"] * 2


def test_a_handler_may_raise_its_answer():
    async def teapot(request):
        raise HttpError(418, "short and stout", {"x-spout": "yes"})

    status, headers, body = one(post(b""), routes={("POST", "/echo"): teapot})
    assert (status, headers["x-spout"], body) == (418, "yes", b"short and stout\n")


def test_wildcards_the_longest_wins():
    def named(name):
        async def handler(request):
            return Response(200, name)

        return handler

    routes = {
        ("GET", "/api/*"): named("get"),
        ("*", "/api/v1/*"): named("any"),
        ("GET", "/api/v1/pods"): named("exact"),
    }

    async def scenario(client):
        found = []
        for target in (
            "GET /api/x/y",
            "PATCH /api/v1/x",
            "GET /api/v1/pods",
            "POST /api/v1/pods",
            "GET /api",
            "PUT /api/x",
        ):
            client.send(f"{target} HTTP/1.1\r\nhost: x\r\n\r\n")
            status, _, body = await client.answer()
            found.append(body.decode() if status == 200 else status)
        return found

    assert ask(scenario, routes=routes) == ["get", "any", "exact", "any", "get", 405]


def test_owners_share_a_socket_and_leave_it_one_by_one():
    async def run():
        servers = HttpServers()
        port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/echo"): echo}, owner="otlp")
        shared = ServerConfig(endpoint=f"127.0.0.1:{port}", max_request_body_size=ByteSize(3))
        assert await servers.mount(shared, {("POST", "/other"): echo}, owner="other") == port
        async with await Raw.to(port) as client:
            client.send(post(b"long") + post(b"abc", path="/other") + post(b"long", path="/other"))
            assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 413]
        with pytest.raises(HawseError, match="third and other both want to answer POST /other"):
            await servers.mount(shared, {("POST", "/new"): echo, ("POST", "/other"): echo}, owner="third")
        await servers.unmount("otlp")
        async with await Raw.to(port) as client:
            client.send("GET /echo HTTP/1.1\r\nhost: x\r\n\r\n" + post(b"abc", path="/other").decode())
            assert [(await client.answer())[0] for _ in range(2)] == [404, 200]
        await servers.unmount("other")
        with pytest.raises(ConnectionRefusedError):
            await Raw.to(port)
        again = await servers.mount(shared, {("POST", "/echo"): echo}, owner="otlp")  # a restart gets its port back
        await servers.close()
        return again == port

    assert asyncio.run(run())


def test_unmount_lets_running_requests_finish():
    async def run():
        begun, release = asyncio.Event(), asyncio.Event()

        async def hold(request):
            begun.set()
            await release.wait()
            return Response(200, b"finished")

        servers = HttpServers()
        port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), {("POST", "/echo"): hold}, owner="o")
        async with await Raw.to(port) as busy, await Raw.to(port) as idle:
            busy.send(post(b"x"))
            await begun.wait()
            leaving = asyncio.create_task(servers.unmount("o"))
            assert await idle.ended()
            assert not leaving.done()
            release.set()
            _, headers, body = await busy.answer()
            await leaving
            return headers["connection"], body

    assert asyncio.run(run()) == ("close", b"finished")


def test_what_cannot_be_bound_is_told():
    async def run(endpoint):
        servers = HttpServers()
        try:
            await servers.mount(ServerConfig(endpoint=endpoint), {("POST", "/echo"): echo}, owner="otlp")
        finally:
            await servers.close()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HawseError) as in_use:
            asyncio.run(run(f"127.0.0.1:{port}"))
    assert f"otlp cannot listen on 127.0.0.1:{port}: port {port} is in use" in str(in_use.value)
    assert "choose another port" in str(in_use.value)
    with pytest.raises(HawseError, match=r"not one of this machine's.*0\.0\.0\.0"):
        asyncio.run(run("192.0.2.1:4318"))
    with pytest.raises(HawseError, match="'no.such.host.invalid' is no address of this machine"):
        asyncio.run(run("no.such.host.invalid:4318"))
    if os.geteuid() != 0:
        with pytest.raises(HawseError, match="no permission to bind port 1"):
            asyncio.run(run("127.0.0.1:1"))


def test_localhost_is_both_families_on_one_port():
    async def run():
        async with serving(endpoint="localhost:0") as port:
            families = {family for family, *_ in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
            found = []
            for host in ("127.0.0.1", "::1"):
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    continue
                writer.close()
                await writer.wait_closed()
                found.append(host)
            return found, families

    found, families = asyncio.run(run())
    assert "127.0.0.1" in found
    assert ("::1" in found) == (socket.AF_INET6 in families)


@pytest.mark.parametrize("endpoint", ["localhost", "localhost:", "localhost:99999", "http://localhost:1", "a b:1"])
def test_a_wrong_endpoint_is_a_problem(endpoint):
    (problem,) = ServerConfig(endpoint=endpoint).problems()
    assert problem.path == "endpoint"
    assert endpoint in problem.message


def test_cors():
    cors = Cors(allowed_origins=("https://*.example.com",), allowed_headers=("X-Key",), max_age=60)
    preflight = "OPTIONS /echo HTTP/1.1\r\nhost: x\r\norigin: {}\r\naccess-control-request-method: POST\r\ncontent-length: 0\r\n\r\n"

    async def scenario(client):
        answers = []
        for request in (
            preflight.format("https://a.example.com"),
            preflight.format("https://evil.com"),
            post(b"x", origin="https://a.example.com"),
            post(b"x", origin="https://evil.com"),
        ):
            client.send(request)
            answers.append(await client.answer())
        return answers

    asked, evil_asked, posted, evil_posted = ask(scenario, cors=cors)
    assert (asked[0], posted[0]) == (204, 200)
    assert "x-key" in asked[1]["access-control-allow-headers"]
    assert asked[1]["access-control-max-age"] == "60"
    for _, headers, _ in (asked, posted):
        assert headers["access-control-allow-origin"] == "https://a.example.com"
    for _, headers, _ in (evil_asked, evil_posted):
        assert "access-control-allow-origin" not in headers


def test_response_headers_are_added():
    assert (
        one(post(b"x"), response_headers={"X-Content-Type-Options": "nosniff"})[1]["x-content-type-options"]
        == "nosniff"
    )


def test_tiny_chunks_take_no_more_memory_than_their_body():
    import tracemalloc

    async def scenario(client):
        client.send(post(content_length=None, transfer_encoding="chunked"))
        tracemalloc.start()
        for _ in range(100):
            client.send(b"8\r\nabcdefgh\r\n" * 1250)
            await client.writer.drain()
            await asyncio.sleep(0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        client.send(b"0\r\n\r\n")
        assert len((await client.answer())[2]) == 1_000_000
        return peak

    assert ask(scenario) < 12_000_000  # what is in the buffers of this test's own client counts, too


def test_a_request_that_had_to_wait_has_its_whole_time_afterwards():
    async def slow(request):
        await asyncio.sleep(0.4 if request.body == b"slow" else 0)
        return Response(200, request.body)

    async def scenario(client):
        second = post(b"next")
        client.send(post(b"slow") + second[:-2])
        assert (await client.answer())[2] == b"slow"
        await asyncio.sleep(0.1)
        client.send(second[-2:])
        return (await client.answer())[2]

    limits = {"read_timeout": Duration(0.3), "read_header_timeout": Duration(0.3)}
    assert ask(scenario, routes={("POST", "/echo"): slow}, **limits) == b"next"


def test_a_handler_that_is_cancelled_from_within_ends_the_connection():
    async def cancelled(request):
        raise asyncio.CancelledError

    async def scenario(client):
        client.send(post(b"x"))
        return await client.ended()

    assert ask(scenario, routes={("POST", "/echo"): cancelled})


def test_a_port_of_our_own_on_other_interfaces_is_told():
    async def run():
        servers = HttpServers()
        port = await servers.mount(ServerConfig(endpoint="0.0.0.0:0"), {("POST", "/echo"): echo}, owner="otlp")
        try:
            with pytest.raises(
                HawseError, match=rf"b cannot listen on 127.0.0.1:{port}: otlp has 0.0.0.0:0.*same host"
            ):
                await servers.mount(ServerConfig(endpoint=f"127.0.0.1:{port}"), {("POST", "/b"): echo}, owner="b")
        finally:
            await servers.close()

    asyncio.run(run())
