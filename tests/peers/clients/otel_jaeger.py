"""otel_jaeger.py STORY PORT PROTOCOL: OpenTelemetry's exporter to Jaeger; PROTOCOL is compact, thrift or proto."""

import sys

from opentelemetry.exporter.jaeger.proto import grpc
from opentelemetry.exporter.jaeger.thrift import JaegerExporter
from otel_story import tell

story, port, protocol = sys.argv[1:]
if protocol == "compact":
    exporter = JaegerExporter(agent_host_name="127.0.0.1", agent_port=int(port))
elif protocol == "thrift":
    exporter = JaegerExporter(collector_endpoint=f"http://127.0.0.1:{port}/api/traces?format=jaeger.thrift")
else:
    exporter = grpc.JaegerExporter(collector_endpoint=f"127.0.0.1:{port}", insecure=True)
tell(story, exporter)
