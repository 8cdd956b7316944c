"""What can still be read of a damaged SQLite file, copied into a new one.

A damaged page takes the rows on it with it, not those before and behind: tables are read from both ends, and what
lies between is asked for row by row.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]
_PROBED = 200_000  # rows between two damaged places that are asked for one by one
_GROUP = 32 << 20  # bytes, roughly, copied in one transaction


class Saved:
    """What became of a table."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.rows = 0
        self.complete = True

    def __str__(self) -> str:
        return f"{self.rows} rows of {self.table}" + ("" if self.complete else " (not all)")


def salvage(path: str, into: sqlite3.Connection) -> list[Saved]:
    """Copy all tables of the file at `path` that can be read. Raises sqlite3.Error where `into` does not take them."""
    source = sqlite3.connect(path)
    try:
        source.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            definitions = source.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL AND name NOT GLOB 'sqlite_*' ORDER BY type DESC"
            ).fetchall()
        except sqlite3.DatabaseError:
            return []
        present = {name for (name,) in into.execute("SELECT name FROM sqlite_master")}
        saved = []
        for name, definition in definitions:
            with contextlib.suppress(sqlite3.DatabaseError):  # a definition may be damaged, too
                if name not in present:
                    into.execute(definition)
                if definition.upper().lstrip().startswith("CREATE TABLE"):
                    saved.append(_copy(source, into, name))
        return saved
    finally:
        source.close()


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> Saved:
    saved = Saved(table)
    size = 0
    name = _quoted(table)
    for row in _readable(source, table, saved):
        marks = ",".join("?" * len(row))
        into.execute(f"INSERT OR IGNORE INTO {name} VALUES ({marks})", row)  # noqa: S608 - quoted
        saved.rows += 1
        size += 64 + sum(len(value) for value in row if isinstance(value, str | bytes))
        if size > _GROUP:
            into.commit()
            size = 0
    into.commit()
    return saved


def _readable(source: sqlite3.Connection, table: str, saved: Saved) -> Iterator[Row]:
    keys = [row[1] for row in source.execute(f"PRAGMA table_info({_quoted(table)})") if row[5]]
    try:
        source.execute(f"SELECT rowid FROM {_quoted(table)} LIMIT 0")  # noqa: S608 - quoted
    except sqlite3.OperationalError:
        yield from _from_both_ends(source, table, keys, saved)
    except sqlite3.DatabaseError:
        saved.complete = False
    else:
        yield from _by_number(source, table, saved)


def _from_both_ends(source: sqlite3.Connection, table: str, keys: list[str], saved: Saved) -> Iterator[Row]:
    """A table without row numbers: all up to the first damage, and all behind the last one."""
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{_quoted(key)} {direction}" for key in keys)
        try:
            yield from source.execute(f"SELECT * FROM {_quoted(table)} ORDER BY {order}")  # noqa: S608 - quoted
        except sqlite3.DatabaseError:
            saved.complete = False
        else:
            return


def _by_number(source: sqlite3.Connection, table: str, saved: Saved) -> Iterator[Row]:
    first, last = -(1 << 62), 1 << 62  # what is not read yet lies between
    for step, way in ((1, "> ? ORDER BY rowid"), (-1, "< ? ORDER BY rowid DESC")):
        at = first if step > 0 else last
        while True:
            try:
                for number, *row in source.execute(_select(table, "rowid, *", way), (at,)):
                    if not first < number < last:
                        return
                    at = number
                    yield tuple(row)
                break
            except sqlite3.DatabaseError:
                saved.complete = False
            try:  # which row it was: its number may be readable where its content is not
                following = source.execute(_select(table, "rowid", way) + " LIMIT 1", (at,)).fetchone()
            except sqlite3.DatabaseError:
                following = None
            if following is None or not first < following[0] < last:
                break
            at = following[0]
        if saved.complete:
            return
        first, last = (at, last) if step > 0 else (first, at)
    for number in range(first + 1, min(last, first + _PROBED)):
        with contextlib.suppress(sqlite3.DatabaseError):
            yield from source.execute(_select(table, "*", "= ?"), (number,))


def _select(table: str, what: str, way: str) -> str:
    return f"SELECT {what} FROM {_quoted(table)} WHERE rowid {way}"  # noqa: S608 - quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
