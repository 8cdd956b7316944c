"""scripts/peers.py where there is nothing to be had."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "peers.py"


def _run(tmp_path, *names, path):
    return subprocess.run(
        [sys.executable, SCRIPT, *names], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PATH": str(path)},
    )  # fmt: skip


def _program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_no_apt(tmp_path):
    run = _run(tmp_path, "prometheus", path=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "skipped: prometheus: no apt-get here\n"


def test_apt_that_gives_nothing_is_not_asked_by_each_run(tmp_path):
    bin_, asked = tmp_path / "bin", tmp_path / "asked"
    _program(bin_, "apt-get", f'echo "$@" >> {asked}; echo "E: Unable to locate package" >&2; exit 100')
    _program(bin_, "dpkg-deb", "exit 1")
    for _ in range(2):
        run = _run(tmp_path, "prometheus", path=f"{bin_}:/usr/bin:/bin")
        assert run.returncode == 1
        assert run.stderr == "skipped: prometheus: apt-get: E: Unable to locate package\n"
    calls = asked.read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["prometheus", "update", "prometheus"]
    assert [path.name for path in (tmp_path / "hawse" / "peers").glob("*/prometheus*")] == []


def test_a_name_that_is_not_known(tmp_path):
    run = _run(tmp_path, "promethus", path=tmp_path)
    assert run.returncode == 2
    assert "promethus is not known here; known: prometheus, " in run.stderr


def test_what_is_not_installed(tmp_path):
    run = _run(tmp_path, "npm-zipkin", "nghttp", path=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == (
        "skipped: npm-zipkin: no node here\nskipped: nghttp: not installed; Debian's package nghttp2-client has it\n"
    )
