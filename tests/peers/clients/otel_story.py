"""A story, told by OpenTelemetry's SDK for Python, of any version. Prints the IDs."""

import json

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_STATUS = {"ok": trace.StatusCode.OK, "error": trace.StatusCode.ERROR}


def tell(file, *exporters):
    """Tell the story in `file` to all exporters."""
    with open(file, encoding="utf-8") as opened:
        story = json.load(opened)
    provider = TracerProvider(resource=Resource.create({"service.name": story["service"], **story["resource"]}))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer(*story["scope"])
    spans = []
    for told in story["spans"]:
        span = tracer.start_span(
            told["name"],
            context=_parent(told.get("parent"), spans),
            kind=trace.SpanKind[told["kind"].upper()],
            attributes=told.get("attributes"),
            links=[trace.Link(_context(link, spans), link.get("attributes")) for link in told.get("links", ())],
            start_time=told["start"],
        )
        for event in told.get("events", ()):
            span.add_event(event["name"], event["attributes"], event["time"])
        if "status" in told:
            code, message = told["status"]
            span.set_status(trace.Status(_STATUS[code], message or None))
        spans.append(span)
    for span, told in zip(spans, story["spans"]):
        span.end(told["end"])
    provider.shutdown()
    contexts = [span.get_span_context() for span in spans]
    ids = [(trace.format_trace_id(one.trace_id), trace.format_span_id(one.span_id)) for one in contexts]
    print(json.dumps({"ids": ids, "resource": dict(provider.resource.attributes)}))


def _parent(parent, spans):
    if parent is None:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    if isinstance(parent, int):
        return trace.set_span_in_context(spans[parent])
    return trace.set_span_in_context(trace.NonRecordingSpan(_context(parent, spans)))


def _context(told, spans):
    if "of" in told:
        return spans[told["of"]].get_span_context()
    state = trace.TraceState.from_header([told["trace_state"]]) if "trace_state" in told else None
    ids = int(told["trace_id"], 16), int(told["span_id"], 16)
    return trace.SpanContext(*ids, True, trace.TraceFlags(1), state)
