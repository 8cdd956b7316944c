"""The forward connector."""

import asyncio

import pytest

from hawse.batch import Batch, Signal
from hawse.component import Busy, Empty
from hawse.connectors.forward import factory


class Pipeline:
    def __init__(self, answer=None):
        self.answer = answer
        self.taken = []

    async def consume(self, batch):
        if self.answer:
            raise self.answer
        self.taken.append(batch)


def test_batches_go_to_the_pipelines_of_their_signal_and_answers_come_back():
    logs, traces = Pipeline(), Pipeline(Busy("full", 3.0))
    connector = factory.create(Empty(), None, {Signal.LOGS: logs, Signal.TRACES: traces})
    batch = Batch(Signal.LOGS, ())
    asyncio.run(connector.consume(batch))
    assert logs.taken == [batch]
    with pytest.raises(Busy) as answer:
        asyncio.run(connector.consume(Batch(Signal.TRACES, ())))
    assert answer.value.retry_after == 3.0


def test_each_signal_comes_out_as_itself():
    assert factory.converts == {(signal, signal) for signal in Signal}
