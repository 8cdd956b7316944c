"""Calls with many messages, as grpcio's client, the reference, sees them."""

import asyncio
import contextlib
import os
import threading
import time

import grpc
import pytest

from hawse.net.budget import Budget
from hawse.net.grpc import METHOD, STREAM, Code, GrpcError, framed
from hawse.net.head import read_head
from hawse.net.http import Response
from hawse.net.http2 import frames
from hawse.net.http2.fields import block
from hawse.net.http2.messages import Messages
from hawse.net.routes import Mount, Routes
from hawse.net.settings import ServerConfig
from hawse.values import ByteSize, Duration

from .serving import inside, serving

SEEN = {}


async def echo(request, messages):
    async for message in messages:
        yield message


async def total(request, messages):
    size = count = 0
    async for message in messages:
        size += len(message)
        count += 1
    yield b"%d messages, %d bytes" % (count, size)


async def failing(request, messages):
    async for message in messages:
        yield message
        raise GrpcError(Code.FAILED_PRECONDITION, "no more: ü")


async def broken(request, messages):
    yield b"one"
    raise RuntimeError("no")


async def early(request, messages):
    yield await anext(messages)


async def held(request, messages):
    SEEN["begun"] = threading.Event() if "begun" not in SEEN else SEEN["begun"]
    try:
        yield b"here"
        SEEN["begun"].set()
        await asyncio.sleep(30)
    finally:
        SEEN["ended"].set()


async def slow(request, messages):
    """Takes one message, and the next only when it is told to."""
    yield await anext(messages)
    await SEEN["go"].wait()
    async for message in messages:
        yield message[:1]


async def unary(request):
    return Response(200, request.body)


ROUTES = {
    (STREAM, "/t.T/Echo"): echo,
    (STREAM, "/t.T/Total"): total,
    (STREAM, "/t.T/Failing"): failing,
    (STREAM, "/t.T/Broken"): broken,
    (STREAM, "/t.T/Early"): early,
    (STREAM, "/t.T/Held"): held,
    (STREAM, "/t.T/Slow"): slow,
    (METHOD, "/t.T/Unary"): unary,
}


@contextlib.contextmanager
def channel(box, **options):
    options = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1, **options}
    with grpc.insecure_channel(f"127.0.0.1:{box['port']}", options=list(options.items())) as made:
        yield made


def both(made, method, messages, **options):
    return made.stream_stream(f"/t.T/{method}")(iter(messages), timeout=options.pop("timeout", 15), **options)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_messages_of_all_sizes_come_back_in_order(compression):
    messages = [os.urandom(size) for size in (0, 1, 5, 16_384, 70_000, 3 << 20, 0, 9 << 20, 17)]
    with serving(ROUTES) as box, channel(box) as made:
        assert list(both(made, "Echo", messages, compression=compression)) == messages
        assert made.unary_unary("/t.T/Unary")(b"one", timeout=5) == b"one"
        assert box["budget"].used < 10_000


def test_each_answer_comes_before_the_next_message_is_sent():
    with serving(ROUTES) as box, channel(box) as made:
        answers = []
        arrived = threading.Semaphore(0)

        def messages():
            for number in range(50):
                yield b"%d" % number
                assert arrived.acquire(timeout=10)

        for answer in made.stream_stream("/t.T/Echo")(messages(), timeout=15):
            answers.append(answer)
            arrived.release()
        assert answers == [b"%d" % number for number in range(50)]


def test_a_client_stream_is_many_messages_and_one_answer():
    with serving(ROUTES) as box, channel(box) as made:
        call = made.stream_unary("/t.T/Total")
        assert call(iter([b"x" * 100] * 2000), timeout=20) == b"2000 messages, 200000 bytes"
        assert call(iter([b""] * 2000), timeout=20) == b"2000 messages, 0 bytes"
        assert call(iter([]), timeout=20) == b"0 messages, 0 bytes"


def test_the_handler_ends_the_call_while_the_client_would_go_on():
    with serving(ROUTES) as box, channel(box) as made:
        stop = threading.Event()

        def messages():
            yield b"first"
            stop.wait(10)

        with pytest.raises(grpc.RpcError) as raised:
            list(both(made, "Failing", messages()))
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert raised.value.details() == "no more: ü"
        assert list(both(made, "Early", messages())) == [b"first"]
        stop.set()
        with pytest.raises(grpc.RpcError) as raised:
            list(both(made, "Broken", []))
        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert list(both(made, "Echo", [b"again"])) == [b"again"]


def test_a_message_over_the_limit_ends_the_call_those_before_it_count():
    with serving(ROUTES, max_request_body_size=ByteSize(100_000)) as box, channel(box) as made:
        answers = []
        with pytest.raises(grpc.RpcError) as raised:
            answers.extend(both(made, "Echo", [b"small", b"x" * 100_000, b"y" * 100_001]))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "100001 bytes, 100000 are allowed" in raised.value.details()
        with pytest.raises(grpc.RpcError) as raised:
            list(both(made, "Echo", [bytes(5_000_000)], compression=grpc.Compression.Gzip))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert list(both(made, "Echo", [b"again"] * 3)) == [b"again"] * 3
        assert box["refused"] == ["max_request_body_size"] * 2
        assert box["budget"].used < 10_000


def test_a_deadline_ends_the_call_and_the_handler():
    SEEN.update(begun=threading.Event(), ended=threading.Event())
    with serving(ROUTES) as box, channel(box) as made:
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as raised:
            list(both(made, "Held", [], timeout=0.5))
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 5
        assert SEEN["ended"].wait(5)


def test_a_cancelled_call_cancels_the_handler():
    SEEN.update(begun=threading.Event(), ended=threading.Event())
    with serving(ROUTES) as box, channel(box) as made:
        call = both(made, "Held", [])
        assert next(call) == b"here"
        assert SEEN["begun"].wait(5)
        call.cancel()
        assert SEEN["ended"].wait(5)
        assert list(both(made, "Echo", [b"again"])) == [b"again"]


def test_a_client_is_held_back_while_the_handler_takes_nothing():
    sent = 0

    def messages():
        nonlocal sent
        for _ in range(40):
            sent += 1
            yield os.urandom(1 << 20)

    async def made_event():
        SEEN["go"] = asyncio.Event()

    with serving(ROUTES) as box, channel(box) as made:
        inside(box, made_event())
        call = both(made, "Slow", messages(), timeout=20)
        next(call)
        time.sleep(0.7)
        before = sent
        assert before < 15  # four MiB of window, and what grpcio and the sockets buffer
        assert box["budget"].used <= 6 << 20
        box["loop"].call_soon_threadsafe(SEEN["go"].set)
        assert len(list(call)) == 39
        assert sent == 40


def test_a_full_memory_budget_ends_the_call_and_says_when_to_come_again():
    budget = Budget(1)
    budget.limit = 1 << 20
    with serving(ROUTES, budget=budget) as box, channel(box) as made:
        box["loop"].call_soon_threadsafe(budget.charge, 1 << 20)
        with pytest.raises(grpc.RpcError) as raised:
            list(both(made, "Echo", [b"x" * 10_000]))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "memory" in raised.value.details()
        assert any(key == "grpc-status-details-bin" for key, _ in raised.value.trailing_metadata())
        box["loop"].call_soon_threadsafe(budget.release, 1 << 20)
        assert list(both(made, "Echo", [b"x" * 10_000])) == [b"x" * 10_000]


def test_a_server_that_stops_handles_what_it_has_and_says_so():
    with serving(ROUTES) as box, channel(box) as made:
        more = threading.Event()

        def messages():
            yield b"one"
            more.wait(10)

        call = both(made, "Echo", messages())
        assert next(call) == b"one"
        closing = asyncio.run_coroutine_threadsafe(box["servers"].unmount("test"), box["loop"])
        with pytest.raises(grpc.RpcError) as raised:
            next(call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        closing.result(5)
        more.set()


def test_a_quiet_client_that_is_there_keeps_its_stream():
    with serving(ROUTES, idle_timeout=Duration(0.2)) as box, channel(box) as made:
        more = threading.Event()

        def messages():
            yield b"one"
            more.wait(10)
            yield b"two"

        call = both(made, "Echo", messages())
        assert next(call) == b"one"
        time.sleep(1.5)
        more.set()
        assert list(call) == [b"two"]


def test_a_client_that_has_vanished_loses_its_stream():
    SEEN.update(begun=threading.Event(), ended=threading.Event())

    async def vanish(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = block([(":method", "POST"), (":scheme", "http"), (":path", "/t.T/Held"), (":authority", "x"),
                        ("content-type", "application/grpc")])  # fmt: skip
        writer.write(frames.PREFACE + frames.settings({}) + frames.frame(frames.HEADERS, 4, 1, fields))
        await reader.read()  # and answers no PING
        writer.close()

    with serving(ROUTES, idle_timeout=Duration(0.2)) as box:
        asyncio.run(asyncio.wait_for(vanish(box["port"]), 10))
        assert SEEN["ended"].wait(5)
        assert "idle_timeout" in box["refused"]


class _Listener:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.budget = Budget()
        self.refused = lambda limit: None


def _messages(opened):
    settings = ServerConfig(endpoint="127.0.0.1:0", max_request_body_size=ByteSize(8 << 20))
    routes = Routes(settings)
    routes.add(Mount("test", settings), {(STREAM, "/t.T/Echo"): echo}, "here", "here")
    incoming = read_head(METHOD, "1.1", b"/t.T/Echo", [(b"host", b"x")], routes, "")
    return Messages(incoming, _Listener(), opened)


def test_the_window_opens_by_what_was_taken_or_is_waited_for():
    async def run():
        opened = []
        messages = _messages(opened.append)
        whole = framed(bytes(2 << 20))
        messages.feed(whole)
        messages.feed(whole[: 1 << 20])
        assert opened == []  # nobody has asked
        assert len(await anext(messages)) == 2 << 20
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        assert sum(opened) == len(whole) + (1 << 20)  # the handler waits for the rest: let it come
        messages.feed(whole[1 << 20 :])
        assert len(await waiting) == 2 << 20
        messages.padded(1 << 20)
        messages.end()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\x02\0\0\0\1x", "flags 2"), (b"\x01\0\0\0\1x", "no grpc-encoding"), (b"\0\0\0\0\2x", "within a message"),
     (b"\0\0", "within a message")],
)  # fmt: skip
def test_malformed_messages_say_what_is_wrong(data, said):
    async def run():
        messages = _messages(lambda size: None)
        messages.feed(data)
        messages.end()
        with pytest.raises(GrpcError, match=said):
            await anext(messages)

    asyncio.run(run())


async def big(request, messages):
    yield bytes(3 << 20)


def test_a_client_that_is_slow_to_read_may_ask_whether_we_are_there():
    """As grpcio does while large messages come: its PINGs wait behind them, which is no flood."""

    async def run(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = block([(":method", "POST"), (":scheme", "http"), (":path", "/t.T/Big"), (":authority", "x"),
                        ("content-type", "application/grpc")])  # fmt: skip
        values = {frames.INITIAL_WINDOW_SIZE: 1 << 30, frames.MAX_FRAME_SIZE: 1 << 20}
        writer.write(frames.PREFACE + frames.settings(values) + frames.window_update(0, 1 << 30))
        for number in range(12):
            writer.write(frames.frame(frames.HEADERS, 5, 2 * number + 1, fields))
        await asyncio.sleep(0.3)  # the buffers are full by now
        for _ in range(100):
            writer.write(frames.frame(frames.PING, 0, 0, bytes(8)))
        await asyncio.sleep(0.2)
        kinds, size_of_data = [], 0
        while kinds.count("end") < 12:
            size, kind, flags, _ = frames.read_head(await reader.readexactly(frames.HEAD), 0)
            await reader.readexactly(size)
            assert kind != frames.GOAWAY
            size_of_data += size if kind == frames.DATA else 0
            kinds.append("end" if kind == frames.HEADERS and flags & frames.END_STREAM else kind)
        assert size_of_data == 12 * (5 + (3 << 20))
        assert kinds.count(frames.PING) == 100
        writer.close()
        await writer.wait_closed()

    with serving({(STREAM, "/t.T/Big"): big}) as box:
        asyncio.run(asyncio.wait_for(run(box["port"]), 20))
