"""Damaged state files: what can be read is saved."""

import os
import sqlite3

import pytest

from hawse.state.storage import Storage


def opened(folder):
    storage = Storage()
    storage.open_storage(str(folder))
    return storage


def filled(folder, rows=3000):
    """A file of some hundred pages: keys of two owners, and a table with row numbers."""
    storage = opened(folder)
    keys = {f"{number:05}": bytes([number % 251]) * 300 for number in range(rows)}
    storage.keyspace("one").put(keys)
    storage.keyspace("two").put({"offset": b"42"})
    with storage.transaction() as connection:
        connection.execute("CREATE TABLE numbered (id INTEGER PRIMARY KEY, value BLOB)")
        connection.executemany("INSERT INTO numbered VALUES (?, ?)", ((n, os.urandom(500)) for n in range(1, rows)))
    storage.close_storage()
    return keys


def pages_of(folder, table):
    """The numbers of the table's leaf pages."""
    connection = sqlite3.connect(folder / "state.db")
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    connection.close()
    data = (folder / "state.db").read_bytes()

    def leaves(page):
        at = (page - 1) * size
        if data[at] not in {2, 5}:  # no inner page, whose cells begin with the number of a child
            return [page]
        cells = int.from_bytes(data[at + 3 : at + 5], "big")
        places = [int.from_bytes(data[at + 12 + 2 * n : at + 14 + 2 * n], "big") for n in range(cells)]
        children = [int.from_bytes(data[at + place : at + place + 4], "big") for place in places]
        return [leaf for child in children for leaf in leaves(child)]

    return size, leaves(root)


@pytest.mark.parametrize("table", ["state", "numbered"])
def test_rows_on_both_sides_of_damaged_pages_are_saved(tmp_path, table, caplog):
    keys = filled(tmp_path)
    size, pages = pages_of(tmp_path, table)
    assert len(pages) > 20
    with (tmp_path / "state.db").open("r+b") as file:
        for page in (pages[5], pages[12]):
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
    storage = opened(tmp_path)
    saved = dict(storage.keyspace("one").items())
    numbered = [row[0] for row in storage.connection.execute("SELECT id FROM numbered ORDER BY id")]
    assert saved.items() <= keys.items()
    if table == "state":
        assert 1000 < len(saved) < 3000
        assert {"00000", "02999"} <= set(saved)
        assert numbered == list(range(1, 3000))
    else:
        assert len(saved) == 3000
        assert 2950 < len(numbered) < 2999  # between the two damaged pages, too
    assert dict(storage.keyspace("two").items()) == {"offset": b"42"}
    storage.keyspace("one").put({"new": b"1"})
    storage.close_storage()
    (told,) = [record.getMessage() for record in caplog.records]
    assert "is damaged" in told
    assert f"rows of {table} (not all)" in told
    assert any(name.startswith("state.db.corrupt-") for name in os.listdir(tmp_path))


def test_a_file_that_is_no_database_is_set_aside(tmp_path, caplog):
    filled(tmp_path, 10)
    (tmp_path / "state.db").write_bytes(b"no database at all " * 1000)
    storage = opened(tmp_path)
    assert dict(storage.keyspace("one").items()) == {}
    storage.close_storage()
    assert "saved into a new one: nothing" in caplog.text


def test_only_the_newest_damaged_file_is_kept(tmp_path):
    for name in ("state.db.corrupt-20200101-000000", "state.db.corrupt-20200101-000000-wal"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "state.db").write_bytes(b"no database at all " * 1000)
    opened(tmp_path).close_storage()
    aside = [name for name in os.listdir(tmp_path) if "corrupt" in name]
    assert len(aside) == 1
    assert "20200101" not in aside[0]


def test_damage_found_later_is_told_to_who_asked(tmp_path, caplog):
    filled(tmp_path, 100)
    storage = opened(tmp_path)
    told = []
    storage.on_recovered(lambda: told.append(1))
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def hook(_):
        raise error

    detach = storage.attach(hook)
    with pytest.raises(OSError, match="malformed"):
        storage.keyspace("one").put({"x": b"1"})
    detach()
    assert told == [1]
    assert len(dict(storage.keyspace("one").items())) == 100
    storage.keyspace("one").put({"x": b"1"})
    storage.close_storage()
