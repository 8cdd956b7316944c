"""The ledger on disk: in the state file, written in the transactions that commit offsets and queues.

One row a source: a JSON list of [account, items], accounts in a table of their own. Rows that have changed are written
again with every transaction: what is on disk belongs together, whenever the process dies.
"""

import asyncio
import contextlib
import logging
import os
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.accounts import Account, Outcome
from hawse.state.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITTEN_EVERY = 1.0  # seconds
_log = logging.getLogger("hawse.ledger")
_TABLES = (
    "CREATE TABLE IF NOT EXISTS ledger (source TEXT PRIMARY KEY, counts BLOB) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS ledger_accounts (number INTEGER PRIMARY KEY, account BLOB)",
    # Which ledger this is of the process's storages, and whether the last write was committed.
    "CREATE TABLE IF NOT EXISTS ledger_written (id INTEGER PRIMARY KEY CHECK (id = 1), times INTEGER, since REAL)",
)
_counts = msgspec.json.Decoder(list[tuple[int, int]])
_account = msgspec.json.Decoder(Account)
_encode = msgspec.json.Encoder().encode


class Kept:
    """A ledger and a storage that it is written to."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self._ledger = ledger
        self._storage = storage
        self._books = ledger.books
        self._changed: set[str] = set(self._books.rows)  # what the ledger knows already is to be written, too
        self._unsure: set[str] = set()  # written, and perhaps taken back
        self._accounts = 0  # how many of the ledger's accounts are on disk
        self._unsure_accounts = 0
        self._times = 0
        self._connection: sqlite3.Connection | None = None
        self._detach: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Take up what the last process left, if nothing was yet, and write from now on. Never raises for the disk."""
        self._books.changed.append(self._changed)
        try:
            with self._storage.connection as connection:
                if not self._books.rows:  # else it is a reload, or another storage has told
                    self._restore(connection)
                self._write(connection)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self._connection = None
            _log.error("the ledger kept in %s can't be used (%s): it begins anew", self._storage.path, error)
        self._detach = self._storage.attach(self._write)

    async def run(self) -> None:
        """Write once a second what no other transaction has written: records that were only filtered, say."""
        while True:
            await asyncio.sleep(_WRITTEN_EVERY)
            if self._changed or self._unsure:
                with contextlib.suppress(OSError), self._storage.transaction():  # the storage tells of failures
                    pass  # its hook is what writes

    def close(self) -> None:
        """Write what is new, and write no more."""
        self._detach()
        self._books.changed = [one for one in self._books.changed if one is not self._changed]
        try:
            with self._storage.connection as connection:
                self._write(connection)
        except sqlite3.Error as error:
            _log.warning("the last of the ledger could not be written to %s: %s", self._storage.path, error)

    def _restore(self, connection: sqlite3.Connection) -> None:
        for table in _TABLES:
            connection.execute(table)
        restore(self._ledger, connection)

    def _write(self, connection: sqlite3.Connection) -> None:
        """The hook: about 3 µs for each source that has changed."""
        if connection is not self._connection:
            self._begin(connection)
        written = connection.execute("SELECT times FROM ledger_written").fetchone()
        times = written[0] if written else 0
        if times != self._times:  # the transaction before this one was taken back
            self._changed |= self._unsure
            self._accounts, self._times = self._unsure_accounts, times
        self._unsure.clear()
        if not self._changed:
            return
        books, changed = self._books, self._changed
        new = [(n, _encode(one)) for n, one in enumerate(books.accounts[self._accounts :], self._accounts)]
        connection.executemany("INSERT OR REPLACE INTO ledger_accounts VALUES (?, ?)", new)
        kept = [(source, _encode(list(books.rows[source].items()))) for source in changed if source in books.rows]
        connection.executemany("INSERT OR REPLACE INTO ledger VALUES (?, ?)", kept)
        if len(kept) < len(changed):
            gone = [(source,) for source in changed if source not in books.rows]
            connection.executemany("DELETE FROM ledger WHERE source = ?", gone)
        self._times += 1
        connection.execute("INSERT OR REPLACE INTO ledger_written VALUES (1, ?, ?)", (self._times, self._ledger.since))
        self._unsure, self._unsure_accounts = set(changed), self._accounts
        self._accounts = len(books.accounts)
        changed.clear()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """A file that has nothing of this process yet: numbers of accounts are our own, rows of others have to go."""
        for table in _TABLES:
            connection.execute(table)
        for table in ("ledger", "ledger_accounts", "ledger_written"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
        self._changed |= set(self._books.rows)
        self._connection, self._accounts, self._times = connection, 0, 0
        self._unsure, self._unsure_accounts = set(), 0


def kept(directory: str) -> Ledger:
    """The ledger that a process has left in its state folder, or that a running one has written last.

    Raises OSError where there is none, or it can't be read.
    """
    path = os.path.join(directory, "state.db")
    if not os.path.exists(path):
        raise OSError(f"there is no {path}")
    ledger = Ledger()
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5)
    try:
        restore(ledger, connection)
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise OSError(f"{path} holds no ledger: {error}") from None
    finally:
        connection.close()
    return ledger


def restore(ledger: Ledger, connection: sqlite3.Connection) -> None:
    """Take up what is written. Raises sqlite3.Error and msgspec's errors."""
    books = ledger.books
    numbers = {
        number: books.number(_account.decode(account))
        for number, account in connection.execute("SELECT number, account FROM ledger_accounts")
    }
    found = connection.execute("SELECT source, counts FROM ledger").fetchall()
    since = connection.execute("SELECT since FROM ledger_written").fetchone()
    for source, counts in [(source, _counts.decode(counts)) for source, counts in found]:
        books.add([(numbers[number], source, items) for number, items in counts if number in numbers])
        ledger.sources.names.add(source)
    if since:
        ledger.since = since[0]
    _make_even(ledger)


def _make_even(ledger: Ledger) -> None:
    """What was ahead of its receipt is received: its sender had no answer, and sends it again."""
    books = ledger.books
    for number, account in list(enumerate(books.accounts)):
        if account.outcome is Outcome.AHEAD:
            received = ledger.service(account.signal, Outcome.RECEIVED)
            ahead = [(source, row[number]) for source, row in books.rows.items() if row.get(number)]
            books.add([entry for s, n in ahead for entry in ((number, s, -n), (received, s, n))])
