"""Codecs do their work in steps; between them, others have their turn."""

from collections.abc import Generator
from typing import TypeVar

from hawse.turns import Turns

T = TypeVar("T")


async def in_turns(work: Generator[None, None, T], turns: Turns) -> T:
    """The result of the work."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: T = done.value
            await turns.give()
            return found
        await turns.give()
