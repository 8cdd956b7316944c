// zipkin_node.js STORY ADDRESS VERSION: Zipkin's own client for Node.js; VERSION is JSON_V1 or JSON_V2.
"use strict";

const fs = require("fs");
const { randomBytes } = require("crypto");
const { Annotation, BatchRecorder, InetAddress, TraceId, jsonEncoder, option } = require("zipkin");
const { HttpLogger } = require("zipkin-transport-http");

const [file, endpoint, version] = process.argv.slice(2);
const story = JSON.parse(fs.readFileSync(file, "utf8"));
const fail = (error) => { console.error(error); process.exit(1); };
const logger = new HttpLogger({ endpoint, jsonEncoder: jsonEncoder[version], httpInterval: 100 });
logger.on("error", fail);
const recorder = new BatchRecorder({ logger });

const PAIRS = {
  server: [() => new Annotation.ServerRecv(), () => new Annotation.ServerSend()],
  client: [() => new Annotation.ClientSend(), () => new Annotation.ClientRecv()],
  producer: [() => new Annotation.ProducerStart(), () => new Annotation.ProducerStop()],
  consumer: [() => new Annotation.ConsumerStart(), () => new Annotation.ConsumerStop()],
  internal: [(name) => new Annotation.LocalOperationStart(name), () => new Annotation.LocalOperationStop()],
};
const hex = (bytes) => randomBytes(bytes).toString("hex");
const traceIds = [];
for (const told of story.spans) {
  const parent = Number.isInteger(told.parent) ? traceIds[told.parent] : told.parent;
  traceIds.push(new TraceId({
    traceId: parent ? parent.traceId || parent.trace_id : hex(16),
    parentId: parent ? new option.Some(parent.spanId || parent.span_id) : option.None,
    spanId: hex(8),
    sampled: new option.Some(true),
  }));
}
story.spans.forEach((told, number) => {
  const record = (time, annotation) =>
    recorder.record({ traceId: traceIds[number], timestamp: time / 1e3, annotation });
  const [begin, end] = PAIRS[told.kind];
  record(told.start, new Annotation.ServiceName(story.service));
  record(told.start, new Annotation.LocalAddr({ host: new InetAddress("10.1.2.3"), port: 8080 }));
  record(told.start, begin(told.name));
  if (told.kind !== "internal") record(told.start, new Annotation.Rpc(told.name));
  for (const [key, value] of Object.entries(told.tags)) record(told.start, new Annotation.BinaryAnnotation(key, value));
  if (told.remote) {
    const { service, address, port } = told.remote;
    record(told.start, new Annotation.ServerAddr({ serviceName: service, host: new InetAddress(address), port }));
  }
  for (const event of told.events || []) record(event.time, new Annotation.Message(event.name));
  record(told.end, end());
});
logger.on("success", () => {
  console.log(JSON.stringify({ ids: traceIds.map((one) => [one.traceId, one.spanId]) }));
  process.exit(0);
});
setTimeout(() => fail("not sent"), 10000);
