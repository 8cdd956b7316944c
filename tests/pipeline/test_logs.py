"""The program's own log."""

import io
import json
import logging

import pytest

from hawse.component import Kind
from hawse.config.settings import Logs, Sampling
from hawse.pipeline.logs import ComponentLog, set_up
from hawse.values import Duration


@pytest.fixture
def written():
    root = logging.getLogger("hawse")
    before = root.handlers[:], root.propagate, root.level

    def begin(**settings):
        stream = io.StringIO()
        set_up(Logs(**settings), stream)
        return lambda: stream.getvalue().splitlines()

    yield begin
    root.handlers[:], root.propagate, level = before
    root.setLevel(level)


def test_console(written):
    lines = written(level="INFO")
    log = ComponentLog(Kind.RECEIVER, "otlp/a")
    log.debug("not told")
    log.warning("refused %d", 3, extra={"pod": "x"})
    logging.getLogger("hawse.service").info("ready")
    first, second = lines()
    assert first.endswith("Z warn receiver otlp/a: refused 3 pod=x")
    assert second.endswith("Z info ready")


def test_json(written):
    lines = written(encoding="json", initial_fields={"cluster": "c"})
    log = ComponentLog(Kind.EXPORTER, "sink")
    log.error('a "quoted"\nline', extra={"code": 503, "odd": object})
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, lines())
    assert first["ts"].endswith("Z")
    assert {key: first[key] for key in ("level", "msg", "cluster", "code", "otelcol.component.id", "otelcol.component.kind")} == {
        "level": "error", "msg": 'a "quoted"\nline', "cluster": "c", "code": 503,
        "otelcol.component.id": "sink", "otelcol.component.kind": "exporter",
    }  # fmt: skip
    assert "ValueError: x" in second["stacktrace"]


def test_sampling(written, monkeypatch):
    lines = written(sampling=Sampling(tick=Duration(10), initial=3, thereafter=10))
    now = [100.0]
    monkeypatch.setattr("hawse.pipeline.logs.time.monotonic", lambda: now[0])
    log, other = ComponentLog(Kind.EXPORTER, "a"), ComponentLog(Kind.EXPORTER, "b")
    for number in range(53):
        log.warning("refused: %s", number)
    other.warning("refused: %s", "once")
    assert len(lines()) == 3 + 5 + 1  # the first three, each tenth after them, and another component's
    now[0] += 10
    log.warning("refused: %s", "again")
    assert len(lines()) == 10


def test_without_sampling_all_is_written(written):
    lines = written(sampling=Sampling(enabled=False))
    for _ in range(500):
        ComponentLog(Kind.EXPORTER, "a").warning("same")
    assert len(lines()) == 500
