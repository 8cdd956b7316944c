"""The client against our server, and against servers that misbehave byte by byte."""

import asyncio
import gzip
import socket
import time
from contextlib import asynccontextmanager

import pytest

from hawse.component import Busy
from hawse.net.client import HttpClient
from hawse.net.http import Response, StreamResponse
from hawse.net.server import HttpServers
from hawse.net.settings import ClientConfig, ServerConfig, TLSClient
from hawse.values import Duration, Secret


@asynccontextmanager
async def serving(routes):
    servers = HttpServers()
    port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), routes, owner="test")
    try:
        yield port
    finally:
        await servers.close()


@asynccontextmanager
async def scripted(script):
    """A server that runs `script(reader, writer, number)` for each connection."""
    count = 0
    tasks = set()

    async def run(reader, writer):
        nonlocal count
        count += 1
        tasks.add(asyncio.current_task())
        try:
            await script(reader, writer, count)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], tasks
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def client_of(port, *, scheme="http", limit=64 << 20, **settings):
    made = HttpClient(ClientConfig(endpoint=f"{scheme}://127.0.0.1:{port}", **settings), max_response_size=limit)
    try:
        yield made
    finally:
        await made.close()


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int((head.lower().partition(b"content-length: ")[2] or b"0").split(b"\r\n")[0])
    return head, await reader.readexactly(length)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def against(script, use, **settings):
    """Run `use(client)` against a scripted server; give back its result and the number of connections."""

    async def run():
        async with scripted(script) as (port, connections), client_of(port, **settings) as client:
            return await use(client), len(connections)

    return asyncio.run(run())


# --- requests ----------------------------------------------------------------------------------------------------------


def test_requests_share_a_connection_and_bodies_arrive_whole():
    pieces = [b"a", bytearray(b"b" * 100_000), memoryview(b"c" * 3_000_000), b""]

    async def echo(request):
        return Response(201, request.body, {"x-peer": request.headers["user-agent"]})

    async def run():
        async with serving({("POST", "/base/echo"): echo}) as port:
            settings = ClientConfig(endpoint=f"http://127.0.0.1:{port}/base/", headers={"X-Key": Secret("k")})
            client = HttpClient(settings)
            for parts in (b"", b"x", pieces, iter(pieces)):
                response = await client.request("POST", "/echo", parts)
                expected = parts if isinstance(parts, bytes) else b"".join(pieces)
                assert (response.status, response.body == expected) == (201, True)
            assert response.headers["x-peer"].startswith("hawse/")
            (pool,) = client._pools.values()
            assert len(pool._open) == 1
            response = await client.request("POST", f"http://localhost:{port}/base/echo?q", b"elsewhere")
            assert response.body == b"elsewhere"
            await client.close()

    asyncio.run(run())


def test_what_is_written():
    seen = []

    async def script(reader, writer, _):
        seen.append(await read_request(reader))
        writer.write(OK)

    async def use(client):
        return await client.request("POST", "/p?q=1", b"body", {"x-fields": "a\r\nevil: 1", "x-text": "é"})

    response, _ = against(script, use, headers={"authorization": Secret("Bearer t")})
    assert (response.status, response.body) == (200, b"ok")
    head, body = seen[0]
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /p?q=1 HTTP/1.1"
    assert lines[1].startswith("host: 127.0.0.1:")
    assert "authorization: Bearer t" in lines
    assert "x-fields: a  evil: 1" in lines
    assert "x-text: é" in lines
    assert "content-length: 4" in lines
    assert body == b"body"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n", 200, b"ab"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbad", 500, b"bad"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n" + gzip.compress(b"packed"),
            200,
            b"packed",
        ),
    ],
)
def test_answers_of_all_shapes(answer, status, body):
    async def script(reader, writer, _):
        await read_request(reader)
        for at in range(0, len(answer), 7):
            writer.write(answer[at : at + 7])
            await writer.drain()
            await asyncio.sleep(0)

    async def use(client):
        response = await client.request("GET", "/")
        return response.status, response.body

    assert against(script, use)[0] == (status, body)


def test_head_has_no_body():
    async def script(reader, writer, _):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        await reader.read()

    async def use(client):
        response = await client.request("HEAD", "/")
        return response.status, response.headers["content-length"], response.body

    assert against(script, use)[0] == (200, "5", b"")


def test_requests_in_flight_are_bounded():
    async def run():
        now = most = 0

        async def count(request):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.02)
            now -= 1
            return Response(200)

        async with serving({("GET", "/"): count}) as port, client_of(port, max_conns_per_host=3) as client:
            await asyncio.gather(*(client.request("GET", "/") for _ in range(12)))
            (pool,) = client._pools.values()
            return most, len(pool._open)

    assert asyncio.run(run()) == (3, 3)


# --- failures ------------------------------------------------------------------------------------------------------------


def busy(script, *, request=("GET", "/"), **settings):
    async def use(client):
        with pytest.raises(Busy) as caught:
            await client.request(*request)
        return caught.value.reason

    reason, connections = against(script, use, **settings)
    assert reason.startswith("127.0.0.1:")
    return reason, connections


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def run():
        async with client_of(port) as client:
            await client.request("GET", "/")

    with pytest.raises(Busy, match=f"cannot connect to 127.0.0.1:{port}: connection refused; nothing listens there"):
        asyncio.run(run())


def test_a_name_that_cannot_be_resolved():
    async def run():
        client = HttpClient(ClientConfig(endpoint="http://no.such.host.invalid:4318"))
        try:
            await client.request("GET", "/")
        finally:
            await client.close()

    with pytest.raises(
        Busy, match="cannot connect to no.such.host.invalid:4318: no.such.host.invalid cannot be resolved"
    ):
        asyncio.run(run())


def test_a_server_that_never_answers():
    async def script(reader, writer, _):
        await reader.read()

    began = time.monotonic()
    assert "did not answer within 0.2s" in busy(script, timeout=Duration(0.2))[0]
    assert time.monotonic() - began < 2


def test_a_server_that_never_takes_the_body():
    async def script(reader, writer, _):
        await asyncio.sleep(10)

    assert "did not answer" in busy(script, request=("POST", "/", b"x" * 50_000_000), timeout=Duration(0.3))[0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "ended before an answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "ended within the answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "ended within the answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "ended within the answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(300)) + b"\r\n", "256 header fields"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000, "header of the answer does not end"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"y" * 600_000, "trailer of the answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000, "more than 1000 bytes"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "switches protocols"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nno", "cannot be decompressed"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nno", "cannot be decompressed"),
    ],
)
def test_broken_answers(answer, says):
    async def script(reader, writer, _):
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    assert says in busy(script, limit=1000)[0]


def test_an_answer_before_the_body_is_sent_ends_the_sending():
    async def script(reader, writer, _):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        await asyncio.sleep(0.5)

    async def use(client):
        response = await client.request("POST", "/", [b"x" * 100_000] * 500)
        return response.status, response.body

    assert against(script, use)[0] == (413, b"big")


# --- kept connections ------------------------------------------------------------------------------------------------------


def test_a_stale_connection_is_noticed_before_it_is_used():
    async def script(reader, writer, number):
        await read_request(reader)
        writer.write(OK)  # and hangs up, without having said so

    async def use(client):
        for _ in range(3):
            assert (await client.request("POST", "/", b"x")).body == b"ok"
            await asyncio.sleep(0.05)

    assert against(script, use)[1] == 3


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_connection_that_ends_when_it_is_used_again(repeatable):
    """The server's time-out and our request cross each other on the wire."""

    async def script(reader, writer, number):
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        if number == 1:
            return
        writer.write(OK)

    async def use(client):
        await client.request("POST", "/", b"x")
        return await client.request("POST", "/", b"y", repeatable=repeatable)

    if repeatable:
        response, connections = against(script, use)
        assert (response.body, connections) == (b"ok", 2)
    else:
        with pytest.raises(Busy, match="ended before an answer"):
            against(script, use)


def test_a_new_connection_that_ends_is_not_tried_again():
    async def script(reader, writer, _):
        await read_request(reader)

    assert busy(script)[1] == 1


def test_a_kept_connection_that_ends_within_an_answer_is_not_tried_again():
    async def script(reader, writer, _):
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.write(b"HTTP/1.1 2")

    async def use(client):
        await client.request("POST", "/", b"x")
        with pytest.raises(Busy, match="within the answer"):
            await client.request("POST", "/", b"y")

    assert against(script, use)[1] == 1


def test_unasked_bytes_end_a_kept_connection():
    async def script(reader, writer, _):
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 408 Too Late\r\ncontent-length: 0\r\n\r\n")
        await reader.read()

    async def use(client):
        await client.request("GET", "/")
        await asyncio.sleep(0.1)
        return (await client.request("GET", "/")).status

    assert against(script, use) == (200, 2)


@pytest.mark.parametrize(
    "settings", [{"disable_keep_alives": True}, {"max_idle_conns": 0}, {"idle_conn_timeout": Duration(1e-9)}]
)
def test_connections_are_not_kept_where_told_so(settings):
    async def script(reader, writer, _):
        while True:
            await read_request(reader)
            writer.write(OK)

    async def use(client):
        for _ in range(3):
            await client.request("GET", "/")

    assert against(script, use, **settings)[1] == 3


def test_a_server_that_restarts_is_found_again():
    async def run():
        async def answer(request):
            return Response(200, b"ok")

        servers = HttpServers()
        port = await servers.mount(ServerConfig(endpoint="127.0.0.1:0"), {("GET", "/"): answer}, owner="a")
        async with client_of(port) as client:
            assert (await client.request("GET", "/")).status == 200
            await servers.close()
            with pytest.raises(Busy):
                await client.request("GET", "/")
            servers = HttpServers()
            await servers.mount(ServerConfig(endpoint=f"127.0.0.1:{port}"), {("GET", "/"): answer}, owner="a")
            assert (await client.request("GET", "/")).status == 200
        await servers.close()

    asyncio.run(run())


def test_a_cancelled_request_leaves_a_working_client():
    async def run():
        async def slow(request):
            await asyncio.sleep(0 if request.body else 30)
            return Response(200, request.body)

        async with serving({("POST", "/"): slow}) as port, client_of(port, max_conns_per_host=1) as client:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await client.request("POST", "/")
            assert (await client.request("POST", "/", b"x")).body == b"x"
            (pool,) = client._pools.values()
            return len(pool._open)

    assert asyncio.run(run()) == 1


def test_a_closed_client_is_busy():
    async def run():
        async def wait(request):
            await asyncio.sleep(30)

        async with serving({("GET", "/"): wait}) as port, client_of(port) as client:
            running = asyncio.create_task(client.request("GET", "/"))
            await asyncio.sleep(0.05)
            await client.close()
            with pytest.raises(Busy):
                await running
            with pytest.raises(Busy, match="closed"):
                await client.request("GET", "/")

    asyncio.run(run())


# --- streams -------------------------------------------------------------------------------------------------------------------


def test_a_stream_is_read_while_it_comes():
    async def run():
        turn = asyncio.Event()

        async def watch(request):
            async def pieces():
                for number in range(3):
                    yield b"event %d\n" % number
                    await turn.wait()
                    turn.clear()

            return StreamResponse(pieces(), content_type="application/json")

        async with serving({("GET", "/watch"): watch}) as port, client_of(port) as client:
            seen = []
            async with client.stream("GET", "/watch", {"accept": "application/json"}) as response:
                assert (response.status, response.headers["content-type"]) == (200, "application/json")
                async for piece in response:
                    seen.append(piece)
                    turn.set()
            turn.set()
            async with client.stream("GET", "/watch") as response:
                async for piece in response:
                    break  # leaving early
            (pool,) = client._pools.values()
            return seen, len(pool._open)

    assert asyncio.run(run()) == ([b"event 0\n", b"event 1\n", b"event 2\n"], 0)


def test_a_stream_that_is_not_read_stops_its_server():
    async def run():
        made = 0

        async def endless(request):
            async def pieces():
                nonlocal made
                while True:
                    made += 1
                    yield b"x" * 100_000

            return StreamResponse(pieces())

        async with serving({("GET", "/"): endless}) as port, client_of(port) as client:
            async with client.stream("GET", "/") as response:
                await asyncio.sleep(0.3)
                held = made
                await asyncio.sleep(0.1)
                assert made == held
                size = 0
                async for piece in response:
                    size += len(piece)
                    if size > 100_000_000:
                        break
                assert made > held

    asyncio.run(run())


def test_a_stream_that_breaks_off_or_stalls_is_busy():
    async def script(reader, writer, number):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        if number == 2:
            await asyncio.sleep(10)

    async def use(client):
        reasons, seen = [], []
        for _ in range(2):
            with pytest.raises(Busy) as caught:
                async with client.stream("GET", "/", stall=0.2) as response:
                    async for piece in response:
                        seen.append(piece)
            reasons.append(caught.value.reason)
        return reasons, seen

    (broken, stalled), seen = against(script, use)[0]
    assert "ended within the answer" in broken
    assert "nothing came for 0.2s" in stalled
    assert seen == [b"hello", b"hello"]


def test_read_gives_the_body_of_a_refused_stream():
    async def script(reader, writer, _):
        await read_request(reader)
        writer.write(b"HTTP/1.1 410 Gone\r\ncontent-length: 9\r\n\r\ntoo old..")

    async def use(client):
        async with client.stream("GET", "/") as response:
            return response.status, await response.read(7)

    assert against(script, use)[0] == (410, b"too old")


def test_waiting_for_a_turn_is_not_the_servers_fault():
    async def run():
        async def slow(request):
            await asyncio.sleep(0.15)
            return Response(200)

        limits = {"max_conns_per_host": 1, "timeout": Duration(0.4)}
        async with serving({("GET", "/"): slow}) as port, client_of(port, **limits) as client:
            answers = await asyncio.gather(*(client.request("GET", "/") for _ in range(5)))
            return [response.status for response in answers]

    assert asyncio.run(run()) == [200] * 5


def test_what_is_kept_for_a_host_can_be_forgotten():
    """A scraper has thousands of hosts, which come and go."""

    async def run():
        async def ok(request):
            return Response(200, b"ok")

        async with serving({("GET", "/"): ok}) as port:
            url = f"http://127.0.0.1:{port}/"
            client = HttpClient(ClientConfig(endpoint=""))
            try:
                assert (await client.request("GET", url)).body == b"ok"
                assert len(client._pools) == 1
                client.forget(url)
                client.forget(url)
                assert client._pools == {}
                async with client.stream("GET", url) as answer:
                    (pool,) = client._pools.values()
                    client.forget(url)  # while an answer is read
                    assert await answer.read() == b"ok"
                assert pool._idle == [] and not pool._open
                assert (await client.request("GET", url)).body == b"ok"
            finally:
                await client.close()

    asyncio.run(run())
