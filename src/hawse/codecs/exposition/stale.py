"""Points of an earlier scrape, found again in the bytes that were made for it, and markers for those that are gone."""

import struct
from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from hawse.batch import Batch, Group, Signal
from hawse.codecs.exposition.build import Identity
from hawse.codecs.exposition.labels import Key
from hawse.codecs.exposition.points import (
    COUNT_AT,
    FLAGS_BEHIND_TIME,
    NO_RECORDED_VALUE,
    SUM_AT,
    Kind,
    attributes_end,
    buckets_at,
    gauge_rest,
    metric_front,
    metric_head,
    quantile_at,
)
from hawse.codecs.exposition.segment import Before
from hawse.codecs.prometheus_series import series
from hawse.wire import LENGTH, encode_attributes, read_varint, varint, walk

_double = struct.Struct("<d")
_nan = _double.pack(float("nan"))


class Old(NamedTuple):
    """A point as it was: `head` are the fields of its Metric before the data; `rest_at` is where `rest` lay."""

    identity: Identity
    head: bytes
    kind: Kind
    rest: bytes
    rest_at: int

    @property
    def time_at(self) -> int:
        """Where its time lay."""
        return self.rest_at + (1 if self.kind in {Kind.GAUGE, Kind.STATE} else 10)

    @property
    def shape(self) -> tuple[bytes, bytes]:
        """Which series a histogram or summary has: what its Metric says of labels, and its bounds or quantiles."""
        if self.kind is Kind.SUMMARY:
            count = (len(self.rest) - SUM_AT - 8) // (quantile_at(1) - quantile_at(0))
            places = map(quantile_at, range(count))
            return self.head, b"".join(self.rest[place - 9 : place - 1] for place in places)
        size, first = read_varint(self.rest, SUM_AT + 9, len(self.rest))
        return self.head, self.rest[first + size :]

    def before(self, *, timed: bool) -> Before:
        """What a later scrape wants to know of it."""
        if self.kind in {Kind.GAUGE, Kind.STATE}:
            return Before(0, 0.0, timed)
        start = int.from_bytes(self.rest[1:9], "little")
        if self.kind is Kind.SUM:
            return Before(start, _double.unpack(self.rest[-8:])[0], timed)
        return Before(start, float(int.from_bytes(self.rest[COUNT_AT : COUNT_AT + 8], "little")), timed)


def old_points(key: Key, data: bytes, base: int) -> Iterator[Old]:
    """The points in the bytes of one group, as `build.Family.write` made them; `base` is added to positions."""
    for _, _, _, start, end in walk(data):
        name = b""
        for number, wire, tag_at, at, behind in walk(data, start, end):
            if number == 1:
                name = data[at:behind]
            elif number != 12 and wire == LENGTH and number >= Kind.GAUGE:
                yield from _points(key, data, data[start:tag_at], name, number, (at, behind), base)


def _points(
    key: Key, data: bytes, head: bytes, name: bytes, number: int, span: tuple[int, int], base: int
) -> Iterator[Old]:
    kind = Kind(number)
    at, end = span
    if kind is Kind.SUM:
        kind = Kind.SUM if data[at : at + len(Kind.SUM.head)] == Kind.SUM.head else Kind.STATE
    at += len(kind.head)
    tag = kind.attributes << 3 | LENGTH
    identifier = kind.identifier(name)
    while at < end:
        size, first = read_varint(data, at + 1, end)
        at = first + size
        rest = attributes_end(data, first, at, tag)
        yield Old((key, identifier, data[first:rest]), head, kind, data[rest:at], base + rest)


def markers(points: Iterable[Old], at: int) -> dict[Key, tuple[bytes, int]]:
    """Metrics that say that these points are gone, and how many, by group."""
    metrics: dict[Key, dict[tuple[bytes, Kind], list[bytes]]] = {}
    for point in points:
        key, _, attributes = point.identity
        whole = attributes + _gone(point, at)
        metrics.setdefault(key, {}).setdefault((point.head, point.kind), []).append(
            b"\x0a" + varint(len(whole)) + whole
        )
    return {
        key: (
            b"".join(
                metric_front(head, kind, sum(map(len, its))) + b"".join(its) for (head, kind), its in found.items()
            ),
            sum(map(len, found.values())),
        )
        for key, found in metrics.items()
    }


def reshaped(points: Iterable[Old], fresh: Set[Identity], now: Iterable[Old]) -> list[Old]:
    """Histograms and summaries of `points` that are still there, but not with the same buckets or quantiles.

    `now` are today's points; they are looked at only if there may be any.
    """
    whole = (Kind.HISTOGRAM, Kind.SUMMARY)
    there = [point for point in points if point.kind in whole and point.identity in fresh]
    if not there:
        return []
    shapes = {point.identity: point.shape for point in now if point.kind in whole}
    return [point for point in there if shapes.get(point.identity) != point.shape]


def clash(gone: Iterable[Old], fresh: Iterable[Identity]) -> bool:
    """Whether what is gone as a histogram (or summary) may be there as single series now, or the other way round."""
    old = {point.identity[1] for point in gone}
    new = {identity[1] for identity in fresh}
    return _overlap(old, new) or _overlap(new, old)


def _overlap(names: set[bytes], others: set[bytes]) -> bool:
    wholes = {name[:-2] for name in names if name[-2:-1] == b"\0"}
    singles = {base + suffix for base in wholes for suffix in (b"", b"_bucket", b"_sum", b"_count")}
    kinds = {base + mark for base in wholes for mark in (b"\0h", b"\0s")} - names
    return not others.isdisjoint(singles | kinds)


def single_markers(
    groups: Iterable[Group], live: set[frozenset[tuple[str, str]]]
) -> Iterator[tuple[dict[str, str], bytes]]:
    """The series of markers that are not live, each with a metric of its own."""
    for labels, _, milliseconds in series(Batch(Signal.METRICS, groups)):
        if frozenset(labels.items()) in live:
            continue
        attributes = {name: value for name, value in labels.items() if name not in {"__name__", "job", "instance"}}
        rest = bytearray(gauge_rest)
        rest[1:9] = (milliseconds * 1_000_000).to_bytes(8, "little")
        rest[FLAGS_BEHIND_TIME + 1] = NO_RECORDED_VALUE
        rest[-8:] = _nan
        point = encode_attributes(attributes, Kind.GAUGE.attributes) + rest
        head = metric_head(labels["__name__"], {"prometheus.type": "unknown"}, "", "")
        whole = b"\x0a" + varint(len(point)) + point
        yield labels, metric_front(head, Kind.GAUGE, len(whole)) + whole


def _gone(point: Old, at: int) -> bytes:
    rest = bytearray(point.rest)
    time_at = point.time_at - point.rest_at
    rest[time_at : time_at + 8] = at.to_bytes(8, "little")
    rest[time_at + FLAGS_BEHIND_TIME] = NO_RECORDED_VALUE
    if point.kind in {Kind.GAUGE, Kind.STATE, Kind.SUM}:
        rest[-8:] = _nan
        return bytes(rest)
    rest[COUNT_AT : COUNT_AT + 8] = bytes(8)
    rest[SUM_AT : SUM_AT + 8] = _nan
    if point.kind is Kind.SUMMARY:
        for number in range((len(rest) - quantile_at(0) - 8) // 20 + 1 if len(rest) > SUM_AT + 8 else 0):
            rest[quantile_at(number) : quantile_at(number) + 8] = _nan
        return bytes(rest)
    size, first = read_varint(rest, SUM_AT + 9, len(rest))
    rest[first : first + size] = bytes(size)
    assert first == buckets_at(size // 8 - 1)
    return bytes(rest)
