"""What rotation does between two looks, at its worst moments, one by one (tests/crash/test_reader.py: at random ones)."""

import gzip
import logging
import os
import shutil
import time

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs

from hawse.codecs.container_log import Parser
from hawse.receivers.filelog import identity, position
from hawse.receivers.filelog.config import Config
from hawse.receivers.filelog.log import Log
from hawse.receivers.filelog.logs import Logs
from hawse.receivers.filelog.operators import Operator
from hawse.receivers.filelog.sequence import Trouble

_LOG = logging.LoggerAdapter(logging.getLogger("test"), {})
_FLUSH = 3600.0


def _line(text, tag="F", second=0):
    return f"2026-11-24T13:05:{second:02d}.123456789Z stdout {tag} {text}\n".encode()


class Reader:
    def __init__(self, path, kept=None):
        self.log = Log(str(path), Parser(), Trouble(), _LOG, line_limit=1 << 20, flush_after=_FLUSH)
        self.got = []
        if kept is None:
            self.log.begin(at_end=False, since=0)
        else:
            self.log.restore(kept)

    def read(self):
        """All that there is now; returns the bodies so far."""
        for _ in range(50):
            if not self.log.poll(time.monotonic()):
                break
            for records in self.log.turn(bytearray, time.monotonic()).values():
                found = ResourceLogs.FromString(b"".join(records.scope()))
                self.got += [record.body.string_value for scope in found.scope_logs for record in scope.log_records]
        return self.got

    def again(self, path):
        """Another process goes on from what this one kept."""
        kept = position.decode(position.encode(self.log.saved()))
        self.log.close()
        return Reader(path, kept)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "0.log"


def _append(path, *lines):
    with path.open("ab") as file:
        file.write(b"".join(lines))


def _copy_and_truncate(path):
    older = sorted((int(one.name.split(".")[-1]), one) for one in path.parent.glob("0.log.*"))
    for number, one in reversed(older):
        one.rename(path.with_name(f"0.log.{number + 1}"))
    shutil.copy2(path, path.with_name("0.log.1"))
    os.truncate(path, 0)


def test_copied_and_truncated_before_anything_was_read_of_it(path):
    path.touch()
    reader = Reader(path)
    _append(path, _line("one"))
    _copy_and_truncate(path)
    _append(path, _line("two", second=1))
    assert reader.read() == ["one", "two"]
    reader.log.close()


def test_copied_and_truncated_before_anything_was_read_and_silent_since(path):
    path.touch()
    reader = Reader(path)
    _append(path, _line("one"))
    _copy_and_truncate(path)
    reader.log.look()
    assert reader.read() == ["one"]
    reader.log.close()


@pytest.mark.parametrize("after", [[], [_line("four", second=4)]])
def test_copied_and_truncated_while_it_waits_in_line(path, after):
    _append(path, _line("one"))
    reader = Reader(path)
    assert reader.read() == ["one"]
    _copy_and_truncate(path)
    _append(path, _line("two", second=2))
    reader = reader.again(path)  # the copy is being read, and the file at the path waits
    _copy_and_truncate(path)
    _append(path, _line("three", second=3))
    _copy_and_truncate(path)
    _append(path, *after)
    assert reader.read() == ["two", "three", *(["four"] if after else [])]
    reader.log.close()


def test_a_torn_first_line_does_not_make_files_alike(path):
    _append(path, b"2026-11-24T13:05")  # what one sees of a line that is being written
    reader = Reader(path)
    _append(path, _line("x")[16:])
    for number in range(2):
        path.rename(path.with_name(f"0.log.20261124-13050{number}"))
        _append(path, _line(f"y{number}", second=number))
    reader.log.look()
    assert reader.read() == ["x", "y0", "y1"]
    reader.log.close()


def test_a_long_line_that_is_in_two_files_is_whole_after_a_restart(path):
    _append(path, _line("a" * 10, "P"))
    reader = Reader(path)
    reader.read()
    rotated = path.with_name("0.log.20261124-130501")
    path.rename(rotated)
    _append(path, _line("b" * 10, "P"))
    reader.log.look()
    assert reader.read() == []
    with gzip.open(f"{rotated}.gz", "wb") as packed:
        packed.write(rotated.read_bytes())
    rotated.unlink()
    reader = reader.again(path)
    _append(path, _line("c"))
    assert reader.read() == ["a" * 10 + "b" * 10 + "c"]
    reader.log.close()


def test_what_is_held_waits_anew_after_a_restart(path):
    _append(path, _line("a", "P"))
    reader = Reader(path)
    reader.read()
    reader = reader.again(path)
    assert reader.read() == []
    _append(path, _line("b"))
    assert reader.read() == ["ab"]
    reader.log.close()


def test_a_clock_that_is_set_back_does_not_cut_a_line(path, monkeypatch):
    _append(path, _line("a", "P"))
    reader = Reader(path)
    reader.read()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() - 3600) * 1e9))
    assert reader.read() == []
    _append(path, _line("b"))
    assert reader.read() == ["ab"]
    reader.log.close()


# --- clocks -----------------------------------------------------------------------------------------------------------


def _stamped(path, *lines, hours):
    """Written by a clock that is so many hours off."""
    _append(path, *lines)
    at = time.time_ns() + int(hours * 3600e9)
    os.utime(path, ns=(at, at))


def test_rotated_while_away_after_the_clock_was_set_back(path):
    _stamped(path, _line("one"), hours=1)  # of before: now it is an hour earlier
    reader = Reader(path)
    reader.read()
    kept = position.decode(position.encode(reader.log.saved()))
    reader.log.close()
    path.rename(path.with_name("0.log.20261124-140500"))
    _stamped(path, _line("two", second=2), hours=0)
    path.rename(path.with_name("0.log.20261124-130501"))
    _stamped(path, _line("three", second=3), hours=0)
    reader = Reader(path, kept)
    assert reader.read() == ["two", "three"]
    reader.log.close()


def test_numbered_files_are_in_order_whatever_their_times(path):
    for number, text in ((3, "one"), (2, "two"), (1, "three")):
        older = path.with_name(f"0.log.{number}")
        _stamped(older, _line(text, second=4 - number), hours=number)
    _append(path, _line("four", second=9))
    reader = Reader(path)
    assert reader.read() == ["one", "two", "three", "four"]
    reader.log.close()


class _Context:
    log = _LOG
    id = "filelog"

    class meter:  # noqa: N801
        gauge = staticmethod(lambda *_, **__: None)


@pytest.mark.parametrize("set_back", [0, 3600])
def test_a_new_log_that_was_rotated_before_it_was_found(tmp_path, monkeypatch, set_back):
    config = Config(include=(f"{tmp_path}/*.log",), start_at="beginning", operators=(Operator(type="container"),))
    logs = Logs(config, _Context, None)
    slow = logs._find
    path = tmp_path / "0.log"
    real = time.time_ns

    def find():
        found = slow()
        if not path.exists():  # it appears when the search has passed by already
            monkeypatch.setattr(time, "time_ns", lambda: real() - int(set_back * 1e9))
            _stamped(path, _line("one"), hours=0)
            path.rename(path.with_name("0.log.20261124-130500"))
            _stamped(path, _line("two", second=1), hours=0)
        return found

    monkeypatch.setattr(logs, "_find", find)
    logs.search()
    logs.search()
    (tailed,) = logs
    reader = Reader.__new__(Reader)
    reader.log, reader.got = tailed.log, []
    assert reader.read() == ["one", "two"]
    logs.close()


@pytest.mark.parametrize(("ago", "expected"), [(30, ["one", "two"]), (90, ["two"])])
@pytest.mark.parametrize("in_between", [False, True])  # at the first search, rotation had just renamed it
def test_a_new_log_that_was_rotated_while_nobody_searched(tmp_path, ago, expected, in_between):
    """What a process has kept after its last search (it drained, say) tells nothing of what appeared meanwhile."""
    config = Config(include=(f"{tmp_path}/*.log",), operators=(Operator(type="container"),))
    path = tmp_path / "0.log"
    older = path.with_name("0.log.20261124-130500")
    _stamped(older, _line("one"), hours=-ago / 3600)
    if not in_between:
        _append(path, _line("two", second=1))

    class Keys:
        def items(self):
            return [(position.SEARCHED, b"%d" % (time.time_ns() - 60 * 10**9))]

    logs = Logs(config, _Context, Keys())
    logs.search()
    if in_between:
        _append(path, _line("two", second=1))
        logs.search()
    (tailed,) = logs
    reader = Reader.__new__(Reader)
    reader.log, reader.got = tailed.log, []
    assert reader.read() == expected
    logs.close()


@pytest.mark.parametrize("moment", range(1, 9))
def test_names_that_change_while_one_looks(path, monkeypatch, moment):
    """A process starts in the moment in which `x.log.1` becomes `x.log.2.gz`, and so on."""
    _append(path, _line("one"))
    reader = Reader(path)
    reader.read()
    for number in range(2, 5):
        _copy_and_truncate(path)
        _append(path, _line(f"text {number}", second=number))
    real, calls = identity.head, []

    def head(name):
        calls.append(name)
        if len(calls) == moment:
            older = sorted((int(one.name.split(".")[2]), one) for one in path.parent.glob("0.log.*"))
            for number, one in reversed(older):
                with gzip.open(path.with_name(f"0.log.{number + 1}.gz"), "wb") as packed:
                    packed.write(one.read_bytes())
                one.unlink()
        return real(name)

    monkeypatch.setattr(identity, "head", head)
    reader = reader.again(path)
    assert reader.read() == ["text 2", "text 3", "text 4"]
    reader.log.close()
