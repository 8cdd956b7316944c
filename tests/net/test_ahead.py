"""Requests that are made ahead, in steps."""

import asyncio

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Refused
from hawse.net.ahead import Ahead


def batch(size):
    return Batch(Signal.METRICS, [Group(Resource(), (bytes(size),), 1)])


def test_large_batches_give_others_their_turn_and_come_out_in_order():
    log = []

    def make(one):
        for _ in range(5):
            log.append(one.nbytes)
            yield
        return [one.nbytes]

    async def run():
        ahead, taken, ticks = Ahead(make), [], 0

        async def one(one_batch):
            await ahead.warm(one_batch)
            taken.extend(ahead.take(one_batch))

        async def tick():
            nonlocal ticks
            while len(taken) < 3:
                ticks += 1
                await asyncio.sleep(0)

        batches = [batch(200_000), batch(10), batch(200_001)]
        await asyncio.gather(*map(one, batches), tick())
        return taken, [one.nbytes for one in batches], ticks

    taken, wanted, ticks = asyncio.run(run())
    assert taken == wanted
    assert ticks >= 10
    assert len(log) == 15  # each was made once


def test_what_is_ready_is_for_one_batch_only():
    async def run():
        ahead = Ahead(lambda one: (yield) or [id(one)])
        first, second = batch(200_000), batch(200_000)
        await ahead.warm(first)
        return [ahead.take(one) == [id(one)] for one in (second, first)]

    assert asyncio.run(run()) == [True, True]


def test_a_refusal_is_told_where_it_is_asked():
    def make(_):
        yield
        raise Refused("no", "malformed")

    async def run():
        ahead, one = Ahead(make), batch(200_000)
        await ahead.warm(one)
        with pytest.raises(Refused):
            ahead.take(one)

    asyncio.run(run())
