"""From the series of a family to the metrics that hold them, as OpenTelemetry's "Prometheus and OpenMetrics
compatibility" (specification/compatibility) maps them.

A histogram or summary that its OTLP form could not give back exactly stays what it is in Prometheus: single series.
A `_created` sample is both: the start of its point, and, where it is a line of text, a series of its own, as it is to a
Prometheus that scrapes.
"""

import itertools
from collections.abc import Iterator, Set
from math import isnan
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hawse.codecs.exposition.families import Metadata
from hawse.codecs.exposition.labels import Key, Labelling, Series
from hawse.codecs.exposition.numbers import parse
from hawse.codecs.exposition.points import (
    COUNT_AT,
    GAUGE_SIZE,
    SUM_AT,
    SUM_SIZE,
    Kind,
    buckets_at,
    gauge_rest,
    histogram_rest,
    metric_front,
    metric_head,
    quantile_at,
    sum_rest,
    summary_rest,
)
from hawse.codecs.prometheus_series_names import number as number_text
from hawse.wire import varint

Offsets: TypeAlias = NDArray[np.int32]
# What tells a point from all others of a target: its group, the front of its metric's name, kind, attributes.
Identity: TypeAlias = tuple[Key, bytes, bytes]


class Told(NamedTuple):
    """A sample that is kept: its series, its place among the samples of its family, what its name says, its time."""

    series: Series
    number: int
    suffix: str
    timed: bool


class Slots:
    """Where numbers go: `…_at` are positions in the bytes, `…_of` are samples (−1: none)."""

    __slots__ = (
        "count_at",
        "count_less",
        "count_of",
        "created_of",
        "same_as",
        "same_of",
        "start_at",
        "start_of",
        "time_at",
        "time_of",
        "value_at",
        "value_of",
    )

    def __init__(self) -> None:
        self.value_at: list[int] = []  # doubles
        self.value_of: list[int] = []
        self.count_at: list[int] = []  # integers: sample `count_of` less sample `count_less`
        self.count_of: list[int] = []
        self.count_less: list[int] = []
        self.time_at: list[int] = []
        self.time_of: list[int] = []  # the sample whose timestamp it is
        self.start_at: list[int] = []
        self.start_of: list[int] = []  # the sample that has begun anew when it falls
        self.created_of: list[int] = []  # the sample that tells the start
        self.same_of: list[int] = []  # samples that must be equal: the +Inf bucket and the count
        self.same_as: list[int] = []


class Point(NamedTuple):
    """Attributes and the rest, and which samples go into it."""

    attributes: bytes
    rest: bytes
    value: int = -1  # a gauge's or sum's
    counted: int = -1  # of a histogram or summary: the sample with the count
    summed: int = -1
    buckets: tuple[int, ...] = ()
    quantiles: tuple[int, ...] = ()
    created: int = -1
    timed: bool = False


class _Parts:
    """The samples of one histogram or summary."""

    __slots__ = ("count", "created", "steps", "sum", "told")

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.steps: list[tuple[float, str, int]] = []  # bound or quantile, as it is written, sample
        self.sum = self.count = self.created = -1


class Family:
    """Collects the samples of a family, then writes them down."""

    def __init__(
        self, name: str, metadata: Metadata, labelling: Labelling, *, plain: bool, created_lines: bool
    ) -> None:
        """`plain` keeps histograms and summaries as single series, `created_lines` makes series of `_created`."""
        self._name = name
        self._metadata = metadata
        self._labelling = labelling
        self._plain = plain
        self._created_lines = created_lines
        self._metrics: dict[tuple[Key, str, Kind, str, str], dict[bytes, Point]] = {}
        self._parts: dict[tuple[Key, str, tuple[tuple[str, str], ...]], _Parts] = {}
        self._created: dict[tuple[Key, str, bytes], int] = {}  # by group, name without suffix, attributes

    def take(self, exposed: str, series: Series, number: int, *, timed: bool) -> None:
        """A sample: its name as exposed, the series it belongs to."""
        suffix = exposed.removeprefix(self._name) if exposed.startswith(self._name) else exposed
        kind = self._metadata.type
        told = Told(series, number, suffix, timed)
        if kind in {"histogram", "summary"} and (self._plain or not series.name.endswith(suffix)):
            self._number(told, Kind.GAUGE, "unknown")
        elif kind in {"histogram", "summary"}:
            self._part(told, kind)
        elif kind == "counter":
            if suffix == "_created":
                attributes = self._labelling.encoded(series.labels, Kind.SUM.attributes)
                base = series.name.removesuffix("_created").removesuffix("_total")
                self._created[series.key, base, attributes] = number
                self._created_series(told)
            else:
                self._number(told, Kind.SUM, kind)
        elif kind in {"info", "stateset"}:
            self._number(told, Kind.STATE, kind)
        else:
            self._number(told, Kind.GAUGE, "unknown" if kind in {"", "gaugehistogram"} else kind)

    def _created_series(self, told: Told) -> None:
        if self._created_lines:
            self._number(told, Kind.GAUGE, "unknown")

    def _number(self, told: Told, kind: Kind, type_: str) -> None:
        series = told.series
        points = self._metrics.setdefault((series.key, series.name, kind, type_, ""), {})
        attributes = self._labelling.encoded(series.labels, kind.attributes)
        rest = sum_rest if kind is Kind.SUM else gauge_rest
        # Of a series that is there twice the first counts, as in Prometheus.
        points.setdefault(attributes, Point(attributes, rest, value=told.number, timed=told.timed))

    def _part(self, told: Told, kind: str) -> None:
        series = told.series
        step = "le" if kind == "histogram" else "quantile"
        stepped = told.suffix == ("_bucket" if kind == "histogram" else "")
        labels = tuple(pair for pair in series.labels if pair[0] != step) if stepped else series.labels
        name = series.name.removesuffix(told.suffix) if told.suffix else series.name
        parts = self._parts.setdefault((series.key, name, labels), _Parts())
        parts.told.append(told)
        if stepped:
            text = dict(series.labels).get(step, "")
            try:
                parts.steps.append((parse(text), text, told.number))
            except ValueError:
                parts.steps.append((float("nan"), text, told.number))
        elif told.suffix == "_sum" and parts.sum < 0:
            parts.sum = told.number
        elif told.suffix == "_count" and parts.count < 0:
            parts.count = told.number
        elif told.suffix == "_created" and parts.created < 0:
            parts.created = told.number
            self._created_series(told)

    def _close(self) -> None:
        """Histograms and summaries, once all lines are there."""
        kind = Kind.HISTOGRAM if self._metadata.type == "histogram" else Kind.SUMMARY
        for (key, name, labels), parts in self._parts.items():
            parts.steps.sort(key=lambda step: step[0])
            if not _whole(parts, kind):
                for told in parts.told:
                    self._number(told, Kind.GAUGE, "unknown")
                continue
            texts = [text for _, text, _ in parts.steps]
            written = "" if all(number_text(step) == text for step, text, _ in parts.steps) else ",".join(texts)
            points = self._metrics.setdefault((key, name, kind, self._metadata.type, written), {})
            attributes = self._labelling.encoded(labels, kind.attributes)
            points.setdefault(attributes, _point(parts, kind, attributes))
        self._parts.clear()

    def write(
        self, taken: Set[Identity]
    ) -> Iterator[tuple[Key, bytes, list[tuple[bytes, Kind, list[Point], list[int]]]]]:
        """For each group: its bytes, and its metrics: what identifies them, their points, where those' rests begin.

        Points that are in `taken` are left out: another family has them.
        """
        self._close()
        by_key: dict[Key, list[tuple[str, Kind, str, str, list[Point]]]] = {}
        for (key, name, kind, type_, texts), by_attributes in self._metrics.items():
            identifier = kind.identifier(name.encode())
            points = [one for one in by_attributes.values() if (key, identifier, one.attributes) not in taken]
            if points:
                by_key.setdefault(key, []).append((name, kind, type_, texts, points))
        for key, metrics in by_key.items():
            pieces: list[bytes] = []
            at = 0
            written = []
            for name, kind, type_, texts, found in metrics:
                dated = kind is Kind.SUM and self._created
                own = [self._with_created(key, name, point) for point in found] if dated else found
                head = self._head(name, kind, type_, texts)
                fronts = [b"\x0a" + varint(len(point.attributes) + len(point.rest)) for point in own]
                size = sum(map(len, fronts)) + sum(len(point.attributes) + len(point.rest) for point in own)
                front = metric_front(head, kind, size)
                pieces.append(front)
                at += len(front)
                rests = []
                for point_front, point in zip(fronts, own, strict=True):
                    at += len(point_front) + len(point.attributes)
                    rests.append(at)
                    at += len(point.rest)
                    pieces += (point_front, point.attributes, point.rest)
                written.append((kind.identifier(name.encode()), kind, own, rests))
            yield key, b"".join(pieces), written

    def _with_created(self, key: Key, name: str, point: Point) -> Point:
        base = name.removesuffix("_total")
        return point._replace(created=self._created.get((key, base, point.attributes), -1))

    def _head(self, name: str, kind: Kind, type_: str, texts: str) -> bytes:
        metadata = {"prometheus.type": type_}
        if texts:
            metadata["prometheus.le" if kind is Kind.HISTOGRAM else "prometheus.quantile"] = texts
        return metric_head(name, metadata, self._metadata.help, self._metadata.unit)


def _whole(parts: _Parts, kind: Kind) -> bool:
    """Whether nothing of the parts is lost in a point."""
    steps = [step for step, *_ in parts.steps]
    lone = len({told.timed for told in parts.told}) == 1
    said = len(parts.told) == len(parts.steps) + sum(one >= 0 for one in (parts.sum, parts.count, parts.created))
    ordered = all(a < b for a, b in itertools.pairwise(steps)) and not any(map(isnan, steps))
    ends = kind is Kind.SUMMARY or (bool(steps) and steps[-1] == float("inf"))
    return lone and said and ordered and ends and parts.sum >= 0 and parts.count >= 0


def _point(parts: _Parts, kind: Kind, attributes: bytes) -> Point:
    steps = [step for step, *_ in parts.steps]
    numbers = tuple(number for *_, number in parts.steps)
    point = Point(
        attributes, b"", counted=parts.count, summed=parts.sum, created=parts.created, timed=parts.told[0].timed
    )
    if kind is Kind.HISTOGRAM:
        return point._replace(rest=histogram_rest(steps[:-1]), buckets=numbers)
    return point._replace(rest=summary_rest(steps), quantiles=numbers)


def place(slots: Slots, point: Point, kind: Kind, at: int) -> None:
    """Note where the numbers of a point go, whose rest begins at `at`."""
    if kind is Kind.GAUGE or kind is Kind.STATE:
        slots.time_at.append(at + 1)
        slots.value_at.append(at + GAUGE_SIZE - 8)
        slots.value_of.append(point.value)
    else:
        slots.start_at.append(at + 1)
        slots.created_of.append(point.created)
        slots.time_at.append(at + 10)
        if kind is Kind.SUM:
            slots.start_of.append(point.value)
            slots.value_at.append(at + SUM_SIZE - 8)
            slots.value_of.append(point.value)
        else:
            _place_parts(slots, point, at)
    slots.time_of.append((point.value if point.value >= 0 else point.counted) if point.timed else -1)


def _place_parts(slots: Slots, point: Point, at: int) -> None:
    slots.start_of.append(point.counted)
    slots.value_at.append(at + SUM_AT)
    slots.value_of.append(point.summed)
    slots.count_at.append(at + COUNT_AT)
    slots.count_of.append(point.counted)
    slots.count_less.append(-1)
    if point.buckets:
        slots.same_of.append(point.buckets[-1])
        slots.same_as.append(point.counted)
    first = at + buckets_at(len(point.buckets) - 1)
    before = -1
    for number, sample in enumerate(point.buckets):
        slots.count_at.append(first + 8 * number)
        slots.count_of.append(sample)
        slots.count_less.append(before)
        before = sample
    for number, sample in enumerate(point.quantiles):
        slots.value_at.append(at + quantile_at(number))
        slots.value_of.append(sample)
