"""The processes of `hawse up`: where each listens, how it is started, asked and ended."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from hawse.component import Busy
from hawse.demo.supervise import Child, free_port
from hawse.diagnostics import HawseError
from hawse.net.client import HttpClient
from hawse.net.settings import ClientConfig
from hawse.pipeline.ledger.report import Report, report
from hawse.pipeline.ledger.store import kept
from hawse.values import Duration

T = TypeVar("T")

# DESIGN.md's ports, as long as they are free: what each process is asked at; NAME/PROTOCOL is where it takes data.
PORTS = {
    "backend": 8088,
    "logs-enrichment": 24321,
    "logs-collector": 2020,
    "target-allocator": 8080,
    "metrics-enrichment": 24321,
    "metrics-collector": 24321,
    "metrics-enrichment/otlp": 8888,
    "metrics-enrichment/remote-write": 9888,
    "traces": 24321,
    "traces/otlp-grpc": 4317,
    "traces/otlp-http": 4318,
    "traces/jaeger-compact": 6831,
    "traces/zipkin": 9411,
}
_READY_WITHIN = 60.0  # seconds: a first start compiles Python's files, on a machine that may be busy
UDP = frozenset({"traces/jaeger-compact"})
_GRACE = 15.0  # seconds for a process to end
_LAST_GRACE = 5.0  # the same, where something has gone wrong before


class Place(msgspec.Struct, frozen=True):
    """A process, where it listens, and its log."""

    name: str
    pid: int
    address: str
    log: str


class Processes:
    """All of them, by name."""

    def __init__(self, root: Path, tiers: Sequence[str]) -> None:
        """`root` has their logs and states; `tiers` are the roles that tell their health and keep a ledger."""
        self.root = root
        self.tiers = tuple(tiers)
        taken: set[int] = set()
        self.ports = {name: free_port(port, taken, udp=name in UDP) for name, port in PORTS.items()}
        # Each on a port of its own, which says whether the process gets on, and takes data.
        self.health = {name: free_port(13133, taken) for name in tiers}
        self.ledgers: dict[str, Report] = {}
        self._children: dict[str, Child] = {}
        self._ended: set[str] = set()  # as they should
        self._client = HttpClient(ClientConfig(endpoint=self.url("backend"), timeout=Duration(10)))

    def url(self, name: str) -> str:
        """Where a process is asked, without a slash at the end."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def places(self) -> Iterator[Place]:
        """What runs, and where."""
        for name, child in self._children.items():
            address = f"127.0.0.1:{self.ports[name]}" if name in self.ports else "-"
            yield Place(name, child.pid, address, str(child.log))

    def check(self) -> None:
        """Raise HawseError, with its last words, if a process has ended."""
        for name, child in self._children.items():
            if not child.running and name not in self._ended:
                raise child.died()

    async def run(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a process, which may have run and ended before."""
        self._ended.discard(name)
        child = self._children[name] = Child(name, argv, env, self.root / f"{name}.log")
        await child.start()

    def tell(self, name: str, line: str) -> None:
        """Write a line to its standard input."""
        self._children[name].tell(line)

    async def answers(self, name: str, path: str) -> None:
        """Wait until it answers. Raises HawseError."""
        until = time.monotonic() + _READY_WITHIN
        while await self.get(name, path) is None:
            self._check_patience(name, until)
            await asyncio.sleep(0.05)

    async def until_there(self, name: str, path: Path) -> None:
        """Wait until a process has made a file. Raises HawseError."""
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

    async def get(self, name: str, path: str) -> str | None:
        """What it answers; None where it does not, or with another status than 200."""
        child = self._children.get(name)
        if child is None or not child.running:
            return None
        try:
            response = await self._client.request("GET", f"{self.url(name)}/{path}")
        except Busy:
            return None
        return response.body.decode() if response.status == 200 else None

    async def ask(self, name: str, path: str, kind: type[T]) -> T | None:
        """The same, as JSON of a type."""
        answer = await self.get(name, path)
        return msgspec.json.decode(answer, type=kind) if answer is not None else None

    async def ask_ledger(self, name: str) -> Report | None:
        """A tier's ledger; of one that has ended, what it has left. None where it never told one."""
        try:
            found = await self.ask(name, "ledger", Report) or report(kept(str(self.root / name)))
        except OSError:
            return self.ledgers.get(name)  # it keeps nothing, so what it said last counts
        self.ledgers[name] = found
        return found

    async def stop(self, name: str) -> None:
        """End one."""
        self._ended.add(name)
        await self._children[name].stop(_GRACE)

    async def close(self) -> None:
        """End whatever still runs. What a tier could not hand on by now is in its state, or was never acknowledged."""
        await asyncio.gather(*(child.stop(_LAST_GRACE) for child in self._children.values()))
        await self._client.close()
