"""The process: runs a configuration until it is told to stop, and takes up a new one when it is good.

One TaskGroup owns everything that runs. SIGTERM and SIGINT drain, a second one stops at once; SIGHUP, or a change of
a configuration file, checks the new configuration and replaces the old one, which runs on where the new one is bad.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hawse.config.tree import placed
from hawse.diagnostics import Finding, HawseError, Severity
from hawse.pipeline.check import Checked
from hawse.pipeline.logs import set_up
from hawse.pipeline.running import GRACE, Running
from hawse.pipeline.telemetry import Telemetry
from hawse.pipeline.watch import Files

_log = logging.getLogger("hawse.service")
_SETTLE = 0.25  # seconds between the two looks that have to agree


class Service:
    """Runs configurations, one after the other.

    `load` makes a Checked (`hawse.pipeline.check.check` with its arguments bound) and is called again for each reload.
    `watch` is the number of seconds between two looks at the files, 0 for none. `signals` installs the handlers, which
    only works in the main thread. `started` is called with each graph that runs.
    """

    def __init__(
        self,
        load: Callable[[], Checked],
        *,
        watch: float = 2.0,
        signals: bool = True,
        started: Callable[[Running], None] = lambda _: None,
    ) -> None:
        self.telemetry = Telemetry()
        self._load = load
        self._watch = watch
        self._signals = signals
        self._started = started
        self._events: asyncio.Queue[str] = asyncio.Queue()
        self._died: list[Finding] = []
        self._stopping = False
        self._interrupted = asyncio.Event()  # told to stop, or a task died: no start goes on
        self._running: Running | None = None
        self._files = Files(())

    async def run(self, checked: Checked | None = None) -> None:
        """Run until `stop()` or a signal. Raises HawseError where it can't start, or if a component's task dies.

        `checked` is what `load` would say first, if the caller has it already.
        """
        checked = checked or self._load()
        checked.required()
        try:
            async with asyncio.TaskGroup() as tasks:
                with self._handlers():
                    await self._run(checked, tasks)
        except BaseExceptionGroup as group:
            # Tasks of components end in `Running._guard`: what comes out here is what `_run` raised.
            raise group.exceptions[0] from None

    def stop(self) -> None:
        """Drain and end; called again, end at once."""
        if not self._stopping:
            self._stopping = True
            self._interrupted.set()
            self._events.put_nowait("stop")
        elif self._running:
            _log.warning("told to stop a second time: draining ends now")
            self._running.hurry()

    def reload(self) -> None:
        """Check the configuration again, and run the new one if it is good."""
        self._events.put_nowait("reload")

    # --- the life of the process

    async def _run(self, checked: Checked, tasks: asyncio.TaskGroup) -> None:
        if not await self._start(checked, tasks):
            return
        self._files.add(checked.files)
        watcher = tasks.create_task(self._look(), name="watch configuration files")
        try:
            while self._running is not None:
                event = await self._events.get()
                if event == "reload":
                    checked = await self._replace(checked, tasks)
                elif event == "stop" or self._died:
                    _log.info("%s", "draining" if event == "stop" else "stopping, for a component failed")
                    await self._end(checked)
        finally:
            watcher.cancel()
            if self._running is not None:  # cancelled from outside
                await self._end(checked, drain=GRACE)
        if self._died:
            raise HawseError(placed(checked.root, self._died))

    async def _start(self, checked: Checked, tasks: asyncio.TaskGroup) -> bool:
        """Start a configuration; False if the process was told to stop meanwhile. Raises HawseError."""
        graph = checked.required()
        set_up(graph.service.telemetry.logs)
        self.telemetry.identify(graph.service.telemetry.resource)
        self._running = running = Running(graph, self.telemetry, tasks, self._on_failure)
        try:
            in_time = await self._unless_interrupted(running.start())
        except HawseError as problem:
            await self._end(checked, drain=GRACE)
            self._bury()
            raise HawseError(placed(checked.root, problem.findings)) from problem
        if not in_time:
            await self._end(checked, drain=GRACE)
            if died := self._bury():
                raise HawseError(placed(checked.root, died))
            return False
        _log.info("everything is ready; pipelines: %s", ", ".join(graph.service.pipelines) or "none")
        self._started(running)
        return True

    async def _unless_interrupted(self, start: Coroutine[Any, Any, None]) -> bool:
        """Await a start; False, and the start is cancelled, if the process has to stop meanwhile."""
        starting = asyncio.ensure_future(start)
        interrupted = asyncio.ensure_future(self._interrupted.wait())
        try:
            await asyncio.wait({starting, interrupted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            interrupted.cancel()
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
        if starting.cancelled():
            return False
        await starting
        return True

    async def _end(self, checked: Checked, drain: float | None = None) -> None:
        assert self._running is not None
        timeout = checked.required().service.drain_timeout
        late = await self._running.stop(timeout if drain is None else drain)
        self._running = None
        if late and drain is None:
            _log.warning("not drained within %s: %s; what they held stays with its senders", timeout, ", ".join(late))
        elif drain is None:
            _log.info("stopped, everything drained")

    async def _replace(self, old: Checked, tasks: asyncio.TaskGroup) -> Checked:
        """Run the configuration as it is now in place of `old`; returns the one that runs."""
        self._files.take()
        new = self._load()
        self._files.add(new.files)
        if new.errors:
            _report("the new configuration has errors; running on with the old one", new.findings)
            return old
        _report("reloading the configuration", new.findings, logging.INFO)
        await self._end(old)
        if died := self._bury():
            _report("a component of the old configuration failed while it stopped", died)
        try:
            await self._start(new, tasks)
        except HawseError as problem:
            _report("the new configuration did not start; starting the old one again", problem.findings)
            await self._start(old, tasks)
            return old
        _log.info("the new configuration runs")
        return new

    def _bury(self) -> list[Finding]:
        """Of what components died, if any did; forgotten then, for they are gone."""
        died, self._died = self._died, []
        if not self._stopping:
            self._interrupted.clear()
        return died

    async def _look(self) -> None:
        while self._watch:
            await asyncio.sleep(min(self._watch, _SETTLE) if self._files.unsettled else self._watch)
            if self._files.changed():
                self.reload()

    def _on_failure(self, findings: tuple[Finding, ...]) -> None:
        self._died += findings
        self._interrupted.set()
        self._events.put_nowait("failed")

    @contextmanager
    def _handlers(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.reload}
        if not self._signals:
            handlers = {}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)


def _report(headline: str, findings: Iterable[Finding], level: int = logging.ERROR) -> None:
    _log.log(level, "%s", headline)
    for finding in findings:
        _log.log(logging.ERROR if finding.severity is Severity.ERROR else logging.WARNING, "%s", finding)
