"""Questions about metrics: selectors, lines, counts, what there is."""

import asyncio
import math
import re
import time
from json import dumps

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from hawse.backend.conditions import Mistake
from hawse.backend.metrics import plot, select, selector
from hawse.backend.metrics.registry import Kind
from hawse.backend.metrics.samples import STALE, Samples
from hawse.backend.reader import Reader, TimedOut
from hawse.backend.server import Backend
from hawse.backend.store import Limits, Store
from hawse.batch import Resource
from hawse.wire import varint

SECOND = 10**9
PROTOBUF = {"content-type": "application/x-protobuf"}


# --- selectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "labels"),
    [
        ("up", [("=", "up")], []),
        (' up { job = "a" , x!="b", } ', [("=", "up")], [("job", "=", "a"), ("x", "!=", "b")]),
        ('{__name__=~"a|b",y!~`c\\d`}', [("=~", "a|b")], [("y", "!~", r"c\d")]),
        ("""{"utf8.name","k8s.pod.name"='q"\\n'}""", [("=", "utf8.name")], [("k8s.pod.name", "=", 'q"\n')]),
        ('{k8s.pod.name="x"}', [], [("k8s.pod.name", "=", "x")]),
        ('a{x="}\\"\\u00e9"}', [("=", "a")], [("x", "=", '}"é')]),
        ("a{}", [("=", "a")], []),
    ],
)
def test_selectors_are_read_as_prometheus_reads_them(text, name, labels):
    found = selector.parse(text)
    assert [(one.operator, one.value) for one in found.name] == name
    assert [(one.label, one.operator, one.value) for one in found.labels] == labels


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty selector"),
        ("{}", "empty selector"),
        ("a b", "the end at character 3"),
        ('a{x="1"', 'label="value"'),
        ('a{x="1" y="2"}', 'label="value" at character 3'),
        ("a{x}", "=, !=, =~ or !~ at character 4"),
        ("a{x=1}", "at character 3"),
        ('a{"b"}', "at character 6"),
        ('a{x="1}', 'label="value"'),
        ("x" * 30_000, "more than"),
    ],
)
def test_mistakes_in_selectors_say_where(text, why):
    with pytest.raises(Mistake) as caught:
        selector.parse(text)
    assert why in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_selector_or_a_mistake(text):
    try:
        found = selector.parse(text)
        found.wants_name()
        found.wants_labels()
    except Mistake:
        pass


def test_a_label_that_is_not_there_is_like_an_empty_one():
    wants = selector.parse('{a="",b!="x",c=~".*",d!~".+"}').wants_labels()
    assert wants({})
    assert not wants({"a": "1"})
    assert not wants({"d": "1"})
    assert selector.parse('{a=~"b"}').wants_labels()({"a": "bb"}) is False  # from beginning to end


# --- lines ----------------------------------------------------------------------------------------------------------


def made(*pairs):
    times, values = zip(*pairs, strict=True)
    return Samples(np.ones(len(pairs), np.uint32), np.array(times, np.int64), np.array(values, np.float64))


def nulls(line):
    return [None if math.isnan(value) else value for value in line.tolist()]


def test_raw_lines_look_back_and_end_at_stale_markers():
    samples = made((10, 1.0), (20, 2.0), (25, STALE), (40, 4.0), (50, math.nan))
    steps = np.arange(0, 70, 5, dtype=np.int64)
    assert nulls(plot.raw(samples, steps, 12)) == [
        *[None, None],  # nothing yet
        *[1, 1],
        2,
        *[None, None, None],  # stale
        *[4, 4],
        *[None, None, None, None],  # a NaN that came as one
    ]
    assert nulls(plot.raw(made((10, 1.0)), steps, 12))[:6] == [None, None, 1, 1, 1, None]


def test_rates_make_restarts_good_and_need_two_samples():
    samples = made(*((n * SECOND, value) for n, value in enumerate([0, 10, 20, 5, 15, STALE])))
    steps = np.arange(0, 8 * SECOND, SECOND, dtype=np.int64)
    found = nulls(plot.rate(samples, steps, 100 * SECOND, 2 * SECOND))
    assert found == [None, 10.0, 10.0, 5.0, 10.0, None, None, None]
    wide = nulls(plot.rate(samples, steps, 100 * SECOND, 60 * SECOND))
    assert wide[:5] == [None, 10.0, 10.0, 25 / 3, 35 / 4]
    assert nulls(plot.rate(made((0, 1.0)), steps, SECOND, SECOND)) == [None] * 8


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30)), min_size=2, max_size=20), st.integers(2, 200))
def test_rates_are_what_one_reckons_by_hand(found, window):
    when, pairs = 0, []
    for gap, value in found:
        when += gap
        pairs.append((when, float(value)))
    steps = np.arange(0, when + 20, 7, dtype=np.int64)
    line = nulls(plot.rate(made(*pairs), steps, 1000, window))
    for step, got in zip(steps.tolist(), line, strict=True):
        inside = [(at, value) for at, value in pairs if step - window < at <= step]
        if len(inside) < 2:
            assert got is None
            continue
        grown = sum(b - a if b >= a else b for (_, a), (_, b) in zip(inside, inside[1:], strict=False))
        assert got == pytest.approx(grown / (inside[-1][0] - inside[0][0]) * SECOND)


# --- the API --------------------------------------------------------------------------------------------------------


def request(*metrics, pod="web-0"):
    """(name, labels, [(time, value)]) as counters of a pod."""
    found = ExportMetricsServiceRequest()
    group = found.resource_metrics.add()
    for key, value in {
        "service.name": "web",
        "service.namespace": "shop",
        "service.instance.id": f"{pod}:80",
        "k8s.pod.name": pod,
    }.items():
        group.resource.attributes.add(key=key).value.string_value = value
    scope = group.scope_metrics.add()
    for name, labels, samples in metrics:
        metric = scope.metrics.add(name=name, description=f"About {name}.", unit="s")
        metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 2
        for when, value in samples:
            point = metric.sum.data_points.add(time_unix_nano=when)
            for key, text in labels.items():
                point.attributes.add(key=key).value.string_value = text
            if value is None:
                point.flags = 1
            else:
                point.as_double = value
    return found.SerializeToString()


NOW = time.time_ns() // SECOND * SECOND


def grown(by, seconds=60):
    return [(NOW - (seconds - n) * SECOND, float(n * by)) for n in range(seconds)]


def served(call, work, **options):
    async def run():
        async with Backend(**options) as backend:

            async def get(question, status=200, **asked):
                reply = await call("GET", f"{backend.url}/api/v1/metrics/{question}", query=asked)
                assert reply.status == status, reply.body
                return reply.json

            async def post(body):
                reply = await call("POST", backend.url + "/v1/metrics", body, PROTOBUF)
                assert reply.status == 200
                return reply

            await work(backend, get, post)

    asyncio.run(run())


def test_what_there_is(call):
    async def work(_, get, post):
        for pod in ("web-0", "web-1"):
            await post(
                request(("hits_total", {"code": "200"}, grown(1)), ("hits_total", {"code": "500"}, grown(2)), pod=pod)
            )
        await post(request(("other_total", {}, [(NOW, 1.0)])))
        names = await get("names")
        assert [(one["name"], one["series"]) for one in names["names"]] == [("hits_total", 4), ("other_total", 1)]
        assert (
            names["names"][0] | {"description": "About hits_total.", "type": "counter", "unit": "s"}
            == names["names"][0]
        )
        assert [one["name"] for one in (await get("names", q="OTH"))["names"]] == ["other_total"]
        assert (await get("names", match='{code="200"}'))["series"] == 2
        labels = {one["name"]: one["series"] for one in (await get("labels", match="hits_total"))["labels"]}
        assert labels == {
            key: 4
            for key in (
                *("code", "job", "instance", "k8s.pod.name"),
                *("service.name", "service.namespace", "service.instance.id"),
            )
        }
        found = await get("values", label="k8s.pod.name")
        assert found["values"] == [{"value": "web-0", "series": 3}, {"value": "web-1", "series": 2}]
        assert (await get("values", label="code"))["without"] == 1
        assert (await get("values", label="__name__", limit=1))["distinct"] == 2
        (series,) = (await get("series", match='hits_total{code="500",instance=~"web-1.*"}'))["series"]
        assert series["labels"]["job"] == "shop/web"
        assert (await get("series", match=["hits_total", 'other_total{x=""}']))["matched"] == 5
        assert (await get("series", **{"match[]": "hits_total", "limit": 1}))["matched"] == 4

    served(call, work)


def test_lines(call):
    async def work(_, get, post):
        await post(request(("hits_total", {"code": "200"}, grown(3)), ("hits_total", {"code": "500"}, grown(5))))
        asked = {"match": "hits_total", "from": str(NOW - 60 * SECOND), "to": str(NOW - SECOND), "step": "10s"}
        found = await get("lines", **asked)
        assert (found["step_seconds"], found["mode"], found["matched"], found["more"]) == (10.0, "raw", 2, False)
        start = int(found["from_unix_nano"])
        assert start % (10 * SECOND) == 0
        by_code = {one["labels"]["code"]: one["values"] for one in found["series"]}
        for code, by in (("200", 3), ("500", 5)):
            for at, value in enumerate(by_code[code]):
                seconds = (start + at * 10 * SECOND - (NOW - 60 * SECOND)) // SECOND
                assert value == (None if seconds < 0 else seconds * by)
        rates = await get("lines", **asked, mode="rate")
        for one in rates["series"]:
            present = [value for value in one["values"] if value is not None]
            assert present == pytest.approx([{"200": 3, "500": 5}[one["labels"]["code"]]] * len(present))
            assert len(present) >= 5
        limited = await get("lines", **asked, limit=1)
        assert (len(limited["series"]), limited["matched"], limited["more"]) == (1, 2, True)
        # Nothing in the range: no line, and no error.
        assert (await get("lines", match="hits_total", to=str(NOW - 3600 * SECOND)))["series"] == []

    served(call, work)


def test_stale_markers_end_a_line(call):
    async def work(_, get, post):
        ended = [(NOW - 60 * SECOND, 1.0), (NOW - 50 * SECOND, 2.0), (NOW - 40 * SECOND, None)]
        await post(request(("hits_total", {}, ended)))
        asked = {"match": "hits_total", "from": str(NOW - 60 * SECOND), "to": str(NOW), "step": "10s"}
        (line,) = (await get("lines", **asked))["series"]
        start = NOW - 60 * SECOND - (NOW - 60 * SECOND) % (10 * SECOND)
        ages = [(start + at * 10 * SECOND - (NOW - 60 * SECOND)) // SECOND for at in range(len(line["values"]))]
        wanted = [1.0 if 0 <= age < 10 else 2.0 if 10 <= age < 20 else None for age in ages]
        assert line["values"] == wanted
        (found,) = (await get("samples", match="hits_total"))["series"]
        assert [one["value"] for one in found["samples"]] == ["1.0", "2.0", "stale"]

    served(call, work)


def test_series_that_are_too_many_for_memory_are_looked_at_in_parts(tmp_path, monkeypatch):
    store = Store(tmp_path / "s.db", Limits())
    origin = store.registry.origin(Resource.of({}))
    numbers = [store.registry.number(origin, "m", {"n": n}, Kind()) for n in range(9)]
    for step in range(70):
        times = np.full(9, step * SECOND, np.int64)
        store.append([], [], step + 1, Samples(np.array(numbers, np.uint32), times, np.arange(9.0), 9))
    reader = Reader(str(store.path))
    answers = []
    for most in (1_000_000, 200, 1):
        monkeypatch.setattr(select, "TOGETHER", most)
        parts = list(select.held(reader, numbers, 0, 1 << 62, math.inf))
        assert len(parts) == {1_000_000: 1, 200: 5, 1: 9}[most]
        answers.append(
            {key: (one.times.tolist(), one.values.tolist()) for part in parts for key, one in part.samples.items()}
        )
        assert sum(part.arrived for part in parts) == 630
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 9
    with pytest.raises(TimedOut):
        list(select.held(reader, numbers, 0, 1 << 62, 0))
    reader.close()
    store.close()


def test_counts(call):
    async def work(backend, get, post):
        body = request(("hits_total", {"code": "200"}, grown(1)), ("hits_total", {"code": "500"}, grown(2)))
        await post(body)
        await post(body)  # a sender that had no answer
        await post(request(("hits_total", {"code": "200"}, [(NOW, None)])))
        assert await get("count") == {"count": 120, "series": 2, "stale_markers": 1, "duplicates": 120}
        found = await get("count", by="code", match='{code=~"2.."}')
        assert found["groups"] == [{"values": {"code": "200"}, "count": 60, "series": 1}]
        assert (await get("count", **{"from": str(NOW - 10 * SECOND)}))["count"] == 20
        assert (await backend.ask("metrics/count", {"match": "hits_total"}))["count"] == 120
        assert len((await backend.samples('hits_total{code="500"}'))[0]["samples"]) == 60
        status = (await call("GET", backend.url + "/api/v1/status")).json
        assert status["series"]["held"] == 2
        assert status["signals"]["metrics"]["accepted"] == 241

    served(call, work)


@pytest.mark.parametrize(
    ("question", "asked", "why"),
    [
        ("series", {}, "say which series"),
        ("series", {"match": "{"}, 'label="value" is missing'),
        ("lines", {"match": 'a{b=~"("}'}, "is no regular expression"),
        ("lines", {"match": "a", "mode": "sum"}, '"raw" or "rate"'),
        ("lines", {"match": "a", "step": "soon"}, "is no duration"),
        ("lines", {"match": "a", "step": "1us"}, "less than a millisecond"),
        ("lines", {"match": "a", "from": "-24h", "step": "1s"}, "more than 11000 steps"),
        ("lines", {"match": "a", "from": "now", "to": "-1m"}, "not before"),
        ("lines", {"match": "a", "from": "yesterday"}, "is no time"),
        ("values", {}, "label: say which one"),
        ("names", {"limit": "0"}, "is no number"),
    ],
)
def test_mistakes_are_told(call, question, asked, why):
    async def work(_, get, post):
        assert why in (await get(question, 400, **asked))["error"]

    served(call, work)


def test_points_of_an_answer_are_bounded(call):
    async def work(_, get, post):
        await post(request(*((f"m{n}", {}, [(NOW, 1.0)]) for n in range(100))))
        asked = {"match": '{__name__=~"m.*"}', "from": "-10990s", "step": "1s"}
        assert "1000000 points" in (await get("lines", 400, **asked))["error"]
        assert len((await get("lines", **asked, limit=2))["series"]) == 2
        assert (await get("samples", match='{__name__=~"m.*"}', limit=7))["more"]

    served(call, work)


def test_series_without_room_are_told_to_the_sender(call):
    async def work(backend, get, post):
        reply = await post(request(*((f"m{n}", {}, [(NOW, 1.0)]) for n in range(5))))
        told = ExportMetricsServiceResponse.FromString(reply.body).partial_success
        assert told.rejected_data_points == 2
        assert "--max-series" in told.error_message
        json = {
            "resourceMetrics": [
                {"scopeMetrics": [{"metrics": [{"name": "x", "gauge": {"dataPoints": [{"asInt": 1}]}}]}]}
            ]
        }
        reply = await call(
            "POST", backend.url + "/v1/metrics", dumps(json).encode(), {"content-type": "application/json"}
        )
        assert (reply.status, reply.json["partialSuccess"]["rejectedDataPoints"]) == (200, "1")
        reply = await call(
            "POST", backend.url + "/", b"y 1\n", {"content-type": "application/vnd.sumologic.prometheus"}
        )
        assert (reply.status, reply.json["code"]) == (200, "metrics:dropped")
        assert (await get("count"))["count"] == 3
        assert (await call("GET", backend.url + "/api/v1/status")).json["signals"]["metrics"]["accepted"] == 3

    served(call, work, limits=Limits(max_series=3))


def test_text_of_a_http_source_says_where_it_is_wrong(call):
    async def work(backend, get, post):
        kind = {"content-type": "application/vnd.sumologic.prometheus", "x-sumo-fields": "cluster=k"}
        reply = await call("POST", backend.url + "/receiver/x", b'a{b="c"} 1 1000\nnonsense\n', kind)
        assert (reply.status, reply.json["errors"][0]["code"]) == (400, "body:invalid")
        assert re.search("line 2: ", reply.json["errors"][0]["message"])
        reply = await call("POST", backend.url + "/receiver/x", b'a{b="c"} 1 1000\n', kind)
        assert (reply.status, reply.body) == (200, b"")
        (found,) = await backend.samples('a{cluster="k"}')
        assert found["labels"] == {"cluster": "k", "b": "c"}
        assert found["samples"] == [{"time_unix_nano": "1000000000", "value": "1.0"}]

    served(call, work)


def test_a_request_of_nothing_but_tiny_points_is_refused(call):
    async def work(backend, get, post):
        gauge = b"\x2a" + varint(4_000_002) + b"\x0a\x00" * 2_000_001
        metric = b"\x12" + varint(len(gauge)) + gauge
        scope = b"\x12" + varint(len(metric)) + metric
        reply = await call("POST", backend.url + "/v1/metrics", b"\x0a" + varint(len(scope)) + scope, PROTOBUF)
        assert reply.status == 400
        assert b"too many" in reply.body
        assert (await get("count"))["series"] == 0

    served(call, work)
