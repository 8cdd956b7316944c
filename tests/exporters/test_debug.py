"""The debug exporter's output."""

import asyncio
import logging

import pytest
from opentelemetry.proto.logs.v1 import logs_pb2

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal
from hawse.component import NoLedger
from hawse.exporters import debug
from hawse.exporters.debug import Config, Debug

TIME = 1_581_452_773_000_000_789


class Context:
    log = logging.LoggerAdapter(logging.getLogger("debug-exporter"))
    ledger = NoLedger()


def record(**fields):
    return logs_pb2.LogRecord(**fields).SerializeToString()


def logs():
    first = record(
        time_unix_nano=TIME,
        severity_text="Info",
        severity_number=9,
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        flags=1,
        event_name="started",
    )
    first += wire.field(5, wire.encode_value("This is a log message")) + wire.encode_attributes(
        {"app": "server", "n": 1, "ok": True, "f": 0.5, "list": ["a", 1], "map": {"k": None}, "none": None}, 6
    )
    second = wire.field(5, wire.encode_value({"k": "v"}))
    scope = wire.field(1, wire.field(1, b"lib") + wire.field(2, b"1.0") + wire.encode_attributes({"s": "t"}, 3))
    scopes = wire.field(2, scope + wire.field(2, first) + wire.field(2, second) + wire.field(3, b"https://schema"))
    return Batch(Signal.LOGS, [Group(Resource.of({"service.name": "x"}), (scopes,), 2)])


def shown(capsys, *batches, **settings):
    exporter = Debug(Config(use_internal_logger=False, **settings), Context())
    for batch in batches:
        asyncio.run(exporter.consume(batch))
    return capsys.readouterr().out


def test_basic(capsys):
    assert shown(capsys, logs()) == 'Logs {"resource logs":1,"log records":2}\n'
    spans = Batch(Signal.TRACES, [Group(Resource(b""), (), 3)])
    assert shown(capsys, spans) == 'Traces {"resource spans":1,"spans":3}\n'


def test_basic_counts_metrics_and_points(capsys):
    points = wire.field(1, b"") * 3  # of a Gauge
    metric = wire.field(2, wire.field(5, points))
    batch = Batch(Signal.METRICS, [Group(Resource(b""), (wire.field(2, metric * 2), wire.field(2, metric)), 9)])
    assert shown(capsys, batch) == 'Metrics {"resource metrics":1,"metrics":3,"data points":9}\n'


def test_normal(capsys):
    assert shown(capsys, logs(), verbosity="normal").splitlines()[1:] == [
        "ResourceLog #0 service.name=x",
        "ScopeLog #0 lib@1.0 s=t",
        'This is a log message app=server n=1 ok=true f=0.5 list=["a",1] map={"k":null} none='
        " 000102030405060708090a0b0c0d0e0f 0001020304050607",
        '{"k":"v"}',
    ]


def test_detailed(capsys):
    assert shown(capsys, logs(), verbosity="detailed").splitlines()[1:] == [
        "ResourceLog #0",
        "Resource attributes:",
        "     -> service.name: Str(x)",
        "ScopeLogs #0",
        "ScopeLogs SchemaURL: https://schema",
        "InstrumentationScope lib 1.0",
        "InstrumentationScope attributes:",
        "     -> s: Str(t)",
        "LogRecord #0",
        "ObservedTimestamp: 1970-01-01 00:00:00 +0000 UTC",
        "Timestamp: 2020-02-11 20:26:13.000000789 +0000 UTC",
        "SeverityText: Info",
        "SeverityNumber: Info(9)",
        "EventName: started",
        "Body: Str(This is a log message)",
        "Attributes:",
        "     -> app: Str(server)",
        "     -> n: Int(1)",
        "     -> ok: Bool(true)",
        "     -> f: Double(0.5)",
        '     -> list: Slice(["a",1])',
        '     -> map: Map({"k":null})',
        "     -> none: Empty()",
        "Trace ID: 000102030405060708090a0b0c0d0e0f",
        "Span ID: 0001020304050607",
        "Flags: 1",
        "LogRecord #1",
        "ObservedTimestamp: 1970-01-01 00:00:00 +0000 UTC",
        "Timestamp: 1970-01-01 00:00:00 +0000 UTC",
        "SeverityText: ",
        "SeverityNumber: Unspecified(0)",
        'Body: Map({"k":"v"})',
        "Trace ID: ",
        "Span ID: ",
        "Flags: 0",
    ]


def test_other_signals_are_shown_as_otlp_json(capsys):
    span = wire.field(2, wire.field(2, wire.field(5, b"GET /")))
    batch = Batch(Signal.TRACES, [Group(Resource(b""), (span,), 1)])
    assert '"name":"GET /"' in shown(capsys, batch, verbosity="detailed").splitlines()[1]


@pytest.mark.parametrize("verbosity", ["basic", "normal", "detailed"])
@pytest.mark.parametrize("signal", list(Signal))
def test_malformed_groups_are_shown_as_such(capsys, verbosity, signal):
    bad = Batch(signal, [Group(Resource(b"\x0a\x7f"), (b"\x12\x05\x12\xff",), 1)])
    out = shown(capsys, bad, verbosity=verbosity)
    assert out.count("cannot be decoded") == (verbosity != "basic")


def test_sampling(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(debug.time, "monotonic", lambda: now[0])
    batch = Batch(Signal.LOGS, [])
    exporter = Debug(Config(use_internal_logger=False, sampling_initial=3, sampling_thereafter=4), Context())

    def count(times):
        for _ in range(times):
            asyncio.run(exporter.consume(batch))
        return len(capsys.readouterr().out.splitlines())

    assert count(3) == 3
    assert count(8) == 2
    now[0] = 101.0
    assert count(3) == 3
    assert len(shown(capsys, *[batch] * 50, sampling_initial=1, sampling_thereafter=0).splitlines()) == 1
    assert len(shown(capsys, *[batch] * 50).splitlines()) == 50


def test_the_log(caplog):
    caplog.set_level(logging.INFO)
    asyncio.run(Debug(Config(), Context()).consume(logs()))
    assert [record.getMessage() for record in caplog.records] == ['Logs {"resource logs":1,"log records":2}']


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "Unspecified(0)"), (1, "Trace(1)"), (10, "Info2(10)"), (24, "Fatal4(24)"), (25, "Unspecified(25)")],
)
def test_severities(number, name):
    assert debug._severity(number) == name


def test_times_beyond_the_calendar():
    assert debug._time(2**64 - 1) == "2554-07-21 23:34:33.709551615 +0000 UTC"
