"""What `hawse up` runs: backend, enrichment, collector and, unless a real cluster is named, the demo's.

They are started in this order and ended in the reverse one, each when nothing is on its way to it any more.
"""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from hawse.component import Busy
from hawse.demo.accounts import Account, Tiers, account, totals
from hawse.demo.apps import JAVA_FIRST_LINE
from hawse.demo.hostlogs import HostLogs
from hawse.demo.supervise import Child, free_port
from hawse.demo.workload import PodTally, Tally
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig
from hawse.pipeline.ledger.report import Report, report
from hawse.pipeline.ledger.store import kept
from hawse.values import Duration

TIERS = ("logs-collector", "logs-enrichment")
UID = "pod_id"  # as the sumologic processor calls k8s.pod.uid
_READY_WITHIN = 60.0  # seconds: a first start compiles Python's files, on a machine that may be busy
_SETTLED_AFTER = 3.0  # seconds without a change, once the workload has ended
_DRAIN = 30.0  # seconds in which what was read must have arrived
_GRACE = 15.0  # seconds for a process to end


class Options(msgspec.Struct, frozen=True):
    """What the user asked for. `state` must exist. The demo's workload (`demo`) needs the demo's API server, so it
    is not to be had with a `kubeconfig`.
    """

    state: Path
    kubeconfig: str = ""
    demo: bool = True
    host_logs: bool = True
    rate: float = 1.0
    seed: int | None = None


class Place(msgspec.Struct, frozen=True):
    """A process, where it listens, and its log."""

    name: str
    pid: int
    address: str
    log: str


class Session:
    """The processes, from `start` to `close`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = options.state
        taken: set[int] = set()
        # DESIGN.md's ports, as long as they are free.
        self._ports = {
            name: free_port(port, taken)
            for name, port in (("backend", 8088), ("logs-enrichment", 24321), ("logs-collector", 2020))
        }
        self.page = f"http://127.0.0.1:{self._ports['backend']}/"
        # Each on a port of its own, which says whether the process gets on, and takes data.
        self.health = {name: free_port(13133, taken) for name in TIERS}
        self._host = HostLogs() if options.host_logs else None
        host = [str(self._host)] if self._host and self._host.pattern else []
        self.sources = [*(["the demo's workload"] if options.demo else []), *host]
        self._children: dict[str, Child] = {}
        self._client = HttpClient(ClientConfig(endpoint=self.page, timeout=Duration(10)))
        self._tiers = Tiers()
        self.ledgers: dict[str, Report] = {}
        self._delivered: dict[str, int] = {}
        self._total = 0
        self._held = 0  # what the backend had before we began

    # --- start --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start everything, each when what it sends to answers. Raises HawseError."""
        if not self.sources:
            raise HawseError.of(
                "HW703",
                "there is nothing to collect: no container logs to be read in /var/log/containers or /var/log/pods",
                fix="run this on a node, as root; or let the demo's workload log with --demo",
            )
        if not self._options.kubeconfig:
            await self._start_demo()
        await self.begin("backend")
        await self._count()
        self._held = self._total
        await self.begin("logs-enrichment")
        await self.begin("logs-collector")
        if self._options.demo:
            self._children["demo"].tell("start")

    async def _start_demo(self) -> None:
        options = self._options
        shutil.rmtree(self._root / "demo", ignore_errors=True)  # of an earlier run with the same state
        argv = [sys.executable, "-m", "hawse.demo.node", str(self._root / "demo"), "--rate", str(options.rate)]
        await self._run("demo", argv + ([] if options.seed is None else ["--seed", str(options.seed)]), {})
        await self._until_there("demo", self._root / "demo" / "kubeconfig")

    async def begin(self, name: str) -> None:
        """Start a tier, which may have run and ended before, and wait until it answers. Raises HawseError."""
        if name == "backend":
            argv = ["backend", "--listen", f"127.0.0.1:{self._ports[name]}", "--store", str(self._root / "backend.db")]
        else:
            argv = ["run", "--role", name, "--no-watch"]
        environment = {
            "backend": dict,
            "logs-enrichment": self._enrichment_environment,
            "logs-collector": self._collector_environment,
        }
        health = {"HAWSE_HEALTH_HOST": "127.0.0.1", "HAWSE_HEALTH_PORT": str(self.health.get(name, 0))}
        await self._run(name, [sys.executable, "-m", "hawse", *argv], {**environment[name](), **health})
        await self._answers(name, "metrics")

    async def _run(self, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        child = self._children[name] = Child(name, argv, env, self._root / f"{name}.log")
        await child.start()

    def _enrichment_environment(self) -> dict[str, str]:
        return {
            "KUBECONFIG": self._options.kubeconfig or str(self._root / "demo" / "kubeconfig"),
            "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
            "HAWSE_OTLP_HOST": "127.0.0.1",
            "HAWSE_OTLP_PORT": str(self._ports["logs-enrichment"]),
            "HAWSE_BACKEND_ENDPOINT": self.page.rstrip("/"),
            "HAWSE_STATE": str(self._root / "logs-enrichment"),
        }

    def _collector_environment(self) -> dict[str, str]:
        entries = {"type": "recombine", "if": 'attributes["k8s.container.name"] == "orders"'}
        entries |= {"first_line_regex": JAVA_FIRST_LINE}
        operators = [{"type": "container"}, *([entries] if self._options.demo else [])]
        demo = [str(self._root / "demo" / "log" / "containers" / "*.log")] if self._options.demo else []
        host = [self._host.pattern] if self._host and self._host.pattern else []
        return {
            "HAWSE_LOGS_INCLUDE": json.dumps([*demo, *host]),
            "HAWSE_LOGS_START_AT": self._host.start_at if self._host else "beginning",
            "HAWSE_LOGS_OPERATORS": json.dumps(operators),
            "HAWSE_LOGS_FORCE_FLUSH_PERIOD": "1s",
            "HAWSE_STATE": str(self._root / "logs-collector"),
            "HAWSE_LOGS_ENRICHMENT_ENDPOINT": f"http://127.0.0.1:{self._ports['logs-enrichment']}",
            "HAWSE_TELEMETRY_HOST": "127.0.0.1",
            "HAWSE_TELEMETRY_PORT": str(self._ports["logs-collector"]),
        }

    async def _answers(self, name: str, path: str) -> None:
        until = time.monotonic() + _READY_WITHIN
        while await self._get(name, path) is None:
            self._check_patience(name, until)
            await asyncio.sleep(0.05)

    async def _until_there(self, name: str, path: Path) -> None:
        until = time.monotonic() + _READY_WITHIN
        while not path.exists():
            self._check_patience(name, until)
            await asyncio.sleep(0.02)

    def _check_patience(self, name: str, until: float) -> None:
        self.check()
        if time.monotonic() > until:
            child = self._children[name]
            message = f"{name} does not answer within {_READY_WITHIN:.0f}s; its last words:\n{child.tail()}"
            raise HawseError.of("HW704", message, file=str(child.log))

    # --- while it runs ------------------------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """What runs, and where."""
        for name, child in self._children.items():
            address = f"127.0.0.1:{self._ports[name]}" if name in self._ports else "-"
            yield Place(name, child.pid, address, str(child.log))

    def by_pod(self) -> list[tuple[PodTally, int]]:
        """The demo's pods, and how many records of each the backend has."""
        return [(pod, self._delivered.get(pod.uid, 0)) for pod in self._tally().pods]

    def check(self) -> None:
        """Raise HawseError, with its last words, if a process has ended."""
        for child in self._children.values():
            if not child.running:
                raise child.died()

    async def look(self, *, final: bool = False) -> Account:
        """Ask everybody, and draw up the account. Who does not answer counts with what was known."""
        await self._ask_tiers()
        await self._count()
        return account(self._tally(), self._tiers, self._total - self._held, self._delivered, final=final)

    async def _count(self) -> None:
        answer = await self._get("backend", f"api/v1/logs/count?{urlencode({'by': UID})}")
        if answer is not None:
            counted = msgspec.json.decode(answer)
            self._total = counted["count"]
            self._delivered = {row["values"][UID] or "": row["count"] for row in counted["groups"]}

    async def sample(self) -> Mapping[str, Any] | None:
        """The newest record that the backend has, with all its fields (docs/backend.md)."""
        answer = await self._get("backend", "api/v1/logs/search?limit=1")
        records = msgspec.json.decode(answer)["records"] if answer is not None else []
        return records[0] if records else None

    async def _ask_tiers(self) -> None:
        collector = await self._get("logs-collector", "metrics")
        enrichment = await self._get("logs-enrichment", "metrics")
        self._tiers = Tiers(
            totals(collector) if collector is not None else self._tiers.collector,
            totals(enrichment) if enrichment is not None else self._tiers.enrichment,
        )

    async def _ask_ledgers(self) -> None:
        """Of tiers that have ended, what they have left."""
        for name in TIERS:
            try:
                if (answer := await self._get(name, "ledger")) is not None:
                    self.ledgers[name] = msgspec.json.decode(answer, type=Report)
                else:
                    self.ledgers[name] = report(kept(str(self._root / name)))
            except OSError:
                continue  # it keeps nothing, so what it said last counts

    def _tally(self) -> Tally:
        path = self._root / "demo" / "tally.json"
        return Tally.load(path) if path.exists() else Tally([])

    async def _get(self, name: str, path: str) -> str | None:
        child = self._children.get(name)
        if child is None or not child.running:
            return None
        try:
            response = await self._client.request("GET", f"http://127.0.0.1:{self._ports[name]}/{path}")
        except Busy:
            return None
        return response.body.decode() if response.status == 200 else None

    # --- the end ------------------------------------------------------------------------------------------------

    async def drain(self) -> Account:
        """End everything from the front, and draw up the last account. Raises HawseError if a process has died."""
        if self._options.demo:
            self._children["demo"].tell("stop")
            await self._until_there("demo", self._root / "demo" / "stopped")
        await self._settle()
        await self._ask_ledgers()
        await self._children["logs-collector"].stop(_GRACE)
        await self._ask_tiers()
        await self._ask_ledgers()
        await self._children["logs-enrichment"].stop(_GRACE)
        await self._ask_ledgers()
        return await self.look(final=True)

    async def _settle(self) -> None:
        """Wait until all that was written is there, or nothing has moved for a while and nothing is unanswered."""
        until = time.monotonic() + _DRAIN
        before, since = Account(), time.monotonic()
        while time.monotonic() < until:
            self.check()
            now = await self.look()
            if now != before:
                before, since = now, time.monotonic()
            quiet = time.monotonic() - since > _SETTLED_AFTER
            if self._tiers.waiting == 0 and (quiet or self._complete()):
                return
            await asyncio.sleep(0.1)

    def _complete(self) -> bool:
        pods = self._tally().pods
        unwanted = sum(pod.records for pod in pods if not pod.collected)
        arrived = all(self._delivered.get(pod.uid, 0) >= pod.records for pod in pods if pod.collected)
        return bool(pods) and arrived and self._tiers.filtered >= unwanted

    async def close(self) -> None:
        """End whatever still runs."""
        for child in reversed(self._children.values()):
            await child.stop(_GRACE)
        await self._client.close()
