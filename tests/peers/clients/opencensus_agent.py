"""opencensus_agent.py STORY ADDRESS: OpenCensus' exporter to an agent, by a stream over gRPC."""

import json
import secrets
import sys
from datetime import datetime, timedelta

from opencensus.common.utils import to_iso_str
from opencensus.ext.ocagent.trace_exporter import TraceExporter
from opencensus.trace import link, span, status, time_event
from opencensus.trace.attributes import Attributes
from opencensus.trace.span_context import SpanContext
from opencensus.trace.span_data import SpanData
from opencensus.trace.tracestate import Tracestate

file, address = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    story = json.load(opened)
exporter = TraceExporter(service_name=story["service"], host_name=story["host"], endpoint=address)
KINDS = {"server": span.SpanKind.SERVER, "client": span.SpanKind.CLIENT}

ids = []
for told in story["spans"]:
    parent = told.get("parent")
    of_parent = ids[parent] if isinstance(parent, int) else (parent["trace_id"], parent["span_id"]) if parent else None
    ids.append((of_parent[0] if of_parent else secrets.token_hex(16), secrets.token_hex(8)))
    told["parent"] = of_parent and of_parent[1]
    told["state"] = parent.get("trace_state") if isinstance(parent, dict) else None


def time(nanoseconds):
    return datetime(1970, 1, 1) + timedelta(microseconds=nanoseconds // 1000)


def data(told, trace_id, span_id):
    state = Tracestate(pair.split("=") for pair in told["state"].split(",")) if told["state"] else None
    code, message = told.get("status", ("", ""))
    annotations = [
        time_event.Annotation(time(event["time"]), event["name"], Attributes(event["attributes"]))
        for event in told.get("events", ())
    ]
    messages = [
        time_event.MessageEvent(time(one["time"]), one["id"], one["type"], one["size"], one["compressed"])
        for one in told.get("messages", ())
    ]
    links = [
        link.Link(*(ids[one["of"]] if "of" in one else (one["trace_id"], one["span_id"])), one["type"],
                  Attributes(one.get("attributes", {})))
        for one in told.get("links", ())
    ]  # fmt: skip
    return SpanData(
        name=told["name"],
        context=SpanContext(trace_id=trace_id, span_id=span_id, tracestate=state),
        span_id=span_id,
        parent_span_id=told["parent"],
        attributes=told["attributes"],
        start_time=to_iso_str(time(told["start"])),
        end_time=to_iso_str(time(told["end"])),
        child_span_count=0,
        stack_trace=None,
        annotations=annotations,
        message_events=messages,
        links=links,
        status=status.Status(2 if code == "error" else 0, message) if code else None,
        same_process_as_parent_span=told["same process"],
        span_kind=KINDS.get(told["kind"], span.SpanKind.UNSPECIFIED),
    )


exporter.export([data(told, *ids[number]) for number, told in enumerate(story["spans"])])
node = exporter.node
start = node.identifier.start_timestamp
print(
    json.dumps(
        {
            "ids": ids,
            "resource": {
                "process.pid": node.identifier.pid,
                "opencensus.starttime": start.ToJsonString(),
                "opencensus.exporterversion": node.library_info.exporter_version,
                "telemetry.sdk.version": node.library_info.core_library_version,
            },
        }
    )
)
