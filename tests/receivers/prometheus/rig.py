"""A receiver between targets that do as they are told and a consumer that remembers."""

import asyncio
import logging
import struct
from collections import defaultdict
from contextlib import asynccontextmanager

import yaml

from hawse.batch import Signal
from hawse.codecs.prometheus_series import series
from hawse.component import ComponentID, NoLedger
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.net.budget import Budget
from hawse.receivers.prometheus import Config, Prometheus

STALE = 0x7FF0000000000002
SELF = frozenset(
    {
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    }
)


class Meter:
    """Counters by name, and by name and reason."""

    def __init__(self):
        self.sums = defaultdict(float)
        self.gauges = {}

    def counter(self, name, description, unit="1"):
        meter = self

        class Counter:
            def add(self, amount, **attributes):
                meter.sums[name] += amount
                for value in attributes.values():
                    meter.sums[name, value] += amount

        return Counter()

    def gauge(self, name, description, read, **attributes):
        self.gauges[name, *attributes.values()] = read


class Context:
    """A component's, with its tasks in the test's own loop; `failed` has what a task raised."""

    def __init__(self):
        self.id = ComponentID("prometheus")
        self.meter = Meter()
        self.ledger = NoLedger()
        self.log = logging.LoggerAdapter(logging.getLogger("test.prometheus"), {})
        self.failed = []
        self._tasks = set()
        self._shared = {Budget: Budget(512 << 20)}

    def spawn(self, coroutine, name):
        task = asyncio.ensure_future(self._guarded(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, coroutine):
        try:
            await coroutine
        except Exception as error:
            self.failed.append(error)
            raise

    def shared(self, kind):
        return self._shared.setdefault(kind, None) or self._made(kind)

    def _made(self, kind):
        self._shared[kind] = kind()
        return self._shared[kind]

    async def close(self):
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._shared.values():
            if hasattr(one, "close"):
                await one.close()


class Point:
    """A sample: its labels (name and job among them), its value (None for a stale marker), ms."""

    def __init__(self, labels, value, at):
        self.labels = labels
        self.name = labels["__name__"]
        bits = int.from_bytes(struct.pack(">d", value), "big")
        self.value = None if bits == STALE else value
        self.at = at

    def __repr__(self):
        return f"{self.name}{ {k: v for k, v in self.labels.items() if k != '__name__'} } {self.value} @{self.at}"


class Sink:
    """Takes batches, or raises what `answers` has next. `scrapes` has the points of each batch taken."""

    def __init__(self):
        self.answers = []
        self.scrapes = []
        self.resources = []
        self.calls = 0
        self._news = asyncio.Event()

    async def consume(self, batch):
        self.calls += 1
        if self.answers:
            answer = self.answers.pop(0)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer is not None:
                raise answer
        assert batch.signal is Signal.METRICS
        points = [Point(dict(labels), value, at) for labels, value, at in series(batch)]
        assert batch.items
        self.scrapes.append(points)
        self.resources.append([dict(group.resource.attributes) for group in batch.groups])
        self._news.set()

    def of(self, name, **labels):
        """All values of a series, oldest first."""
        return [
            point.value
            for scrape in self.scrapes
            for point in scrape
            if point.name == name and labels.items() <= point.labels.items()
        ]

    async def until(self, condition, seconds=8.0):
        """Wait until the condition holds for what was taken."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self._news.wait()
                except TimeoutError:
                    pass


class Target:
    """An HTTP server. `answer` is a body, bytes of a whole answer, or a coroutine function (reader, writer, head)."""

    def __init__(self):
        self.answer = "a 1\n"
        self.status = "200 OK"
        self.kind = "text/plain; version=0.0.4"
        self.heads = []
        self.connections = 0
        self.port = 0
        self._tasks = set()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader, writer):
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                if callable(self.answer):
                    await self.answer(reader, writer, head)
                    continue
                writer.write(self.whole() if isinstance(self.answer, str) else self.answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    def whole(self):
        body = self.answer.encode()
        kind = f"content-type: {self.kind}\r\n" if self.kind else ""
        return f"HTTP/1.1 {self.status}\r\n{kind}content-length: {len(body)}\r\n\r\n".encode() + body

    def header(self, name, number=-1):
        lines = self.heads[number].split("\r\n")
        return next((line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name}: ")), None)

    async def close(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def targets(count=1):
    made = [Target() for _ in range(count)]
    servers = []
    for one in made:
        server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
        one.port = server.sockets[0].getsockname()[1]
        servers.append(server)
    try:
        yield made
    finally:
        for server in servers:
            server.close()
        for one in made:
            await one.close()
        for server in servers:
            await server.wait_closed()


def decoded(settings):
    """The receiver's Config of plain settings, or the findings."""
    findings = []
    loaded = load([f"yaml:{yaml.safe_dump(settings)}"], environ={})
    assert loaded.findings == []
    made = Decoder(findings).struct(loaded.root, Config, "")
    return findings if made is FAILED else made


def scraping(*addresses, interval="100ms", timeout=None, receiver=None, **job):
    """The Config of one job."""
    made = {
        "job_name": "test",
        "scrape_interval": interval,
        "scrape_timeout": timeout or interval,
        "static_configs": [{"targets": list(addresses)}],
        **job,
    }
    found = decoded({**(receiver or {}), "config": {"scrape_configs": [made]}})
    assert isinstance(found, Config), [str(one) for one in found]
    return found


@asynccontextmanager
async def running(config, *, stop=True):
    """A receiver that runs: itself, its sink, its context."""
    context, sink = Context(), Sink()
    receiver = Prometheus(config, context, {Signal.METRICS: sink})
    receiver.sink, receiver.context = sink, context
    try:
        await receiver.start()
        yield receiver
    finally:
        try:
            if stop:
                async with asyncio.timeout(5):
                    await receiver.stop()
        finally:
            await context.close()
        assert not context.failed, context.failed


def loop_of(receiver, address, job="test"):
    (found,) = [
        loop for loop in receiver.manager.pools[job].loops.values() if loop.subject.target.url.address == address
    ]
    return found
