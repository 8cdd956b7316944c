"""The account of metrics: it must be able to say that something was lost."""

import pytest

from hawse.batch import Signal
from hawse.demo.metrics import account, missing, of
from hawse.demo.workload import ExporterTally, Tally
from hawse.pipeline.ledger.report import Line, Report


def _line(**numbers):
    return Line(signal=Signal.METRICS, **numbers)


def _told(**samples):
    return Tally([], [ExporterTally("shop", "web", name, name, scrapes=4, samples=n) for name, n in samples.items()])


def test_all_there():
    final = account(_line(received=100, delivered=90, filtered=10), _line(received=90, filtered=5), 85, final=True)
    assert (final.received, final.filtered, final.delivered, final.in_flight, final.lost) == (100, 15, 85, 0, 0)


def test_what_is_on_its_way_is_no_loss_until_the_end():
    now = account(_line(received=100), _line(received=80), 70, final=False)
    assert (now.in_flight, now.lost) == (30, 0)


def test_what_the_tiers_still_hold_at_the_end_is_in_flight_and_the_rest_is_lost():
    final = account(_line(received=100, in_flight=5), _line(received=95, in_flight=15), 70, final=True)
    assert (final.in_flight, final.lost) == (20, 10)


def test_what_was_refused_is_told_by_both_tiers_and_counted_once():
    final = account(_line(received=100, refused=10), _line(received=100, refused=10), 90, final=True)
    assert (final.refused, final.lost) == (10, 0)


def test_what_comes_twice_is_no_gain():
    assert account(_line(received=100), _line(received=100), 120, final=True).lost == 0


@pytest.mark.parametrize(
    ("held", "failed", "wanted"),
    [
        ({"a": 100, "b": 40}, {}, 0),
        ({"a": 75, "b": 40}, {}, 25),
        ({"a": 100}, {}, 40),
        ({"a": 130, "b": 10}, {}, 30),  # what one has too much makes nothing good of another
        ({"a": 75, "b": 40}, {"a": 1}, 0),  # the scraper gave one of four up
        ({"a": 75, "b": 10}, {"a": 1}, 30),
        ({"a": 50, "b": 40}, {"a": 1}, 25),
        ({"b": 40}, {"a": 99}, 0),
    ],
)
def test_samples_that_were_exposed_and_are_not_there_are_missing(held, failed, wanted):
    assert missing(_told(a=100, b=40), held, failed) == wanted


def test_a_ledger_without_metrics_is_an_empty_one():
    report = Report(since=0, quiet=True, balanced=True, totals=[Line(signal=Signal.LOGS, received=5)], components=[])
    assert of(report).received == of(None).received == 0
    assert of(Report(since=0, quiet=True, balanced=True, totals=[_line(received=7)], components=[])).received == 7
