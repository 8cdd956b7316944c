"""Meters and the Prometheus text."""

import re

import pytest

from hawse.component import Kind
from hawse.pipeline.telemetry import Telemetry


def test_counters_have_their_component_and_continue():
    telemetry = Telemetry()
    counter = telemetry.meter(Kind.RECEIVER, "otlp").counter("receiver_things", "Things.")
    counter.add(2)
    counter.add(3, kind="odd")
    telemetry.meter(Kind.RECEIVER, "otlp").counter("receiver_things", "Things.").add(1)  # after a reload
    telemetry.meter(Kind.RECEIVER, "otlp/b").counter("receiver_things", "Things.").add(10)
    assert telemetry.value("receiver_things", receiver="otlp") == 6
    assert telemetry.value("receiver_things") == 16
    lines = telemetry.render().splitlines()
    assert 'otelcol_receiver_things_total{receiver="otlp"} 3' in lines
    assert 'otelcol_receiver_things_total{kind="odd",receiver="otlp"} 3' in lines
    assert "# TYPE otelcol_receiver_things_total counter" in lines


def test_names_given_whole_are_not_doubled():
    telemetry = Telemetry()
    telemetry.meter(Kind.EXPORTER, "x").counter("otelcol_a_total", "A.").add(1)
    telemetry.meter(Kind.EXPORTER, "x").counter("b_seconds", "B.", "s").add(0.5)
    lines = telemetry.render().splitlines()
    assert 'otelcol_a_total{exporter="x"} 1' in lines
    assert 'otelcol_b_seconds_total{exporter="x"} 0.5' in lines
    assert 'otelcol_b_seconds{exporter="x"} 0.5' in telemetry.render(without_type_suffix=True).splitlines()


def test_gauges_are_read_when_asked_and_go_with_their_meter():
    telemetry = Telemetry()
    values = [1, 2]
    meters = [telemetry.meter(Kind.PROCESSOR, "p") for _ in values]
    for number, meter in enumerate(meters):
        meter.gauge("held", "Held.", lambda number=number: values[number], where="here")
    assert telemetry.value("held", processor="p", where="here") == 3
    values[0] = 5
    assert 'otelcol_held{processor="p",where="here"} 7' in telemetry.render()
    meters[0].close()
    assert telemetry.value("held") == 2
    meters[1].close()
    assert "otelcol_held{" not in telemetry.render()


def test_one_name_is_one_kind():
    telemetry = Telemetry()
    meter = telemetry.meter(Kind.PROCESSOR, "p")
    meter.counter("thing", "T.")
    with pytest.raises(ValueError, match="is a counter already"):
        meter.gauge("thing", "T.", lambda: 1)


def test_process_metrics():
    text = Telemetry().render()
    for name, kind in (
        ("otelcol_process_cpu_seconds_total", "counter"),
        ("otelcol_process_uptime_seconds_total", "counter"),
        ("otelcol_process_memory_rss_bytes", "gauge"),
    ):
        assert f"# TYPE {name} {kind}" in text
        assert float(re.search(rf"^{name} (\S+)$", text, re.M)[1]) > 0
    bare = Telemetry().render(without_units=True, without_type_suffix=True)
    assert re.search(r"^otelcol_process_memory_rss \d+$", bare, re.M)
    assert re.search(r"^otelcol_process_uptime \S+$", bare, re.M)


def test_escaping():
    telemetry = Telemetry()
    telemetry.identify({"a.b": 'quo"te\\back\nline', "host.name": None})
    telemetry.meter(Kind.EXPORTER, "x/ü").counter("odd-name", "Two\nlines \\.").add(1, **{"k.ey": '"'})
    text = telemetry.render()
    assert 'a_b="quo\\"te\\\\back\\nline"' in text
    assert "host_name" not in text
    assert "# HELP otelcol_odd_name_total Two\\nlines \\\\." in text
    assert 'otelcol_odd_name_total{exporter="x/ü",k_ey="\\""} 1' in text
    sample = re.compile(r'[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="([^"\\\n]|\\.)*",?)*\})? [-+0-9.e]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in text.splitlines())
