"""The backend's search processes: a few, started when first needed, killed when a question takes too long."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import msgspec

from hawse.backend.answers import Answer, Question, failure

_GRACE = 2.0  # seconds beyond a question's own limit, in which the process may still say so itself
_MOST_WAITING = 64


class Searchers:
    """Puts questions to whichever process is idle."""

    def __init__(self, store: Path, processes: int = 2, seconds: float = 30) -> None:
        """`seconds` is what a question may take."""
        self._store = store
        self._seconds = float(seconds)
        self._idle: list[Process | None] = [None] * processes  # None: not started yet
        self._running: set[Process] = set()
        self._free = asyncio.Semaphore(processes)
        self._waiting = 0
        self._closed = False

    async def ask(self, name: str, query: dict[str, list[str]]) -> Answer:
        """The answer, which may be an error with its HTTP status."""
        if self._waiting >= _MOST_WAITING:
            return failure(503, "too many searches at once; try again in a moment")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            return failure(503, "other searches take all the time there is; try again in a moment")
        finally:
            self._waiting -= 1
        try:
            return await self._ask(Question(name, query, self._seconds))
        finally:
            self._free.release()

    async def _ask(self, question: Question) -> Answer:
        if self._closed:
            return failure(503, "the backend is stopping")
        process = self._idle.pop()
        try:
            if process is None:
                process = await self._start()
            async with asyncio.timeout(self._seconds + _GRACE):
                found = await _exchange(process, question)
        except TimeoutError:
            await self._kill(process)
            process = None
            return failure(504, f"the search took longer than {self._seconds:g} s; a simpler expression may help")
        except (OSError, asyncio.IncompleteReadError) as error:
            await self._kill(process)
            process = None
            return failure(500, f"the search process ended: {error}")
        except BaseException:  # the client has gone; what the process still writes would answer the next one
            await self._kill(process)
            process = None
            raise
        finally:
            self._idle.append(process)
        return found

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hawse.backend.searcher", str(self._store), stdin=PIPE, stdout=PIPE
        )
        self._running.add(process)
        return process

    async def _kill(self, process: Process | None) -> None:
        if process is None:
            return
        self._running.discard(process)
        if process.returncode is None:
            process.kill()
        await _reaped(process)

    async def close(self) -> None:
        """End the processes."""
        self._closed = True
        running, self._running = self._running, set()
        for process in running:
            if process.stdin is not None:
                process.stdin.close()
        for process in running:
            try:
                async with asyncio.timeout(1):
                    await _reaped(process)
            except TimeoutError:
                await self._kill(process)


async def _exchange(process: Process, question: Question) -> Answer:
    assert process.stdin is not None
    assert process.stdout is not None
    data = msgspec.msgpack.encode(question)
    process.stdin.write(len(data).to_bytes(4, "big") + data)
    await process.stdin.drain()
    size = int.from_bytes(await process.stdout.readexactly(4), "big")
    return msgspec.msgpack.decode(await process.stdout.readexactly(size), type=Answer)


async def _reaped(process: Process) -> None:
    """Wait for the end, and close the pipes."""
    await process.wait()
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
