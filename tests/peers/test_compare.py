"""The comparison sees what it is there to see."""

import pytest

from .compare import differences, runs, steady_differences
from .prometheus import STALE

A, B = (("__name__", "a"),), (("__name__", "b"),)


def test_runs():
    assert runs([(3, 2.0), (1, 1.0), (2, 1.0), (4, STALE), (5, 2.0)]) == [1.0, 2.0, STALE, 2.0]


@pytest.mark.parametrize(
    ("direct", "through", "count"),
    [
        ({A: [(1, 1.0), (2, 2.0)]}, {A: [(1, 1.0), (2, 1.0), (3, 2.0)]}, 0),
        ({A: [(1, 1.0), (2, STALE)]}, {A: [(1, 1.0)]}, 1),
        ({A: [(1, 1.0)]}, {A: [(1, 1.0000000000000002)]}, 1),
        ({A: [(1, 1.0)], B: [(1, 1.0)]}, {A: [(1, 1.0)]}, 1),
        ({A: [(1, 1.0)]}, {A: [(1, 1.0)], B: [(1, 1.0)]}, 1),
        ({A: [(1, 1.0)]}, {B: [(1, 1.0)]}, 2),
    ],
)
def test_differences(direct, through, count):
    assert len(differences(direct, through)) == count


def test_steady_differences():
    many = {(("__name__", "m"), ("n", str(n))): [(1, 5.0), (9, 5.0)] for n in range(100)}
    direct = {A: [(1, 1.0), (9, 1.0)], **many}
    assert not steady_differences(direct, {**direct, A: [(2, 1.0), (3, 7.0), (4, 1.0)]})
    assert steady_differences(direct, {**direct, A: [(2, 7.0)]})
    assert steady_differences(direct, {**direct, A: [(2, 7.0), (3, 8.0)]})
    assert not steady_differences(direct, {**direct, A: [(2, 1.0), (10, 7.0)]})
    assert steady_differences(direct, {labels: [(2, 5.0), (3, 6.0)] for labels in many} | {A: direct[A]})
    assert steady_differences(direct, many)
