"""What has become of the spans of a session: asked of everybody, drawn up as an account."""

import time
from typing import Any
from urllib.parse import urlencode

import msgspec

from hawse.batch import Signal
from hawse.demo.logs import tally
from hawse.demo.processes import Processes
from hawse.demo.workload import Tally
from hawse.pipeline.ledger.report import Line, Report

TIERS = ("traces",)


class TracesAccount(msgspec.Struct):
    """Spans from the start until now: what was `received` is filtered, refused, delivered, in flight or lost.

    `sent` is what the demo's services have sent and, but over UDP, know to be taken; those that the backend lacks of
    them are `missing`: what of them was neither filtered nor refused is lost, whatever else the tiers say.
    `protocols`: spans sent, by protocol.
    """

    sent: int = 0
    received: int = 0
    filtered: int = 0
    refused: int = 0
    delivered: int = 0  # the backend has them
    in_flight: int = 0
    lost: int = 0
    missing: int = 0
    duplicates: int = 0
    traces: int = 0
    protocols: dict[str, int] = {}


def missing(told: Tally, held: dict[str, int]) -> int:
    """Spans of the demo's services that the backend lacks. `held`: different spans by service."""
    sent: dict[str, int] = {}
    for one in told.senders:
        sent[one.service] = sent.get(one.service, 0) + one.sent
    return sum(max(0, spans - held.get(service, 0)) for service, spans in sent.items())


def of(report: Report | None) -> Line:
    """The spans in a tier's ledger."""
    lines = report.totals if report is not None else []
    return next((line for line in lines if line.signal is Signal.TRACES), Line(signal=Signal.TRACES))


def account(line: Line, delivered: int, duplicates: int, *, final: bool) -> TracesAccount:
    """Draw up what the tier and the backend say. Before the end (`final`) what is not there yet is in flight."""
    gone = line.filtered + line.refused + line.dropped
    unanswered = max(0, line.received - gone - (delivered - duplicates))
    in_flight = min(unanswered, line.in_flight) if final else unanswered
    return TracesAccount(
        received=line.received,
        filtered=line.filtered,
        refused=line.refused,
        delivered=delivered,
        in_flight=in_flight,
        lost=unanswered - in_flight + line.dropped if final else 0,
        duplicates=duplicates,
    )


class Traces:
    """Asks the tier, the backend and the demo's workload."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._accepted = self._held = 0  # spans that the backend has, and had before we began
        self._duplicates = self._traces = self._missing = 0
        self._since = 0  # ns

    async def begin(self) -> None:
        """The backend has started: what it holds already is not ours."""
        await self._ask_backend()
        self._held = self._accepted
        self._since = time.time_ns()

    async def look(self, *, final: bool = False) -> TracesAccount:
        """The account. Who does not answer counts with what was known."""
        line = of(await self._processes.ask_ledger(TIERS[0]))
        await self._ask_backend()
        now = account(line, self._accepted - self._held, self._duplicates, final=final)
        told = tally(self._processes.root).senders
        now.traces, now.sent = self._traces, sum(one.sent for one in told)
        for one in told:
            now.protocols[one.protocol] = now.protocols.get(one.protocol, 0) + one.sent
        if final:
            now.missing = self._missing
            now.lost = max(now.lost, now.missing - now.filtered - now.refused)
        return now

    async def _ask_backend(self) -> None:
        status = await self._processes.ask("backend", "api/v1/status", dict[str, Any])
        if status is not None:
            accepted = status["signals"]["traces"]["accepted"]
            if accepted != self._accepted and self._since:
                await self._count_all()
            self._accepted = accepted

    async def count(self) -> int:
        """Count what the backend lacks of what the demo's services have sent; ends when they have stopped."""
        told = tally(self._processes.root)
        held: dict[str, int] = {}
        for service in {one.service for one in told.senders}:
            pods = "|".join(sorted({one.pod for one in told.senders if one.service == service}))
            found = await self._counted({"service": service, "k8s.pod.name": pods})
            if found is None:
                return self._missing
            held[service] = found["count"] - (found["duplicates"] or 0)
        self._missing = missing(told, held)
        await self._count_all()
        return self._missing

    async def _count_all(self) -> None:
        if (found := await self._counted({})) is not None:
            self._duplicates, self._traces = found["duplicates"] or 0, found["traces"] or 0

    async def _counted(self, asked: dict[str, str]) -> dict[str, Any] | None:
        query = urlencode({**asked, "from": self._since})
        return await self._processes.ask("backend", f"api/v1/traces/count?{query}", dict[str, Any])
