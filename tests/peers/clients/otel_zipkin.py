"""otel_zipkin.py STORY ADDRESS FORMAT: OpenTelemetry's exporters to Zipkin; FORMAT is json or proto."""

import sys

from otel_story import tell

story, address, chosen = sys.argv[1:]
if chosen == "json":
    from opentelemetry.exporter.zipkin.json import ZipkinExporter
else:
    from opentelemetry.exporter.zipkin.proto.http import ZipkinExporter
node = {"local_node_ipv4": "10.1.2.3", "local_node_ipv6": "2001:db8::c001", "local_node_port": 8080}
tell(story, ZipkinExporter(endpoint=address, **node))
