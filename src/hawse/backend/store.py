"""The writing side of the store: append in transactions, and let the oldest go where the limits demand it.

A Store belongs to one thread at a time. What it appended is on disk when `append` returns.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hawse.backend.columns import LATEST, Lot, clamped, compress, pack, pieces
from hawse.backend.metrics.registry import Registry
from hawse.backend.metrics.samples import SampleRows, Samples
from hawse.backend.schema import PAGE, Lock, open_for_writing, prepare
from hawse.backend.traces.rows import SpanRows
from hawse.backend.traces.spans import SpanLot, joined
from hawse.batch import Signal

_ATTRIBUTE_NAMES = 10_000  # names of record attributes that are remembered; a stranger may send a new one each time
_SLACK = 64 << 10  # what a transaction needs beside its blobs
_json = msgspec.json.Encoder(order="deterministic")


class Limits(msgspec.Struct, frozen=True):
    """What the store may hold; 0 is no limit. The oldest go first. `max_size` is of the file, without its WAL."""

    max_size: int = 1 << 30  # bytes
    max_records: int = 0
    max_age: float = 0.0  # seconds since it arrived
    max_series: int = 200_000  # of metrics; data points of further ones are rejected


class ItemGroup(msgspec.Struct, gc=False):
    """What is kept as it came, since it is in a format that is not decoded. `format` is the media type."""

    signal: Signal
    resource: Mapping[str, Any]
    items: int
    data: bytes
    format: str


class Total(msgspec.Struct):
    """Items of a signal since the file was made: `accepted` = held + `expired`."""

    accepted: int = 0
    accepted_bytes: int = 0
    expired: int = 0


class Store:
    """An open file."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Open or make the file. Raises HawseError."""
        self.path = path
        self.limits = limits
        prepare(path)
        self._lock = Lock(path)
        try:
            self._connection = open_for_writing(path)
        except BaseException:
            self._lock.release()
            raise
        self.registry = Registry(self._connection, limits.max_series)
        self._sample_rows = SampleRows(self._connection)
        self._span_rows = SpanRows(self._connection)
        self._load()

    def _load(self) -> None:
        rows = self._connection.execute
        (self._next,) = rows("SELECT id FROM next_id").fetchone()
        self.totals = {Signal(signal): Total(*numbers) for signal, *numbers in rows("SELECT * FROM total")}
        self._resources: dict[str, int] = {}
        self._names = {name for (name,) in rows("SELECT name FROM attribute")}
        self._expired_since_sweep = 0
        self._samples_expired = False
        self._sample_rows.load()
        self._span_rows.load()
        for _, received, samples in self._sample_rows.level_0():
            self.registry.seen(samples.series, received)

    def close(self) -> None:
        """Put the WAL into the file and close it."""
        self._connection.close()
        self._lock.release()

    @property
    def size(self) -> int:
        """Bytes of the file that are in use."""
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * PAGE

    # --- append -------------------------------------------------------------------------------------------------

    def append(
        self,
        lots: Sequence[Lot],
        groups: Iterable[ItemGroup],
        received: int,
        samples: Samples | None = None,
        spans: Sequence[SpanLot] = (),
    ) -> None:
        """Add all or nothing, making room first. `received` is Unix nanoseconds. Raises sqlite3.Error.

        The series of `samples` are numbers of `registry`.
        """
        with self._transaction():
            if samples is not None:  # before room is made: what these series have must not go with what nobody has
                self.registry.save(self._resource)
                self.registry.seen(samples.series, received)
            chunks = [(piece, *self._packed(piece)) for piece in pieces(lots)]
            rows = [(group, compress(group.data)) for group in groups]
            incoming = sum(size for _, _, size in chunks) + sum(len(data) for _, data in rows)
            incoming += 8 * len(samples) if samples else 0
            incoming += sum(int(lot.spans.columns["length"].sum()) for lot in spans) // 2
            self._make_room(incoming, sum(len(lot.bodies) for lot in lots), received)
            for piece, columns, size in chunks:
                self._insert_chunk(piece, columns, size, received)
            for group, data in rows:
                self._insert_group(group, data, received)
            if samples is not None and len(samples):
                self._insert_samples(samples, received)
            if spans:
                self._insert_spans(spans, received)
            self._connection.execute("UPDATE next_id SET id = ?", (self._next,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, the totals with it; what is known in memory follows."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._write_totals()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self.registry.load()
            self._load()
            raise

    def _packed(self, piece: list[Lot]) -> tuple[tuple[bytes, ...], int]:
        for lot in piece:
            lot.times, lot.observed = clamped(lot.times), clamped(lot.observed)
        columns = pack(piece)
        return columns, sum(map(len, columns))

    def _insert_chunk(self, piece: list[Lot], columns: tuple[bytes, ...], size: int, received: int) -> None:
        runs: list[int] = []
        by_resource: dict[int, list[int]] = {}
        for lot in piece:
            resource = self._resource(lot.resource)
            text = sum(map(len, lot.bodies))
            found = [len(lot.bodies), text, min(lot.times), max(lot.times)]
            runs += (resource, found[0])
            seen = by_resource.get(resource)
            if seen:
                found = [seen[0] + found[0], seen[1] + text, min(seen[2], found[2]), max(seen[3], found[3])]
            by_resource[resource] = found
            self._remember_names(lot)
        all_runs = by_resource.values()
        items = sum(run[0] for run in all_runs)
        self._connection.execute(
            "INSERT INTO chunk VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                self._next,
                items,
                received,
                min(run[2] for run in all_runs),
                max(run[3] for run in all_runs),
                size,
                np.array(runs, "<u4").tobytes(),
                *columns,
            ),
        )
        self._connection.executemany(
            "INSERT INTO run VALUES (?,?,?,?,?,?)",
            [(self._next, resource, *run) for resource, run in by_resource.items()],
        )
        self._next += items
        total = self.totals[Signal.LOGS]
        total.accepted += items
        total.accepted_bytes += sum(run[1] for run in all_runs)

    def _insert_group(self, group: ItemGroup, data: bytes, received: int) -> None:
        self._connection.execute(
            "INSERT INTO item_group (signal, resource, items, received, size, format, data) VALUES (?,?,?,?,?,?,?)",
            (group.signal, self._resource(group.resource), group.items, received, len(data), group.format, data),
        )
        total = self.totals[group.signal]
        total.accepted += group.items
        total.accepted_bytes += len(group.data)

    def _insert_samples(self, samples: Samples, received: int) -> None:
        self._sample_rows.insert(samples, received)
        if self._sample_rows.ripe:
            self.registry.save_seen(self._sample_rows.gather())
        self.totals[Signal.METRICS].accepted += samples.points
        self.totals[Signal.METRICS].accepted_bytes += 16 * len(samples)

    def _insert_spans(self, lots: Sequence[SpanLot], received: int) -> None:
        for lot in lots:
            lot.spans.columns["resource"] = np.full(len(lot.spans), self._resource(lot.resource), "<u4")
        spans = joined([lot.spans for lot in lots])
        self._span_rows.insert(spans, received)
        self.totals[Signal.TRACES].accepted += len(spans)
        self.totals[Signal.TRACES].accepted_bytes += int(spans.columns["length"].sum())

    def _resource(self, attributes: Mapping[str, Any]) -> int:
        """The number of a resource; the same attributes, in whatever order, are the same resource."""
        text = _json.encode(attributes).decode()
        number = self._resources.get(text)
        if number is None:
            self._connection.execute("INSERT OR IGNORE INTO resource (attributes) VALUES (?)", (text,))
            (number,) = self._connection.execute("SELECT id FROM resource WHERE attributes = ?", (text,)).fetchone()
            if len(self._resources) > 20_000:
                self._resources.clear()
            self._resources[text] = number
        return number

    def _remember_names(self, lot: Lot) -> None:
        if not lot.extras or len(self._names) >= _ATTRIBUTE_NAMES:
            return
        new = {name for extra in lot.extras if extra is not None for name in extra.attributes} - self._names
        if new:
            self._names |= new
            self._connection.executemany("INSERT OR IGNORE INTO attribute VALUES (?)", [(name,) for name in new])

    def _write_totals(self) -> None:
        self._connection.executemany(
            "UPDATE total SET accepted = ?, accepted_bytes = ?, expired = ? WHERE signal = ?",
            [(t.accepted, t.accepted_bytes, t.expired, signal) for signal, t in self.totals.items()],
        )

    # --- expire -------------------------------------------------------------------------------------------------

    def expire(self, now: int) -> None:
        """Let go what is too old at `now` (Unix nanoseconds), in a transaction of its own."""
        if not self.limits.max_age:
            return
        with self._transaction():
            self._make_room(0, 0, now)

    def _make_room(self, incoming: int, records: int, now: int) -> None:
        limits = self.limits
        if limits.max_age:
            cutoff = now - int(limits.max_age * 1e9)
            while self._drop_oldest(cutoff):
                pass
        if limits.max_records:
            while self._held_records + records > limits.max_records and self._drop_oldest(logs_only=True):
                pass
        if limits.max_size:
            room = limits.max_size - incoming - _SLACK
            while self.size > room and self._drop_oldest():
                pass
        many = self._expired_since_sweep >= 256
        if many or (self._samples_expired and limits.max_series and len(self.registry) >= limits.max_series):
            self._sweep(now)

    @property
    def _held_records(self) -> int:
        return self.totals[Signal.LOGS].accepted - self.totals[Signal.LOGS].expired

    def _drop_oldest(self, cutoff: int = LATEST, *, logs_only: bool = False) -> bool:
        """Drop the oldest row of what arrived before `cutoff`; say whether there was one."""
        oldest = [found for table in (_LOGS_ONLY if logs_only else _TABLES) if (found := self._oldest(table, cutoff))]
        if not oldest:
            return False
        _, table, number, items, signal = min(oldest)
        self._connection.execute(f"DELETE FROM {table} WHERE id = ?", (number,))  # noqa: S608 - constants
        if table == "chunk":
            self._connection.execute("DELETE FROM run WHERE chunk = ?", (number,))
        if table == "span_chunk":
            self._connection.execute("DELETE FROM span_run WHERE chunk = ?", (number,))
            self._span_rows.load()
        if table == "sample_chunk":
            self._sample_rows.load()
            self._samples_expired = True
        self.totals[Signal(signal)].expired += items
        self._expired_since_sweep += 1
        return True

    def _oldest(self, table: str, cutoff: int) -> tuple[int, str, int, int, str] | None:
        """When it arrived, table, number, items and signal of a table's oldest row."""
        row = self._connection.execute(
            f"SELECT received, '{table}', id, {_TABLES[table]} FROM {table} WHERE received < ? "  # noqa: S608
            f"ORDER BY {'id' if table == 'item_group' else 'received, id'} LIMIT 1",
            (cutoff,),
        ).fetchone()
        return tuple(row) if row else None

    def _sweep(self, now: int) -> None:
        """Forget series and resources that nothing is left of; what has arrived `now` stays."""
        self._expired_since_sweep = 0
        first = self._connection.execute
        if self._samples_expired:
            self._samples_expired = False
            (since,) = first("SELECT min(since) FROM sample_chunk").fetchone()
            self.registry.sweep(now if since is None else min(since, now))
        self._resources.clear()
        first(
            "DELETE FROM resource WHERE id NOT IN "
            "(SELECT resource FROM run UNION SELECT resource FROM item_group UNION SELECT resource FROM series"
            " UNION SELECT resource FROM span_run)"
        )


# What is held, by table: the items of a row and their signal, in SQL. Rows of item_group are in the order of arrival.
_TABLES = {
    "chunk": "items, 'logs'",
    "item_group": "items, signal",
    "sample_chunk": "points, 'metrics'",
    "span_chunk": "items, 'traces'",
}
_LOGS_ONLY = ("chunk",)


def problem(error: sqlite3.Error) -> str:
    """What to tell a client whose records could not be stored."""
    return f"the store cannot be written: {error}"
