"""The demo's services: what they send is what their protocols say; the account must be able to tell a loss."""

import asyncio
import json
import random
import socket

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hawse.backend.server import Backend
from hawse.batch import Batch, Signal
from hawse.codecs import otlp_json
from hawse.codecs.jaeger_thrift import Translator
from hawse.codecs.span_writer import CLIENT, SERVER
from hawse.codecs.thrift import Compact
from hawse.demo import cast
from hawse.demo.senders import PORTS, Sender, SenderTally, sender
from hawse.demo.spans import Span, jaeger, otlp, zipkin
from hawse.demo.traces import account, missing, of
from hawse.demo.traffic import SERVICES, Traffic
from hawse.demo.workload import Node, Tally
from hawse.pipeline.ledger.report import Line

US = 1000
SPANS = [
    Span(bytes(range(16)), b"\xf1" + bytes(7), b"", "GET /", SERVER, 10**18, 10**18 + 50 * US, {"s": "é", "n": -(2**40)}),
    Span(bytes(range(16)), bytes(7) + b"\x02", b"\xf1" + bytes(7), "call", CLIENT, 10**18 + US, 10**18 + 9 * US, {}, "no"),
    *[Span(bytes(16 * [n]), bytes(8 * [n]), b"", "many", SERVER, 10**18, 10**18 + US, {}) for n in range(1, 21)],
]  # fmt: skip


def _decoded(batch):
    document = otlp_json.as_dict(Signal.TRACES, batch)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            yield from scope["spans"]


def _told(span):
    """What all protocols tell of a span."""
    return (
        span["traceId"], span["spanId"], span.get("parentSpanId", ""), span["name"].lower(), span["kind"],
        int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), (span.get("status") or {}).get("code", 0),
    )  # fmt: skip


WANTED = [
    (
        one.trace_id.hex(), one.span_id.hex(), one.parent.hex(), one.name.lower(), one.kind, one.start, one.end,
        2 if one.error else 0,
    )
    for one in SPANS
]  # fmt: skip


def test_otlp():
    body = otlp({"service.name": "web"}, SPANS)
    assert list(map(_told, _decoded(body))) == WANTED
    message = ExportTraceServiceRequest.FromString(body)
    assert message.resource_spans[0].resource.attributes[0].value.string_value == "web"
    failed = message.resource_spans[0].scope_spans[0].spans[1]
    assert (failed.status.message, failed.events[0].attributes[0].value.string_value) == ("no", "no")


def test_jaeger_in_the_compact_protocol():
    (group,) = Translator(Compact).datagram(jaeger("orders", SPANS))
    assert group.resource.attributes["service.name"] == "orders"
    spans = list(_decoded(Batch(Signal.TRACES, [group]).encode()))
    assert list(map(_told, spans)) == WANTED
    attributes = {one["key"]: one["value"] for one in spans[0]["attributes"]}
    assert (attributes["s"], attributes["n"]) == ({"stringValue": "é"}, {"intValue": str(-(2**40))})
    assert len(spans[1]["events"]) == 1


def test_zipkin_has_what_its_interface_asks_for():
    spans = json.loads(zipkin("geo", SPANS))
    assert [(one["traceId"], one["id"], one.get("parentId", ""), one["kind"]) for one in spans[:2]] == [
        (SPANS[0].trace_id.hex(), "f100000000000000", "", "SERVER"),
        (SPANS[0].trace_id.hex(), "0000000000000002", "f100000000000000", "CLIENT"),
    ]
    assert (spans[0]["timestamp"], spans[0]["duration"], spans[1]["tags"]) == (10**15, 50, {"error": "no"})


# --- senders --------------------------------------------------------------------------------------------------------


class _Flaky:
    most = 3

    def __init__(self, failures):
        self.failures, self.taken, self.calls = failures, [], 0

    async def send(self, spans):
        self.calls += 1
        if self.calls in self.failures:
            raise OSError("busy")
        self.taken += spans

    async def close(self):
        pass


def test_what_was_not_taken_is_sent_again_and_counted_once():
    transport = _Flaky({2, 3})
    one = Sender(transport, SenderTally("web", "otlp-grpc", "shop", "web-0"))
    for span in SPANS[:8]:
        one.add(span)
    sent = []
    for _ in range(3):
        asyncio.run(one.flush())
        sent.append((one.tally.made, one.tally.sent))
    assert sent == [(8, 3), (8, 3), (8, 8)]
    assert transport.taken == SPANS[:8]


@pytest.mark.parametrize("protocol", ["otlp-grpc", "otlp-http", "zipkin"])
def test_nobody_there_is_no_loss(protocol):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pod = cast.pods(random.Random(1), "127.77")[0]

        async def run():
            one = sender("web", protocol, pod, unused.getsockname()[1])
            one.add(SPANS[0])
            await one.flush()
            await one.close()
            return one.tally

        tally = asyncio.run(run())
    assert (tally.made, tally.sent) == (1, 0)


def test_requests_make_whole_traces_and_log_lines_that_name_them(tmp_path):
    """The services' spans, all sent by OTLP/HTTP to a backend, which puts the traces together."""
    written = []

    async def run():
        async with Backend() as backend:
            node = Node(tmp_path, random.Random(1), network="127.77")
            traffic = Traffic(
                node.running, dict.fromkeys(PORTS, backend.port), random.Random(2),
                lambda running, event: written.append((running.container.name, event.lines[0])),
            )  # fmt: skip
            for senders in traffic._services.values():
                for one in senders:
                    tally = one.sender.tally
                    await one.sender.close()
                    one.sender = sender(tally.service, "otlp-http", one.running.pod, backend.port)
            traffic._senders = [one.sender for some in traffic._services.values() for one in some]
            traffic.advance(30)
            await traffic.flush()
            await traffic.close()
            node.close()
            found = await backend.ask("traces/search", {"limit": "1000"})
            counted = await backend.ask("traces/count", {"by": "service"})
            orphans = [
                span["span_id"]
                for trace in found["traces"]
                for spans in [await backend.trace(trace["trace_id"])]
                for span in spans
                if span["parent_span_id"] and span["parent_span_id"] not in {one["span_id"] for one in spans}
            ]
            return found["traces"], counted, orphans, traffic.tallies

    traces, counted, orphans, tallies = asyncio.run(run())
    assert len(traces) == 120
    assert orphans == []
    assert {(trace["root"]["service"], trace["root"]["missing"]) for trace in traces} == {("web", False)}
    assert {trace["spans"] for trace in traces} == {3, 7}
    assert any(trace["errors"] for trace in traces)
    assert sum(one.sent for one in tallies) == counted["count"] == sum(one.made for one in tallies)
    assert {row["values"]["service"] for row in counted["groups"]} == set(SERVICES)
    ids = {trace["trace_id"] for trace in traces}
    assert {line.partition("trace_id")[2].lstrip('":= ')[:32] for _, line in written} == ids
    assert {name for name, _ in written} == {container for container, _ in SERVICES.values()}


# --- the account ----------------------------------------------------------------------------------------------------


def _line(**numbers):
    return Line(signal=Signal.TRACES, **numbers)


def test_all_there():
    now = account(_line(received=100, filtered=10), 90, 0, final=True)
    assert (now.received, now.filtered, now.delivered, now.in_flight, now.lost) == (100, 10, 90, 0, 0)


def test_what_is_on_its_way_is_no_loss_until_the_end():
    assert account(_line(received=100), 70, 0, final=False).in_flight == 30
    final = account(_line(received=100, in_flight=20), 70, 0, final=True)
    assert (final.in_flight, final.lost) == (20, 10)


def test_what_came_twice_makes_nothing_good():
    assert account(_line(received=100), 100, 5, final=True).lost == 5


def test_what_there_was_no_room_for_is_lost():
    assert account(_line(received=100, dropped=7), 93, 0, final=True).lost == 7


@pytest.mark.parametrize(
    ("held", "wanted"),
    [({"web": 30, "geo": 5}, 0), ({"web": 29, "geo": 9}, 1), ({"web": 30}, 5), ({}, 35)],
)
def test_spans_that_were_sent_and_are_not_there_are_missing(held, wanted):
    senders = [
        SenderTally("web", "otlp-grpc", "shop", "web-0", made=11, sent=10),
        SenderTally("web", "otlp-grpc", "shop", "web-1", made=20, sent=20),
        SenderTally("geo", "zipkin", "shop", "web-1", made=5, sent=5),
    ]
    assert missing(Tally([], senders=senders), held) == wanted


def test_a_ledger_without_traces_is_an_empty_one():
    assert of(None).received == 0
