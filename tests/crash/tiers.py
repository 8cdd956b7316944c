"""Backend, logs-enrichment and logs-collector as processes, with a Kubernetes API server and writers in this one."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from hawse.component import Busy
from hawse.demo.accounts import totals
from hawse.demo.apiserver import DemoApi
from hawse.demo.supervise import Child, free_port
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig
from hawse.values import Duration

from .tally import Comparison, Tally, lines
from .writers import NAMESPACE, Load

ROLES = ("backend", "logs-enrichment", "logs-collector")
_TICK = 0.02
_READY = 60.0
# Failures here are many and short: who waits half a minute after the third would only make the test longer.
_QUICK = "{enabled: true, initial_interval: 100ms, max_interval: 1s}"
_SETTINGS = {
    "logs-collector": {
        "exporters.otlphttp.retry_on_failure": _QUICK,
        "exporters.otlphttp.timeout": "10s",
        "receivers.filelog.retry_on_failure": _QUICK,
        "receivers.filelog.discovery_interval": "1s",
    },
    "logs-enrichment": {
        "exporters.sumologic.retry_on_failure": _QUICK,
        "exporters.sumologic.timeout": "3s",
    },
    "backend": {},
}


class Flow(msgspec.Struct):
    """How far things are, as the tiers say: -1 where one does not answer."""

    stored: int = -1
    unanswered: int = -1  # records that the collector has handed out
    backlog: int = -1  # bytes
    held: int = -1  # records that enrichment answers for: under way and, where it has a queue, waiting there


class Tiers:
    """Use as `async with Tiers(...) as tiers`. Nothing of it is left when the block ends."""

    def __init__(
        self,
        root: Path,
        load: Load,
        *,
        queue: bool = False,
        settings: Mapping[str, Mapping[str, str]] = {},
        environment: Mapping[str, Mapping[str, str]] = {},
    ) -> None:
        """`settings` are keys of a role's configuration (`--set`), or options of the backend."""
        taken: set[int] = set()
        self.root = root
        self.load = load
        self.api = DemoApi()
        self.children: dict[str, Child] = {}
        # Below the range that the kernel takes clients' ports from: a role has to get its own again after each death.
        self.ports = {name: free_port(random.randrange(15_000, 30_000), taken) for name in ROLES}
        self.state = {name: root / "state" / name for name in ROLES[1:]}
        self.queue = queue
        self.settings = {name: {**_SETTINGS[name], **settings.get(name, {})} for name in ROLES}
        self.environment = environment
        self._client = HttpClient(ClientConfig(endpoint=self.url("backend"), timeout=Duration(20)))
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Tiers":
        for writer in self.load.writers:
            self.api.put(writer.manifest())
        self.api.put(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "uid": "n", "labels": {}}}
        )
        await self.api.start()
        self.api.kubeconfig(self.root / "kubeconfig")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.end_writing()
        for child in self.children.values():
            child.kill()
            await gone(child)
        await self._client.close()
        await self.api.stop()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    # --- processes ----------------------------------------------------------------------------------------------------

    async def start(self, name: str, *, ready: bool = True) -> None:
        """Start a role, again perhaps."""
        child = self.children[name] = Child(name, self._command(name), self._environment(name), self.log(name))
        await child.start()
        if ready:
            await self.until(lambda: self.ask(name, "metrics"), _READY, f"{name} answers")

    async def start_all(self) -> None:
        await asyncio.gather(*(self.start(name) for name in ROLES))

    def _command(self, name: str) -> list[str]:
        if name == "backend":
            options = [f"--{key}={value}" for key, value in self.settings[name].items()]
            listen = f"127.0.0.1:{self.ports[name]}"
            store = str(self.root / "b.db")
            return [sys.executable, "-m", "hawse", "backend", "--listen", listen, "--store", store, *options]
        sets = [part for key, value in self.settings[name].items() for part in ("--set", f"{key}={value}")]
        return [sys.executable, "-m", "hawse", "run", "--role", name, "--no-watch", *sets]

    def _environment(self, name: str) -> dict[str, str]:
        own = {
            "backend": {},
            "logs-enrichment": {
                "KUBECONFIG": str(self.root / "kubeconfig"),
                "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
                "HAWSE_OTLP_HOST": "127.0.0.1",
                "HAWSE_OTLP_PORT": str(self.ports["logs-enrichment"]),
                "HAWSE_BACKEND_ENDPOINT": self.url("backend"),
                "HAWSE_QUEUE": "true" if self.queue else "false",
            },
            "logs-collector": {
                "HAWSE_LOGS_INCLUDE": json.dumps([str(self.load.root / "containers" / "*.log")]),
                "HAWSE_LOGS_FORCE_FLUSH_PERIOD": "20s",  # no line here is ever left unfinished
                "HAWSE_LOGS_ENRICHMENT_ENDPOINT": self.url("logs-enrichment"),
                "HAWSE_TELEMETRY_HOST": "127.0.0.1",
                "HAWSE_TELEMETRY_PORT": str(self.ports["logs-collector"]),
            },
        }[name]
        state = {"HAWSE_STATE": str(self.state[name])} if name in self.state else {}
        health = {"HAWSE_HEALTH_HOST": "127.0.0.1", "HAWSE_HEALTH_PORT": "0"}
        return {**own, **state, **health, **self.environment.get(name, {})}

    async def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        self.children[name].kill()
        await gone(self.children[name])

    async def stop(self, name: str, grace: float = 35.0) -> tuple[int, float]:
        """SIGTERM; returns its exit code and how many seconds it took."""
        began = time.monotonic()
        assert self.children[name].running, self.children[name].died()
        await self.children[name].stop(grace)
        return await gone(self.children[name]), time.monotonic() - began

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def said(self, name: str) -> str:
        """All that a role has logged, over all its lives."""
        return self.log(name).read_text(errors="replace")

    # --- questions ----------------------------------------------------------------------------------------------------

    async def ask(self, name: str, path: str) -> str | None:
        """The body of a GET, or None where it does not answer 200."""
        try:
            response = await self._client.request("GET", f"{self.url(name)}/{path}")
        except Busy:
            return None
        return response.body.decode() if response.status == 200 else None

    async def metrics(self, name: str) -> dict[str, float] | None:
        text = await self.ask(name, "metrics")
        return None if text is None else totals(text)

    async def count(self, **conditions: str) -> int:
        """How many records the backend has; -1 where it does not answer."""
        found = await self.ask("backend", f"api/v1/logs/count?{urlencode(conditions)}")
        return -1 if found is None else json.loads(found)["count"]

    async def flow(self) -> Flow:
        collector, enrichment = await self.metrics("logs-collector"), await self.metrics("logs-enrichment")
        flow = Flow(await self.count())
        if collector is not None:
            flow.unanswered = int(collector["hawse_receiver_in_flight_log_records"])
            flow.backlog = int(collector["hawse_filelog_backlog_bytes"])
        if enrichment is not None:
            flow.held = int(enrichment.get("hawse_ledger_in_flight_items", 0))  # no batch yet: no series
        return flow

    async def faults(self, *rules: Mapping[str, object], seed: int = 0) -> None:
        """Put the backend's faults in force; none: it behaves."""
        body = json.dumps({"seed": seed, "faults": list(rules)}).encode()
        path = f"{self.url('backend')}/api/v1/faults"
        answer = await self._client.request("PUT", path, body, {"content-type": "application/json"})
        assert answer.status == 200, answer.body

    async def until(self, condition, seconds: float, what: str) -> None:
        """Wait until an awaitable condition is neither None nor False."""
        end = time.monotonic() + seconds
        while (await condition()) in {None, False}:
            for child in self.children.values():
                if not child.running and child.log.exists() and what.startswith(child.name):
                    raise child.died()
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s\n{self._last_words()}"
            await asyncio.sleep(0.05)

    async def until_said(self, name: str, text: str, seconds: float = 20.0) -> None:
        async def told() -> bool:
            return text in self.said(name)

        await self.until(told, seconds, f'"{text}" in the log of {name}')

    def _last_words(self) -> str:
        return "\n".join(f"{name}:\n{child.tail()}" for name, child in self.children.items())

    # --- the load, and its end ----------------------------------------------------------------------------------------

    def begin_writing(self) -> None:
        self.load.begin()
        self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            self.load.advance()
            await asyncio.sleep(_TICK)

    async def end_writing(self) -> None:
        task, self._writing = self._writing, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and task.exception():
                raise task.exception()
            self.load.finish()

    async def settle(self, seconds: float = 60.0) -> None:
        """Wait until everything written is there, or nothing moves any more."""
        await self.end_writing()
        end, before, since = time.monotonic() + seconds, Flow(), time.monotonic()
        while time.monotonic() < end:
            now = await self.flow()
            if now != before:
                before, since = now, time.monotonic()
            idle = (now.unanswered, now.backlog, now.held) == (0, 0, 0)
            if (
                idle
                and now.stored >= 0
                and time.monotonic() - since > (0.5 if now.stored >= self.load.written else 6.0)
            ):
                return
            await asyncio.sleep(0.2)

    async def stop_all(self) -> None:
        """From the front, each with what it needs still there. Raises AssertionError if one ends badly."""
        for name in reversed(ROLES[1:]):
            code, _ = await self.stop(name)
            assert code == 0, f"{name} ended with {code}:\n{self.children[name].tail()}"

    async def compare(self) -> Tally:
        """Hold the backend's records against the files'."""
        comparison = Comparison(self.load.writers)
        async with self._client.stream("GET", "/api/v1/logs/dump", stall=60) as answer:
            assert answer.status == 200
            async for line in lines(aiter(answer)):
                comparison.add(line)
        return comparison.done()


async def gone(child: Child) -> int:
    """Wait until a process that was ended is no more; its exit code."""
    assert child._process is not None
    return await child._process.wait()
