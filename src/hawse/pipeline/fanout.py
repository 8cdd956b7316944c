"""One batch to several consumers."""

import asyncio
import logging
import random
from collections.abc import Sequence

from hawse.batch import Batch
from hawse.component import Busy, Consumer, Refused
from hawse.net.retry import RetryConfig
from hawse.values import Duration

_BACKOFF = RetryConfig(initial_interval=Duration(0.5))


class FanOut:
    """Hands each batch to all branches at once, and answers when all have answered.

    Where some branches took the batch and others are busy, only the busy ones are tried again, here, until they have
    answered: the caller's trying again would bring the others duplicates. So a slow branch slows the caller down, and
    nothing else. All busy: Busy. Refused by all: Refused. Refused by some: logged and counted at the branch, no error.
    """

    def __init__(self, branches: Sequence[Consumer], log: logging.LoggerAdapter[logging.Logger]) -> None:
        self._branches = tuple(branches)
        self._log = log

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        answers = await _ask(self._branches, batch)
        busy = [(branch, answer) for branch, answer in answers if isinstance(answer, Busy)]
        if len(busy) == len(answers):
            raise Busy("; ".join(dict.fromkeys(answer.reason for _, answer in busy)), _longest(busy))
        refused = [answer for _, answer in answers if isinstance(answer, Refused)]
        attempt = 0
        while busy:
            await asyncio.sleep(_wait(attempt, _longest(busy)))
            attempt += 1
            answers = await _ask([branch for branch, _ in busy], batch)
            busy = [(branch, answer) for branch, answer in answers if isinstance(answer, Busy)]
            refused += [answer for _, answer in answers if isinstance(answer, Refused)]
        self._settle(refused, batch)

    def _settle(self, refused: list[Refused], batch: Batch) -> None:
        reasons = "; ".join(dict.fromkeys(answer.reason for answer in refused))
        if len(refused) == len(self._branches):
            answer = Refused(reasons, refused[0].code)
            answer.counted = all(one.counted for one in refused)
            raise answer
        if refused:
            words = batch.signal.items.replace("_", " ")
            self._log.warning("%s refused by one branch and taken by another: %s", words, reasons)


async def _ask(branches: Sequence[Consumer], batch: Batch) -> list[tuple[Consumer, BaseException | None]]:
    answers = await asyncio.gather(*(branch.consume(batch) for branch in branches), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Busy | Refused):
            raise answer
    return list(zip(branches, answers, strict=True))


def _longest(busy: list[tuple[Consumer, Busy]]) -> float | None:
    return max((answer.retry_after for _, answer in busy if answer.retry_after is not None), default=None)


def _wait(attempt: int, retry_after: float | None) -> float:
    """Seconds: what was asked for and a little more, so that many collectors don't come back as one, or growing."""
    if retry_after is not None:
        return retry_after + random.uniform(0, 0.1 * retry_after)  # noqa: S311 - no secret
    return _BACKOFF.wait(attempt)
