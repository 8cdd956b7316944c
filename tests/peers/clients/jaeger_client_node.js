// jaeger_client_node.js STORY PORT PROTOCOL SAMPLER BITS: Jaeger's own client for Node.js.
//
// PROTOCOL is binary (UDP, to an agent) or thrift (HTTP, to a collector); SAMPLER is `const`, or the port that the
// client asks what to sample; BITS are those of trace IDs.
"use strict";

const fs = require("fs");
const opentracing = require("opentracing");
const { initTracer } = require("jaeger-client");

const [file, port, protocol, sampling, bits] = process.argv.slice(2);
const story = JSON.parse(fs.readFileSync(file, "utf8"));
const remote = { type: "remote", param: 0, host: "127.0.0.1", port: Number(sampling), refreshIntervalMs: 100 };
const agent = { agentHost: "127.0.0.1", agentPort: Number(port) };
const collector = { collectorEndpoint: `http://127.0.0.1:${port}/api/traces` };
const tracer = initTracer(
  {
    serviceName: story.service,
    sampler: sampling === "const" ? { type: "const", param: 1 } : remote,
    reporter: protocol === "binary" ? agent : collector,
  },
  {
    tags: story.resource,
    traceId128bit: bits === "128",
    logger: { info() {}, error(message) { console.error(message); process.exitCode = 1; } },
  },
);

const spans = [];
const context = (told) =>
  Number.isInteger(told)
    ? spans[told].context()
    : tracer.extract(opentracing.FORMAT_TEXT_MAP, { "uber-trace-id": `${told.trace_id}:${told.span_id}:0:1` });
const value = (told) => (told !== null && typeof told === "object" ? Buffer.from(told.bytes, "hex") : told);
const values = (told) => Object.fromEntries(Object.entries(told).map(([key, one]) => [key, value(one)]));

function tell() {
  for (const told of story.spans) {
    const references = "parent" in told ? [opentracing.childOf(context(told.parent))] : [];
    for (const link of told.links || []) {
      references.push(opentracing.followsFrom(context("of" in link ? link.of : link)));
    }
    const span = tracer.startSpan(told.name, { references, tags: values(told.tags), startTime: told.start / 1e6 });
    for (const event of told.events || []) {
      span.log({ event: event.name, ...values(event.attributes) }, event.time / 1e6);
    }
    spans.push(span);
  }
  spans.forEach((span, number) => span.finish(story.spans[number].end / 1e6));
  const ids = spans.map((span) => span.context()).map((one) => [
    one.traceId.toString("hex").padStart(32, "0"),
    one.spanId.toString("hex").padStart(16, "0"),
  ]);
  const resource = Object.fromEntries(tracer._process.tags.map((tag) => [tag.key, tag.value]));
  console.log(JSON.stringify({ ids, resource }));
  // A span that did not fit into a datagram is put aside until that is sent, and forgotten where it is closed before.
  setTimeout(() => tracer.close(), 200);
}

const asked = Date.now();
(function wait() {
  const now = tracer._sampler._sampler;
  if (sampling === "const" || (now && now.samplingRate === 1)) {
    tell();
  } else if (Date.now() - asked > 10000) {
    console.error(`what was polled: ${now}`);
    process.exit(1);
  } else {
    setTimeout(wait, 50);
  }
})();
