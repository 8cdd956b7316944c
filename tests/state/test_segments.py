"""Payloads in files: written, read, found again, let go."""

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.state.segments import Damaged, Segments


def test_payloads_come_back(tmp_path):
    segments = Segments(str(tmp_path), "a/b", 1000)
    frames = [(b"row %d" % number, os.urandom(number)) for number in range(0, 3000, 7)]
    places = segments.append(frames)
    for (row, payload), (number, at) in zip(frames, places, strict=True):
        assert segments.read(number, at, len(payload), len(row)) == payload
    found = [(row, size) for number in segments.numbers() for row, _, size in segments.frames(number)]
    assert found == [(row, len(payload)) for row, payload in frames]
    segments.close()
    assert os.listdir(tmp_path) == ["queue-a%2Fb"]


def test_a_file_goes_when_nothing_in_it_is_needed(tmp_path):
    segments = Segments(str(tmp_path), "q", 1000)
    places = []
    for _ in range(10):
        places += segments.append([(b"r", b"x" * 400)])
        segments.keep(places[-1][0])
    assert segments.numbers() == [1, 2, 3, 4]
    for number, _ in places[:3]:
        segments.release(number)
    assert segments.numbers() == [2, 3, 4]
    for number, _ in places[3:]:
        segments.release(number)
    assert segments.numbers() == [4]  # it is written to
    segments.close()
    assert segments.numbers() == []


def test_a_full_file_that_nobody_needs_goes_when_the_next_is_begun(tmp_path):
    segments = Segments(str(tmp_path), "q", 100)
    for _ in range(3):
        segments.append([(b"r", b"x" * 400)])  # a transaction that was taken back
    assert segments.numbers() == [3]
    segments.close()


def test_a_process_never_writes_into_the_files_of_another(tmp_path):
    first = Segments(str(tmp_path), "q", 1000)
    ((number, _),) = first.append([(b"r", b"one")])
    second = Segments(str(tmp_path), "q", 1000)
    second.keep(number)
    second.sweep()
    assert second.append([(b"r", b"two")])[0][0] == number + 1
    second.release(number)
    assert second.numbers() == [number + 1]
    first.close()
    second.close()


def test_the_disk_confirms_what_is_written_where_asked(tmp_path, monkeypatch):
    asked = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: asked.append(fdatasync(file)))
    for fsync in (False, True):
        segments = Segments(str(tmp_path), f"q{fsync}", 1000, fsync=fsync)
        segments.append([(b"r", b"one"), (b"r", b"two")])
        segments.close()
        assert len(asked) == fsync


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    segments = Segments(str(tmp_path), "q", 10_000)
    ((number, at),) = segments.append([(b"r", b"one")])
    segments.keep(number)
    writev = os.writev

    def full(file, pieces):
        writev(file, [b"".join(pieces)[:50]])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OSError, match="No space"):
        segments.append([(b"r", b"x" * 100)])
    monkeypatch.undo()
    ((_, after),) = segments.append([(b"r", b"two")])
    assert segments.read(number, at, 3, 1) == b"one"
    assert segments.read(number, after, 3, 1) == b"two"
    assert [row for row, _, _ in segments.frames(number)] == [b"r", b"r"]
    segments.close()


def test_what_is_gone_or_cut_off_is_damaged(tmp_path):
    segments = Segments(str(tmp_path), "q", 10_000)
    ((number, at),) = segments.append([(b"r", b"x" * 100)])
    segments.keep(number)
    os.truncate(tmp_path / "queue-q" / "00000001.data", at + 50)
    with pytest.raises(Damaged, match="is damaged at byte"):
        segments.read(number, at, 100, 1)
    with pytest.raises(Damaged, match="is gone"):
        segments.read(7, at, 100, 1)
    segments.close()


def test_a_damaged_size_swallows_no_frame(tmp_path):
    segments = Segments(str(tmp_path), "q", 10_000)
    segments.append([(b"0", b""), (b"1", b"")])
    path = tmp_path / "queue-q" / "00000001.data"
    data = bytearray(path.read_bytes())
    data[5] = 1  # the row of the first is now 257 bytes long
    path.write_bytes(data)
    assert [row for row, _, _ in segments.frames(1)] == [b"1"]
    segments.close()


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=8),
    damages=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=20)), max_size=3),
)
def test_payloads_that_are_not_damaged_are_found_whatever_lies_between(tmp_path_factory, payloads, damages):
    folder = tmp_path_factory.mktemp("segments")
    segments = Segments(str(folder), "q", 1 << 20)
    frames = [(b"%d" % number, payload) for number, payload in enumerate(payloads)]
    places = segments.append(frames)
    segments.keep(1)
    path = folder / "queue-q" / "00000001.data"
    data = bytearray(path.read_bytes())
    touched = set()
    for at, junk in damages:
        junk = junk[: max(0, len(data) - at)]
        data[at : at + len(junk)] = junk
        touched.update(range(at, at + len(junk)))
    path.write_bytes(data)
    found = {row: bytes(data[at : at + size]) for row, at, size in segments.frames(1)}
    for (row, payload), (_, at) in zip(frames, places, strict=True):
        start = at - len(row) - 16
        if touched.isdisjoint(range(start, at + len(payload))) and b"HwQ2" not in payload:
            assert found.get(row) == payload
    segments.close()
