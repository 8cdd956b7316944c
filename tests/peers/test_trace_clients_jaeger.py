"""Jaeger's clients, and OpenTelemetry's exporters to Jaeger, send what they were told to: all that the format holds
arrives, translated as OpenTelemetry does."""

from pathlib import Path

import pytest

from .told import differences, in_otlp, numbers_are_floats, story, typed

pytestmark = pytest.mark.long  # environments from PyPI and npm
CLIENTS = Path(__file__).parent / "clients"
_REFERENCE = "opentracing.ref_type"


def opentracing(told):
    """The story as OpenTracing has it: kinds and errors are tags."""
    for span in told["spans"]:
        span["tags"] = dict(span.get("attributes", {}))
        if span["kind"] != "internal":
            span["tags"]["span.kind"] = span["kind"]
        if span.pop("status", [""])[0] == "error":
            span["tags"]["error"] = True
            span["status"] = ["error", ""]
        for link in span.get("links", ()):
            link.pop("trace_state", None)
            link["attributes"] = {_REFERENCE: "follows_from"}
        if "links" in span and "parent" not in span:
            span["parent"] = span["links"][0]["of"]  # for these clients, a reference of any type is a parent
        if isinstance(span.get("parent"), dict):
            del span["parent"]["trace_state"]
    told["scope"] = ["", ""]
    return told


def from_opentracing(told, said, sampler, version):
    """What is expected of it in OTLP: the first span of a trace says why it was sampled."""
    for span in told["spans"]:
        if "parent" not in span:
            span["attributes"] |= sampler
    process = dict(said["resource"])
    told["resource"] |= process
    del told["resource"]["jaeger.version"], told["resource"]["hostname"]
    assert process["jaeger.version"] == version
    told["resource"] |= {"opencensus.exporterversion": f"Jaeger-{version}", "host.name": process["hostname"]}
    found = in_otlp(told, said["ids"])
    for span, one in zip(found, told["spans"], strict=True):
        if one["kind"] == "internal":
            span["kind"] = 0  # OpenTracing has no word for it
    return found


@pytest.mark.parametrize("bits", ["64", "128"])
@pytest.mark.parametrize("sampling", ["const", "remote"])
def test_jaeger_client_python(peer, collector, tell, sampling, bits):
    told = opentracing(story(crowd=70))  # it keeps 100
    asked = str(collector.ports["sampling"]) if sampling == "remote" else "const"
    program = [peer("jaeger-client"), CLIENTS / "jaeger_client_python.py"]
    said, came = tell(told, program, collector.ports["compact"], asked, bits)
    kind, param = ("const", True) if sampling == "const" else ("probabilistic", 1.0)
    expected = from_opentracing(told, said, {"sampler.type": kind, "sampler.param": param}, "Python-4.8.0")
    assert not differences(came, expected)
    assert (said["ids"][0][0][:16] == 16 * "0") == (bits == "64")


@pytest.mark.parametrize("bits", ["64", "128"])
@pytest.mark.parametrize(("protocol", "sampling"), [("binary", "const"), ("binary", "remote"), ("thrift", "const")])
def test_jaeger_client_node(node, collector, tell, protocol, sampling, bits):
    program, env = node("npm-jaeger-client")
    told = story(crowd=70)  # more would be lost where sockets have the kernel's usual 208 KiB
    told["spans"][0]["attributes"]["shop.raw"] = {"bytes": "00ff41"}
    told = opentracing(told)
    asked = str(collector.ports["sampling"]) if sampling == "remote" else "const"
    arguments = (collector.ports[protocol], protocol, asked, bits)
    said, came = tell(told, [program, CLIENTS / "jaeger_client_node.js"], *arguments, env=env)
    for span in told["spans"]:
        span["attributes"] = numbers_are_floats(span.get("attributes", {}))
        for event in span.get("events", ()):
            event["attributes"] = numbers_are_floats(event["attributes"])
    told["spans"][0]["attributes"]["shop.raw"] = b"\0\xffA"
    kind, param = ("const", True) if sampling == "const" else ("probabilistic", 1.0)
    said["resource"] = numbers_are_floats(said["resource"])
    expected = from_opentracing(told, said, {"sampler.type": kind, "sampler.param": param}, "Node-3.19.0")
    assert not differences(came, expected)
    assert (said["ids"][0][0][:16] == 16 * "0") == (bits == "64")


@pytest.mark.parametrize("protocol", ["compact", "thrift", "proto"])
def test_opentelemetry_python(peer, collector, tell, protocol):
    told = story()
    told["spans"][0]["attributes"]["shop.long"] = 2**63 - 1
    program = [peer("opentelemetry-exporter-jaeger"), CLIENTS / "otel_jaeger.py"]
    said, came = tell(told, program, collector.ports[protocol], protocol)
    told["resource"] |= said["resource"]
    expected = in_otlp(told, said["ids"])
    if protocol == "proto":
        _with_the_exporters_times(expected)
    beside = {"otel.library.name": "cart", "otel.library.version": "1.2"}  # the same again, for older backends
    for span in expected:
        span["attributes"] |= span["resource"] | typed(beside)
        if protocol != "proto":  # Thrift's process has no tags here
            span["resource"] = typed({"service.name": told["service"]})
        _without_what_jaeger_lacks(span)
        for event in span["events"]:
            event["attributes"] |= typed({"message": event["name"]})
    assert not differences(came, expected)


@pytest.mark.parametrize("protocol", ["binary", "thrift"])
def test_opentelemetry_node(node, collector, tell, protocol):
    program, env = node("npm-opentelemetry-jaeger")
    told = story()
    where = collector.ports["binary"] if protocol == "binary" else collector.url("thrift", "/api/traces")
    said, came = tell(told, [program, CLIENTS / "otel_exporters.js"], f"jaeger-{protocol}", where, "none", env=env)
    told["resource"] |= said["resource"]
    for span in told["spans"]:
        span["attributes"] = numbers_are_floats(span.get("attributes", {}) | told["resource"])
        span["attributes"]["service.name"] = told["service"]
        for event in span.get("events", ()):
            event["attributes"] = numbers_are_floats(event["attributes"])
    expected = in_otlp(told, said["ids"])
    for span in expected:
        span["resource"] = typed({"service.name": told["service"]})
        span["kind"] = 0 if span["kind"] == 1 else span["kind"]  # it says nothing for internal ones
        _without_what_jaeger_lacks(span)
    assert not differences(came, expected)


def _with_the_exporters_times(spans):
    """It calculates with floats, and is some hundred nanoseconds off."""

    def off(time):
        seconds = time / 1e9
        return int(seconds) * 10**9 + int((seconds - int(seconds)) * 1e9)

    for span in spans:
        span["start"], span["end"] = off(span["start"]), off(span["end"])
        for event in span["events"]:
            event["time"] = off(event["time"])


def _without_what_jaeger_lacks(span):
    span["trace_state"] = ""
    for link in span["links"]:
        link["trace_state"] = ""
        link["attributes"] = typed({_REFERENCE: "follows_from"})
