"""Each limit on what a stranger sends: the answer names it, and it is counted by its name."""

import asyncio
import gzip
import os
from contextlib import asynccontextmanager

import pytest

from hawse.net.budget import Budget
from hawse.net.http import Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig
from hawse.values import ByteSize, Duration

HEAD = b"POST /echo HTTP/1.1\r\nhost: x\r\n"


def post(body, *fields):
    return HEAD + b"".join(field + b"\r\n" for field in fields) + b"content-length: %d\r\n\r\n" % len(body) + body


class Served:
    """A server whose refusals are counted, and clients of it."""

    def __init__(self, budget):
        self.refused = []
        self.budget = budget
        self.release = asyncio.Event()
        self.release.set()
        self.taken = 0
        self.port = 0

    async def echo(self, request):
        self.taken += 1
        await self.release.wait()
        return Response(200, str(len(request.body)))

    @asynccontextmanager
    async def client(self, source="127.0.0.1"):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        try:
            yield reader, writer
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass

    async def ask(self, data, source="127.0.0.1"):
        async with self.client(source) as (reader, writer):
            writer.write(data)
            return await answer(reader)


async def answer(reader):
    """Status, head and body of one answer; (0, …) where the connection ends instead."""
    try:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, "", ""
    size = int(head.lower().partition("content-length: ")[2].partition("\r")[0])
    return int(head.split()[1]), head, (await reader.readexactly(size)).decode()


def serve(scenario, budget=None, **settings):
    async def run():
        served = Served(budget or Budget())
        servers = HttpServers(served.budget, served.refused.append)
        config = ServerConfig(endpoint="127.0.0.1:0", **settings)
        routes = {("POST", "/echo"): served.echo, ("GET", "/metrics"): served.echo}
        served.port = await servers.mount(config, routes, owner="test")
        try:
            return await scenario(served)
        finally:
            served.release.set()
            await servers.close()
            await asyncio.sleep(0)
            assert served.budget.used == 0, "all that was charged is given back"

    return asyncio.run(run())


def small(limit):
    budget = Budget()
    budget.limit = limit
    return budget


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("settings", "data", "status", "limit"),
    [
        (
            {"max_url_bytes": ByteSize(100)},
            b"GET /" + b"a" * 101 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            414,
            "max_url_bytes",
        ),
        ({"max_header_bytes": ByteSize(500)}, HEAD + b"x: " + b"y" * 500 + b"\r\n\r\n", 431, "max_header_bytes"),
        ({"max_header_bytes": ByteSize(500)}, HEAD + b"x: " + b"y" * 500, 431, "max_header_bytes"),
        ({"max_header_count": 5}, HEAD + b"a: b\r\n" * 5 + b"\r\n", 431, "max_header_count"),
        ({"max_request_body_size": ByteSize(10)}, post(b"x" * 11), 413, "max_request_body_size"),
        (
            {"max_request_body_size": ByteSize(10)},
            CHUNKED + b"b\r\n01234567890\r\n0\r\n\r\n",
            413,
            "max_request_body_size",
        ),
        (
            {"max_request_body_size": ByteSize(1000)},
            post(gzip.compress(b"x" * 1001), b"content-encoding: gzip"),
            413,
            "max_request_body_size",
        ),
        (
            {"max_decompression_ratio": 100},
            post(gzip.compress(b"\0" * 2_000_000), b"content-encoding: gzip"),
            413,
            "max_decompression_ratio",
        ),
        ({"max_header_bytes": ByteSize(500)}, CHUNKED + b"1;", 0, ""),
        ({"max_header_bytes": ByteSize(500)}, CHUNKED + b"1\r\nx\r\n0\r\nt: ", 0, ""),
        ({"max_header_bytes": ByteSize(500)}, post(b"x" * 900) + HEAD + b"x: " + b"y" * 500, 0, ""),
        ({"read_header_timeout": Duration(0.1)}, HEAD, 408, "read_header_timeout"),
        ({"read_timeout": Duration(0.1)}, HEAD + b"content-length: 5\r\n\r\nx", 408, "read_timeout"),
    ],
)
def test_named_and_counted(settings, data, status, limit):
    async def scenario(served):
        if not status:  # what does not end: a chunk's extension, a trailer, the next request's header
            async with served.client() as (reader, writer):
                writer.write(data + b"y" * 100)
                await asyncio.sleep(0.05)
                for _ in range(20):
                    writer.write(b"y" * 100)
                    await asyncio.sleep(0.005)
                if data.startswith(post(b"x" * 900)):
                    assert (await answer(reader))[0] == 200
                return *(await answer(reader))[::2], served.refused
        found, _, body = await served.ask(data)
        return found, body, served.refused

    found, body, refused = serve(scenario, **settings)
    assert (found, refused) == (status or 431, [limit or "max_header_bytes"])
    assert f"({limit or 'max_header_bytes'})" in body


def test_what_is_no_http_is_counted_too():
    async def scenario(served):
        await served.ask(HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        await served.ask(HEAD + b"host: y\r\n\r\n")
        return served.refused, served.taken

    assert serve(scenario) == (["malformed", "malformed"], 0)


def test_a_body_must_keep_coming(monkeypatch):
    monkeypatch.setattr("hawse.net.connection._RATE_GRACE", 0.1)

    async def scenario(served):
        async with served.client() as (reader, writer):
            writer.write(HEAD + b"content-length: 100000\r\n\r\n")
            for _ in range(5):
                writer.write(b"x" * 10)
                await asyncio.sleep(0.02)
            slow = await answer(reader)
        async with served.client() as (reader, writer):  # twenty times as fast, and as long
            writer.write(HEAD + b"content-length: 1000\r\n\r\n")
            for _ in range(10):
                writer.write(b"x" * 100)
                await asyncio.sleep(0.02)
            return slow[0], slow[2], (await answer(reader))[0], served.refused

    status, body, good, refused = serve(scenario, min_body_rate=ByteSize(1000), read_header_timeout=Duration(0.1))
    assert (status, good, refused) == (408, 200, ["min_body_rate"])
    assert "less than 1000 bytes per second (min_body_rate)" in body


def test_requests_at_the_same_time():
    async def scenario(served):
        served.release.clear()
        async with served.client() as (reader, writer), served.client() as (reader_2, writer_2):
            for one in (writer, writer_2):
                one.write(post(b"x"))
            await asyncio.sleep(0.05)
            refused = await served.ask(post(b"y"))
            served.release.set()
            assert [(await answer(one))[0] for one in (reader, reader_2)] == [200, 200]
        return refused, (await served.ask(post(b"z")))[0], served.refused

    (status, head, body), after, refused = serve(scenario, max_concurrent_requests=2)
    assert (status, after, refused) == (503, 200, ["max_concurrent_requests"])
    assert "retry-after: 1" in head
    assert "2 requests are being answered already (max_concurrent_requests)" in body


def test_requests_sent_ahead():
    async def scenario(served):
        async with served.client() as (reader, writer):
            writer.write(post(b"x") * 20)
            return [(await answer(reader))[0] for _ in range(11)] + [await reader.read()], served.taken, served.refused

    answers, taken, refused = serve(scenario, max_pipelined_requests=10)
    assert answers == [200] * 10 + [429, b""]
    assert (taken, refused) == (10, ["max_pipelined_requests"])


def test_connections_of_one_peer():
    async def scenario(served):
        async with served.client(), served.client():
            await asyncio.sleep(0.02)
            third = await served.ask(post(b"x"))
            other = await served.ask(post(b"x"), source="127.0.0.2")
        await asyncio.sleep(0.05)
        return third, other[0], (await served.ask(post(b"x")))[0], served.refused

    third, other, again, refused = serve(scenario, max_connections_per_peer=2)
    assert (third[0], other, again, refused) == (503, 200, 200, ["max_connections_per_peer"])
    assert "127.0.0.1 has 2 connections already (max_connections_per_peer)" in third[2]


def test_idle_connections_make_room(monkeypatch):
    monkeypatch.setattr("hawse.net.connection._YOUNG", 0.05)

    async def scenario(served):
        async with served.client() as (first, _), served.client() as (second, busy):
            await asyncio.sleep(0.1)
            served.release.clear()
            busy.write(post(b"x"))
            await asyncio.sleep(0.02)
            async with served.client() as (third, writer):  # in place of the first: the second is at work
                writer.write(post(b"y"))
                gone = await first.read()
                served.release.set()
                return gone, (await answer(second))[0], (await answer(third))[0], served.refused

    assert serve(scenario, max_connections=2) == (b"", 200, 200, ["max_connections"])


# --- memory ---------------------------------------------------------------------------------------------------------------


def test_over_the_budget_a_body_is_refused_before_it_is_sent():
    async def scenario(served):
        served.budget.charge(served.budget.limit)
        async with served.client() as (reader, writer):
            writer.write(HEAD + b"content-length: 500000\r\nexpect: 100-continue\r\n\r\n")
            refused = await answer(reader)
        metrics = await served.ask(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        served.budget.release(served.budget.limit)
        return refused, metrics[0], (await served.ask(post(b"x" * 500_000)))[2], served.refused

    (status, head, body), metrics, later, refused = serve(scenario)
    assert (status, metrics, later, refused) == (429, 200, "500000", ["memory_limit"])
    assert "retry-after: 1" in head
    assert "(memory_limit)" in body


@pytest.mark.parametrize("chunked", [False, True])
def test_what_does_not_fit_is_refused_while_it_comes(chunked):
    async def scenario(served):
        served.budget.charge(600_000)
        body = os.urandom(500_000)
        data = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else post(body)
        status, _, text = await served.ask(data)
        used = served.budget.used
        served.budget.release(600_000)
        return status, "(memory_limit)" in text, used, served.taken

    assert serve(scenario, small(1_000_000)) == (429, True, 600_000, 0)


def test_a_bomb_is_stopped_where_memory_ends():
    async def scenario(served):
        served.budget.charge(600_000)
        status, _, text = await served.ask(post(gzip.compress(b"x" * 900_000), b"content-encoding: gzip"))
        fits = await served.ask(post(gzip.compress(b"x" * 300_000), b"content-encoding: gzip"))
        served.budget.release(600_000)
        return status, "(memory_limit)" in text, fits[2], served.taken

    assert serve(scenario, small(1_000_000)) == (429, True, "300000", 1)


def test_a_body_larger_than_the_whole_budget_passes_alone():
    async def scenario(served):
        plain = await served.ask(post(b"x" * 3_000_000))
        packed = await served.ask(post(gzip.compress(b"x" * 3_000_000), b"content-encoding: gzip"))
        return plain[2], packed[2]

    assert serve(scenario, small(1_000_000)) == ("3000000", "3000000")


def test_a_request_is_charged_until_it_is_answered():
    async def scenario(served):
        served.release.clear()
        async with served.client() as (reader, writer):
            writer.write(post(gzip.compress(b"x" * 700_000), b"content-encoding: gzip"))
            await asyncio.sleep(0.1)
            held = served.budget.used
            refused = await served.ask(post(b"x" * 400_000))
            served.release.set()
            return held, refused[0], (await answer(reader))[0]

    held, refused, answered = serve(scenario, small(1_000_000))
    assert 700_000 <= held < 705_000
    assert (refused, answered) == (429, 200)


@pytest.mark.parametrize(
    "unfinished", [HEAD, HEAD + b"content-length: 9000000\r\n\r\n" + b"x" * 900_000, CHUNKED + b"5\r\nx"]
)
def test_a_client_that_goes_gives_back_what_it_was_charged(unfinished):
    async def scenario(served):
        async with served.client() as (_, writer):
            writer.write(unfinished)
            await asyncio.sleep(0.1)
            assert served.budget.used >= len(HEAD)
        await asyncio.sleep(0.1)
        return served.budget.used

    assert serve(scenario) == 0


def test_an_announced_body_is_charged_as_it_comes():
    async def scenario(served):
        async with served.client() as (_, writer):
            writer.write(HEAD + b"content-length: 20000000\r\n\r\n" + b"x" * 1000)
            await asyncio.sleep(0.05)
            few = served.budget.used
            writer.write(b"x" * 300_000)
            await asyncio.sleep(0.1)
            return few < 5_000, 300_000 < served.budget.used < 700_000

    assert serve(scenario) == (True, True)


def test_chunks_of_next_to_nothing():
    async def scenario(served):
        tiny = await served.ask(CHUNKED + b"1\r\nx\r\n" * 5000)
        few = await served.ask(CHUNKED + b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n")
        return tiny[0], "chunks of fewer than 4 bytes" in tiny[2], few[0], served.refused

    assert serve(scenario) == (400, True, 200, ["malformed"])
