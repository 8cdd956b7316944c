"""The `service` section, with the OpenTelemetry Collector's names; `plugins` and `drain_timeout` are Hawse's own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from hawse.component import Problem, Section
from hawse.values import ByteSize, ComponentID, Duration, ExtensionID


class Pipeline(Section, frozen=True):
    """A way that one signal takes: from receivers through processors, in order, to exporters."""

    receivers: Annotated[tuple[ComponentID, ...], Meta(min_length=1, description="Receivers or connectors.")]
    exporters: Annotated[tuple[ComponentID, ...], Meta(min_length=1, description="Exporters or connectors.")]
    processors: Annotated[tuple[ComponentID, ...], Meta(description="Processors, in the order of passage.")] = ()


class Sampling(Section, frozen=True):
    """Limits what one repeated message may write: per tick the first few, then one in so many."""

    enabled: Annotated[bool, Meta(description="Whether repetitions are sampled at all.")] = True
    tick: Annotated[Duration, Meta(description="The span of time that is counted over.", gt=0)] = Duration(10)
    initial: Annotated[int, Meta(description="How many of a kind are written in each tick.", ge=0)] = 10
    thereafter: Annotated[int, Meta(description="Of those after that, one in this many is written.", ge=0)] = 100


class Logs(Section, frozen=True):
    """What the program itself writes to standard error."""

    level: Annotated[
        Literal["debug", "info", "warn", "error", "DEBUG", "INFO", "WARN", "ERROR"],
        Meta(description="The least severity that is written."),
    ] = "info"
    encoding: Annotated[Literal["console", "json"], Meta(description="Lines for people, or JSON objects.")] = "console"
    initial_fields: Annotated[dict[str, Any], Meta(description="Fields that every line carries.")] = field(
        default_factory=dict
    )
    sampling: Annotated[Sampling, Meta(description="Limits repetition.")] = Sampling()


class Prometheus(Section, frozen=True):
    """Where self-metrics are served, as `GET /metrics`."""

    host: Annotated[str, Meta(description="The address to listen on.")] = "localhost"
    port: Annotated[int, Meta(ge=0, le=65535, description="The TCP port; 0 for any free one.")] = 8888
    without_type_suffix: Annotated[bool, Meta(description="Leaves `_total` off the names of counters.")] = False
    without_units: Annotated[bool, Meta(description="Leaves `_seconds`, `_bytes` off the names.")] = False
    without_scope_info: Annotated[bool, Meta(description="Scope labels are never written; `false` is refused.")] = True

    def problems(self) -> Iterator[Problem]:
        if not self.without_scope_info:
            yield Problem("without_scope_info", "scope labels are not supported", "remove the key, or set it to true")


class PullExporter(Section, frozen=True):
    """How a pull reader exports."""

    prometheus: Annotated[Prometheus, Meta(description="Prometheus text, pulled over HTTP.")]


class Pull(Section, frozen=True):
    """A reader that is asked for metrics."""

    exporter: Annotated[PullExporter, Meta(description="How metrics are exported.")]


class Reader(Section, frozen=True):
    """One way to read self-metrics."""

    pull: Annotated[Pull, Meta(description="Metrics are asked for.")]


class Metrics(Section, frozen=True):
    """Self-metrics. Nothing is served unless an address or a reader says where."""

    level: Annotated[
        Literal["none", "basic", "normal", "detailed"], Meta(description='"none" serves nothing; the others are alike.')
    ] = "normal"
    address: Annotated[str, Meta(description="host:port to serve `GET /metrics` on: short for a reader.")] = ""
    readers: Annotated[tuple[Reader, ...], Meta(description="Where metrics are served.")] = ()

    def problems(self) -> Iterator[Problem]:
        port = self.address.rpartition(":")[2]
        if self.address and not (port.isdigit() and int(port) < 65536 and ":" in self.address):
            yield Problem("address", f'"{self.address}" is no host:port', 'write "0.0.0.0:8888"')
        if self.address and self.readers:
            yield Problem("address", "both address and readers are given", "keep one of them")

    @property
    def served(self) -> tuple[Prometheus, ...]:
        """All places where metrics are to be served."""
        if self.level == "none":
            return ()
        if self.address:
            host, _, port = self.address.rpartition(":")
            return (Prometheus(host=host.strip("[]") or "0.0.0.0", port=int(port)),)
        return tuple(reader.pull.exporter.prometheus for reader in self.readers)


class Telemetry(Section, frozen=True):
    """What the program says of itself."""

    logs: Annotated[Logs, Meta(description="The program's own log.")] = Logs()
    metrics: Annotated[Metrics, Meta(description="Self-metrics.")] = Metrics()
    resource: Annotated[
        dict[str, str | None],
        Meta(description="Attributes of this process in `target_info`; null takes a default one out."),
    ] = field(default_factory=dict)


class Service(Section, frozen=True):
    """What runs, and how."""

    pipelines: Annotated[
        dict[str, Pipeline],
        Meta(description="Pipelines by `signal` or `signal/name`. None only beside an extension that works by itself."),
    ] = field(default_factory=dict)
    extensions: Annotated[tuple[ExtensionID, ...], Meta(description="Extensions to run, in this order.")] = ()
    telemetry: Annotated[Telemetry, Meta(description="The program's own logs and metrics.")] = Telemetry()
    plugins: Annotated[
        tuple[str, ...], Meta(description="Names of installed entry points (`hawse.receivers`, …) to load.")
    ] = ()
    drain_timeout: Annotated[
        Duration,
        Meta(description="How long a stop may take to hand on what was accepted; below the pod's grace period.", ge=0),
    ] = Duration(25)
    memory_limit: Annotated[
        ByteSize,
        Meta(
            description="Memory of the whole process, of which half of what exceeds 64 MiB may be telemetry in flight. "
            "0: that of its cgroup, 512 MiB without one."
        ),
    ] = ByteSize(0)
