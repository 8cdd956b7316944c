"""What has become of the logs of a session: asked of everybody, drawn up as an account."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hawse.demo.accounts import Account, Tiers, account, totals
from hawse.demo.processes import Processes
from hawse.demo.workload import PodTally, Tally

TIERS = ("logs-collector", "logs-enrichment")
_UID = "pod_id"  # as the sumologic processor calls k8s.pod.uid


def tally(root: Path) -> Tally:
    """What the demo's workload has said of itself so far."""
    path = root / "demo" / "tally.json"
    return Tally.load(path) if path.exists() else Tally([])


class Logs:
    """Asks the tiers, the backend and the demo's workload."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self.tiers = Tiers()
        self._delivered: dict[str, int] = {}
        self._total = 0
        self._held = 0  # what the backend had before we began

    async def begin(self) -> None:
        """The backend has started: what it holds already is not ours."""
        await self._count()
        self._held = self._total

    def by_pod(self) -> list[tuple[PodTally, int]]:
        """The demo's pods, and how many records of each the backend has."""
        return [(pod, self._delivered.get(pod.uid, 0)) for pod in tally(self._processes.root).pods]

    async def look(self, *, final: bool = False) -> Account:
        """The account. Who does not answer counts with what was known."""
        await self.ask_tiers()
        await self._count()
        delivered = self._total - self._held
        return account(tally(self._processes.root), self.tiers, delivered, self._delivered, final=final)

    async def _count(self) -> None:
        counted = await self._processes.ask("backend", f"api/v1/logs/count?{urlencode({'by': _UID})}", dict[str, Any])
        if counted is not None:
            self._total = counted["count"]
            self._delivered = {row["values"][_UID] or "": row["count"] for row in counted["groups"]}

    async def ask_tiers(self) -> None:
        """Read the tiers' counters."""
        collector = await self._processes.get("logs-collector", "metrics")
        enrichment = await self._processes.get("logs-enrichment", "metrics")
        self.tiers = Tiers(
            totals(collector) if collector is not None else self.tiers.collector,
            totals(enrichment) if enrichment is not None else self.tiers.enrichment,
        )

    async def sample(self) -> Mapping[str, Any] | None:
        """The newest record that the backend has, with all its fields (docs/backend.md)."""
        answer = await self._processes.ask("backend", "api/v1/logs/search?limit=1", dict[str, Any])
        return answer["records"][0] if answer and answer["records"] else None

    @property
    def complete(self) -> bool:
        """Whether all that the demo's pods have written has arrived, or been kept out."""
        pods = tally(self._processes.root).pods
        unwanted = sum(pod.records for pod in pods if not pod.collected)
        arrived = all(self._delivered.get(pod.uid, 0) >= pod.records for pod in pods if pod.collected)
        return bool(pods) and arrived and self.tiers.filtered >= unwanted
