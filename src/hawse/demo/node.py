"""The demo's cluster as one process: its API server, and its node whose containers log.

`python -m hawse.demo.node FOLDER --rate 1 --seed 7 --metrics NAME=PORT`. It makes FOLDER/kubeconfig when the API
server answers, the node's /var/log in FOLDER/log, and FOLDER/tally.json, which is exact after `stop`. The containers'
metrics are served as well; each NAME and PORT is a program of this machine that is to be found by the API server, too.
With `--traces PROTOCOL=PORT` (see senders.PORTS) the services send spans there.
Lines on standard input: `start` begins to log, `stop` ends it, and the metrics (then saves the tally, then makes
FOLDER/stopped), the end of the input ends the process.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from hawse.demo import cast, monitors
from hawse.demo.apiserver import DemoApi
from hawse.demo.exporters import Exporters, free_network
from hawse.demo.senders import EVERY, PORTS
from hawse.demo.traffic import Traffic
from hawse.demo.workload import Node

_TICK = 0.05  # seconds
_FLUSH = 10.0  # seconds in which, at the end, what the services have not sent yet must be taken
_LATE = 1.0  # seconds by which the API server learns of a pod after its containers log: as in clusters, sometimes


class Cluster:
    """The API server and the node. `root` is the folder named above."""

    def __init__(
        self, root: Path, rng: random.Random, rate: float, processes: Mapping[str, int], traces: Mapping[str, int]
    ) -> None:
        self.api = DemoApi()
        self.node = Node(root / "log", rng, rate=rate, network=free_network(random.Random()))  # noqa: S311
        self._exporters = Exporters()
        self._processes = processes
        self._root = root
        self._logging: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._silent = asyncio.Event()
        chance = random.Random(self.node.pods[0].uid)  # noqa: S311 - a seed's other logs stay as they are
        self._traffic = Traffic(self.node.running, traces, chance, self.node.log, rate) if traces else None
        self.node.tally.senders = self._traffic.tallies if self._traffic else []

    async def start(self) -> None:
        """Serve the API."""
        await self._exporters.start(self.node.running)
        found_by = (*monitors.of_pods(self.node.pods), *monitors.of_processes(self._processes))
        for found in (*cast.namespaces(), cast.node(), *found_by):
            self.api.put(found)
        for pod in self.node.pods:
            if not pod.crashes:
                self.api.put(pod.manifest())
        await self.api.start()
        for folder in ("containers", "pods"):  # a node has these before its first container
            (self._root / "log" / folder).mkdir(parents=True)
        self.node.tally.save(self._root / "tally.json")
        self.api.kubeconfig(self._root / "kubeconfig.new").rename(self._root / "kubeconfig")

    async def obey(self, commands: asyncio.StreamReader) -> None:
        """Do as told until the input ends."""
        while line := (await commands.readline()).strip():
            if line == b"start" and self._logging is None:
                self._logging = asyncio.create_task(self._log())
                self._sending = asyncio.create_task(self._send(self._traffic)) if self._traffic else None
            if line == b"stop":
                await self._exporters.stop()
                await self._end_logging()
                await self._end_sending()
                (self._root / "stopped").touch()
        await self._end_logging()
        await self._end_sending()
        await self._exporters.stop()
        await self.api.stop()

    async def _log(self) -> None:
        began = last = time.monotonic()
        late = [pod for pod in self.node.pods if pod.crashes]
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self.node.advance(now - last)
            if self._traffic is not None:
                self._traffic.advance(now - last)
            last = now
            self.node.tally.save(self._root / "tally.json")
            if late and now - began > _LATE:
                self.api.put(late.pop().manifest())

    async def _send(self, traffic: Traffic) -> None:
        while not self._silent.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._silent.wait(), EVERY)
            await traffic.flush()
        # What is left: a receiver may be busy.
        until = time.monotonic() + _FLUSH
        while any(one.sent < one.made for one in traffic.tallies) and time.monotonic() < until:
            await asyncio.sleep(EVERY)
            await traffic.flush()
        await traffic.close()

    async def _end_sending(self) -> None:
        self._silent.set()
        if self._sending is not None:
            await self._sending
        self._sending = None
        self.node.tally.save(self._root / "tally.json")

    async def _end_logging(self) -> None:
        if self._logging is not None:
            self._logging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._logging
        self._logging = None
        self.node.close()
        self.node.tally.save(self._root / "tally.json")


async def _main(
    root: Path, seed: int | None, rate: float, processes: Mapping[str, int], traces: Mapping[str, int]
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    cluster = Cluster(root, random.Random(seed), rate, processes, traces)  # noqa: S311
    await cluster.start()
    await cluster.obey(commands)


def main() -> None:
    parser = argparse.ArgumentParser(prog="hawse.demo.node", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=1.0, help="times the usual hundred events a second")
    parser.add_argument("--seed", type=int, help="makes the same logs again")
    parser.add_argument("--metrics", action="append", default=[], type=_process, help="NAME=PORT of a program")
    parser.add_argument("--traces", action="append", default=[], type=_process, help="PROTOCOL=PORT of a receiver")
    given = parser.parse_args()
    traces = dict(given.traces)
    if traces and set(traces) != set(PORTS):
        parser.error(f"--traces: give a port for each of {', '.join(PORTS)}")
    asyncio.run(_main(given.folder, given.seed, given.rate, dict(given.metrics), traces))


def _process(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    return name, int(port)


if __name__ == "__main__":
    main()
