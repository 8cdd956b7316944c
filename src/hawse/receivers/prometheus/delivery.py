"""Hands scrapes on, one target's at a time, until they are taken."""

import asyncio
from collections.abc import Sequence

from hawse.batch import Batch, Group, Signal
from hawse.component import Busy, Consumer, Refused
from hawse.net.retry import RetryConfig
from hawse.receivers.prometheus.metrics import Metrics

_PACE = RetryConfig()


class Delivery:
    """Towards what comes next in the pipeline.

    A scrape that cannot be taken now is kept, and its target not scraped again until it was: what waits is bounded by
    the number of targets, a scrape each, and by the memory budget.
    """

    def __init__(self, output: Consumer, metrics: Metrics) -> None:
        self._output = output
        self._metrics = metrics
        self.waiting = 0  # scrapes

    async def hand_on(self, groups: Sequence[Group], name: str) -> None:
        """Return when the groups are taken, or will never be (Refused, which is counted and told)."""
        batch = Batch(Signal.METRICS, groups)
        attempt = 0
        self.waiting += 1
        try:
            while True:
                try:
                    await self._output.consume(batch)
                    return
                except Busy as busy:
                    wait = _PACE.wait(attempt)
                    if busy.retry_after is not None:
                        wait = busy.retry_after + min(wait, _PACE.initial_interval)
                    attempt += 1
                    self._metrics.complain(
                        "a scrape of %s waits to be taken, and so does the next: %s", name, busy.reason
                    )
                    await asyncio.sleep(wait)
        except Refused as refused:
            self._metrics.complain("a scrape of %s was refused: %s", name, refused.reason)
        finally:
            self.waiting -= 1
