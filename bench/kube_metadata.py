"""What Kubernetes metadata costs: memory and time for many pods, and CPU per resource enriched.

    python bench/kube_metadata.py [PODS]

Lists PODS (10,000) pods of 6.6 KB from the demo API server, which runs in a process of its own, through the
k8sattributes processor's own path; then enriches each pod's resource once (a miss) and again (a hit). Prints one JSON
line. RSS is that of this whole process, with all pods' attributes made and cached.
"""

import asyncio
import json
import logging
import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Kind, NoLedger
from hawse.kube.settings import Extract, FieldExtract
from hawse.kube.watches import Watches
from hawse.pipeline.telemetry import ComponentMeter, Telemetry
from hawse.processors.k8sattributes import Config, K8sAttributes
from hawse.values import ComponentID, Regex

NAMESPACES = 50


def serve(pipe: Connection, folder: str, pods: int) -> None:
    """The API server's process: fill it, say so, and serve until the pipe closes."""
    from hawse.demo import objects
    from hawse.demo.apiserver import DemoApi

    async def run() -> None:
        async with DemoApi() as api:
            for number in range(NAMESPACES):
                api.put(objects.namespace(f"team-{number}", labels={"team": f"t{number}"}))
            for number in range(pods):
                api.put(_pod(objects, number))
            api.kubeconfig(Path(folder) / "kubeconfig")
            pipe.send("ready")
            await asyncio.to_thread(pipe.poll, None)

    asyncio.run(run())


def _pod(objects: Any, number: int) -> dict[str, Any]:
    namespace, app = f"team-{number % NAMESPACES}", f"app-{number // 10}"
    template = f"{number // 10:010x}"
    made: dict[str, Any] = objects.pod(
        namespace,
        _name(number),
        ips=(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", f"fd00::{number:x}"),
        node=f"node-{number % 200}",
        owners=[objects.owner("ReplicaSet", f"{app}-{template}", namespace)],
        labels={"app": app, "pod-template-hash": template, "app.kubernetes.io/name": app, "tier": "backend"},
        annotations={"checksum/config": f"{number // 10:064x}", "prometheus.io/scrape": "true"},
        containers={"app": f"registry.example.com/{app}:1.4.{number // 10}"},
    )
    return made


def _name(number: int) -> str:
    return f"app-{number // 10}-{number // 10:010x}-{number:05d}"


def _resource(number: int, stream: str) -> bytes:
    """What filelog knows of a container, encoded."""
    return Resource.of(
        {
            "k8s.namespace.name": f"team-{number % NAMESPACES}",
            "k8s.pod.name": _name(number),
            "k8s.container.name": "app",
            "k8s.container.restart_count": "0",
            "log.iostream": stream,
        }
    ).raw  # type: ignore[return-value]


class _Context:
    id = ComponentID("k8sattributes")
    log = logging.LoggerAdapter(logging.getLogger("bench"))
    ledger = NoLedger()

    def __init__(self) -> None:
        self.meter = ComponentMeter(Telemetry(), {Kind.PROCESSOR.value: "k8sattributes"})
        self._watches = Watches()

    def shared(self, _kind: type) -> Any:
        return self._watches


class _Sink:
    attributes = 0

    async def consume(self, batch: Batch) -> None:
        self.attributes = len(batch.groups[-1].resource.attributes)


def _peak_rss_mb() -> float:
    # Not getrusage: its figure outlives exec, and so may be that of a large parent.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


async def measure(kubeconfig: str, pods: int) -> dict[str, float]:
    labels = tuple(FieldExtract(key_regex=Regex.parse("(.*)"), from_=kind) for kind in ("pod", "namespace"))
    config = Config(auth_type="kubeConfig", kube_config_path=kubeconfig, extract=Extract(labels=labels))
    sink, before = _Sink(), _rss_mb()
    processor = K8sAttributes(config, _Context(), sink)  # type: ignore[arg-type]
    wall, cpu = time.perf_counter(), time.process_time()
    await processor.start()
    await processor._watch.wait_synced()
    figures = {"pods": len(processor._watch.pods), "rss_before_mb": before, "rss_listed_mb": _rss_mb()}
    figures |= {"list_wall_s": time.perf_counter() - wall, "list_cpu_s": time.process_time() - cpu}
    raws = [_resource(number, stream) for number in range(pods) for stream in ("stdout", "stderr")]
    figures["miss_us"] = await _enrich(processor, raws)
    few = raws[:3000]
    await _enrich(processor, few)
    figures["hit_us"] = min([await _enrich(processor, few) for _ in range(5)])
    figures["rss_mb"] = _rss_mb()
    figures["peak_rss_mb"] = _peak_rss_mb()
    figures["attributes"] = sink.attributes
    await processor.stop()
    return figures


async def _enrich(processor: K8sAttributes, raws: list[bytes]) -> float:
    """CPU microseconds a group, in batches of 100, decoded anew as from the wire."""
    batches = [
        Batch(Signal.LOGS, [Group(Resource(bytes(bytearray(raw))), (b"",), 1) for raw in raws[at : at + 100]])
        for at in range(0, len(raws), 100)
    ]
    began = time.process_time()
    for batch in batches:
        await processor.consume(batch)
    return (time.process_time() - began) / len(raws) * 1e6


def main() -> None:
    pods = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = get_context("spawn").Pipe()
        server = get_context("spawn").Process(target=serve, args=(theirs, folder, pods))
        server.start()
        ours.recv()
        figures = asyncio.run(measure(f"{folder}/kubeconfig", pods))
        ours.send("done")
        server.join()
    print(json.dumps({"bench": "kube_metadata"} | {key: round(value, 2) for key, value in figures.items()}))


if __name__ == "__main__":
    main()
