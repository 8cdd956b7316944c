"""The bound on what is in flight, and where its default comes from."""

import asyncio

import pytest

from hawse.net.budget import DEFAULT_LIMIT, Budget, cgroup_limit, in_flight


def small(limit):
    budget = Budget()
    budget.limit = limit
    return budget


def test_charges_until_it_is_full():
    budget = small(100)
    assert budget.acquire(60)
    assert budget.acquire(40)
    assert budget.over
    assert not budget.acquire(1)
    assert (budget.used, budget.refused, budget.free) == (100, 1, 0)
    budget.release(40)
    assert budget.acquire(1)


def test_what_is_larger_than_all_of_it_passes_alone():
    budget = small(100)
    assert budget.acquire(90)
    assert budget.acquire(200, held=90)
    assert not budget.acquire(1)
    budget.release(290)
    assert budget.acquire(50)
    assert not budget.acquire(200, held=0)


def test_giving_back_too_much_is_a_bug():
    with pytest.raises(AssertionError):
        small(10).release(1)


def test_waiting_is_first_come_first_served():
    async def run():
        budget, order = small(100), []
        assert budget.acquire(100)

        async def taker(name, size):
            await budget.wait(size)
            order.append(name)

        tasks = [asyncio.create_task(taker(*one)) for one in (("large", 90), ("small", 5), ("second", 60))]
        await asyncio.sleep(0)
        assert order == []
        budget.release(50)
        await asyncio.sleep(0)
        assert order == []  # the small one would fit, but is not first
        budget.release(50)
        await asyncio.sleep(0)
        assert order == ["large", "small"]
        budget.release(90)
        await asyncio.gather(*tasks)
        assert (order, budget.used) == (["large", "small", "second"], 65)

    asyncio.run(run())


@pytest.mark.parametrize("granted", [False, True])
def test_a_cancelled_wait_charges_nothing(granted):
    async def run():
        budget = small(100)
        assert budget.acquire(100)
        first, second = (asyncio.create_task(budget.wait(80)) for _ in range(2))
        await asyncio.sleep(0)
        if granted:
            budget.release(100)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        if not granted:
            budget.release(100)
        await second
        assert budget.used == 80
        assert not budget.over

    asyncio.run(run())


def test_the_lowest_limit_of_our_cgroups_counts(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "proc").write_text("0::/a/b\n")
    assert cgroup_limit(tmp_path / "proc", tmp_path) == 0
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    (tmp_path / "a" / "memory.max").write_text("209715200\n")
    assert cgroup_limit(tmp_path / "proc", tmp_path) == 209715200
    (tmp_path / "memory.max").write_text("1048576\n")
    assert cgroup_limit(tmp_path / "proc", tmp_path) == 1048576


def test_version_1_and_a_path_that_is_not_mounted(tmp_path):
    (tmp_path / "memory").mkdir()
    (tmp_path / "proc").write_text("5:cpu,cpuacct:/x\n4:memory:/kubepods/pod1\n0::/\n")
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cgroup_limit(tmp_path / "proc", tmp_path) == 0
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("134217728\n")
    assert cgroup_limit(tmp_path / "proc", tmp_path) == 134217728


def test_without_cgroups_there_is_a_default(tmp_path, monkeypatch):
    assert cgroup_limit(tmp_path / "none", tmp_path) == 0
    monkeypatch.setattr("hawse.net.budget.cgroup_limit", lambda: 0)
    assert Budget().memory_limit == DEFAULT_LIMIT
    assert Budget(128 << 20).limit == in_flight(128 << 20) == 32 << 20
    assert Budget(1).limit == 8 << 20


def test_room_that_comes_in_the_moment_in_which_a_waiter_gives_up():
    """A cancelled task's future is done before the task notices; what it would have got goes to the next."""

    async def run():
        budget = Budget(80 << 20)
        most = budget.limit
        await budget.wait(most)
        first = asyncio.ensure_future(budget.wait(most))
        second = asyncio.ensure_future(budget.wait(most))
        await asyncio.sleep(0)
        first.cancel()
        budget.release(most)
        await asyncio.wait_for(second, 1)
        assert first.cancelled()
        assert budget.used == most
        budget.release(most)
        assert (budget.used, budget.over) == (0, False)

    asyncio.run(run())
