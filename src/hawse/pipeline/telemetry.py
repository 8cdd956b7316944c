"""Self-metrics: counters and gauges of the process and its components, and their Prometheus text.

Series live as long as the process: a reload continues the counters. Names, units and suffixes follow the
OpenTelemetry Collector: `otelcol_`, the name, the unit (`_seconds`, `_bytes`), `_total` for counters. Not for use from
other threads than the event loop's.
"""

import os
import re
import resource
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

from hawse import __version__
from hawse.component import Kind
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.metrics import samples

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes"}
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")

Labels = tuple[tuple[str, str], ...]


class Family:
    """All series of one name."""

    def __init__(self, name: str, kind: str, description: str, unit: str) -> None:
        self.name = name
        self.kind = kind
        self.description = description
        self.unit = unit
        self.sums: dict[Labels, float] = {}
        self.reads: dict[Labels, list[Callable[[], float]]] = {}

    def samples(self) -> Iterator[tuple[Labels, float]]:
        """All series with their values now. A gauge that several instances registered is their sum."""
        yield from self.sums.items()
        for labels, reads in self.reads.items():
            yield labels, sum(read() for read in reads)


class Sum:
    """A counter: `component.Counter` with the labels of its component."""

    __slots__ = ("_known", "_labels", "_sums")

    def __init__(self, family: Family, labels: Mapping[str, str]) -> None:
        self._sums = family.sums
        self._labels: Labels = tuple(sorted(labels.items()))
        self._known: dict[tuple[tuple[str, str], ...], Labels] = {}  # as many as there are series
        self._sums.setdefault(self._labels, 0.0)

    def add(self, amount: float, **attributes: str) -> None:
        """See `component.Counter`."""
        if attributes:
            given = tuple(attributes.items())
            labels = self._known.get(given)
            if labels is None:
                labels = self._known[given] = tuple(sorted({**dict(self._labels), **attributes}.items()))
            self._sums[labels] = self._sums.get(labels, 0.0) + amount
        else:
            self._sums[self._labels] += amount

    def series(self, **attributes: str) -> "Series":
        """The one with these attributes, which is there once something was added."""
        return Series(self._sums, tuple(sorted({**dict(self._labels), **attributes}.items())))


class Series:
    """One series of a counter: `component.Counter` for what is added to often, always with the same attributes."""

    __slots__ = ("_labels", "_sums")

    def __init__(self, sums: dict[Labels, float], labels: Labels) -> None:
        self._sums = sums
        self._labels = labels

    def add(self, amount: float, **attributes: str) -> None:  # noqa: ARG002
        """See `component.Counter`; further attributes count for nothing."""
        self._sums[self._labels] = self._sums.get(self._labels, 0.0) + amount


class Telemetry:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._families: dict[str, Family] = {}
        self._started = time.monotonic()
        self._identity = {
            "service.name": "hawse",
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid4()),
            "host.name": socket.gethostname(),
        }
        self._resource = dict(self._identity)
        self._sum("process_cpu_seconds", "CPU time, user and system.", "s", _cpu_seconds)
        self._sum("process_uptime", "Time since the process began.", "s", lambda: time.monotonic() - self._started)
        self.gauge("process_memory_rss", "Resident memory.", _resident_bytes, {}, "By")

    def identify(self, attributes: Mapping[str, str | None]) -> None:
        """Set attributes of `target_info` beside the process's own; None takes one out."""
        merged = {**self._identity, **attributes}
        self._resource = {key: value for key, value in merged.items() if value is not None}

    def counter(self, name: str, description: str, labels: Mapping[str, str], unit: str = "1") -> Sum:
        """The counter of this name and these labels, which may be there already."""
        return Sum(self._family(name, "counter", description, unit), labels)

    def gauge(
        self, name: str, description: str, read: Callable[[], float], labels: Mapping[str, str], unit: str = "1"
    ) -> Callable[[], None]:
        """Register a value read at scrape time; returns what takes it out again."""
        return self._register(self._family(name, "gauge", description, unit), read, labels)

    def meter(self, kind: Kind, id_: str) -> "ComponentMeter":
        """The meter of a component."""
        return ComponentMeter(self, {kind.value: id_})

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of a name (without `otelcol_` and suffixes) that have these labels."""
        family = self._families.get(name)
        wanted = set(labels.items())
        return sum(value for found, value in family.samples() if wanted <= set(found)) if family else 0.0

    def render(self, *, without_type_suffix: bool = False, without_units: bool = False) -> str:
        """Prometheus text exposition format 0.0.4."""
        lines = [
            "# HELP target_info Target metadata",
            "# TYPE target_info gauge",
            f"target_info{_braces(sorted(self._resource.items()))} 1",
        ]
        families = [*self._families.values(), *self._of_ledger()]
        for family in sorted(families, key=lambda family: family.name):
            name = _exposed(family, without_type_suffix=without_type_suffix, without_units=without_units)
            help_ = family.description.replace("\\", "\\\\").replace("\n", "\\n")
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} {family.kind}"]
            lines += [f"{name}{_braces(labels)} {_number(value)}" for labels, value in sorted(family.samples())]
        return "\n".join(lines) + "\n"

    def _of_ledger(self) -> Iterable[Family]:
        found: dict[str, Family] = {}
        for name, kind, description, labels, value in samples(self.ledger):
            family = found.setdefault(name, Family(name, kind, description, "1"))
            family.sums[tuple(sorted(labels.items()))] = value
        return found.values()

    def _sum(self, name: str, description: str, unit: str, read: Callable[[], float]) -> None:
        self._register(self._family(name, "counter", description, unit), read, {})

    def _family(self, name: str, kind: str, description: str, unit: str) -> Family:
        family = self._families.setdefault(name, Family(name, kind, description, unit))
        if family.kind != kind:
            raise ValueError(f"the metric {name!r} is a {family.kind} already, and can't be a {kind} too")
        return family

    def _register(self, family: Family, read: Callable[[], float], labels: Mapping[str, str]) -> Callable[[], None]:
        key = tuple(sorted(labels.items()))
        family.reads.setdefault(key, []).append(read)

        def remove() -> None:
            family.reads[key].remove(read)
            if not family.reads[key]:
                del family.reads[key]

        return remove


class ComponentMeter:
    """`component.Meter` of one component."""

    def __init__(self, telemetry: Telemetry, labels: Mapping[str, str]) -> None:
        self._telemetry = telemetry
        self._labels = labels
        self._removals: list[Callable[[], None]] = []

    def counter(self, name: str, description: str, unit: str = "1") -> Sum:
        """See `component.Meter`."""
        return self._telemetry.counter(_bare(name), description, self._labels, unit)

    def gauge(self, name: str, description: str, read: Callable[[], float], **attributes: str) -> None:
        """See `component.Meter`."""
        labels = {**self._labels, **attributes}
        self._removals.append(self._telemetry.gauge(_bare(name), description, read, labels))

    def close(self) -> None:
        """Take the gauges out: what they read is gone. Counters stay."""
        while self._removals:
            self._removals.pop()()


def _bare(name: str) -> str:
    return name.removeprefix("otelcol_").removesuffix("_total")


def _exposed(family: Family, *, without_type_suffix: bool, without_units: bool) -> str:
    name = re.sub(r"[^a-zA-Z0-9_:]", "_", family.name)
    # What OpenTelemetry has no name for; and what Prometheus has, and the Collector's prometheus receiver with it.
    if not name.startswith(("hawse_", "prometheus_")):
        name = f"otelcol_{name}"
    unit = _UNITS.get(family.unit, "")
    if unit and not without_units and not name.endswith(f"_{unit}"):
        name += f"_{unit}"
    return name + "_total" if family.kind == "counter" and not without_type_suffix else name


def _braces(labels: Labels | list[tuple[str, str]]) -> str:
    inner = ",".join(f'{re.sub(r"[^a-zA-Z0-9_]", "_", key)}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == value // 1 and abs(value) < 1e15 else repr(float(value))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident_bytes() -> float:
    # proc(5), /proc/pid/statm: size, resident, … in pages
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return float(statm.read().split()[1]) * _PAGE_SIZE
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
