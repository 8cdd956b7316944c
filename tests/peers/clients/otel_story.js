// A story, told by OpenTelemetry's SDK for Node.js. Prints the IDs.
"use strict";

const fs = require("fs");
const api = require("@opentelemetry/api");
const { resourceFromAttributes, defaultResource } = require("@opentelemetry/resources");
const { TracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace");

const STATUS = { ok: api.SpanStatusCode.OK, error: api.SpanStatusCode.ERROR };
// Nanoseconds in JSON are more than a number holds: digits are cut by hand.
const text = (file) => fs.readFileSync(file, "utf8").replace(/"(start|end|time)": (\d+)(\d{9})/g, '"$1": [$2, "$3"]');
const time = ([seconds, nanoseconds]) => [seconds, Number(nanoseconds)];

exports.tell = async (file, exporter) => {
  api.diag.setLogger({ error: fail, warn: fail, info() {}, debug() {}, verbose() {} }, api.DiagLogLevel.WARN);
  const story = JSON.parse(text(file));
  const resource = defaultResource().merge(resourceFromAttributes({ "service.name": story.service, ...story.resource }));
  const provider = new TracerProvider({ resource, spanProcessors: [new BatchSpanProcessor({ exporter })] });
  const tracer = provider.getTracer(...story.scope);
  const spans = [];
  const context = (told) => {
    if ("of" in told) return spans[told.of].spanContext();
    const traceState = told.trace_state ? api.createTraceState(told.trace_state) : undefined;
    return { traceId: told.trace_id, spanId: told.span_id, traceFlags: 1, isRemote: true, traceState };
  };
  const parent = (told) => {
    if (told === undefined) return api.ROOT_CONTEXT;
    const above = Number.isInteger(told) ? spans[told] : api.trace.wrapSpanContext(context(told));
    return api.trace.setSpan(api.ROOT_CONTEXT, above);
  };
  for (const told of story.spans) {
    const links = (told.links || []).map((link) => ({ context: context(link), attributes: link.attributes }));
    const kind = api.SpanKind[told.kind.toUpperCase()];
    const options = { kind, attributes: told.attributes, links, startTime: time(told.start) };
    const span = tracer.startSpan(told.name, options, parent(told.parent));
    for (const event of told.events || []) span.addEvent(event.name, event.attributes, time(event.time));
    if (told.status) span.setStatus({ code: STATUS[told.status[0]], message: told.status[1] || undefined });
    spans.push(span);
  }
  spans.forEach((span, number) => span.end(time(story.spans[number].end)));
  await provider.shutdown();
  const ids = spans.map((span) => [span.spanContext().traceId, span.spanContext().spanId]);
  console.log(JSON.stringify({ ids, resource: resource.attributes }));
};

function fail(...message) {
  console.error(...message);
  process.exitCode = 1;
}
