"""Long work gives others their turn, short work does not."""

import asyncio
import time

from hawse.turns import Turns


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
