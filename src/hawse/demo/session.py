"""What `hawse up` runs: backend, enrichment and collectors for logs, metrics and traces, and the demo's cluster.

They are started from the backend to the collectors and ended in the reverse order, each when nothing is on its way to
it any more.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator

import msgspec

from hawse.component import Busy
from hawse.demo.accounts import Account
from hawse.demo.environments import Environments, Options
from hawse.demo.hostlogs import HostLogs
from hawse.demo.logs import TIERS as LOGS
from hawse.demo.logs import Logs
from hawse.demo.metrics import TIERS as METRICS
from hawse.demo.metrics import Metrics, MetricsAccount
from hawse.demo.monitors import NODE_EXPORTER
from hawse.demo.processes import Place, Processes
from hawse.demo.senders import PORTS as PROTOCOLS
from hawse.demo.traces import TIERS as TRACES
from hawse.demo.traces import Traces, TracesAccount
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig
from hawse.values import Duration

_ALLOCATOR = "target-allocator"
_NODE_EXPORTER_PORT = 9100
_SETTLED_AFTER = 3.0  # seconds without a change, once the workload has ended
_DRAIN = 30.0  # seconds in which what was read must have arrived


class Accounts(msgspec.Struct):
    """By signal."""

    logs: Account
    metrics: MetricsAccount
    traces: TracesAccount

    @property
    def lost(self) -> int:
        """Records, data points and spans."""
        return self.logs.lost + self.metrics.lost + self.traces.lost


class Session:
    """The processes, from `start` to `close`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = options.state
        self.processes = Processes(self._root, (*LOGS, *METRICS, *TRACES))
        self.page = self.processes.url("backend") + "/"
        self._host = HostLogs() if options.host_logs else None
        host = [str(self._host)] if self._host and self._host.pattern else []
        self.sources = [*(["the demo's workload"] if options.demo else []), *host]
        self.logs = Logs(self.processes)
        self.metrics = Metrics(self.processes)
        self.traces = Traces(self.processes)
        self.ledgers = self.processes.ledgers

    # --- start --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything, each when what it sends to answers. Raises HawseError."""
        targets = await self._targets()
        if not self.sources:
            raise HawseError.of(
                "HW703",
                "there is nothing to collect: no container logs to be read in /var/log/containers or /var/log/pods, "
                f"and no node exporter at 127.0.0.1:{_NODE_EXPORTER_PORT}",
                fix="run this on a node, as root; or let the demo's workload log with --demo",
            )
        self._environments = Environments(self._options, self.processes, self._host, targets)
        demo = [] if self._options.kubeconfig else [self._start_demo(targets)]
        await asyncio.gather(self.begin("backend"), *demo)
        await self.logs.begin()
        await self.metrics.begin()
        await self.traces.begin()
        allocator = [self.begin(_ALLOCATOR)] if self._options.demo else []
        enrichment = ("logs-enrichment", "metrics-enrichment", "traces")
        await asyncio.gather(*map(self.begin, enrichment), *allocator)
        await asyncio.gather(self.begin("logs-collector"), self.begin("metrics-collector"))
        if self._options.demo:
            self.processes.tell("demo", "start")

    async def _targets(self) -> dict[str, int]:
        """Programs of this machine whose metrics are collected, by name: our own, and the node exporter."""
        names = ["backend", *LOGS, *METRICS, *TRACES, *([_ALLOCATOR] if self._options.demo else [])]
        found = {name: self.processes.ports[name] for name in names}
        if await _answers(_NODE_EXPORTER_PORT):
            found[NODE_EXPORTER] = _NODE_EXPORTER_PORT
            self.sources.append(f"the node exporter at 127.0.0.1:{_NODE_EXPORTER_PORT}")
        return found

    async def _start_demo(self, targets: dict[str, int]) -> None:
        options = self._options
        shutil.rmtree(self._root / "demo", ignore_errors=True)  # of an earlier run with the same state
        argv = [sys.executable, "-m", "hawse.demo.node", str(self._root / "demo"), "--rate", str(options.rate)]
        argv += [f"--metrics={name}={port}" for name, port in targets.items()]
        argv += [f"--traces={name}={self.processes.ports[port]}" for name, port in PROTOCOLS.items()]
        await self.processes.run("demo", argv + ([] if options.seed is None else ["--seed", str(options.seed)]), {})
        await self.processes.until_there("demo", self._root / "demo" / "kubeconfig")

    async def begin(self, name: str) -> None:
        """Start a tier, which may have run and ended before, and wait until it answers. Raises HawseError."""
        if name == "backend":
            listen = f"127.0.0.1:{self.processes.ports[name]}"
            argv = ["backend", "--listen", listen, "--store", str(self._root / "backend.db")]
        else:
            argv = ["run", "--role", name, "--no-watch", *self._more(name)]
        await self.processes.run(name, [sys.executable, "-m", "hawse", *argv], self._environments.of(name))
        await self.processes.answers(name, "metrics")

    def _more(self, name: str) -> list[str]:
        """The metrics-collector keeps nothing on disk. Here it leaves its ledger, so that the accounts can be held
        against each other when it has ended.
        """
        if name != "metrics-collector":
            return []
        path = self._root / f"{name}.yaml"
        storage = {"directory": str(self._root / name)}
        service = {"extensions": ["health_check", "file_storage"]}
        path.write_bytes(msgspec.json.encode({"extensions": {"file_storage": storage}, "service": service}))
        return ["--config", str(path)]

    # --- while it runs ------------------------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """What runs, and where."""
        return self.processes.places()

    def check(self) -> None:
        """Raise HawseError, with its last words, if a process has ended."""
        self.processes.check()

    async def look(self, *, final: bool = False) -> Accounts:
        """Ask everybody, and draw up the accounts. Who does not answer counts with what was known."""
        return Accounts(
            await self.logs.look(final=final), await self.metrics.look(final=final), await self.traces.look(final=final)
        )

    # --- the end ------------------------------------------------------------------------------------------------

    async def drain(self) -> Accounts:
        """End everything from the front, and draw up the last accounts. Raises HawseError if a process has died."""
        await self.metrics.look()  # which targets are up, before the demo's end
        if self._options.demo:
            self.processes.tell("demo", "stop")
            await self.processes.until_there("demo", self._root / "demo" / "stopped")
        await self._settle()
        await self._end("logs-collector")
        await self._end("metrics-collector")
        await self._settle_enrichment()
        await self._end("logs-enrichment")
        await self._end("metrics-enrichment")
        await self._end("traces")
        await self.metrics.count()
        await self.traces.count()
        return await self.look(final=True)

    async def _end(self, name: str) -> None:
        await self.processes.ask_ledger(name)
        await self.processes.stop(name)
        await self.logs.ask_tiers()
        await self.processes.ask_ledger(name)

    async def _settle(self) -> None:
        """Wait until all that was written and exposed is there, or nothing has moved for a while and nothing is
        unanswered.
        """
        until = time.monotonic() + _DRAIN
        before: tuple[Account, int, int] = (Account(), -1, -1)
        since = time.monotonic()
        while time.monotonic() < until:
            self.check()
            now = (await self.logs.look(), await self.metrics.count(), await self.traces.count())
            if now != before:
                before, since = now, time.monotonic()
            quiet = time.monotonic() - since > _SETTLED_AFTER
            if self.logs.tiers.waiting == 0 and (quiet or (self.logs.complete and now[1:] == (0, 0))):
                return
            await asyncio.sleep(0.1)

    async def _settle_enrichment(self) -> None:
        """Wait until metrics-enrichment and traces have handed on what they took: nothing more comes to them."""
        until = time.monotonic() + _DRAIN
        while time.monotonic() < until:
            self.check()
            waiting = (await self.metrics.look(final=True)).in_flight + (await self.traces.look(final=True)).in_flight
            if waiting == 0:
                return
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """End whatever still runs."""
        await self.processes.close()


async def _answers(port: int) -> bool:
    """Whether somebody serves metrics there."""
    client = HttpClient(ClientConfig(endpoint=f"http://127.0.0.1:{port}", timeout=Duration(1)))
    try:
        response = await client.request("GET", "/metrics")
    except Busy:
        return False
    finally:
        await client.close()
    return response.status == 200 and b"node_" in response.body
