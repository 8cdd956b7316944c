"""Targets and their health, as Prometheus' HTTP API shows them (prometheus.io/docs/prometheus/latest/querying/api)."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from hawse.net.http import Handler, Request, Response
from hawse.prometheus.targets import Dropped
from hawse.prometheus.values import PromDuration
from hawse.receivers.prometheus.loop import Loop
from hawse.receivers.prometheus.manager import Manager

_NEVER = "0001-01-01T00:00:00Z"  # Go's zero time
_DROPPED = 1000  # shown of a job at most, where it sets no keep_dropped_targets


def routes(manager: Manager) -> Mapping[tuple[str, str], Handler]:
    """`GET /api/v1/targets` with `state` and `scrapePool`, `GET /api/v1/scrape_pools`."""

    async def targets(request: Request) -> Response:
        state = request.query.get("state", [""])[-1].lower()
        return _success(discovery(manager, state, request.query.get("scrapePool", [""])[-1]))

    async def pools(_: Request) -> Response:
        return _success({"scrapePools": sorted(manager.pools)})

    return {("GET", "/api/v1/targets"): targets, ("GET", "/api/v1/scrape_pools"): pools}


def discovery(manager: Manager, state: str, only: str) -> dict[str, Any]:
    """Active and dropped targets, of one scrape pool or all. `state` is "active", "dropped" or anything for both."""
    pools = {name: pool for name, pool in sorted(manager.pools.items()) if only in {"", name}}
    active = (
        []
        if state == "dropped"
        else [_active(name, one) for name, pool in pools.items() for one in pool.loops.values()]
    )
    dropped: list[dict[str, Any]] = []
    counts = {}
    for name, pool in pools.items():
        found = list(pool.dropped())
        counts[name] = len(found)
        if state != "active":
            dropped += _dropped(name, found, pool.job.keep_dropped_targets or _DROPPED)
    return {"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts}


def _active(pool: str, loop: Loop) -> dict[str, Any]:
    target = loop.subject.target
    return {
        "discoveredLabels": dict(target.discovered),
        "labels": target.labels,
        "scrapePool": pool,
        "scrapeUrl": str(target.url),
        "globalUrl": str(target.url),
        "lastError": loop.last_error,
        "lastScrape": _time(loop.last_scrape),
        "lastScrapeDuration": loop.last_duration,
        "health": loop.health,
        "scrapeInterval": str(PromDuration(target.interval)),
        "scrapeTimeout": str(PromDuration(target.timeout)),
    }


def _dropped(pool: str, found: list[Dropped], most: int) -> Iterator[dict[str, Any]]:
    """Beside what Prometheus says: why."""
    for one in found[:most]:
        yield {"discoveredLabels": dict(one.discovered), "scrapePool": pool, "reason": one.reason}


def _time(unix: float) -> str:
    if not unix:
        return _NEVER
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _success(data: object) -> Response:
    body = msgspec.json.encode({"status": "success", "data": data})
    return Response(200, body, content_type="application/json")
