"""The reading side of metrics: the series that selectors want, and their samples."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hawse.backend import fields
from hawse.backend.metrics.samples import Samples, joined, unpack
from hawse.backend.metrics.selector import Selector
from hawse.backend.reader import Reader, TimedOut

TOGETHER = 2_000_000  # samples in memory at once: some 100 bytes each while they are sorted
_labels = msgspec.json.Decoder(dict[str, str])


class Series(msgspec.Struct, gc=False):
    """A series as answers show it. `labels` are its own, and what its resource says of it."""

    id: int
    name: str
    type: str
    unit: str
    labels: Mapping[str, str]


def of_resource(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The labels that a resource gives: its attributes, and `job` and `instance` as Prometheus makes them of them."""
    found = {key: fields.text(value) for key, value in attributes.items()}
    if job := found.get("service.name"):
        namespace = found.get("service.namespace")
        found.setdefault("job", f"{namespace}/{job}" if namespace else job)
    if instance := found.get("service.instance.id"):
        found.setdefault("instance", instance)
    return found


def series(reader: Reader, selectors: Sequence[Selector], until: float) -> Iterator[Series]:
    """The series that any of the selectors wants (all series without selectors), by name. Raises Mistake, TimedOut."""
    tests = [(one.wants_name(), one.wants_labels()) for one in selectors]
    resources = reader.resources()
    given: dict[int, dict[str, str]] = {}
    metrics = reader.connection.execute("SELECT id, name, type, unit FROM metric ORDER BY name, id").fetchall()
    for metric, name, type_, unit in metrics:
        wanted = [labels for names, labels in tests if names(name)]
        if tests and not wanted:
            continue
        rows = reader.connection.execute(
            "SELECT id, resource, labels FROM series WHERE metric = ? ORDER BY id", (metric,)
        )
        for place, (number, resource, own) in enumerate(rows):
            if place % 1000 == 0 and time.monotonic() > until:
                raise TimedOut
            if resource not in given:
                given[resource] = of_resource(resources[resource].attributes)
            labels = {**given[resource], **_labels.decode(own)}
            if not tests or any(test(labels) for test in wanted):
                yield Series(number, name, type_, unit, labels)


def samples(reader: Reader, numbers: Sequence[int], start: int, end: int, until: float) -> Iterator[Samples]:
    """The samples of series (ascending numbers) with `start` ≤ time < `end`, chunk by chunk. Raises TimedOut."""
    wanted = np.array(numbers, np.uint32)
    if not len(wanted):
        return
    rows = reader.connection.execute(
        "SELECT points, first_series, last_series, min_time, max_time, series, times, samples FROM sample_chunk "
        "WHERE last_series >= ? AND first_series <= ? AND max_time >= ? AND min_time < ? ORDER BY id",
        (numbers[0], numbers[-1], start, end),
    )
    for points, first, last, min_time, max_time, *columns in rows:
        if time.monotonic() > until:
            raise TimedOut
        if not _overlaps(wanted, first, last):
            continue
        found = unpack(*columns)
        found.points = points
        yield _only(found, wanted, start if start > min_time else None, end if end <= max_time else None)


def _overlaps(wanted: NDArray[Any], first: int, last: int) -> bool:
    at = int(np.searchsorted(wanted, first))
    return at < len(wanted) and int(wanted[at]) <= last


def _only(found: Samples, wanted: NDArray[Any], start: int | None, end: int | None) -> Samples:
    keep = _member(found.series, wanted)
    if start is not None:
        keep &= found.times >= start
    if end is not None:
        keep &= found.times < end
    if keep.all():
        return found
    return Samples(found.series[keep], found.times[keep], found.values[keep])


def _member(series_: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of these (sorted) are wanted (sorted): by cutting out the runs of the wanted ones where they are few."""
    keep = np.zeros(len(series_), np.bool_)
    low, high = np.searchsorted(series_, wanted, "left"), np.searchsorted(series_, wanted, "right")
    if len(wanted) < 64:
        for start, stop in zip(low.tolist(), high.tolist(), strict=True):
            keep[start:stop] = True
        return keep
    steps = np.zeros(len(series_) + 1, np.int32)
    np.add.at(steps, low, 1)
    np.add.at(steps, high, -1)
    return np.cumsum(steps[:-1]) > 0


class Held(msgspec.Struct):
    """Samples by series, sorted by time; and how many were there, those that came again included."""

    samples: dict[int, Samples]
    arrived: int


def held(reader: Reader, numbers: Sequence[int], start: int, end: int, until: float) -> Iterator[Held]:
    """The samples of series (ascending numbers), some series at a time, so that memory is bounded. Raises TimedOut."""
    parts: list[Samples] = []
    size = 0
    for part in samples(reader, numbers, start, end, until):
        parts.append(part)
        size += len(part)
        if size > TOGETHER and len(numbers) > 1:
            parts.clear()
            middle = len(numbers) // 2
            yield from held(reader, numbers[:middle], start, end, until)
            yield from held(reader, numbers[middle:], start, end, until)
            return
    yield Held(by_series(iter(parts)), size)


def by_series(parts: Iterator[Samples]) -> dict[int, Samples]:
    """Samples sorted by series and time, of each series those of the same time only once: the last to arrive."""
    found = [part for part in parts if len(part)]
    if not found:
        return {}
    together = joined(found)
    order = np.lexsort((together.times, together.series))  # stable, so that what came last is the last of its like
    number, times, values = together.series[order], together.times[order], together.values[order]
    last = np.append((np.diff(number) != 0) | (np.diff(times) != 0), True)
    number, times, values = number[last], times[last], values[last]
    starts = np.flatnonzero(np.diff(number, prepend=number[0] + 1))
    ends = [*starts[1:].tolist(), len(number)]
    return {
        int(number[start]): Samples(number[start:end], times[start:end], values[start:end])
        for start, end in zip(starts.tolist(), ends, strict=True)
    }
