"""Batches on disk, in the order in which they came: rows in the state file, a table for each exporter, and their
payloads in files beside it.

A row is put when its payload is written, so a payload without a row was never taken, and is nobody's. The payload is
whatever the owner says.
"""

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from hawse.state.segments import Damaged, Segments
from hawse.state.storage import Storage

_PREFIX = "queue:"
_COLUMNS = "id, created, signal, items, size, sources, segment, position, row_size"
_sources = msgspec.json.Decoder(dict[str, int]).decode
_encode = msgspec.json.Encoder().encode


class _Row(msgspec.Struct, array_like=True):
    """What lies before a payload."""

    id: int
    created: float
    signal: str
    items: int
    sources: dict[str, int]


_row = msgspec.json.Decoder(_Row).decode


class Entry(msgspec.Struct):
    """A batch in line. `created` is in seconds since 1970; `sources` has the items of each source.

    `payload` is None where it lies on disk only: in the file number `segment`, at `position`.
    """

    id: int
    created: float
    signal: str
    items: int
    size: int
    sources: dict[str, int]
    payload: bytes | None = None
    segment: int = 0
    position: int = 0
    row_size: int = 0


class DiskQueue:
    """The rows and payloads of one exporter. Whoever puts or deletes does so inside `Storage.transaction`."""

    def __init__(self, storage: Storage, name: str) -> None:
        """Raises OSError where the disk does not have it, and can't be made to."""
        self.storage = storage
        self._table = '"' + (_PREFIX + name).replace('"', '""') + '"'
        self._segments = Segments(storage.directory, name, storage.share, fsync=storage.fsync)
        self._open(restore=self._create() or storage.damaged)

    def _create(self) -> bool:
        """Make the table; whether it was not there yet."""
        try:
            self.storage.connection.execute(
                f"CREATE TABLE {self._table} (id INTEGER PRIMARY KEY, created REAL, signal TEXT,"
                " items INTEGER, size INTEGER, sources TEXT, segment INTEGER, position INTEGER, row_size INTEGER)"
            )
        except sqlite3.Error as error:
            if str(error).endswith("already exists"):
                return False
            raise OSError(f"{self.storage.path}: {error}") from error
        return True

    def restored(self) -> None:
        """The state file was damaged, and is a new one: make the rows again that are missing. Raises OSError."""
        self._create()
        self._open(restore=True)

    def _open(self, *, restore: bool) -> None:
        if restore:
            known = {entry.id for entry in self.everything()}
            missing = [entry for entry in self._scanned() if entry.id not in known]
            if missing:
                with self.storage.transaction() as connection:
                    self._insert(connection, missing)
        self._segments.forget()
        for segment, payloads in self._select(f"SELECT segment, count(*) FROM {self._table} GROUP BY segment"):  # noqa: S608
            self._segments.keep(segment, payloads)
        self._segments.sweep()

    def _scanned(self) -> Iterator[Entry]:
        """What the files hold. Some of it may have been sent, and is sent again: better twice than never."""
        for number in self._segments.numbers():
            for raw, position, size in self._segments.frames(number):
                try:
                    row = _row(raw)
                except msgspec.MsgspecError:
                    continue
                place = (number, position, len(raw))
                yield Entry(row.id, row.created, row.signal, row.items, size, row.sources, None, *place)

    # --- rows

    def put(self, connection: sqlite3.Connection, entries: list[Entry]) -> None:
        """Add entries, with their payloads. Raises OSError."""
        rows = [_encode(_Row(one.id, one.created, one.signal, one.items, one.sources)) for one in entries]
        frames = [(row, entry.payload or b"") for row, entry in zip(rows, entries, strict=True)]
        for entry, (row, _), place in zip(entries, frames, self._segments.append(frames), strict=True):
            entry.segment, entry.position = place
            entry.row_size = len(row)
        self._insert(connection, entries)

    def _insert(self, connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
        connection.executemany(
            f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - quoted
            (
                (
                    entry.id,
                    entry.created,
                    entry.signal,
                    entry.items,
                    entry.size,
                    _encode(entry.sources).decode(),
                    entry.segment,
                    entry.position,
                    entry.row_size,
                )
                for entry in entries
            ),
        )

    def keep(self, entries: Iterable[Entry]) -> None:
        """The transaction that put them is committed."""
        for entry in entries:
            self._segments.keep(entry.segment)

    def delete(self, connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
        """Delete rows; `forget` then lets go of the payloads."""
        connection.executemany(f"DELETE FROM {self._table} WHERE id = ?", ((entry.id,) for entry in entries))  # noqa: S608

    def forget(self, entries: Iterable[Entry]) -> None:
        """The transaction that deleted them is committed."""
        for entry in entries:
            self._segments.release(entry.segment)

    def page(self, after: int, most: int) -> list[Entry]:
        """Up to `most` rows with larger ids, in order, without payloads. Raises OSError."""
        rows = self._select(
            f"SELECT {_COLUMNS} FROM {self._table} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - quoted
            (after, most),
        )
        return [
            Entry(id_, created, signal, items, size, _sources(sources), None, *place)
            for id_, created, signal, items, size, sources, *place in rows
        ]

    def payload(self, entry: Entry) -> bytes:
        """The payload of an entry. Raises Damaged, or OSError where it can't be read now."""
        return self._segments.read(entry.segment, entry.position, entry.size, entry.row_size)

    def everything(self) -> Iterator[Entry]:
        """All rows, in order, without payloads. Raises OSError."""
        after = 0
        while rows := self.page(after, 1000):
            yield from rows
            after = rows[-1].id

    def close(self) -> None:
        """Close the files. The storage is its owner's to close."""
        self._segments.close()

    def _select(self, query: str, values: tuple[int, ...] = ()) -> list[sqlite3.Row]:
        try:
            return self.storage.connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.storage.recover(error)
            raise OSError(f"{self.storage.path}: {error}") from error


__all__ = ["Damaged", "DiskQueue", "Entry"]
