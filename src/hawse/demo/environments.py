"""What each role of `hawse up` is told by its environment: docs/quickstart.md explains the variables."""

import json
from pathlib import Path

import msgspec

from hawse.demo.apps import JAVA_FIRST_LINE
from hawse.demo.hostlogs import HostLogs
from hawse.demo.processes import Processes
from hawse.demo.senders import PORTS as PROTOCOLS

COLLECTOR = "hawse-up"  # the metrics-collector's id


class Options(msgspec.Struct, frozen=True):
    """What the user asked for. `state` must exist. The demo's workload (`demo`) needs the demo's API server, so it
    is not to be had with a `kubeconfig`. `scrape_interval` is in seconds.
    """

    state: Path
    kubeconfig: str = ""
    demo: bool = True
    host_logs: bool = True
    rate: float = 1.0
    seed: int | None = None
    scrape_interval: float = 2.0


class Environments:
    """By role."""

    def __init__(self, options: Options, processes: Processes, host: HostLogs | None, targets: dict[str, int]) -> None:
        """`targets`: programs of this machine whose metrics are collected, by name, with their ports."""
        self._options = options
        self._processes = processes
        self._host = host
        self._targets = targets

    def of(self, name: str) -> dict[str, str]:
        """The variables of a role, or of the backend."""
        by_role = {
            "logs-enrichment": self._logs_enrichment,
            "logs-collector": self._logs_collector,
            "target-allocator": self._target_allocator,
            "metrics-enrichment": self._metrics_enrichment,
            "metrics-collector": self._metrics_collector,
            "traces": self._traces,
        }
        found = by_role[name]() if name in by_role else {}
        if name in self._processes.health:
            found |= {"HAWSE_HEALTH_HOST": "127.0.0.1", "HAWSE_HEALTH_PORT": str(self._processes.health[name])}
        return found

    @property
    def kubeconfig(self) -> str:
        """Of the API server that is asked."""
        return self._options.kubeconfig or str(self._options.state / "demo" / "kubeconfig")

    def _api_server(self) -> dict[str, str]:
        return {"KUBECONFIG": self.kubeconfig, "HAWSE_KUBE_AUTH_TYPE": "kubeConfig"}

    def _telemetry(self, name: str) -> dict[str, str]:
        return {
            "HAWSE_TELEMETRY_HOST": "127.0.0.1",
            "HAWSE_TELEMETRY_PORT": str(self._processes.ports[name]),
        }

    def _state(self, name: str) -> dict[str, str]:
        return {"HAWSE_STATE": str(self._options.state / name)}

    # --- logs ---------------------------------------------------------------------------------------------------

    def _logs_enrichment(self) -> dict[str, str]:
        return {
            **self._api_server(),
            **self._state("logs-enrichment"),
            "HAWSE_OTLP_HOST": "127.0.0.1",
            "HAWSE_OTLP_PORT": str(self._processes.ports["logs-enrichment"]),
            "HAWSE_BACKEND_ENDPOINT": self._processes.url("backend"),
        }

    def _logs_collector(self) -> dict[str, str]:
        entries = {"type": "recombine", "if": 'attributes["k8s.container.name"] == "orders"'}
        entries |= {"first_line_regex": JAVA_FIRST_LINE}
        operators = [{"type": "container"}, *([entries] if self._options.demo else [])]
        pattern = self._options.state / "demo" / "log" / "containers" / "*.log"
        host = [self._host.pattern] if self._host and self._host.pattern else []
        demo = [str(pattern)] if self._options.demo or not host else []  # where there is nothing, nothing is found
        return {
            **self._telemetry("logs-collector"),
            **self._state("logs-collector"),
            "HAWSE_LOGS_INCLUDE": json.dumps([*demo, *host]),
            "HAWSE_LOGS_START_AT": self._host.start_at if self._host else "beginning",
            "HAWSE_LOGS_OPERATORS": json.dumps(operators),
            "HAWSE_LOGS_FORCE_FLUSH_PERIOD": "1s",
            "HAWSE_LOGS_ENRICHMENT_ENDPOINT": self._processes.url("logs-enrichment"),
        }

    # --- metrics ------------------------------------------------------------------------------------------------

    def _interval(self) -> dict[str, str]:
        interval = f"{round(self._options.scrape_interval * 1000)}ms"
        return {"HAWSE_METRICS_SCRAPE_INTERVAL": interval, "HAWSE_METRICS_SCRAPE_TIMEOUT": interval}

    def _target_allocator(self) -> dict[str, str]:
        return {
            **self._api_server(),
            **self._interval(),
            "HAWSE_ALLOCATOR_HOST": "127.0.0.1",
            "HAWSE_ALLOCATOR_PORT": str(self._processes.ports["target-allocator"]),
            "HAWSE_METRICS_NAMESPACES": '["*"]',
            "HAWSE_METRICS_COLLECTORS": json.dumps([COLLECTOR]),
            # The demo's pods are on this machine, at addresses that no monitor of a real cluster may name.
            "HAWSE_METRICS_ALLOW_LOCAL_ADDRESSES": "true",
        }

    def _metrics_enrichment(self) -> dict[str, str]:
        return {
            **self._api_server(),
            **self._telemetry("metrics-enrichment"),
            **self._state("metrics-enrichment"),
            "HAWSE_OTLP_HOST": "127.0.0.1",
            "HAWSE_OTLP_PORT": str(self._processes.ports["metrics-enrichment/otlp"]),
            "HAWSE_REMOTE_WRITE_HOST": "127.0.0.1",
            "HAWSE_REMOTE_WRITE_PORT": str(self._processes.ports["metrics-enrichment/remote-write"]),
            "HAWSE_BACKEND_ENDPOINT": self._processes.url("backend"),
        }

    def _metrics_collector(self) -> dict[str, str]:
        return {
            **self._telemetry("metrics-collector"),
            **self._interval(),
            "HAWSE_METRICS_ENRICHMENT_ENDPOINT": self._processes.url("metrics-enrichment/otlp"),
            **(self._allocator() if self._options.demo else self._static()),
        }

    def _allocator(self) -> dict[str, str]:
        asked = {"endpoint": self._processes.url("target-allocator"), "collector_id": COLLECTOR, "interval": "1s"}
        return {"HAWSE_METRICS_TARGET_ALLOCATOR": json.dumps({**asked, "http_sd_config": {"refresh_interval": "1s"}})}

    def _static(self) -> dict[str, str]:
        """A real cluster's pods are not scraped unasked: the programs of this machine alone."""
        jobs = [
            {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for name, port in self._targets.items()
        ]
        return {"HAWSE_METRICS_COLLECTOR_SCRAPE_CONFIGS": json.dumps(jobs), "HAWSE_METRICS_TARGET_ALLOCATOR": ""}

    # --- traces -------------------------------------------------------------------------------------------------

    def _traces(self) -> dict[str, str]:
        """Of the role's many ports, those of the four protocols that the demo's services speak."""
        port = {name: str(self._processes.ports[f"traces/{name}"]) for name in PROTOCOLS}
        off = ("HAWSE_JAEGER_GRPC", "HAWSE_JAEGER_HTTP", "HAWSE_JAEGER_BINARY", "HAWSE_JAEGER_SAMPLING")
        return {
            **self._api_server(),
            **self._telemetry("traces"),
            **self._state("traces"),
            **dict.fromkeys(off, ""),
            "HAWSE_TRACES_RECEIVERS": "[otlp, jaeger, zipkin]",
            "HAWSE_OTLP_HOST": "127.0.0.1",
            "HAWSE_OTLP_GRPC_PORT": port["otlp-grpc"],
            "HAWSE_OTLP_HTTP_PORT": port["otlp-http"],
            "HAWSE_JAEGER_HOST": "127.0.0.1",
            "HAWSE_JAEGER_COMPACT_PORT": port["jaeger-compact"],
            "HAWSE_ZIPKIN_HOST": "127.0.0.1",
            "HAWSE_ZIPKIN_PORT": port["zipkin"],
            "HAWSE_BACKEND_ENDPOINT": self._processes.url("backend"),
        }
