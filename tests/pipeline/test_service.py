"""The process: signals, reload, what happens when the new configuration is bad."""

import asyncio
import os
import signal

import pytest

from hawse.diagnostics import HawseError
from hawse.pipeline.service import Service

TEXT = """
receivers: {feed: {slow: %s}}
exporters: {sink: }
service:
  pipelines: {logs: {receivers: [feed], exporters: [sink]}}
  drain_timeout: 20s
"""
GOOD = TEXT % 0


class Runs:
    """Runs a service and lets a test act on it."""

    def __init__(self, tiny, caplog):
        self.tiny = tiny
        self.caplog = caplog
        self.ready = None

    def run(self, body, text=GOOD, **options):
        async def whole():
            self.ready = asyncio.Queue()
            self.tiny.file.write_text(text)
            service = self.service = Service(
                self.tiny.check, started=self.ready.put_nowait, **{"watch": 0.0, **options}
            )
            task = asyncio.create_task(service.run())
            try:
                await body(service, task)
                await asyncio.wait_for(task, 10)
            finally:
                task.cancel()
                await asyncio.wait({task})

        asyncio.run(whole())

    async def started(self):
        return await asyncio.wait_for(self.ready.get(), 5)

    async def said(self, text):
        for _ in range(200):
            if text in self.caplog.text:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{text!r} was not said: {self.caplog.text}")


@pytest.fixture
def runs(tiny, caplog, monkeypatch):
    # The service's own handler writes to stderr; here messages are wanted by caplog.
    monkeypatch.setattr("hawse.pipeline.service.set_up", lambda _: None)
    caplog.set_level("INFO", logger="hawse")
    return Runs(tiny, caplog)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(runs, number):
    async def body(service, task):
        await runs.started()
        os.kill(os.getpid(), number)

    runs.run(body, TEXT % 0.2)
    assert runs.tiny.world.events[-4:] == ["stop feed", "stopped feed", "stop sink", "stopped sink"]
    assert "stopped, everything drained" in runs.caplog.text


def test_a_second_signal_stops_at_once(runs):
    async def body(service, task):
        await runs.started()
        os.kill(os.getpid(), signal.SIGTERM)
        await runs.said("draining")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(asyncio.shield(task), 3)

    runs.run(body, TEXT % 60)
    assert "stopped feed" not in runs.tiny.world.events
    assert "not drained within 20s: receivers.feed" in runs.caplog.text


def test_a_start_that_hangs_can_be_stopped(runs):
    async def body(service, task):
        while "start feed" not in runs.tiny.world.events:
            await asyncio.sleep(0.01)
        service.stop()

    runs.run(body, GOOD.replace("feed: {", "feed: {fail: hang, "))
    assert "stopped sink" in runs.tiny.world.events


def test_a_failed_start_says_where(runs):
    async def body(service, task):
        with pytest.raises(HawseError) as problem:
            await task
        (finding,) = problem.value.findings
        assert (finding.where.line, finding.where.path) == (3, "exporters.sink")

    with pytest.raises(HawseError):
        runs.run(body, GOOD.replace("sink: }", "sink: {fail: start}}"))


def test_a_bad_configuration_does_not_start(runs):
    async def body(service, task):
        with pytest.raises(HawseError, match="HW104"):
            await task

    with pytest.raises(HawseError):
        runs.run(body, GOOD.replace("slow", "slw"))
    assert runs.tiny.world.events == []


def test_a_task_that_dies_ends_the_service(runs):
    async def body(service, task):
        with pytest.raises(HawseError, match='receivers.feed: its task "dying" died'):
            await task

    with pytest.raises(HawseError):
        runs.run(body, GOOD.replace("feed: {", "feed: {fail: task, "))
    assert runs.tiny.world.events[-1] == "stopped sink"


def test_sighup_takes_up_the_new_configuration(runs, make_batch):
    async def body(service, task):
        first = await runs.started()
        await runs.tiny.world.made["feed"].send(make_batch(3))
        runs.tiny.file.write_text(GOOD.replace("sink", "sink/new"))
        os.kill(os.getpid(), signal.SIGHUP)
        second = await runs.started()
        assert second is not first
        await runs.tiny.world.made["feed"].send(make_batch(2))
        service.stop()

    runs.run(body)
    events = runs.tiny.world.events
    assert events.index("stopped sink") < events.index("start sink/new")
    assert "the new configuration runs" in runs.caplog.text
    # Counters of the process go on.
    assert runs.service.telemetry.value("receiver_accepted_log_records") == 5


def test_a_bad_new_configuration_changes_nothing(runs):
    async def body(service, task):
        await runs.started()
        runs.tiny.file.write_text(GOOD.replace("slow", "slw"))
        service.reload()
        await runs.said("running on with the old one")
        assert 'unknown key "slw"; did you mean "slow"?' in runs.caplog.text
        assert "stop feed" not in runs.tiny.world.events
        runs.tiny.file.write_text(GOOD.replace("slow: 0", "slow: 0.01"))
        service.reload()
        await runs.started()
        service.stop()

    runs.run(body)


def test_a_new_configuration_that_does_not_start_is_taken_back(runs, make_batch):
    async def body(service, task):
        await runs.started()
        runs.tiny.file.write_text(GOOD.replace("sink: }", "sink: {fail: start}}"))
        service.reload()
        await runs.started()
        assert "did not start; starting the old one again" in runs.caplog.text
        assert "does not start; mend it" in runs.caplog.text
        await runs.tiny.world.made["feed"].send(make_batch(2))
        service.stop()

    runs.run(body)
    assert runs.service.telemetry.value("exporter_sent_log_records") == 2


def test_a_changed_file_is_noticed(runs):
    async def body(service, task):
        await runs.started()
        runs.tiny.file.write_text(GOOD.replace("sink", "sink/new"))
        await runs.started()
        await asyncio.sleep(0.2)
        assert runs.ready.empty()  # once
        service.stop()

    runs.run(body, watch=0.05)
    assert "start sink/new" in runs.tiny.world.events


def test_a_broken_file_that_is_mended_is_noticed(runs):
    async def body(service, task):
        await runs.started()
        runs.tiny.file.write_text("a: [")
        await runs.said("not valid YAML")
        runs.tiny.file.write_text(GOOD.replace("sink", "sink/new"))
        await runs.started()
        service.stop()

    runs.run(body, watch=0.05)


def test_cancelled_from_outside_it_still_stops_its_components(runs):
    async def body(service, task):
        await runs.started()
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        runs.run(body, signals=False)
    assert "stopped sink" in runs.tiny.world.events
