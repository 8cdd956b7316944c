"""An exporter with what the pipeline does for it: a queue, trying again, splitting, finding what is at fault.

The settings are the exporter's own: `sending_queue` and `retry_on_failure`, where its Config has them.
"""

import os
from typing import Any

from hawse.batch import Batch
from hawse.component import Component, Context, Exporter, Kind, Refused, RequestExporter
from hawse.diagnostics import HawseError
from hawse.health import Progress
from hawse.net.budget import Budget
from hawse.net.retry import RetryConfig
from hawse.pipeline.attempts import Attempts, Packed, Refusal, Whole
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.edges import Branch
from hawse.pipeline.ledger.held import Held
from hawse.pipeline.letters import Letters
from hawse.pipeline.queue import DurableQueue
from hawse.pipeline.turns import Turns
from hawse.state.dead_letters import DeadLetterFile
from hawse.state.queue import DiskQueue
from hawse.state.settings import QueueConfig
from hawse.state.storage import Storage

_OFF = RetryConfig(enabled=False)


class Sending(Component):
    """What the graph has in an exporter's place.

    Without a queue on disk, `consume` returns when the destination has the batch, but for what it refused: that is
    told to the ledger. If it refused all of it, so does `consume`.
    """

    def __init__(
        self, exporter: Exporter, config: Any, context: Context, ledger: Ledger, progress: Progress | None = None
    ) -> None:
        self._exporter = exporter
        self._context = context
        self._ledger = ledger
        self._settings: QueueConfig = getattr(config, "sending_queue", None) or QueueConfig(enabled=False)
        self._retry: RetryConfig = getattr(config, "retry_on_failure", None) or _OFF
        self.on_disk = self._settings.enabled and self._settings.storage is not None
        self._requests = exporter if isinstance(exporter, RequestExporter) else Whole(Branch(exporter, ledger))
        self._progress = progress or Progress(context.id)
        self._attempts = Attempts(self._requests, self._retry, context.log, progress=self._progress)
        self._letters = Letters(self._requests, context.id, None, context.log)
        self._turns = Turns(self._settings, context.meter) if self._settings.enabled and not self.on_disk else None
        self._queue: DurableQueue | None = None

    async def start(self) -> None:
        """Start the exporter, then its queue."""
        await self._exporter.start()
        if self.on_disk:
            self._queue = self._open()
            self._queue.start()

    def why_full(self) -> str:
        """Why no batch can be taken now; "" while one can."""
        queue = self._queue or self._turns
        return queue.why_full() if queue is not None else ""

    async def stop(self) -> None:
        """Stop the queue, then the exporter."""
        try:
            if self._queue is not None:
                await self._queue.stop()
        finally:
            await self._exporter.stop()

    async def consume(self, batch: Batch) -> None:
        """See `component.Consumer`."""
        if self._queue is not None:
            await self._queue.consume(batch)
        elif self._turns is not None:
            async with self._turns.turn(batch):
                await self._send(batch)
        else:
            await self._send(batch)

    async def _send(self, batch: Batch) -> None:
        await self._requests.warm(batch)
        requests = self._requests.prepare(batch)
        refusals = await self._attempts.send(requests)
        if refusals:
            self._settle(batch, refusals)

    def _settle(self, batch: Batch, refusals: list[Refusal]) -> None:
        if sum(refusal.request.items for refusal in refusals) >= batch.items:
            first = refusals[0].answer
            raise Refused(first.reason, first.code) from None
        for refusal in refusals:
            for group in self._letters.keep(refusal).groups:
                self._context.ledger.refused(group, refusal.answer.code)

    def _open(self) -> DurableQueue:
        context, settings = self._context, self._settings
        assert settings.storage is not None
        storage = context.extension(settings.storage, Storage)
        exporter = self._exporter if isinstance(self._exporter, RequestExporter) else Packed(self._exporter)
        size = int(settings.dead_letters.max_size)
        file = DeadLetterFile(storage.directory, context.id, size) if size else None
        try:
            return DurableQueue(
                exporter,
                DiskQueue(storage, context.id),
                settings,
                self._retry if self._retry.enabled else RetryConfig(),
                Letters(exporter, context.id, file, context.log),
                Held(self._ledger, Kind.EXPORTER, context.id),
                context.meter,
                context.log,
                context.shared(Budget),
                self._progress,
            )
        except OSError as error:
            fix = f"free space there, and let uid {os.getuid()} write"
            raise HawseError.of("HW132", f"cannot open the queue: {error}", fix=fix, path="sending_queue") from None
