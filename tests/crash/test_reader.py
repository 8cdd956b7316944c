"""The reader of one log against rotation and kills in any order: thousands of steps, each at any moment, repeatable.

What `test_kills` does with processes, without them: a death is to drop the reader and to go on from the last kept position.
"""

import logging
import os
import random
import time

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs

from hawse.codecs.container_log import Parser
from hawse.receivers.filelog import position
from hawse.receivers.filelog.log import Log
from hawse.receivers.filelog.sequence import Trouble

from .writers import ROTATIONS, Texts, WallClock, Writer

_LOG = logging.LoggerAdapter(logging.getLogger("reader"), {})
_FLUSH = 1e6  # no line here stays unfinished


class Reader:
    """Reads, hands out, is acknowledged in order, dies, comes back."""

    def __init__(self, path, rng):
        self.path = path
        self.rng = rng
        self.trouble = Trouble()
        self.kept = None
        self.pending = []  # (bodies, position) handed out
        self.arrived = []
        self.log = None
        self.now = time.monotonic()

    def start(self):
        self.log = Log(str(self.path), Parser(), self.trouble, _LOG, line_limit=1 << 20, flush_after=_FLUSH)
        if self.kept is None:
            self.log.begin(at_end=False, since=0)
            self.kept = position.encode(self.log.saved())
        else:
            self.log.restore(position.decode(self.kept))

    def read(self):
        if self.log.poll(self.now):
            try:
                made = self.log.turn(bytearray, self.now)
            except OSError:
                return
            bodies = []
            for records in made.values():
                found = ResourceLogs.FromString(b"".join(records.scope()))
                bodies += [(r.time_unix_nano, r.body.string_value) for s in found.scope_logs for r in s.log_records]
            self.pending.append((bodies, position.encode(self.log.saved())))

    def acknowledge(self):
        if self.pending:
            bodies, self.kept = self.pending.pop(0)
            self.arrived += bodies

    def die(self):
        """Some of what was on its way has arrived, and nobody knows."""
        for bodies, _ in self.pending[: self.rng.randrange(len(self.pending) + 1)]:
            self.arrived += bodies
        self.pending.clear()
        self.log.close()
        self.log = None

    def until_quiet(self):
        for _ in range(4):
            self.log.look()
            for _ in range(200):
                before = self.log.position
                self.read()
                if self.log.position == before and not self.log.poll(self.now):
                    break
            self.now += 2
        while self.pending:
            self.acknowledge()


def _history(tmp_path, seed, number, steps=400):
    """Random steps; returns the writer, the reader and what happened, for the message."""
    rng = random.Random(f"history {seed}")
    clock = WallClock()
    writer = Writer(tmp_path, number, Texts(seed), clock, seed, 1)
    writer._open()
    reader = Reader(writer._path, rng)
    reader.start()
    told = []
    blocked = False
    for _ in range(steps):
        what = rng.choices(
            ["write", "rotate", "look", "read", "acknowledge", "die", "start", "block", "wait"],
            [40, 4, 12, 25, 15, 2, 6, 1, 3],
        )[0]
        if what == "write":
            for _ in range(rng.choice((1, 1, 3, 30))):
                writer._step()
        elif what == "rotate" and not writer._rest and not writer._late and os.path.getsize(writer._path):
            {"kubelet": writer._kubelet, "numbered": writer._numbered, "copytruncate": writer._copytruncate}[
                writer.rotation
            ]()
        elif what == "block":
            blocked = not blocked
        elif what == "wait":
            reader.now += rng.choice((0.1, 0.5, 1.5))
        elif what == "die" and reader.log:
            reader.die()
        elif what == "start" and not reader.log:
            try:
                reader.start()
            except OSError:  # between a rename and the new file: Logs tries again
                reader.log.close()
                reader.log = None
        elif what == "acknowledge":
            reader.acknowledge()
        elif reader.log and not blocked and what == "look":
            reader.log.look()
        elif reader.log and not blocked and what == "read" and len(reader.pending) < 4:
            reader.read()
        else:
            continue
        told.append(what)
        reader.now += 0.02
    writer.finish()
    if not writer._path.exists():
        writer._open()
        writer.close()
    if not reader.log:
        reader.start()
    reader.until_quiet()
    reader.log.close()
    return writer, reader, told


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_nothing_is_missing_whatever_happens_in_whatever_order(tmp_path, rotation):
    for seed in range(int(os.environ.get("HISTORIES", "20"))):
        number = ROTATIONS.index(rotation) * 3 + seed % 3
        folder = tmp_path / str(seed)
        writer, reader, told = _history(folder, seed, number)
        written = [
            (when, writer.written.texts(writer.written.name, index))
            for index, (when, _, _) in enumerate(writer.written.records)
        ]
        arrived = set(reader.arrived)
        missing = [index for index, record in enumerate(written) if record not in arrived]
        assert not missing, (seed, missing, reader.trouble, " ".join(told))
        assert arrived <= set(written), (seed, sorted(arrived - set(written))[:3])
