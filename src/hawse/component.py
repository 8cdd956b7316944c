"""The contract between Hawse and its components, whole.

A component is one file: its `Config`, its `needs(config)`, its class, its `factory`. It knows the consumer after it
and nothing else of the pipeline. The service makes components from the last to the first, calls `start()` in that
order (exporters first, receivers last), and `stop()` in the reverse order, so whatever a component hands on while it
drains still finds a consumer.
"""

import enum
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from hawse.batch import Batch, Group, Signal
from hawse.values import ComponentID, ExtensionID

T = TypeVar("T")


# --- What flows, and how it is answered -------------------------------------------------------------------------


class Consumer(Protocol):
    """Whatever takes batches: the next processor, an exporter, a fan-out."""

    async def consume(self, batch: Batch) -> None:
        """Return when the batch is safe: a backend said 2xx, or a durable queue has committed it.

        Raises `Busy` (not taken, or not known to be: the caller keeps the batch and tries again) or `Refused`
        (never to be taken). A cancelled call leaves the batch with the caller, like Busy. The buffers of the batch
        belong to the caller again once the call ends.
        """


class Busy(Exception):
    """Not now. The caller keeps the batch and tries again, after `retry_after` seconds where that is not None."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Refused(Exception):
    """Never. The batch is lost if the caller has no better idea; it is counted and `reason` logged (sampled).

    `code` is what it is counted under: short, and one of few (`http_400`).
    """

    def __init__(self, reason: str, code: str = "refused") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.counted = False  # whether the ledger has it; for the pipeline


class TooLarge(Refused):
    """Never in this size: parts of it may be taken (HTTP's 413)."""


class Request(msgspec.Struct, array_like=True):
    """What an exporter sends at once, as it goes over the wire: what a durable queue keeps, and what is tried again.

    `headers` and `resource` are the exporter's own, and must tell all that sending needs beside the configuration,
    which may be another one when the request comes back from disk. Requests of the same `lane` are sent in order,
    lanes side by side.
    """

    signal: Signal
    items: int
    body: bytes
    headers: dict[str, str] = {}
    lane: int = 0
    resource: bytes = b""


# --- What a component may touch -----------------------------------------------------------------------------------


class Listens(msgspec.Struct, frozen=True, tag="listens"):
    """Takes connections (or datagrams: `protocol` "udp") on a port. `host` is the address bound to."""

    port: int
    protocol: str  # "tcp" | "udp"
    purpose: str
    host: str = "0.0.0.0"


class Connects(msgspec.Struct, frozen=True, tag="connects"):
    """Opens connections to a host (name or address) and port.

    Where only discovery finds out whom, `host` is "" and `port` 0: any.
    """

    host: str
    port: int
    protocol: str  # "tcp" | "udp"
    purpose: str


class Reads(msgspec.Struct, frozen=True, tag="reads"):
    """Reads files: an absolute path, which may hold the wildcards of `include`."""

    path: str
    purpose: str = ""


class Writes(msgspec.Struct, frozen=True, tag="writes"):
    """Creates and writes files below a folder, or one file."""

    path: str
    purpose: str = ""


class Calls(msgspec.Struct, frozen=True, tag="calls"):
    """Calls the Kubernetes API. `scope` is "cluster" or a namespace's name; "" in `api_group` is the core group.

    `names` are the only objects that are asked for (`resourceNames` of a role); () for any.
    """

    api_group: str
    resource: str
    verbs: tuple[str, ...]
    scope: str = "cluster"
    purpose: str = ""
    names: tuple[str, ...] = ()


class RunsAs(msgspec.Struct, frozen=True, tag="runs_as"):
    """Needs a user or groups (numbers), None where any will do."""

    uid: int | None = None
    gid: int | None = None
    supplementary_groups: tuple[int, ...] = ()
    purpose: str = ""


class Capability(msgspec.Struct, frozen=True, tag="capability"):
    """Needs a Linux capability, named as Kubernetes does (`DAC_READ_SEARCH`)."""

    name: str
    purpose: str = ""


Need: TypeAlias = Listens | Connects | Reads | Writes | Calls | RunsAs | Capability


# --- What the user writes -------------------------------------------------------------------------------------------


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a configuration. `path` is relative to the component (`include[0]`)."""

    path: str
    message: str
    fix: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys that a component understands, with their defaults. Unknown keys are errors.

    Subclass it with `frozen=True`. Fields use plain types, nested structs (subclass `Section`), and the types of
    `hawse.values`. A docstring on the class and `Annotated[..., Meta(description=...)]` on fields become reference
    documentation.
    """

    def problems(self) -> Iterator[Problem]:
        """What the types can't express: static, no network, no disk. Nested sections are asked too."""
        yield from ()


class Section(Config, frozen=True):
    """A block of keys inside a component's configuration."""


class Empty(Config, frozen=True):
    """For components without settings."""


# --- What a component is given ----------------------------------------------------------------------------------------


class Counter(Protocol):
    """A monotonic sum."""

    def add(self, amount: float, **attributes: str) -> None:
        """Add `amount` (≥ 0) to the series of these attributes."""


class Meter(Protocol):
    """Self-metrics of one component. Names as OpenTelemetry gives them, without `otelcol_` where they are ours."""

    def counter(self, name: str, description: str, unit: str = "1") -> Counter:
        """The counter of this name; the component's id is added as an attribute (`receiver`, `exporter`, …)."""

    def gauge(self, name: str, description: str, read: Callable[[], float], **attributes: str) -> None:
        """Register a value that is read at scrape time."""


class Ledger(Protocol):
    """Where a component says what became of groups that it does not hand on. What it hands on is counted for it.

    Call it while the batch's `consume` runs; what is said there counts only if that call returns or raises Refused.
    After Busy the batch comes again, and so does what is to be said of it. `filtered` is what the user asked for,
    `refused` and `dropped` are losses: data that can't be taken, data there was no room or time for. `rule` and
    `reason` are few and short, and come from the configuration or the code, never from the data.
    """

    def filtered(self, group: Group, rule: str) -> None:
        """A rule of the configuration, named as it is written there, keeps the group out."""

    def refused(self, group: Group, reason: str) -> None:
        """The group will never be taken. A component that raises Refused for all of a batch need not call this."""

    def dropped(self, group: Group, reason: str) -> None:
        """The group was given up (`queue_full`, `expired`)."""


class NoLedger:
    """A Ledger that keeps nothing: for tests and tools that make a component by themselves."""

    def filtered(self, group: Group, rule: str) -> None:
        """See Ledger."""

    def refused(self, group: Group, reason: str) -> None:
        """See Ledger."""

    def dropped(self, group: Group, reason: str) -> None:
        """See Ledger."""


class Context(Protocol):
    """What the service lends a component for its lifetime."""

    id: ComponentID
    log: logging.LoggerAdapter[logging.Logger]
    meter: Meter
    ledger: Ledger

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task under the service's TaskGroup. If it raises, the service stops and says so.

        It is cancelled when the component's `stop()` has returned, if it still runs then.
        """

    def extension(self, id: ExtensionID, kind: type[T]) -> T:  # noqa: A002
        """The running extension of that id, which must be of class (or protocol) `kind`."""

    def shared(self, kind: type[T]) -> T:
        """The process's one instance of `kind`, made by `kind()` on first use (HTTP listeners, Kubernetes watches).

        If it has `async def close()`, it is awaited when the service stops.
        """


# --- What a component does ----------------------------------------------------------------------------------------


class Component:
    """Start and stop.

    `start()` acquires what the component needs, and returns once it works; it raises HawseError, which says what is
    wrong and how to mend it. What can come back by itself (a backend, the API server) is no reason to fail.
    `stop()` drains: it returns when nothing accepted is left unanswered, or is cancelled at the service's deadline.
    `stop()` may be called without `start()`, and after a failed one.
    """

    async def start(self) -> None:
        """Begin to work."""

    async def stop(self) -> None:
        """Drain and end."""


class Receiver(Component):
    """Takes or fetches telemetry. `outputs` has a consumer for each signal that the receiver is used for."""

    def __init__(self, config: Any, context: Context, outputs: Mapping[Signal, Consumer]) -> None: ...


class Processor(Component):
    """Changes, drops or holds what passes. One instance per pipeline."""

    def __init__(self, config: Any, context: Context, output: Consumer) -> None: ...

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        raise NotImplementedError


class Exporter(Component):
    """Hands telemetry to a backend. One instance per process, for all pipelines and signals that name it."""

    def __init__(self, config: Any, context: Context) -> None: ...

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        raise NotImplementedError


class RequestExporter(Exporter):
    """An exporter that sends requests, which are made once however often they are tried, and kept as they are sent.

    The pipeline queues them, tries them again, splits what is too large and finds what is at fault in what is refused
    (`sending_queue`, `retry_on_failure`); the exporter only knows one attempt.
    """

    async def warm(self, batch: Batch) -> None:
        """Awaited before `prepare`: do what would take long there, and give others their turn meanwhile.

        Batches must come out of it in the order in which they went in. Raises nothing; `prepare` does, where need be.
        """

    def prepare(self, batch: Batch) -> list[Request]:
        """The requests that a batch makes, owning their bytes. Raises Refused where it can't be encoded."""
        raise NotImplementedError

    async def send(self, request: Request) -> None:
        """One attempt. Raises Busy, TooLarge or Refused."""
        raise NotImplementedError

    def split(self, request: Request, *, by_group: bool) -> list[Request]:
        """Two or more requests that together are this one; [] if it can't be split (`by_group`: between groups)."""
        raise NotImplementedError

    def restore(self, request: Request) -> Batch:
        """What is inside a request. Raises WireError where it is not what `prepare` makes."""
        raise NotImplementedError

    async def consume(self, batch: Batch) -> None:
        """See Consumer. One attempt; the pipeline uses the methods above."""
        for request in self.prepare(batch):
            await self.send(request)


class Routes(Protocol):
    """What a connector that chooses between the pipelines behind it (`by_pipeline`) is given as `outputs`.

    Its Config names them by fields of `values.PipelineID`.
    """

    async def deliver(self, parts: Sequence[tuple[Batch, Sequence[str]]]) -> None:
        """Hand parts of a batch to pipelines, each to all that are named beside it. Answers for all of them.

        Names of pipelines of another signal than the batch's are passed over. Where some have taken their part and
        others are busy, only those are tried again, here. Raises as `Consumer.consume`: Busy only if nothing was taken.
        """


class Connector(Component):
    """An exporter at the end of some pipelines and a receiver at the start of others.

    `outputs` is a consumer for each signal, which may be several pipelines at once; with `by_pipeline`, Routes.
    """

    def __init__(self, config: Any, context: Context, outputs: Any) -> None: ...

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        raise NotImplementedError


class Extension(Component):
    """Serves the process or other components (storage, health)."""

    def __init__(self, config: Any, context: Context) -> None: ...


# --- How it is made -------------------------------------------------------------------------------------------------


class Kind(enum.StrEnum):
    """The sections of a configuration."""

    RECEIVER = "receiver"
    PROCESSOR = "processor"
    EXPORTER = "exporter"
    CONNECTOR = "connector"
    EXTENSION = "extension"


class Stability(enum.StrEnum):
    """As OpenTelemetry grades it."""

    DEVELOPMENT = "development"
    ALPHA = "alpha"
    BETA = "beta"
    STABLE = "stable"


ALL_SIGNALS = frozenset(Signal)
C = TypeVar("C", bound=Config)


class Factory(Generic[C]):
    """Everything that the rest of Hawse knows of a component."""

    kind: Kind

    def __init__(
        self,
        type: str,  # noqa: A002
        config: type[C],
        create: type[Component],
        *,
        needs: Callable[[C], Iterator[Need]],
        signals: set[Signal] | frozenset[Signal] = ALL_SIGNALS,
        stability: Stability = Stability.ALPHA,
    ) -> None:
        self.type = type
        self.config = config
        self.create = create
        self.needs = needs
        self.signals = frozenset(signals)
        self.stability = stability


class ReceiverFactory(Factory[C]):
    """Makes a Receiver."""

    kind = Kind.RECEIVER


class ProcessorFactory(Factory[C]):
    """Makes a Processor."""

    kind = Kind.PROCESSOR


class ExporterFactory(Factory[C]):
    """Makes an Exporter."""

    kind = Kind.EXPORTER


class ConnectorFactory(Factory[C]):
    """Makes a Connector. `converts` says what comes out of what: pairs of signals, each to itself if not given.

    `by_pipeline`: it is given Routes, and says what goes to which pipeline.
    """

    kind = Kind.CONNECTOR

    def __init__(
        self,
        type: str,  # noqa: A002
        config: type[C],
        create: type[Component],
        *,
        needs: Callable[[C], Iterator[Need]],
        signals: set[Signal] | frozenset[Signal] = ALL_SIGNALS,
        stability: Stability = Stability.ALPHA,
        converts: frozenset[tuple[Signal, Signal]] | None = None,
        by_pipeline: bool = False,
    ) -> None:
        super().__init__(type, config, create, needs=needs, signals=signals, stability=stability)
        self.converts = frozenset((signal, signal) for signal in self.signals) if converts is None else converts
        self.by_pipeline = by_pipeline


class ExtensionFactory(Factory[C]):
    """Makes an Extension. `works_alone`: a service with it may have no pipelines."""

    kind = Kind.EXTENSION

    def __init__(
        self,
        type: str,  # noqa: A002
        config: type[C],
        create: type[Component],
        *,
        needs: Callable[[C], Iterator[Need]],
        signals: set[Signal] | frozenset[Signal] = ALL_SIGNALS,
        stability: Stability = Stability.ALPHA,
        works_alone: bool = False,
    ) -> None:
        super().__init__(type, config, create, needs=needs, signals=signals, stability=stability)
        self.works_alone = works_alone


def no_needs(config: Config) -> Iterator[Need]:  # noqa: ARG001
    """For components that touch nothing outside the process."""
    yield from ()
