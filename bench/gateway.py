"""`make bench-gateway`: what enriching a million spans, log records and data points costs, by gRPC and by HTTP.

A closed loop of clients sends 1,000-item requests of 100 pods, uncompressed, to the role of the signal (traces,
logs-enrichment, metrics-enrichment) as it is bundled, with its queue on disk, whose backend is an OTLP/HTTP sink that
takes gzip. One JSON line a signal and protocol: `cpu_s_per_million` (CPU-seconds of the role's process for 10^6 items,
without start-up and a first round), `items_per_s`, `peak_rss_mb`, `items`, `bytes_per_item` as they come in,
`requests_per_cpu_s` with requests of 1 KB. All that was sent has arrived at the sink before the clock stops.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench import measure, otlp_requests, write_requests
from hawse.batch import Signal

_SMALL = {Signal.TRACES: 2, Signal.LOGS: 5, Signal.METRICS: 6}  # items of a request of 1 KB
_ROLES = {Signal.TRACES: "traces", Signal.LOGS: "logs-enrichment", Signal.METRICS: "metrics-enrichment"}
_DIFFERENT = 200  # requests that are sent over and over


class Ports(NamedTuple):
    """Where the role listens."""

    telemetry: int
    grpc: int
    http: int


def _environment(signal: Signal, work: Path, sink: str, ports: Ports) -> dict[str, str]:
    chosen = {
        "KUBECONFIG": str(work / "kubeconfig"),
        "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
        "HAWSE_BACKEND_ENDPOINT": sink,
        "HAWSE_STATE": str(work / "state"),
        "HAWSE_OTLP_HOST": "127.0.0.1",
        "HAWSE_TELEMETRY_HOST": "127.0.0.1",
        "HAWSE_TELEMETRY_PORT": str(ports.telemetry),
        "HAWSE_HEALTH_HOST": "127.0.0.1",
        "HAWSE_HEALTH_PORT": "0",
        "HAWSE_REMOTE_WRITE_HOST": "127.0.0.1",
        "HAWSE_REMOTE_WRITE_PORT": "0",
        "HAWSE_TRACES_RECEIVERS": "[otlp]",
        "HAWSE_OTLP_GRPC_PORT": str(ports.grpc),
        "HAWSE_OTLP_HTTP_PORT": str(ports.http),
    }
    # logs-enrichment has its self-metrics on the port of its receiver.
    return {**chosen, "HAWSE_OTLP_PORT": str(ports.telemetry if signal is Signal.LOGS else ports.http)}


def _program(signal: Signal, ports: Ports) -> list[str]:
    grpc = f"yaml:receivers::otlp::protocols::grpc::endpoint: 127.0.0.1:{ports.grpc}"
    return ["-m", "hawse", "run", "--no-watch", "--role", _ROLES[signal], "--config", grpc]


def _send(protocol: str, signal: Signal, port: int, spool: Path, requests: int) -> None:
    argv = [sys.executable, "-m", "bench.gateway_client", protocol, signal.value, str(port), str(spool), str(requests)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=600)


def _load(
    child: measure.Process, signal: Signal, protocol: str, ports: Ports, spool: Path, items: int, requests: int
) -> tuple[float, float]:
    """CPU-seconds and seconds for so many requests, once each of the spool has gone through."""
    sent = f"otelcol_exporter_sent_{signal.items}_total"
    port = ports.grpc if protocol == "grpc" else ports.telemetry if signal is Signal.LOGS else ports.http
    before = measure.metric(ports.telemetry, sent) or 0
    _send(protocol, signal, port, spool, _DIFFERENT)
    measure.until(child, ports.telemetry, sent, before := before + _DIFFERENT * items)
    cpu, began = measure.cpu_seconds(child.pid), time.monotonic()
    _send(protocol, signal, port, spool, requests)
    measure.until(child, ports.telemetry, sent, before + requests * items)
    return measure.cpu_seconds(child.pid) - cpu, time.monotonic() - began


def gateway(signal: Signal, protocol: str, sink: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    pods = write_requests.pods(options.pods * write_requests.OF_A_POD)
    large, small = work / "large.spool", work / "small.spool"
    size = otlp_requests.write(large, signal, pods, _DIFFERENT)
    otlp_requests.write(small, signal, pods, _DIFFERENT, _SMALL[signal])
    for pod in pods:
        (work / "pods" / f"{pod.namespace}_{pod.name}_{pod.uid}").mkdir(parents=True)
    ports = Ports(*(measure.free_port() for _ in Ports._fields))
    kubeconfig = str(work / "kubeconfig")
    with measure.process(["-m", "bench.cluster", str(work / "pods"), kubeconfig], {}, work / "cluster.log") as api:
        assert api.stdout
        api.stdout.readline()
        environ = _environment(signal, work, sink, ports)
        with measure.process(_program(signal, ports), environ, work / "role.log") as child:
            measure.until(child, ports.telemetry, f"otelcol_exporter_sent_{signal.items}_total", 0)
            items = otlp_requests.ITEMS
            cpu, wall = _load(child, signal, protocol, ports, large, items, options.requests)
            result = {
                "bench": "gateway",
                "signal": signal.value,
                "protocol": protocol,
                "cpu_s_per_million": round(cpu / (options.requests * items / 1e6), 3),
                "items_per_s": round(options.requests * items / wall),
                "peak_rss_mb": round(measure.peak_rss_mb(child.pid), 1),
                "items": options.requests * items,
                "bytes_per_item": round(size / _DIFFERENT / items),
            }
            if options.small:
                cpu, wall = _load(child, signal, protocol, ports, small, _SMALL[signal], options.small)
                result["requests_per_cpu_s"] = round(options.small / cpu)
            return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--signals", nargs="*", type=Signal, default=list(_ROLES))
    parser.add_argument("--protocols", nargs="*", choices=("grpc", "http"), default=["grpc", "http"])
    parser.add_argument("--requests", type=int, default=2000, help="of 1,000 items")
    parser.add_argument("--small", type=int, default=3000, help="requests of 1 KB")
    parser.add_argument("--pods", type=int, default=100)
    options = parser.parse_args()
    for signal in options.signals:
        for protocol in options.protocols:
            with tempfile.TemporaryDirectory(prefix="hawse-bench-") as name:
                work = Path(name)
                try:
                    with measure.process(["-m", "bench.sink", "/dev/null"], {}, work / "sink.log") as sink:
                        assert sink.stdout
                        url = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
                        print(json.dumps(gateway(signal, protocol, url, work, options)), flush=True)
                except (measure.Stalled, subprocess.SubprocessError) as problem:
                    print(f"bench-gateway: {problem}", file=sys.stderr)
                    for log in sorted(work.rglob("*.log")):
                        print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
                    return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
