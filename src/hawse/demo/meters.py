"""What the demo's applications measure of themselves, and how they tell it.

The formats: prometheus.io/docs/instrumenting, "Exposition formats", and OpenMetrics 1.0 where the scraper asks for it.

Each container has `Meters`. Every event that it logs is measured, too: what the logs tell and what the metrics count is
the same.
"""

import bisect
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from hawse.demo import apps

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_QUANTILES = (0.5, 0.9, 0.99)

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Histogram:
    """Counts by upper bound, the sum, and the last value with a trace, for an exemplar."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0
        self.exemplar: tuple[int, float, str] | None = None  # bucket, value, trace id

    def observe(self, value: float, trace: str = "") -> None:
        """Count a value."""
        bucket = bisect.bisect_left(_BOUNDS, value)
        self.counts[bucket] += 1
        self.sum += value
        if trace:
            self.exemplar = bucket, value, trace


class Summary:
    """Quantiles of the last values."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._last: deque[float] = deque(maxlen=500)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.sum += value
        self._last.append(value)

    def quantiles(self) -> Iterator[tuple[float, float]]:
        """Each quantile with its value."""
        ordered = sorted(self._last)
        for quantile in _QUANTILES:
            yield quantile, ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else math.nan


Value: TypeAlias = float | Histogram | Summary


class Meters:
    """The metrics of one container since it started."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._families: dict[str, tuple[str, str, dict[Labels, Value]]] = {}
        self._scrapes = 0
        self._memory = rng.uniform(30e6, 120e6)
        self.set("process_start_time_seconds", "Start time of the process since unix epoch.", time.time())

    def _series(self, name: str, kind: str, about: str) -> dict[Labels, Value]:
        return self._families.setdefault(name, (kind, about, {}))[2]

    def count(self, name: str, about: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter; its name ends in `_total`."""
        series = self._series(name, "counter", about)
        key = tuple(labels.items())
        before = series.get(key, 0.0)
        assert isinstance(before, float)
        series[key] = before + amount

    def set(self, name: str, about: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._series(name, "gauge", about)[tuple(labels.items())] = float(value)

    def histogram(self, name: str, about: str, **labels: str) -> Histogram:
        """The histogram of these labels."""
        found = self._series(name, "histogram", about).setdefault(tuple(labels.items()), Histogram())
        assert isinstance(found, Histogram)
        return found

    def summary(self, name: str, about: str, **labels: str) -> Summary:
        """The summary of these labels."""
        found = self._series(name, "summary", about).setdefault(tuple(labels.items()), Summary())
        assert isinstance(found, Summary)
        return found

    def render(self, *, openmetrics: bool) -> tuple[bytes, int]:
        """The exposition, and how many samples are in it. Each is a scrape, and counted as one."""
        self._scrapes += 1
        self.count(SCRAPES, "How often these metrics have been read.")
        self.count("process_cpu_seconds_total", "CPU time spent.", self.rng.uniform(0.001, 0.05))
        self._memory = min(max(20e6, self._memory * self.rng.uniform(0.97, 1.035)), 400e6)
        self.set("process_resident_memory_bytes", "Resident memory size in bytes.", round(self._memory))
        lines: list[str] = []
        samples = 0
        for name, (kind, about, series) in self._families.items():
            family = name.removesuffix("_total") if openmetrics and kind == "counter" else name
            lines += [f"# HELP {family} {about}", f"# TYPE {family} {kind}"]
            for labels, value in series.items():
                found = list(_samples(name, labels, value, openmetrics=openmetrics))
                samples += len(found)
                lines += found
        return "\n".join([*lines, *(["# EOF"] if openmetrics else []), ""]).encode(), samples


SCRAPES = "demo_scrapes_total"


def _samples(name: str, labels: Labels, value: Value, *, openmetrics: bool) -> Iterator[str]:
    if isinstance(value, float):
        yield f"{name}{_braces(labels)} {_text(value)}"
    elif isinstance(value, Summary):
        for quantile, found in value.quantiles():
            yield f"{name}{_braces((*labels, ('quantile', _text(quantile))))} {_text(found)}"
        yield f"{name}_sum{_braces(labels)} {_text(value.sum)}"
        yield f"{name}_count{_braces(labels)} {value.count}"
    else:
        total = 0
        for at, (bound, count) in enumerate(zip((*_BOUNDS, math.inf), value.counts, strict=True)):
            total += count
            line = f"{name}_bucket{_braces((*labels, ('le', _text(bound))))} {total}"
            if openmetrics and value.exemplar and value.exemplar[0] == at:
                line += f' # {{trace_id="{value.exemplar[2]}"}} {_text(value.exemplar[1])}'
            yield line
        yield f"{name}_sum{_braces(labels)} {_text(value.sum)}"
        yield f"{name}_count{_braces(labels)} {total}"


def _braces(labels: Labels) -> str:
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _text(value: float) -> str:
    return {"inf": "+Inf", "nan": "NaN"}.get(text := repr(value), text)


# --- what an event measures -----------------------------------------------------------------------------------------


def _web_server(meters: Meters, event: apps.Event) -> None:
    took = meters.rng.lognormvariate(-3.5, 1.1)
    status = "504" if event.stream == "stderr" else event.lines[0].split('" ')[1][:3]
    meters.count("http_requests_total", "Requests answered.", code=status, method="GET")
    meters.histogram("http_request_duration_seconds", "Time from a request to its answer.", method="GET").observe(took)
    meters.set("http_connections_active", "Open connections of clients.", meters.rng.randrange(2, 40))


def _java_service(meters: Meters, event: apps.Event) -> None:
    outcome = "failed" if event.stream == "stderr" else "placed"
    meters.count("orders_total", "Orders, by what became of them.", outcome=outcome)
    meters.summary("order_value_euros", "What orders are worth.").observe(meters.rng.lognormvariate(3.2, 0.9))
    for area in ("heap", "nonheap"):
        used = meters.rng.uniform(1e8, 3e8) if area == "heap" else 7.5e7
        meters.set("jvm_memory_used_bytes", "Used memory.", round(used), area=area)


def _json_service(meters: Meters, event: apps.Event) -> None:
    level = event.lines[0].partition('"level": "')[2].partition('"')[0]
    meters.count("payments_total", "Payments, by what was logged of them.", level=level)
    took = meters.rng.lognormvariate(-2.0, 0.8)
    name, about = "payment_duration_seconds", "Time to authorise a payment."
    meters.histogram(name, about).observe(took, f"{meters.rng.getrandbits(128):032x}")


def _node_agent(meters: Meters, event: apps.Event) -> None:
    pairs = dict(pair.split("=", 1) for pair in event.lines[0].split() if "=" in pair)
    if "load1" in pairs:
        meters.set("node_agent_load1", "1m load average.", float(pairs["load1"]))
        meters.set("node_agent_memory_free_bytes", "Free memory.", float(pairs["mem_free"]))
        for cpu in range(4):
            amount = meters.rng.uniform(0, 0.03)
            meters.count("node_agent_cpu_seconds_total", "Seconds by CPU.", amount, cpu=str(cpu), mode="user")


def _batch_job(meters: Meters, event: apps.Event) -> None:
    meters.count("report_rows_total", "Rows of the report that are done.")
    meters.set("report_last_row_timestamp_seconds", "When the last row was done.", time.time())
    meters.set("report_row_bytes", "Size of the last row.", len(event.lines[0]))


MEASURES: dict[apps.App, Callable[[Meters, apps.Event], None]] = {
    apps.web_server: _web_server,
    apps.java_service: _java_service,
    apps.json_service: _json_service,
    apps.node_agent: _node_agent,
    apps.batch_job: _batch_job,
}
