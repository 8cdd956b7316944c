"""`python -m bench.metrics_enrichment`: what a million samples cost that come by remote write.

Remote write 1.0, snappy, from as many pods as the series allow → k8sattributes → OTLP/HTTP, gzip → a sink. One JSON
line: `cpu_s_per_million` (CPU-seconds of the process per 10^6 samples, without start-up and the first round, in which
the series become known: `startup_cpu_s`), `samples_in`, `points_out` (counted by the sink; one of each sample),
`series`, `wire_mb`, `peak_rss_mb`, `wall_s`.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import measure, replay, scrapes, write_requests

SENT = "otelcol_exporter_sent_metric_points_total"


def configuration(kubeconfig: Path, sink: str, port: int, telemetry: int) -> dict[str, Any]:
    """Pods are found by the labels `namespace` and `pod`, as the receiver has them on the resource."""
    names = ("k8s.namespace.name", "k8s.pod.name")
    by_name = [{"from": "resource_attribute", "name": name} for name in names]
    metadata = ["k8s.pod.uid", "k8s.node.name", "k8s.deployment.name", "k8s.replicaset.name"]
    labels = [{"from": "pod", "key_regex": "(.*)", "tag_name": "pod_labels_$$1"}]
    k8sattributes = {
        "auth_type": "kubeConfig",
        "kube_config_path": str(kubeconfig),
        "pod_association": [{"sources": by_name}],
        "extract": {"metadata": metadata, "labels": labels},
    }
    pipeline = {"receivers": ["prometheusremotewrite"], "processors": ["k8sattributes"], "exporters": ["otlphttp"]}
    return {
        "receivers": {"prometheusremotewrite": {"endpoint": f"127.0.0.1:{port}"}},
        "processors": {"k8sattributes": k8sattributes},
        "exporters": {"otlphttp": {"endpoint": sink, "compression": "gzip"}},
        "service": {
            "pipelines": {"metrics": pipeline},
            "telemetry": {"metrics": {"address": f"127.0.0.1:{telemetry}"}},
        },
    }


def enrichment(sink: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    first, rest = work / "first.spool", work / "rest.spool"
    known = write_requests.write(first, options.series, 1)
    samples = write_requests.write(rest, options.series, options.rounds)
    for pod in write_requests.pods(options.series):
        (work / "pods" / f"{pod.namespace}_{pod.name}_{pod.uid}").mkdir(parents=True)
    kubeconfig = work / "kubeconfig"
    with measure.process(["-m", "bench.cluster", str(work / "pods"), str(kubeconfig)], {}, work / "cluster.log") as api:
        assert api.stdout
        api.stdout.readline()
        port, telemetry = measure.free_port(), measure.free_port()
        file = work / "enrichment.yaml"
        file.write_text(json.dumps(configuration(kubeconfig, sink, port, telemetry)))
        argv = ["-m", "hawse", "run", "--config", str(file), "--no-watch"]
        with measure.process(argv, {}, work / "enrichment.log") as child:
            measure.until(child, telemetry, SENT, 0)
            replay.send(first, port, "/api/v1/write")
            measure.until(child, telemetry, SENT, known)
            startup, began = measure.cpu_seconds(child.pid), time.monotonic()
            replay.send(rest, port, "/api/v1/write")
            measure.until(child, telemetry, SENT, known + samples)
            cpu = measure.cpu_seconds(child.pid) - startup
            return {
                "bench": "metrics-enrichment",
                "cpu_s_per_million": round(cpu / (samples / 1e6), 3),
                "samples_in": known + samples,
                "series": known,
                "peak_rss_mb": round(measure.peak_rss_mb(child.pid), 1),
                "startup_cpu_s": round(startup, 2),
                "wall_s": round(time.monotonic() - began, 2),
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20, help="in each, every series has a sample")
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
            print(f"bench-metrics: {stalled}", file=sys.stderr)
            for log in sorted(work.rglob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
