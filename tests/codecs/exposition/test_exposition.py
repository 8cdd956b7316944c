"""Texts through the codec, and back to series by the plain way of `prometheus_series`: they must be what was exposed."""

import asyncio
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from hawse.batch import Batch, Signal
from hawse.codecs.exposition import Exposition, ExpositionError, LimitExceeded, Limits, Settings
from hawse.codecs.otlp import decode
from hawse.codecs.prometheus_series import series

NOW = 1_700_000_000_000_000_000
TEXT = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TARGET = {"job": "j", "instance": "i:1"}
PLAIN = Settings()


def plainly(groups):
    """`{labels: (value, ms)}`; None as the value of a stale marker. Each series at most once."""
    batch = Batch(Signal.METRICS, groups)
    decoded = decode(Signal.METRICS, batch.encode())
    assert decoded.items == batch.items
    found = {}
    for labels, value, time in series(batch):
        key = frozenset(labels.items())
        assert key not in found, labels
        stale = value != value and struct_bits(value) == 0x7FF0000000000002
        found[key] = (None if stale else value, time)
    return found


def struct_bits(value):
    import struct

    return int.from_bytes(struct.pack(">d", value), "big")


def named(name, value, time=NOW // 1_000_000, **labels):
    return frozenset({"__name__": name, **TARGET, **labels}.items()), (value, time)


def read(exposition, body, at=NOW, content_type=TEXT):
    return asyncio.run(exposition.read(body.encode() if isinstance(body, str) else body, content_type, at))


def otlp(groups):
    return ExportMetricsServiceRequest.FromString(Batch(Signal.METRICS, groups).encode())


EXAMPLE = r"""# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="1.0"} 33444
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds{quantile="0.99"} NaN
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"""


def test_all_series_of_an_exposition_come_out_as_they_went_in():
    found = plainly(read(Exposition({}, TARGET), EXAMPLE).groups)
    nan = [key for key, (value, _) in found.items() if value is not None and math.isnan(value)]
    assert len(nan) == 1
    assert ("quantile", "0.99") in nan[0]
    del found[nan[0]]
    assert found == dict(
        [
            named("http_requests_total", 1027, method="post", code="200"),
            named("http_requests_total", 3, 1395066363000, method="post", code="400"),
            named("msdos_file_access_time_seconds", 1.458255915e9, path="C:\\DIR\\FILE.TXT",
                  error='Cannot find file:\n"FILE.TXT"'),
            named("metric_without_timestamp_and_labels", 12.47),
            named("something_weird", math.inf, problem="division by zero"),
            named("http_request_duration_seconds_bucket", 24054, le="0.05"),
            named("http_request_duration_seconds_bucket", 33444, le="1.0"),
            named("http_request_duration_seconds_bucket", 144320, le="+Inf"),
            named("http_request_duration_seconds_sum", 53423),
            named("http_request_duration_seconds_count", 144320),
            named("rpc_duration_seconds", 3102, quantile="0.01"),
            named("rpc_duration_seconds_sum", 1.7560473e7),
            named("rpc_duration_seconds_count", 2693),
        ]
    )  # fmt: skip


def test_metrics_say_what_they_were():
    request = otlp(read(Exposition({"server.address": "host"}, TARGET), EXAMPLE).groups)
    resource = {one.key: one.value.string_value for one in request.resource_metrics[0].resource.attributes}
    assert resource == {"service.name": "j", "service.instance.id": "i:1", "server.address": "host"}
    metrics = {one.name: one for one in request.resource_metrics[0].scope_metrics[0].metrics}
    counter = metrics["http_requests_total"]
    assert counter.description == "The total number of HTTP requests."
    assert counter.sum.is_monotonic
    assert counter.sum.aggregation_temporality == 2
    assert counter.sum.data_points[0].start_time_unix_nano == NOW
    assert counter.metadata[0].value.string_value == "counter"
    histogram = metrics["http_request_duration_seconds"].histogram.data_points[0]
    assert list(histogram.bucket_counts) == [24054, 9390, 110876]
    assert list(histogram.explicit_bounds) == [0.05, 1.0]
    assert (histogram.count, histogram.sum) == (144320, 53423)
    assert metrics["metric_without_timestamp_and_labels"].WhichOneof("data") == "gauge"
    assert [one.quantile for one in metrics["rpc_duration_seconds"].summary.data_points[0].quantile_values] == [
        0.01,
        0.99,
    ]


def test_later_scrapes_only_bring_numbers_and_a_counter_that_falls_begins_anew():
    exposition = Exposition({}, TARGET)
    body = '# TYPE a counter\na{x="1"} 10\na{x="2"} 20\n'
    assert read(exposition, body).added == 2
    second = read(exposition, '# TYPE a counter\na{x="1"} 11\na{x="2"} 3\n', NOW + 10**9)
    assert (second.samples, second.kept, second.added) == (2, 2, 0)
    points = otlp(second.groups).resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    assert [(one.as_double, one.start_time_unix_nano, one.time_unix_nano) for one in points] == [
        (11, NOW, NOW + 10**9),
        (3, NOW + 10**9, NOW + 10**9),
    ]


def test_a_series_that_vanishes_is_marked_and_others_keep_their_start():
    exposition = Exposition({}, TARGET)
    read(exposition, '# TYPE a counter\na{x="1"} 10\na{x="2"} 20\n# TYPE b gauge\nb 1\n')
    after = read(exposition, '# TYPE a counter\na{x="2"} 25\na{x="3"} 1\n# TYPE b gauge\nb 1\n', NOW + 10**9)
    assert after.added == 1
    later = (NOW + 10**9) // 10**6
    assert plainly(after.groups) == dict(
        [
            named("a", 25, later, x="2"),
            named("a", 1, later, x="3"),
            named("b", 1, later),
            named("a", None, later, x="1"),
        ]
    )
    metrics = otlp(after.groups).resource_metrics[0].scope_metrics[0].metrics
    starts = {
        one.attributes[0].value.string_value: one.start_time_unix_nano for m in metrics for one in m.sum.data_points
    }
    assert starts["2"] == NOW
    assert starts["3"] == NOW + 10**9
    third = read(exposition, '# TYPE a counter\na{x="2"} 26\na{x="3"} 1\n# TYPE b gauge\nb 1\n', NOW + 2 * 10**9)
    assert len(plainly(third.groups)) == 3


def test_stale_marks_all_series_once():
    exposition = Exposition({}, TARGET)
    before = plainly(read(exposition, EXAMPLE).groups)
    marked = plainly(exposition.stale(NOW + 5 * 10**9))
    timed = named("http_requests_total", 3, method="post", code="400")[0]
    assert marked == {key: (None, NOW // 10**6 + 5000) for key in before if key != timed}
    assert exposition.stale(NOW) == ()
    tracking = Exposition({}, TARGET, None, Settings(track_timestamps_staleness=True))
    read(tracking, EXAMPLE)
    assert plainly(tracking.stale(NOW + 5 * 10**9)).keys() == before.keys()


def test_stale_of_untimed_series_is_a_copy_with_flags():
    exposition = Exposition({}, TARGET)
    body = EXAMPLE.replace(" 1395066363000", "")
    before = plainly(read(exposition, body).groups)
    assert plainly(exposition.stale(NOW)) == {key: (None, NOW // 10**6) for key in before}


@pytest.mark.parametrize("change", ["24054.5", "50000", "NaN"])
def test_a_histogram_that_otlp_cannot_hold_stays_single_series(change):
    exposition = Exposition({}, TARGET)
    read(exposition, EXAMPLE)
    body = EXAMPLE.replace("24054", change)
    for _ in range(2):
        found = plainly(read(exposition, body, NOW).groups)
        assert len(found) == 14
        value = found[named("http_request_duration_seconds_bucket", 0, le="0.05")[0]][0]
        assert value == float(change) or math.isnan(value)
        assert found[named("http_request_duration_seconds_count", 0)[0]][0] == 144320


@pytest.mark.parametrize(
    "lines",
    [
        'h_bucket{le="1"} 1\nh_sum 1\nh_count 1\n',
        'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_count 1\n',
        'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_sum 3\n',
        'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 3\n',
        'h_bucket{le="x"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n',
        'h_bucket{le="1"} 1\nh_bucket{le="1.0"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n',
        'h_bucket{le="1"} 1 5\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n',
    ],
)
def test_half_a_histogram_stays_single_series(lines):
    found = plainly(read(Exposition({}, TARGET), "# TYPE h histogram\n" + lines).groups)
    assert len(found) == lines.count("\n")


def test_openmetrics():
    body = """# HELP foo Says "quoted" \\"things\\".
# TYPE foo counter
# UNIT foo seconds
foo_total{a="1"} 17.0 1520879607.789 # {trace_id="0af7651916cd43dd8448eb211c80319c",other="x"} 0.5 1520879600.5
foo_created{a="1"} 1520872607.123
# TYPE lat histogram
lat_bucket{le="1.0"} 1 # {span_id="00f067aa0ba902b7"} 0.7
lat_bucket{le="+Inf"} 3
lat_sum 4.5
lat_count 3
lat_created 1520872607.5
# TYPE build info
build_info{version="1"} 1
# TYPE state stateset
state{state="a"} 1
state{state="b"} 0
# EOF
"""
    exposition = Exposition({}, TARGET)
    for moment in (NOW, NOW + 10**9):
        scraped = read(exposition, body, moment, OPENMETRICS)
        metrics = {one.name: one for one in otlp(scraped.groups).resource_metrics[0].scope_metrics[0].metrics}
        assert set(metrics) == {"foo_total", "foo_created", "lat", "lat_created", "build_info", "state"}
        (point,) = metrics["foo_total"].sum.data_points
        assert metrics["foo_total"].description == 'Says "quoted" "things".'
        assert metrics["foo_total"].unit == "seconds"
        assert point.time_unix_nano == 1520879607789 * 10**6
        assert point.start_time_unix_nano // 10**6 == 1520872607123
        (exemplar,) = point.exemplars
        assert exemplar.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert exemplar.time_unix_nano == 1520879600500 * 10**6
        assert exemplar.as_double == 0.5
        assert exemplar.filtered_attributes[0].key == "other"
        (latency,) = metrics["lat"].histogram.data_points
        assert latency.exemplars[0].span_id.hex() == "00f067aa0ba902b7"
        assert latency.start_time_unix_nano == 1520872607500 * 10**6
        assert not metrics["build_info"].sum.is_monotonic
        assert scraped.groups[0].items == 7
        found = plainly(scraped.groups)
        assert len(found) == 10
        assert found[named("lat_created", 0)[0]][0] == 1520872607.5
    without = body.replace(' # {span_id="00f067aa0ba902b7"} 0.7', "")
    metrics = {
        one.name: one
        for one in otlp(read(exposition, without, NOW, OPENMETRICS).groups).resource_metrics[0].scope_metrics[0].metrics
    }
    assert not metrics["lat"].histogram.data_points[0].exemplars
    assert len(metrics["foo_total"].sum.data_points[0].exemplars) == 1


def test_series_about_pods_get_a_group_for_each():
    settings_ = Settings(resource_labels={"namespace": "k8s.namespace.name", "pod": "k8s.pod.name"})
    exposition = Exposition({"k8s.node.name": "n"}, TARGET, None, settings_)
    body = '# TYPE m gauge\nm{namespace="a",pod="p1"} 1\nm{namespace="a",pod="p2"} 2\nm 3\n# TYPE n counter\nn{namespace="a",pod="p1"} 4\n'
    for value in (1, 7):
        groups = read(exposition, body.replace(" 1\n", f" {value}\n")).groups
        assert [dict(group.resource.attributes).get("k8s.pod.name") for group in groups] == ["p1", "p2", None]
        assert [group.items for group in groups] == [2, 1, 1]
        assert plainly(groups)[named("m", 1, namespace="a", pod="p1")[0]][0] == value


def test_labels_of_the_target_and_of_the_series():
    body = 'm{job="mine",x="y",empty=""} 1\n'
    target = {**TARGET, "x": "z", "team": "t"}
    (key,) = plainly(read(Exposition({}, target), body).groups)
    assert dict(key) == {"__name__": "m", "job": "j", "instance": "i:1", "exported_job": "mine", "x": "z",
                         "exported_x": "y", "team": "t"}  # fmt: skip
    (key,) = plainly(read(Exposition({}, target, None, Settings(honor_labels=True)), body).groups)
    assert dict(key) == {"__name__": "m", "job": "mine", "instance": "i:1", "x": "y", "team": "t"}


def test_relabelling_drops_and_renames():
    def relabel(labels):
        if labels["__name__"] == "gone":
            return None
        labels["__name__"] = labels["__name__"].replace("old_", "new_")
        return labels

    body = (
        'gone 1\nold_thing 2\n# TYPE old_h histogram\nold_h_bucket{le="1"} 1\nold_h_bucket{le="+Inf"} 2\n'
        "old_h_sum 3\nold_h_count 2\n"
    )
    exposition = Exposition({}, TARGET, relabel)
    for _ in range(2):
        scraped = read(exposition, body)
        assert (scraped.samples, scraped.kept) == (6, 5)
        names = {dict(key)["__name__"] for key in plainly(scraped.groups)}
        assert names == {"new_thing", "new_h_bucket", "new_h_sum", "new_h_count"}
    assert otlp(scraped.groups).resource_metrics[0].scope_metrics[0].metrics[1].WhichOneof("data") == "histogram"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(sample=1), "sample_limit: the target exposes more than the 1"),
        (Limits(label=3), "label_limit: 'a' has 4 labels, 3 are allowed"),
        (Limits(label_name_length=9), "label_name_length_limit: a label name of 'a' has 10 bytes"),
        (Limits(label_value_length=5), "label_value_length_limit: the value of 'long_label' of 'a' has 8 bytes"),
    ],
)
def test_limits(limits, reason):
    exposition = Exposition({}, TARGET, None, Settings(limits=limits))
    read(exposition, "a 1\n")
    with pytest.raises(LimitExceeded, match=reason):
        read(exposition, 'a{long_label="12345678"} 1\nb 1\n')
    assert len(plainly(exposition.stale(NOW))) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a 1\nb\n", "line 2, column 2: expected a space and a value, found the end of the line"),
        ("a 1\n{b} 2\n", "line 2, column 3: the sample has no metric name|line 2, column 3: expected"),
        ('a{b="c} 1\n', "line 1, column 5: expected the value of label 'b' in double quotes"),
        ('a{b="c"d="e"} 1\n', "line 1, column 8: expected , or } behind a label"),
        ('a{b="c",b="d"} 1\n', "line 1: the label 'b' of 'a' is there twice"),
        ("a x\n", "line 1: the value 'x' is no number"),
        ("a 1 2 3\n", "line 1: expected a value, and nothing or a timestamp behind it"),
        ("a 1 x\n", "line 1: the timestamp 'x' is no number"),
        ("a 1,2\n", "line 1: the value '1,2' is no number"),
        ("a 1_000\n", "line 1: the value '1_000' is no number"),
        ("# TYPE a thing\n", "line 1: 'thing' is no type of metric"),
        ("-a 1\n", "line 1, column 1: expected a metric name, found '-a 1'"),
        ('a{b="\xff"} 1\n', "line 1, column [56]: not valid UTF-8"),
        ("a 1 # {} 2\n", "line 1: exemplars are of OpenMetrics"),
    ],
)
def test_what_is_malformed_is_said_with_its_place(body, reason):
    exposition = Exposition({}, TARGET)
    read(exposition, "a 1\n")
    with pytest.raises(ExpositionError, match=reason):
        read(exposition, body.encode("latin-1"))
    assert len(plainly(exposition.stale(NOW))) == 1


def test_a_family_in_pieces_has_each_of_its_series_once():
    body = 's_count 2\n# TYPE s summary\ns{quantile="0.5"} 1\ns_sum 1\ns_count 3\nb 1\n# TYPE s summary\ns_sum 5\n'
    exposition = Exposition({}, TARGET)
    for more in ("", "c 1\n", "c 2\n"):
        found = plainly(read(exposition, body + more).groups)
        assert found[named("s_count", 0)[0]][0] == 2
        assert found[named("s_sum", 0)[0]][0] == 1
        assert len(found) == 4 + bool(more)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("\n" * 200_000, "line 200000: 200000 lines in 200000 bytes: they are too short"),
        ("a 1\n" + "b" * (1 << 20) + " 1\n", "line 2: it has 1048578 bytes, 1048576 are allowed"),
    ],
)
def test_bodies_that_cost_much_more_than_their_size_are_refused(body, reason):
    with pytest.raises(ExpositionError, match=reason):
        read(Exposition({}, TARGET), body)


def test_many_families_take_turns_with_others():
    """Each a family of its own, and one goes: what stays is found again in steps."""

    async def scrapes():
        longest, last = 0.0, time.perf_counter()
        done = asyncio.Event()

        async def watch():
            nonlocal longest, last
            while not done.is_set():
                await asyncio.sleep(0)
                longest, last = max(longest, time.process_time() - last), time.process_time()

        last = time.process_time()
        watching = asyncio.ensure_future(watch())
        exposition = Exposition({}, TARGET)
        first = await exposition.read("".join(f"a{n} 1\n" for n in range(3000)).encode(), TEXT, NOW)
        second = await exposition.read("".join(f"a{n} 1\n" for n in range(1, 3001)).encode(), TEXT, NOW)
        done.set()
        await watching
        return first, second, longest

    first, second, longest = asyncio.run(scrapes())
    assert (first.added, second.added, second.groups[0].items) == (3000, 1, 3001)
    assert longest < 1  # CPU seconds; about 0.02


def test_openmetrics_must_end():
    with pytest.raises(ExpositionError, match="ends without # EOF"):
        read(Exposition({}, TARGET), "a 1\n", NOW, OPENMETRICS)
    with pytest.raises(ExpositionError, match="line 3: there is more behind # EOF"):
        read(Exposition({}, TARGET), "a 1\n# EOF\nb 1\n", NOW, OPENMETRICS)


def test_an_empty_body_has_nothing():
    exposition = Exposition({}, TARGET)
    read(exposition, "a 1\n")
    scraped = read(exposition, "")
    assert (scraped.samples, scraped.kept) == (0, 0)
    assert plainly(scraped.groups) == dict([named("a", None)])


def test_quoted_names():
    found = plainly(read(Exposition({}, TARGET), '{"my.metric","a.b"="c"} 1\n').groups)
    assert found == dict([named("my.metric", 1, **{"a.b": "c"})])


def test_the_report():
    group = Exposition({}, {**TARGET, "x": "y"}).report(NOW, {"up": 1.0, "scrape_duration_seconds": 0.25})
    assert plainly((group,)) == dict([named("up", 1, x="y"), named("scrape_duration_seconds", 0.25, x="y")])


def test_the_report_of_a_target_that_has_gone():
    group = Exposition({}, TARGET).report(NOW, {"up": 1.0, "scrape_series_added": 0.0}, stale=True)
    assert group.items == 2
    assert plainly((group,)) == dict([named("up", None), named("scrape_series_added", None)])


# --- anything ---------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b_total", "c:d", "_e"])
VALUES = st.one_of(
    st.floats(allow_nan=False).map(lambda v: (repr(v) if math.isfinite(v) else ("+Inf" if v > 0 else "-Inf"), v)),
    st.integers(-(10**20), 10**20).map(lambda v: (str(v), float(v))),
    st.sampled_from([("+5", 5.0), (".5", 0.5), ("1.", 1.0), ("0x1p-2", 0.25), ("1E3", 1000.0), ("inf", math.inf)]),
)
LABELS = st.dictionaries(
    st.sampled_from(["x", "y", "le", "_z"]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), max_size=3
)
TIMES = st.one_of(st.none(), st.integers(1, 10**13))
SAMPLES = st.lists(st.tuples(NAMES, LABELS, VALUES, TIMES), max_size=12)


def escaped(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def exposed(samples, types):
    """A body, and the series in it. Of several with the same labels the first counts; families stay together."""
    lines, expected = [], {}
    told = set()
    for name, labels, (text, value), time in sorted(samples, key=lambda one: one[0]):
        if name in types and name not in told:
            told.add(name)
            lines.append(f"# TYPE {name} {types[name]}")
        key, found = named(name, value, NOW // 10**6 if time is None else time, **labels)
        if key in expected:
            continue
        expected[key] = found
        inner = ",".join(f'{label}="{escaped(value)}"' for label, value in labels.items())
        lines.append(f"{name}{'{' + inner + '}' if inner else ''} {text}" + ("" if time is None else f" {time}"))
    return "".join(line + "\n" for line in lines), expected


@settings(max_examples=150, deadline=None)
@given(
    scrapes=st.lists(SAMPLES, min_size=1, max_size=4),
    types=st.dictionaries(NAMES, st.sampled_from(["counter", "gauge", "untyped", "histogram", "summary"])),
    last=st.lists(VALUES, min_size=12, max_size=12),
)
def test_whatever_is_exposed_in_whatever_order_of_scrapes(scrapes, types, last):
    exposition = Exposition({}, TARGET)
    before = {}
    # And the last one again, with other numbers: that goes the fast way.
    again = [(name, labels, value, time) for (name, labels, _, time), value in zip(scrapes[-1], last, strict=False)]
    for samples in [*scrapes, again]:
        body, expected = exposed(samples, types)
        found = plainly(read(exposition, body).groups)
        gone = {key: (None, NOW // 10**6) for key, timed in before.items() if key not in expected and not timed}
        assert found == expected | gone
        before = {key: time != NOW // 10**6 for key, (_, time) in expected.items()}


@settings(max_examples=150, deadline=None)
@given(
    at=st.integers(0, len(EXAMPLE)), junk=st.one_of(st.binary(max_size=6), st.sampled_from([b"\n", b'"', b"{", b"# "]))
)
def test_a_body_changed_at_any_byte_is_read_or_refused_with_a_line(at, junk):
    exposition = Exposition({}, TARGET)
    body = EXAMPLE.encode()
    read(exposition, body)
    changed = body[:at] + junk + body[at + 1 :]
    fresh = Exposition({}, TARGET)
    try:
        expected = plainly_or_odd(read(fresh, changed).groups)
    except ExpositionError as error:
        assert str(error).startswith("line ")
        with pytest.raises(ExpositionError):
            read(exposition, changed)
        return
    found = plainly_or_odd(read(exposition, changed).groups)
    assert {key: value for key, value in found.items() if value[0] is not None} == expected


def plainly_or_odd(groups):
    """As `plainly`, with NaN as a text that equals itself."""
    return {
        key: ("NaN" if value is not None and math.isnan(value) else value, time)
        for key, (value, time) in plainly(groups).items()
    }
