"""What samplers cost inside a process, one JSON line each: `python -m bench.sampling [--traces 10000]`.

Spans have eight attributes, traces ten spans, requests a thousand. Counted is the CPU time for decoding requests,
holding, deciding, and making what is kept into batches; not counted are sockets, compression, and exporters.
"""

import argparse
import asyncio
import json
import logging
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.span_writer import ERROR, SERVER, scope_spans, span
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.net.budget import Budget
from hawse.processors import cascading_filter, probabilistic_sampler, tail_sampling
from hawse.processors.cascading_filter.config import Config as CascadingConfig
from hawse.processors.tail_sampling.config import Config as TailConfig

_START = 1_700_000_000_000_000_000
_PAGE = 4096
_ROOM = "acknowledge: received, num_bytes: 4GiB, num_traces: 10000000"
TAIL = f"""{{{_ROOM}, policies: [
  {{name: failed, type: status_code, status_code: {{status_codes: [ERROR]}}}},
  {{name: slow, type: latency, latency: {{threshold_ms: 1995}}}},
  {{name: paid, type: string_attribute, string_attribute: {{key: plan, values: [gold]}}}},
  {{name: http, type: numeric_attribute, numeric_attribute: {{key: http.response.status_code, min_value: 500}}}},
  {{name: share, type: probabilistic, probabilistic: {{sampling_percentage: 10}}}}]}}"""
CASCADING = f"""{{{_ROOM}, probabilistic_filtering_rate: 1000, spans_per_second: 200000,
  trace_reject_filters: [{{name: health, name_pattern: "^health"}}], trace_accept_filters: [
  {{name: slow, properties: {{min_duration: 1995ms}}, spans_per_second: 60000}},
  {{name: failed, properties: {{min_number_of_errors: 1}}, spans_per_second: 60000}},
  {{name: service, attributes: [{{key: service.name, values: [service-1]}}], spans_per_second: 60000}}]}}"""


class _Process:
    """The service around a sampler, the consumer behind it, and a clock that can be put forward."""

    log = logging.LoggerAdapter(logging.getLogger("bench"))

    def __init__(self) -> None:
        self.ledger = self.meter = self
        self.kept = 0
        self._shared: dict[type, Any] = {Budget: Budget(16 << 30)}

    def shared(self, kind: type) -> Any:
        if kind not in self._shared:
            self._shared[kind] = kind()
        return self._shared[kind]

    def counter(self, *_: str) -> "_Process":
        return self

    def gauge(self, *_: object) -> None: ...
    def add(self, amount: float, **_: str) -> None: ...
    def filtered(self, group: Group, rule: str) -> None: ...

    async def consume(self, batch: Batch) -> None:
        self.kept += batch.items


def requests(traces: int) -> Iterator[bytes]:
    """Of a hundred traces each, the same at every run."""
    draw = random.Random(1)
    for first in range(0, traces, 100):
        spans = [one for _ in range(min(100, traces - first)) for one in _trace(draw)]
        resource = Resource.of({"service.name": f"service-{draw.randrange(20)}", "k8s.pod.name": "shop-1"})
        yield Batch(Signal.TRACES, [Group(resource, (scope_spans(spans, "bench", "1"),), len(spans))]).encode()


def _trace(draw: random.Random) -> Iterator[bytes]:
    trace_id, failed = draw.randbytes(16), draw.random() < 0.02
    for number in range(10):
        attributes = {
            "http.request.method": "GET",
            "http.route": "/api/v1/things/{id}",
            "http.response.status_code": 500 if failed else 200,
            "url.path": f"/api/v1/things/{draw.randrange(1_000_000)}",
            "network.peer.address": "10.1.2.3",
            "server.address": "shop.example",
            "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64)",
            "thread.id": draw.randrange(50),
        }
        yield span(
            trace_id=trace_id,
            span_id=draw.randbytes(8),
            parent_span_id=draw.randbytes(8) if number else b"",
            name=f"GET /api/v1/things/{number}",
            kind=SERVER,
            start=_START,
            end=_START + draw.randrange(1_000_000, 2_000_000_000),
            attributes=attributes,
            status=(ERROR, "") if failed and number == 3 else None,
        )


def _config(kind: Any, text: str) -> Any:
    made = Decoder([]).struct(load([f"yaml:{text}"], environ={}).root, kind, "sampler")
    assert made is not FAILED
    return made


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


async def measure(make: Any, config: Any, bodies: list[bytes]) -> dict[str, float]:
    """CPU-seconds per million spans, the share kept, and the bytes that a held span takes."""
    process: Any = _Process()
    sampler = make(config, process, process)
    spans = sum(otlp.decode(Signal.TRACES, body).items for body in bodies)
    resident, began = _resident(), time.process_time()
    for body in bodies:
        await sampler.consume(otlp.decode(Signal.TRACES, body))
    held = (_resident() - resident) / spans
    await sampler.stop()  # decides all of it
    cost = (time.process_time() - began) / spans * 1e6
    found = {"cpu_s_per_million": round(cost, 2), "kept": round(process.kept / spans, 3)}
    return {**found, "bytes_per_held_span": round(held)} if hasattr(sampler, "holder") else found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    traces = parser.parse_args().traces
    bodies = list(requests(traces))
    size = round(sum(map(len, bodies)) / (10 * traces))
    ways = {
        "tail_sampling": (tail_sampling.TailSampling, TailConfig, TAIL),
        "cascading_filter": (cascading_filter.CascadingFilter, CascadingConfig, CASCADING),
        "probabilistic_sampler": (
            probabilistic_sampler.ProbabilisticSampler,
            probabilistic_sampler.Config,
            "{sampling_percentage: 10}",
        ),
    }
    for name, (make, kind, text) in ways.items():
        found = asyncio.run(measure(make, _config(kind, text), bodies))
        print(json.dumps({"bench": "sampling", "processor": name, "bytes_per_span": size, **found}))


if __name__ == "__main__":
    main()
