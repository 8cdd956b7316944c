"""Counts of spans by their fields."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hawse.backend.counts import TooManyGroups
from hawse.backend.reader import Reader
from hawse.backend.traces.chunks import Coded, Matcher, Wanted, chunks
from hawse.backend.traces.spans import ERROR

_GROUPS = 10_000  # different values that a count tells apart
_MOST_DISTINCT = 8_000_000  # spans of which duplicates and traces are counted: 128 MB

Key = tuple[str | None, ...]


class Count:
    """Spans, errors among them, by the values of fields; how many traces; how many came again.

    A span that came again has trace id, span id and kind of another one: a server may share its client's span id.
    `traces` and `duplicates` are None where there are too many spans to tell.
    """

    def __init__(self, by: tuple[str, ...]) -> None:
        self.by = by
        self.spans: Counter[Key] = Counter()
        self.errors: Counter[Key] = Counter()
        self.traces: int | None = 0
        self.duplicates: int | None = 0


def count(reader: Reader, wanted: Wanted, by: tuple[str, ...], until: float, *, distinct: bool = True) -> Count:
    """Count the spans that are wanted; `distinct`: their traces and duplicates, too. Raises TimedOut, TooManyGroups."""
    matcher, found = Matcher(reader, wanted, until), Count(by)
    resources = reader.resources()
    ids: list[NDArray[np.uint64]] = []
    held = 0
    where = "max_time >= ? AND min_time < ?"
    for chunk in chunks(reader, where, (wanted.search.start, wanted.search.end)):
        mask = matcher.mask(chunk)
        here = int(mask.sum())
        if not here:
            continue
        failed = chunk.columns["status"] == ERROR
        _add(found, [chunk.coded(name, resources) for name in by], mask, failed)
        held += here
        if distinct and held <= _MOST_DISTINCT:
            ids.append(_mixed(chunk.columns, mask))
    if not distinct or held > _MOST_DISTINCT:
        found.traces = found.duplicates = None
    elif ids:
        traces, spans = np.concatenate(ids, axis=1)
        found.traces = len(np.unique(traces))
        found.duplicates = held - len(np.unique(spans))
    return found


def _add(found: Count, fields: list[Coded], mask: NDArray[np.bool_], failed: NDArray[np.bool_]) -> None:
    combined = np.zeros(int(mask.sum()), np.int64)
    for field in fields:
        combined = combined * len(field.values) + field.codes[mask]
    for tally, codes in ((found.spans, combined), (found.errors, combined[failed[mask]])):
        numbers, counts = np.unique(codes, return_counts=True)
        for number, items in zip(numbers.tolist(), counts.tolist(), strict=True):
            tally[_values(fields, number)] += items
    if len(found.spans) > _GROUPS:
        raise TooManyGroups(f"there are more than {_GROUPS} different values; narrow the search or group by less")


def _values(fields: list[Coded], number: int) -> Key:
    values: list[str | None] = []
    for field in reversed(fields):
        number, code = divmod(number, len(field.values))
        values.append(field.values[code])
    return tuple(reversed(values))


def _mixed(columns: dict[str, NDArray[Any]], mask: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Eight bytes for the trace and for the span: of random ids, two of ten million are alike once in 370,000 times."""
    words = np.frombuffer(columns["trace"][mask].tobytes(), "<u8").reshape(-1, 2)
    traces = words[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ words[:, 1]
    spans = np.frombuffer(columns["span"][mask].tobytes(), "<u8")
    own = (traces ^ spans * np.uint64(0xC2B2AE3D27D4EB4F)) * np.uint64(0xFF51AFD7ED558CCD)
    return np.stack((traces, own ^ columns["kind"][mask].astype("<u8")))
