"""Log records as the store keeps them: column by column, some thousand records to a chunk.

A row for each record would cost SQLite more than everything else together, and a search would meet a million Python
objects. A chunk is opened column by column instead: a count by resource opens none, a search in the bodies only these.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

CHUNK_RECORDS = 4096
CHUNK_BYTES = 1 << 20

LATEST = (1 << 63) - 1  # SQLite's integers are signed; a time beyond the year 2262 counts as that year


class Extra(msgspec.Struct, omit_defaults=True, gc=False):
    """What a record has beside times and body. Most records of container logs have nothing of it."""

    severity_number: int = 0
    severity_text: str = ""
    attributes: dict[str, Any] = {}
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0
    event_name: str = ""
    scope_name: str = ""
    scope_version: str = ""
    json: bool = False  # the body was no text; it is kept as JSON


class Lot(msgspec.Struct, gc=False):
    """Records of one resource, in the order in which they came.

    `bodies` are exactly the bytes that were sent. `extras` is as long as `bodies`, or empty where all are None.
    Times are Unix nanoseconds.
    """

    resource: Mapping[str, Any]
    times: list[int]
    observed: list[int]
    bodies: list[bytes]
    extras: list[Extra | None] = []

    def cut(self, start: int, end: int) -> "Lot":
        """Records `start` to `end` of it."""
        return Lot(
            self.resource,
            self.times[start:end],
            self.observed[start:end],
            self.bodies[start:end],
            self.extras[start:end],
        )


def pieces(lots: Sequence[Lot]) -> Iterator[list[Lot]]:
    """Cut and gather lots into what fits a chunk, in order. A record larger than a chunk has one for itself."""
    gathered: list[Lot] = []
    records = size = 0
    for lot in lots:
        start = 0
        for end, body in enumerate(lot.bodies):
            if records >= CHUNK_RECORDS or (records and size + len(body) > CHUNK_BYTES):
                if end > start:
                    gathered.append(lot.cut(start, end))
                yield gathered
                gathered, records, size, start = [], 0, 0, end
            records += 1
            size += len(body)
        if start < len(lot.bodies):
            gathered.append(lot.cut(start, len(lot.bodies)) if start else lot)
    if gathered:
        yield gathered


class _Zstd(threading.local):
    """The library's objects serve one thread each, and making them costs more than a small chunk does."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Zstd()


def compress(data: bytes) -> bytes:
    """As zstd."""
    return _zstd.compress(data)


def decompress(data: bytes) -> bytes:
    """The data that `compress` was given."""
    return _zstd.decompress(data)


def pack(lots: Sequence[Lot]) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """The columns times, observed, lengths, bodies, extras of some lots, joined, as `Columns` reads them."""
    times = [time for lot in lots for time in lot.times]
    observed = [time for lot in lots for time in lot.observed]
    bodies = [body for lot in lots for body in lot.bodies]
    extras: bytes = b""
    if any(lot.extras for lot in lots):
        all_extras = [extra for lot in lots for extra in (lot.extras or [None] * len(lot.bodies))]
        extras = compress(msgspec.json.encode(all_extras))
    lengths = np.fromiter(map(len, bodies), "<u4", len(bodies))
    return (
        compress(np.array(times, "<i8").tobytes()),
        compress(np.array(observed, "<i8").tobytes()) if any(observed) else b"",
        compress(lengths.tobytes()),
        compress(b"".join(bodies)),
        extras,
    )


def clamped(times: list[int]) -> list[int]:
    """The same times, none later than SQLite can hold."""
    return times if not times or max(times) <= LATEST else [min(time, LATEST) for time in times]


class Columns:
    """A chunk's columns, each decompressed when it is first asked for."""

    def __init__(self, times: bytes, observed: bytes, lengths: bytes, bodies: bytes, extras: bytes) -> None:
        self._packed = (times, observed, lengths, bodies, extras)
        self._blob: bytes | None = None
        self._bodies: list[bytes] | None = None
        self._extras: list[Extra | None] | None = None
        self._observed: NDArray[np.int64] | None = None
        self._times: NDArray[np.int64] | None = None

    @property
    def times(self) -> NDArray[np.int64]:
        """Time of each record, Unix nanoseconds."""
        if self._times is None:
            self._times = np.frombuffer(decompress(self._packed[0]), "<i8")
        return self._times

    def observed(self, index: int) -> int:
        """When the record was first seen, Unix nanoseconds; 0 where that is unknown."""
        packed = self._packed[1]
        if packed and self._observed is None:
            self._observed = np.frombuffer(decompress(packed), "<i8")
        return int(self._observed[index]) if self._observed is not None else 0

    @property
    def blob(self) -> bytes:
        """All bodies in one piece, without separators."""
        if self._blob is None:
            self._blob = decompress(self._packed[3])
        return self._blob

    @property
    def bodies(self) -> list[bytes]:
        """The body of each record, byte for byte."""
        if self._bodies is None:
            blob = self.blob
            ends = np.cumsum(np.frombuffer(decompress(self._packed[2]), "<u4"), dtype=np.int64).tolist()
            self._bodies = [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return self._bodies

    def mentions(self, text: str) -> bool:
        """Whether anything beside the bodies has a text, in small or in capital letters."""
        packed = self._packed[4]
        return bool(packed) and text.lower().encode() in decompress(packed).lower()

    def others(self, index: int) -> Extra:
        """What else the record has."""
        if self._extras is None:
            packed = self._packed[4]
            self._extras = msgspec.json.decode(decompress(packed), type=list[Extra | None]) if packed else []
        return (self._extras[index] or _NONE) if self._extras else _NONE


_NONE = Extra()
