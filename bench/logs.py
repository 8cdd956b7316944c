"""`make bench-logs`: what a gigabyte of container logs costs each role of the logs pipeline.

A JSON line for the collector, and two for enrichment: with its queue on disk, as the role has it, and without. Each
has `cpu_s_per_gb` (CPU-seconds of the role's process, from its start to the last acknowledgement, per 10^9 bytes of
log file), `lines_per_cpu_s`, `records_in`, `records_out` (counted by the sink), `wire_mb` (bodies that left the role),
`peak_rss_mb` and `wall_s`. The page cache is warm.

BENCH_DATA, a folder of CRI files (any layout and depth), replaces the data; BENCH_URL, the address of an OTLP/HTTP
sink, replaces the sink (`records_out` is then what the role says it sent, `wire_mb` is unknown: null, and enrichment
runs once, as the role has it).
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import dataset, measure, replay, sink
from bench.dataset import Dataset

SENT = "otelcol_exporter_sent_log_records_total"


def collector(data: Dataset, url: str, work: Path) -> dict[str, object]:
    """Files on disk → the logs-collector → OTLP/HTTP."""
    work.mkdir(exist_ok=True)
    port = measure.free_port()
    env = {
        "HAWSE_LOGS_INCLUDE": json.dumps(sorted({str(path.parent / "*") for path in data.files()})),
        "HAWSE_LOGS_EXCLUDE": json.dumps([str(data.folder / "*.json")]),
        "HAWSE_LOGS_START_AT": "beginning",
        "HAWSE_LOGS_ENRICHMENT_ENDPOINT": url,
        "HAWSE_STATE": str(work / "collector-state"),
        "HAWSE_TELEMETRY_HOST": "127.0.0.1",
        "HAWSE_TELEMETRY_PORT": str(port),
        "HAWSE_HEALTH_PORT": "0",
    }
    began = time.monotonic()
    argv = ["-m", "hawse", "run", "--role", "logs-collector"]
    with measure.process(argv, env, work / "collector.log") as child:
        measure.until(child, port, SENT, data.records)
        return _costs("logs-collector", child, port, data, began)


def enrichment(data: Dataset, captured: Path, url: str, work: Path, *, queue: bool) -> dict[str, object]:
    """What the collector sent, gzip → k8sattributes, source → the queue on disk, or not → OTLP/HTTP, gzip."""
    work.mkdir(exist_ok=True)
    port = measure.free_port()
    kubeconfig = work / "kubeconfig"
    with measure.process(["-m", "bench.cluster", str(data.folder), str(kubeconfig)], {}, work / "cluster.log") as api:
        assert api.stdout
        api.stdout.readline()
        env = {
            "KUBECONFIG": str(kubeconfig),
            "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
            "HAWSE_OTLP_HOST": "127.0.0.1",
            "HAWSE_OTLP_PORT": str(port),
            "HAWSE_HEALTH_PORT": "0",
            "HAWSE_BACKEND_ENDPOINT": url,
            "HAWSE_STATE": str(work / "enrichment-state"),
            "HAWSE_QUEUE": "true" if queue else "false",
        }
        argv = ["-m", "hawse", "run", "--role", "logs-enrichment"]
        began = time.monotonic()
        with measure.process(argv, env, work / "enrichment.log") as child:
            measure.until(child, port, SENT, 0)
            replay.send(captured, port)
            measure.until(child, port, SENT, data.records)
            return _costs("logs-enrichment", child, port, data, began) | {"queue": queue}


def _costs(role: str, child: measure.Process, port: int, data: Dataset, began: float) -> dict[str, object]:
    cpu = measure.cpu_seconds(child.pid)
    return {
        "bench": role,
        "cpu_s_per_gb": round(cpu / (data.size / 1e9), 2),
        "lines_per_cpu_s": round(data.lines / cpu),
        "records_in": data.records,
        "records_out": int(measure.metric(port, SENT) or 0),
        "wire_mb": None,
        "peak_rss_mb": round(measure.peak_rss_mb(child.pid), 1),
        "wall_s": round(time.monotonic() - began, 2),
    }


@contextlib.contextmanager
def _sink(spool: Path) -> Iterator[str]:
    with measure.process(["-m", "bench.sink", str(spool)], {}, spool.with_suffix(".log")) as child:
        assert child.stdout
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"


def _counted(result: dict[str, object], spool: Path) -> dict[str, object]:
    records, size = sink.count(spool)
    return result | {"records_out": records, "wire_mb": round(size / 1e6, 1)}


def main() -> int:
    folder, url = os.environ.get("BENCH_DATA"), os.environ.get("BENCH_URL", "").removesuffix("/v1/logs").rstrip("/")
    data = dataset.measure(Path(folder)) if folder else dataset.cached()
    measure.warm(data.files())
    with tempfile.TemporaryDirectory(prefix="hawse-bench-") as name:
        work = Path(name)
        captured = work / "collected.spool"
        try:
            if url:
                print(json.dumps(collector(data, url, work)), flush=True)
            with _sink(captured) as own:
                result = collector(data, own, work / "own")
            if not url:
                print(json.dumps(_counted(result, captured)), flush=True)
            for queue in (True,) if url else (True, False):
                enriched = work / f"enriched-{queue}.spool"
                with _sink(enriched) as own:
                    result = enrichment(data, captured, url or own, work / f"queue-{queue}", queue=queue)
                print(json.dumps(result if url else _counted(result, enriched)), flush=True)
        except measure.Stalled as stalled:
            print(f"bench-logs: {stalled}", file=sys.stderr)
            for log in sorted(work.rglob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
