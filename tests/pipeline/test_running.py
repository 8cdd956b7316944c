"""Graphs that run."""

import asyncio
import socket
import urllib.request

import pytest

from hawse.batch import Signal
from hawse.component import Busy, Refused
from hawse.diagnostics import HawseError
from hawse.pipeline.running import running

TWO = """
receivers: {feed: }
processors: {pass: , drop: }
exporters: {sink/a: , sink/b: }
service:
  pipelines:
    logs: {receivers: [feed], processors: [pass], exporters: [sink/a, sink/b]}
    traces: {receivers: [feed], exporters: [sink/a]}
"""


def run(tiny, text, body=None, **options):
    async def whole():
        async with running(tiny.graph(text), tiny.telemetry, **options) as made:
            if body:
                await body(made)

    asyncio.run(whole())
    return tiny.world.events


def test_order_of_life(tiny):
    text = """
receivers: {feed: }
processors: {pass: }
connectors: {joint: }
exporters: {sink: {storage: box}}
extensions: {box: }
service:
  extensions: [box]
  pipelines:
    logs/a: {receivers: [feed], exporters: [joint]}
    logs/b: {receivers: [joint], processors: [pass], exporters: [sink]}
"""
    events = run(tiny, text)
    starts = [event for event in events if event.startswith("start ")]
    stops = [event for event in events if event.startswith("stop ")]
    assert starts == ["start box", "start sink", "start pass", "start joint", "start feed"]
    assert stops == ["stop feed", "stop joint", "stop pass", "stop sink", "stop box"]
    assert tiny.world.made["sink"].store is tiny.world.made["box"]


def test_batches_flow_and_are_counted(tiny, make_batch):
    async def body(made):
        await tiny.world.made["feed"].send(make_batch(3))
        await tiny.world.made["feed"].send(make_batch(2, Signal.TRACES))

    run(tiny, TWO, body)
    assert [one.items for one in tiny.world.taken["sink/a"]] == [3, 2]
    assert [one.items for one in tiny.world.taken["sink/b"]] == [3]
    value = tiny.telemetry.value
    assert value("receiver_accepted_log_records", receiver="feed") == 3
    assert value("receiver_accepted_spans", receiver="feed") == 2
    assert value("exporter_sent_log_records", exporter="sink/a") == 3
    assert value("exporter_sent_log_records") == 6
    assert value("exporter_sent_spans", exporter="sink/a") == 2
    assert value("processor_incoming_items", processor="pass", otel_signal="logs") == 3
    assert value("processor_outgoing_items", processor="pass") == 3
    text = tiny.telemetry.render()
    assert 'otelcol_receiver_accepted_log_records_total{receiver="feed"} 3' in text
    assert 'otelcol_receiver_refused_log_records_total{receiver="feed"} 0' in text
    assert 'otelcol_exporter_send_failed_log_records_total{exporter="sink/a"} 0' in text
    assert 'otelcol_processor_incoming_items_total{otel_signal="logs",processor="pass"} 3' in text


def test_what_is_dropped_does_not_come_out(tiny, make_batch):
    async def body(made):
        await tiny.world.made["feed"].send(make_batch(3))

    run(tiny, TWO.replace("[pass]", "[drop]"), body)
    assert tiny.telemetry.value("processor_incoming_items") == 3
    assert tiny.telemetry.value("processor_outgoing_items") == 0
    assert tiny.telemetry.value("receiver_accepted_log_records") == 3


def test_answers_come_back_and_are_counted(tiny, make_batch, caplog):
    text = TWO.replace("[sink/a, sink/b]", "[sink/a]")

    async def body(made):
        feed = tiny.world.made["feed"]
        tiny.world.answers["sink/a"] = [Busy("full", 3.0), Refused("bad")]
        with pytest.raises(Busy) as answer:
            await feed.send(make_batch(3))
        assert answer.value.retry_after == 3.0
        with pytest.raises(Refused):
            await feed.send(make_batch(2))
        tiny.world.answers["sink/a"] = [60.0]
        task = asyncio.create_task(feed.send(make_batch(5)))
        await asyncio.sleep(0.01)
        assert tiny.telemetry.value("hawse_receiver_in_flight_log_records") == 5
        assert tiny.telemetry.value("hawse_exporter_in_flight_log_records", exporter="sink/a") == 5
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tiny.telemetry.value("hawse_exporter_in_flight_log_records") == 0

    with caplog.at_level("WARNING", logger="hawse"):
        run(tiny, text, body)
    value = tiny.telemetry.value
    assert (value("hawse_receiver_busy_log_records"), value("receiver_refused_log_records")) == (3, 5)
    assert (value("hawse_exporter_busy_log_records"), value("exporter_send_failed_log_records")) == (3, 2)
    assert (value("receiver_accepted_log_records"), value("exporter_sent_log_records")) == (0, 0)
    assert "log records refused: bad" in caplog.text


@pytest.mark.parametrize(
    ("fail", "code", "part"),
    [
        ("start", "HW999", "does not start; mend it"),
        ("make", "HW131", "could not start: ValueError: can't be made"),
        ("bug", "HW131", "could not start: KeyError: 'oops'"),
    ],
)
def test_a_failed_start_stops_what_was_started(tiny, fail, code, part):
    with pytest.raises(HawseError) as problem:
        run(tiny, TWO.replace("sink/b: ", f"sink/b: {{fail: {fail}}}"))
    (finding,) = problem.value.findings
    assert (finding.code, finding.where.path) == (code, "exporters.sink/b")
    assert part in str(finding)
    assert "start feed" not in tiny.world.events
    assert "stop sink/a" in tiny.world.events
    assert ("stop sink/b" in tiny.world.events) == (fail != "make")


def test_a_task_that_dies_ends_it_all_and_says_so(tiny):
    async def body(made):
        await asyncio.sleep(10)

    with pytest.raises(HawseError) as problem:
        run(tiny, TWO.replace("feed: ", "feed: {fail: task}"), body)
    assert 'its task "dying" died: RuntimeError: died of a bug' in str(problem.value)
    assert "stopped sink/a" in tiny.world.events


def test_tasks_end_with_their_component(tiny):
    ended = []

    async def forever():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def body(made):
        tiny.world.made["feed"].context.spawn(forever(), "forever")
        await asyncio.sleep(0)

    run(tiny, TWO, body)
    assert ended == [True]


def test_the_drain_has_an_end(tiny):
    async def whole():
        async with running(tiny.graph(TWO.replace("feed: ", "feed: {slow: 60}")), tiny.telemetry) as made:
            late = await made.stop(0.1)
        return late

    assert asyncio.run(asyncio.wait_for(whole(), 10)) == ("receivers.feed",)
    assert "stopped feed" not in tiny.world.events
    assert "stopped sink/a" in tiny.world.events


def test_hurry(tiny):
    async def whole():
        async with running(tiny.graph(TWO.replace("feed: ", "feed: {slow: 60}")), tiny.telemetry) as made:
            stop = asyncio.create_task(made.stop(60))
            await asyncio.sleep(0.05)
            made.hurry()
            assert await asyncio.wait_for(stop, 5) == ("receivers.feed",)

    asyncio.run(whole())


def test_what_is_shared_is_one_and_is_closed(tiny):
    class Thing:
        closed = 0

        async def close(self):
            Thing.closed += 1

    async def body(made):
        feed, sink = tiny.world.made["feed"].context, tiny.world.made["sink/a"].context
        assert feed.shared(Thing) is sink.shared(Thing)
        assert Thing.closed == 0

    run(tiny, TWO, body)
    assert Thing.closed == 1


def test_an_extension_of_the_wrong_kind(tiny):
    class Storage:
        pass

    async def body(made):
        with pytest.raises(HawseError, match='"box" is no Storage, which receiver "feed" needs'):
            tiny.world.made["feed"].context.extension("box", Storage)
        with pytest.raises(HawseError, match='"other" does not run'):
            tiny.world.made["feed"].context.extension("other", Storage)

    text = TWO.replace("service:", "extensions: {box: }\nservice:\n  extensions: [box]")
    run(tiny, text, body)


def test_self_metrics_are_served(tiny, make_batch):
    async def body(made):
        await tiny.world.made["feed"].send(make_batch(3))
        url = f"http://127.0.0.1:{made.ports[0]}/metrics"

        def fetch():
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.headers["content-type"], answer.read().decode()

        kind, text = await asyncio.to_thread(fetch)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        sent = tiny.telemetry.value("exporter_sent_log_records", exporter="sink/a")
        assert sent >= 3
        assert f'otelcol_exporter_sent_log_records_total{{exporter="sink/a"}} {sent:g}' in text

    run(tiny, TWO + '  telemetry: {metrics: {address: "127.0.0.1:0"}}\n', body)
    reader = "{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 0}}}}"
    run(tiny, TWO + f"  telemetry: {{metrics: {{readers: [{reader}]}}}}\n", body)


def test_a_port_in_use_is_told(tiny):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HawseError, match=str(port)):
            run(tiny, TWO + f'  telemetry: {{metrics: {{address: "127.0.0.1:{port}"}}}}\n')
    assert "stopped feed" in tiny.world.events
