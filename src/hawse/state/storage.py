"""Small state that must outlive the process: offsets, cursors, versions.

SQLite in WAL mode: what was put survives the death of the process at any moment. The death of the machine may take
the last moments with it, unless `fsync` has the disk confirm each transaction.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeAlias

from hawse.diagnostics import HawseError
from hawse.state.salvage import salvage

log = logging.getLogger(__name__)

# How large a file beside ours may grow before it is done with (the journal; the queues' segments): a share of the
# volume, so that they fit on small ones.
_SHARE, _SHARE_LEAST, _SHARE_MOST = 64, 1 << 20, 16 << 20
_JOURNAL = 4 << 20
_LITTLE = 2 << 20  # bytes left, beside room for the journal, on a disk that is as good as full

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

    def put(self, values: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
        """Set and delete keys in one transaction. Raises OSError if the disk does not take it."""
        with self._storage.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO state VALUES (?, ?, ?, unixepoch())",
                ((self._owner, key, value) for key, value in values.items()),
            )
            connection.executemany(
                "DELETE FROM state WHERE owner = ? AND key = ?", ((self._owner, key) for key in delete)
            )


class Storage:
    """One SQLite file in a folder of its own. Open it with `open_storage`."""

    path: str
    directory: str
    fsync: bool
    connection: sqlite3.Connection
    journal: int  # bytes that the journal beside the file may have
    share: int  # bytes that another file in the folder may have
    damaged = False  # whether the file was found damaged since the process began
    failure: str = ""  # why the disk did not take the last transaction
    _hooks: tuple[Hook, ...] = ()
    _recovered: tuple[Callable[[], None], ...] = ()

    def open_storage(self, directory: str, *, fsync: bool = False) -> None:
        """Open or create `state.db` in `directory`.

        Of a file that is damaged, what can be read is saved into a new one, and the old one set aside under another
        name, which the log tells. Raises HawseError if the folder can't be used.
        """
        self.directory = directory
        self.fsync = fsync
        self.path = os.path.join(directory, "state.db")
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self.connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._unusable(directory, error) from None
            self._begin_anew(error)
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
            connection.execute(f"PRAGMA synchronous = {'FULL' if self.fsync else 'NORMAL'}")
            self._bound_journal(connection)
            _check(connection)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS state (owner TEXT, key TEXT, value BLOB, updated INTEGER,"
                " PRIMARY KEY (owner, key)) WITHOUT ROWID"
            )
            # On a read-only volume SQLite opens for reading without a word, and stays so when the volume is mended.
            connection.execute("BEGIN")
            connection.execute("INSERT OR REPLACE INTO state VALUES ('', '', '', 0)")
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
        return connection

    def _bound_journal(self, connection: sqlite3.Connection) -> None:
        volume = os.statvfs(self.directory)
        self.share = max(_SHARE_LEAST, min(volume.f_blocks * volume.f_frsize // _SHARE, _SHARE_MOST))
        self.journal = min(self.share, _JOURNAL)
        page: int = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA wal_autocheckpoint = {self.journal // page}")
        connection.execute(f"PRAGMA journal_size_limit = {self.journal}")

    def attach(self, hook: Hook) -> Callable[[], None]:
        """Have `hook(connection)` called at the end of every transaction that commits state, inside of it.

        What it writes is on disk if, and only if, the rest is. An exception that it raises takes the transaction
        back. It must not begin, commit or roll back. Returns what takes the hook out again.
        """
        self._hooks = (*self._hooks, hook)

        def detach() -> None:
            self._hooks = tuple(one for one in self._hooks if one is not hook)

        return detach

    def on_recovered(self, callback: Callable[[], None]) -> None:
        """Have `callback()` called when the file was found damaged, and a new one has what could be saved of it."""
        self._recovered = (*self._recovered, callback)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction with all hooks: committed at the block's end, taken back where anything raises.

        Raises OSError, which names the file, where the disk does not take it.
        """
        try:
            with self.connection as connection:
                yield connection
                for hook in self._hooks:
                    hook(connection)
        except sqlite3.Error as error:
            self.failure = f"{self.path}: {error}"
            self.recover(error)
            raise OSError(self.failure) from error
        self.failure = ""

    def problem(self) -> str:
        """Why the disk would not take state now; "" where nothing is known to be in the way.

        After a failure it is asked again: without data coming in, nobody else would find out that it is well again.
        """
        try:
            volume = os.statvfs(self.directory)
            if self.failure:
                with self.transaction() as connection:
                    connection.execute("INSERT OR REPLACE INTO state VALUES ('', 'probe', x'', unixepoch())")
        except OSError as error:
            return str(error)
        if volume.f_flag & os.ST_RDONLY:
            return f"{self.directory} is on a read-only volume"
        free = volume.f_bavail * volume.f_frsize
        return f"{self.directory} has {free >> 10} KiB left" if free < _LITTLE + self.journal else ""

    def recover(self, error: sqlite3.Error) -> None:
        """If an error says that the file is damaged, begin a new one with what can be read of it."""
        if _damaged(error):
            self.connection.close()
            self._begin_anew(error)
            for callback in self._recovered:
                callback()

    def _begin_anew(self, error: Exception) -> None:
        self.damaged = True
        aside = f"{self.path}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}"
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.path + suffix):
                os.replace(self.path + suffix, aside + suffix)
        self.connection = self._connect()
        try:
            saved = salvage(aside, self.connection)
        except sqlite3.Error as failure:
            log.error("%s is damaged (%s): set aside as %s; saving it failed: %s", self.path, error, aside, failure)
            return
        kept = ", ".join(map(str, saved)) or "nothing"
        log.error("%s is damaged (%s): set aside as %s; saved into a new one: %s", self.path, error, aside, kept)
        self._forget_older(aside)

    def _forget_older(self, aside: str) -> None:
        """Damaged files must not fill the disk: the newest one stays."""
        for name in os.listdir(self.directory):
            path = os.path.join(self.directory, name)
            if path.startswith(f"{self.path}.corrupt-") and not path.startswith(aside):
                with suppress(OSError):
                    os.unlink(path)

    def keyspace(self, owner: str) -> KeySpace:
        """The keys that belong to a component id."""
        return KeySpace(self, owner)

    def close_storage(self) -> None:
        """Close the file; it then has no journal beside it."""
        self.connection.close()


def _damaged(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _check(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError for a damaged file."""
    if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(found)
