"""Roles killed at random moments: a few times here, a hundred times each by `make test-crash`."""

import asyncio
import gzip
import json
import os
import random
import re

import pytest

from .kills import killed
from .tally import Comparison
from .writers import Load

SEED = int(os.environ.get("SEED") or random.randrange(10**6))


@pytest.mark.slow
def test_nothing_is_missing_after_kills(tmp_path, capsys):
    report = asyncio.run(killed(tmp_path, kills=3, seed=SEED, queue=True))
    with capsys.disabled():
        print(f"\n{report.json()}", end="")
    assert report.holds, report.json()
    assert set(report.kills.values()) == {3}
    assert report.written > 3000
    assert report.rotations > 10


# --- the comparison itself, which must see what it is there to see ---------------------------------------------------


@pytest.fixture
def load(tmp_path):
    made = Load(tmp_path, 7, logs=9, rate=60_000)
    for writer in made.writers:
        writer._turn_every = 0.001
    made.begin()
    while made.written < 900:
        made.advance()
    made.finish()
    return made


def _arrived(load):
    """As the backend would tell it, if all went well."""
    for writer in load.writers:
        for number, (when, stream, restart) in enumerate(writer.written.records):
            resource = {"pod_id": writer.written.uid, "log.iostream": stream, "k8s.container.restart_count": restart}
            body = load.texts(writer.written.name, number)
            yield {"time_unix_nano": str(when), "body": body, "resource": resource}


def _compared(load, change):
    comparison = Comparison(load.writers)
    records = list(_arrived(load))
    change(records)
    for record in records:
        comparison.add(json.dumps(record).encode())
    tally = comparison.done()
    return tally.missing, tally.duplicates, tally.wrong


def _change(index, **fields):
    def change(records):
        records[index] = {**records[index], **fields}

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda records: None, (0, 0, 0)),
        (lambda records: records.pop(100), (1, 0, 0)),
        (lambda records: records.append(records[100]), (0, 1, 0)),
        (lambda records: records.append({**records[100], "body": "stray"}), (0, 0, 1)),
        (lambda records: records.append({**records[100], "body": "#w0:99999 x"}), (0, 0, 1)),
        (lambda records: records.append({**records[100], "body": records[100]["body"] + " "}), (0, 0, 1)),
        (_change(5, time_unix_nano="1"), (1, 0, 1)),
        (_change(5, resource={}), (1, 0, 1)),
    ],
)
def test_the_comparison_sees(load, change, found):
    assert _compared(load, change) == found


def test_writers_write_what_they_say(load):
    """Every number is in the files, rotation or not."""
    files = [path for path in load.root.rglob("*.log*") if path.is_file() and not path.is_symlink()]
    text = b"".join(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files)
    assert load.rotations >= 9
    found = set(re.findall(rb"#(w\d:\d+) ", text))
    for writer in load.writers:
        assert all(f"{writer.written.name}:{number}".encode() in found for number in range(len(writer.written.records)))
