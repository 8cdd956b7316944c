"""filelog: tails container logs (and other files of lines), through rotation, truncation and deletion.

Offsets advance by acknowledgement: what a batch was made of is only behind us once the next component has returned
from `consume`. `config` is what the user writes; `paths` finds files and tells what their names mean, `logs` is all
that are followed, `log` reads one container's sequence of files, `position` is what is kept of it, `operators` is how
lines are parsed, `delivery` hands batches on and waits for their acknowledgement.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Mapping

from hawse import component
from hawse.batch import Group, Resource, Signal
from hawse.codecs.container_log import Records
from hawse.component import Consumer, Context, ReceiverFactory, Stability
from hawse.diagnostics import HawseError
from hawse.net.budget import Budget
from hawse.receivers.filelog import paths
from hawse.receivers.filelog.config import Config, needs
from hawse.receivers.filelog.delivery import Deliveries, Tailed
from hawse.receivers.filelog.inotify import Inotify
from hawse.receivers.filelog.logs import Logs
from hawse.receivers.filelog.sequence import CHUNK
from hawse.state.storage import KeySpace, Storage
from hawse.values import Duration

_FAILED_WAIT = 1.0  # seconds until a file that could not be read is tried again


class FileLog(component.Receiver):
    """Finds logs, reads them by turns, and keeps what was acknowledged."""

    def __init__(self, config: Config, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self._output = outputs[Signal.LOGS]
        self._budget = context.shared(Budget)
        self._keys: KeySpace | None = None
        self._inotify: Inotify | None = None
        self._wake = asyncio.Event()  # something happened in a watched folder, or we stop
        self._news = asyncio.Event()  # the folders were searched, or we stop
        self._idle = asyncio.Event()  # nothing is read any more
        self._stopping = asyncio.Event()
        self._told = False
        self._logs: Logs | None = None

    # --- start and stop ---

    async def start(self) -> None:
        """Read the kept positions, find the logs. Raises HawseError where a folder may not be read."""
        for index, pattern in enumerate(self._config.include):
            self._check_folder(paths.fixed_folder(pattern), f"receivers.{self._context.id}.include[{index}]")
        if self._config.storage is not None:
            self._keys = self._context.extension(self._config.storage, Storage).keyspace(self._context.id)
        config = self._config
        deliveries = Deliveries(self._output, self._context, self._keys, config.retry_on_failure, config.max_batches)
        self._deliveries = deliveries
        self._logs = logs = Logs(config, self._context, self._keys)
        logs.register_metrics()
        try:
            self._inotify = Inotify()
            asyncio.get_running_loop().add_reader(self._inotify.fd, self._wake.set)
        except OSError as error:
            self._context.log.warning("no inotify (%s): folders are searched every second instead", error.strerror)
        self._search(logs)
        self._context.spawn(self._run(logs), "tail")
        self._context.spawn(self._watch(logs), "discover")

    async def stop(self) -> None:
        """Stop reading, wait for what is on its way, keep the positions."""
        self._stopping.set()
        self._wake.set()
        self._news.set()
        try:
            if self._logs is not None:
                self._deliveries.stop()
                await self._idle.wait()
                await self._deliveries.finish()
        finally:
            self._close()

    def _close(self) -> None:
        """Let go of everything. What is still on its way is not acknowledged."""
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
        if self._logs is not None:
            self._deliveries.cancel()
            self._logs.close()

    def _check_folder(self, folder: str, path: str) -> None:
        try:
            os.listdir(folder)
        except FileNotFoundError:
            self._context.log.warning("%s is not there yet: waiting for it to appear", folder)
        except OSError as error:
            raise HawseError.of(
                "HW310",
                f"cannot read the folder {folder}: {error.strerror}",
                fix=f"run as a user or group that may (now uid {os.getuid()}, gid {os.getgid()}), "
                "mount it into the pod, or change include",
                path=path,
            ) from None

    # --- finding ---

    def _search(self, logs: Logs) -> None:
        if self._inotify is not None:
            self._inotify.drain()
        begun, gone = logs.search()
        self._deliveries.searched = logs.searched
        if begun or gone:
            self._deliveries.keep(begun, gone)
        if self._inotify is not None:
            trouble = self._inotify.watch(logs.folders())
            if trouble and not self._told:
                self._told = True
                self._context.log.warning("cannot watch %s: relying on discovery_interval", trouble)

    async def _watch(self, logs: Logs) -> None:
        """Search the folders in time, also while nothing can be delivered: a file that is open can't be lost."""
        interval = self._config.discovery_interval
        if self._inotify is None:
            interval = Duration(min(1.0, interval))
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), interval)
                await asyncio.sleep(0.02)  # names often come in numbers: one search for all of them
            self._wake.clear()
            if not self._stopping.is_set():
                self._search(logs)
                self._news.set()

    # --- reading ---

    async def _run(self, logs: Logs) -> None:
        try:
            await self._tail(logs)
        finally:
            self._idle.set()

    async def _tail(self, logs: Logs) -> None:
        """Read logs by turns of one chunk each; send when there is enough, or nothing more for now."""
        swept = float("-inf")
        ready: deque[Tailed] = deque()
        groups: list[Group] = []
        read: list[Tailed] = []
        size = charged = 0
        while not self._stopping.is_set():
            now = time.monotonic()
            if not ready or now - swept > self._config.poll_interval:  # a noisy log does not hide the others
                self._sweep(logs, ready)
                swept = now
            if not ready:
                await self._pause(self._config.poll_interval)
                continue
            tailed = ready.popleft()
            tailed.queued = False
            cost = tailed.log.cost
            if not self._budget.acquire(cost):
                if read:  # what we hold ourselves may be what there is no room beside
                    await self._deliveries.send(groups, read, charged)
                    groups, read, size, charged = [], [], 0, 0
                await self._budget.wait(cost)
            charged += cost
            made = [] if self._stopping.is_set() else self._turn(logs, tailed)
            if made is not None:
                groups += made
                read.append(tailed)
                size += sum(group.nbytes for group in made)
                if tailed.log.poll(time.monotonic()):
                    tailed.queued = True
                    ready.append(tailed)
            if size >= CHUNK or not ready:
                await self._deliveries.send(groups, read, charged)
                groups, read, size, charged = [], [], 0, 0
            else:
                await asyncio.sleep(0)
        await self._deliveries.send(groups, read, charged)
        if self._keys is None:
            await self._flush_all(logs)

    def _sweep(self, logs: Logs, ready: deque[Tailed]) -> None:
        """Append the logs that have something to read or to do, and are not there already."""
        logs.park()
        now = time.monotonic()
        for tailed in logs:
            if tailed.queued or now - tailed.failed < _FAILED_WAIT:
                continue
            if tailed.log.poll(now):
                tailed.queued = True
                ready.append(tailed)

    def _turn(self, logs: Logs, tailed: Tailed) -> list[Group] | None:
        """One chunk of a log as groups, or None where it could not be read."""
        now = time.monotonic()
        try:
            by_stream = tailed.log.turn(self._deliveries.take, now)
        except OSError as error:
            tailed.failed = now
            logs.complain(tailed.log.path, error)
            return None
        return [_group(tailed.resource(stream), records) for stream, records in by_stream.items() if records.items]

    async def _flush_all(self, logs: Logs) -> None:
        """Nothing remembers what is held after us: hand it out."""
        groups = []
        for tailed in logs:
            for stream, records in tailed.log.parser.flush(time.time_ns()).items():
                groups.append(_group(tailed.resource(stream), records))
        await self._deliveries.send(groups, [])

    async def _pause(self, seconds: float) -> None:
        self._news.clear()
        if not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds)


def _group(resource: Resource, records: Records) -> Group:
    return Group(resource, records.scope(), records.items)


factory = ReceiverFactory("filelog", Config, FileLog, needs=needs, signals={Signal.LOGS}, stability=Stability.ALPHA)
__all__ = ["Config", "FileLog", "factory", "needs"]
