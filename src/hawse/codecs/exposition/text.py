"""Lines of the text formats: Prometheus 0.0.4 and 1.0.0 (prometheus.io/docs/instrumenting/exposition_formats), and
OpenMetrics 1.0 (its specification, section "Text Format").
"""

import re
from typing import NamedTuple

from hawse.codecs.exposition.errors import ExpositionError
from hawse.codecs.exposition.numbers import parse

# As nearly all lines are: no escapes, no odd spaces.
_EASY = re.compile(rb'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="[^"\\]*",?)*)\})? (?=[^ \t])', re.ASCII)
_EASY_LABEL = re.compile(rb'(\w+)="([^"\\]*)"(,?)', re.ASCII)
_NAME = re.compile(rb"[a-zA-Z_:][\w:]*", re.ASCII)
_LABEL_NAME = re.compile(rb"[a-zA-Z_]\w*", re.ASCII)
_QUOTED = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}
_COMMENT = re.compile(
    rb'[ \t]*#[ \t]*(HELP|TYPE|UNIT)[ \t]+(?:"((?:[^"\\]|\\.)*)"|([^ \t"]+))(?:[ \t](.*))?', re.DOTALL
)
_TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_OPENMETRICS = frozenset({"counter", "gauge", "histogram", "summary", "unknown", "info", "stateset", "gaugehistogram"})
LATEST = 1 << 44  # ms; the year 2527. OTLP's nanoseconds end soon after
LONGEST_EXEMPLAR = 128  # characters of its labels (OpenMetrics, section "Exemplars")


class Exemplar(NamedTuple):
    """What a bucket or counter shows of one request. `time` is in ms of Unix time, None if not told."""

    labels: tuple[tuple[str, str], ...]
    value: float
    time: int | None


class Sample(NamedTuple):
    """A line up to its value: the length of that part, the name, the labels in order."""

    size: int
    name: str
    labels: list[tuple[str, str]]


class Comment(NamedTuple):
    """A line that says something of a metric family: `what` is HELP, TYPE or UNIT."""

    what: str
    name: str
    text: str


def sample(line: bytes) -> Sample:
    """The part of a line before the value. Raises ExpositionError with a column."""
    easy = _EASY.match(line)
    if easy is None:
        return _careful(line)
    try:
        name = easy[1].decode()
        found = _EASY_LABEL.findall(easy[2]) if easy[2] else []
        labels = [(key.decode(), value.decode()) for key, value, _ in found]
    except UnicodeDecodeError:
        raise ExpositionError(f"column {_invalid(line)}: not valid UTF-8") from None
    if any(not comma for *_, comma in found[:-1]):
        return _careful(line)
    return Sample(easy.end(), name, labels)


def _invalid(line: bytes) -> int:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error.start + 1
    return 1


def _careful(line: bytes) -> Sample:
    at = _spaces(line, 0)
    name = ""
    labels: list[tuple[str, str]] = []
    if found := _NAME.match(line, at):
        name, at = found[0].decode(), found.end()
    elif line[at : at + 1] != b"{":
        raise ExpositionError(f"column {at + 1}: expected a metric name, found {_shown(line, at)}")
    at = _spaces(line, at)
    if line[at : at + 1] == b"{":
        at = _spaces(line, at + 1)
        while line[at : at + 1] != b"}":
            key, value, at = _label(line, at)
            if value is not None:
                labels.append((key, value))
            elif name:
                raise ExpositionError(f"column {at + 1}: expected = behind the label name, found {_shown(line, at)}")
            else:
                name = key
            at = _spaces(line, at)
            if line[at : at + 1] == b",":
                at = _spaces(line, at + 1)
            elif line[at : at + 1] != b"}":
                raise ExpositionError(f"column {at + 1}: expected , or }} behind a label, found {_shown(line, at)}")
        at += 1
    elif line[at - 1 : at] not in {b" ", b"\t"}:
        raise ExpositionError(f"column {at + 1}: expected a space and a value, found {_shown(line, at)}")
    if not name:
        raise ExpositionError(f"column {at + 1}: the sample has no metric name")
    return Sample(_spaces(line, at), name, labels)


def _label(line: bytes, at: int) -> tuple[str, str | None, int]:
    """Name, value (None for a quoted metric name) and position behind it."""
    if quoted := _QUOTED.match(line, at):
        key, at = _unescaped(quoted[1], at), quoted.end()
        if line[_spaces(line, at) : _spaces(line, at) + 1] != b"=":
            return key, None, at
    elif found := _LABEL_NAME.match(line, at):
        key, at = found[0].decode(), found.end()
    else:
        raise ExpositionError(f"column {at + 1}: expected a label name, found {_shown(line, at)}")
    at = _spaces(line, at)
    if line[at : at + 1] != b"=":
        raise ExpositionError(f"column {at + 1}: expected = behind the label name {key!r}, found {_shown(line, at)}")
    at = _spaces(line, at + 1)
    quoted = _QUOTED.match(line, at)
    if quoted is None:
        raise ExpositionError(f"column {at + 1}: expected the value of label {key!r} in double quotes, found "
                              f"{_shown(line, at)}")  # fmt: skip
    return key, _unescaped(quoted[1], at), quoted.end()


def _unescaped(text: bytes, at: int) -> str:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise ExpositionError(f"column {at + error.start + 2}: not valid UTF-8") from None
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), decoded) if "\\" in decoded else decoded


def _spaces(line: bytes, at: int) -> int:
    while line[at : at + 1] in {b" ", b"\t"}:
        at += 1
    return at


def _shown(line: bytes, at: int) -> str:
    return repr(line[at : at + 20].decode("utf-8", "backslashreplace")) if at < len(line) else "the end of the line"


def tail(text: bytes, *, openmetrics: bool) -> tuple[float, int | None, Exemplar | None]:
    """Value, timestamp (ms) and exemplar: what is behind name and labels. Raises ExpositionError without a column."""
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise ExpositionError("the value is not valid UTF-8") from None
    numbers, hash_, rest = decoded.partition("#")
    if hash_ and not openmetrics:
        raise ExpositionError("exemplars are of OpenMetrics: this body is Prometheus text")
    parts = numbers.split()
    if not 1 <= len(parts) <= 2:
        raise ExpositionError(
            "expected a value, and nothing or a timestamp behind it" if parts else "the value is missing"
        )
    return _number(parts[0]), _time(parts[1:], openmetrics=openmetrics), _exemplar(rest) if hash_ else None


def _number(text: str) -> float:
    try:
        return parse(text)
    except ValueError:
        raise ExpositionError(f"the value {text[:40]!r} is no number") from None


def _time(parts: list[str], *, openmetrics: bool) -> int | None:
    if not parts:
        return None
    try:
        found = round(parse(parts[0]) * 1000) if openmetrics else int(parts[0])
    except (ValueError, OverflowError):
        raise ExpositionError(f"the timestamp {parts[0][:40]!r} is no number") from None
    if abs(found) >= LATEST:
        raise ExpositionError(f"the timestamp {parts[0][:40]!r} is out of range")
    return found


def _exemplar(text: str) -> Exemplar:
    line = text.strip().encode()
    if line[:1] != b"{":
        raise ExpositionError("an exemplar is written # {labels} value")
    labels = []
    at = _spaces(line, 1)
    while line[at : at + 1] != b"}":
        key, value, at = _label(line, at)
        if value is None:
            raise ExpositionError(f"the exemplar's label {key!r} has no value")
        labels.append((key, value))
        at = _spaces(line, at)
        if line[at : at + 1] == b",":
            at = _spaces(line, at + 1)
        elif line[at : at + 1] != b"}":
            raise ExpositionError("the exemplar's labels do not end")
    if sum(len(key) + len(value) for key, value in labels) > LONGEST_EXEMPLAR:
        raise ExpositionError(f"the exemplar's labels have more than {LONGEST_EXEMPLAR} characters")
    parts = line[at + 1 :].decode().split()
    if not 1 <= len(parts) <= 2:
        raise ExpositionError("expected the exemplar's value, and nothing or a timestamp behind it")
    return Exemplar(tuple(labels), _number(parts[0]), _time(parts[1:], openmetrics=True))


def comment(line: bytes, *, openmetrics: bool) -> Comment | None:
    """What a comment says; None where it says nothing to us. Raises ExpositionError."""
    found = _COMMENT.fullmatch(line)
    if found is None:
        return None
    what, quoted, bare, rest = found[1].decode(), found[2], found[3], found[4] or b""
    if what == "UNIT" and not openmetrics:
        return None
    try:
        name = _unescaped(quoted, 0) if quoted is not None else bare.decode()
        text = rest.decode()
    except UnicodeDecodeError:
        raise ExpositionError(f"column {_invalid(line)}: not valid UTF-8") from None
    if what == "TYPE":
        text = text.strip()
        if text not in (_OPENMETRICS if openmetrics else _TYPES | _OPENMETRICS):
            raise ExpositionError(f"{text[:40]!r} is no type of metric")
        return Comment(what, name, "unknown" if text == "untyped" else text)
    if what == "HELP":
        return Comment(what, name, _help(text, openmetrics=openmetrics))
    return Comment(what, name, text.strip())


def _help(text: str, *, openmetrics: bool) -> str:
    if "\\" not in text:
        return text
    quotes = openmetrics  # 0.0.4 has them as they are
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]) if quotes or found[1] != '"' else found[0], text)
