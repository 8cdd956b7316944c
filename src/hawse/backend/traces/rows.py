"""Spans in SQLite: rows as they come; once enough have come, rows of some thousand spans in the order of traces."""

import sqlite3
from collections.abc import Sequence

import numpy as np

from hawse.backend.traces.spans import CHUNK_BYTES, CHUNK_SPANS, Spans, joined, pack, pieces, trace_hash, unpack

_COLUMNS = "level, items, received, min_time, max_time, size, bytes, hashes, columns, names, spans"


class SpanRows:
    """The table of a writing connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Learn anew what waits to be gathered."""
        self._rows, self._items, self._bytes = self._connection.execute(
            "SELECT count(*), coalesce(sum(items), 0), coalesce(sum(bytes), 0) FROM span_chunk WHERE level = 0"
        ).fetchone()

    def insert(self, spans: Spans, received: int) -> None:
        """Add spans that arrived at `received` (Unix nanoseconds). The column `resource` has the store's numbers."""
        for piece in pieces(spans):
            full = len(piece) >= CHUNK_SPANS // 2 or int(piece.columns["length"].sum()) >= CHUNK_BYTES // 2
            self._insert(piece.by_trace() if full else piece, received, level=int(full))
        if self._rows > 1 and (self._items >= CHUNK_SPANS or self._bytes >= CHUNK_BYTES):
            self._gather()

    def _insert(self, spans: Spans, received: int, level: int) -> None:
        packed = pack(spans)
        start, length = spans.columns["start"], int(spans.columns["length"].sum())
        hashes = np.unique(trace_hash(spans.columns["trace"])).tobytes()
        size = len(hashes) + sum(map(len, packed))
        row = (level, len(spans), received, int(start.min()), int(start.max()), size, length, hashes, *packed)
        found = self._connection.execute(
            f"INSERT INTO span_chunk ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 - constants
            row,
        )
        resources = np.unique(spans.columns["resource"]).tolist()
        self._connection.executemany(
            "INSERT INTO span_run VALUES (?,?)", [(found.lastrowid, resource) for resource in resources]
        )
        if level == 0:
            self._rows += 1
            self._items += len(spans)
            self._bytes += length

    def _gather(self) -> None:
        """Spans that came in small rows become large ones, in the order of traces."""
        rows = self._connection.execute(
            "SELECT id, items, received, columns, names, spans FROM span_chunk WHERE level = 0 ORDER BY id"
        ).fetchall()
        spans = joined([unpack((columns, names, raw), items) for _, items, _, columns, names, raw in rows])
        self._delete([row[0] for row in rows])
        for piece in pieces(spans.by_trace()):
            self._insert(piece, max(row[2] for row in rows), level=1)
        self._rows = self._items = self._bytes = 0

    def _delete(self, numbers: Sequence[int]) -> None:
        ids = [(number,) for number in numbers]
        self._connection.executemany("DELETE FROM span_chunk WHERE id = ?", ids)
        self._connection.executemany("DELETE FROM span_run WHERE chunk = ?", ids)
