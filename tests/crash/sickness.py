"""Small disks that fill up or turn read-only, and clocks that step: what it takes to have them for one process."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# Debian's package `libfaketime`. It also covers what Python does not do itself (SQLite's clock).
_FAKETIME = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]


class Disk:
    """A tmpfs of its own. Only root may mount one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        self._ballast.unlink()

    def read_only(self, yes: bool) -> None:
        subprocess.run(["mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.path], check=True, capture_output=True)


@contextlib.contextmanager
def disk(path: Path, size: str = "1m") -> Iterator[Disk]:
    """Mount it; skip the test where that can't be."""
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", path],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs a small disk, and no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True, capture_output=True)


# What Python itself reads of the clock. SQLite's stays, which is why libfaketime comes first.
_PATCH = """
import os, time, datetime
_file, _real, _real_ns = os.environ["HAWSE_TEST_CLOCK"], time.time, time.time_ns
def _offset():
    with open(_file) as file:
        return float(file.read() or 0)
time.time = lambda: _real() + _offset()
time.time_ns = lambda: _real_ns() + int(_offset() * 1e9)
class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = _Datetime
"""


class SteppedClock:
    """The wall clock of child processes started with `environment`; it steps for all of them at once."""

    def __init__(self, folder: Path, *, patched: bool) -> None:
        """`patched`: by a module that Python imports first; else by libfaketime, if that is installed."""
        folder.mkdir()
        self._file = folder / "offset"
        self._patched = patched
        self.step(0)
        if patched:
            (folder / "sitecustomize.py").write_text(_PATCH)
            path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
            self.environment = {"PYTHONPATH": path, "HAWSE_TEST_CLOCK": str(self._file)}
            return
        if not _FAKETIME:
            pytest.skip("needs libfaketime (Debian's package of this name)")
        self.environment = {
            "LD_PRELOAD": str(_FAKETIME[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
            "NO_FAKE_STAT": "1",  # the files' times are set by the writers, whose clock is the same
        }

    def step(self, seconds: float) -> None:
        """Set the clock to so many seconds from the true time."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(f"{seconds:+g}")
        temporary.rename(self._file)
