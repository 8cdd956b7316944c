"""`make soak`: both roles of the logs pipeline under a memory limit, with a dead backend and input at full speed.

For the first half of the time nothing listens where the backend should be, for the second half something takes
connections and never answers. Then the backend comes up, and everything that was accepted must arrive. One JSON line;
the exit code is 1 where a role went beyond its limit or died, or anything is missing.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import measure
from bench.cage import Cage, cage
from bench.soak_client import PADDING, Report
from hawse.backend.server import Backend
from hawse.values import ByteSize

_LINE = "2026-11-24T13:05:{:02d}.{:09d}Z stdout F file-{}-{} {}\n"


def write_files(folder: Path, seed: int, files: int, lines: int) -> None:
    """Numbered lines, laid out as a node's /var/log/pods."""
    rng = random.Random(seed)
    for file in range(files):
        uid = uuid.UUID(int=rng.getrandbits(128), version=4)
        path = folder / f"soak_writer-{file}-7d8f9c6b5-x2x4z_{uid}" / "main" / "0.log"
        path.parent.mkdir(parents=True)
        with path.open("w") as log:
            for at in range(0, lines, 1000):
                log.writelines(
                    _LINE.format(n // 10_000 % 60, n, file, n, PADDING[rng.randrange(400) : rng.randrange(400, 700)])
                    for n in range(at, min(at + 1000, lines))
                )


class Roles:
    """The processes, each in its cage."""

    def __init__(self, work: Path, limit: int, queue: int) -> None:
        self.work, self.limit = work, limit
        self.backend, self.enrichment, self.collector = (measure.free_port() for _ in range(3))
        self.children: dict[str, measure.Process] = {}
        self.cages: dict[str, Cage] = {}
        common = {"HAWSE_HEALTH_HOST": "127.0.0.1", "HAWSE_HEALTH_PORT": "0", "HAWSE_OTLP_HOST": "127.0.0.1"}
        self.environment: dict[str, Mapping[str, str]] = {
            "logs-enrichment": {
                **common,
                "KUBECONFIG": str(work / "kubeconfig"),
                "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
                "HAWSE_OTLP_PORT": str(self.enrichment),
                "HAWSE_BACKEND_ENDPOINT": f"http://127.0.0.1:{self.backend}",
                "HAWSE_QUEUE": "true" if queue else "false",
                "HAWSE_QUEUE_SIZE": str(queue or 1),
                "HAWSE_STATE": str(work / "enrichment-state"),
            },
            "logs-collector": {
                **common,
                "HAWSE_LOGS_INCLUDE": json.dumps([str(work / "pods" / "*" / "*" / "*.log")]),
                "HAWSE_LOGS_ENRICHMENT_ENDPOINT": f"http://127.0.0.1:{self.enrichment}",
                "HAWSE_TELEMETRY_HOST": "127.0.0.1",
                "HAWSE_TELEMETRY_PORT": str(self.collector),
                "HAWSE_STATE": str(work / "collector-state"),
            },
        }
        self.settings = {
            "logs-enrichment": [
                "exporters.sumologic.timeout=5s",
                "exporters.sumologic.retry_on_failure.max_interval=2s",
            ],
            "logs-collector": ["receivers.filelog.retry_on_failure.max_interval=2s"],
        }

    @contextlib.contextmanager
    def running(self, name: str, port: int) -> Iterator[None]:
        argv = [sys.executable, "-m", "hawse", "run", "--role", name, "--no-watch"]
        with cage(name, self.limit) as own, (self.work / f"{name}.log").open("w") as log:
            sets = list(self.settings[name])
            if own.folder is None:
                sets.append(f"service.memory_limit={self.limit}")
            for one in sets:
                argv += ["--set", one]
            environment = {**os.environ, **self.environment[name]}
            child = subprocess.Popen(argv, env=environment, stderr=log, preexec_fn=own.enter, text=True)  # noqa: PLW1509
            self.children[name], self.cages[name] = child, own
            try:
                measure.until(child, port, "otelcol_process_uptime_seconds_total", 0)
                yield
            finally:
                child.terminate()
                try:
                    child.wait(40)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def peaks(self) -> dict[str, float]:
        return {name: round(measure.peak_rss_mb(child.pid), 1) for name, child in self.children.items()}

    def refused(self) -> dict[str, int]:
        """What enrichment turned away, by limit; and what it had no room for in its queue."""
        text = measure.metrics(self.enrichment)
        found = re.findall(r'^hawse_server_refused_total\{limit="(\w+)"\} (\d+)', text, re.MULTILINE)
        return {name: int(number) for name, number in found}


def soak(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run it; what is returned is printed."""
    limit = int(ByteSize.parse(options.memory))
    write_files(work / "pods", options.seed, options.files, options.lines)
    roles = Roles(work, limit, int(ByteSize.parse(options.queue)))
    cluster = ["-m", "bench.cluster", str(work / "pods"), str(work / "kubeconfig")]
    began = time.monotonic()
    with (
        measure.process(cluster, {}, work / "cluster.log") as api,
        roles.running("logs-enrichment", roles.enrichment),
    ):
        assert api.stdout
        with roles.running("logs-collector", roles.collector):
            clients = _clients(roles.enrichment, options)
            time.sleep(options.seconds / 2)
            with _silence(roles.backend):
                time.sleep(options.seconds / 2)
                reports = [_report(client) for client in clients]
                peaks, refused = roles.peaks(), roles.refused()
            outcome = asyncio.run(_arrivals(roles, options, reports, work))
            alive = [name for name, child in roles.children.items() if child.poll() is None]
            peaks_after = roles.peaks() if len(alive) == len(roles.children) else {}
    accepted = sum(report.accepted for report in reports)
    return {
        "soak": "logs", "seed": options.seed, "seconds": options.seconds, "memory_limit_mb": round(limit / 1e6, 1),
        "held_by": sorted({one.kind for one in roles.cages.values()}), "peak_rss_mb": peaks,
        "peak_rss_mb_with_delivery": peaks_after, "oom_kills": sum(one.killed() for one in roles.cages.values()),
        "alive": alive, "refused": refused, "client_answers": _sum(report.answers for report in reports),
        "accepted_from_clients": accepted, "in_files": options.files * options.lines, **outcome,
        "wall_s": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _clients(port: int, options: argparse.Namespace) -> list[measure.Process]:
    argv = [
        sys.executable,
        "-m",
        "bench.soak_client",
        str(port),
        str(options.seconds),
        str(options.seed),
        str(options.records),
    ]
    return [
        subprocess.Popen([*argv, str(number)], stdout=subprocess.PIPE, text=True) for number in range(options.clients)
    ]


def _report(client: measure.Process) -> Report:
    out, _ = client.communicate(timeout=120)
    return Report(**json.loads(out))


def _sum(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for key, value in one.items():
            total[key] = total.get(key, 0) + value
    return total


@contextlib.contextmanager
def _silence(port: int) -> Iterator[None]:
    """Takes connections, as the kernel does for a program that hangs, and never answers."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind(("127.0.0.1", port))
        deaf.listen(64)
        yield


async def _arrivals(roles: Roles, options: argparse.Namespace, reports: list[Report], work: Path) -> dict[str, Any]:
    """Bring the backend up and wait for everything; what is missing, and what came twice."""
    wanted = {("file", str(number)): options.lines for number in range(options.files)}
    wanted |= {("client", str(number)): report.accepted for number, report in enumerate(reports)}
    total = sum(wanted.values())
    async with Backend(f"127.0.0.1:{roles.backend}", work / "backend.db") as backend:
        count, since = -1, time.monotonic()
        while time.monotonic() - since < options.patience:
            now = await backend.count()
            if now != count:
                count, since = now, time.monotonic()
            if count >= total and time.monotonic() - since > 3:
                break
            await asyncio.sleep(0.5)
        seen = {key: bytearray(size) for key, size in wanted.items()}
        duplicates = unknown = 0
        for record in await backend.records():
            kind, number, index = record["body"].split(" ", 1)[0].split("-")
            marks = seen[kind, number]
            if int(index) < len(marks):
                duplicates += marks[int(index)]
                marks[int(index)] = 1
            else:
                unknown += 1  # a client that was not told: it must send again, and that it was taken is no fault
    missing = sum(marks.count(0) for marks in seen.values())
    return {"arrived": count, "missing": missing, "duplicates": duplicates, "not_acknowledged": unknown}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", default="192MiB", help="limit of each role")
    parser.add_argument("--queue", default="64MiB", help="on enrichment's disk; 0 for none, so that all is in memory")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--lines", type=int, default=50_000, help="in each file")
    parser.add_argument("--clients", type=int, default=4, help="that send OTLP")
    parser.add_argument("--records", type=int, default=2000, help="in each of their requests, 400 bytes each")
    parser.add_argument("--patience", type=float, default=60, help="seconds without any arrival before giving up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hawse-soak-") as name:
        work = Path(name)
        try:
            result = soak(options, work)
        except measure.Stalled as stalled:
            print(f"soak: {stalled}", file=sys.stderr)
            result = {}
        bad = not result or result["missing"] or result["oom_kills"] or len(result["alive"]) < 2
        limit = ByteSize.parse(options.memory) / 1e6
        bad = bad or any(
            peak > limit for peak in {**result["peak_rss_mb"], **result["peak_rss_mb_with_delivery"]}.values()
        )
        if result:
            print(json.dumps(result), flush=True)
        if bad:
            for log in sorted(work.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
        return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
