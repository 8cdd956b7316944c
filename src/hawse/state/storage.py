"""Small state that must outlive the process: offsets, cursors, versions.

SQLite in WAL mode with `synchronous=NORMAL`: what was put survives the death of the process at any moment; the death
of the machine may take the last moments with it (they are then delivered twice, never lost).
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from hawse.diagnostics import HawseError

log = logging.getLogger(__name__)

Hook: TypeAlias = Callable[[sqlite3.Connection], None]


class KeySpace:
    """The keys of one owner. Values are bytes."""

    def __init__(self, storage: "Storage", owner: str) -> None:
        self._storage = storage
        self._owner = owner

    def items(self) -> Iterator[tuple[str, bytes]]:
        """All keys with their values."""
        rows = self._storage.connection.execute("SELECT key, value FROM state WHERE owner = ?", (self._owner,))
        yield from rows.fetchall()

    def updated(self) -> int | None:
        """When a key was last put (seconds since 1970), or None if there is none."""
        row = self._storage.connection.execute("SELECT max(updated) FROM state WHERE owner = ?", (self._owner,))
        value: int | None = row.fetchone()[0]
        return value

    def put(self, values: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
        """Set and delete keys in one transaction. Raises OSError if the disk does not take it."""
        try:
            with self._storage.transaction() as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO state VALUES (?, ?, ?, unixepoch())",
                    ((self._owner, key, value) for key, value in values.items()),
                )
                connection.executemany(
                    "DELETE FROM state WHERE owner = ? AND key = ?", ((self._owner, key) for key in delete)
                )
        except sqlite3.Error as error:
            raise OSError(f"{self._storage.path}: {error}") from error


class Storage:
    """One SQLite file in a folder of its own. Open it with `open_storage`."""

    path: str
    connection: sqlite3.Connection
    _hooks: tuple[Hook, ...] = ()

    def open_storage(self, directory: str) -> None:
        """Open or create `state.db` in `directory`.

        A file that is no database any more is set aside under another name and a new one begun: the process works,
        the log says what was set aside. Raises HawseError if the folder can't be used.
        """
        self.path = os.path.join(directory, "state.db")
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self.connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._unusable(directory, error) from None
            self._set_aside(error)
            self.connection = self._connect()
        except OSError as error:
            raise self._unusable(directory, error) from None

    def _unusable(self, directory: str, error: Exception) -> HawseError:
        return HawseError.of(
            "HW301",
            f"cannot keep state in {directory}: {getattr(error, 'strerror', None) or error}",
            fix=f"let uid {os.getuid()} write there (a volume, its fsGroup), or name another directory",
            path="extensions.file_storage.directory",
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS state (owner TEXT, key TEXT, value BLOB, updated INTEGER,"
                " PRIMARY KEY (owner, key)) WITHOUT ROWID"
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: Exception) -> None:
        suffix = f".corrupt-{time.strftime('%Y%m%d-%H%M%S')}"
        for name in (self.path, f"{self.path}-wal", f"{self.path}-shm"):
            if os.path.exists(name):
                os.replace(name, name + suffix)
        log.error("%s is damaged (%s): set aside as %s%s, beginning anew", self.path, error, self.path, suffix)

    def attach(self, hook: Hook) -> Callable[[], None]:
        """Have `hook(connection)` called at the end of every transaction that commits state, inside of it.

        What it writes is on disk if, and only if, the rest is. An exception that it raises takes the transaction
        back. It must not begin, commit or roll back. Returns what takes the hook out again.
        """
        self._hooks = (*self._hooks, hook)

        def detach() -> None:
            self._hooks = tuple(one for one in self._hooks if one is not hook)

        return detach

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction with all hooks: committed at the block's end, taken back where anything raises."""
        with self.connection as connection:
            yield connection
            for hook in self._hooks:
                hook(connection)

    def keyspace(self, owner: str) -> KeySpace:
        """The keys that belong to a component id."""
        return KeySpace(self, owner)

    def close_storage(self) -> None:
        """Close the file; it then has no journal beside it."""
        self.connection.close()
