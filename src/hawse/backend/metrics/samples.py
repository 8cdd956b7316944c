"""Samples column by column: how they come out of decoders, and how a row of SQLite holds some thousand of them.

A transaction writes one row with whatever came (level 0). Where enough of these have gathered, they are sorted by
series into rows of their own (level 1), so that a question for some series opens few of them.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hawse.backend.columns import compress, decompress

STALE_BITS = 0x7FF0_0000_0000_0002  # the NaN that ends a series in Prometheus (model/value, StaleNaN)
CHUNK = 8192  # samples in a row of level 1
STALE = float(np.array(STALE_BITS, np.uint64).view(np.float64))
_GATHER_ROWS = 64
_GATHER_SAMPLES = 1 << 19

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Samples(msgspec.Struct):
    """Columns of the same length. Times are Unix nanoseconds, a stale marker is the value with STALE_BITS.

    `points` are the data points that they came in, `rejected` those for whose series there was no room.
    """

    series: NDArray[np.uint32]
    times: Integers
    values: Floats
    points: int = 0
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.series)


def stale(values: Floats) -> NDArray[np.bool_]:
    """Which of these values end their series."""
    ends: NDArray[np.bool_] = values.view(np.uint64) == STALE_BITS
    return ends


def joined(parts: Sequence[Samples]) -> Samples:
    """All of them in one."""
    if len(parts) == 1:
        return parts[0]
    return Samples(
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
        sum(part.points for part in parts),
        sum(part.rejected for part in parts),
    )


def _pack(samples: Samples) -> tuple[bytes, bytes, bytes]:
    """Differences, and floats byte by byte, so that like lies beside like."""
    series = np.diff(samples.series.astype("<i8"), prepend=0).astype("<u4")
    times = np.diff(samples.times.astype("<i8"), prepend=0)
    values = np.ascontiguousarray(samples.values.astype("<f8").view(np.uint8).reshape(-1, 8).T)
    return compress(series.tobytes()), compress(times.tobytes()), compress(values.tobytes())


def unpack(series: bytes, times: bytes, values: bytes) -> Samples:
    """What `_pack` was given."""
    planes = np.frombuffer(decompress(values), np.uint8).reshape(8, -1)
    return Samples(
        np.cumsum(np.frombuffer(decompress(series), "<u4"), dtype=np.uint32),
        np.cumsum(np.frombuffer(decompress(times), "<i8"), dtype=np.int64),
        np.ascontiguousarray(planes.T).view("<f8").reshape(-1),
    )


class SampleRows:
    """The rows of samples: written, gathered, let go. For the writer, within its transactions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """Count what there is to gather."""
        counted = self._connection.execute("SELECT count(*), coalesce(sum(items), 0) FROM sample_chunk WHERE level = 0")
        self._rows, self._samples = counted.fetchone()

    def insert(self, samples: Samples, received: int) -> None:
        """Write samples as they come."""
        order = np.argsort(samples.series, kind="stable")
        ordered = Samples(samples.series[order], samples.times[order], samples.values[order], samples.points)
        self._insert(ordered, received, received, 0)
        self._rows += 1
        self._samples += len(samples)

    def _insert(self, part: Samples, since: int, received: int, level: int) -> None:
        columns = _pack(part)
        self._connection.execute(
            "INSERT INTO sample_chunk (level, items, points, since, received, min_time, max_time, first_series, "
            "last_series, size, series, times, samples) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                level,
                len(part),
                part.points,
                since,
                received,
                int(part.times.min()),
                int(part.times.max()),
                int(part.series[0]),
                int(part.series[-1]),
                sum(map(len, columns)),
                *columns,
            ),
        )

    @property
    def ripe(self) -> bool:
        """Whether there is enough to gather."""
        return bool(self._rows >= _GATHER_ROWS or self._samples >= _GATHER_SAMPLES)

    def level_0(self) -> list[tuple[int, int, Samples]]:
        """The rows that are as they came: number, time of arrival, samples."""
        found = []
        for number, received, points, *columns in self._connection.execute(
            "SELECT id, received, points, series, times, samples FROM sample_chunk WHERE level = 0 ORDER BY id"
        ):
            samples = unpack(*columns)
            samples.points = points
            found.append((number, received, samples))
        return found

    def gather(self) -> NDArray[Any]:
        """Sort what came into rows by series, and say which series there are."""
        rows = self.level_0()
        together = joined([samples for _, _, samples in rows])
        order = np.argsort(together.series, kind="stable")
        series, times, values = together.series[order], together.times[order], together.values[order]
        arrived = [when for _, when, _ in rows]
        told = 0  # points that have been given to rows, in proportion, so that their sum stays
        for start in range(0, len(series), CHUNK):
            end = min(start + CHUNK, len(series))
            until = together.points * end // len(series)
            part = Samples(series[start:end], times[start:end], values[start:end], until - told)
            self._insert(part, min(arrived), max(arrived), 1)
            told = until
        self._connection.executemany("DELETE FROM sample_chunk WHERE id = ?", [(number,) for number, _, _ in rows])
        self._rows = self._samples = 0
        return np.unique(series)
