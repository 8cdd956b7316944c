"""jaeger_client_python.py STORY PORT SAMPLER BITS: Jaeger's own client, to an agent's port for the compact protocol.

SAMPLER is `const`, or the port that the client asks what to sample; BITS are those of trace IDs.
"""

import json
import sys
import time

from jaeger_client import Config
from jaeger_client.sampler import ProbabilisticSampler
from opentracing import Format, child_of, follows_from

file, port, sampling, bits = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    story = json.load(opened)
agent = {"reporting_host": "127.0.0.1", "reporting_port": port}
settings = {"tags": story["resource"], "generate_128bit_trace_id": bits == "128"}
if sampling == "const":
    settings["sampler"] = {"type": "const", "param": 1}
else:
    agent["sampling_port"] = sampling
    settings["sampling_refresh_interval"] = 0.2
tracer = Config({**settings, "local_agent": agent}, service_name=story["service"]).initialize_tracer()

end = time.monotonic() + 10
while sampling != "const":
    now = tracer.sampler.sampler  # guarded by what it polls
    if isinstance(now, ProbabilisticSampler) and now.rate == 1:
        break
    assert time.monotonic() < end, f"what was polled: {now}"
    time.sleep(0.05)

spans = []


def seconds(nanoseconds):
    return nanoseconds // 10**9 + nanoseconds % 10**9 / 1e9


def context(told):
    if isinstance(told, int):
        return spans[told].context
    return tracer.extract(Format.TEXT_MAP, {"uber-trace-id": f"{told['trace_id']}:{told['span_id']}:0:1"})


for told in story["spans"]:
    references = [child_of(context(told["parent"]))] if "parent" in told else []
    references += [follows_from(context(link.get("of", link))) for link in told.get("links", ())]
    span = tracer.start_span(told["name"], references=references, tags=told["tags"], start_time=seconds(told["start"]))
    for event in told.get("events", ()):
        span.log_kv({"event": event["name"], **event["attributes"]}, seconds(event["time"]))
    spans.append(span)
for span, told in zip(spans, story["spans"]):
    span.finish(seconds(told["end"]))
print(json.dumps({"ids": [(f"{one.trace_id:032x}", f"{one.span_id:016x}") for one in spans], "resource": tracer.tags}))
tracer.close()
time.sleep(0.5)  # tornado's thread sends the last of it
