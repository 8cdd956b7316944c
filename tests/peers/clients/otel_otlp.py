"""otel_otlp.py STORY ADDRESS PROTOCOL COMPRESSION: by OTLP; PROTOCOL is grpc or http, COMPRESSION is none or gzip."""

import sys

from otel_story import tell

story, address, protocol, compression = sys.argv[1:]
if protocol == "grpc":
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    chosen = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    exporter = OTLPSpanExporter(address, insecure=True, compression=chosen)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    chosen = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    exporter = OTLPSpanExporter(address, compression=chosen)
tell(story, exporter)
