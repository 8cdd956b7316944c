"""A `hawse run` with every receiver of traces, and what it has received, read by OpenTelemetry's own descriptors."""

import json
import re
import struct
import subprocess

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from hawse.component import Kind
from hawse.registry import BUILT_IN

from .programs import Hawse, port, until
from .told import _typed

_PROBLEM = re.compile(r"\w*(malformed|refused|dropped|lost|rejected|failed)\w*[ {]")
_LENGTH = struct.Struct(">I")


class Collector(Hawse):
    """`ports` are those listened on, by the names that the seed's ports have as comments below."""

    def __init__(self, folder):
        names = ("grpc", "http", "legacy_grpc", "legacy_http", "compact", "binary", "thrift", "proto", "sampling")
        self.ports = {name: port() for name in (*names, "zipkin", "opencensus")}
        at = {name: {"endpoint": f"127.0.0.1:{number}"} for name, number in self.ports.items()}
        strategies = folder / "strategies.json"
        folder.mkdir(parents=True, exist_ok=True)
        strategies.write_text(json.dumps({"default_strategy": {"type": "probabilistic", "param": 1.0}}))
        receivers = {
            "otlp": {"protocols": {"grpc": at["grpc"], "http": at["http"]}},  # 4317, 4318
            "otlp/legacy": {"protocols": {"grpc": at["legacy_grpc"], "http": at["legacy_http"]}},  # 55680, 55681
            "jaeger": {
                "protocols": {
                    "thrift_compact": at["compact"],  # 6831
                    "thrift_binary": at["binary"],  # 6832
                    "thrift_http": at["thrift"],  # 14268
                    "grpc": at["proto"],  # 14250
                },
                "remote_sampling": {
                    "host_endpoint": at["sampling"]["endpoint"],  # 5778
                    "strategy_file": str(strategies),
                },
            },
            "zipkin": at["zipkin"],  # 9411
            "opencensus": at["opencensus"],  # 55678
        }
        receivers = {name: one for name, one in receivers.items() if name.split("/")[0] in BUILT_IN[Kind.RECEIVER]}
        self.file = folder / "traces.bin"
        config = {
            "receivers": receivers,
            "exporters": {"file": {"path": str(self.file), "format": "proto"}},
            "service": {"pipelines": {"traces": {"receivers": [*receivers], "exporters": ["file"]}}},
        }
        super().__init__(folder, config)

    def url(self, name, path=""):
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def wait_for(self, ids, seconds=10.0):
        """The spans of these (trace ID, span ID), in that order, once all are there; nothing else may be in their
        traces."""
        ids = [tuple(one) for one in ids]
        traces = {trace for trace, _ in ids}
        found = []

        def there():
            found[:] = [span for span in spans(self.file) if span["trace_id"] in traces]
            return {(span["trace_id"], span["span_id"]) for span in found} >= {*ids}

        until(there, lambda: f"{len(found)} of {len(ids)} spans\n{self.tail()}", seconds)
        return sorted(found, key=lambda span: ids.index((span["trace_id"], span["span_id"])))


def run(argv, env=None, seconds=60):
    """Runs a client; what it printed is JSON."""
    done = subprocess.run(
        [str(part) for part in argv], capture_output=True, text=True, timeout=seconds, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def problems(exposition):
    """The lines of self-metrics that tell of something malformed, refused or lost."""
    told = [line for line in exposition.splitlines() if not line.startswith("#")]
    return [line for line in told if _PROBLEM.match(line) and float(line.rsplit(" ", 1)[1])]


def spans(file):
    """All spans of a file that the exporter wrote, as told.in_otlp has them."""
    data = file.read_bytes()
    found, at = [], 0
    while at + _LENGTH.size <= len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            break  # being written
        for group in TracesData.FromString(data[at : at + size]).resource_spans:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                found += [_span(span, scope.scope, resource) for span in scope.spans]
        at += size
    return found


def _span(span, scope, resource):
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "trace_state": span.trace_state,
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": _attributes(span.attributes),
        "events": [
            {"time": event.time_unix_nano, "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ],
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "trace_state": link.trace_state,
                "attributes": _attributes(link.attributes),
            }
            for link in span.links
        ],
        "status": (span.status.code, span.status.message),
        "resource": resource,
        "scope": (scope.name, scope.version),
    }


def _attributes(fields):
    found = {field.key: _value(field.value) for field in fields}
    assert len(found) == len(fields), f"a key twice: {fields}"
    return found


def _value(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return ("array", tuple(_value(one) for one in value.array_value.values))
    return _typed(getattr(value, kind))
