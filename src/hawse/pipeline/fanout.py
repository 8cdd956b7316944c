"""One batch, or parts of it, to several consumers."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import TypeAlias

from hawse.batch import Batch
from hawse.component import Busy, Consumer, Refused
from hawse.net.retry import RetryConfig
from hawse.values import Duration

_BACKOFF = RetryConfig(initial_interval=Duration(0.5))


class FanOut:
    """Hands each batch to all branches at once: see `deliver`."""

    def __init__(self, branches: Sequence[Consumer], log: logging.LoggerAdapter[logging.Logger]) -> None:
        self._branches = tuple(branches)
        self._log = log

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        await deliver([(branch, batch) for branch in self._branches], self._log)


Way: TypeAlias = tuple[Consumer, Batch]


async def deliver(ways: Sequence[Way], log: logging.LoggerAdapter[logging.Logger]) -> None:
    """Hand batches to consumers, all at once, and answer when all have answered.

    Where some took theirs and others are busy, only the busy ones are tried again, here, until they have answered: the
    caller's trying again would bring the others duplicates. So a slow branch slows the caller down, and nothing else.
    All busy: Busy. Refused by all: Refused. Refused by some: logged and counted at the branch, no error.
    """
    answers = await _ask(ways)
    busy = [(way, answer) for way, answer in answers if isinstance(answer, Busy)]
    if busy and len(busy) == len(answers):
        raise Busy("; ".join(dict.fromkeys(answer.reason for _, answer in busy)), _longest(busy))
    refused = [answer for _, answer in answers if isinstance(answer, Refused)]
    attempt = 0
    while busy:
        await asyncio.sleep(_wait(attempt, _longest(busy)))
        attempt += 1
        answers = await _ask([way for way, _ in busy])
        busy = [(way, answer) for way, answer in answers if isinstance(answer, Busy)]
        refused += [answer for _, answer in answers if isinstance(answer, Refused)]
    _settle(refused, ways, log)


def _settle(refused: list[Refused], ways: Sequence[Way], log: logging.LoggerAdapter[logging.Logger]) -> None:
    reasons = "; ".join(dict.fromkeys(answer.reason for answer in refused))
    if refused and len(refused) == len(ways):
        answer = Refused(reasons, refused[0].code)
        answer.counted = all(one.counted for one in refused)
        raise answer
    if refused:
        words = ways[0][1].signal.items.replace("_", " ")
        log.warning("%s refused by one branch and taken by another: %s", words, reasons)


async def _ask(ways: Sequence[Way]) -> list[tuple[Way, BaseException | None]]:
    answers = await asyncio.gather(*(consumer.consume(batch) for consumer, batch in ways), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Busy | Refused):
            raise answer
    return list(zip(ways, answers, strict=True))


def _longest(busy: list[tuple[Way, Busy]]) -> float | None:
    return max((answer.retry_after for _, answer in busy if answer.retry_after is not None), default=None)


def _wait(attempt: int, retry_after: float | None) -> float:
    """Seconds: what was asked for and a little more, so that many collectors don't come back as one, or growing."""
    if retry_after is not None:
        return retry_after + random.uniform(0, 0.1 * retry_after)  # noqa: S311 - no secret
    return _BACKOFF.wait(attempt)
