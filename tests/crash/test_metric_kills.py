"""metrics-enrichment killed under load: a few times here, a hundred times by `make test-crash`."""

import os
import random
from collections import Counter
from types import SimpleNamespace

import pytest

from .metric_kills import _NAME, Report, _compare, killed

SEED = int(os.environ.get("SEED") or random.randrange(10**6))


def test_no_point_is_missing_after_kills(tmp_path, capsys):
    report = killed(tmp_path, kills=3, seed=SEED, queue=True)
    with capsys.disabled():
        print(f"\n{report.json()}", end="")
    assert report.holds, report.json()
    assert report.kills == 3
    assert report.accepted > 1000


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda points: None, (0, 0, 0)),
        (lambda points: points.pop((_NAME, "a", 3)), (1, 0, 0)),
        (lambda points: points.update([(_NAME, "a", 3)]), (0, 1, 0)),
        (lambda points: points.update([(_NAME, "a", 9)]), (0, 0, 1)),
        (lambda points: points.update([("other", "a", 1)]), (0, 0, 1)),
    ],
)
def test_the_comparison_sees(change, found):
    points = Counter((_NAME, "a", number) for number in range(5))
    change(points)
    report = Report(0, queue=True)
    _compare(report, points, [SimpleNamespace(key="a", accepted=5, odd=[])])
    assert (report.missing, report.duplicates, report.strange) == found
    assert report.holds == (not report.missing and not report.strange)
