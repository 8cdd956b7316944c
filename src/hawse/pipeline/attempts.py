"""Sends requests until each is delivered or known to be refused for good.

Busy is tried again. Too large is split, in the end between records. Refused is split between groups, so that what is
at fault is found and all the rest delivered.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

import msgspec
import zstandard

from hawse.batch import Batch
from hawse.codecs import otlp
from hawse.codecs.otlp_halves import halves
from hawse.component import Busy, Consumer, Refused, Request, RequestExporter, TooLarge
from hawse.health import Progress
from hawse.net.retry import RetryConfig, deliver
from hawse.wire import WireError

# So many refusals in a row, and it is not the data that is at fault, or all of it: no more searching until one passes.
_ENOUGH = 32
_TOLD_EVERY = 30.0  # seconds


class Log(Protocol):
    """What is needed of a logger."""

    def warning(self, msg: str, *args: object) -> None: ...
    def info(self, msg: str, *args: object) -> None: ...


class Refusal(msgspec.Struct):
    """A request, or a part of one, that will never be taken, and what was said."""

    request: Request
    answer: Refused


class Attempts:
    """Of one exporter. `catch_all`: an exporter's bug is a refusal, since whatever it stumbles over is kept."""

    def __init__(
        self,
        exporter: RequestExporter,
        retry: RetryConfig,
        log: Log,
        stopping: asyncio.Event | None = None,
        *,
        catch_all: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.exporter = exporter
        self._retry = retry
        self._log = log
        self._stopping = stopping
        self._catch_all = catch_all
        self._progress = progress or Progress("")
        self._rest = retry.max_interval
        self._in_a_row = 0
        self._told = float("-inf")
        self._untold = 0

    async def send(self, requests: list[Request]) -> list[Refusal]:
        """Send all, lanes side by side; what was refused of them. Raises Busy when trying again has ended."""
        refusals: list[Refusal] = []
        if len(requests) == 1:
            await self._send(requests[0], refusals)
            return refusals
        lanes: dict[int, list[Request]] = {}
        for request in requests:
            lanes.setdefault(request.lane, []).append(request)
        outcomes = await asyncio.gather(
            *(self._in_order(lane, refusals) for lane in lanes.values()), return_exceptions=True
        )
        for failure in outcomes:
            if failure is not None:
                raise failure
        return refusals

    async def _in_order(self, requests: Iterable[Request], refusals: list[Refusal]) -> None:
        for request in requests:
            await self._send(request, refusals)

    async def _send(self, request: Request, refusals: list[Refusal]) -> None:
        try:
            await deliver(lambda: self._attempt(request), self._retry, self._log, self._stopping)
        except Refused as answer:
            self._in_a_row += 1
            parts = self._parts(request, answer)
            if not parts:
                self._bury(request, answer, refusals)
            await self._in_order(parts, refusals)
        else:
            self._in_a_row = 0

    async def _attempt(self, request: Request) -> None:
        failure, rest = "", 0.0
        self._progress.attempt()
        try:
            await self.exporter.send(request)
        except Busy as busy:
            failure, rest = busy.reason, max(self._rest, busy.retry_after or 0.0)
            raise
        except Refused:
            raise
        except Exception as problem:
            if not self._catch_all:
                raise
            raise Refused(f"the exporter failed: {type(problem).__name__}: {problem}", "exporter_failed") from problem
        finally:
            self._progress.attempted(failure, rest)

    def _parts(self, request: Request, answer: Refused) -> list[Request]:
        too_large = isinstance(answer, TooLarge)
        if self._in_a_row > _ENOUGH and not too_large:
            return []
        try:
            return self.exporter.split(request, by_group=not too_large)
        except (WireError, Refused):
            return []

    def _bury(self, request: Request, answer: Refused, refusals: list[Refusal]) -> None:
        refusals.append(Refusal(request, answer))
        now = time.monotonic()
        self._untold += request.items
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            words = request.signal.items.replace("_", " ")
            self._log.warning("%d %s refused for good: %s", self._untold, words, answer.reason)
            self._untold = 0


class BatchRequest(Request):
    """A request that is a batch as it is: for exporters that take nothing else, while nothing is kept."""

    batch: Batch | None = None


class Whole(RequestExporter):
    """An exporter that takes batches, seen as one that sends requests."""

    def __init__(self, exporter: Consumer) -> None:
        self._exporter = exporter

    def prepare(self, batch: Batch) -> list[Request]:
        """See RequestExporter. The request refers to the batch's buffers."""
        return [BatchRequest(batch.signal, batch.items, b"", batch=batch)]

    async def send(self, request: Request) -> None:
        """See RequestExporter."""
        await self._exporter.consume(self.restore(request))

    def split(self, request: Request, *, by_group: bool) -> list[Request]:
        """See RequestExporter."""
        return [one for half in halves(self.restore(request), by_group=by_group) for one in self.prepare(half)]

    def restore(self, request: Request) -> Batch:
        """See RequestExporter."""
        assert isinstance(request, BatchRequest)
        assert request.batch is not None
        return request.batch


class Packed(Whole):
    """The same with requests that can be kept: OTLP, compressed by zstd."""

    def prepare(self, batch: Batch) -> list[Request]:
        """See RequestExporter."""
        packed = zstandard.ZstdCompressor(level=1).compress(batch.encode())
        return [Request(batch.signal, batch.items, packed, {"peer": batch.peer} if batch.peer else {})]

    def restore(self, request: Request) -> Batch:
        """See RequestExporter."""
        try:
            data = zstandard.ZstdDecompressor().decompress(request.body)
        except zstandard.ZstdError as error:
            raise WireError(f"not what was kept: {error}") from None
        return otlp.decode(request.signal, data, request.headers.get("peer", ""))
