"""Long work gives others their turn, short work does not."""

import asyncio
import time

from hawse.turns import Turns, in_turns


def others_ran(work):
    async def main():
        ran = 0

        async def other():
            nonlocal ran
            while True:
                ran += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await work()
        task.cancel()
        return ran

    return asyncio.run(main())


def test_long_work():
    async def work():
        turns = Turns()
        for _ in range(4):
            time.sleep(0.006)
            await turns.give()

    assert others_ran(work) >= 4


def test_short_work():
    async def work():
        turns = Turns()
        for _ in range(100):
            await turns.give()

    assert others_ran(work) <= 2


def test_work_in_steps():
    def steps(seconds):
        for _ in range(4):
            time.sleep(seconds)
            yield
        return "done"

    found = []

    async def long():
        found.append(await in_turns(steps(0.006)))

    async def short():
        found.append(await in_turns(steps(0), Turns()))

    assert others_ran(long) >= 3
    assert others_ran(short) <= 1
    assert found == ["done", "done"]
