"""`python -m bench.metrics_enrichment_otlp`: what a million points cost that come from a collector by OTLP.

OTLP/HTTP, gzip, a request for each scrape of a pod of 1,000 series → k8sattributes → filter (by metric name, about a
twentieth) → OTLP/HTTP, gzip → a sink. One JSON line: `cpu_s_per_million` (CPU-seconds of the process per 10^6 points,
without start-up and the first scrape of each pod: `startup_cpu_s`), `points_in`, `points_out` (counted by the sink),
`filtered`, `samples_in` (what Prometheus calls so: a histogram is one point and 14 samples), `pods`, `wire_mb`,
`peak_rss_mb`, `wall_s`. `--processors` takes others of the configuration below, to see what each costs; `--role` the
bundled role, with its queue on disk, to an OTLP backend.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from isal import igzip

from bench import measure, replay, scrapes, write_requests
from bench.exposition import TARGET
from bench.exposition import Exposition as Target
from hawse.batch import Batch, Signal
from hawse.codecs.exposition import Exposition, Settings

SENT = "otelcol_exporter_sent_metric_points_total"
FILTERED = "hawse_ledger_filtered_items_total"
LABELS = {"namespace": "k8s.namespace.name", "pod": "k8s.pod.name", "container": "k8s.container.name"}
_START, _INTERVAL = 1_792_000_000 * 10**9, 30 * 10**9


def configuration(kubeconfig: Path, sink: str, port: int, telemetry: int, processors: list[str]) -> dict[str, Any]:
    """All processors that may be asked for; those in the pipeline are `processors`."""
    by_name = [{"from": "resource_attribute", "name": name} for name in ("k8s.namespace.name", "k8s.pod.name")]
    known: dict[str, Any] = {
        "k8sattributes": {
            "auth_type": "kubeConfig",
            "kube_config_path": str(kubeconfig),
            "pod_association": [{"sources": by_name}],
            "extract": {
                "metadata": ["k8s.node.name", "k8s.deployment.name", "k8s.replicaset.name"],
                "labels": [{"from": "pod", "key_regex": "(.*)", "tag_name": "pod_labels_$$1"}],
            },
        },
        "filter": {"metrics": {"metric": ['IsMatch(name, "^node_network_.*_drop")']}},
        "filter/points": {"metrics": {"datapoint": ['attributes["mode"] == "idle"']}},
        "dropbuckets": {},
        "groupbyattrs": {"keys": ["handler"]},
    }
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "processors": {name: known[name] for name in processors},
        "exporters": {"otlphttp": {"endpoint": sink, "compression": "gzip"}},
        "service": {
            "pipelines": {"metrics": {"receivers": ["otlp"], "processors": processors, "exporters": ["otlphttp"]}},
            "telemetry": {"metrics": {"address": f"127.0.0.1:{telemetry}"}},
        },
    }


async def _write(spool: Path, pods: list[write_requests.Pod], rounds: range) -> tuple[int, int]:
    """Write a spool (see `bench.sink`) of the scrapes of all pods; how many points and samples it holds."""
    target = Target(write_requests.OF_A_POD)
    points = samples = 0
    targets = []
    for number, pod in enumerate(pods):
        about = {"namespace": pod.namespace, "pod": pod.name, "container": "api"}
        labels = {"job": "api", "instance": f"10.1.{number // 250}.{number % 250}:8080", **about}
        targets.append(Exposition({}, labels, settings=Settings(resource_labels=LABELS)))
    with spool.open("wb") as file:
        for scrape in rounds:
            text = target.body(scrape)
            for number, exposition in enumerate(targets):
                body = text.replace(TARGET, str(number)).encode()
                read = await exposition.read(body, "text/plain; version=0.0.4", _START + _INTERVAL * scrape)
                batch = Batch(Signal.METRICS, read.groups)
                data = igzip.compress(batch.encode(), 1)
                file.write(f"{len(data)} gzip\n".encode())
                file.write(data)
                points += batch.items
                samples += read.samples
    return points, samples


def _program(
    work: Path, kubeconfig: Path, sink: str, port: int, telemetry: int, options: argparse.Namespace
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment."""
    run = ["-m", "hawse", "run", "--no-watch"]
    if options.role:
        return [*run, "--role", "metrics-enrichment"], {
            "KUBECONFIG": str(kubeconfig),
            "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
            "HAWSE_METRICS_EXPORTER": "otlphttp",
            "HAWSE_BACKEND_ENDPOINT": sink,
            "HAWSE_METRICS_DROP": """['IsMatch(name, "^node_network_.*_drop")']""",
            "HAWSE_STATE": str(work / "state"),
            "HAWSE_REMOTE_WRITE_PORT": "0",
            "HAWSE_HEALTH_PORT": "0",
            **{f"HAWSE_{part}_HOST": "127.0.0.1" for part in ("OTLP", "REMOTE_WRITE", "TELEMETRY", "HEALTH")},
            "HAWSE_OTLP_PORT": str(port),
            "HAWSE_TELEMETRY_PORT": str(telemetry),
        }
    file = work / "enrichment.yaml"
    file.write_text(json.dumps(configuration(kubeconfig, sink, port, telemetry, options.processors)))
    return [*run, "--config", str(file)], {}


def enrichment(sink: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    first, rest = work / "first.spool", work / "rest.spool"
    pods = write_requests.pods(options.pods * write_requests.OF_A_POD)
    known, _ = asyncio.run(_write(first, pods, range(1)))
    points, samples = asyncio.run(_write(rest, pods, range(1, options.rounds + 1)))
    for pod in pods:
        (work / "pods" / f"{pod.namespace}_{pod.name}_{pod.uid}").mkdir(parents=True)
    kubeconfig = work / "kubeconfig"
    with measure.process(["-m", "bench.cluster", str(work / "pods"), str(kubeconfig)], {}, work / "cluster.log") as api:
        assert api.stdout
        api.stdout.readline()
        port, telemetry = measure.free_port(), measure.free_port()
        argv, env = _program(work, kubeconfig, sink, port, telemetry, options)
        with measure.process(argv, env, work / "enrichment.log") as child:
            measure.until(child, telemetry, SENT, 0)
            replay.send(first, port, "/v1/metrics")
            before = measure.metric(telemetry, FILTERED) or 0
            startup, began = measure.cpu_seconds(child.pid), time.monotonic()
            replay.send(rest, port, "/v1/metrics")
            filtered = (measure.metric(telemetry, FILTERED) or 0) - before
            measure.until(child, telemetry, SENT, known - before + points - filtered)
            cpu = measure.cpu_seconds(child.pid) - startup
            return {
                "bench": "metrics-enrichment-otlp",
                "cpu_s_per_million": round(cpu / (points / 1e6), 3),
                "points_in": known + points,
                "filtered": int(before + filtered),
                "samples_in": samples,
                "pods": len(pods),
                "peak_rss_mb": round(measure.peak_rss_mb(child.pid), 1),
                "startup_cpu_s": round(startup, 2),
                "wall_s": round(time.monotonic() - began, 2),
                "processors": "role" if options.role else options.processors,
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20, help="in each, every pod is scraped once")
    parser.add_argument("--processors", nargs="*", default=["k8sattributes", "filter"])
    parser.add_argument("--role", action="store_true", help="the bundled role, in place of --processors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hawse-bench-") as name:
        work = Path(name)
        spool = work / "spool"
        try:
            with measure.process(["-m", "bench.sink", str(spool)], {}, work / "sink.log") as sink:
                assert sink.stdout
                url = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
                result = enrichment(url, work, options)
            captured = scrapes.read(spool)
            more = {"points_out": captured.points, "wire_mb": round(captured.size / 1e6, 1)}
            print(json.dumps(result | more), flush=True)
        except measure.Stalled as stalled:
            print(f"bench-metrics-enrichment: {stalled}", file=sys.stderr)
            for log in sorted(work.rglob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
