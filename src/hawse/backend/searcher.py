"""A search process: questions on standard input, answers on standard output, each with its length in front.

Searches run outside the backend's process because Python's regular expressions can't be interrupted: one that
backtracks for hours holds up nothing but this process, which is then killed. It ends when its input does.
"""

import signal
import sqlite3
import sys
from typing import BinaryIO

import msgspec

from hawse.backend.answers import Answer, Question, answer, failure
from hawse.backend.reader import Reader


def main() -> None:
    """Serve the store named as the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the backend; it closes our input
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    reader: Reader | None = None
    while len(head := source.read(4)) == 4:
        question = msgspec.msgpack.decode(source.read(int.from_bytes(head, "big")), type=Question)
        try:
            reader = reader or Reader(sys.argv[1])
            found = answer(reader, question)
        except (sqlite3.Error, MemoryError, RecursionError) as error:
            found = failure(500, f"the search failed: {type(error).__name__}: {error}")
        _send(sink, found)
    if reader is not None:
        reader.close()


def _send(sink: BinaryIO, found: Answer) -> None:
    data = msgspec.msgpack.encode(found)
    sink.write(len(data).to_bytes(4, "big") + data)
    sink.flush()


if __name__ == "__main__":
    main()
