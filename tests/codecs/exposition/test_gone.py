"""What is marked as gone, and what counts as new, as Prometheus has it."""

import asyncio

import pytest

from hawse.batch import Batch, Signal
from hawse.codecs.exposition import Exposition
from hawse.codecs.prometheus_series import series

NOW = 1_700_000_000_000_000_000
TEXT = "text/plain; version=0.0.4"

HISTOGRAM = """# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="2"} 2
h_bucket{le="+Inf"} 4
h_sum 9
h_count 4
"""
SUMMARY = """# TYPE s summary
s{quantile="0.5"} 1
s{quantile="0.9"} 2
s_sum 9
s_count 4
"""


def _read(exposition, body, at=NOW):
    return asyncio.run(exposition.read(body.encode(), TEXT, at))


def _rows(groups):
    """(name, le or quantile) → value; each once. NaN is None: here it only marks."""
    found = {}
    for labels, value, _ in series(Batch(Signal.METRICS, groups)):
        key = labels["__name__"], labels.get("le") or labels.get("quantile")
        assert key not in found
        found[key] = None if value != value else value
    return found


@pytest.mark.parametrize(
    ("first", "then", "gone"),
    [
        (HISTOGRAM, HISTOGRAM.replace('h_bucket{le="1"} 1\n', ""), {("h_bucket", "1")}),
        (HISTOGRAM, HISTOGRAM.replace('le="2"', 'le="3"'), {("h_bucket", "2")}),
        (HISTOGRAM, HISTOGRAM.replace('le="2"', 'le="2.0"'), {("h_bucket", "2")}),
        (HISTOGRAM, HISTOGRAM.replace("h_sum", '# HELP h New.\nh_bucket{le="1.5"} 1\nh_sum'), set()),
        (SUMMARY, SUMMARY.replace('s{quantile="0.5"} 1\n', ""), {("s", "0.5")}),
        (SUMMARY, SUMMARY.replace('s{quantile="0.5"} 1\ns{quantile="0.9"} 2\n', ""), {("s", "0.5"), ("s", "0.9")}),
        (SUMMARY, SUMMARY.replace("s_sum", 's{quantile="0.99"} 1\ns_sum'), set()),
    ],
)
def test_a_bucket_or_quantile_that_vanishes_is_marked(first, then, gone):
    exposition = Exposition({}, {"job": "j", "instance": "i"})
    before = _rows(_read(exposition, first).groups)
    after = _rows(_read(exposition, then, NOW + 10**9).groups)
    assert {key for key, value in after.items() if value is None} == gone
    assert before.keys() <= after.keys()
    assert all(value is not None for value in _rows(_read(exposition, then, NOW + 2 * 10**9).groups).values())


def test_after_a_failed_scrape_what_comes_back_is_not_new_and_what_does_not_is_not_marked_again():
    exposition = Exposition({}, {"job": "j", "instance": "i"})
    body = "# TYPE c counter\nc 5\n# TYPE g gauge\ng 1\n"
    assert _read(exposition, body).added == 2
    assert len(_rows(exposition.stale(NOW + 10**9))) == 2
    assert exposition.stale(NOW + 2 * 10**9) == ()
    back = _read(exposition, body.replace("5", "6"), NOW + 3 * 10**9)
    assert (back.added, _rows(back.groups)) == (0, {("c", None): 6.0, ("g", None): 1.0})
    assert len(_rows(exposition.stale(NOW + 4 * 10**9))) == 2
    less = _read(exposition, "# TYPE c counter\nc 7\nnew 1\n", NOW + 5 * 10**9)
    assert (less.added, _rows(less.groups)) == (1, {("c", None): 7.0, ("new", None): 1.0})


def test_what_is_dropped_is_not_new():
    def relabel(labels):
        return None if labels["__name__"].startswith("drop") else labels

    exposition = Exposition({}, {"job": "j", "instance": "i"}, relabel)
    first = _read(exposition, "drop_a 1\nkeep_a 1\n")
    assert (first.samples, first.kept, first.added) == (2, 1, 1)
    second = _read(exposition, "drop_a 1\nkeep_a 1\ndrop_b 1\nkeep_b 1\n", NOW + 10**9)
    assert (second.samples, second.kept, second.added) == (4, 2, 1)
