"""Work in the event loop that may take long gives others their turn now and then."""

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
_LONGEST = 0.005  # seconds of work without a turn for others


class Turns:
    """One for each piece of work; a call of `give` between its steps costs 0.1 µs while there is time."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """Let others run if it is time."""
        if time.perf_counter() - self._since > _LONGEST:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


async def in_turns(work: Generator[None, None, T], turns: Turns | None = None) -> T:
    """The result of work that yields between its steps: others run there when it is time. Raises as the work does.

    `turns` is for work that goes on after this.
    """
    turns = turns or Turns()
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: T = done.value
            await turns.give()  # small pieces of work in a row have no steps of their own
            return found
        await turns.give()
