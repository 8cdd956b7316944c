"""Other people's HTTP/2 at the ports of OTLP: nghttp, h2load and curl (which are nghttp2's), grpcio at its limits."""

import gzip
import re
import secrets
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .arrived import spans
from .programs import Hawse, get, port, until

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
GRPC = {"content-type": "application/grpc", "te": "trailers"}
PROTOBUF = {"content-type": "application/x-protobuf"}


def request(count=1, size=0):
    """A request of `count` spans, and their IDs. Each has an attribute of `size` letters."""
    trace_id = secrets.token_bytes(16)
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for number in range(count):
        span = scope.spans.add(trace_id=trace_id, span_id=(number + 1).to_bytes(8, "big"), name="load")
        span.attributes.add(key="text").value.string_value = secrets.token_hex(size // 2)
    return made, [(trace_id.hex(), span.span_id.hex()) for span in scope.spans]


def framed(message):
    """As gRPC frames a message that is not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def headers(told, option="-H"):
    return [part for name, value in told.items() for part in (option, f"{name}: {value}")]


def run(*argv):
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long  # needs curl
@pytest.mark.parametrize("name", ["grpc", "legacy_grpc"])
def test_curl_speaks_grpc(peer, collector, tmp_path, name):
    made, ids = request()
    (tmp_path / "body").write_bytes(framed(made.SerializeToString()))
    curl = [peer("curl"), "-sS", "--http2-prior-knowledge", "-D", "-", "-o", tmp_path / "answer"]
    said = run(*curl, *headers(GRPC), "--data-binary", f"@{tmp_path / 'body'}", collector.url(name, EXPORT))
    assert said.startswith("HTTP/2 200")
    assert "\ngrpc-status: 0" in said.replace("\r", "")
    assert (tmp_path / "answer").read_bytes() == framed(b"")
    collector.wait_for(ids)


@pytest.mark.long
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge", "--http2"])
@pytest.mark.parametrize("name", ["http", "legacy_http"])
def test_curl_posts_otlp(peer, collector, tmp_path, name, version):
    """Over HTTP/1.1, over HTTP/2, and over HTTP/1.1 with an offer of HTTP/2, which need not be taken."""
    made, ids = request(3)
    (tmp_path / "body").write_bytes(gzip.compress(made.SerializeToString()))
    told = headers(PROTOBUF | {"content-encoding": "gzip"})
    curl = [peer("curl"), "-sS", version, "-D", "-", *told, "--data-binary", f"@{tmp_path / 'body'}"]
    said = run(*curl, collector.url(name, "/v1/traces"))
    assert re.match(r"HTTP/(1\.1 200 OK|2 200)", said), said
    assert said.startswith("HTTP/2") == (version == "--http2-prior-knowledge")
    collector.wait_for(ids)


@pytest.mark.long  # needs nghttp
def test_nghttp(peer, collector, tmp_path):
    """Twenty calls on one connection, in small windows, with priorities and padding: all are answered."""
    made, ids = request(5, size=4000)
    (tmp_path / "body").write_bytes(framed(made.SerializeToString()))
    options = ["-v", "-m", "20", "-w", "1", "-W", "1", "-b", "17", "-d", tmp_path / "body"]
    said = run(peer("nghttp"), *options, *headers(GRPC), collector.url("grpc", EXPORT))
    assert len(re.findall(r"recv \(stream_id=\d+\) :status: 200", said)) == 20
    assert len(re.findall(r"recv \(stream_id=\d+\) grpc-status: 0", said)) == 20
    assert "GOAWAY" not in "".join(line for line in said.splitlines() if "recv" in line)
    until(lambda: _count(collector, ids) == 100, lambda: f"{_count(collector, ids)} of 100 spans")


@pytest.mark.long  # needs h2load
@pytest.mark.parametrize(("name", "path", "kind"), [("grpc", EXPORT, GRPC), ("http", "/v1/traces", PROTOBUF)])
def test_h2load(peer, collector, tmp_path, name, path, kind):
    """2000 requests over 10 connections, 20 at a time on each: all are taken, once."""
    made, ids = request()
    body = made.SerializeToString()
    (tmp_path / "body").write_bytes(framed(body) if kind is GRPC else body)
    load = [peer("h2load"), "-n", "2000", "-c", "10", "-m", "20", "-d", tmp_path / "body"]
    said = run(*load, *headers(kind), collector.url(name, path))
    counts = "requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout"
    assert counts in said, said
    until(lambda: _count(collector, ids) >= 2000, lambda: f"{_count(collector, ids)} of 2000 spans")
    assert _count(collector, ids) == 2000


def _count(collector, ids):
    wanted = {trace for trace, _ in ids}
    return sum(span["trace_id"] in wanted for span in spans(collector.file))


def export(channel, message, **options):
    call = channel.unary_unary(EXPORT, request_serializer=ExportTraceServiceRequest.SerializeToString)
    return call(message, **{"timeout": 20, **options})


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpcio_sends_large_messages(collector, compression):
    """Just below the limit of gRPC's libraries, 4 MiB; many at a time."""
    made, ids = request(500, size=8000)
    assert 4_000_000 < made.ByteSize() < 4 << 20
    others = [request(100, size=8000) for _ in range(8)]
    with grpc.insecure_channel(collector.url("grpc").removeprefix("http://")) as channel:
        assert export(channel, made, compression=compression) == b""
        call = channel.unary_unary(EXPORT, request_serializer=ExportTraceServiceRequest.SerializeToString)
        futures = [call.future(one, timeout=20, compression=compression) for one, _ in others]
        assert [future.result() for future in futures] == [b""] * len(others)
    collector.wait_for(ids + [one for _, more in others for one in more])


class _Backend(BaseHTTPRequestHandler):
    """Answers when `server.open` is set."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.set()
        self.server.open.wait(20)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_grpcio_limits(tmp_path):
    """A message that is too large is refused by name; a deadline that passes ends its call, not the connection."""
    own = port()
    backend = HTTPServer(("127.0.0.1", 0), _Backend)
    backend.open, backend.asked = threading.Event(), threading.Event()
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    exporter = {
        "endpoint": f"http://127.0.0.1:{backend.server_port}",
        "compression": "none",
        "sending_queue": {"enabled": False},
    }
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{own}", "max_recv_msg_size_mib": 4}}}},
        "exporters": {"otlphttp": exporter},
        "service": {"pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlphttp"]}}},
    }
    try:
        with Hawse(tmp_path, config) as hawse, grpc.insecure_channel(f"127.0.0.1:{own}") as channel:
            with pytest.raises(grpc.RpcError) as refused:
                export(channel, request(600, size=8000)[0])
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "4194304" in refused.value.details()
            began = time.monotonic()
            with pytest.raises(grpc.RpcError) as late:
                export(channel, request()[0], timeout=0.5)
            assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert 0.4 < time.monotonic() - began < 5
            assert backend.asked.wait(5)
            backend.open.set()
            assert export(channel, request()[0]) == b""
            assert get(f"http://127.0.0.1:{hawse.telemetry}/metrics")[0] == 200
            assert "Traceback" not in hawse.said()
    finally:
        backend.open.set()
        backend.shutdown()
        backend.server_close()
