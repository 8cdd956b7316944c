"""Which series there are, by what identifies them: the writer's side.

A series is a name, a resource and labels. What has been written is in SQLite; here is a digest of each, so that the
known ones are recognised without asking it, and what decoders have learnt of the bytes that series come in.
"""

import sqlite3
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hawse.backend import fields
from hawse.backend.metrics.templates import Templates
from hawse.batch import Resource

_LEARNT = 500_000  # encoded series that decoders remember (in templates again), then they begin anew
_ORIGINS = 20_000  # resources of which the same is true
_MOST_TEXT = 1000  # characters of a description
_json = msgspec.json.Encoder(order="deterministic")


class Kind(msgspec.Struct, frozen=True):
    """What is said of a series beside what identifies it. `type` is as Prometheus calls it."""

    type: str = "unknown"
    unit: str = ""
    description: str = ""


class Origin:
    """A resource. `learnt` and `templates` are the decoders' own: what they know of its metrics, by whatever they
    recognise them.
    """

    __slots__ = ("attributes", "learnt", "templates", "text")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = attributes
        self.text = _json.encode(attributes).decode()
        self.learnt: dict[Any, dict[Any, Any]] = {}
        self.templates = Templates()

    def forget(self) -> None:
        """Let decoders begin anew."""
        self.learnt.clear()
        self.templates = Templates()


class _New(msgspec.Struct, gc=False):
    id: int
    metric: int
    origin: Origin
    labels: str
    digest: bytes


class Registry:
    """The numbers of series, from 1. Belongs to the thread that writes the store.

    Numbers are given while a request is decoded, and written by `save` in the transaction that has its samples.
    """

    def __init__(self, connection: sqlite3.Connection, most: int) -> None:
        """`most`: series that may be held; 0 is no limit."""
        self._connection = connection
        self.most = most
        self.load()

    def load(self) -> None:
        """Forget what is not committed."""
        rows = self._connection.execute
        self._numbers: dict[bytes, int] = {}
        self._last = np.zeros(1024, np.int64)
        self._next = 1
        for number, digest, last in rows("SELECT id, digest, last FROM series ORDER BY id"):
            self._numbers[digest] = number
            self._next = number + 1
            self.seen(np.array((number,)), last)
        self._metrics = {(name, Kind(*kind)): number for number, name, *kind in rows("SELECT * FROM metric")}
        self._new: list[_New] = []
        self._new_metrics: list[tuple[int, str, str, str, str]] = []
        self.forget()

    def forget(self) -> None:
        """Let decoders begin anew."""
        self._origins: dict[bytes, Origin] = {}
        self._learnt = 0

    def __len__(self) -> int:
        return len(self._numbers)

    # --- decoding -----------------------------------------------------------------------------------------------

    def origin(self, resource: Resource) -> Origin:
        """The origin that a resource is, known again by its bytes."""
        raw = bytes(resource.raw)
        found = self._origins.get(raw)
        if found is None:
            if len(self._origins) >= _ORIGINS:
                self.forget()
            found = self._origins[raw] = Origin(resource.attributes)
        return found

    def learning(self, series: int = 1) -> None:
        """Called before a decoder remembers so many more series. It may make all of them forget everything."""
        self._learnt += series
        if self._learnt > _LEARNT:
            for origin in self._origins.values():
                origin.forget()
            self.forget()

    def number(self, origin: Origin, name: str, labels: Mapping[str, Any], kind: Kind) -> int:
        """The number of a series, which may be new; 0 where there is no room for one more."""
        text = _json.encode({key: fields.text(value) for key, value in labels.items()}).decode()
        identity = f"{name}\0{origin.text}\0{text}"
        digest = blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = self._numbers.get(digest)
        if found is None:
            if self.most and len(self._numbers) >= self.most:
                return 0
            found = self._numbers[digest] = self._next
            self._next += 1
            self._new.append(_New(found, self._metric(name, kind), origin, text, digest))
        return found

    def _metric(self, name: str, kind: Kind) -> int:
        if len(kind.description) > _MOST_TEXT:
            kind = Kind(kind.type, kind.unit, kind.description[:_MOST_TEXT])
        number = self._metrics.get((name, kind))
        if number is None:
            number = self._metrics[name, kind] = max(self._metrics.values(), default=0) + 1
            self._new_metrics.append((number, name, kind.type, kind.unit, kind.description))
        return number

    # --- writing ------------------------------------------------------------------------------------------------

    def save(self, resource: Callable[[Mapping[str, Any]], int]) -> None:
        """Write what is new, in a transaction that is under way. `resource` gives the number of a resource."""
        self._connection.executemany("INSERT INTO metric VALUES (?,?,?,?,?)", self._new_metrics)
        rows = [(one.id, one.metric, resource(one.origin.attributes), one.labels, one.digest, 0) for one in self._new]
        self._connection.executemany("INSERT INTO series VALUES (?,?,?,?,?,?)", rows)
        self._new, self._new_metrics = [], []

    def seen(self, numbers: NDArray[Any], received: int) -> None:
        """Samples of these series have arrived."""
        if self._next >= len(self._last):
            self._last = np.concatenate((self._last, np.zeros(max(self._next, len(self._last)), np.int64)))
        self._last[numbers] = received

    def save_seen(self, numbers: NDArray[Any]) -> None:
        """Write when samples of these series last arrived."""
        pairs = zip(self._last[numbers].tolist(), numbers.tolist(), strict=True)
        self._connection.executemany("UPDATE series SET last = ? WHERE id = ?", pairs)

    def sweep(self, oldest: int) -> None:
        """Let the series go that no sample is left of: those not seen since `oldest` (Unix nanoseconds)."""
        gone = {number for number in self._numbers.values() if self._last[number] < oldest}
        if not gone:
            return
        self._numbers = {digest: number for digest, number in self._numbers.items() if number not in gone}
        self._new = [one for one in self._new if one.id not in gone]
        self._connection.executemany("DELETE FROM series WHERE id = ?", [(number,) for number in gone])
        self._connection.execute("DELETE FROM metric WHERE id NOT IN (SELECT metric FROM series)")
        self._metrics = {
            (name, Kind(*kind)): number for number, name, *kind in self._connection.execute("SELECT * FROM metric")
        } | {(name, Kind(*kind)): number for number, name, *kind in self._new_metrics}
        for origin in self._origins.values():
            origin.forget()
        self.forget()
