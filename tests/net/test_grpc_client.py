"""Our gRPC client against grpcio's server, the reference, our own, and one that is scripted frame by frame."""

import asyncio
import contextlib
import os
import re
import time
from concurrent import futures

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from hawse.component import Busy
from hawse.net.compression import compress
from hawse.net.grpc import METHOD, Code, GrpcError, framed, retry_delay, timeout_of
from hawse.net.grpc_client import ClientKeepalive, GrpcClient, GrpcClientConfig, GrpcTLS, compressed
from hawse.net.http import Response
from hawse.net.http2 import frames
from hawse.net.http2.fields import block
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, TLSServer
from hawse.values import Duration, Secret

from .certificates import make

SEEN = {}


def _echo(message, context):
    SEEN["metadata"] = dict(context.invocation_metadata())
    SEEN["remaining"] = context.time_remaining()
    return message


def _fail(message, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "not: 100 % ü")


def _wait(message, context):
    info = any_pb2.Any()
    info.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000)))
    status = status_pb2.Status(code=8, message="later", details=[info])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "later")


def _slow(message, context):
    SEEN["slow"] = True
    time.sleep(float(message))
    return b"done"


def _big(message, context):
    return bytes(int(message))


HANDLERS = {"Echo": _echo, "Fail": _fail, "Wait": _wait, "Slow": _slow, "Big": _big}


def grpcio_server(port=0, **options):
    options = {"grpc.max_receive_message_length": 64 << 20, "grpc.so_reuseport": 0, **options}
    server = grpc.server(futures.ThreadPoolExecutor(8), options=list(options.items()))
    handlers = {name: grpc.unary_unary_rpc_method_handler(one) for name, one in HANDLERS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, bound


@contextlib.asynccontextmanager
async def calling(port, scheme="http://", **settings):
    options = {name: settings.pop(name) for name in ("max_response_size", "connections") if name in settings}
    client = GrpcClient(GrpcClientConfig(endpoint=f"{scheme}127.0.0.1:{port}", **settings), **options)
    try:
        yield client
    finally:
        await client.close()


def against_grpcio(test, *, server_options=None, **settings):
    async def run():
        server, port = grpcio_server(**(server_options or {}))
        try:
            async with calling(port, **settings) as client:
                return await asyncio.wait_for(test(client, server, port), 30)
        finally:
            await asyncio.to_thread(server.stop(None).wait)

    return asyncio.run(run())


@pytest.mark.parametrize("size", [0, 1, 65_535, 70_000, 9 << 20])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_messages_of_all_sizes_reach_grpcio_and_come_back(size, encoding):
    message = (os.urandom(min(size, 1000)) * (size // 1000 + 1))[:size]

    async def test(client, server, port):
        for _ in range(2):
            sent = compressed([message], encoding) if encoding else message
            assert await client.call("/t.T/Echo", sent, encoding=encoding) == message

    against_grpcio(test, max_response_size=16 << 20)


def test_headers_and_the_deadline_arrive():
    async def test(client, server, port):
        await client.call("/t.T/Echo", b"x")
        assert SEEN["metadata"]["x-token"] == "secret"
        assert SEEN["metadata"]["some-bin"] == b"\xc3\xbc"
        assert SEEN["metadata"]["user-agent"].startswith("hawse/")
        assert 10 < SEEN["remaining"] <= 12

    against_grpcio(test, timeout=Duration(12), headers={"X-Token": Secret("secret"), "some-bin": Secret("ü")})


def test_statuses_come_with_message_and_details():
    async def test(client, server, port):
        with pytest.raises(GrpcError) as raised:
            await client.call("/t.T/Fail", b"")
        assert (raised.value.code, raised.value.message) == (Code.NOT_FOUND, "not: 100 % ü")
        with pytest.raises(GrpcError) as raised:
            await client.call("/t.T/Wait", b"")
        assert raised.value.code is Code.RESOURCE_EXHAUSTED
        assert retry_delay(raised.value.details) == 2.5
        with pytest.raises(GrpcError) as raised:
            await client.call("/t.T/Nothing", b"")
        assert raised.value.code is Code.UNIMPLEMENTED

    against_grpcio(test)


def test_hundreds_of_calls_share_a_connection():
    async def test(client, server, port):
        messages = [os.urandom(number * 41) for number in range(400)]
        answers = await asyncio.gather(*(client.call("/t.T/Echo", message) for message in messages))
        assert answers == messages
        assert len(client._channel._connections) == 1

    against_grpcio(test, connections=1)


def test_what_the_server_takes_at_a_time_is_heeded():
    async def test(client, server, port):
        await client.call("/t.T/Echo", b"x")
        calls = [client.call("/t.T/Slow", b"0.05") for _ in range(12)]
        assert await asyncio.gather(*calls) == [b"done"] * 12
        assert len(client._channel._connections) == 2

    against_grpcio(test, server_options={"grpc.max_concurrent_streams": 2}, connections=2)


def test_a_call_that_takes_too_long_is_busy_and_the_connection_goes_on():
    async def test(client, server, port):
        with pytest.raises(Busy, match=rf"127.0.0.1:{port} did not answer within 0.3s"):
            await client.call("/t.T/Slow", b"1")
        assert await client.call("/t.T/Echo", b"x") == b"x"

    against_grpcio(test, timeout=Duration(0.3))


def test_an_answer_over_the_limit_is_busy():
    async def test(client, server, port):
        assert len(await client.call("/t.T/Big", b"100000")) == 100_000
        with pytest.raises(Busy, match="more than 100005 bytes"):
            await client.call("/t.T/Big", b"100001")
        assert await client.call("/t.T/Echo", b"x") == b"x"

    against_grpcio(test, max_response_size=100_000)


def test_a_server_that_restarts_gets_the_next_call():
    async def test(client, server, port):
        assert await client.call("/t.T/Echo", b"one") == b"one"
        slow = asyncio.ensure_future(client.call("/t.T/Slow", b"0.5"))
        await asyncio.sleep(0.2)
        stopping = server.stop(5)  # GOAWAY; the call under way ends well
        with pytest.raises(Busy, match=f"127.0.0.1:{port}"):
            await asyncio.sleep(0.1)
            await client.call("/t.T/Echo", b"two")
        assert await slow == b"done"
        await asyncio.to_thread(stopping.wait)
        again, _ = grpcio_server(port)
        assert await client.call("/t.T/Echo", b"three") == b"three"
        again.stop(0)  # hangs up with nothing under way: the next call is for a new connection
        await asyncio.sleep(0.2)
        again, _ = grpcio_server(port)
        assert await client.call("/t.T/Echo", b"four") == b"four"
        await asyncio.to_thread(again.stop(0).wait)

    against_grpcio(test)


def test_calls_are_not_lost_when_the_server_closes_connections_by_age():
    async def test(client, server, port):
        async def many():
            for number in range(60):
                assert await client.call("/t.T/Echo", b"%d" % number) == b"%d" % number
                await asyncio.sleep(0.02)

        await asyncio.gather(*(many() for _ in range(5)))

    options = {"grpc.max_connection_age_ms": 200, "grpc.max_connection_age_grace_ms": 2000}
    against_grpcio(test, server_options=options)


def test_nothing_listens():
    async def run():
        async with calling(1) as client:
            with pytest.raises(Busy, match=r"cannot connect to 127.0.0.1:1: connection refused"):
                await client.call("/t.T/Echo", b"")

    asyncio.run(run())


# --- our own server ---------------------------------------------------------------------------------------------------


async def echo(request):
    return Response(200, request.body)


@contextlib.asynccontextmanager
async def our_server(tls=None, port=0, handler=echo):
    servers = HttpServers()
    config = ServerConfig(endpoint=f"localhost:{port}" if tls else f"127.0.0.1:{port}", tls=tls)
    try:
        yield await servers.mount(config, {(METHOD, "/t.T/Echo"): handler, ("POST", "/web"): echo}, owner="test")
    finally:
        await servers.close()


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "snappy"])
def test_compressions(encoding):
    async def run():
        async with our_server() as port, calling(port, max_response_size=16 << 20) as client:
            for message in (b"", b"hello" * 50_000, os.urandom(200_000), os.urandom(9 << 10) * 1000):
                assert await client.call("/t.T/Echo", compressed([message], encoding), encoding=encoding) == message

    asyncio.run(run())


def test_snappy_blocks_are_taken_too():
    async def run():
        async with our_server() as port, calling(port) as client:
            sent = compress([b"hello" * 1000], "snappy")
            assert await client.call("/t.T/Echo", sent, encoding="snappy") == b"hello" * 1000

    asyncio.run(run())


def test_tls(tmp_path):
    make(tmp_path)
    files = {name: str(tmp_path / name) for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")}
    mutual = TLSServer(cert_file=files["server.pem"], key_file=files["server.key"], client_ca_file=files["ca.pem"])

    async def run():
        async with our_server(mutual) as port:
            own = {"cert_file": files["client.pem"], "key_file": files["client.key"]}
            async with calling(port, "", tls=GrpcTLS(ca_file=files["ca.pem"], **own)) as client:
                assert await client.call("/t.T/Echo", b"x" * 300_000) == b"x" * 300_000
                assert (
                    client._channel._connections[0]._transport.get_extra_info("ssl_object").selected_alpn_protocol()
                    == "h2"
                )
            async with calling(port, "https://", tls=GrpcTLS(ca_file=files["ca.pem"])) as client:
                with pytest.raises(Busy, match="client certificate"):
                    await client.call("/t.T/Echo", b"x")
            async with calling(port, "") as client:
                with pytest.raises(Busy, match="not trusted.*tls.ca_file"):
                    await client.call("/t.T/Echo", b"x")
            async with calling(port, "http://") as client:
                with pytest.raises(Busy, match="does it demand TLS"):
                    await client.call("/t.T/Echo", b"x")
        async with our_server() as port, calling(port, "") as client:
            with pytest.raises(Busy, match="does not speak TLS|TLS"):
                await client.call("/t.T/Echo", b"x")

    asyncio.run(run())


def test_a_server_of_http_that_is_no_grpc():
    async def http1(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(http1, "127.0.0.1", 0)
        async with calling(server.sockets[0].getsockname()[1]) as client:
            with pytest.raises(Busy, match="it speaks HTTP/1.1; is it a gRPC endpoint"):
                await client.call("/t.T/Echo", b"")
        server.close()
        async with our_server() as port, calling(port) as client:
            with pytest.raises(GrpcError) as raised:
                await client.call("/nothing", b"")
            assert raised.value.code is Code.UNIMPLEMENTED

    asyncio.run(run())


def test_our_server_going_away_loses_no_call():
    """Its handlers finish, and the port is another's: calls that neither has looked at are sent again."""
    taken = []

    async def slowly(request):
        await asyncio.sleep(0.05)
        taken.append(request.body)
        return Response(200, request.body)

    async def many(client, which):
        for number in range(20):
            message = b"%d %d" % (which, number)
            while True:
                try:
                    assert await client.call("/t.T/Echo", message) == message
                    break
                except Busy:  # while nothing listens
                    await asyncio.sleep(0.02)

    async def run():
        async with contextlib.AsyncExitStack() as stack:
            async with our_server(handler=slowly) as port:
                client = await stack.enter_async_context(calling(port))
                tasks = [asyncio.ensure_future(many(client, which)) for which in range(10)]
                await asyncio.sleep(0.22)
            async with our_server(port=port, handler=slowly):
                await asyncio.gather(*tasks)
        assert len(taken) == len(set(taken)) == 200  # none lost, none twice

    asyncio.run(run())


# --- a server that is scripted ----------------------------------------------------------------------------------------

OK = block([("grpc-status", "0")])


def tail(stream=1):
    return frames.frame(frames.HEADERS, 5, stream, OK)


def head(stream=1):
    return frames.frame(frames.HEADERS, 4, stream, block([(":status", "200"), ("content-type", "application/grpc")]))


def data(payload, stream=1, flags=0):
    return frames.frame(frames.DATA, flags, stream, payload)


@contextlib.asynccontextmanager
async def scripted(*answers):
    """A server that greets, and writes the next of `answers` for each connection, which may be a list of those to its
    requests; frames it gets are kept.
    """
    state = {"connections": 0, "frames": [], "writers": []}
    tasks = []

    async def serve(reader, writer):
        tasks.append(asyncio.current_task())
        number = state["connections"]
        state["connections"] += 1
        state["writers"].append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readexactly(len(frames.PREFACE))
            writer.write(frames.settings({}))
            answered = 0
            while True:
                size, kind, flags, stream = frames.read_head(await reader.readexactly(9), 0)
                payload = await reader.readexactly(size)
                state["frames"].append((number, kind, flags, stream, payload))
                if kind == frames.DATA and flags & 1:
                    answer = answers[min(number, len(answers) - 1)]
                    listed = answer if isinstance(answer, list) else [answer]
                    if listed[answered : answered + 1] == [None]:
                        break
                    writer.write(b"".join(listed[answered : answered + 1]))
                    answered += 1
                elif kind == frames.PING and not flags & 1 and not state.get("deaf"):
                    writer.write(frames.frame(frames.PING, 1, 0, payload))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], state
    finally:
        server.close()
        for writer in state["writers"]:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def scripted_call(*answers, calls=1, **settings):
    async def run():
        async with scripted(*answers) as (port, state):
            async with calling(port, **{"timeout": Duration(0.4), **settings}) as client:
                results = []
                for _ in range(calls):
                    try:
                        results.append(await asyncio.wait_for(client.call("/t.T/Echo", b"hello"), 10))
                    except (Busy, GrpcError) as error:
                        results.append(error)
            return results, state

    return asyncio.run(run())


GOOD = head() + data(framed(b"hi")) + tail()


def test_scripted_answers_are_taken():
    (result,), _ = scripted_call(GOOD)
    assert result == b"hi"
    (result,), _ = scripted_call(head() + b"".join(data(framed(b"hi")[at : at + 1]) for at in range(7)) + tail())
    assert result == b"hi"
    (result,), _ = scripted_call(frames.frame(frames.HEADERS, 4, 1, block([(":status", "103")])) + GOOD)
    assert result == b"hi"
    padded = data(b"\x03" + framed(b"hi") + bytes(3), flags=frames.PADDED)
    (result,), _ = scripted_call(head() + padded + frames.frame(200, 0, 1, b"unknown") + tail())
    assert result == b"hi"
    (result,), _ = scripted_call(head() + data(framed(compress([b"hi"], "gzip"), compressed=True)) + tail())
    assert isinstance(result, Busy)  # compressed, and nothing says how


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (head() + data(bytes(20_000)), "a frame of 20000 bytes"),
        (data(b"x"), "data before the answer's header"),
        (data(b"x", stream=7), "data for stream 7, which is not open"),
        (data(b"x", stream=2), "data for stream 2, which is not open"),
        (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(8)), "a push"),
        (head() + head(), "malformed"),
        (head() + frames.frame(frames.HEADERS, 4, 1, OK), "trailers are not its end"),
        (head() + data(framed(b"hi"), flags=1), "no grpc-status"),
        (frames.frame(frames.HEADERS, 5, 1, block([(":status", "200"), ("content-type", "application/grpc")])),
         "no grpc-status"),
        (head() + data(framed(b"hi") + framed(b"ho")) + tail(), "followed by more"),
        (head() + data(framed(b"hi")[:6]) + tail(), "cut off"),
        (head() + tail(), "no message"),
        (frames.rst_stream(1, frames.Code.INTERNAL_ERROR), "INTERNAL_ERROR"),
        (frames.frame(frames.RST_STREAM, 0, 1, b"\0\0\0\x99"), r"reset the call \(153\)"),
        (frames.goaway(1, frames.Code.ENHANCE_YOUR_CALM, "too_many_pings"), "did not answer"),
        (frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.PING, 0, 0, bytes(8)), "something else"),
        (frames.frame(frames.HEADERS, 0, 1, b"") + frames.frame(frames.CONTINUATION, 0, 1, b"") * 40, "does not end"),
        (frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff"), "malformed"),
        (frames.frame(frames.HEADERS, 4, 1, b"\x80"), "malformed"),
        (frames.frame(frames.HEADERS, 4, 1, block([(":path", "/")])), "malformed"),
        (frames.frame(frames.SETTINGS, 0, 0, b"123"), "multiple of 6"),
        (frames.settings({frames.MAX_FRAME_SIZE: 1}), "largest frame"),
        (frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}), "window"),
        (frames.window_update(0, 0x7FFF_FFFF), "wrong window"),
        (frames.window_update(1, 0x7FFF_FFFF), "wrong window"),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"1"), "WINDOW_UPDATE"),
        (frames.frame(frames.PING, 0, 0, b"1"), "PING"),
        (frames.frame(frames.PING, 0, 0, bytes(8)) * 3000, "bring nothing"),
        (frames.settings({}) * 3000, "bring nothing"),
        (head() + data(b"") * 3000, "bring nothing"),
        (frames.frame(frames.GOAWAY, 0, 0, b"1"), "GOAWAY"),
        (b"", "did not answer within 0.4s"),
        (None, "the connection ended"),
    ],
)  # fmt: skip
def test_answers_against_the_rules_are_busy_and_say_what(answer, said):
    (result,), _ = scripted_call(answer)
    if isinstance(result, GrpcError):
        assert result.code is Code.UNKNOWN
    else:
        assert isinstance(result, Busy)
        assert "127.0.0.1:" in result.reason
    assert re.search(said, str(result)), str(result)


def test_a_call_that_was_not_looked_at_is_sent_again_at_once():
    refused = frames.rst_stream(1, frames.Code.REFUSED_STREAM)
    away = frames.goaway(0, frames.Code.NO_ERROR)
    (result,), state = scripted_call(away, away, GOOD)
    assert result == b"hi"
    assert state["connections"] == 3
    (result,), state = scripted_call(away)
    assert isinstance(result, Busy)
    assert state["connections"] == 4
    (result,), state = scripted_call([refused, head(3) + data(framed(b"ho"), 3) + tail(3)])
    assert result == b"ho"
    assert state["connections"] == 1


def test_a_kept_connection_that_ends_with_the_next_call_is_no_failure():
    async def run():
        async with scripted(GOOD) as (port, state), calling(port) as client:
            assert await client.call("/t.T/Echo", b"hello") == b"hi"
            state["writers"][0].transport.abort()
            assert await client.call("/t.T/Echo", b"hello") == b"hi"
            assert state["connections"] == 2

    asyncio.run(run())


def test_a_call_under_way_when_the_server_dies_is_busy():
    (result,), state = scripted_call(None)
    assert isinstance(result, Busy)
    assert state["connections"] == 1


def test_a_server_gone_without_a_word_is_noticed_by_the_next_call():
    results, state = scripted_call(b"", calls=2, timeout=Duration(0.2))
    assert all(isinstance(result, Busy) for result in results)
    assert state["connections"] == 2


def test_keepalive_ends_a_connection_that_does_not_answer():
    async def run():
        keepalive = ClientKeepalive(time=Duration(0.3), timeout=Duration(0.2), permit_without_stream=True)
        async with scripted(GOOD) as (port, state), calling(port, keepalive=keepalive) as client:
            assert await client.call("/t.T/Echo", b"hello") == b"hi"
            await asyncio.sleep(0.6)
            assert any(kind == frames.PING and not flags for _, kind, flags, _, _ in state["frames"])
            assert client._channel._connections  # the PING was answered
            state["deaf"] = True
            await asyncio.sleep(0.9)
            assert not client._channel._connections

    asyncio.run(run())


def test_a_closed_client_is_busy():
    async def run():
        async with scripted(b"") as (port, _):
            client = GrpcClient(GrpcClientConfig(endpoint=f"http://127.0.0.1:{port}"))
            call = asyncio.ensure_future(client.call("/t.T/Echo", b"x"))
            await asyncio.sleep(0.1)
            await client.close()
            with pytest.raises(Busy, match="closed"):
                await call
            with pytest.raises(Busy, match="closed"):
                await client.call("/t.T/Echo", b"x")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("endpoint", "insecure", "target"),
    [
        ("a:4317", False, ("a", 4317, True)),
        ("a:4317", True, ("a", 4317, False)),
        ("http://a:4317", False, ("a", 4317, False)),
        ("https://a:4317/", True, ("a", 4317, True)),
        ("https://a", False, ("a", 443, True)),
        ("dns:///a:4317", True, ("a", 4317, False)),
        ("dns:a:4317", True, ("a", 4317, False)),
        ("[::1]:4317", True, ("::1", 4317, False)),
    ],
)
def test_endpoints(endpoint, insecure, target):
    config = GrpcClientConfig(endpoint=endpoint, tls=GrpcTLS(insecure=insecure))
    assert list(config.problems()) == []
    assert config.target == target


@pytest.mark.parametrize("endpoint", ["a", "a:b", ":4317", "unix:///x", "unix:/x", "ftp://a:1", "a:70000", "http://"])
def test_endpoints_that_are_none(endpoint):
    (problem, *_) = GrpcClientConfig(endpoint=endpoint).problems()
    assert problem.path == "endpoint"
    assert problem.message
    assert problem.fix


def test_headers_that_cannot_be_sent():
    headers = {"te": Secret("x"), "grpc-timeout": Secret("1S"), "a b": Secret("x"), "ok": Secret("ü"), "x": Secret("y")}
    problems = list(GrpcClientConfig(endpoint="a:1", headers=headers).problems())
    assert [problem.path for problem in problems] == [f"headers.{name}" for name in ("te", "grpc-timeout", "a b", "ok")]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0001, "1m"), (1.5, "1500m"), (99_999, "99999000m"), (200_000, "200000S")]
)
def test_timeouts(seconds, text):
    assert timeout_of(seconds) == text
