"""What a sink has captured of a scraper, read scrape by scrape: by the series that describe each scrape.

A scrape is a point of `up`, beside it `scrape_samples_scraped`, both of the target in `service.instance.id`.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from bench.sink import bodies
from hawse.batch import Group, Signal
from hawse.codecs import otlp
from hawse.codecs.otlp_descriptors import message

_UP, _SAMPLES = "up", "scrape_samples_scraped"
_JITTER = 0.2  # of an interval: who is so late at an edge is not missed
_NAMED_UP = b"\x0a\x02up"  # field 1 of a Metric (metrics.proto): most groups have none and need no decoding


class Scrape(NamedTuple):
    """One scrape of a target (host:port)."""

    target: str
    at: float  # seconds since 1970
    up: bool
    samples: int


class Captured(NamedTuple):
    """All that a sink was sent."""

    points: int
    size: int  # bytes of the bodies, compressed
    scrapes: list[Scrape]

    def within(self, began: float, ended: float) -> list[Scrape]:
        return [scrape for scrape in self.scrapes if began <= scrape.at < ended]


def read(spool: Path) -> Captured:
    """Read a sink's spool."""
    points = size = 0
    scrapes: list[Scrape] = []
    for body in bodies(spool):
        size += len(body.data)
        for group in otlp.decode(Signal.METRICS, body.decoded()).groups:
            points += group.items
            if any(_NAMED_UP in bytes(part) for part in group.scopes):
                scrapes += _scrapes(group)
    return Captured(points, size, scrapes)


def missed(scrapes: Iterable[Scrape], targets: Iterable[str], began: float, ended: float, interval: float) -> int:
    """How many scrapes of the targets are not there, or failed, from `began` to `ended` (seconds since 1970).

    Scrapes of a target are `interval` apart, and begin at any moment of it: gaps are counted, those at the edges too.
    """
    times: dict[str, list[float]] = {target: [] for target in targets}
    for scrape in sorted(scrapes, key=lambda scrape: scrape.at):
        if scrape.up and began <= scrape.at < ended:
            times.setdefault(scrape.target, []).append(scrape.at)
    return sum(_gaps(own, began, ended, interval) for own in times.values())


def _gaps(times: list[float], began: float, ended: float, interval: float) -> int:
    if not times:
        return int((ended - began) / interval - _JITTER)
    inner = sum(max(0, round((after - at) / interval) - 1) for at, after in pairwise(times))
    edges = (times[0] - began, ended - times[-1])
    return inner + sum(max(0, int(gap / interval - _JITTER)) for gap in edges)


def _scrapes(group: Group) -> list[Scrape]:
    whole = message("opentelemetry.proto.metrics.v1.ResourceMetrics").FromString(
        b"".join([b"\x0a\x00", *map(bytes, group.scopes)])
    )
    target = str(group.resource.attributes.get("service.instance.id", ""))
    found: dict[int, dict[str, float]] = {}
    for scope in whole.scope_metrics:
        for metric in scope.metrics:
            if metric.name in {_UP, _SAMPLES}:
                for point in metric.gauge.data_points:
                    found.setdefault(point.time_unix_nano, {})[metric.name] = _value(point)
    return [
        Scrape(target, at / 1e9, values[_UP] == 1, int(values.get(_SAMPLES, 0)))
        for at, values in found.items()
        if _UP in values
    ]


def _value(point: Any) -> float:
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
