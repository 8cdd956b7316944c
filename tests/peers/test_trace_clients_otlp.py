"""OpenTelemetry's SDKs send spans that they were told to, to each port of OTLP: all of it arrives."""

import sys
from pathlib import Path

import pytest

from .told import differences, in_otlp, story

CLIENTS = Path(__file__).parent / "clients"
PORTS = [("grpc", ""), ("legacy_grpc", ""), ("http", "/v1/traces"), ("legacy_http", "/v1/traces")]


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize(("name", "path"), PORTS)
def test_python(collector, tell, name, path, compression):
    told = story(finer=123)
    told["spans"][0]["attributes"] |= {
        "shop.long": 2**63 - 1,
        "shop.words": ["a", "é"],
        "shop.numbers": [1, -2],
        "shop.floats": [0.5, 0.1],
        "shop.switches": [True, False],
    }
    protocol = name.removeprefix("legacy_")
    program = [sys.executable, CLIENTS / "otel_otlp.py"]
    said, came = tell(told, program, collector.url(name, path), protocol, compression)
    told["resource"] |= said["resource"]
    assert said["resource"]["telemetry.sdk.language"] == "python"
    expected = in_otlp(told, said["ids"])
    for span in expected:
        for link in span["links"]:
            link["trace_state"] = ""  # it does not send that
    assert not differences(came, expected)


NODE = [("http", "http", "/v1/traces"), ("proto", "legacy_http", "/v1/traces"), ("grpc", "grpc", "")]


@pytest.mark.long  # an environment from npm
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize(("exporter", "name", "path"), NODE)
def test_node(node, collector, tell, exporter, name, path, compression):
    program, env = node("npm-opentelemetry-otlp")
    told = story(finer=123)
    told["spans"][0]["attributes"] |= {
        "shop.words": ["a", "é"],
        "shop.numbers": [1, -2],
        "shop.floats": [0.5, 0.1],
        "shop.switches": [True, False],
    }
    arguments = (exporter, collector.url(name, path), compression)
    said, came = tell(told, [program, CLIENTS / "otel_exporters.js"], *arguments, env=env)
    told["resource"] |= said["resource"]
    assert said["resource"]["telemetry.sdk.language"] == "nodejs"
    assert not differences(came, in_otlp(told, said["ids"]))
