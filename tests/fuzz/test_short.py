"""Every fuzz target for a moment: the corpus, then as many mutants as fit. `make fuzz` is the long run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hawse import __version__  # noqa: F401 - the targets need the package installed

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from fuzz.targets import MODULES  # noqa: E402

sys.path.remove(str(ROOT))
RUNS = {"configuration": 500}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_crashes_hangs_or_swells(name, tmp_path):
    runs = RUNS.get(name, 1200)
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.one", name, "--runs", str(runs), "--engine", "mutator", "--seed", "7"],
        cwd=ROOT, env={"HAWSE_FUZZ_WORK": str(tmp_path), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        errors="replace", timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["inputs"] == runs
    assert "failure" not in report


def test_a_crash_a_hang_and_a_memory_hog_are_found(tmp_path):
    """The guard itself: a target that misbehaves is caught, and its input kept."""
    program = """
import sys
from fuzz.guard import Guard
def run(data):
    if data == b"crash": raise ValueError("no")
    if data == b"hang":
        while True: pass
    if data == b"hog": hog.append(bytearray(1 << 30))
hog = []
guard = Guard("t", run, 10, "e", sys.argv[2])
guard.one(b"fine")
guard.one(sys.argv[1].encode())
"""
    for wrong, says in (("crash", "ValueError: no"), ("hang", "Hang"), ("hog", "MemoryError")):
        done = subprocess.run(
            [sys.executable, "-c", program, wrong, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert json.loads(done.stdout)["failure"].startswith(says), done.stdout
        assert any(path.read_bytes() == wrong.encode() for path in tmp_path.iterdir())
