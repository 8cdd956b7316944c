"""OpenCensus' exporter sends what it was told to: all of it arrives, translated as OpenTelemetry does."""

from pathlib import Path

import pytest

from .told import differences, in_otlp, story

pytestmark = pytest.mark.long  # an environment from PyPI
CLIENT = Path(__file__).parent / "clients" / "opencensus_agent.py"
_LINK_TYPES = ("", "CHILD_LINKED_SPAN", "PARENT_LINKED_SPAN")


def test_ocagent(peer, collector, tell):
    told = story()
    told["host"] = "web-1"
    for number, span in enumerate(told["spans"]):
        span["attributes"] = span.get("attributes", {})
        span["same process"] = number != 3
        for kind, link in enumerate(span.get("links", ()), number):
            link["type"] = kind % 3
        if span["kind"] in {"producer", "consumer"}:  # for which there is only an attribute
            span["attributes"]["span.kind"] = span["kind"]
    told["spans"][1]["attributes"]["shop.long"] = 2**63 - 1
    message = {"time": told["spans"][1]["start"], "id": 7, "type": 1, "size": 4096, "compressed": 512}
    told["spans"][1]["messages"] = [message]
    address = f"127.0.0.1:{collector.ports['opencensus']}"
    said, came = tell(told, [peer("opencensus-ext-ocagent"), CLIENT], address)
    assert not differences(came, _expected(told, said, message))


def _expected(told, said, message):
    told["resource"] = said["resource"] | {"host.name": told["host"], "telemetry.sdk.language": "python"}
    told["scope"] = ["", ""]
    for span in told["spans"]:
        span["attributes"].pop("span.kind", None)
        span["attributes"]["opencensus.same_process_as_parent_span"] = span["same process"]
        for link in span.get("links", ()):
            if link["type"]:
                link["attributes"] = link.get("attributes", {}) | {"opencensus.link_type": _LINK_TYPES[link["type"]]}
        if span.get("status", [""])[0] == "ok":
            del span["status"]  # gRPC's code 0 says nothing
    told["spans"][1]["events"] = [
        {
            "name": "message",
            "time": message["time"],
            "attributes": {
                "message.type": "SENT",
                "messaging.message_id": message["id"],
                "messaging.message_payload_size_bytes": message["size"],
                "messaging.message_payload_compressed_size_bytes": message["compressed"],
            },
        }
    ]
    found = in_otlp(told, said["ids"])
    for span in found:
        span["kind"] = 0 if span["kind"] == 1 else span["kind"]
        for link in span["links"]:
            link["trace_state"] = ""
    return found
