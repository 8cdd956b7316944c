"""What has become of the metrics of a session: asked of everybody, drawn up as an account."""

from typing import Any
from urllib.parse import urlencode

import msgspec

from hawse.batch import Signal
from hawse.demo.logs import tally
from hawse.demo.processes import Processes
from hawse.demo.workload import ExporterTally, Tally
from hawse.pipeline.ledger.report import Line, Report

TIERS = ("metrics-collector", "metrics-enrichment")
_REPORT = "up|scrape_.+"  # what a scraper says of its scrapes: no target has exposed it


class Targets(msgspec.Struct):
    """How many targets were scraped at last, and how many could not be."""

    up: int = 0
    down: int = 0


class MetricsAccount(msgspec.Struct):
    """Data points from the start until now: what was `received` is filtered, refused, delivered, in flight or lost.

    `exposed` are the samples that the demo's containers have told scrapers. Those that the backend lacks of them are
    `missing`: what of them was neither filtered nor refused is lost, whatever else the tiers say.
    """

    received: int = 0  # by the collector, what it says of its scrapes included
    filtered: int = 0
    refused: int = 0
    delivered: int = 0  # the backend has them
    in_flight: int = 0
    lost: int = 0
    exposed: int = 0
    missing: int = 0
    series: int = 0
    targets: Targets = msgspec.field(default_factory=Targets)


def missing(told: Tally, held: dict[str, int], failed: dict[str, int]) -> int:
    """Samples of the demo's containers that the backend lacks.

    `held`: samples by instance. `failed`: scrapes by instance that failed. A target may have answered a scrape that
    was given up meanwhile: Prometheus, too, takes nothing of it, and says `up 0`.
    """
    return sum(max(0, one.samples - held.get(one.instance, 0) - _given_up(one, failed)) for one in told.exporters)


def _given_up(one: ExporterTally, failed: dict[str, int]) -> int:
    scrapes = min(failed.get(one.instance, 0), one.scrapes)
    return -(-one.samples * scrapes // one.scrapes) if scrapes else 0


def of(report: Report | None) -> Line:
    """The points in a tier's ledger."""
    lines = report.totals if report is not None else []
    return next((line for line in lines if line.signal is Signal.METRICS), Line(signal=Signal.METRICS))


def account(collector: Line, enrichment: Line, delivered: int, *, final: bool) -> MetricsAccount:
    """Draw up what the tiers and the backend say. Before the end (`final`) what is not there yet is in flight."""
    filtered = collector.filtered + enrichment.filtered
    # What the next tier refuses is told by both; dropped is what there was no room for.
    refused = max(collector.refused, enrichment.refused)
    unanswered = max(0, collector.received - filtered - refused - delivered)
    in_flight = min(unanswered, collector.in_flight + enrichment.in_flight) if final else unanswered
    return MetricsAccount(
        received=collector.received,
        filtered=filtered,
        refused=refused,
        delivered=delivered,
        in_flight=in_flight,
        lost=unanswered - in_flight if final else 0,
    )


class Metrics:
    """Asks the tiers, the backend and the demo's workload."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._accepted = 0
        self._held = 0  # data points that the backend had before we began
        self.series = 0
        self._missing = 0
        self._targets = Targets()

    async def begin(self) -> None:
        """The backend has started: what it holds already is not ours."""
        await self._ask_backend()
        self._held = self._accepted

    async def look(self, *, final: bool = False) -> MetricsAccount:
        """The account. Who does not answer counts with what was known."""
        collector, enrichment = [of(await self._processes.ask_ledger(name)) for name in TIERS]
        await self._ask_backend()
        if not final:
            await self._ask_targets()
        now = account(collector, enrichment, self._accepted - self._held, final=final)
        now.series, now.targets = self.series, self._targets
        told = tally(self._processes.root)
        now.exposed = sum(one.samples for one in told.exporters)
        if final:
            now.missing = self._missing
            now.lost = max(now.lost, now.missing - now.filtered - now.refused)
        return now

    def by_pod(self) -> dict[tuple[str, str], int]:
        """The samples that the demo's pods have told scrapers, by namespace and name."""
        found: dict[tuple[str, str], int] = {}
        for one in tally(self._processes.root).exporters:
            found[one.namespace, one.pod] = found.get((one.namespace, one.pod), 0) + one.samples
        return found

    async def _ask_backend(self) -> None:
        status = await self._processes.ask("backend", "api/v1/status", dict[str, Any])
        if status is not None:
            self._accepted = status["signals"]["metrics"]["accepted"]
            self.series = status["series"]["held"]

    async def _ask_targets(self) -> None:
        asked = urlencode({"match": "up", "from": "-1s", "step": "1s", "limit": "1000"})
        found = await self._processes.ask("backend", f"api/v1/metrics/lines?{asked}", dict[str, Any])
        if found is not None:
            last = [one["values"][-1] for one in found["series"] if one["values"][-1] is not None]
            self._targets = Targets(up=last.count(1), down=last.count(0))

    async def count(self) -> int:
        """Count what the backend lacks of what the demo's containers have exposed; ends when they have stopped."""
        told = tally(self._processes.root)
        held = await self._by_instance({"match": f'{{__name__!~"{_REPORT}"}}'})
        if held is not None:
            failed = await self._failed() if (first := missing(told, held, {})) else {}
            self._missing = missing(told, held, failed) if first else 0
        return self._missing

    async def _by_instance(self, asked: dict[str, str]) -> dict[str, int] | None:
        path = f"api/v1/metrics/count?{urlencode({**asked, 'by': 'instance'})}"
        found = await self._processes.ask("backend", path, dict[str, Any])
        return None if found is None else {row["values"]["instance"] or "": row["count"] for row in found["groups"]}

    async def _failed(self) -> dict[str, int]:
        """Scrapes that gave nothing, by instance."""
        path = f"api/v1/metrics/samples?{urlencode({'match': 'up', 'limit': 100_000})}"
        found = await self._processes.ask("backend", path, dict[str, Any]) or {"series": []}
        failed: dict[str, int] = {}
        for one in found["series"]:
            zeros = sum(1 for sample in one["samples"] if sample["value"] == "0.0")
            instance = one["labels"].get("instance", "")
            failed[instance] = failed.get(instance, 0) + zeros
        return failed
