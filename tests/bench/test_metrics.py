"""The metrics bench, on targets small enough for a test."""

import gzip
import json
import os
import re
import subprocess
import sys
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

from bench.exposition import Exposition, go
from bench.scrapes import Scrape, missed

ROOT = Path(__file__).parents[2]


def _values(body):
    return [line.rpartition(" ")[2] for line in body.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("series", [400, 20_000])
def test_all_values_change_with_each_scrape(series):
    exposition = Exposition(series)
    bodies = [_values(exposition.body(scrape)) for scrape in range(4)]
    assert {len(values) for values in bodies} == {series}
    for before, after in pairwise(bodies):
        assert not any(a == b for a, b in zip(before, after, strict=True))


def test_what_is_exposed():
    body = Exposition(20_000).body(0)
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    assert len({line.rpartition(" ")[0] for line in lines}) == 20_000
    assert 60 < sum(map(len, lines)) / 20_000 < 80
    assert set(re.findall(r"^# TYPE \S+ (\w+)", body, re.MULTILINE)) == {"counter", "gauge", "histogram", "summary"}


def test_most_may_stay_the_same():
    exposition = Exposition(20_000, unchanged=0.7)
    before, after = _values(exposition.body(0)), _values(exposition.body(1))
    assert 0.66 < sum(a == b for a, b in zip(before, after, strict=True)) / 20_000 < 0.74


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1"), (999_999.5, "999999.5"), (1e6, "1e+06"), (1_234_567.25, "1.23456725e+06"),
     (0.0001, "0.0001"), (0.00001234, "1.234e-05"), (1e21, "1e+21"), (12e15, "1.2e+16"), (0.1 + 0.2, "0.30000000000000004")],
)  # fmt: skip
def test_numbers_are_written_as_go_does(value, text):
    assert go(value) == text


def _at(*times, target="t:1", up=True):
    return [Scrape(target, at, up, 1) for at in times]


@pytest.mark.parametrize(
    ("scrapes", "expected"),
    [
        (_at(100.4, 101.4, 102.4, 103.4), 0),
        (_at(100.4, 101.45, 102.38, 103.4), 0),
        (_at(100.4, 102.4, 103.4), 1),
        (_at(100.4, 101.4), 2),
        (_at(102.4, 103.4), 2),
        (_at(100.4, 101.4, 103.4) + _at(102.4, up=False), 1),
        (_at(100.4, 101.4, 102.4, 103.4, target="u:1"), 3),
        ([], 3),
    ],
)
def test_gaps_are_missed_scrapes(scrapes, expected):
    assert missed(scrapes, ["t:1"], 100.0, 104.0, 1.0) == expected


def _bench(*arguments, **environment):
    run = subprocess.run(
        [sys.executable, "-m", "bench.metrics", *arguments], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


SHORT = ("--interval", "0.5", "--seconds", "2.5", "--warm-up", "0.5")


def test_it_prints_a_line():
    found = _bench("--targets", "2", "--series", "400", *SHORT)
    assert found["bench"] == "metrics-collector"
    assert found["series"] == 800
    assert found["missed_scrapes"] == 0
    assert 1200 <= found["samples_per_s"] <= 2000
    assert 0 < found["cpu_s_per_million"] < 1000
    assert found["peak_rss_mb"] > 20
    assert found["startup_cpu_s"] > 0
    assert found["points"] > 2 * 6 * 300


def test_other_ends(tmp_path):
    """BENCH_TARGETS and BENCH_URL: its own are neither started nor asked."""
    spool = tmp_path / "spool"
    options = ["--targets", "3", "--series", "400"]
    with (
        subprocess.Popen([sys.executable, "-m", "bench.metric_targets", *options], cwd=ROOT, stdout=subprocess.PIPE) as targets,
        subprocess.Popen([sys.executable, "-m", "bench.sink", str(spool)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as sink,
    ):  # fmt: skip
        try:
            urls = json.loads(targets.stdout.readline())["urls"]
            listed = tmp_path / "urls"
            listed.write_text("\n".join([*urls, ""]))
            url = f"http://127.0.0.1:{sink.stdout.readline().strip()}/v1/metrics"
            found = _bench(*SHORT, BENCH_TARGETS=str(listed), BENCH_URL=url)
        finally:
            targets.terminate()
            sink.terminate()
    assert found["series"] == 1200
    assert found["missed_scrapes"] == 0
    assert found["wire_mb"] is None
    assert spool.stat().st_size > 1000


def test_a_target_answers_with_its_next_body():
    options = ["--targets", "1", "--series", "400", "--bodies", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "bench.metric_targets", *options], cwd=ROOT, stdout=subprocess.PIPE
    ) as targets:
        try:
            (url,) = json.loads(targets.stdout.readline())["urls"]
            bodies = []
            for _ in range(3):
                request = urllib.request.Request(url, headers={"accept-encoding": "gzip"})
                with urllib.request.urlopen(request, timeout=10) as answer:
                    bodies.append(gzip.decompress(answer.read()))
        finally:
            targets.terminate()
    assert bodies[0] == bodies[2] != bodies[1]
    assert bodies[0].decode() == Exposition(400).body(0).replace("@@", "00")
