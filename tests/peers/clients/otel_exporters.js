// otel_exporters.js STORY EXPORTER ADDRESS COMPRESSION: what OpenTelemetry has for Node.js.
//
// EXPORTER is http (JSON), proto, grpc, zipkin, jaeger-binary (ADDRESS is a port) or jaeger-thrift.
"use strict";

const [file, chosen, address, compression] = process.argv.slice(2);
const { tell } = require("./otel_story.js");

const MAKE = {
  http: () => otlp("http"),
  proto: () => otlp("proto"),
  grpc: () => otlp("grpc"),
  zipkin: () => new (require("@opentelemetry/exporter-zipkin").ZipkinExporter)({ url: address }),
  "jaeger-binary": () => jaeger({ host: "127.0.0.1", port: Number(address) }),
  "jaeger-thrift": () => jaeger({ endpoint: address }),
};

function otlp(name) {
  const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${name}`);
  const { CompressionAlgorithm } = require("@opentelemetry/otlp-exporter-base");
  return new OTLPTraceExporter({ url: address, compression: CompressionAlgorithm[compression.toUpperCase()] });
}

function jaeger(config) {
  const { JaegerExporter } = require("@opentelemetry/exporter-jaeger");
  return new JaegerExporter(config);
}

tell(file, MAKE[chosen]());
