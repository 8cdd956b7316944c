"""Reading spans: a chunk's columns, each opened when it is first asked for, and fields of spans by name.

A name means, in this order: one of the span's own (`service`, `name`, `kind`, `status`, …), a resource attribute, an
attribute of the span. `resource.attributes.NAME` and `attributes.NAME` ask for exactly one of these. Fields are read
for all spans of a chunk at once, as codes of the values that there are: a condition is tested once a value.
"""

import time
from collections.abc import Callable, Generator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hawse.backend import fields
from hawse.backend.columns import decompress
from hawse.backend.conditions import Search, compiled
from hawse.backend.reader import Reader, Resource, TimedOut
from hawse.backend.traces.spans import KINDS, STATUSES, Names, columns_of, message_class, messages_of, names_of
from hawse.wire import WireError, _decode_key_value, field

OWN = (
    "service",
    "name",
    "kind",
    "status",
    "status_message",
    "trace_id",
    "span_id",
    "parent_span_id",
    "trace_state",
    "scope.name",
    "scope.version",
)
_OF_RESOURCE = "resource.attributes."
_OF_SPAN = "attributes."
UNNAMED = "(unnamed)"


class Coded(NamedTuple):
    """A field of many spans: the place of each span's value in `values`. None: the span has no such field."""

    codes: NDArray[Any]
    values: list[str | None]


def service_of(attributes: Mapping[str, Any]) -> str:
    """What a service is called; `service`, as Sumo Logic names it, counts as well."""
    found = attributes.get("service.name") or attributes.get("service")
    return fields.text(found) if found else UNNAMED


class Chunk:
    """A row of spans."""

    def __init__(self, number: int, items: int, max_time: int, packed: tuple[bytes, bytes, bytes]) -> None:
        self.id = number
        self.items = items
        self.max_time = max_time
        self._packed = packed

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The fixed columns."""
        return columns_of(self._packed[0], self.items)

    @cached_property
    def names(self) -> Names:
        """What the columns `name` and `scope` stand for."""
        return names_of(self._packed[1])

    @cached_property
    def blob(self) -> bytes:
        """All Span messages in one piece."""
        return decompress(self._packed[2])

    @cached_property
    def messages(self) -> list[bytes]:
        """Each Span message."""
        return messages_of(self.blob, self.columns["length"])

    # --- fields ---------------------------------------------------------------------------------------------------

    def coded(self, name: str, resources: Mapping[int, Resource]) -> Coded:
        """A field of all spans."""
        if name in _BY_COLUMN:
            return _BY_COLUMN[name](self)
        if name == "service":
            return self._of_resource(resources, lambda one: service_of(one.attributes))
        if name in ("status_message", "trace_state"):
            return self._rare(name)
        if name == "source" or name.startswith(_OF_RESOURCE):
            return self._of_resource(resources, lambda one: one.field(name)[1])
        if name.startswith(_OF_SPAN):
            return self._of_span(name.removeprefix(_OF_SPAN))
        found = self._of_resource(resources, lambda one: one.field(name)[1])
        if None not in found.values:
            return found
        return _first(found, self._of_span(name))

    def _of_resource(self, resources: Mapping[int, Resource], value: Callable[[Resource], str | None]) -> Coded:
        numbers, codes = np.unique(self.columns["resource"], return_inverse=True)
        return Coded(codes, [value(resources[number]) for number in numbers.tolist()])

    def _of_span(self, name: str) -> Coded:
        key = name.encode("utf-8", "replace")
        if key not in self.blob:
            return Coded(np.zeros(self.items, "<u4"), [None])
        read, seen = message_class("Attributes").FromString, _Seen(name)
        return _coded(
            [seen.value(read(message).attributes[:]) if key in message else None for message in self.messages]
        )

    def _rare(self, name: str) -> Coded:
        read = message_class("Rare").FromString
        found = [read(message) for message in self.messages]
        values = [one.status.message if name == "status_message" else one.trace_state for one in found]
        return _coded([value.decode("utf-8", "replace") or None for value in values])


class _Seen(dict[bytes, str | None]):
    """Values of one attribute by their KeyValue's bytes: decoded once, where they come again."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._head = field(1, name.encode("utf-8", "replace"))  # as nearly all are written: the key first

    def value(self, pairs: list[bytes]) -> str | None:
        """The value in a span's attributes; the last one counts."""
        mine = [pair for pair in pairs if pair.startswith(self._head)]
        return self[mine[-1]] if mine else None

    def __missing__(self, pair: bytes) -> str | None:
        try:
            _, value = _decode_key_value(pair, 0, len(pair), 0)
        except WireError:
            value = None  # of the other spans of its sender nothing is said by that
        self[pair] = found = None if value is None else fields.text(value)
        return found


def _coded(values: list[str | None]) -> Coded:
    places: dict[str | None, int] = {}
    codes = np.fromiter([places.setdefault(value, len(places)) for value in values], "<u4", len(values))
    return Coded(codes, list(places))


def _first(one: Coded, other: Coded) -> Coded:
    """Values of `one`, and, where it has none, of `other`."""
    missing = np.array([value is None for value in one.values])[one.codes]
    return Coded(np.where(missing, other.codes + len(one.values), one.codes), [*one.values, *other.values])


def _hex(column: str) -> Callable[[Chunk], Coded]:
    def read(chunk: Chunk) -> Coded:
        joined = chunk.columns[column].tobytes().hex()
        width = 2 * chunk.columns[column].dtype.itemsize
        ids = [joined[at : at + width] for at in range(0, len(joined), width)]
        return _coded([one if one.strip("0") else None for one in ids])

    return read


def _enum(column: str, words: tuple[str, ...]) -> Callable[[Chunk], Coded]:
    values: list[str | None] = [*words, *map(str, range(len(words), 256))]
    return lambda chunk: Coded(chunk.columns[column], values)


def _scope(chunk: Chunk, part: str) -> Coded:
    return Coded(chunk.columns["scope"], [getattr(scope, part) or None for scope in chunk.names.scopes])


_BY_COLUMN: dict[str, Callable[[Chunk], Coded]] = {
    "name": lambda chunk: Coded(chunk.columns["name"], list(chunk.names.names)),
    "kind": _enum("kind", KINDS),
    "status": _enum("status", STATUSES),
    "trace_id": _hex("trace"),
    "span_id": _hex("span"),
    "parent_span_id": _hex("parent"),
    "scope.name": lambda chunk: _scope(chunk, "name"),
    "scope.version": lambda chunk: _scope(chunk, "version"),
}


# --- chunks that a question has to open ---------------------------------------------------------------------------


def chunks(reader: Reader, where: str, parameters: tuple[Any, ...], order: str = "id") -> Generator[Chunk, None, None]:
    """Chunks that meet an SQL condition, in an SQL order."""
    rows = reader.connection.execute(
        f"SELECT id, items, max_time, columns, names, spans FROM span_chunk WHERE {where} ORDER BY {order}",  # noqa: S608
        parameters,
    )
    for number, items, max_time, *packed in rows:
        yield Chunk(number, items, max_time, tuple(packed))


class Wanted(NamedTuple):
    """Spans that are asked for: conditions and a time range, and how long each takes at least and at most (ns)."""

    search: Search
    least: int = 0
    most: int | None = None


class Matcher:
    """Tells which spans of a chunk are wanted."""

    def __init__(self, reader: Reader, wanted: Wanted, until: float) -> None:
        """Raises Mistake for a wrong regular expression."""
        self._resources = reader.resources()
        self._conditions = compiled(wanted.search.conditions)
        self.wanted = wanted
        self._until = until

    def mask(self, chunk: Chunk) -> NDArray[np.bool_]:
        """One truth for each span. Raises TimedOut."""
        if time.monotonic() > self._until:
            raise TimedOut
        search, columns = self.wanted.search, chunk.columns
        mask = (columns["start"] >= search.start) & (columns["start"] < search.end)
        if self.wanted.least or self.wanted.most is not None:
            took = columns["end"] - columns["start"]
            mask &= took >= self.wanted.least
            if self.wanted.most is not None:
                mask &= took <= self.wanted.most
        # What opens the messages comes last.
        for condition, pattern in sorted(self._conditions, key=lambda pair: pair[0].field not in _BY_COLUMN):
            if not mask.any():
                break
            found = chunk.coded(condition.field, self._resources)
            mask &= np.array(_tested(condition.test, pattern, found), bool)[found.codes]
        return mask


def _tested(test: Callable[..., bool], pattern: Any, found: Coded) -> list[bool]:
    return [test(pattern, value) for value in found.values]


def attribute_names(reader: Reader, most_spans: int) -> set[str]:
    """Names of attributes of the spans that came last."""
    found: set[str] = set()
    keys = message_class("Keys").FromString
    for chunk in chunks(reader, "1", (), "id DESC"):
        for message in chunk.messages[:most_spans]:
            try:
                found.update([one.key.decode("utf-8", "replace") for one in keys(message).attributes])
            except DecodeError:
                continue
        most_spans -= chunk.items
        if most_spans <= 0:
            break
    return found
