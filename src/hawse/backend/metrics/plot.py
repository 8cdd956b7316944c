"""Series as lines: a value at each time step, as it was (`raw`) or per second (`rate`)."""

import numpy as np
from numpy.typing import NDArray

from hawse.backend.metrics.samples import Floats, Integers, Samples, stale

_SECOND = 10**9


def raw(samples: Samples, steps: Integers, lookback: int) -> Floats:
    """At each step the last value, not older than `lookback` (ns); NaN where there is none, or the series has ended.

    As Prometheus answers instant selectors.
    """
    at, there = _last(samples.times, steps, lookback)
    there &= ~stale(samples.values)[at]
    return np.where(there, samples.values[at], np.nan)


def rate(samples: Samples, steps: Integers, lookback: int, window: int) -> Floats:
    """At each step the increase per second over the `window` (ns) before it, restarts of the counter made good.

    It is between the first and the last sample inside, not stretched to the window's ends; of one sample there is none.
    The line ends where the series does.
    """
    ends = stale(samples.values)
    at, there = _last(samples.times, steps, lookback)
    there &= ~ends[at]
    times, values = samples.times[~ends], samples.values[~ends]
    if len(times) < 2:
        return np.full(len(steps), np.nan)
    grown = np.diff(values)
    grown = np.where(grown < 0, values[1:], grown)  # it began anew at 0
    total = np.concatenate(([0.0], np.cumsum(np.nan_to_num(grown))))
    last = np.searchsorted(times, steps, "right") - 1
    first = np.searchsorted(times, steps - window, "right")
    there &= last > first
    first, last = np.clip(first, 0, len(times) - 1), np.clip(last, 0, len(times) - 1)
    seconds = (times[last] - times[first]) / _SECOND
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(there, (total[last] - total[first]) / seconds, np.nan)


def _last(times: Integers, steps: Integers, lookback: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The place of the last sample at or before each step, and whether there is one that is young enough."""
    at = np.searchsorted(times, steps, "right") - 1
    there = at >= 0
    at = np.maximum(at, 0)
    return at, there & (times[at] > steps - lookback)


def usual_interval(samples: Samples) -> int:
    """Nanoseconds between two samples, as most are; 0 where there are not two."""
    return int(np.median(np.diff(samples.times))) if len(samples) > 1 else 0
