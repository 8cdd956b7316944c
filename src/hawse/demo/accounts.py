"""Where every record went, by what each tier says of itself, and what the files and the backend really hold.

The tiers' own counters give the progress. Whether something was lost is never asked of those who might have lost
it: that is what was written (the workload's tally) against what the backend can find.
"""

import re
from collections.abc import Mapping

import msgspec

from hawse.demo.workload import Tally

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)", re.MULTILINE)


def totals(exposition: str) -> dict[str, float]:
    """Sums over all series of each metric in a Prometheus text exposition."""
    found: dict[str, float] = {}
    for name, _, value in _SAMPLE.findall(exposition):
        found[name] = found.get(name, 0.0) + float(value)
    return found


class Tiers(msgspec.Struct):
    """What the tiers say: metrics by name, empty while a tier can't be asked."""

    collector: Mapping[str, float] = {}
    enrichment: Mapping[str, float] = {}

    @property
    def read(self) -> int:
        """Records that the collector took from files. Enrichment has seen the last of them when it is gone."""
        return max(
            self.waiting + self.refused + int(self.collector.get(ACCEPTED, 0)), int(self.enrichment.get(ACCEPTED, 0))
        )

    @property
    def waiting(self) -> int:
        """Records that the collector holds without an answer."""
        return int(self.collector.get(IN_FLIGHT, 0))

    @property
    def refused(self) -> int:
        """Records that the next tier will never take, as it said to the collector."""
        return int(self.collector.get(REFUSED, 0))

    @property
    def filtered(self) -> int:
        """Records that a rule kept from the backend."""
        return int(self.enrichment.get(FILTERED, 0))

    @property
    def unenriched(self) -> int:
        """Records of pods that the API server did not know."""
        return int(self.enrichment.get(UNENRICHED, 0))


ACCEPTED = "otelcol_receiver_accepted_log_records_total"  # safe with the next tier, or filtered there
IN_FLIGHT = "hawse_receiver_in_flight_log_records"
REFUSED = "hawse_ledger_refused_items_total"
FILTERED = "otelcol_processor_filtered_log_records_total"
UNENRICHED = "otelcol_processor_k8sattributes_unenriched_items_total"


class Account(msgspec.Struct):
    """Log records from the start until now: what was `read` is filtered, refused, delivered, in flight or lost."""

    written: int = 0  # by the demo's workload
    read: int = 0  # by the collector: the workload's and this machine's own
    filtered: int = 0
    refused: int = 0
    delivered: int = 0  # the backend has them
    in_flight: int = 0
    lost: int = 0
    duplicates: int = 0
    unenriched: int = 0


def account(tally: Tally, tiers: Tiers, delivered: int, by_uid: Mapping[str, int], *, final: bool) -> Account:
    """Draw up the account.

    `delivered` is how many records the backend has, `by_uid` how many of each pod. Before the end (`final`), what
    is not yet there is in flight; at the end, only what the collector says is still unanswered, and the rest is lost.
    """
    wanted = [pod for pod in tally.pods if pod.collected]
    missing = sum(max(0, pod.records - by_uid.get(pod.uid, 0)) for pod in wanted)
    twice = sum(max(0, by_uid.get(pod.uid, 0) - pod.records) for pod in wanted)
    written = sum(pod.records for pod in tally.pods)
    gone = tiers.filtered + tiers.refused
    missing = max(0, missing - tiers.refused)
    unanswered = max(0, tiers.read - gone - (delivered - twice))
    in_flight = min(tiers.waiting, max(missing, unanswered)) if final else unanswered
    return Account(
        written=written,
        read=tiers.read,
        filtered=tiers.filtered,
        refused=tiers.refused,
        delivered=delivered,
        in_flight=in_flight,
        lost=max(0, max(missing, unanswered) - in_flight) if final else 0,
        duplicates=twice,
        unenriched=tiers.unenriched,
    )
