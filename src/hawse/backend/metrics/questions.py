"""The questions about metrics by name: a URL's query in, plain objects out. Runs in a search process."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hawse.backend.columns import LATEST
from hawse.backend.conditions import EARLIEST, Mistake, bound, last, number
from hawse.backend.metrics import plot, select, selector
from hawse.backend.metrics.samples import Integers, Samples, stale
from hawse.backend.metrics.select import Series
from hawse.backend.query import rfc3339
from hawse.backend.reader import Reader
from hawse.values import Duration

Query = Mapping[str, list[str]]

_SECOND = 10**9
_MOST_SERIES = 10_000  # in an answer
_MOST_LINES = 1000
_MOST_STEPS = 11_000  # of a line, as in Prometheus
_MOST_POINTS = 1_000_000  # of all lines of an answer
_MOST_SAMPLES = 100_000
_LOOKBACK = 300 * _SECOND  # as Prometheus
_USUAL_STEPS = 240


def _selectors(asked: Query) -> list[selector.Selector]:
    return [selector.parse(text) for key in ("match", "match[]") for text in asked.get(key, [])]


def _found(reader: Reader, asked: Query, until: float) -> list[Series]:
    if not (selectors := _selectors(asked)):
        raise Mistake('match: say which series, such as match=up{job="web"}')
    return list(select.series(reader, selectors, until))


def _shown(one: Series) -> dict[str, Any]:
    return {"name": one.name, "labels": one.labels, "type": one.type, "unit": one.unit}


# --- what there is --------------------------------------------------------------------------------------------------


def names(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """The names of metrics, what is said of them, and how many series each has."""
    limit = number(asked, "limit", 10_000, 100_000)
    counts: Counter[str] = Counter()
    if selectors := _selectors(asked):
        counts.update(one.name for one in select.series(reader, selectors, until))
    else:
        counts.update(dict(reader.connection.execute(_COUNT_BY_NAME)))
    about = {
        name: (type_, unit, description)
        for name, type_, unit, description in reader.connection.execute(
            "SELECT name, type, unit, description FROM metric ORDER BY id"
        )
    }
    chosen = sorted(name for name in counts if last(asked, "q").lower() in name.lower())
    rows = [
        {"name": name, "series": counts[name], **dict(zip(("type", "unit", "description"), about[name], strict=True))}
        for name in chosen[:limit]
    ]
    return {"names": rows, "distinct": len(chosen), "series": sum(counts[name] for name in chosen)}


_COUNT_BY_NAME = "SELECT name, count(*) FROM metric JOIN series ON series.metric = metric.id GROUP BY name"


def labels(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """The names of labels, and how many series have each."""
    counts: Counter[str] = Counter()
    for one in select.series(reader, _selectors(asked), until):
        counts.update(list(one.labels))
    return {"labels": [{"name": name, "series": counts[name]} for name in sorted(counts)]}


def values(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """The values of a label, and how many series have each."""
    label = last(asked, "label")
    if not label:
        raise Mistake("label: say which one, such as ?label=job")
    counts: Counter[str] = Counter()
    without = 0
    for one in select.series(reader, _selectors(asked), until):
        value = one.name if label == "__name__" else one.labels.get(label)
        if value is None:
            without += 1
        else:
            counts[value] += 1
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    limit = number(asked, "limit", 1000, 10_000)
    found = [{"value": value, "series": count} for value, count in rows[:limit]]
    return {"label": label, "values": found, "distinct": len(rows), "without": without}


def series(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """The series that selectors want."""
    limit = number(asked, "limit", 1000, _MOST_SERIES)
    found = _found(reader, asked, until)
    return {"series": [_shown(one) for one in found[:limit]], "matched": len(found)}


# --- samples --------------------------------------------------------------------------------------------------------


def samples(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """Samples as they are held, in the order of their times. Values are text, since JSON has no NaN or Inf."""
    limit = number(asked, "limit", 10_000, _MOST_SAMPLES)
    by_id = {one.id: one for one in _found(reader, asked, until)}
    start, end = bound(asked, "from", EARLIEST), bound(asked, "to", LATEST)
    left = limit
    rows = []
    for some in select.held(reader, sorted(by_id), start, end, until):
        for number_, mine in some.samples.items():
            if left:
                rows.append({**_shown(by_id[number_]), "samples": _listed(mine, left)})
            left -= len(mine)
            if left < 0:
                return {"series": rows, "more": True}
    return {"series": rows, "more": False}


def _listed(held: Samples, most: int) -> list[dict[str, Any]]:
    pairs = zip(
        held.times[:most].tolist(), held.values[:most].tolist(), stale(held.values[:most]).tolist(), strict=True
    )
    return [{"time_unix_nano": str(when), "value": "stale" if ends else _text(value)} for when, value, ends in pairs]


def _text(value: float) -> str:
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text := repr(value), text)


def count(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """How many samples are held of the series that selectors want; of samples that came again, how many."""
    found = list(select.series(reader, _selectors(asked), until))
    start, end = bound(asked, "from", EARLIEST), bound(asked, "to", LATEST)
    by = tuple(name for value in asked.get("by", []) for name in value.split(",") if name)
    by_id = {one.id: one for one in found}
    tally: Counter[int] = Counter()  # samples by series, stale markers apart
    arrived = distinct = 0
    for some in select.held(reader, sorted(by_id), start, end, until):
        arrived += some.arrived
        for number_, mine in some.samples.items():
            tally[number_] = len(mine) - int(stale(mine.values).sum())
            distinct += len(mine)
    counted = tally.total()
    answer: dict[str, Any] = {
        "count": counted,
        "series": len(found),
        "stale_markers": distinct - counted,
        "duplicates": arrived - distinct,
    }
    if by:
        answer |= _groups(by, found, tally, number(asked, "limit", 10_000, 10_000))
    return answer


def _groups(by: tuple[str, ...], found: list[Series], tally: Counter[int], limit: int) -> dict[str, Any]:
    """Samples and series by the values of labels, most samples first."""
    sums: dict[tuple[str | None, ...], list[int]] = {}
    for one in found:
        key = tuple(one.name if name == "__name__" else one.labels.get(name) for name in by)
        row = sums.setdefault(key, [0, 0])
        row[0] += tally[one.id]
        row[1] += 1
    rows = sorted(sums.items(), key=lambda row: (-row[1][0], [value or "" for value in row[0]]))
    shown = [
        {"values": dict(zip(by, key, strict=True)), "count": size, "series": many} for key, (size, many) in rows[:limit]
    ]
    return {"by": by, "groups": shown, "more": len(rows) > limit}


# --- lines ----------------------------------------------------------------------------------------------------------


def lines(reader: Reader, asked: Query, until: float) -> dict[str, Any]:
    """A value at each step for each series, null where it has none."""
    mode = last(asked, "mode", "raw")
    if mode not in {"raw", "rate"}:
        raise Mistake(f'mode: {mode!r} is none; write "raw" or "rate"')
    found = _found(reader, asked, until)
    limit = number(asked, "limit", 100, _MOST_LINES)
    shown = sorted(found, key=lambda one: (one.name, sorted(one.labels.items())))[:limit]
    steps, step = _steps(asked, len(shown))
    lookback = _duration(asked, "lookback", _LOOKBACK)
    window = _duration(asked, "window", 0)
    # A window may be wider than what is known before it has been looked: four times the usual interval.
    before = int(steps[0]) - max(lookback, window, 2 * step)
    lines_: dict[int, list[float | None]] = {}
    for some in select.held(reader, sorted(one.id for one in shown), max(0, before), int(steps[-1]) + 1, until):
        for number_, mine in some.samples.items():
            if mode == "rate":
                wide = window or max(2 * step, 4 * plot.usual_interval(mine))
                line = plot.rate(mine, steps, lookback, wide)
            else:
                line = plot.raw(mine, steps, lookback)
            if np.isfinite(line).any():
                lines_[number_] = [x if np.isfinite(x) else None for x in line.tolist()]
    rows = [{**_shown(one), "values": lines_[one.id]} for one in shown if one.id in lines_]
    return {
        "from": rfc3339(int(steps[0])),
        "from_unix_nano": str(steps[0]),
        "to": rfc3339(int(steps[-1])),
        "step_seconds": step / _SECOND,
        "mode": mode,
        "series": rows,
        "matched": len(found),
        "more": len(found) > limit,
    }


def _steps(asked: Query, series_: int) -> tuple[Integers, int]:
    """The times of the steps, on multiples of the step, and the step, ns."""
    end = bound(asked, "to", time.time_ns())
    start = bound(asked, "from", 0) or max(0, end - 3600 * _SECOND)
    if start >= end:
        raise Mistake("from: it is not before `to`")
    step = _duration(asked, "step", 0) or max(_SECOND, (end - start) // _USUAL_STEPS // _SECOND * _SECOND)
    many = (end - start) // step + 1
    if many > _MOST_STEPS or many * series_ > _MOST_POINTS:
        wanted = f"{_MOST_STEPS} steps, or {_MOST_POINTS} points in all"
        raise Mistake(f"step: {step / _SECOND:g}s gives more than {wanted}; take a longer one, or a lower limit")
    first = start - start % step
    return np.arange(first, end + 1, step, dtype=np.int64), step


def _duration(asked: Query, name: str, default: int) -> int:
    text = last(asked, name)
    try:
        found = int(Duration.parse(text) * _SECOND) if text else default
    except ValueError as error:
        raise Mistake(f"{name}: {error}") from None
    if text and found < 10**6:
        raise Mistake(f"{name}: {text} is less than a millisecond")
    return found


QUESTIONS: dict[str, Callable[[Reader, Query, float], dict[str, Any]]] = {
    "metrics/names": names,
    "metrics/labels": labels,
    "metrics/values": values,
    "metrics/series": series,
    "metrics/samples": samples,
    "metrics/count": count,
    "metrics/lines": lines,
}
