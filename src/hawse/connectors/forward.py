"""`forward`: hands what pipelines end in to the pipelines that begin with it, to merge them or to split one in two."""

from collections.abc import Mapping

from hawse import component
from hawse.batch import Batch, Signal
from hawse.component import Consumer, Context, Empty, no_needs


class Forward(component.Connector):
    """Passes batches on, unchanged; how they are answered is the answer of the pipelines behind it."""

    def __init__(self, config: Empty, context: Context, outputs: Mapping[Signal, Consumer]) -> None:  # noqa: ARG002
        self._outputs = outputs

    async def consume(self, batch: Batch) -> None:
        await self._outputs[batch.signal].consume(batch)


factory = component.ConnectorFactory("forward", Empty, Forward, needs=no_needs, stability=component.Stability.BETA)
