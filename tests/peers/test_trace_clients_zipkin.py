"""Zipkin's clients, and OpenTelemetry's exporters to Zipkin, send what they were told to: all that the format holds
arrives, translated as OpenTelemetry does."""

from pathlib import Path

import pytest

from .told import differences, in_otlp, story, typed

pytestmark = pytest.mark.long  # environments from PyPI and npm
CLIENTS = Path(__file__).parent / "clients"
LOCAL = {"net.host.ip": "10.1.2.3", "net.host.port": 8080}
PEER = {"net.peer.ip": "10.9.8.7", "net.peer.port": 443, "peer.service": "bank"}
OF_RESOURCE = {
    "service.name",
    "service.instance.id",
    "deployment.environment",
}  # and telemetry.*: tags that OpenTelemetry puts there


def zipkin(told):
    """The story as Zipkin has it: tags are texts, an error is one, annotations have no attributes, there are no
    links."""
    told["resource"], told["scope"] = {}, ["", ""]
    for span in told["spans"]:
        span.pop("links", None)
        span["attributes"] = {key: text(value) for key, value in span.get("attributes", {}).items() if value != ""}
        span["attributes"]["shop.kind"] = span["kind"]  # version 1 has no service where nothing was recorded
        status, message = span.pop("status", ["", ""])
        if status == "error":
            span["attributes"]["error"] = message
            span["status"] = ["error", message]
        span["tags"] = dict(span["attributes"])
        for event in span.get("events", ()):
            event["attributes"] = {}
        if isinstance(span.get("parent"), dict):
            del span["parent"]["trace_state"]
    told["spans"][1]["remote"] = {"service": "bank", "address": "10.9.8.7", "port": 443}
    return told


def text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_endpoints(told, said):
    """What is expected of it in OTLP."""
    for span in told["spans"]:
        span["attributes"] |= LOCAL | (PEER if "remote" in span else {})
    found = in_otlp(told, said["ids"])
    for span in found:
        if span["kind"] == 1:
            span["kind"] = 0  # Zipkin has no word for it
    return found


@pytest.mark.parametrize("bits", ["64", "128"])
@pytest.mark.parametrize("encoding", ["V1_JSON", "V2_JSON", "V2_PROTO3"])
def test_py_zipkin(peer, collector, tell, encoding, bits):
    told = zipkin(story())
    program = [peer("py-zipkin"), CLIENTS / "zipkin_python.py"]
    said, came = tell(told, program, collector.ports["zipkin"], encoding, bits)
    assert not differences(came, with_endpoints(told, said))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_zipkin_node(node, collector, tell, version):
    program, env = node("npm-zipkin")
    told = zipkin(story())
    arguments = (collector.url("zipkin", f"/api/{version}/spans"), f"JSON_{version.upper()}")
    said, came = tell(told, [program, CLIENTS / "zipkin_node.js"], *arguments, env=env)
    for span in told["spans"]:
        span["name"] = span["name"].lower()  # by the client
        span["end"] = max(span["end"], span["start"] + 1000)
    if version == "v1":  # where it says of producers and consumers when they were done
        told["spans"][3]["events"] = [{"name": "ws", "time": told["spans"][3]["end"], "attributes": {}}]
        told["spans"][4]["events"] = [{"name": "wr", "time": told["spans"][4]["start"], "attributes": {}}]
    assert not differences(came, with_endpoints(told, said))


@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_opentelemetry_python(peer, collector, tell, encoding):
    told = story()
    program = [peer("opentelemetry-exporter-zipkin"), CLIENTS / "otel_zipkin.py"]
    said, came = tell(told, program, collector.url("zipkin", "/api/v2/spans"), encoding)
    own = {"net.host.ip": "2001:db8::c001", "net.host.port": 8080}
    assert not differences(came, _from_opentelemetry(told, said, own))


def test_opentelemetry_node(node, collector, tell):
    program, env = node("npm-opentelemetry-zipkin")
    told = story()
    arguments = ("zipkin", collector.url("zipkin", "/api/v2/spans"), "none")
    said, came = tell(told, [program, CLIENTS / "otel_exporters.js"], *arguments, env=env)
    told["scope"] = ["", ""]
    for span in told["spans"]:
        for event in span.get("events", ()):
            event["attributes"] = {}
    assert not differences(came, _from_opentelemetry(told, said, {}))


def _from_opentelemetry(told, said, own):
    resource = {key: text(value) for key, value in (said["resource"] | {"service.name": told["service"]}).items()}
    told["resource"] = {
        key: value for key, value in resource.items() if key in OF_RESOURCE or key.startswith("telemetry.")
    }
    for span in told["spans"]:
        span.pop("links", None)
        tags = span.get("attributes", {}) | {key: one for key, one in resource.items() if key not in told["resource"]}
        span["attributes"] = {key: text(value) for key, value in tags.items()} | own
    expected = in_otlp(told, said["ids"])
    for span in expected:
        span["trace_state"] = ""
        span["kind"] = 0 if span["kind"] == 1 else span["kind"]
        assert span["resource"].keys() >= {"service.name", "telemetry.sdk.name"}
    assert expected[0]["attributes"]["shop.number"] == typed({"": "4711"})[""]
    return expected
