"""What all components of a graph share: the memory budget, and the servers that charge it; both in self-metrics."""

import ctypes
from contextlib import suppress
from typing import Any

from hawse.net.budget import Budget
from hawse.net.server import HttpServers
from hawse.pipeline.telemetry import Telemetry

_LARGE = 1 << 20


def shared(memory_limit: int, telemetry: Telemetry) -> dict[type, Any]:
    """The instances by class, as `Context.shared` gives them. `memory_limit` is `service.memory_limit`."""
    _bound_allocator()
    budget = Budget(memory_limit)
    refused = telemetry.counter("hawse_server_refused", "Requests and connections refused, by the limit.", {})
    servers = HttpServers(budget, lambda limit: refused.add(1, limit=limit))
    return {Budget: budget, Gauges: Gauges(budget, telemetry), HttpServers: servers}


def _bound_allocator() -> None:
    """Have glibc give large buffers back as soon as they are freed (mallopt(3)).

    By itself it learns to keep them, up to 32 MiB each, and what is freed between two that live is resident for good.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    with suppress(OSError, AttributeError):  # musl does so anyway
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_threshold, _LARGE)
        libc.mallopt(m_trim_threshold, 4 * _LARGE)


class Gauges:
    """The budget's gauges, which go with the graph."""

    def __init__(self, budget: Budget, telemetry: Telemetry) -> None:
        self._removals = [
            telemetry.gauge("hawse_memory_in_flight", "Telemetry in flight.", lambda: budget.used, {}, "By"),
            telemetry.gauge("hawse_memory_budget", "Telemetry that may be in flight.", lambda: budget.limit, {}, "By"),
            telemetry.gauge(
                "hawse_memory_limit", "Memory for the whole process.", lambda: budget.memory_limit, {}, "By"
            ),
        ]

    async def close(self) -> None:
        """Take them out."""
        while self._removals:
            self._removals.pop()()
