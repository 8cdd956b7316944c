"""Tiny components to build graphs of."""

import asyncio
from typing import Annotated

import pytest
from msgspec import Meta

from hawse import component
from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Calls, Config, Connects, Listens, Problem, no_needs
from hawse.diagnostics import HawseError
from hawse.pipeline.check import check
from hawse.pipeline.telemetry import Telemetry
from hawse.values import ExtensionID


def batch(items=3, signal=Signal.LOGS):
    scope = b"\x12" + bytes([2 * items]) + b"\x12\x00" * items
    return Batch(signal, [Group(Resource.of({"a": "b"}), (scope,), items)])


class Any(Config, frozen=True):
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    host: str = ""
    fail: str = ""
    slow: float = 0
    storage: ExtensionID | None = None
    calls: bool = False

    def problems(self):
        if self.port == 13:
            yield Problem("port", "is unlucky", "take another")


def needs(config):
    if config.port:
        yield Listens(config.port, "tcp", "a port")
    if config.host:
        yield Connects(config.host, 4318, "tcp", "a peer")
    if config.calls:
        yield Calls("", "pods", ("list", "watch"))


class World:
    """What the components of one test do and did."""

    def __init__(self):
        self.made = {}
        self.events = []
        self.answers = {}  # exporter id → list of what to raise (None: take it), then it takes all
        self.taken = {}

    def note(self, what, context):
        self.events.append(f"{what} {context.id}")


def components(world):
    class Life:
        def __init__(self, config, context, outputs=None):
            self.config, self.context, self.outputs = config, context, outputs
            world.made[str(context.id)] = self
            if config.fail == "make":
                raise ValueError("can't be made")

        async def start(self):
            world.note("start", self.context)
            if self.config.fail == "start":
                raise HawseError.of("HW999", "does not start", fix="mend it")
            if self.config.fail == "bug":
                raise KeyError("oops")
            if self.config.fail == "task":
                self.context.spawn(self._die(), "dying")
            if self.config.fail == "hang":
                await asyncio.sleep(60)
            if self.config.storage:
                self.store = self.context.extension(self.config.storage, Box)

        async def _die(self):
            await asyncio.sleep(0.05)
            raise RuntimeError("died of a bug")

        async def stop(self):
            world.note("stop", self.context)
            await asyncio.sleep(self.config.slow)
            world.note("stopped", self.context)

    class Feed(Life, component.Receiver):
        """Feeds what a test gives it."""

        async def send(self, one=None):
            one = one or batch()
            await self.outputs[one.signal].consume(one)

    class Pass(Life, component.Processor):
        """Passes on."""

        async def consume(self, one):
            await self.outputs.consume(one)

    class Drop(Life, component.Processor):
        """Drops all."""

        async def consume(self, one):
            pass

    class Sink(Life, component.Exporter):
        """Keeps what it gets."""

        async def consume(self, one):
            answers = world.answers.get(str(self.context.id), [])
            answer = answers.pop(0) if answers else None
            if isinstance(answer, float):
                await asyncio.sleep(answer)
            elif answer is not None:
                raise answer
            world.taken.setdefault(str(self.context.id), []).append(one)

    class Joint(Life, component.Connector):
        """Joins pipelines."""

        async def consume(self, one):
            await self.outputs[one.signal].consume(one)

    class Count(Life, component.Connector):
        """Makes metrics of logs."""

        async def consume(self, one):
            await self.outputs[Signal.METRICS].consume(batch(1, Signal.METRICS))

    class Box(Life, component.Extension):
        """An extension."""

    made = [
        component.ReceiverFactory("feed", Any, Feed, needs=needs),
        component.ReceiverFactory("logfeed", Any, Feed, needs=needs, signals={Signal.LOGS}),
        component.ProcessorFactory("pass", Any, Pass, needs=no_needs),
        component.ProcessorFactory("drop", Any, Drop, needs=no_needs),
        component.ExporterFactory("sink", Any, Sink, needs=needs),
        component.ConnectorFactory("joint", Any, Joint, needs=no_needs),
        component.ConnectorFactory(
            "count", Any, Count, needs=no_needs, converts=frozenset({(Signal.LOGS, Signal.METRICS)})
        ),
        component.ExtensionFactory("box", Any, Box, needs=no_needs),
    ]
    return {(factory.kind, factory.type): factory for factory in made}


class Factories:
    def __init__(self, world):
        self._made = components(world)

    def types(self, kind):
        return sorted(type_ for one, type_ in self._made if one is kind)

    def factory(self, kind, type_):
        return self._made.get((kind, type_))


class Tiny:
    """A world and configurations in it."""

    def __init__(self, tmp_path):
        self.world = World()
        self.factories = Factories(self.world)
        self.file = tmp_path / "config.yaml"
        self.telemetry = Telemetry()

    def check(self, text=None, overrides=(), environ=None):
        if text is not None:
            self.file.write_text(text)
        return check([str(self.file)], lambda _: self.factories, overrides=overrides, environ=environ or {})

    def graph(self, text):
        return self.check(text).required()

    def findings(self, text):
        """Code, place and message of all findings."""
        return [str(finding).replace(f"{self.file}:", "") for finding in self.check(text).findings]


@pytest.fixture
def tiny(tmp_path):
    return Tiny(tmp_path)


@pytest.fixture
def make_batch():
    return batch
