"""What OpenTelemetry makes of Jaeger's spans, said plainly, and OTLP read back into the same form.

A model span is a dict: ids as numbers, times in µs, tags and fields as lists of (key, value), references as tuples
(kind, high, low, span), logs as tuples (time, fields).
"""

import re

from hawse.batch import Batch, Signal
from hawse.codecs.otlp_descriptors import message

KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
M64 = (1 << 64) - 1


def id_of(number, size=8):
    return (number & M64).to_bytes(size, "big")


def clamped(time):
    return min(max(time, 0), M64)


def text(value):
    return value if isinstance(value, str) else ""


def attributes(tags):
    return {key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for key, value in tags}


def status(tags, kind):
    """Code and message, or None; takes out of `tags` what it uses up."""
    result = None
    if tags.get("error") is True:
        del tags["error"]
        told = tags.pop("otel.status_description", None)
        result = (2, text(tags.get("http.status_message")) if told is None else text(told))
    if "otel.status_code" in tags:
        code = tags.pop("otel.status_code")
        if result is None:
            result = ({"OK": 1, "ERROR": 2}.get(text(code).upper(), 0), text(tags.pop("otel.status_description", "")))
    elif result is None and "http.status_code" in tags:
        code = tags["http.status_code"]
        if isinstance(code, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", code):
            code = int(code)
        if isinstance(code, int) and not isinstance(code, bool):
            wrong = not 100 <= code < 400 and not (kind == 2 and 400 <= code < 500)
            result = (2, text(tags.get("http.status_message"))) if wrong else None
    return result


def expected(span):
    """(scope, span) of a model span."""
    tags = attributes(span["tags"])
    kind = KINDS.get(text(tags.pop("span.kind", "")), 0)
    trace = id_of(span["high"]) + id_of(span["low"])
    parent = id_of(span["parent"])
    mine = [one for one in span["references"] if id_of(one[1]) + id_of(one[2]) == trace]
    if not any(parent):
        ranked = sorted(mine, key=lambda one: one[0])
        parent = id_of(ranked[0][3]) if ranked else parent
    state = text(tags.pop("w3c.tracestate", ""))
    scope = ("", "")
    for prefix in ("otel.scope", "otel.library"):
        if f"{prefix}.name" in tags:
            scope = (text(tags.pop(f"{prefix}.name")), text(tags.pop(f"{prefix}.version", "")))
            break
    told = status(tags, kind)
    if span["flags"] & 2:
        tags["jaeger.debug"] = True
    events = []
    for time, fields in span["logs"]:
        found = attributes(fields)
        named = found.pop("event", "") or found.get("message", "")
        events.append((clamped(time * 1000), text(named), found))
    return scope, {
        "trace": trace,
        "span": id_of(span["id"]),
        "parent": parent if any(parent) else b"",
        "name": span["name"],
        "kind": kind,
        "start": clamped(span["start"] * 1000),
        "end": clamped((span["start"] + span["duration"]) * 1000),
        "attributes": tags,
        "events": events,
        "links": [
            (id_of(one[1]) + id_of(one[2]), id_of(one[3]), {"opentracing.ref_type": ("child_of", "follows_from")[one[0]]})
            for one in span["references"]
            if not (one[0] == 0 and id_of(one[3]) == parent)
        ],
        "status": told,
        "state": state,
        "flags": span["flags"] & 1,
    }  # fmt: skip


def value_of(value):
    kind = value.WhichOneof("value")
    return [value_of(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def pairs(found):
    keys = [one.key for one in found]
    assert len(keys) == len(set(keys)), f"a key is there twice: {keys}"
    return {one.key: value_of(one.value) for one in found}


def read_span(span):
    return {
        "trace": span.trace_id,
        "span": span.span_id,
        "parent": span.parent_span_id,
        "name": span.name,
        "kind": span.kind,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": pairs(span.attributes),
        "events": [(one.time_unix_nano, one.name, pairs(one.attributes)) for one in span.events],
        "links": [(one.trace_id, one.span_id, pairs(one.attributes)) for one in span.links],
        "status": (span.status.code, span.status.message) if span.HasField("status") else None,
        "state": span.trace_state,
        "flags": span.flags,
    }


def read(groups):
    """(resource attributes, [(scope, span)]) of each group; holds the groups' counts against what is inside."""
    data = message("opentelemetry.proto.trace.v1.TracesData").FromString(Batch(Signal.TRACES, groups).encode())
    found = []
    for group, of in zip(groups, data.resource_spans, strict=True):
        spans = [((one.scope.name, one.scope.version), read_span(span)) for one in of.scope_spans for span in one.spans]
        assert group.items == len(spans)
        assert dict(group.resource.attributes) == pairs(of.resource.attributes)
        found.append((pairs(of.resource.attributes), spans))
    return found


def by_scope(spans):
    """Spans in the order in which they are written: scope by scope."""
    scopes = list(dict.fromkeys(scope for scope, _ in spans))
    return [one for scope in scopes for one in spans if one[0] == scope]
