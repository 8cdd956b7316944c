"""A batch whose spans are held: who waits for it, and what is still to come of it."""

import asyncio
from contextvars import Context, copy_context

from hawse.component import Busy, Refused


class Owner:
    """The call that brought a batch, which ends when all its traces are decided and delivered."""

    __slots__ = ("_done", "_refusal", "_taken", "context", "left", "tasks", "traces")

    def __init__(self) -> None:
        """Made in the call. What is said and delivered for it happens in its context: there the ledger notes it."""
        self.context: Context = copy_context()
        self.left = 0  # parts of traces without an outcome
        self.traces: set[bytes] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refusal: Refused | None = None
        self._taken = False

    def settled(self, parts: int, *, refusal: Refused | None = None) -> None:
        """Parts have an outcome: filtered, delivered, or refused for good."""
        self.left -= parts
        self._taken |= refusal is None
        self._refusal = self._refusal or refusal
        if self.left <= 0 and not self._done.done():
            # As where a batch goes several ways: refused in part is counted where it was refused, and no error here.
            if self._refusal is not None and not self._taken:
                self._done.set_exception(self._refusal)
            else:
                self._done.set_result(None)

    def busy(self, answer: Busy) -> None:
        """The batch is the caller's again, all of it."""
        if not self._done.done():
            self._done.set_exception(answer)

    def failed(self, error: Exception) -> None:
        """A component behind has a bug: that is no answer, and goes on to the caller."""
        if not self._done.done():
            self._done.set_exception(error)

    @property
    def gone(self) -> bool:
        """Whether its call has ended."""
        return self._done.done()

    async def wait(self) -> None:
        """Return when every part has an outcome. Raises Busy or Refused."""
        await self._done
