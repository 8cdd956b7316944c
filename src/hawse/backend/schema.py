"""The store's file: SQLite in WAL mode, so that searches read while records arrive, and kill -9 costs nothing."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

from hawse.diagnostics import HawseError

VERSION = 3
_MAGIC = b"SQLite format 3\0"
PAGE = 4096

# chunk.id is the number of its first record: a record's id is that plus its place, and chunks follow without gaps but
# for those that have expired. run says how many records of which resource a chunk holds, for counts that open none.
_SCHEMA = """
CREATE TABLE resource (id INTEGER PRIMARY KEY AUTOINCREMENT, attributes TEXT NOT NULL UNIQUE);
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY, items INTEGER NOT NULL, received INTEGER NOT NULL,
  min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, size INTEGER NOT NULL,
  runs BLOB NOT NULL, times BLOB NOT NULL, observed BLOB NOT NULL,
  lengths BLOB NOT NULL, bodies BLOB NOT NULL, extras BLOB NOT NULL
);
CREATE INDEX chunk_time ON chunk (max_time, id);
CREATE INDEX chunk_received ON chunk (received, id);
CREATE TABLE run (
  chunk INTEGER NOT NULL, resource INTEGER NOT NULL, items INTEGER NOT NULL, bytes INTEGER NOT NULL,
  min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, PRIMARY KEY (chunk, resource)
) WITHOUT ROWID;
CREATE TABLE attribute (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE item_group (
  id INTEGER PRIMARY KEY AUTOINCREMENT, signal TEXT NOT NULL, resource INTEGER NOT NULL, items INTEGER NOT NULL,
  received INTEGER NOT NULL, size INTEGER NOT NULL, format TEXT NOT NULL, data BLOB NOT NULL
);
CREATE INDEX item_group_signal ON item_group (signal, id);
CREATE TABLE total (
  signal TEXT PRIMARY KEY, accepted INTEGER NOT NULL, accepted_bytes INTEGER NOT NULL, expired INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE next_id (id INTEGER NOT NULL);
INSERT INTO total VALUES ('logs', 0, 0, 0), ('metrics', 0, 0, 0), ('traces', 0, 0, 0);
INSERT INTO next_id VALUES (1);
"""

# Since version 2. A sample_chunk's columns are what metrics/samples.py packs: samples as they came (level 0), or sorted
# by series (level 1). `since` and `received`: when the first and the last of them arrived. series.last is brought up to
# date when level 0 is gathered; digest is of what identifies the series.
METRICS = """
CREATE TABLE metric (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, unit TEXT NOT NULL, description TEXT NOT NULL
);
CREATE INDEX metric_name ON metric (name);
CREATE TABLE series (
  id INTEGER PRIMARY KEY, metric INTEGER NOT NULL, resource INTEGER NOT NULL, labels TEXT NOT NULL,
  digest BLOB NOT NULL, last INTEGER NOT NULL
);
CREATE INDEX series_metric ON series (metric, id);
CREATE INDEX series_resource ON series (resource);
CREATE TABLE sample_chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT, level INTEGER NOT NULL, items INTEGER NOT NULL, points INTEGER NOT NULL,
  since INTEGER NOT NULL, received INTEGER NOT NULL, min_time INTEGER NOT NULL, max_time INTEGER NOT NULL,
  first_series INTEGER NOT NULL, last_series INTEGER NOT NULL, size INTEGER NOT NULL,
  series BLOB NOT NULL, times BLOB NOT NULL, samples BLOB NOT NULL
);
CREATE INDEX sample_chunk_received ON sample_chunk (received, id);
CREATE INDEX sample_chunk_series ON sample_chunk (last_series, first_series, max_time, min_time);
CREATE INDEX sample_chunk_new ON sample_chunk (id) WHERE level = 0;
"""

# Since version 3. A span_chunk's columns are what traces/spans.py packs: spans as they came (level 0), or in the order
# of traces (level 1). `hashes` are those of the traces, ascending; span_run says which resources a chunk has.
TRACES = """
CREATE TABLE span_chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT, level INTEGER NOT NULL, items INTEGER NOT NULL, received INTEGER NOT NULL,
  min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, size INTEGER NOT NULL, bytes INTEGER NOT NULL,
  hashes BLOB NOT NULL, columns BLOB NOT NULL, names BLOB NOT NULL, spans BLOB NOT NULL
);
CREATE INDEX span_chunk_time ON span_chunk (max_time, id);
CREATE INDEX span_chunk_received ON span_chunk (received, id);
CREATE INDEX span_chunk_new ON span_chunk (items, bytes) WHERE level = 0;
CREATE TABLE span_run (
  chunk INTEGER NOT NULL, resource INTEGER NOT NULL, PRIMARY KEY (chunk, resource)
) WITHOUT ROWID;
"""
_SINCE = {2: METRICS, 3: TRACES}  # what a version added


def prepare(path: Path) -> None:
    """Make the file if it is not there, readable for us alone: what arrives may be confidential.

    Raises HawseError, and touches nothing, where it is something else than SQLite's.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HawseError.of(
            "HW801",
            f"{path} cannot be written: {error.strerror}",
            fix="choose a folder that exists and is writable with --store",
        ) from None
    with open(handle, "rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise _foreign(path, "it is no SQLite file")


class Lock:
    """One backend a file. Not on the file itself: closing any handle of it would drop SQLite's own locks."""

    def __init__(self, path: Path) -> None:
        """Raises HawseError if another process has it, or the folder cannot be written."""
        name = path.with_name(path.name + ".lock")
        try:
            self._file: IO[bytes] = name.open("ab")
        except OSError as error:
            raise HawseError.of(
                "HW801",
                f"{name} cannot be written: {error.strerror}",
                fix="choose a folder that exists and is writable with --store",
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise HawseError.of(
                "HW802",
                f"{path} is in use by another hawse backend",
                fix="stop that one, or give this one another file with --store",
            ) from None

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The writer's connection, schema in place. Raises HawseError where the file is none of ours."""
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (1 <= version <= VERSION) and (version or tables):
            raise _foreign(path, f"it has version {version}, this program writes {VERSION}")
        # NORMAL loses nothing to a killed process; a power failure may cost the last moments.
        connection.executescript(
            f"PRAGMA page_size={PAGE}; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "PRAGMA journal_size_limit=33554432; PRAGMA cache_size=-8192; PRAGMA busy_timeout=10000;"
        )
        if version != VERSION:
            schema = "" if tables else _SCHEMA
            schema += "".join(sql for since, sql in _SINCE.items() if since > version)
            connection.executescript(f"BEGIN; {schema} PRAGMA user_version={VERSION}; COMMIT;")
    except (sqlite3.DatabaseError, OSError) as error:
        if connection is not None:
            connection.close()
        raise _foreign(path, str(error)) from None
    except HawseError:
        if connection is not None:
            connection.close()
        raise
    return connection


def open_for_reading(path: str | Path) -> sqlite3.Connection:
    """A connection that sees what is committed when it begins to read, and holds nobody up."""
    uri = Path(path).resolve().as_uri() + "?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only=1")
    connection.execute("PRAGMA busy_timeout=10000")
    connection.execute("PRAGMA cache_size=-4096")
    return connection


def _foreign(path: Path, why: str) -> HawseError:
    return HawseError.of(
        "HW803",
        f"{path} cannot be used as the backend's store: {why}",
        fix="give a new file with --store, or remove this one",
    )
