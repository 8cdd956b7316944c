"""Prometheus' text as a Sumo Logic HTTP source takes it (`application/vnd.sumologic.prometheus`) into samples.

prometheus.io/docs/instrumenting/exposition_formats, "Text-based format": a line is `name{label="value"} 1.5 TIME`, the
time in milliseconds. What stands before the value is the same each time, and recognised by its bytes.
"""

import re
import time

import numpy as np

from hawse.backend.metrics.registry import Kind, Origin, Registry
from hawse.backend.metrics.samples import Samples
from hawse.codecs.exposition.numbers import parse

_SERIES = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[^\s{}"=,]+)?\s*(?:\{(.*)\})?\s*', re.DOTALL)
_BRACES = re.compile(rb'[^"}]*(?:"(?:[^"\\]|\\.)*"[^"}]*)*\}', re.DOTALL)  # up to the first brace outside of quotes
_LABEL = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[^\s{}"=,]+)\s*(?:=\s*"((?:[^"\\]|\\.)*)")?\s*(,|$)', re.DOTALL)
_TYPE = re.compile(rb"#\s*TYPE\s+(\S+)\s+(\S+)\s*")
_MOST_LINES = 2_000_000  # of a request
_LATEST_MS = (1 << 63) // 10**6


class TextDecoder:
    """Makes samples of one request's lines."""

    def __init__(self, registry: Registry, origin: Origin) -> None:
        """`origin` is what the request's headers say, as with logs."""
        self._registry = registry
        self._origin = origin
        self._known = origin.learnt.setdefault("text", {})
        self._types: dict[str, str] = {}
        self._numbers: list[int] = []
        self._values: list[float] = []
        self._times: list[int] = []

    def read(self, body: bytes) -> Samples:
        """All lines. Raises ValueError that says which line is none, and why."""
        if body.count(b"\n") > _MOST_LINES:
            raise ValueError(f"more than {_MOST_LINES} lines")
        now = time.time_ns() // 10**6
        for number, line in enumerate(body.split(b"\n"), 1):
            try:
                self._line(line, now)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        series = np.array(self._numbers, np.uint32)
        times = np.array(self._times, np.int64) * 10**6
        values = np.array(self._values, np.float64)
        kept = series != 0
        held = int(kept.sum())
        return Samples(series[kept], times[kept], values[kept], held, len(series) - held)

    def _line(self, line: bytes, now: int) -> None:
        head, space, last = line.rstrip(b"\r").rpartition(b" ")
        before, _, value = head.rpartition(b" ")
        number = self._known.get(before)
        if number is not None and space:
            self._add(number, value, last)
            return
        stripped = line.strip()
        if not stripped or stripped.startswith(b"#"):
            if match := _TYPE.fullmatch(stripped):
                self._types[_text(match[1])] = _text(match[2])
            return
        self._long_way(stripped, now)

    def _long_way(self, line: bytes, now: int) -> None:
        end = _end_of_series(line)
        rest = line[end:].split()
        if not 1 <= len(rest) <= 2:
            raise ValueError(f"expected a value and perhaps a time behind the series, not {_text(line[end:])[:100]!r}")
        name, labels = _series(line[:end])
        self._registry.learning()
        number = self._registry.number(self._origin, name, labels, Kind(self._types.get(name, "unknown")))
        self._add(number, rest[0], rest[1] if len(rest) > 1 else str(now).encode())
        if len(rest) > 1 and line == b" ".join((line[:end].rstrip(), *rest)):  # as exporters write it
            self._known[line[:end].rstrip()] = number

    def _add(self, number: int, value: bytes, when: bytes) -> None:
        if not when.lstrip(b"-").isdigit() or len(when) > 20:
            raise ValueError(f"{_text(when)[:100]!r} is no time in milliseconds")
        found = _value(value)
        self._numbers.append(number)
        self._values.append(found)
        self._times.append(max(0, min(int(when), _LATEST_MS)))


def _value(text: bytes) -> float:
    if b"_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    return parse(_text(text[:400]))


def _end_of_series(line: bytes) -> int:
    match = _BRACES.match(line) if b"{" in line else _SERIES.match(line)
    if match is None:
        raise ValueError("the labels have no end: a closing brace or quote is missing")
    return match.end()


def _series(text: bytes) -> tuple[str, dict[str, str]]:
    match = _SERIES.fullmatch(text)
    if match is None:
        raise ValueError(f"{_text(text)[:100]!r} is no series")
    name = _plain(match[1]) if match[1] else ""
    labels: dict[str, str] = {}
    inside, at = match[2] or b"", 0
    end = len(inside.rstrip())
    while at < end:
        label = _LABEL.match(inside, at)
        if label is None:
            raise ValueError(f'expected label="value", not {_text(inside[at : at + 100])!r}')
        at = label.end()
        if label[2] is None:
            name = name or _plain(label[1])  # a name that is no plain one stands among the labels, in quotes
        else:
            labels[_plain(label[1])] = _unescaped(label[2])
    name = name or labels.pop("__name__", "")
    if not name:
        raise ValueError("a series without a name")
    return name, labels


def _plain(text: bytes) -> str:
    return _unescaped(text[1:-1]) if text.startswith(b'"') else _text(text)


def _unescaped(text: bytes) -> str:
    if b"\\" not in text:
        return _text(text)
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), _text(text), flags=re.DOTALL)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
