"""Order in lanes: one at a time, first made first, and nothing overtakes what is tried again."""

import asyncio

import pytest

from hawse.component import Busy, Refused
from hawse.net.lanes import Lanes


def run(*tasks):
    """Each task is an async function of (lanes, log)."""

    async def all_():
        lanes, log = Lanes(), []
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task(lanes, log))
        return log

    return asyncio.run(all_())


def sender(name, order, *answers, lane=0, patience=5.0, pause=0.01, then=()):
    """Sends a request until it is taken: `answers` are what is raised before; then its parts, `then`, if refused."""

    async def task(lanes, log):
        for answer in [*answers, None]:
            try:
                async with lanes.turn(lane, order, patience):
                    log.append(name)
                    await asyncio.sleep(0.005)
                    if answer is not None:
                        raise answer
            except Busy:
                await asyncio.sleep(pause)
            except Refused:
                for part in then:
                    async with lanes.turn(lane, order, patience):
                        log.append(part)
                return

    return task


def test_one_at_a_time_and_lanes_side_by_side():
    inside = [0, 0]
    most = [0, 0]
    both = []

    def task(lane):
        async def one(lanes, log):
            async with lanes.turn(lane, 1, 1.0):
                inside[lane] += 1
                most[lane] = max(most[lane], inside[lane])
                both.append(sum(inside))
                await asyncio.sleep(0.005)
                inside[lane] -= 1

        return one

    run(*[task(lane) for lane in (0, 1, 0, 1, 0, 1)])
    assert most == [1, 1]
    assert max(both) == 2


def test_what_was_made_first_goes_first_even_if_it_comes_second():
    assert run(sender("b", 2), sender("a", 1), sender("c", 3)) == ["a", "b", "c"]


def test_nothing_overtakes_what_is_tried_again():
    log = run(sender("a", 1, Busy("no"), Busy("no")), sender("b", 2), sender("c", 3, lane=1))
    assert [one for one in log if one != "c"] == ["a", "a", "a", "b"]
    assert log.index("c") < 3  # another lane does not wait


def test_parts_of_what_was_refused_go_before_others():
    log = run(sender("a", 1, Refused("bad"), then=("a1", "a2")), sender("b", 2))
    assert log == ["a", "a1", "a2", "b"]


def test_who_does_not_come_back_loses_the_lane():
    assert run(sender("a", 1, Busy("no"), patience=0.03, pause=0.2), sender("b", 2)) == ["a", "b", "a"]


def test_who_ends_loses_the_lane_at_once():
    async def ends(lanes, log):
        with pytest.raises(Busy):
            async with lanes.turn(0, 1, 60.0):
                log.append("a")
                raise Busy("no")

    assert run(ends, sender("b", 2)) == ["a", "b"]


@pytest.mark.parametrize("failure", [ValueError, None])
def test_any_end_frees_the_lane(failure):
    async def fails(lanes, log):
        async with lanes.turn(0, 1, 60.0):
            log.append("a")
            if failure:
                raise failure

    async def guarded(lanes, log):
        try:
            await fails(lanes, log)
        except ValueError:
            log.append("x")
        await asyncio.sleep(0.05)

    assert [one for one in run(guarded, sender("b", 2)) if one != "x"] == ["a", "b"]


def test_who_is_cancelled_while_waiting_or_sending_frees_the_lane():
    async def go():
        lanes, log = Lanes(), []
        tasks = [asyncio.create_task(sender(name, at)(lanes, log)) for at, name in enumerate("abcd")]
        await asyncio.sleep(0.002)
        tasks[1].cancel()  # waits
        tasks[0].cancel()  # sends
        await asyncio.wait(tasks, timeout=5)
        return log

    assert asyncio.run(go()) == ["a", "c", "d"]
