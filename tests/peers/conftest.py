"""Real programs to test against, and which of the long tests run."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .arrived import Collector, problems, run

_SCRIPT = Path(__file__).parents[2] / "scripts" / "peers.py"


def pytest_collection_modifyitems(config, items):
    """What is marked `long` runs where LONG=1 is set (`make test-peers`)."""
    if os.environ.get("LONG") == "1":
        return
    left = [item for item in items if "long" in item.keywords]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if "long" not in item.keywords]


@cache
def _ask(name):
    """The path of a program, or why there is none."""
    run = subprocess.run([sys.executable, _SCRIPT, name], capture_output=True, text=True, timeout=900, check=False)
    if run.returncode:
        return None, run.stderr.strip() or f"{_SCRIPT.name} ended with {run.returncode}"
    return Path(run.stdout.rstrip("\n").split("\t")[2]), ""


@pytest.fixture(scope="session")
def peer():
    """`peer("prometheus")` is the program's path. Where it can't be had, the test is skipped, by its name.

    REQUIRE_PEERS=1 makes that a failure.
    """

    def find(name):
        path, why = _ask(name)
        if path is None:
            (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(why)
        return path

    return find


@pytest.fixture(scope="session")
def collector(tmp_path_factory):
    """A `hawse run` with every receiver of traces. At the end, it must have lost, refused and complained of nothing."""
    with Collector(tmp_path_factory.mktemp("collector")) as running:
        yield running
        assert not problems(running.metrics()), running.tail()


@pytest.fixture
def tell(tmp_path, collector):
    """`tell(told, [program, script], *arguments)` runs a client with a story; returns what it printed, and what came."""

    def send(told, program, *arguments, env=None):
        file = tmp_path / "story.json"
        file.write_text(json.dumps(told), encoding="utf-8")
        said = run([*program, file, *arguments], env)
        return said, collector.wait_for(said["ids"])

    return send


@pytest.fixture
def node(peer):
    """`node("npm-x")`: the interpreter, and the environment in which it finds the package."""

    def find(name):
        return peer("node"), {**os.environ, "NODE_PATH": str(peer(name))}

    return find
