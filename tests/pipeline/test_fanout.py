"""One batch to several consumers, without duplicates."""

import asyncio

import pytest

from hawse.component import Busy, Kind, Refused
from hawse.pipeline import fanout
from hawse.pipeline.fanout import FanOut
from hawse.pipeline.logs import ComponentLog


class Branch:
    """Answers as told, then takes everything."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.taken = 0
        self.asked = 0

    async def consume(self, one):
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        elif answer is not None:
            raise answer
        self.taken += 1


@pytest.fixture
def hand(make_batch, monkeypatch):
    waits = []
    real = fanout._wait
    monkeypatch.setattr(fanout, "_wait", lambda *arguments: waits.append(real(*arguments)) or 0)

    def hand(*branches):
        try:
            asyncio.run(FanOut(branches, ComponentLog(Kind.RECEIVER, "feed")).consume(make_batch()))
        finally:
            hand.waits = waits

    return hand


def test_all_take_it(hand):
    branches = [Branch(), Branch(), Branch()]
    hand(*branches)
    assert [branch.taken for branch in branches] == [1, 1, 1]


def test_branches_are_asked_at_the_same_time(make_batch):
    async def time():
        loop = asyncio.get_running_loop()
        before = loop.time()
        await FanOut([Branch(0.1), Branch(0.1), Branch(0.1)], None).consume(make_batch())
        return loop.time() - before

    assert asyncio.run(time()) < 0.25


def test_only_the_busy_are_tried_again(hand):
    fine, slow = Branch(), Branch(Busy("full"), Busy("full", 7.0), Busy("full"))
    hand(fine, slow)
    assert (fine.asked, fine.taken, slow.asked, slow.taken) == (1, 1, 4, 1)
    assert len(hand.waits) == 3
    assert 7 <= hand.waits[1] <= 7.7  # Retry-After is obeyed, with a little jitter
    assert 0 <= hand.waits[0] <= 0.5


def test_all_busy_is_the_callers_business(hand):
    branches = [Branch(Busy("full", 2.0)), Branch(Busy("away", 5.0))]
    with pytest.raises(Busy, match="full; away") as answer:
        hand(*branches)
    assert answer.value.retry_after == 5.0
    assert [branch.asked for branch in branches] == [1, 1]


def test_refused_by_one_is_told_and_the_others_keep_it(hand, caplog):
    with caplog.at_level("WARNING", logger="hawse"):
        hand(Branch(Refused("too old")), Branch())
    assert "refused by one branch and taken by another: too old" in caplog.text


def test_refused_by_all(hand):
    with pytest.raises(Refused, match="too old; too big"):
        hand(Branch(Refused("too old")), Branch(Busy("full"), Refused("too big")))


def test_a_bug_goes_through(hand):
    with pytest.raises(ZeroDivisionError):
        hand(Branch(), Branch(ZeroDivisionError()))


def test_cancelling_reaches_the_branches(make_batch):
    async def cancel():
        branch = Branch(60.0)
        task = asyncio.create_task(FanOut([branch, Branch()], None).consume(make_batch()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return branch.taken, len(asyncio.all_tasks())

    assert asyncio.run(cancel()) == (0, 1)
