"""`make soak`, for a moment: with a queue on disk, and with everything held in memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queue", "clients", "records"), [("4MiB", 3, 2000), ("0", 10, 20_000)], ids=["queue", "memory"]
)
def test_a_dead_backend_and_full_speed_stay_within_memory(queue, clients, records):
    options = [
        "--seconds",
        "8",
        "--lines",
        "4000",
        "--queue",
        queue,
        "--clients",
        str(clients),
        "--records",
        str(records),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", "--memory", "160MiB", *options],
        cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["missing"], found["oom_kills"], len(found["alive"])) == (0, 0, 2)
    assert found["arrived"] >= found["in_files"] + found["accepted_from_clients"]
    turned_away = found["client_answers"].get("429", 0) + found["client_answers"].get("503", 0)
    assert turned_away > 0, "full speed is more than a dead backend leaves room for"
    if queue == "0":
        assert found["refused"]["memory_limit"] > 0
    else:
        assert found["accepted_from_clients"] > 0
