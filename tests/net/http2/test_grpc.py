"""Our server as grpcio's client, the reference, sees it; and curl over HTTP/2."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import time

import grpc
import pytest

from hawse.net.grpc import METHOD, Code, GrpcError, retry_info
from hawse.net.http import Response, StreamResponse
from hawse.net.settings import TLSServer
from hawse.values import ByteSize, Duration

from ..certificates import make
from .serving import serving as served


async def echo(request):
    return Response(200, request.body)


async def slow(request):
    await asyncio.sleep(5)
    return Response(200, b"late")


async def busy(request):
    raise GrpcError(Code.UNAVAILABLE, "come back: 100 % ü", (retry_info(1.5),))


async def broken(request):
    raise RuntimeError("no")


async def pieces():
    for number in range(50):
        yield b"%d" % number * 1000


async def streamed(request):
    return StreamResponse(pieces(), content_type="text/plain")


ROUTES = {
    (METHOD, "/t.T/Echo"): echo,
    (METHOD, "/t.T/Slow"): slow,
    (METHOD, "/t.T/Busy"): busy,
    (METHOD, "/t.T/Broken"): broken,
    ("POST", "/echo"): echo,
    ("GET", "/stream"): streamed,
}


def serving(**settings):
    return served(ROUTES, **settings)


@contextlib.contextmanager
def channel(box, **options):
    with grpc.insecure_channel(f"127.0.0.1:{box['port']}", options=list(options.items())) as made:
        yield made


def call(made, method, message, **options):
    return made.unary_unary(f"/t.T/{method}")(message, timeout=options.pop("timeout", 10), **options)


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
@pytest.mark.parametrize("size", [0, 1, 1000, 65_535, 70_000, 3 << 20])
def test_messages_of_all_sizes_come_back_as_they_went(size, compression):
    message = os.urandom(min(size, 1000)) * (size // 1000 or 1) if size else b""
    with serving() as box, channel(box, **{"grpc.max_receive_message_length": -1}) as made:
        for _ in range(3):
            assert call(made, "Echo", message, compression=compression) == message


def test_many_calls_at_the_same_time():
    with serving() as box, channel(box) as made:
        echo_ = made.unary_unary("/t.T/Echo")
        messages = [os.urandom(50 + number * 37) for number in range(500)]
        futures = [echo_.future(message, timeout=20) for message in messages]
        assert [future.result() for future in futures] == messages


def test_a_busy_handler_says_when_to_come_again():
    from google.protobuf import any_pb2  # noqa: F401

    with serving() as box, channel(box) as made, pytest.raises(grpc.RpcError) as raised:
        call(made, "Busy", b"x")
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "come back: 100 % ü"
    details = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    assert b"google.rpc.RetryInfo" in details
    assert details.endswith(b"\x08\x01\x10\x80\xca\xb5\xee\x01")


def test_statuses():
    with serving(max_request_body_size=ByteSize(1000)) as box, channel(box) as made:
        for method, message, code in [
            ("Nothing", b"", grpc.StatusCode.UNIMPLEMENTED),
            ("Broken", b"", grpc.StatusCode.INTERNAL),
            ("Echo", b"x" * 1001, grpc.StatusCode.RESOURCE_EXHAUSTED),
            ("Echo", b"x" * 500_000, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ]:
            with pytest.raises(grpc.RpcError) as raised:
                call(made, method, message)
            assert raised.value.code() is code, raised.value
        with pytest.raises(grpc.RpcError) as raised:
            call(made, "Echo", b"x" * 100_000, compression=grpc.Compression.Gzip)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(made, "Echo", b"x" * 1000) == b"x" * 1000  # the connection is still of use


def test_a_deadline_ends_the_call_on_both_sides():
    with serving() as box, channel(box) as made:
        before = time.monotonic()
        with pytest.raises(grpc.RpcError) as raised:
            call(made, "Slow", b"x", timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - before < 3
        assert call(made, "Echo", b"y") == b"y"


def test_closing_lets_calls_finish_and_takes_no_more():
    with serving() as box, channel(box) as made:
        pending = made.unary_unary("/t.T/Slow").future(b"x", timeout=20)
        time.sleep(0.3)
        began = time.monotonic()
        closing = asyncio.run_coroutine_threadsafe(box["servers"].close(), box["loop"])
        assert pending.result() == b"late"
        closing.result(10)
        assert time.monotonic() - began > 2
        with pytest.raises(grpc.RpcError) as raised:
            call(made, "Echo", b"y", timeout=2)
        assert raised.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_an_idle_connection_is_told_to_go():
    with serving(idle_timeout=Duration(0.3)) as box, channel(box) as made:
        for _ in range(3):
            assert call(made, "Echo", b"y") == b"y"
            time.sleep(1.5)


def test_tls(tmp_path):
    make(tmp_path)
    tls = TLSServer(cert_file=str(tmp_path / "server.pem"), key_file=str(tmp_path / "server.key"))
    with serving(tls=tls) as box:
        credentials = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())
        with grpc.secure_channel(f"localhost:{box['port']}", credentials) as made:
            assert call(made, "Echo", b"secret" * 1000) == b"secret" * 1000


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_over_http2():
    with serving() as box:
        url = f"http://127.0.0.1:{box['port']}"
        run = ["curl", "-sS", "--http2-prior-knowledge", "-o", "-", "-w", "\n%{http_version} %{http_code}"]
        done = subprocess.run([*run, "-d", "hello", f"{url}/echo"], capture_output=True, text=True, timeout=20)
        assert done.stdout == "hello\n2 200", done.stderr
        done = subprocess.run([*run, f"{url}/stream"], capture_output=True, text=True, timeout=20)
        assert done.stdout == "".join(str(number) * 1000 for number in range(50)) + "\n2 200"
        done = subprocess.run([*run, f"{url}/none"], capture_output=True, text=True, timeout=20)
        assert done.stdout.endswith("\n2 404")
