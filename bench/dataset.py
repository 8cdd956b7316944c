"""The log data that all collectors are measured on: 20 files, 2,970,330 lines, 537 MB, seeded.

Laid out as a node's `/var/log/pods`: `<namespace>_<pod>_<uid>/<container>/0.log`, in the format that containerd
writes (times are Go's RFC3339Nano in UTC, trailing zeros trimmed). 1% of the lines are partial (`P`), 23% have
JSON bodies, and every 200th record begins a stack trace of several lines.
"""

import json
import os
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

FILES = 20
LINES = 2_970_330
SEED = 20261123
_VERSION = 1  # of what is generated; a change makes caches anew
_MANIFEST = "manifest.json"
_BLOCK = 4096  # lines written at once

_START = 1_792_000_000_000_000_000  # 2026-10-14, in nanoseconds since 1970
_LEVELS = ("INFO", "INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR")
_VERBS = ("GET", "GET", "GET", "POST", "PUT", "DELETE")
_CODES = (200, 200, 200, 201, 204, 304, 404, 500)
_THINGS = ("orders", "customers", "invoices", "payments", "shipments", "sessions", "products", "baskets")
_EVENTS = (
    "request completed",
    "cache miss, fetching from origin",
    "connection pool resized",
    "retrying after upstream timeout",
    "message acknowledged by broker",
    "token refreshed",
    "scheduled job finished",
    "slow query",
)
_FRAMES = (
    "com.example.orders.OrderService.place(OrderService.java:{})",
    "com.example.http.Dispatcher.dispatch(Dispatcher.java:{})",
    "com.example.db.Pool.borrow(Pool.java:{})",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:{})",
    "java.base/java.lang.Thread.run(Thread.java:{})",
)


class Dataset(NamedTuple):
    """A folder of container logs and what is in it. `records` are lines but the partial ones, which are joined."""

    folder: Path
    size: int
    lines: int
    records: int

    def files(self) -> list[Path]:
        """The log files, sorted."""
        return _log_files(self.folder)


def cached(lines: int = LINES) -> Dataset:
    """The data set of so many lines, made on first use under the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hawse"
    folder = cache / f"logs-{lines}-{SEED}-v{_VERSION}"
    manifest = folder / _MANIFEST
    if not manifest.exists():
        making = cache / f"{folder.name}.{os.getpid()}"
        make(making, lines)
        found = measure(making)
        (making / _MANIFEST).write_text(json.dumps(found._asdict() | {"folder": ""}))
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
        making.rename(folder)
    return Dataset(**json.loads(manifest.read_text()) | {"folder": folder})


def make(folder: Path, lines: int = LINES, files: int = FILES, seed: int = SEED) -> None:
    """Write `lines` lines into `files` files. The same arguments make the same bytes."""
    for number in range(files):
        rng = random.Random(seed * 1000 + number)
        share = lines // files + (number < lines % files)
        namespace, app = ("shop", "web", "jobs", "platform")[number % 4], f"{_THINGS[number % 8]}-{number:02d}"
        pod = f"{app}-{rng.getrandbits(36):09x}-{rng.getrandbits(20):05x}"
        uid = uuid.UUID(int=rng.getrandbits(128), version=4)
        path = folder / f"{namespace}_{pod}_{uid}" / app / "0.log"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            block: list[str] = []
            for line in _lines(rng, share):
                block.append(line)
                if len(block) == _BLOCK:
                    file.write("".join(block))
                    block.clear()
            file.write("".join(block))


def measure(folder: Path) -> Dataset:
    """Look through a folder of CRI files (any depth): bytes, lines, records."""
    size = lines = records = 0
    for path in _log_files(folder):
        with path.open("rb") as file:
            for line in file:
                lines += 1
                # time, stream, tag, body: partial pieces are tagged P
                records += line.split(b" ", 3)[2:3] != [b"P"]
                size += len(line)
    return Dataset(folder, size, lines, records)


def _log_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)


def _lines(rng: random.Random, count: int) -> Iterator[str]:
    """Exactly `count` lines of one container. A record that would pass the end is cut to what fits."""
    now = _START + rng.randrange(10**9)
    left = count
    while left:
        now += rng.randrange(1_000, 20_000_000)
        stamp = _stamp(now)
        stream = "stderr" if rng.random() < 0.1 else "stdout"
        tags = _record(rng, left)
        for tag, body in tags:
            yield f"{stamp} {stream} {tag} {body}\n"
        left -= len(tags)


def _record(rng: random.Random, most: int) -> list[tuple[str, str]]:
    kind = rng.random()
    if kind < 0.005 and most >= 12:
        return [("F", text) for text in _trace(rng)]
    if kind < 0.0155 and most >= 2:
        text = _plain(rng) + " payload=" + rng.randbytes(120).hex()
        cut = len(text) * 2 // 3
        return [("P", text[:cut]), ("F", text[cut:])]
    return [("F", _json(rng) if kind < 0.2545 else _plain(rng))]


def _plain(rng: random.Random) -> str:
    writers: tuple[Callable[[random.Random], str], ...] = (_access, _event, _event)
    return writers[rng.randrange(3)](rng)


def _access(rng: random.Random) -> str:
    return (
        f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)} - - "
        f'"{rng.choice(_VERBS)} /api/v1/{rng.choice(_THINGS)}/{rng.randrange(10**6)} HTTP/1.1" '
        f'{rng.choice(_CODES)} {rng.randrange(40, 90_000)} "-" "shop-client/2.{rng.randrange(9)}"'
    )


def _event(rng: random.Random) -> str:
    return (
        f"{rng.choice(_LEVELS):5} [{rng.choice(_THINGS)}-worker-{rng.randrange(16)}] {rng.choice(_EVENTS)} "
        f"id={rng.getrandbits(48):012x} trace={rng.getrandbits(64):016x} took={rng.randrange(5000)}ms "
        f"attempt={rng.randrange(4)} "
        f"route=/api/v1/{rng.choice(_THINGS)}/{rng.randrange(10**5):05d} session={rng.getrandbits(24):06x}"
    )


def _json(rng: random.Random) -> str:
    return (
        f'{{"level":"{rng.choice(_LEVELS).lower()}","msg":"{rng.choice(_EVENTS)}","service":"{rng.choice(_THINGS)}",'
        f'"trace_id":"{rng.getrandbits(128):032x}","user":{rng.randrange(10**6)},"latency_ms":{rng.random() * 900:.3f},'
        f'"path":"/api/v1/{rng.choice(_THINGS)}"}}'
    )


def _trace(rng: random.Random) -> list[str]:
    head = f"ERROR java.lang.IllegalStateException: {rng.choice(_EVENTS)} (id {rng.randrange(10**6)})"
    return [head, *(f"\tat {rng.choice(_FRAMES).format(rng.randrange(900))}" for _ in range(rng.randrange(4, 11)))]


_seconds: dict[int, str] = {}


def _stamp(nanoseconds: int) -> str:
    """RFC3339Nano: the fraction without trailing zeros, none at all where it is zero."""
    second, rest = divmod(nanoseconds, 10**9)
    text = _seconds.get(second)
    if text is None:
        _seconds.clear()
        text = _seconds[second] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{text}{fraction}Z"
