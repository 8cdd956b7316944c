"""State on disk: key spaces, transactions with hooks."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hawse.diagnostics import HawseError
from hawse.state.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    made = Storage()
    made.open_storage(str(tmp_path))
    yield made
    made.close_storage()


def test_hooks_write_in_the_transaction_that_they_belong_to(storage: Storage) -> None:
    storage.connection.execute("CREATE TABLE seen (keys INTEGER)")

    def hook(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO seen SELECT count(*) FROM state")

    detach = storage.attach(hook)
    keys = storage.keyspace("one")
    keys.put({"a": b"1"})
    keys.put({"b": b"2"})
    detach()
    keys.put({"c": b"3"})
    assert storage.connection.execute("SELECT keys FROM seen").fetchall() == [(1,), (2,)]
    assert dict(keys.items()) == {"a": b"1", "b": b"2", "c": b"3"}


def test_a_hook_that_fails_takes_the_transaction_back(storage: Storage) -> None:
    keys = storage.keyspace("one")
    keys.put({"a": b"1"})

    def hook(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM state")
        raise sqlite3.OperationalError("database or disk is full")

    storage.attach(hook)
    with pytest.raises(OSError, match="disk is full"):
        keys.put({"b": b"2"})
    assert dict(keys.items()) == {"a": b"1"}


@pytest.mark.parametrize(("fsync", "level"), [(False, 1), (True, 2)])
def test_the_disk_confirms_transactions_where_asked(tmp_path: Path, fsync: bool, level: int) -> None:
    made = Storage()
    made.open_storage(str(tmp_path), fsync=fsync)
    assert made.connection.execute("PRAGMA synchronous").fetchone() == (level,)
    made.close_storage()


def test_a_file_that_can_only_be_read_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite opens it for reading, and would keep to that when the volume has been mended."""
    made = Storage()
    made.open_storage(str(tmp_path))
    made.keyspace("one").put({"a": b"1"})
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **_: connect(f"file:{path}?mode=ro", uri=True))
    with pytest.raises(HawseError, match="cannot keep state in .*readonly"):
        Storage().open_storage(str(tmp_path))
    monkeypatch.undo()
    made.close_storage()
