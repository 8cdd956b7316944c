"""The account of `hawse up`: it must be able to say that something was lost."""

import pytest

from hawse.demo.accounts import ACCEPTED, FILTERED, IN_FLIGHT, REFUSED, Tiers, account, totals
from hawse.demo.workload import PodTally, Tally

TALLY = Tally(
    [
        PodTally("shop", "web", "u1", collected=True, records=100),
        PodTally("shop", "db", "u2", collected=True, records=50),
        PodTally("shop", "shell", "u3", collected=False, records=7),
    ]
)


def _tiers(safe=157, waiting=0, filtered=7, refused=0):
    return Tiers({ACCEPTED: safe, IN_FLIGHT: waiting, REFUSED: refused}, {ACCEPTED: safe, FILTERED: filtered})


def test_totals_sum_series():
    text = '# HELP a b\n# TYPE a counter\na{x="1 {2}"} 3\na{x="2"} 4.5\nb 1e3\n'
    assert totals(text) == {"a": 7.5, "b": 1000.0}


def test_all_there():
    final = account(TALLY, _tiers(), 150, {"u1": 100, "u2": 50}, final=True)
    assert (final.written, final.read, final.filtered, final.delivered) == (157, 157, 7, 150)
    assert (final.in_flight, final.lost, final.duplicates) == (0, 0, 0)


def test_what_is_on_its_way_is_no_loss_until_the_end():
    now = account(TALLY, _tiers(safe=120, waiting=30), 110, {"u1": 80, "u2": 30}, final=False)
    assert (now.in_flight, now.lost) == (150 - 7 - 110, 0)


@pytest.mark.parametrize(
    ("tiers", "by_uid", "delivered"),
    [
        (_tiers(), {"u1": 90, "u2": 50}, 140),  # read, and gone
        (_tiers(safe=147), {"u1": 90, "u2": 50}, 140),  # never read
        (_tiers(safe=177), {"u1": 100, "u2": 50}, 160),  # of this machine's own: 20 read, 10 arrived
        (_tiers(), {"u1": 90, "u2": 60}, 150),  # ten too few of one, ten too many of another
    ],
)
def test_what_is_missing_at_the_end_is_lost(tiers, by_uid, delivered):
    assert account(TALLY, tiers, delivered, by_uid, final=True).lost == 10


def test_what_the_collector_still_holds_at_the_end_is_in_flight():
    final = account(TALLY, _tiers(safe=147, waiting=10), 140, {"u1": 90, "u2": 50}, final=True)
    assert (final.in_flight, final.lost) == (10, 0)


def test_duplicates_are_counted_and_hide_no_loss():
    final = account(TALLY, _tiers(), 150, {"u1": 95, "u2": 55}, final=True)
    assert (final.duplicates, final.lost) == (5, 5)


def test_the_last_reading_of_the_collector_is_made_good_by_enrichment():
    tiers = Tiers({ACCEPTED: 150}, {ACCEPTED: 157, FILTERED: 7})
    assert account(TALLY, tiers, 150, {"u1": 100, "u2": 50}, final=True).read == 157


def test_what_was_refused_is_told_apart_from_what_was_lost():
    final = account(TALLY, _tiers(safe=147, refused=10), 140, {"u1": 90, "u2": 50}, final=True)
    assert (final.read, final.refused, final.lost) == (157, 10, 0)
