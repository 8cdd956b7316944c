"""The reading side of the store: which chunks a search has to open, and which of their records it wants."""

import re
import time
from collections.abc import Generator, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hawse.backend import fields
from hawse.backend.columns import Columns
from hawse.backend.conditions import Condition, Search, compiled
from hawse.backend.schema import open_for_reading

_PLAIN = re.compile(r"[^.^$*+?{}\[\]\\|()\ufffd]+")  # an expression that stands for itself alone
_COLUMNS = "times, observed, lengths, bodies, extras"


class TimedOut(Exception):
    """The search took longer than it may."""


class Resource(msgspec.Struct):
    """A resource as the store knows it. `source` is what a person would call it."""

    id: int
    attributes: dict[str, Any]
    source: str

    def field(self, name: str) -> tuple[bool, str | None]:
        """Whether the resource settles a field for all its records, and its value (None: none of them has it)."""
        return (True, self.source) if name == "source" else fields.of_resource(name, self.attributes)


class Chunk(msgspec.Struct):
    """A chunk that is being looked at."""

    id: int
    items: int
    received: int
    min_time: int
    max_time: int
    runs: bytes
    columns: Columns

    def resources(self) -> NDArray[np.uint32]:
        """The number of the resource of each record."""
        runs = np.frombuffer(self.runs, "<u4").reshape(-1, 2)
        return np.repeat(runs[:, 0], runs[:, 1])


class Verdict(msgspec.Struct):
    """What a search's conditions come to for a resource: `rest` has to be asked of each of its records."""

    resource: Resource
    rest: list[tuple[Condition, Any]]


class Reader:
    """A connection and what it has learnt of resources. For one thread."""

    def __init__(self, path: str) -> None:
        """Raises sqlite3.Error where there is no store."""
        self.connection = open_for_reading(path)
        self._resources: dict[int, Resource] = {}
        self._last = 0

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    # --- resources ----------------------------------------------------------------------------------------------

    def resources(self) -> Mapping[int, Resource]:
        """All resources by number."""
        for number, text in self.connection.execute("SELECT id, attributes FROM resource WHERE id > ?", (self._last,)):
            attributes = msgspec.json.decode(text, type=dict[str, Any])
            self._resources[number] = Resource(number, attributes, source(attributes))
            self._last = max(self._last, number)
        return self._resources

    def verdicts(self, search: Search) -> dict[int, Verdict]:
        """The resources whose records the search may want. Raises Mistake for a wrong regular expression."""
        conditions = compiled(search.conditions)
        found = {}
        for resource in self.resources().values():
            rest = []
            for condition, pattern in conditions:
                known, value = resource.field(condition.field)
                if not known:
                    rest.append((condition, pattern))
                elif not condition.test(pattern, value):
                    break
            else:
                found[resource.id] = Verdict(resource, rest)
        return found

    # --- chunks -------------------------------------------------------------------------------------------------

    def chunks(self, where: str, parameters: tuple[Any, ...], order: str) -> Generator[Chunk, None, None]:
        """Chunks that meet an SQL condition, in an SQL order; at most `LIMIT` of them where the order says so."""
        rows = self.connection.execute(
            f"SELECT id, items, received, min_time, max_time, runs, {_COLUMNS} FROM chunk "  # noqa: S608 - constants
            f"WHERE {where} ORDER BY {order}",
            parameters,
        )
        for number, items, received, min_time, max_time, runs, *columns in rows:
            yield Chunk(number, items, received, min_time, max_time, runs, Columns(*columns))

    def chunk(self, number: int) -> Chunk | None:
        """The chunk of that number, if it has not expired."""
        return next(self.chunks("id = ?", (number,), "id"), None)


def matching(chunk: Chunk, verdicts: Mapping[int, Verdict], search: Search, until: float) -> list[int]:
    """The places in the chunk of the records that the search wants, ascending. Raises TimedOut."""
    if time.monotonic() > until:
        raise TimedOut
    wanted = np.ones(chunk.items, bool)
    resources = chunk.resources()
    present = np.unique(resources).tolist()
    if any(number not in verdicts for number in present):
        wanted &= np.isin(resources, [number for number in present if number in verdicts])
    if search.start > chunk.min_time:
        wanted &= chunk.columns.times >= search.start
    if search.end <= chunk.max_time:
        wanted &= chunk.columns.times < search.end
    places: list[int] = np.flatnonzero(wanted).tolist()
    if not places or all(not verdicts[number].rest for number in present if number in verdicts):
        return places
    if _hopeless(chunk, [verdicts[number] for number in present if number in verdicts]):
        return []
    numbers = resources.tolist()
    return [place for place in places if _holds(verdicts[numbers[place]].rest, chunk.columns, place)]


def _hopeless(chunk: Chunk, verdicts: list[Verdict]) -> bool:
    """Whether a plain word that every record's body must have is nowhere in the chunk: the usual case of a search."""
    words = [
        {c.regex for c, _ in verdict.rest if c.field == "body" and c.wanted and _PLAIN.fullmatch(c.regex)}
        for verdict in verdicts
    ]
    needed = set.intersection(*words) if words else set()
    return bool(needed) and any(word.encode() not in chunk.columns.blob for word in needed)


def _holds(rest: list[tuple[Condition, Any]], columns: Columns, place: int) -> bool:
    for condition, pattern in rest:
        if condition.field == "body":
            value: str | None = columns.bodies[place].decode("utf-8", "replace")
        else:
            value = fields.of_record(condition.field, columns, place)
        if not condition.test(pattern, value):
            return False
    return True


def source(attributes: Mapping[str, Any]) -> str:
    """What a person would call the origin of records: its source name, its container, its service, its category."""
    names = [attributes.get(f"k8s.{part}.name") for part in ("namespace", "pod", "container")]
    found = (
        attributes.get("_sourceName")
        or "/".join(str(name) for name in names if name)
        or attributes.get("service.name")
        or attributes.get("_sourceCategory")
        or attributes.get("_sourceHost")
    )
    return fields.text(found) if found else "(unnamed)"
