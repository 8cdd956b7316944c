"""Sampling strategies: Jaeger's file (jaegertracing.io/docs, "Sampling") and what clients are answered from it."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Kind = Literal["probabilistic", "ratelimiting"]
PROBABILISTIC, RATE_LIMITING = 0, 1  # SamplingStrategyType
_DEFAULT_RATE = 0.001  # what Jaeger samples where nobody says
_KINDS = ("PROBABILISTIC", "RATE_LIMITING")


class Operation(msgspec.Struct):
    """How much of an operation's traces are sampled."""

    operation: str
    param: Annotated[float, Meta(ge=0, le=1)]
    type: Kind = "probabilistic"


class Default(msgspec.Struct):
    """How much is sampled of a service: a share, or traces per second."""

    param: Annotated[float, Meta(ge=0)] = _DEFAULT_RATE
    type: Kind = "probabilistic"
    operation_strategies: list[Operation] = []

    def __post_init__(self) -> None:
        if self.type == "probabilistic" and self.param > 1:
            raise ValueError(f"a probabilistic `param` of {self.param:g} is above 1")
        if self.type == "ratelimiting" and self.param > 32767:
            raise ValueError(f"a ratelimiting `param` of {self.param:g} is above 32767, the most clients understand")
        for one in self.operation_strategies:
            if one.type != "probabilistic":
                raise ValueError(f"operation {one.operation!r} is {one.type}: operations can only be probabilistic")


class Service(Default, kw_only=True):
    """The same for one service."""

    service: str


class File(msgspec.Struct):
    """A file of strategies. What it says beyond this is ignored, as Jaeger does."""

    service_strategies: list[Service] = []
    default_strategy: Default = msgspec.field(default_factory=Default)

    def __post_init__(self) -> None:
        names = [one.service for one in self.service_strategies]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(names) < 10_000 else []
        if twice:
            raise ValueError(f"service {twice[0]!r} is there twice")


class Operations(msgspec.Struct):
    """PerOperationSamplingStrategies: a share for each operation that has one of its own, and for all others."""

    default: float
    own: dict[str, float]


class Strategy(msgspec.Struct):
    """SamplingStrategyResponse: what a client is to do."""

    kind: int
    rate: float  # share, or traces per second
    operations: Operations | None = None


class Strategies:
    """What a file says, by service."""

    def __init__(self, file: File | None = None) -> None:
        file = file or File()
        self.default = _strategy(file.default_strategy)
        self.services = dict(self._merged(file.service_strategies))

    def of(self, service: str) -> Strategy:
        """The service's own, or the default."""
        return self.services.get(service, self.default)

    def _merged(self, services: list[Service]) -> Iterator[tuple[str, Strategy]]:
        """Operations of the default strategy are those of all services, which may have their own beside and before."""
        common = self.default.operations
        for one in services:
            strategy = _strategy(one)
            if common is not None and strategy.operations is not None:
                strategy.operations.own = {**common.own, **strategy.operations.own}
            elif common is not None:
                rate = strategy.rate if strategy.kind == PROBABILISTIC else common.default
                strategy.operations = Operations(rate, common.own)
            yield one.service, strategy


def parse(data: bytes) -> Strategies:
    """Read a file. Raises ValueError that says where and what."""
    return Strategies(msgspec.json.decode(data, type=File))


def _strategy(told: Default) -> Strategy:
    kind = PROBABILISTIC if told.type == "probabilistic" else RATE_LIMITING
    strategy = Strategy(kind, told.param if kind == PROBABILISTIC else int(told.param))
    if told.operation_strategies:
        rate = told.param if kind == PROBABILISTIC else _DEFAULT_RATE
        strategy.operations = Operations(rate, {one.operation: one.param for one in told.operation_strategies})
    return strategy


# --- as clients read it ---------------------------------------------------------------------------------------------


def as_json(strategy: Strategy, *, legacy: bool = False) -> bytes:
    """The answer over HTTP. `legacy` has the kind as a number, as Thrift 0.9.2 wrote it."""
    kind: int | str = strategy.kind if legacy else _KINDS[strategy.kind]
    answer: dict[str, Any] = {"strategyType": kind}
    if strategy.kind == PROBABILISTIC:
        answer["probabilisticSampling"] = {"samplingRate": strategy.rate}
    else:
        answer["rateLimitingSampling"] = {"maxTracesPerSecond": int(strategy.rate)}
    if strategy.operations is not None:
        answer["operationSampling"] = {
            "defaultSamplingProbability": strategy.operations.default,
            "defaultLowerBoundTracesPerSecond": 0,
            "perOperationStrategies": [
                {"operation": name, "probabilisticSampling": {"samplingRate": rate}}
                for name, rate in strategy.operations.own.items()
            ],
        }
    return msgspec.json.encode(answer)
