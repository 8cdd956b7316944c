"""Remote write to OTLP, against a plain reading of the same messages."""

import asyncio
import gc
import itertools
import math
import random
import struct
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.codecs import remote_write, remote_write_1
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write import Limits, NoRoom
from hawse.codecs.remote_write_cache import EPOCH
from hawse.codecs.remote_write_schema import message
from hawse.wire import WireError, field, varint

from .remote_write import (
    LABELS,
    NOW,
    STALE,
    VERSIONS,
    One,
    Two,
    attributes,
    bits,
    double,
    expected,
    memory,
    metrics,
    points,
    read,
)

# --- floats ---------------------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    "value", [1.5, 0.0, -0.0, math.inf, -math.inf, 5e-324, double(STALE), double(0x7FF8000000000001), 2.0**63, -1.0]
)
def test_one_sample_and_the_next(request_of, value):
    known = memory()
    for at in (NOW, NOW + 15_000, NOW + 30_000):
        data, written = read(request_of().series(LABELS, [(value, at)]), known)
        assert points(data) == [expected(LABELS, "gauge", value, at)]
        assert (written.samples, written.invalid) == (1, {})
    assert len(known.forms) == 1


@VERSIONS
def test_job_instance_and_the_pod_are_the_resource(request_of):
    data, _ = read(request_of().series(LABELS, [(1, NOW)]))
    (group,) = data.resource_metrics
    assert attributes(group.resource.attributes) == {
        "service.name": "shop/api", "service.instance.id": "10.0.0.1:80", "k8s.namespace.name": "shop", "k8s.pod.name": "api-1",
    }  # fmt: skip
    (scope,) = group.scope_metrics
    assert scope.scope.name == "github.com/hawse/hawse/receivers/prometheusremotewrite"
    (metric,) = scope.metrics
    assert (metric.name, attributes(metric.metadata)) == ("up", {"prometheus.type": "unknown"})
    assert attributes(metric.gauge.data_points[0].attributes) == {"namespace": "shop", "pod": "api-1", "x": "y"}


@VERSIONS
def test_one_group_for_each_target_and_one_metric_for_each_name(request_of):
    known = memory()
    order = [
        {**LABELS, "pod": pod, "__name__": name, "x": x} for x in "123" for name in ("a", "b") for pod in ("p1", "p2")
    ]
    for at in (NOW, NOW + 1):
        made = request_of()
        for number, labels in enumerate(order):
            made.series(labels, [(number, at)])
        data, _ = read(made, known)
        assert len(data.resource_metrics) == 2
        assert [[m.name for m in g.scope_metrics[0].metrics] for g in data.resource_metrics] == [["a", "b"]] * 2
        wanted = [expected(labels, "gauge", number, at) for number, labels in enumerate(order)]
        assert sorted(points(data)) == sorted(wanted)


LABEL_NAMES = st.sampled_from(["a", "b", "job", "instance", "namespace", "pod", "ü", "long" * 40])
TEXTS = st.sampled_from(["", "x", "é" * 70, "v" * 200, "\n\x12\x10\t", "\x12\x07\x10", "0"])
SERIES = st.builds(
    lambda name, rest: {"__name__": name, **rest},
    st.sampled_from(["m", "n_total", "ö.x"]),
    st.dictionaries(LABEL_NAMES, TEXTS, max_size=4),
)
VALUES = st.one_of(st.sampled_from([0.0, 1.0, double(STALE), math.nan, -0.0]), st.floats(width=64))
TIMES = st.one_of(
    st.integers(NOW - 10**6, NOW + 10**6),
    st.sampled_from([1, 127, 2**35 - 1, 2**35, 2**42 - 1, 2**42, 18_446_744_073_708]),
)
SAMPLES = st.one_of(
    st.tuples(st.tuples(VALUES, st.just(NOW))), st.lists(st.tuples(VALUES, TIMES), min_size=0, max_size=3)
)


@VERSIONS
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_sample_comes_out_as_it_went_in(request_of, data):
    known = memory()
    pool = data.draw(st.lists(SERIES, min_size=1, max_size=6, unique_by=lambda labels: tuple(sorted(labels.items()))))
    for number in range(data.draw(st.integers(1, 4))):
        made, wanted = request_of(*([number] if request_of is Two else [])), []
        for labels in data.draw(st.lists(st.sampled_from(pool), max_size=8)):
            samples = data.draw(SAMPLES)
            made.series(labels, samples)
            wanted += [expected(labels, "gauge", value, at) for value, at in samples]
        found, written = read(made, known)
        assert Counter(points(found)) == Counter(wanted)
        assert written.samples == len(wanted)
        assert written.invalid == {}


@VERSIONS
def test_many_series_again_and_again_in_changing_order(request_of):
    rng = random.Random(3)
    known = memory()
    pool = [{**LABELS, "__name__": f"m{n % 7}", "pod": f"p{n % 5}", "n": str(n)} for n in range(600)]
    for turn in range(6):
        at = NOW + 15_000 * turn
        begin = rng.randrange(len(pool))
        some = pool[begin:] + pool[:begin] if turn % 2 else rng.sample(pool, 400)
        values = [rng.choice([0.0, rng.random(), double(STALE)]) for _ in some]
        made = request_of()
        for labels, value in zip(some, values, strict=True):
            made.series(labels, [(value, at)])
        data, written = read(made, known)
        wanted = [expected(labels, "gauge", value, at) for labels, value in zip(some, values, strict=True)]
        assert Counter(points(data)) == Counter(wanted)
        assert written.samples == len(some)


def scrape(pod, number):
    """The series of a target in the order of a scrape: counters, a histogram whose parts take turns, gauges."""
    labels = {**LABELS, "pod": pod, "instance": f"{pod}:80"}
    for n in range(number):
        yield {**labels, "__name__": f"c{n // 30}_total", "n": str(n)}
    for n in range(number // 4):
        for le in ("1", "2", "+Inf"):
            yield {**labels, "__name__": "h_bucket", "n": str(n), "le": le}
        yield {**labels, "__name__": "h_sum", "n": str(n)}
    for n in range(number):
        yield {**labels, "__name__": f"g{n // 10}", "n": str(n)}


@VERSIONS
def test_requests_that_begin_anywhere_in_the_order_of_scrapes(request_of):
    """Segments are remembered and fit; a series more or less, a value that is zero now, do no harm."""
    rng = random.Random(5)
    known = memory()
    stream = [labels for pod in ("p1", "p2", "p3") for labels in scrape(pod, 150)]
    dropped = set()
    position, kept = 0, []
    for turn in range(24):
        made, wanted = request_of(*([turn] if request_of is Two else [])), []
        at = NOW + 1000 * turn
        for labels in itertools.islice(itertools.cycle(stream), position, position + 500):
            if labels["__name__"] + labels["n"] in dropped:
                continue
            value = rng.choice([0.0, rng.random()]) if turn % 8 == 7 else rng.random()
            made.series(labels, [(value, at)], family=("gauge", "", ""))
            wanted.append(expected(labels, "gauge", value, at))
        position = (position + 500) % len(stream)
        if turn == 12:
            dropped = {"c1_total40", "h_sum7", "g1499"}
        data, written = read(made, known)
        assert Counter(points(data)) == Counter(wanted)
        assert written.samples == len(wanted)
        kept.append(sum(form.segment is not None for form in known.forms.get.__self__.values()))
        for group in data.resource_metrics:
            names = [metric.name for metric in group.scope_metrics[0].metrics]
            assert len(names) < 40
    assert kept[8] > 10


def test_metadata_reach_segments():
    known = memory()
    for turn, (type_, kind) in enumerate((("counter", "sum"), ("gauge", "gauge"), ("counter", "sum"))):
        read(One().metadata("c1", type_), known)
        for at in (turn * 2, turn * 2 + 1):
            made = One()
            for labels in itertools.chain(scrape("p0", 20), scrape("p1", 200), scrape("p2", 20)):
                made.series(labels, [(1.0, NOW + at)])
            data, _ = read(made, known)
            found = Counter((name, kind) for _, name, kind, *_ in points(data) if name == "c1_total")
            assert set(found) == {("c1_total", kind)}
    assert sum(form.segment is not None for form in known.forms.get.__self__.values()) > 3


# --- metadata -------------------------------------------------------------------------------------------------------------


def kinds(data):
    return {
        metric.name: (metric.WhichOneof("data"), attributes(metric.metadata)["prometheus.type"], metric.description, metric.unit)
        for metric in metrics(data)
    }  # fmt: skip


NAMES = ["c_total", "g", "h_bucket", "h_sum", "h_count", "s", "s_sum", "i_info", "st", "x", "other_total"]
KNOWN = {
    "c_total": ("sum", "counter", "C.", ""),
    "g": ("gauge", "gauge", "G.", "bytes"),
    "h_bucket": ("gauge", "unknown", "H.", ""),
    "h_sum": ("gauge", "unknown", "H.", ""),
    "h_count": ("gauge", "unknown", "H.", ""),
    "s": ("gauge", "unknown", "S.", ""),
    "s_sum": ("gauge", "unknown", "S.", ""),
    "i_info": ("sum", "info", "I.", ""),
    "st": ("sum", "stateset", "", ""),
    "x": ("gauge", "unknown", "", ""),
    "other_total": ("gauge", "unknown", "", ""),
}


def test_types_come_with_metadata_of_their_own_in_1_0():
    known = memory()

    def values(at):
        made = One()
        for name in NAMES:
            made.series({**LABELS, "__name__": name}, [(1, at)])
        return made

    data, _ = read(values(NOW), known)
    assert {kind[:2] for kind in kinds(data).values()} == {("gauge", "unknown")}
    told = One().metadata("c", "counter", "C.").metadata("g", "gauge", "G.", "bytes").metadata("h", "histogram", "H.")
    told.metadata("s", "summary", "S.").metadata("i", "info", "I.").metadata("st", "stateset").metadata("x", "unknown")
    data, written = read(told, known)
    assert (metrics(data), written.samples, written.invalid) == ([], 0, {})
    for at in (NOW + 1, NOW + 2):
        data, _ = read(values(at), known)
        assert kinds(data) == KNOWN
    by_name = {metric.name: metric for metric in metrics(data)}
    assert by_name["c_total"].sum.is_monotonic
    assert not by_name["st"].sum.is_monotonic
    assert {m.sum.aggregation_temporality for m in by_name.values() if m.WhichOneof("data") == "sum"} == {2}
    read(One().metadata("c_total", "gauge", "Changed."), known)  # the text format's counters have the name in full
    data, _ = read(values(NOW + 3), known)
    assert kinds(data)["c_total"] == ("gauge", "gauge", "Changed.", "")


def test_types_come_with_the_series_in_2_0():
    known = memory()
    for at in (NOW, NOW + 1):
        made = Two()
        for name, (_, type_, help_, unit) in KNOWN.items():
            family = "histogram" if name.startswith("h_") else "summary" if name[0:2] in {"s", "s_"} else type_
            made.series({**LABELS, "__name__": name}, [(1, at)], family=(family, help_, unit))
        data, _ = read(made, known)
        assert kinds(data) == KNOWN


def test_the_same_name_of_two_targets_may_have_two_types_in_2_0():
    made = Two().series(LABELS, [(1, NOW)], family=("gauge", "", ""))
    made.series({**LABELS, "pod": "p2"}, [(1, NOW)], family=("counter", "", ""))
    data, _ = read(made)
    assert [metric.WhichOneof("data") for metric in metrics(data)] == ["gauge", "sum"]


@pytest.mark.parametrize("in_sample", [False, True], ids=["rc.3", "rc.4"])
def test_created_timestamps_are_start_times(in_sample):
    known = memory()
    for at, start in ((NOW, NOW - 5000), (NOW + 1, NOW - 5000), (NOW + 2, NOW), (NOW + 3, 0), (NOW + 4, 5)):
        for value in (0.0, 2.5, double(STALE)):
            made = Two().series(LABELS, [(value, at)], family=("counter", "", ""), start=start, in_sample=in_sample)
            assert points(read(made, known)[0]) == [expected(LABELS, "sum", value, at, start)]


# --- what cannot be taken -------------------------------------------------------------------------------------------------

BAD_LABELS = [
    ([("job", "x")], "no_name", "there is no __name__"),
    ([("__name__", "")], "no_name", "there is no __name__"),
    ([("__name__", "a"), ("x", "1"), ("x", "2")], "duplicate_label", "'x' is there twice"),
    ([("__name__", "a"), ("", "2")], "empty_label_name", "a label has no name"),
    ([("__name__", "a"), ("x", b"\xff")], "not_utf8", "no UTF-8"),
    ([("__name__", b"a\xc3\x28")], "not_utf8", "no UTF-8"),
    ([], "no_name", "there is no __name__"),
]


@VERSIONS
@pytest.mark.parametrize(
    ("labels", "reason", "says"), BAD_LABELS, ids=[f"{reason}-{n}" for n, (_, reason, _) in enumerate(BAD_LABELS)]
)
@pytest.mark.parametrize("samples", [1, 2])
def test_a_wrong_series_is_left_out_and_the_others_are_taken(request_of, labels, reason, says, samples):
    made = request_of().series(LABELS, [(1, NOW)])
    made.series(labels, [(1, NOW), (2, NOW + 1)][:samples]).series({**LABELS, "x": "z"}, [(2, NOW)])
    data, written = read(made)
    assert [point[-1] for point in points(data)] == [bits(1.0), bits(2.0)]
    assert written.invalid == {reason: samples}
    assert says in written.message


@VERSIONS
@pytest.mark.parametrize("at", [0, -5, 18_446_744_073_710, 2**62])
def test_a_time_that_is_none(request_of, at):
    data, written = read(request_of().series(LABELS, [(1, at)]).series(LABELS, [(2, NOW)]))
    assert [point[-1] for point in points(data)] == [bits(2.0)]
    assert written.invalid == {"bad_timestamp": 1}
    assert '__name__="up"' in written.message


def test_references_to_nothing():
    made = Two().series(LABELS, [(1, NOW)])
    wrong = message("TimeSeries2")(labels_refs=[1, 900_000])
    wrong.samples.add(value=1, timestamp=NOW)
    odd = message("TimeSeries2")(labels_refs=[1, 2, 3])
    odd.samples.add(value=1, timestamp=NOW)
    huge = message("TimeSeries2")(labels_refs=[1, 2**32 - 1])
    huge.samples.add(value=1, timestamp=NOW)
    story = message("TimeSeries2")(labels_refs=[1, 2])
    story.metadata.help_ref = 99
    story.samples.add(value=1, timestamp=NOW)
    made.made += [one.SerializeToString() for one in (wrong, odd, huge, story)]
    made.series({**LABELS, "x": "z"}, [(2, NOW)])
    data, written = read(made)
    assert [point[-1] for point in points(data)] == [bits(1.0), bits(2.0)]
    assert written.invalid == {"bad_reference": 4}


def test_references_that_are_not_packed():
    pairs = b"".join(b"\x08" + varint(number) for number in (1, 2, 3, 4))
    made = Two()
    for text in ("__name__", "m", "job", "j"):
        made.ref(text)
    made.made.append(pairs + field(2, b"\x09" + struct.pack("<d", 2.5) + b"\x10" + varint(NOW)))
    assert points(read(made)[0]) == [expected({"__name__": "m", "job": "j"}, "gauge", 2.5, NOW)]


@VERSIONS
def test_any_cut_is_told_or_harmless(request_of):
    body = request_of().series(LABELS, [(1, NOW)]).series({**LABELS, "x": "z"}, [(0, NOW)]).body()
    known = memory()
    asyncio.run(request_of.read(body, known, Limits()))
    for cut in range(len(body)):
        for of in (known, memory()):
            try:
                written = asyncio.run(request_of.read(body[:cut], of, Limits()))
            except WireError:
                continue
            assert written.samples + sum(written.invalid.values()) < 2


@VERSIONS
def test_limits(request_of):
    made = request_of()
    for number in range(20):
        made.series({**LABELS, "n": str(number)}, [(1, NOW)])
    known = memory()
    for _ in range(2):
        assert read(made, known, items=20)[1].samples == 20
        with pytest.raises(TooMany, match="more than 19"):
            read(made, known, items=19)
        with pytest.raises(TooMany, match="unfolds to more bytes"):
            read(made, known, size=1000)


@VERSIONS
def test_what_is_made_on_the_way_is_charged(request_of):
    """A text of 2.0 that all series refer to, names and targets without number: the memory says when it is enough."""
    made = request_of()
    for number in range(400):
        made.series({"__name__": f"m{number}", "job": f"j{number}", "long": "x" * 100_000}, [(1, NOW)])
    body = made.body()
    charged = []

    def acquire(size, held):
        assert held == sum(charged)
        charged.append(size)
        return sum(charged) < 10 << 20

    with pytest.raises(NoRoom):
        asyncio.run(request_of.read(body, memory(), Limits(acquire=acquire)))
    assert 10 << 20 <= sum(charged) < 12 << 20
    few = Limits(acquire=lambda size, held: True)
    written = asyncio.run(request_of.read(body, memory(), few))
    assert written.samples == 400
    assert few.held > 40_000_000


# --- memory ---------------------------------------------------------------------------------------------------------------


@VERSIONS
def test_series_of_a_stranger_do_not_grow_the_memory_nor_push_out_others(request_of):
    known = memory(200_000)
    mine = request_of().series(LABELS, [(1, NOW)]).body()
    asyncio.run(request_of.read(mine, known, Limits()))
    for turn in range(10):
        made = request_of()
        for number in range(300):
            made.series({"__name__": f"m{turn}_{number}", "job": f"{turn}-{number}"}, [(1, NOW)])
        _, written = read(made, known)
        assert written.samples == 300
        assert known.usage.bytes < 300_000
    before, full = len(known.forms), known.forms.full
    assert 20 < before < 300
    asyncio.run(request_of.read(mine, known, Limits()))
    assert (len(known.forms), known.forms.full) == (before, full)  # known still


@VERSIONS
def test_what_is_counted_is_what_is_held(request_of):
    limit = 600_000
    known = memory(limit)
    tracemalloc.start()
    try:
        for turn in range(3):
            made = request_of()
            for labels in scrape(f"p{turn}", 220):
                made.series({**labels, "path": "x" * 100}, [(1.0, NOW + turn)])
            body = made.body()
            del made
            for _ in range(2):
                asyncio.run(request_of.read(body, known, Limits()))
            del body
        gc.collect()
        held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*remote_write*")])
        size = sum(one.size for one in held.statistics("filename"))
    finally:
        tracemalloc.stop()
    assert 0.9 * limit < known.usage.bytes <= limit
    assert known.forms.full > 100
    assert 0.7 * limit < size < 1.5 * limit, size  # with the tables of texts and labels


@VERSIONS
def test_what_is_not_seen_for_a_while_is_forgotten(request_of):
    known = memory()
    made = request_of()
    for number in range(50):
        made.series({**LABELS, "n": str(number), "pod": str(number)}, [(1, NOW)])
    read(made, known)
    kept = request_of().series({**LABELS, "n": "7", "pod": "7"}, [(1, NOW)])
    now = known.forms.epoch * EPOCH
    for turn in range(4):
        known.forms.turn(now + turn * EPOCH)
        epoch = known.forms.epoch
        known.forms.turn = lambda _: None
        read(kept, known)
        del known.forms.turn
        assert known.forms.epoch == epoch
    assert len(known.forms) == 1
    assert known.usage.bytes < 5000
    assert points(read(kept, known)[0])


def test_metadata_are_bounded():
    known = memory(80_000)
    for turn in range(30):
        made = One()
        for number in range(20):
            made.metadata(f"m{turn}_{number}", "counter", "help" * 10)
        read(made, known)
    assert len(known.families._known) < 30
    assert known.families.of(b"m29_19").type == "counter"
    assert known.families.of(b"m0_0").type == "unknown"


def test_a_large_request_is_encoded_in_parts(monkeypatch):
    monkeypatch.setattr(remote_write, "_AT_ONCE", 2000)
    known = memory()
    for turn in range(3):
        made, wanted = One(), []
        for number in range(4_500):
            labels = {"__name__": f"m{number // 100}", "job": f"j{number // 700}", "n": str(number)}
            value = double(STALE) if turn == 1 and number in {5, 2_000, 4_499} else number + 1.0
            made.series(labels, [(value, NOW)])
            wanted.append(expected(labels, "gauge", value, NOW))
        if turn == 1:
            made.series(LABELS, [(1.0, NOW), (2.0, NOW)])
            wanted += [expected(LABELS, "gauge", value, NOW) for value in (1.0, 2.0)]
        data, written = read(made, known)
        assert written.samples == len(wanted)
        assert Counter(points(data)) == Counter(wanted)


def test_a_long_request_lets_others_have_their_turn():
    made = One()
    for number in range(4000):
        made.series({**LABELS, "n": str(number)}, [(1, NOW)])
    body = made.body()
    turns = itertools.count()

    async def tick():
        while True:
            next(turns)
            await asyncio.sleep(0)

    async def run():
        task = asyncio.create_task(tick())
        await remote_write_1.read(body, memory(), Limits())
        task.cancel()

    asyncio.run(run())
    assert next(turns) > 3


def test_what_looks_like_nothing_known_is_malformed():
    """Found by fuzzing: what stood for no series was taken for one."""
    with pytest.raises(WireError):
        read(b"\xff" * 8)


def test_the_start_of_a_sample_counts_before_that_of_the_series():
    """Found by fuzzing: a series was known again by its created timestamp, and had the start of another."""
    known = memory()
    for since in (NOW - 5, NOW - 9):
        made = Two().series(LABELS, [(1.5, NOW)], start=since, in_sample=True)
        made.made = [one + b"\x30" + varint(NOW - 7) for one in made.made]
        assert points(read(made, known)[0]) == [expected(LABELS, "gauge", 1.5, NOW, since)]
