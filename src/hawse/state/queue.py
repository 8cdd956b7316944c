"""Batches on disk, in the order in which they came: one table of the state file for each exporter.

The payload is whatever the owner says, with a checksum; beside it lies what a queue must know without reading it.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator

import msgspec

from hawse.state.storage import Storage

_PREFIX = "queue:"
_sources = msgspec.json.Decoder(dict[str, int]).decode


class Entry(msgspec.Struct):
    """A batch in line. `created` is in seconds since 1970; `sources` has the items of each source.

    `payload` is None where it lies on disk only.
    """

    id: int
    created: float
    signal: str
    items: int
    size: int
    sources: dict[str, int]
    payload: bytes | None = None


class Damaged(Exception):
    """The disk did not give back what was put there."""


class DiskQueue:
    """The rows of one exporter. Whoever puts or deletes rows does so inside `Storage.transaction`."""

    def __init__(self, storage: Storage, name: str) -> None:
        """Raises OSError where the table is not there and can't be made."""
        self.storage = storage
        self._table = '"' + (_PREFIX + name).replace('"', '""') + '"'
        try:
            storage.connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (id INTEGER PRIMARY KEY, created REAL, signal TEXT,"
                " items INTEGER, size INTEGER, sources TEXT, checksum INTEGER, payload BLOB)"
            )
        except sqlite3.Error as error:
            raise OSError(f"{storage.path}: {error}") from error

    def put(self, connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
        """Add rows, with their payloads."""
        connection.executemany(
            f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - quoted
            (
                (
                    entry.id,
                    entry.created,
                    entry.signal,
                    entry.items,
                    entry.size,
                    msgspec.json.encode(entry.sources).decode(),
                    zlib.crc32(entry.payload or b""),
                    entry.payload,
                )
                for entry in entries
            ),
        )

    def delete(self, connection: sqlite3.Connection, ids: Iterable[int]) -> None:
        """Delete rows. Their pages are used again."""
        connection.executemany(f"DELETE FROM {self._table} WHERE id = ?", ((id_,) for id_ in ids))  # noqa: S608

    def page(self, after: int, most: int) -> list[Entry]:
        """Up to `most` rows with larger ids, in order, without payloads. Raises OSError."""
        rows = self._select(
            f"SELECT id, created, signal, items, size, sources FROM {self._table}"  # noqa: S608 - quoted
            " WHERE id > ? ORDER BY id LIMIT ?",
            (after, most),
        )
        return [
            Entry(id_, created, signal, items, size, _sources(of)) for id_, created, signal, items, size, of in rows
        ]

    def payload(self, id_: int) -> bytes:
        """The payload of a row. Raises Damaged, or OSError where it can't be read now."""
        rows = self._select(f"SELECT checksum, payload FROM {self._table} WHERE id = ?", (id_,))  # noqa: S608
        if not rows or zlib.crc32(rows[0][1]) != rows[0][0]:
            raise Damaged(f"{self.storage.path}: row {id_} of {self._table} is damaged")
        payload: bytes = rows[0][1]
        return payload

    def everything(self) -> Iterator[Entry]:
        """All rows, in order, without payloads. Raises OSError."""
        after = 0
        while rows := self.page(after, 1000):
            yield from rows
            after = rows[-1].id

    def give_back(self, pages: int, kept: int) -> bool:
        """Give up to so many unused pages back to the disk, but for those to be kept; whether there are more."""
        connection = self.storage.connection
        try:
            free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
            if free > kept:
                # As a script: `execute` takes one step, which is one page.
                connection.executescript(f"PRAGMA incremental_vacuum({min(pages, free - kept)})")
        except sqlite3.Error:
            return False
        return free - pages > kept

    def _select(self, query: str, values: tuple[int, ...]) -> list[sqlite3.Row]:
        try:
            return self.storage.connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.storage.recover(error)
            raise OSError(f"{self.storage.path}: {error}") from error


def others(storage: Storage, names: Iterable[str]) -> list[tuple[str, int]]:
    """Queues with rows in them whose names are not among `names`: of exporters that are not configured any more."""
    mine = {_PREFIX + name for name in names}
    tables = storage.connection.execute("SELECT name FROM sqlite_master WHERE type='table' AND name GLOB 'queue:*'")
    found = []
    for (table,) in tables.fetchall():
        if table not in mine:
            quoted = '"' + table.replace('"', '""') + '"'
            items = storage.connection.execute(f"SELECT sum(items) FROM {quoted}").fetchone()[0]  # noqa: S608
            if items:
                found.append((table.removeprefix(_PREFIX), items))
    return found
