"""How the backend is doing: for its page, for probes, for Prometheus."""

import time
from typing import Any

from hawse import __version__
from hawse.backend.faults import Faults
from hawse.backend.ingest import Ingest
from hawse.backend.intake import Intake
from hawse.backend.query import rfc3339
from hawse.backend.store import Limits


class Status:
    """Reads what the parts count."""

    def __init__(self, intake: Intake, ingest: Ingest, rules: Faults, path: str, limits: Limits) -> None:
        self._intake = intake
        self._ingest = ingest
        self._faults = rules
        self._path = path
        self._limits = limits
        self._started = time.time_ns()

    def problem(self) -> str:
        """Why the backend cannot take anything now; "" if it can."""
        return f"the store cannot be written: {self._intake.failure}" if self._intake.failure else ""

    def report(self) -> dict[str, Any]:
        """Everything, as JSON has it. `accepted` and `expired` count since the store's file was made."""
        limits = self._limits
        return {
            "version": __version__,
            "started": rfc3339(self._started),
            "uptime_seconds": (time.time_ns() - self._started) / 1e9,
            "signals": {
                signal: {
                    "accepted": total.accepted,
                    "held": total.accepted - total.expired,
                    "expired": total.expired,
                    "accepted_bytes": total.accepted_bytes,
                }
                for signal, total in self._intake.totals.items()
            },
            "series": {"held": self._intake.series, "max": limits.max_series},
            "store": {
                "path": self._path,
                "size": self._intake.size,
                "max_size": int(limits.max_size),
                "max_records": limits.max_records,
                "max_age_seconds": float(limits.max_age),
                "problem": self.problem(),
            },
            "waiting_bytes": self._intake.queued_bytes,
            "requests": [
                {"signal": signal, "status": status, "count": count}
                for (signal, status), count in sorted(self._ingest.requests.items())
            ],
            **self._faults.report(),
        }

    def exposition(self) -> str:
        """The same in Prometheus's text format. A status of 0 is a connection cut or left hanging by a fault."""
        accepted = {f'signal="{signal}"': t.accepted for signal, t in self._intake.totals.items()}
        expired = {f'signal="{signal}"': t.expired for signal, t in self._intake.totals.items()}
        requests = {f'signal="{s}",code="{code}"': count for (s, code), count in sorted(self._ingest.requests.items())}
        fired = {f'fault="{_escaped(rule.fault.id)}"': rule.fired for rule in self._faults.rules}
        return "".join(
            (
                _family("hawse_backend_accepted_items_total", "counter", "Records, points and spans stored.", accepted),
                _family("hawse_backend_expired_items_total", "counter", "Items that the limits let go.", expired),
                _family("hawse_backend_requests_total", "counter", "Requests of senders, by answer.", requests),
                _family("hawse_backend_faults_fired_total", "counter", "How often each fault fired.", fired),
                _family("hawse_backend_series", "gauge", "Series of metrics held.", {"": self._intake.series}),
                _family("hawse_backend_store_bytes", "gauge", "Bytes of the store in use.", {"": self._intake.size}),
                _family("hawse_backend_waiting_bytes", "gauge", "Not committed yet.", {"": self._intake.queued_bytes}),
            )
        )


def _family(name: str, kind: str, about: str, samples: dict[str, int]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
