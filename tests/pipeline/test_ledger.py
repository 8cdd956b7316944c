"""The ledger adds up, whatever components answer."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse import component
from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, ComponentID, Config, Kind, Refused, no_needs
from hawse.pipeline import fanout
from hawse.pipeline.edges import copied, from_receiver, into, out_of, to_exporter
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.ledger.passage import current, outside
from hawse.pipeline.ledger.report import report
from hawse.pipeline.logs import ComponentLog
from hawse.pipeline.running import running
from hawse.pipeline.telemetry import Telemetry


def pod(name, container="app", namespace="shop"):
    return {"k8s.namespace.name": namespace, "k8s.pod.name": name, "k8s.container.name": container}


def batch(*named, signal=Signal.LOGS):
    """A batch of (attributes, items) groups."""
    return Batch(signal, [Group(Resource.of(attributes), (b"",), items) for attributes, items in named])


def shape(line):
    """The columns of a line that are not zero."""
    columns = ("received", "copied", "produced", "delivered", "consumed", "filtered", "refused", "dropped")
    return {
        name: value for name in (*columns, "in_flight", "repeated", "unaccounted") if (value := getattr(line, name))
    }


def drawn(ledger):
    found = report(ledger, sources=True)
    assert found.quiet
    return found


def totals(ledger, signal=Signal.LOGS):
    return next(shape(line) for line in drawn(ledger).totals if line.signal is signal)


def by_source(ledger):
    return {line.source: shape(line) for line in drawn(ledger).sources}


@pytest.fixture
def run(tiny):
    """Run a graph, let the test send, and return the telemetry's ledger."""

    def run(text, *steps):
        async def main():
            async with running(tiny.graph(text), tiny.telemetry) as it:
                for step in steps:
                    result = step(it)
                    if asyncio.iscoroutine(result):
                        await result

        asyncio.run(main())
        return tiny.telemetry.ledger

    run.world = tiny.world
    run.factories = tiny.factories
    return run


def send(one, expect=None):
    async def step(it):
        feed = it.components["receiver:feed"]
        if expect is None:
            await feed.send(one)
        else:
            with pytest.raises(expect):
                await feed.send(one)

    return step


PLAIN = """
receivers: {feed: }
processors: {pass: , drop: }
exporters: {sink: , sink/2: }
service: {pipelines: {logs: {receivers: [feed], processors: [pass], exporters: [sink]}}}
"""
TWO = PLAIN.replace("exporters: [sink]", "exporters: [sink, sink/2]")


def test_delivered_by_source(run):
    one = batch((pod("web"), 3), (pod("db"), 4), (pod("web", "proxy"), 5), ({"service.name": "cart"}, 6), ({}, 7))
    ledger = run(PLAIN, send(one), send(one))
    assert totals(ledger) == {"received": 50, "delivered": 50}
    assert by_source(ledger) == {
        source: {"received": 2 * items, "delivered": 2 * items}
        for source, items in (("shop/web/app", 3), ("shop/db/app", 4), ("shop/web/proxy", 5), ("cart", 6), ("", 7))
    }
    lines = {(line.kind, line.component): shape(line) for line in drawn(ledger).components}
    assert lines == {("receiver", "feed"): {"received": 50}, ("exporter", "sink"): {"delivered": 50}}


def test_busy_counts_once_however_often_it_is_tried(run):
    run.world.answers["sink"] = [Busy("later"), Busy("later"), None]
    one = batch((pod("web"), 3))
    ledger = run(PLAIN, send(one, Busy), send(one, Busy), send(one))
    assert totals(ledger) == {"received": 3, "delivered": 3}


def test_refused_with_its_code(run):
    run.world.answers["sink"] = [Refused("http://b answered 400: no", "http_400"), None]
    ledger = run(PLAIN, send(batch((pod("web"), 3)), Refused), send(batch((pod("web"), 2))))
    assert totals(ledger) == {"received": 5, "delivered": 2, "refused": 3}
    (sink,) = [line for line in drawn(ledger).components if line.component == "sink"]
    assert sink.reasons == {"refused": {"http_400": 3}}
    assert drawn(ledger).balanced
    assert drawn(ledger).lost == 3


def test_what_a_component_loses_silently_shows(run):
    ledger = run(PLAIN.replace("[pass]", "[pass, drop]"), send(batch((pod("web"), 3))))
    assert totals(ledger) == {"received": 3, "unaccounted": 3}
    assert by_source(ledger) == {"shop/web/app": {"received": 3, "unaccounted": 3}}
    assert not drawn(ledger).balanced
    assert drawn(ledger).lost == 3


def test_a_processor_that_refuses_by_itself(run):
    class Judge(component.Processor):
        def __init__(self, config, context, output): ...

        async def consume(self, one):
            raise Refused("no", "malformed")

    run.factories._made[Kind.PROCESSOR, "judge"] = component.ProcessorFactory("judge", Config, Judge, needs=no_needs)
    text = PLAIN.replace("pass: ,", "pass: , judge: ,").replace("[pass]", "[pass, judge]")
    ledger = run(text, send(batch((pod("web"), 3)), Refused))
    assert totals(ledger) == {"received": 3, "refused": 3}
    lines = {line.component: line.reasons for line in drawn(ledger).components if line.reasons}
    assert lines == {"judge": {"refused": {"malformed": 3}}}


def filtering(factories, **answers):
    """A processor that keeps out pods whose name begins with "x", and renames others where asked to."""

    class Filter(component.Processor):
        def __init__(self, config, context, output):
            self.context, self.output = context, output

        async def consume(self, one):
            kept = []
            for group in one.groups:
                if str(group.resource.attributes.get("k8s.pod.name", "")).startswith("x"):
                    self.context.ledger.filtered(group, "exclude.pod")
                else:
                    kept.append(group.with_resource(group.resource.replaced(answers.get("set"))))
            if kept:
                await self.output.consume(one.with_groups(kept))

    factories._made[Kind.PROCESSOR, "filter"] = component.ProcessorFactory("filter", Config, Filter, needs=no_needs)
    return PLAIN.replace("pass: ,", "filter: ,").replace("[pass]", "[filter]")


def test_filtered_by_rule_once_even_if_the_rest_is_busy(run):
    text = filtering(run.factories)
    run.world.answers["sink"] = [Busy("later"), None, Refused("no")]
    one = batch((pod("x1"), 5), (pod("web"), 3))
    ledger = run(text, send(one, Busy), send(one), send(one, Refused), send(batch((pod("x2"), 1))))
    assert totals(ledger) == {"received": 17, "delivered": 3, "refused": 3, "filtered": 11}
    assert by_source(ledger)["shop/x1/app"] == {"received": 10, "filtered": 10}
    (line,) = [line for line in drawn(ledger).components if line.component == "filter"]
    assert line.reasons == {"filtered": {"exclude.pod": 11}}


def test_a_source_that_is_known_only_later(run):
    text = filtering(run.factories, set=pod("web"))
    ledger = run(text, send(batch(({"k8s.pod.ip": "10.0.0.1"}, 3), ({"service.name": "a"}, 2))))
    assert by_source(ledger) == {"shop/web/app": {"received": 5, "delivered": 5}}


def test_a_record_that_goes_two_ways_is_delivered_twice(run):
    run.world.answers["sink/2"] = [None, Refused("no", "http_400")]
    one = batch((pod("web"), 3))
    ledger = run(TWO, send(one), send(one))
    assert totals(ledger) == {"received": 6, "copied": 6, "delivered": 9, "refused": 3}
    delivered = {line.component: line.delivered for line in drawn(ledger).components if line.delivered}
    assert delivered == {"sink": 6, "sink/2": 3}


def test_only_the_busy_branch_is_counted_again(run, monkeypatch):
    monkeypatch.setattr(fanout, "_wait", lambda *_: 0)
    run.world.answers["sink/2"] = [Busy("later"), Busy("later"), None]
    ledger = run(TWO, send(batch((pod("web"), 3))))
    assert totals(ledger) == {"received": 3, "copied": 3, "delivered": 6}
    assert totals(ledger).get("repeated") is None


def test_all_branches_refuse(run):
    run.world.answers = {"sink": [Refused("a")], "sink/2": [Refused("b")]}
    ledger = run(TWO, send(batch((pod("web"), 3)), Refused))
    assert totals(ledger) == {"received": 3, "copied": 3, "refused": 6}


def test_given_up_after_one_branch_had_it_is_told_as_repeated(run, monkeypatch):
    monkeypatch.setattr(fanout, "_wait", lambda *_: 60)
    run.world.answers["sink/2"] = [Busy("later")]

    async def cancelled(it):
        task = asyncio.create_task(it.components["receiver:feed"].send(batch((pod("web"), 3))))
        await asyncio.sleep(0.05)
        in_between = report(it.telemetry.ledger)
        assert not in_between.quiet
        assert in_between.balanced
        assert shape(in_between.totals[0]) == {"received": 3, "in_flight": 3}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ledger = run(TWO, cancelled, send(batch((pod("web"), 3))))
    assert totals(ledger) == {"received": 6, "copied": 3, "delivered": 9, "repeated": 3}


def test_connectors(run):
    text = """
receivers: {feed: }
exporters: {sink: , sink/2: }
connectors: {count: , joint: }
service:
  pipelines:
    logs: {receivers: [feed], exporters: [count, joint]}
    logs/b: {receivers: [joint], exporters: [sink]}
    metrics: {receivers: [count], exporters: [sink/2]}
"""
    ledger = run(text, send(batch((pod("web"), 3))))
    assert totals(ledger) == {"received": 3, "copied": 3, "delivered": 3, "consumed": 3}
    assert totals(ledger, Signal.METRICS) == {"produced": 1, "delivered": 1}
    assert drawn(ledger).balanced


def test_an_exporter_that_tells_of_a_part(run):
    class Picky(component.Exporter):
        def __init__(self, config, context):
            self.context = context

        async def consume(self, one):
            if one.signal is Signal.TRACES:
                raise Refused("all of it", "http_403")
            for group in one.groups:
                if "bad" in str(group.resource.attributes):
                    self.context.ledger.refused(group, "http_400")

    run.factories._made[Kind.EXPORTER, "picky"] = component.ExporterFactory("picky", Config, Picky, needs=no_needs)
    text = """
receivers: {feed: }
exporters: {picky: }
service: {pipelines: {logs: {receivers: [feed], exporters: [picky]}, traces: {receivers: [feed], exporters: [picky]}}}
"""
    mixed = ((pod("web"), 3), (pod("bad"), 2))
    ledger = run(text, send(batch(*mixed)), send(batch(*mixed, signal=Signal.TRACES), Refused))
    assert totals(ledger) == {"received": 5, "delivered": 3, "refused": 2}
    assert totals(ledger, Signal.TRACES) == {"received": 5, "refused": 5}
    reasons = {line.signal: line.reasons["refused"] for line in drawn(ledger).components if line.reasons}
    assert reasons == {Signal.LOGS: {"http_400": 2}, Signal.TRACES: {"http_403": 5}}


def test_a_processor_that_merges_in_a_task_of_its_own(run):
    class Merge(component.Processor):
        def __init__(self, config, context, output):
            self.output, self.waiting, self.context = output, [], context

        async def start(self):
            self.some = asyncio.Event()
            self.context.spawn(self.work(), "merge")

        async def work(self):
            assert current() is None
            while True:
                await self.some.wait()
                await asyncio.sleep(0.01)
                self.some.clear()
                waiting, self.waiting = self.waiting, []
                try:
                    await self.output.consume(waiting[0][0].with_groups(g for one, _ in waiting for g in one.groups))
                except Busy as busy:
                    for _, done in waiting:
                        done.set_exception(busy)
                else:
                    for _, done in waiting:
                        done.set_result(None)

        async def consume(self, one):
            done = asyncio.get_running_loop().create_future()
            self.waiting.append((one, done))
            self.some.set()
            await done

    run.factories._made[Kind.PROCESSOR, "merge"] = component.ProcessorFactory("merge", Config, Merge, needs=no_needs)
    run.world.answers["sink"] = [Busy("later"), None]
    text = PLAIN.replace("pass: ,", "merge: ,").replace("[pass]", "[merge]")

    async def several(it):
        feed = it.components["receiver:feed"]
        ones = [batch((pod("web"), 3)), batch((pod("db"), 4))]
        answers = await asyncio.gather(*(feed.send(one) for one in ones), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Busy, Busy]
        await asyncio.gather(*(feed.send(one) for one in ones))
        assert [len(one.groups) for one in run.world.taken["sink"]] == [2]

    ledger = run(text, several)
    assert totals(ledger) == {"received": 7, "delivered": 7}
    assert drawn(ledger).balanced


def test_what_a_receiver_keeps_back_is_received():
    ledger = Ledger()
    own = ComponentLedger(ledger, Kind.RECEIVER, "tail", {Signal.LOGS})
    own.filtered(Group(Resource.of(pod("web")), (), 4), "operator")
    own.dropped(Group(Resource.of(pod("web")), (), 2), "gone")
    assert totals(ledger) == {"received": 6, "filtered": 4, "dropped": 2}


def test_reasons_have_a_bound():
    ledger = Ledger()
    own = ComponentLedger(ledger, Kind.RECEIVER, "tail", {Signal.LOGS})
    for number in range(200):
        own.refused(Group(Resource.of({}), (), 1), f"because {number}")
    (line,) = drawn(ledger).components
    assert sum(line.reasons["refused"].values()) == 200
    assert len(line.reasons["refused"]) < 70
    assert line.reasons["refused"]["other"] > 130


def test_self_metrics_under_the_collectors_names(run, tiny):
    ledger = run(filtering(run.factories), send(batch((pod("x1"), 5), (pod("web"), 3))))
    own = ComponentLedger(ledger, Kind.PROCESSOR, "filter", {Signal.LOGS})
    own.dropped(Group(Resource.of({}), (), 2), "expired")
    own.dropped(Group(Resource.of({}), (), 1), "no_room")
    lines = tiny.telemetry.render().splitlines()
    for line in (
        'otelcol_receiver_accepted_log_records_total{receiver="feed"} 8',
        'otelcol_receiver_refused_log_records_total{receiver="feed"} 0',
        'otelcol_processor_accepted_log_records_total{processor="filter"} 3',
        'otelcol_processor_dropped_log_records_total{processor="filter"} 3',
        'otelcol_processor_refused_log_records_total{processor="filter"} 0',
        'otelcol_exporter_sent_log_records_total{exporter="sink"} 3',
        'otelcol_exporter_send_failed_log_records_total{exporter="sink"} 0',
        'hawse_ledger_received_items_total{otel_signal="logs",receiver="feed"} 8',
        'hawse_ledger_filtered_items_total{otel_signal="logs",processor="filter",rule="exclude.pod"} 5',
        'hawse_ledger_dropped_items_total{otel_signal="logs",processor="filter",reason="expired"} 2',
        'hawse_ledger_delivered_items_total{exporter="sink",otel_signal="logs"} 3',
        'hawse_ledger_unaccounted_items{otel_signal="logs"} -3',
    ):
        assert line in lines


# --- anything at all ------------------------------------------------------------------------------------------------

ANSWERS = st.sampled_from(["take", "busy", "refuse", "part", "cancel"])


class Chance:
    """An exporter that answers as drawn; what it took, by source."""

    def __init__(self, own):
        self.own, self.answers, self.took = own, [], 0

    async def consume(self, one):
        answer = self.answers.pop() if self.answers else "take"
        await asyncio.sleep(0)
        if answer == "part":
            self.own.refused(one.groups[0], "picky")
            self.took -= one.groups[0].items
        elif answer == "busy":
            raise Busy("later")
        elif answer == "refuse":
            raise Refused("no")
        elif answer == "cancel":
            raise asyncio.CancelledError
        self.took += one.items


class Between:
    """A processor: filters pods named x…, gives others a new name, by chance."""

    def __init__(self, own, output):
        self.own, self.output = own, output

    async def consume(self, one):
        kept = []
        for group in one.groups:
            name = str(group.resource.attributes["k8s.pod.name"])
            if name.startswith("x"):
                self.own.filtered(group, "x")
            elif name.startswith("r"):
                kept.append(group.with_resource(group.resource.replaced({"k8s.pod.name": "renamed"})))
            else:
                kept.append(group)
        if kept:
            await self.output.consume(one.with_groups(kept))


def pipeline(ledger, ways):
    """feed → between → ways exporters, wired by the edges."""
    telemetry = Telemetry()
    log = ComponentLog(Kind.RECEIVER, ComponentID("feed"))
    sinks, entries = [], []
    for number in range(ways):
        own = ComponentLedger(ledger, Kind.EXPORTER, f"sink/{number}", {Signal.LOGS})
        sinks.append(Chance(own))
        entries.append(to_exporter(sinks[-1], telemetry.meter(Kind.EXPORTER, f"s/{number}"), Signal.LOGS, ledger, own))
    own = ComponentLedger(ledger, Kind.PROCESSOR, "between", {Signal.LOGS})
    meter = telemetry.meter(Kind.PROCESSOR, "between")
    last = copied(entries, ledger, Kind.PROCESSOR, "between", Signal.LOGS, log) if ways > 1 else entries[0]
    between = Between(own, out_of(Kind.PROCESSOR, last, meter, Signal.LOGS, ledger, own))
    entry = into(Kind.PROCESSOR, between, meter, Signal.LOGS, ledger, own)
    return from_receiver(entry, telemetry.meter(Kind.RECEIVER, "feed"), Signal.LOGS, log, ledger, "feed"), sinks


@settings(max_examples=150, deadline=None)
@given(
    ways=st.integers(1, 3),
    answers=st.lists(st.lists(ANSWERS, max_size=6), min_size=3, max_size=3),
    batches=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["web", "x", "xy", "r1", "renamed"]), st.integers(1, 9)), min_size=1, max_size=4
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_it_adds_up_whatever_happens(ways, answers, batches):
    ledger = Ledger()

    async def one_sender(feed, groups):
        one = batch(*((pod(name), items) for name, items in groups))
        for _ in range(3):
            try:
                await feed.consume(one)
            except Busy:
                continue
            except (Refused, asyncio.CancelledError):
                return
            return

    async def main():
        feed, sinks = pipeline(ledger, ways)
        for sink, answer in zip(sinks, answers, strict=False):
            sink.answers = list(answer)
        tasks = [asyncio.create_task(one_sender(feed, groups)) for groups in batches]
        while any(not task.done() for task in tasks):
            await asyncio.sleep(0)
            assert report(ledger).balanced  # not only at quiet moments
        await asyncio.gather(*tasks)
        return sinks

    wait, fanout._wait = fanout._wait, lambda *_: 0
    try:
        sinks = asyncio.run(main())
    finally:
        fanout._wait = wait
    found = drawn(ledger)
    assert found.balanced
    delivered = {line.component: line.delivered for line in found.components if line.kind == "exporter"}
    for number, sink in enumerate(sinks):
        assert delivered.get(f"sink/{number}", 0) == sink.took
    assert all(getattr(line, name) >= 0 for line in found.sources for name in ("received", "delivered", "filtered"))


def test_a_task_that_outlives_the_call_is_outside():
    ledger = Ledger()
    seen = []

    class Keeper:
        async def consume(self, one):
            seen.append(current() is not None)

            async def later():
                seen.append(current() is None)

            self.task = asyncio.create_task(later(), context=outside())

    async def main():
        keeper = Keeper()
        meter = Telemetry().meter(Kind.RECEIVER, "feed")
        await from_receiver(keeper, meter, Signal.LOGS, None, ledger, "feed").consume(batch((pod("web"), 1)))
        await keeper.task
        seen.append(current() is None)

    asyncio.run(main())
    assert seen == [True, True, True]


def test_what_it_costs():
    """The promise is 1 µs a group on an idle machine; this catches a mistake of ten times that."""
    ledger = Ledger()

    class Take:
        async def consume(self, one):
            pass

    own = ComponentLedger(ledger, Kind.EXPORTER, "sink", {Signal.LOGS})
    telemetry = Telemetry()
    sink = to_exporter(Take(), telemetry.meter(Kind.EXPORTER, "sink"), Signal.LOGS, ledger, own)
    feed = from_receiver(sink, telemetry.meter(Kind.RECEIVER, "feed"), Signal.LOGS, None, ledger, "feed")
    one = batch(*((pod(f"web-{number}"), 3) for number in range(100)))

    async def main():
        before = time.process_time()
        for _ in range(200):
            await feed.consume(one)
        return (time.process_time() - before) / 20_000

    assert min(asyncio.run(main()) for _ in range(3)) < 10e-6
