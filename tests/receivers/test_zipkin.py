"""The zipkin receiver through a socket: what is posted, how it is answered."""

import asyncio
import gzip
import json
import logging
from collections import defaultdict

import msgspec
import pytest

from hawse.component import Busy, ComponentID, Listens, NoLedger, Reads, Refused
from hawse.net.budget import Budget
from hawse.net.server import HttpServers
from hawse.net.settings import TLSServer
from hawse.receivers.zipkin import HttpConfig, Protocols, ZipkinConfig, factory, needs
from hawse.values import ByteSize
from tests.codecs.test_zipkin import minimal, proto_span, t_list, t_span, v1_span

JSON = {"content-type": "application/json"}
PROTO = {"content-type": "application/x-protobuf"}
THRIFT = {"content-type": "application/x-thrift"}


class Meter:
    def __init__(self):
        self.sums = defaultdict(float)

    def counter(self, name, description, unit="1"):
        meter = self

        class Counter:
            def add(self, amount, **attributes):
                meter.sums[name] += amount

        return Counter()

    def gauge(self, *_, **__):
        pass


class Context:
    def __init__(self):
        self.id = ComponentID("zipkin")
        self.log = logging.LoggerAdapter(logging.getLogger("test"))
        self.meter = Meter()
        self.ledger = NoLedger()
        self._shared = {Budget: Budget(1 << 30)}
        self._shared[HttpServers] = HttpServers(self._shared[Budget])

    def shared(self, kind):
        return self._shared[kind]


class Sink:
    """Keeps what it is given; `fails` is raised instead."""

    def __init__(self, fails=None):
        self.batches = []
        self.fails = fails

    async def consume(self, batch):
        if self.fails:
            raise self.fails
        self.batches.append(batch)


async def post(port, path, body, headers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = int(head.split()[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    answer = (await reader.readexactly(int(fields.get("content-length", 0)))).decode()
    writer.close()
    return status, fields, answer


def posted(path, body, headers, sink=None, **settings):
    sink = sink or Sink()
    context = Context()

    async def run():
        config = ZipkinConfig(**{"endpoint": "127.0.0.1:0", **settings})
        receiver = factory.create(config, context, dict.fromkeys(factory.signals, sink))
        await receiver.start()
        try:
            return await post(receiver.port, path, body, headers)
        finally:
            await receiver.stop()

    status, fields, answer = asyncio.run(run())
    assert context.shared(Budget).used == 0
    return status, fields, answer, sink, context.meter.sums["hawse_receiver_malformed_requests"]


V2 = json.dumps([minimal(localEndpoint={"serviceName": "s"}), minimal()]).encode()
V1 = json.dumps([v1_span(), v1_span()]).encode()
PROTO_BODY = proto_span(minimal()) * 2
THRIFT_BODY = t_list(t_span(), t_span())


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/api/v2/spans", V2, JSON),
        ("/api/v2/spans", V2, {}),
        ("/api/v2/spans", V2, {"content-type": "application/json; charset=utf-8"}),
        ("/api/v2/spans", gzip.compress(V2), {**JSON, "content-encoding": "gzip"}),
        ("/api/v2/spans", PROTO_BODY, PROTO),
        ("/api/v2/spans", gzip.compress(PROTO_BODY), {**PROTO, "content-encoding": "gzip"}),
        ("/api/v1/spans", V1, JSON),
        ("/api/v1/spans", THRIFT_BODY, THRIFT),
        ("/api/v1/spans", gzip.compress(THRIFT_BODY), {**THRIFT, "content-encoding": "gzip"}),
    ],
)
def test_spans_are_taken_in_every_encoding(path, body, headers):
    status, _, answer, sink, malformed = posted(path, body, headers)
    assert (status, answer, malformed) == (202, "", 0)
    (batch,) = sink.batches
    assert (batch.items, batch.peer) == (2, "127.0.0.1")


def test_an_empty_list_is_taken():
    status, _, _, sink, _ = posted("/api/v2/spans", b"[]", JSON)
    assert (status, sink.batches) == (202, [])


@pytest.mark.parametrize(
    ("path", "body", "headers", "wanted", "text"),
    [
        ("/api/v2/spans", b"[{}]", JSON, 400, "malformed request: no list of spans: object missing"),
        ("/api/v2/spans", b"\x0a\xff", PROTO, 400, "malformed request: "),
        ("/api/v1/spans", b"\x0c", THRIFT, 400, "ends within a value"),
        ("/api/v2/spans", THRIFT_BODY, THRIFT, 415, "does not take application/x-thrift"),
        ("/api/v1/spans", PROTO_BODY, PROTO, 415, "does not take application/x-protobuf"),
        ("/api/v2/spans", V2, {**JSON, "content-encoding": "gzip"}, 400, ""),
        ("/api/v3/spans", V2, JSON, 404, ""),
    ],
)
def test_what_is_not_zipkins_is_refused(path, body, headers, wanted, text):
    status, _, answer, sink, malformed = posted(path, body, headers)
    assert (status, sink.batches) == (wanted, [])
    assert text in answer.lower() if text else True
    assert malformed == (1 if text.startswith(("malformed", "ends")) else 0)


def test_limits():
    assert posted("/api/v2/spans", V2, JSON, max_request_spans=1)[0] == 413
    assert posted("/api/v2/spans", PROTO_BODY, PROTO, max_request_spans=1)[0] == 413
    status, _, answer, *_ = posted("/api/v2/spans", V2, JSON, max_json_body_size=ByteSize(10))
    assert (status, "max_json_body_size" in answer) == (413, True)
    assert posted("/api/v2/spans", PROTO_BODY, PROTO, max_json_body_size=ByteSize(10))[0] == 202


def test_who_is_busy_is_tried_again_and_who_refuses_is_not():
    status, fields, answer, *_ = posted("/api/v2/spans", V2, JSON, Sink(Busy("full", 2.5)))
    assert (status, fields["retry-after"], answer) == (503, "3", "full\n")
    status, _, answer, *_ = posted("/api/v2/spans", V2, JSON, Sink(Refused("never")))
    assert (status, answer) == (400, "never\n")


def test_debug_by_header():
    *_, sink, _ = posted("/api/v2/spans", V2, {**JSON, "x-b3-flags": "1"})
    assert b"zipkin.debug" in sink.batches[0].encode()


def test_both_places_of_the_servers_settings():
    tls = TLSServer(cert_file="/c", key_file="/k")
    assert list(needs(ZipkinConfig())) == [Listens(9411, "tcp", "Zipkin", "localhost")]
    config = ZipkinConfig(protocols=Protocols(http=HttpConfig(endpoint="0.0.0.0:9412", tls=tls)))
    assert list(needs(config)) == [Listens(9412, "tcp", "Zipkin", "0.0.0.0"), Reads("/c", "TLS"), Reads("/k", "TLS")]
    assert [problem.path for problem in ZipkinConfig(protocols=Protocols()).problems()] == ["protocols"]
    assert msgspec.convert({"parse_string_tags": True}, ZipkinConfig).parse_string_tags
