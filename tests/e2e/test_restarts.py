"""Tiers that are killed while logs, metrics and traces flow: what was not acknowledged comes again, and nothing is
missing.

But for the metrics-collector: what a target has told it is nowhere else. And but for spans sent over UDP: nobody
acknowledges them.
"""

import asyncio
import os
import signal

from hawse.backend.server import Backend
from hawse.demo.environments import Options
from hawse.demo.senders import UDP
from hawse.demo.session import Session
from hawse.demo.workload import Tally


TIERS = (
    "logs-collector",
    "logs-enrichment",
    "metrics-enrichment",
    "backend",
    "traces",
    "target-allocator",
    "logs-collector",
)


async def _killed_one_after_the_other(state):
    session = Session(Options(state=state, host_logs=False, rate=4, seed=11, scrape_interval=1.0))
    try:
        await session.start()
        for tier in TIERS:
            await asyncio.sleep(1.2)
            os.kill({place.name: place.pid for place in session.places()}[tier], signal.SIGKILL)
            await asyncio.sleep(0.5)
            await session.begin(tier)
        await asyncio.sleep(1)
        final = await session.drain()
        return final, session.logs.by_pod()
    finally:
        await session.close()


def test_nothing_is_missing_after_kills(tmp_path):
    accounts, pods = asyncio.run(_killed_one_after_the_other(tmp_path))
    metrics, final = accounts.metrics, accounts.logs
    assert metrics.exposed > 500
    assert (metrics.lost, metrics.missing, metrics.in_flight) == (0, 0, 0)
    assert final.written > 2000
    assert (final.lost, final.in_flight) == (0, 0)
    assert all(arrived >= pod.records for pod, arrived in pods if pod.collected)
    assert not any(arrived for pod, arrived in pods if not pod.collected)
    # What was under way when its receiver was killed comes twice, and no more than that.
    assert final.duplicates < final.written / 4
    asyncio.run(_check_spans(tmp_path, accounts.traces))


async def _check_spans(state, traces):
    senders = Tally.load(state / "demo" / "tally.json").senders
    assert all(one.sent == one.made for one in senders)
    missing = 0
    async with Backend(store=state / "backend.db") as backend:
        for one in senders:
            asked = {"service": one.service, "k8s.pod.name": one.pod}
            counted = await backend.ask("traces/count", asked)
            held = counted["count"] - counted["duplicates"]
            assert held == one.sent or (one.protocol in UDP and held < one.sent), one
            missing += one.sent - held
    assert traces.missing == missing
    assert traces.in_flight == 0
    assert traces.sent > 200
