"""When to try again, and for how long."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.component import Busy, Refused
from hawse.net.retry import RetryConfig, deliver, retry_after
from hawse.values import Duration

log = logging.getLogger("test")


def failing(times, error):
    """An attempt that fails so many times, and when it was made."""
    made = []

    async def attempt():
        made.append(time.monotonic())
        if len(made) <= times:
            raise error
        return "done"

    return attempt, made


def quick(**settings):
    return RetryConfig(initial_interval=Duration(0.001), max_interval=Duration(0.002), **settings)


def test_until_it_works(caplog):
    attempt, made = failing(20, Busy("backend:443 is down"))
    with caplog.at_level(logging.INFO):
        assert asyncio.run(deliver(attempt, quick(), log)) == "done"
    assert len(made) == 21
    assert "backend:443 is down; attempt 1 failed" in caplog.records[0].getMessage()
    assert len(caplog.records) == 2  # complained once, and said when it was over


def test_what_is_refused_is_not_tried_again():
    attempt, made = failing(1, Refused("never"))
    with pytest.raises(Refused):
        asyncio.run(deliver(attempt, quick(), log))
    assert len(made) == 1


@pytest.mark.parametrize("settings", [{"enabled": False}, {"max_elapsed_time": Duration(1e-9)}])
def test_turned_off_or_over(settings):
    attempt, made = failing(9, Busy("down"))
    with pytest.raises(Busy, match="down"):
        asyncio.run(deliver(attempt, quick(**settings), log))
    assert len(made) == 1


def test_an_end_is_an_end():
    attempt, made = failing(10**9, Busy("down"))
    with pytest.raises(Busy):
        asyncio.run(deliver(attempt, quick(max_elapsed_time=Duration(0.1)), log))
    assert 2 < len(made)
    assert made[-1] - made[0] <= 0.15  # the last one may be made a moment late


def test_retry_after_is_a_lower_bound_and_spread():
    attempt, made = failing(1, Busy("later", retry_after=0.1))
    asyncio.run(deliver(attempt, quick(), log))
    assert 0.1 <= made[1] - made[0] < 0.5


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_waiting_times_stay_within_their_bounds(attempt, factor):
    config = RetryConfig(initial_interval=Duration(1), max_interval=Duration(30), randomization_factor=factor)
    ceiling = min(30, 1.5 ** min(attempt, 100))
    assert ceiling * (1 - factor) - 1e-9 <= config.wait(attempt) <= ceiling


def test_full_jitter_reaches_from_nothing_to_the_interval():
    waits = [RetryConfig().wait(100) for _ in range(1000)]
    assert min(waits) < 3
    assert max(waits) > 27


def test_retry_after_headers():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after("120") == 120
    assert 57 < retry_after(soon) <= 60
    assert retry_after("Fri, 31 Dec 1999 23:59:59 GMT") == 0
    for nonsense in ("", "soon", "-5", "1e9", "٣"):
        assert retry_after(nonsense) is None


def test_problems():
    assert not list(RetryConfig().problems())
    found = RetryConfig(initial_interval=Duration(0), max_interval=Duration(-1)).problems()
    assert [problem.path for problem in found] == ["initial_interval", "max_interval"]
