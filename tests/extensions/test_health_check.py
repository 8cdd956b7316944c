"""health_check over HTTP, with components that do as they are told."""

import asyncio
import http.client
import json
import os
import re
import sqlite3

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import (
    Busy,
    Config,
    Exporter,
    ExporterFactory,
    Kind,
    Processor,
    ProcessorFactory,
    Receiver,
    ReceiverFactory,
    no_needs,
)
from hawse.diagnostics import HawseError
from hawse.net.budget import Budget
from hawse.net.retry import RetryConfig
from hawse.pipeline.check import check
from hawse.pipeline.needs import needs
from hawse.pipeline.running import running
from hawse.registry import Registry
from hawse.state.settings import QueueConfig
from hawse.values import Duration


def batch(items=1):
    return Batch(Signal.LOGS, [Group(Resource.of({"k8s.pod.name": "web"}), (b"\x12\x02\x12\x00",), items)])


class SinkConfig(Config, frozen=True):
    sending_queue: QueueConfig = QueueConfig(enabled=False)
    retry_on_failure: RetryConfig = RetryConfig(initial_interval=Duration(0.02), max_interval=Duration(0.05))


class Parts:
    """Built-in components, and three that a test plays with."""

    def __init__(self):
        parts = self
        self.down, self.hangs, self.keeps, self.slow_start = "", asyncio.Event(), False, 0.0
        self.hangs.set()

        class Feed(Receiver):
            def __init__(self, config, context, outputs):
                parts.feed = outputs[Signal.LOGS]

            async def start(self):
                await asyncio.sleep(parts.slow_start)

        class Keep(Processor):
            def __init__(self, config, context, output):
                self.output = output

            async def consume(self, one):
                while parts.keeps:
                    await asyncio.sleep(0.01)
                await self.output.consume(one)

        class Sink(Exporter):
            async def consume(self, one):
                await parts.hangs.wait()
                if parts.down:
                    raise Busy(parts.down)

        self.made = {
            (Kind.RECEIVER, "feed"): ReceiverFactory("feed", Config, Feed, needs=no_needs),
            (Kind.PROCESSOR, "keep"): ProcessorFactory("keep", Config, Keep, needs=no_needs),
            (Kind.EXPORTER, "sink"): ExporterFactory("sink", SinkConfig, Sink, needs=no_needs),
        }

    def types(self, kind):
        return sorted(type_ for one, type_ in self.made if one is kind)

    def factory(self, kind, type_):
        return self.made.get((kind, type_)) or Registry().factory(kind, type_)


TEXT = """
receivers: {feed: }
processors: {keep: }
exporters: {sink: %(sink)s}
extensions: {health_check: {endpoint: "127.0.0.1:0", stuck_after: 200ms %(more)s}, file_storage: {directory: %(tmp)s/s}}
service:
  extensions: [health_check, file_storage]
  pipelines: {logs: {receivers: [feed], processors: [keep], exporters: [sink]}}
"""


class Process:
    def __init__(self, parts, it):
        self.parts, self.it = parts, it
        self.port = it.components["extension:health_check"].port

    async def get(self, path="/", accept="*/*", method="GET"):
        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request(method, path, headers={"Accept": accept})
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
            kind = response.headers["content-type"]
            return response.status, json.loads(text) if text and "json" in kind else text

        return await asyncio.to_thread(ask)

    async def condition(self, component, path="/"):
        status, answer = await self.get(path)
        return status, next(one for one in answer["components"] if one["component"] == component)

    async def until(self, path, status, within=5):
        deadline = asyncio.get_running_loop().time() + within
        while (found := await self.get(path))[0] != status:
            assert asyncio.get_running_loop().time() < deadline, found
            await asyncio.sleep(0.02)
        return found[1]


def run(tmp_path, step, sink="", more="", parts=None):
    async def main():
        made = parts or Parts()
        text = TEXT % {"tmp": tmp_path, "sink": sink, "more": more}
        (tmp_path / "config.yaml").write_text(text)
        graph = check([str(tmp_path / "config.yaml")], lambda _: made, environ={}).required()
        async with running(graph) as it:
            await step(Process(made, it))

    asyncio.run(main())


def test_alive_and_ready(tmp_path):
    async def step(process):
        status, live = await process.get()
        assert (status, live["status"], live["live"]) == (200, "Server available", True)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", live["upSince"])
        assert re.fullmatch(r"\d+\.\d{3}s", live["uptime"])
        assert {one["component"]: one["state"] for one in live["components"]} == {
            "processors.keep": "ok",
            "exporters.sink": "ok",
        }
        status, ready = await process.get("/ready")
        assert (status, ready["ready"]) == (200, True)
        assert {"service.memory_limit", "extensions.file_storage", "exporters.sink"} == {
            one["component"] for one in ready["components"]
        }
        assert (await process.get("/other"))[0] == 404
        assert await process.get(method="HEAD") == (200, "")

    run(tmp_path, step)


def test_people_get_text(tmp_path):
    async def step(process):
        for path, accept in (("/?format=text", "*/*"), ("/", "text/html,*/*"), ("/", "text/plain")):
            status, text = await process.get(path, accept)
            assert status == 200
            assert text.splitlines()[0] == "live"
            assert re.search(r"^  exporters.sink is ok since 2\S+Z$", text, re.M)
        assert isinstance((await process.get("/?format=json", "text/plain"))[1], dict)

    run(tmp_path, step)


def test_a_destination_that_is_down_is_alive_and_says_so(tmp_path):
    async def step(process):
        process.parts.down = "connection refused"
        sending = asyncio.create_task(process.parts.feed.consume(batch()))
        await asyncio.sleep(0.6)  # three times stuck_after
        status, one = await process.condition("exporters.sink")
        assert (status, one["state"], one["reason"]) == (200, "waiting", "connection refused")
        assert (await process.get("/ready"))[0] == 200
        process.parts.down = ""
        await sending
        assert (await process.condition("exporters.sink"))[1]["state"] == "ok"

    run(tmp_path, step)


@pytest.mark.parametrize(
    ("what", "component", "reason"),
    [
        ("keeps", "processors.keep", "1 batches were not handed on for"),
        ("hangs", "exporters.sink", "an attempt got neither an answer nor an error for"),
    ],
)
def test_who_is_stuck_is_named(tmp_path, caplog, what, component, reason):
    async def step(process):
        if what == "keeps":
            process.parts.keeps = True
        else:
            process.parts.hangs.clear()
        sending = asyncio.create_task(process.parts.feed.consume(batch()))
        answer = await process.until("/", 503)
        assert answer["status"] == "Server not available"
        stuck = {one["component"]: one["reason"] for one in answer["components"] if one["state"] == "stuck"}
        assert list(stuck) == [component]
        assert stuck[component].startswith(reason)
        await asyncio.sleep(1.2)  # the log tells it, too
        process.parts.keeps = False
        process.parts.hangs.set()
        await sending
        assert (await process.get())[0] == 200
        await asyncio.sleep(1.2)

    run(tmp_path, step)
    assert f"{component} is stuck: {reason}" in caplog.text
    assert caplog.text.count("is stuck") == 1


def test_a_full_queue_is_not_ready_and_alive(tmp_path):
    queue = "{sending_queue: {storage: file_storage, queue_size: 2, num_consumers: 1}}"

    async def step(process):
        process.parts.down = "connection refused"
        for _ in range(2):
            await process.parts.feed.consume(batch())
        with pytest.raises(Busy, match="full"):
            await process.parts.feed.consume(batch())
        status, one = await process.condition("exporters.sink", "/ready")
        assert (status, one["state"]) == (503, "not ready")
        assert "the sending queue is full (queue_size): 2 of 2 requests" in one["reason"]
        await asyncio.sleep(0.5)
        status, one = await process.condition("exporters.sink")
        assert (status, one["state"]) == (200, "waiting")
        process.parts.down = ""
        await process.until("/ready", 200)

    run(tmp_path, step, sink=queue)


def test_a_disk_that_does_not_take_state_is_not_ready_until_it_does(tmp_path):
    def full(_):
        raise sqlite3.OperationalError("database or disk is full")

    async def step(process):
        storage = process.it.components["extension:file_storage"]
        detach = storage.attach(full)
        with pytest.raises(OSError, match="full"):
            storage.keyspace("a").put({"k": b"v"})
        for _ in range(2):
            status, one = await process.condition("extensions.file_storage", "/ready")
            assert (status, one["state"]) == (503, "not ready")
            assert "state.db: database or disk is full" in one["reason"]
        detach()  # nobody writes, and it is found out all the same
        assert (await process.get("/ready"))[0] == 200

    run(tmp_path, step)


def test_a_disk_with_nothing_left(tmp_path, monkeypatch):
    real = os.statvfs

    def little(path):
        found = list(real(path))
        found[4] = (1 << 20) // found[1]  # f_bavail, in units of f_frsize
        return os.statvfs_result(found)

    async def step(process):
        monkeypatch.setattr(os, "statvfs", little)
        status, one = await process.condition("extensions.file_storage", "/ready")
        assert status == 503
        assert one["reason"] == f"{tmp_path}/s has 1024 KiB left"

    run(tmp_path, step)


def test_memory_used_up_for_a_while_is_not_ready(tmp_path):
    async def step(process):
        budget = process.it.shared(Budget)
        budget.charge(budget.limit + 1)
        memory = process.it.components["extension:health_check"]._memory
        for _ in range(4):
            memory.look()
        assert (await process.get("/ready"))[0] == 200  # back-pressure, as under any full load
        for _ in range(2):
            memory.look()
        status, one = await process.condition("service.memory_limit", "/ready")
        assert status == 503
        assert re.fullmatch(r"data in flight takes \d+ of \d+ KiB", one["reason"])
        assert (await process.get())[0] == 200
        budget.release(budget.limit + 1)
        memory.look()
        assert (await process.get("/ready"))[0] == 200

    run(tmp_path, step)


def test_it_answers_while_others_start(tmp_path):
    parts = None
    answers = []

    async def main():
        nonlocal parts
        parts = Parts()
        parts.slow_start = 0.5
        text = TEXT % {"tmp": tmp_path, "sink": "", "more": ""}
        (tmp_path / "config.yaml").write_text(text)
        graph = check([str(tmp_path / "config.yaml")], lambda _: parts, environ={}).required()
        async with asyncio.TaskGroup() as tasks:
            from hawse.pipeline.running import Running
            from hawse.pipeline.telemetry import Telemetry

            it = Running(graph, Telemetry(), tasks, lambda findings: answers.append(findings))
            starting = tasks.create_task(it.start())
            await asyncio.sleep(0.1)
            process = Process(parts, it)
            status, answer = await process.get("/ready")
            answers.append((status, answer["components"][0]["reason"], (await process.get())[0]))
            await asyncio.sleep(0.25)
            answers.append((await process.get())[1]["components"][-1]["reason"][:26])
            await starting
            answers.append((await process.get("/ready"))[0])
            await it.stop(5)

    asyncio.run(main())
    assert answers == [(503, "receivers.feed is being started", 200), "it has been starting for 0", 200]


def test_keys_of_opentelemetry(tmp_path):
    async def step(process):
        assert await process.get("/health/status") == (200, "fine")
        assert (await process.get("/"))[0] == 404
        process.parts.keeps = True
        sending = asyncio.create_task(process.parts.feed.consume(batch()))
        assert await process.until("/health/status", 503) == "broken"
        process.parts.keeps = False
        await sending

    more = ", path: /health/status, response_body: {healthy: fine, unhealthy: broken}"
    run(tmp_path, step, more=f"{more}, check_collector_pipeline: {{enabled: false, interval: 5m}}")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (", path: live", "'live' is no path"),
        (", ready_path: /", "the same as path"),
        (", check_collector_pipeline: {enabled: true}", "no reason to restart"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, keys, message):
    with pytest.raises(HawseError, match=message):
        run(tmp_path, None, more=keys)


def test_never_is_no_time(tmp_path):
    (tmp_path / "config.yaml").write_text(TEXT.replace("200ms", "0") % {"tmp": tmp_path, "sink": "", "more": ""})
    (error,) = check([str(tmp_path / "config.yaml")], lambda _: Parts(), environ={}).errors
    assert "extensions.health_check.stuck_after: must be more than 0" in str(error)


def test_needs():
    for role in ("logs-collector", "logs-enrichment"):
        from hawse.cli.options import role_file

        found = needs(check([role_file(role)], Registry, environ={}).required())
        assert [
            (stated.need.host, stated.need.port, stated.by)
            for stated in found
            if getattr(stated.need, "purpose", "") == "health"
        ] == [("0.0.0.0", 13133, ("extensions.health_check",))]
