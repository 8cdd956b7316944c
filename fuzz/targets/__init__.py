"""What is fuzzed: by name, the module here that has it."""

from collections.abc import Callable, Iterable, Sequence

MODULES = {
    "otlp_logs": "otlp",
    "otlp_metrics": "otlp",
    "otlp_traces": "otlp",
    "otlp_json_logs": "otlp",
    "otlp_json_metrics": "otlp",
    "otlp_json_traces": "otlp",
    "otlp_records": "otlp",
    "otlp_answer": "otlp",
    "otlp_changed": "otlp_changed",
    "ottl": "otlp_changed",
    "samplers": "samplers",
    "log_samplers": "samplers",
    "trace_state": "samplers",
    "remote_write_1": "remote_write",
    "remote_write_2": "remote_write",
    "jaeger_compact": "jaeger",
    "jaeger_binary": "jaeger",
    "jaeger_proto": "jaeger",
    "zipkin_json_v2": "zipkin",
    "zipkin_json_v1": "zipkin",
    "zipkin_proto_v2": "zipkin",
    "zipkin_thrift_v1": "zipkin",
    "opencensus": "zipkin",
    "opencensus_json": "zipkin",
    "container_log": "container_log",
    "compression": "compression",
    "http_server": "http_server",
    "http2_server": "http2",
    "grpc_client": "grpc_client",
    "http_client": "http_client",
    "http_source": "http_source",
    "selectors": "http_source",
    "kube_watch": "kube",
    "kube_list": "kube",
    "kubeconfig": "kube",
    "configuration": "configuration",
    "series": "series",
    "exposition": "exposition",
    "targets": "discovery",
    "relabelling": "discovery",
    "kube_objects": "discovery",
    "allocator_jobs": "assignments",
    "allocator_targets": "assignments",
    "inflate": "assignments",
    "monitors": "monitors",
    "questions": "monitors",
}


class Target:
    """`run` takes any bytes, and raises only where something is wrong with the program."""

    def __init__(
        self,
        name: str,
        run: Callable[[bytes], None],
        seeds: Callable[[], Iterable[bytes]],
        tokens: Sequence[bytes] = (),
        longest: int = 4096,
    ) -> None:
        self.name = name
        self.run = run
        self.seeds = seeds
        self.tokens = tokens
        self.longest = longest


def table(*targets: Target) -> dict[str, Target]:
    """By name."""
    return {target.name: target for target in targets}
