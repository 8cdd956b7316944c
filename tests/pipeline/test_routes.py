"""Connectors that choose between pipelines: their checks, their ways, and the ledger's view of them."""

import asyncio

import pytest

from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import Busy, Kind, Refused
from hawse.connectors.routing import factory
from hawse.pipeline import fanout
from hawse.pipeline.ledger.report import report
from hawse.pipeline.running import running

TEXT = """
receivers: {feed: }
exporters: {sink/a: , sink/b: , sink/rest: }
connectors:
  routing:
    default_pipelines: [logs/rest]
    table:
      - {condition: 'attributes["team"] == "a"', pipelines: [logs/a]}
      - {condition: 'attributes["team"] == "ab"', pipelines: [logs/a, logs/b]}
service:
  pipelines:
    logs: {receivers: [feed], exporters: [routing]}
    logs/a: {receivers: [routing], exporters: [sink/a]}
    logs/b: {receivers: [routing], processors: [], exporters: [sink/b]}
    logs/rest: {receivers: [routing], exporters: [sink/rest]}
"""


@pytest.fixture(autouse=True)
def _routing(tiny, monkeypatch):
    tiny.factories._made[Kind.CONNECTOR, "routing"] = factory
    monkeypatch.setattr(fanout, "_wait", lambda *_: 0)


def batch(*teams):
    return Batch(Signal.LOGS, [Group(Resource.of({"team": team}), (b"\x12\x02\x12\x00",), 1) for team in teams])


def run(tiny, *batches, expect=None):
    async def whole():
        async with running(tiny.graph(TEXT), tiny.telemetry) as it:
            for one in batches:
                if expect is None:
                    await it.components["receiver:feed"].send(one)
                else:
                    with pytest.raises(expect):
                        await it.components["receiver:feed"].send(one)

    asyncio.run(whole())
    found = report(tiny.telemetry.ledger)
    assert found.balanced, found
    taken = {id_: sum(one.items for one in batches) for id_, batches in tiny.world.taken.items()}
    return taken, found.totals[0] if found.totals else None


def test_each_part_goes_its_way(tiny):
    taken, line = run(tiny, batch("a", "ab", "c", "a"), batch("c"))
    assert taken == {"sink/a": 3, "sink/b": 1, "sink/rest": 2}
    assert (line.received, line.copied, line.delivered) == (5, 1, 6)


def test_only_the_busy_are_tried_again(tiny):
    tiny.world.answers = {"sink/b": [Busy("full"), Busy("full")]}
    taken, line = run(tiny, batch("a", "ab", "c"))
    assert taken == {"sink/a": 2, "sink/b": 1, "sink/rest": 1}
    assert (line.received, line.copied, line.delivered, line.repeated) == (3, 1, 4, 0)


def test_all_busy_is_busy(tiny):
    tiny.world.answers = {"sink/a": [Busy("full")], "sink/b": [Busy("full")]}
    taken, line = run(tiny, batch("ab"), expect=Busy)
    assert taken == {}
    assert line is None


def test_refused_by_some_is_counted_and_by_all_is_refused(tiny):
    tiny.world.answers = {"sink/a": [Refused("no", "http_400")]}
    taken, line = run(tiny, batch("a", "c"))
    assert taken == {"sink/rest": 1}
    assert (line.received, line.delivered, line.refused) == (2, 1, 1)


def test_refused_by_all(tiny):
    tiny.world.answers = {"sink/a": [Refused("no", "http_400")], "sink/b": [Refused("no", "http_400")]}
    taken, line = run(tiny, batch("ab"), expect=Refused)
    assert (taken, line.received, line.copied, line.refused) == ({}, 1, 1, 2)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("logs/a]}", "logs/x]}", 'connectors.routing.table[0].pipelines[0]: there is no pipeline "logs/x"'),
        ("[logs/rest]", "[logs]", 'default_pipelines[0]: the pipeline "logs" does not begin with the connector "routing"; list "routing" under'),
        ("default_pipelines: [logs/rest]", "", 'service.pipelines.logs/rest.receivers: the connector "routing" hands nothing to "logs/rest"'),
    ],
)  # fmt: skip
def test_references_to_pipelines_are_checked(tiny, before, after, expected):
    findings = tiny.findings(TEXT.replace(before, after, 1))
    assert any(expected in line for line in findings), findings
    assert tiny.findings(TEXT) == []


def test_what_the_environment_does_not_choose_is_no_mistake(tiny):
    text = "receivers: {feed: }\nexporters: {sink/a: , sink/b: }\nservice: {pipelines: {logs: {receivers: [feed], exporters: [CHOICE]}}}"
    assert any("sink/b" in line for line in tiny.findings(text.replace("CHOICE", "sink/a")))
    for choice in ("'${env:E:-sink/a}'",):
        assert tiny.findings(text.replace("CHOICE", choice)) == []
    assert tiny.findings(text.replace("[CHOICE]", "'${env:E:-[sink/a]}'")) == []
    (found,) = tiny.findings(text.replace("CHOICE", "'${env:E:-sink/c}'"))
    assert "HW120" in found
