"""What the bench's targets expose: a machine with many devices, handlers and workers, in the text format 0.0.4.

Lines are about 70 bytes, values are written as Go's client libraries write them. Of each 20,000 series about 4,000
belong to histograms and summaries, 5,000 are counters, the rest gauges. The same arguments make the same bytes.
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

TARGET = "@@"  # stands in labels; each target has its number there, so that no two have the same series
_BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
_QUANTILES = ("0.5", "0.9", "0.99")
_MODES = ("idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
_DIRECTIONS = (
    "receive_bytes",
    "receive_packets",
    "receive_drop",
    "transmit_bytes",
    "transmit_packets",
    "transmit_drop",
)


class Family(NamedTuple):
    """A metric: its type, its name, and the labels of its series (for histograms and summaries: of its points)."""

    type: str
    name: str
    labels: list[str]

    @property
    def width(self) -> int:
        """Series per point."""
        return {"histogram": len(_BOUNDS) + 2, "summary": len(_QUANTILES) + 2}.get(self.type, 1)


class Exposition:
    """The series of one target, and what they are worth at each scrape."""

    def __init__(self, series: int, *, unchanged: float = 0.0, seed: int = 20261124) -> None:
        """`unchanged` is the share of the points whose values stay the same for ever."""
        rng = random.Random(seed)
        self.families = list(_families(series))
        self.points = sum(len(family.labels) for family in self.families)
        self._prefixes = [prefix for family in self.families for prefix in _prefixes(family)]
        self.series = len(self._prefixes)
        starts, steps = [], []
        for family in self.families:
            for _ in family.labels:
                start, step = _values(family, rng)
                starts += start
                steps += [0.0] * len(step) if rng.random() < unchanged else step
        self._start, self._step = np.array(starts), np.array(steps)

    def body(self, scrape: int) -> str:
        """The text of scrape 0, 1, …"""
        values = np.round(self._start + self._step * scrape, 4).tolist()
        return "".join([f"{prefix} {go(value)}\n" for prefix, value in zip(self._prefixes, values, strict=True)])


def go(value: float) -> str:
    """As Go's strconv.FormatFloat(value, 'g', -1, 64) writes a positive, finite number."""
    if 1e-4 <= value < 1e6 or value == 0:
        return repr(value).removesuffix(".0")
    digits, _, exponent = repr(value).partition("e")
    whole, _, fraction = digits.removesuffix(".0").partition(".")
    if not exponent:
        if value < 1:
            digits = fraction.lstrip("0")
            power = len(digits) - len(fraction) - 1
        else:
            digits, power = (whole + fraction).rstrip("0"), len(whole) - 1
        digits = f"{digits[0]}.{digits[1:]}".removesuffix(".")
    else:
        digits, power = digits.removesuffix(".0"), int(exponent)
    return f"{digits}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _families(series: int) -> Iterator[Family]:
    """A fixed mix, and gauges that fill it up to `series`."""
    devices = [f'device="veth{TARGET}{number:04x}"' for number in range(max(1, series // 64))]
    handlers = [f'handler="/api/v{n % 3}/resource-{n:03d}"' for n in range(max(1, series // 80))]
    made = [
        *(Family("counter", f"node_network_{name}_total", devices) for name in _DIRECTIONS),
        Family(
            "counter",
            "node_cpu_seconds_total",
            [f'cpu="{cpu}",mode="{mode}"' for cpu in range(max(1, series // 160)) for mode in _MODES],
        ),
        Family(
            "counter",
            "http_requests_total",
            [f'code="{code}",{handler},method="{method}"' for handler in handlers for code in (200, 404, 500)
             for method in ("get", "post")][: series // 10],
        ),
        Family("histogram", "http_request_duration_seconds", handlers[: max(1, series // 80)]),
        Family("summary", "rpc_durations_seconds", [f'service="svc-{TARGET}-{n:03d}"' for n in range(series // 200)]),
        Family(
            "gauge",
            "node_filesystem_avail_bytes",
            [f'device="/dev/sd{n:03d}",fstype="ext4",mountpoint="/var/lib/data/{n:03d}"' for n in range(series // 100)],
        ),
    ]  # fmt: skip
    yield from made
    left = series - sum(len(family.labels) * family.width for family in made)
    if left <= 0:
        raise ValueError(f"{series} series are too few for one of each kind")
    for number in range(0, left, 500):
        labels = [f'queue="q-{TARGET}-{n % 20:02d}",worker="{n:05d}"' for n in range(number, min(left, number + 500))]
        yield Family("gauge", f"app_worker_backlog_{number // 500:02d}_items", labels)


def _prefixes(family: Family) -> Iterator[str]:
    """What stands before the value of each series, in the order of exposition."""
    name = family.name
    head = f"# HELP {name} What {name.replace('_', ' ')} says.\n# TYPE {name} {family.type}\n"
    for labels in family.labels:
        for suffix, more in _parts(family.type):
            yield f"{head}{name}{suffix}{{{labels}{more}}}"
            head = ""


def _parts(kind: str) -> Sequence[tuple[str, str]]:
    if kind == "histogram":
        return [("_bucket", f',le="{bound}"') for bound in _BOUNDS] + [("_sum", ""), ("_count", "")]
    if kind == "summary":
        return [("", f',quantile="{quantile}"') for quantile in _QUANTILES] + [("_sum", ""), ("_count", "")]
    return [("", "")]


def _values(family: Family, rng: random.Random) -> tuple[list[float], list[float]]:
    """Of one point: the values at the first scrape, and by how much they grow with each."""
    if family.type == "gauge":
        digits = rng.choice((0, 0, 3))  # bytes and items are whole, seconds and ratios are not
        return [round(rng.uniform(1, 10 ** rng.randrange(2, 10)), digits)], [round(rng.uniform(1, 100), digits)]
    if family.type == "counter":
        return [float(rng.randrange(10**9))], [float(rng.randrange(1, 10**4))]
    if family.type == "summary":
        count = float(rng.randrange(10**6))
        quantiles = sorted(rng.uniform(0.001, 1) for _ in _QUANTILES)
        return [*quantiles, count * 0.01, count], [0.0001, 0.0002, 0.0003, 0.1, float(rng.randrange(1, 50))]
    start, step = _cumulated(rng, 10**4), _cumulated(rng, 20)
    return [*start, start[-1] * 0.07, start[-1]], [*step, step[-1] * 0.07, step[-1]]


def _cumulated(rng: random.Random, most: int) -> list[float]:
    """Bucket counts: whole, growing from bucket to bucket."""
    total, found = 0, []
    for _ in _BOUNDS:
        total += rng.randrange(1, most)
        found.append(float(total))
    return found
