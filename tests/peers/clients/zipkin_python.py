"""zipkin_python.py STORY PORT ENCODING BITS: py-zipkin; ENCODING is V1_JSON, V2_JSON or V2_PROTO3.

All is sent at the end of a span that is not of the story, whose times are the clock's.
"""

import json
import logging
import secrets
import sys
from unittest import mock
from urllib.request import urlopen

from py_zipkin import Encoding, Kind
from py_zipkin.encoding import Span, create_endpoint
from py_zipkin.transport import SimpleHTTPTransport
from py_zipkin.zipkin import zipkin_span

file, port, encoding, bits = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    story = json.load(opened)


logging.basicConfig(level=logging.WARNING)
sent = []


class Transport(SimpleHTTPTransport):
    """Remembers what it was answered: the client keeps that to itself."""

    def send(self, payload):
        with mock.patch("py_zipkin.transport.urlopen", lambda *request, **more: sent.append(urlopen(*request, **more))):
            super().send(payload)


ids = []
for told in story["spans"]:
    parent = told.get("parent")
    if parent is None:
        trace_id = secrets.token_hex(int(bits) // 8)
    else:
        trace_id = ids[parent][0] if isinstance(parent, int) else parent["trace_id"]
    ids.append((trace_id, secrets.token_hex(8)))


def parent_of(told):
    parent = told.get("parent")
    return parent["span_id"] if isinstance(parent, dict) else None if parent is None else ids[parent][1]


def seconds(nanoseconds):
    return nanoseconds // 10**9 + nanoseconds % 10**9 / 1e9


def parts(number):
    told = story["spans"][number]
    kind = told["kind"].upper()
    return {
        "kind": Kind.LOCAL if kind == "INTERNAL" else Kind[kind],
        "timestamp": seconds(told["start"]),
        "duration": (told["end"] - told["start"]) / 1e9,
        "annotations": {event["name"]: seconds(event["time"]) for event in told.get("events", ())},
    }


def remote(told):
    other = told.get("remote")
    return other and create_endpoint(other["port"], other["service"], other["address"])


local = create_endpoint(8080, story["service"], "10.1.2.3")
with zipkin_span(
    service_name=story["service"],
    transport_handler=Transport("127.0.0.1", int(port)),
    sample_rate=100.0,
    host="10.1.2.3",
    port=8080,
    encoding=Encoding[encoding],
) as outer:
    for number, told in enumerate(story["spans"]):
        trace_id, span_id = ids[number]
        span = Span(
            trace_id, told["name"], parent_of(told), span_id,
            tags=told["tags"], local_endpoint=local, remote_endpoint=remote(told), **parts(number),
        )  # fmt: skip
        outer.get_tracer().add_span(span)
assert [answer.status for answer in sent] == [202], sent
print(json.dumps({"ids": [(trace_id.zfill(32), span_id) for trace_id, span_id in ids]}))
