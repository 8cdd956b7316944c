"""Which lines of a chunk are log records by themselves, and in which runs they stand.

A line is *simple* if its columns are known, it is full, begins no later than the line before it in its stream ended,
is UTF-8 (protobuf's strings must be) and not over-long. All others are odd, and handled one by one.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from hawse.codecs.cri_columns import STREAMS, Columns, Mask
from hawse.wire import Buffer

ODD = len(STREAMS)  # beside the indices of STREAMS


@dataclass(slots=True)
class Odd:
    """An odd line: where it stands, and its text (the body alone where the columns are known).

    `opens` and `closes` mark the halves of a line that was cut once and is whole in this chunk.
    """

    begin: int
    behind: int  # of its newline
    text: bytes
    known: bool
    stream: str
    full: bool
    time: int
    opens: bool
    closes: bool


def simple_lines(buffer: bytearray, columns: Columns, partial: Collection[str], longest: int) -> Mask:
    """The mask of simple lines. `partial` names the streams whose last line was not full. Corrects `columns.full`."""
    columns.full &= columns.known
    simple = columns.full.copy()
    if partial or not simple.all():
        _leave_partials(columns, simple, partial)
    too_long = columns.ends - columns.bodies > longest
    if too_long.any():
        simple &= ~too_long
    if not buffer.isascii():
        _leave_invalid(buffer, columns, simple)
    return simple


def _leave_partials(columns: Columns, simple: Mask, partial: Collection[str]) -> None:
    """A full line that ends, or may end, a partial one is not simple. What an unknown line is, is not known yet."""
    for stream, lines in zip(STREAMS, (~columns.stderr, columns.stderr), strict=True):
        rows = np.flatnonzero(lines | ~columns.known)
        if len(rows):
            full = columns.full[rows]
            before = np.empty_like(full)
            before[0] = stream not in partial
            before[1:] = full[:-1]
            simple[rows[~before]] = False


def _leave_invalid(buffer: bytearray, columns: Columns, simple: Mask) -> None:
    view = memoryview(buffer)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], simple, [False])).view(np.int8))).tolist()
    for first, behind in zip(edges[::2], edges[1::2], strict=True):
        if not is_utf8(view[int(columns.starts[first]) : int(columns.ends[behind - 1])]):
            for row in range(first, behind):
                if not is_utf8(view[int(columns.starts[row]) : int(columns.ends[row])]):
                    simple[row] = False


def is_utf8(text: Buffer) -> bool:
    """Whether bytes are well-formed UTF-8."""
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def odd_lines(buffer: bytearray, columns: Columns, simple: Mask) -> list[Odd]:
    """The odd lines in order. Their text is copied: headers are about to be written around it."""
    rows = np.flatnonzero(~simple)
    if not len(rows):
        return []
    known, stderr, full = columns.known[rows], columns.stderr[rows], columns.full[rows]
    opens = np.zeros(len(rows), bool)
    opens[:-1] = known[:-1] & known[1:] & ~full[:-1] & full[1:] & (stderr[:-1] == stderr[1:])
    closes = np.concatenate(([False], opens[:-1]))
    texts = np.where(known, columns.bodies[rows], columns.starts[rows]).tolist()
    fields = (columns.starts[rows], columns.ends[rows], known, stderr, full, columns.times[rows], opens, closes)
    return [
        Odd(begin, end + 1, bytes(buffer[text:end]), is_known, STREAMS[err], is_full, time, first, second)
        for text, begin, end, is_known, err, is_full, time, first, second in zip(
            texts, *(column.tolist() for column in fields), strict=True
        )
    ]


def runs(columns: Columns, simple: Mask) -> tuple[list[int], Iterator[tuple[int, int, int]]]:
    """Records per stream, and runs in order: position of the byte before it, of its last newline, kind.

    A kind is the index of a run's stream, or ODD for an odd line, which is a run by itself.
    """
    kinds = np.where(simple, columns.stderr.view(np.int8), np.int8(ODD))
    first = np.flatnonzero((kinds[1:] != kinds[:-1]) | (kinds[1:] == ODD)) + 1
    first = np.concatenate(([0], first))
    last = np.append(first[1:], len(kinds)) - 1
    counts: list[int] = np.bincount(kinds, minlength=ODD)[:ODD].tolist()
    begins, ends = (columns.starts[first] - 1).tolist(), columns.ends[last].tolist()
    return counts, zip(begins, ends, kinds[first].tolist(), strict=True)
