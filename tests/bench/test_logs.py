"""The logs bench, on data small enough for a test."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKE = "import sys, pathlib; from bench import dataset; dataset.make(pathlib.Path(sys.argv[1]), int(sys.argv[2]), 4)"


def _python(*arguments, **environment):
    run = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.log")}


@contextlib.contextmanager
def _sink(spool):
    with subprocess.Popen(
        [sys.executable, "-m", "bench.sink", str(spool)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def test_the_data_is_the_same_each_time_and_as_described(tmp_path):
    for name in "ab":
        _python("-c", MAKE, str(tmp_path / name), "20001")
    made = _files(tmp_path / "a")
    assert made == _files(tmp_path / "b")
    assert len(made) == 4
    lines = [line.split(b" ", 3) for data in made.values() for line in data.splitlines()]
    assert len(lines) == 20001
    assert 0.007 < sum(tag == b"P" for _, _, tag, _ in lines) / len(lines) < 0.013
    assert 0.21 < sum(text.startswith(b"{") for *_, text in lines) / len(lines) < 0.25
    assert 178 < sum(map(len, made.values())) / len(lines) < 184


def test_it_prints_a_line_a_role(tmp_path):
    _python("-c", MAKE, str(tmp_path / "data"), "20000")
    printed = _python("-m", "bench.logs", BENCH_DATA=str(tmp_path / "data"))
    collector, enrichment, unqueued = map(json.loads, printed.splitlines())
    assert [found["bench"] for found in (collector, enrichment, unqueued)] == [
        "logs-collector",
        *["logs-enrichment"] * 2,
    ]
    assert (enrichment["queue"], unqueued["queue"]) == (True, False)
    expected = sum(data.count(b"\n") - data.count(b" P ") for data in _files(tmp_path / "data").values())
    for found in (collector, enrichment, unqueued):
        assert found["records_in"] == found["records_out"] == expected
        assert found["cpu_s_per_gb"] > 0
        assert found["lines_per_cpu_s"] > 0
        assert found["wire_mb"] > 0.1
        assert found["peak_rss_mb"] > 10


def test_another_sink_gets_what_both_roles_send(tmp_path):
    _python("-c", MAKE, str(tmp_path / "data"), "2000")
    with _sink(tmp_path / "spool") as url:
        printed = _python("-m", "bench.logs", BENCH_DATA=str(tmp_path / "data"), BENCH_URL=f"{url}/v1/logs")
    collector, enrichment = map(json.loads, printed.splitlines())
    counted = _python(
        "-c", f"from bench import sink; import pathlib; print(sink.count(pathlib.Path({str(tmp_path / 'spool')!r}))[0])"
    )
    assert int(counted) == collector["records_out"] + enrichment["records_out"] > 3000
    assert collector["wire_mb"] is None
