"""A body's lines, cut into metric families: what HELP, TYPE and UNIT say, and the lines that belong to it."""

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple

from hawse.codecs.exposition.errors import ExpositionError
from hawse.codecs.exposition.text import comment, sample

_AT_ONCE = 2000  # lines until others get their turn
_NAME = re.compile(rb"[a-zA-Z_:][\w:]*", re.ASCII)
_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "summary": ("", "_sum", "_count", "_created"),
    "info": ("", "_info"),
}


class Metadata(NamedTuple):
    """What is told of a family. `type` is "" where nothing is."""

    type: str = ""
    help: str = ""
    unit: str = ""


class Family(NamedTuple):
    """Lines `first` up to (not with) `last`. `key` is the name, and how many families of that name came before."""

    key: tuple[str, int]
    metadata: Metadata
    first: int
    last: int


async def families(lines: list[bytes], *, openmetrics: bool) -> list[Family]:
    """All families, which have all lines among them. Raises ExpositionError with line and column.

    Yields to the loop now and then: a family may have one line, or none, and a body millions of lines.
    """
    scan = _Scan(openmetrics)
    number = 0
    try:
        for number, line in enumerate(lines):
            scan.take(number, line)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
    except ExpositionError as error:
        raise at_line(number, error) from None
    scan.end(len(lines))
    if openmetrics and not scan.ended:
        raise ExpositionError(f"line {len(lines)}: the body ends without # EOF: it was cut off")
    return scan.found


def at_line(number: int, error: ExpositionError) -> ExpositionError:
    """The same error, with its line (`number` counts from 0)."""
    text = str(error)
    return ExpositionError(f"line {number + 1}, {text}" if text.startswith("column") else f"line {number + 1}: {text}")


def in_pieces(found: Sequence[Family]) -> set[str]:
    """Names of families that are not in one piece, as they should be: some of their series stand elsewhere."""
    names = {family.key[0] for family in found}
    again = {family.key[0] for family in found if family.key[1]}
    return again | {
        family.key[0]
        for family in found
        for suffix in _SUFFIXES.get(family.metadata.type, ())
        if suffix not in {"", "_created"} and family.key[0] + suffix in names
    }


class _Scan:
    def __init__(self, openmetrics: bool) -> None:  # noqa: FBT001
        self.found: list[Family] = []
        self.ended = False
        self._openmetrics = openmetrics
        self._metadata: dict[str, Metadata] = {}
        self._times: dict[str, int] = {}
        self._name: str | None = None
        self._first = 0
        self._sampled = False  # whether the current family has had a sample
        self._belongs: frozenset[bytes] = frozenset()

    def take(self, number: int, line: bytes) -> None:
        start = line[:1]
        if not start or (start == b"#" or line.lstrip()[:1] in {b"#", b""}):
            if line:
                self._comment(number, line)
            return
        if self.ended:
            raise ExpositionError("there is more behind # EOF")
        matched = _NAME.match(line)
        name = matched[0] if matched else sample(line).name.encode()
        if name not in self._belongs:
            text = name.decode()
            self._begin(number, self._family_of(text), text)
        self._sampled = True

    def end(self, number: int) -> None:
        if number > self._first:
            name = self._name or ""
            nth = self._times.get(name, 0)
            self._times[name] = nth + 1
            self.found.append(Family((name, nth), self._metadata.get(name, Metadata()), self._first, number))
        self._first = number

    def _comment(self, number: int, line: bytes) -> None:
        if self.ended:
            raise ExpositionError("there is more behind # EOF")
        if self._openmetrics and line == b"# EOF":
            self.ended = True
            return
        told = comment(line, openmetrics=self._openmetrics)
        if told is None:
            return
        if told.name != self._name or self._sampled:
            self._begin(number, told.name, told.name)
        known = self._metadata.get(told.name, Metadata())
        self._metadata[told.name] = known._replace(**{told.what.lower(): told.text})
        self._belongs = self._names(told.name)

    def _begin(self, number: int, family: str, name: str) -> None:
        self.end(number)
        self._name = family
        self._sampled = False
        self._belongs = self._names(family) | {name.encode()}

    def _names(self, family: str) -> frozenset[bytes]:
        kind = self._metadata.get(family, Metadata()).type
        return frozenset((family + suffix).encode() for suffix in _SUFFIXES.get(kind, ("",)))

    def _family_of(self, name: str) -> str:
        """The family that was told of before, and has such a sample; else one of its own."""
        if name in self._metadata:
            return name
        for suffix in ("_bucket", "_sum", "_count", "_total", "_created", "_info", "_gsum", "_gcount"):
            family = name.removesuffix(suffix)
            if family != name and suffix in _SUFFIXES.get(self._metadata.get(family, Metadata()).type, ()):
                return family
        return name
