"""The allocator's own metrics, under the names of the OpenTelemetry operator's allocator, as Prometheus text 0.0.4."""

import resource
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "opentelemetry_allocator_"
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # seconds
_WORK = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0)
_SERIES = 1000  # of one metric at most: paths and jobs are others' to name

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Durations in seconds, by labels."""

    def __init__(self, name: str, description: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.description = description
        self._bounds = bounds
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}

    def record(self, seconds: float, **labels: str) -> None:
        """Count a duration."""
        key = tuple(sorted(labels.items()))
        if key not in self._series and len(self._series) >= _SERIES:
            return
        counts, total = self._series.setdefault(key, ([0] * (len(self._bounds) + 1), [0.0]))
        counts[bisect_left(self._bounds, seconds)] += 1
        total[0] += seconds

    def lines(self) -> Iterator[str]:
        """Prometheus text."""
        yield from _head(self.name, "histogram", self.description)
        for labels, (counts, total) in sorted(self._series.items()):
            seen = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                seen += count
                yield f"{self.name}_bucket{_braces((*labels, ('le', bound)))} {seen}"
            yield f"{self.name}_sum{_braces(labels)} {total[0]!r}"
            yield f"{self.name}_count{_braces(labels)} {seen}"


class Metrics:
    """What is counted while it happens. What can be read at any time is given to `text`."""

    def __init__(self) -> None:
        self.http = Histogram(f"{_PREFIX}http_duration_seconds", "Duration of received HTTP requests.", _HTTP)
        self.targets = Histogram(f"{_PREFIX}process_targets_duration_seconds", "Duration of processing targets.", _WORK)
        self.allocate = Histogram(f"{_PREFIX}time_to_allocate", "The time it takes to allocate.", _WORK)
        self.events: dict[str, int] = {}
        self._started = time.time()

    def event(self, source: str) -> None:
        """Count a change of what is known."""
        self.events[source] = self.events.get(source, 0) + 1

    def text(self, gauges: Iterable[tuple[str, str, Mapping[Labels, float]]]) -> str:
        """All of it. `gauges`: name without prefix, description, values by labels."""
        lines: list[str] = []
        for name, description, values in gauges:
            lines += _head(_PREFIX + name, "gauge", description)
            for labels, value in sorted(values.items())[:_SERIES]:
                lines.append(f"{_PREFIX}{name}{_braces(labels)} {value:g}")
        lines += _head(f"{_PREFIX}events_total", "counter", "Number of events in the target allocator.")
        lines += [
            f"{_PREFIX}events_total{_braces((('source', source),))} {count}"
            for source, count in sorted(self.events.items())
        ]
        for histogram in (self.http, self.targets, self.allocate):
            lines += histogram.lines()
        return "\n".join([*lines, *self._process()]) + "\n"

    def _process(self) -> Iterator[str]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield from _head("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.")
        yield f"process_cpu_seconds_total {used.ru_utime + used.ru_stime!r}"
        yield from _head("process_start_time_seconds", "gauge", "Start of the allocator since unix epoch in seconds.")
        yield f"process_start_time_seconds {self._started:.3f}"


def labelled(**labels: str) -> Labels:
    """Labels as keys of a gauge's values."""
    return tuple(sorted(labels.items()))


def _head(name: str, kind: str, description: str) -> tuple[str, str]:
    return f"# HELP {name} {description}", f"# TYPE {name} {kind}"


def _braces(labels: Labels) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
