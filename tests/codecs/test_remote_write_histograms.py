"""Native histograms and exemplars: what they are in OTLP, and what they cannot be there."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.codecs.remote_write_schema import GAUGE_HINT, message

from .remote_write import LABELS, NOW, STALE, VERSIONS, One, Two, attributes, bits, double, metrics, read


def spans(counts):
    """Spans and counts of sparse buckets, {index: count}, as Prometheus lays them out."""
    made, kept, last = [], [], None
    for index in sorted(counts):
        if last is None or index != last + 1:
            made.append([index - (0 if last is None else last + 1), 0])
        made[-1][1] += 1
        kept.append(counts[index])
        last = index
    return [message("BucketSpan")(offset=offset, length=length) for offset, length in made], kept


def histogram(positive=(), negative=(), *, floats=False, schema=3, zeros=2, sum_=12.5, at=NOW, bounds=(), **more):
    made = message("Histogram")(
        sum=sum_, schema=schema, zero_threshold=0.001, timestamp=at, custom_values=bounds, **more
    )
    total = zeros
    for sign, counts in (("positive", dict(positive)), ("negative", dict(negative))):
        found, kept = spans(counts)
        total += sum(kept)
        getattr(made, f"{sign}_spans").extend(found)
        if floats:
            getattr(made, f"{sign}_counts").extend(kept)
        else:
            getattr(made, f"{sign}_deltas").extend(b - a for a, b in zip([0, *kept], kept, strict=False))
    if floats:
        made.count_float, made.zero_count_float = total, zeros
    else:
        made.count_int, made.zero_count_int = total, zeros
    return made


def dense(buckets):
    """{Prometheus' index: count} of OTLP's buckets, zeros left out."""
    return {buckets.offset + 1 + n: count for n, count in enumerate(buckets.bucket_counts) if count}


BUCKETS = st.dictionaries(st.integers(-300, 300), st.integers(0, 2**40), max_size=12)


@VERSIONS
@given(positive=BUCKETS, negative=BUCKETS, floats=st.booleans(), schema=st.integers(-4, 8), total=st.floats())
@settings(max_examples=100, deadline=None)
def test_exponential_buckets(request_of, positive, negative, floats, schema, total):
    made = histogram(positive, negative, floats=floats, schema=schema, sum_=total)
    data, written = read(request_of().series(LABELS, histograms=[made], family=("histogram", "H.", "")))
    assert (written.samples, written.histograms, written.invalid) == (0, 1, {})
    (metric,) = metrics(data)
    assert (metric.name, attributes(metric.metadata)["prometheus.type"]) == ("up", "histogram")
    assert metric.exponential_histogram.aggregation_temporality == 2
    (point,) = metric.exponential_histogram.data_points
    if bits(total) == STALE:
        return
    assert (point.count, bits(point.sum), point.scale) == (
        2 + sum(positive.values()) + sum(negative.values()),
        bits(total),
        schema,
    )
    assert (point.zero_count, point.zero_threshold, point.time_unix_nano) == (2, 0.001, NOW * 10**6)
    assert dense(point.positive) == {index: count for index, count in positive.items() if count}
    assert dense(point.negative) == {index: count for index, count in negative.items() if count}
    assert attributes(point.attributes) == {"namespace": "shop", "pod": "api-1", "x": "y"}


@VERSIONS
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ({}, [0, 0, 0, 0]),
        ({0: 1, 1: 2, 2: 3, 3: 4}, [1, 2, 3, 4]),
        ({1: 5}, [0, 5, 0, 0]),
        ({0: 1, 3: 7}, [1, 0, 0, 7]),
    ],
)
def test_custom_buckets(request_of, floats, counts, wanted):
    made = histogram(counts, floats=floats, schema=-53, zeros=0, bounds=[-1.0, 0.5, 10.0])
    data, _ = read(request_of().series(LABELS, histograms=[made], family=("histogram", "", "")))
    (metric,) = metrics(data)
    (point,) = metric.histogram.data_points
    assert metric.histogram.aggregation_temporality == 2
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([-1.0, 0.5, 10.0], wanted)
    assert (point.count, point.sum) == (sum(wanted), 12.5)
    assert attributes(point.attributes) == {"namespace": "shop", "pod": "api-1", "x": "y"}


@VERSIONS
@pytest.mark.parametrize("schema", [3, -53])
def test_the_end_of_a_histogram(request_of, schema):
    data, written = read(request_of().series(LABELS, histograms=[histogram(schema=schema, sum_=double(STALE))]))
    (metric,) = metrics(data)
    (point,) = getattr(metric, metric.WhichOneof("data")).data_points
    assert (point.flags, point.count, written.histograms) == (1, 0, 1)


@VERSIONS
def test_a_histogram_that_may_go_down_says_so(request_of):
    data, _ = read(
        request_of()
        .series(LABELS, histograms=[histogram({1: 2}, reset_hint=GAUGE_HINT)], family=("gaugehistogram", "", ""))
        .series({**LABELS, "x": "z"}, histograms=[histogram({1: 2})], family=("gaugehistogram", "", ""))
    )
    assert [attributes(metric.metadata)["prometheus.type"] for metric in metrics(data)] == [
        "gaugehistogram",
        "histogram",
    ]


@pytest.mark.parametrize("own", [False, True])
def test_when_a_histogram_began(own):
    made = histogram({1: 2}, start_timestamp=NOW - 7 if own else 0)
    data, _ = read(Two().series(LABELS, histograms=[made], start=0 if own else NOW - 7))
    assert metrics(data)[0].exponential_histogram.data_points[0].start_time_unix_nano == (NOW - 7) * 10**6


def broken(**changes):
    made = histogram({1: 2, 2: 3, 9: 1})
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(made, name)[:]
            getattr(made, name).extend(value)
        else:
            setattr(made, name, value)
    return made


def span(offset, length):
    return message("BucketSpan")(offset=offset, length=length)


BAD = {
    "fraction": (histogram({1: 0.5}, floats=True, zeros=0), "fractional_histogram", "no whole counts"),
    "nan": (broken(count_float=math.nan), "fractional_histogram", "no whole counts"),
    "infinite": (broken(count_float=math.inf), "fractional_histogram", "no whole counts"),
    "zero fraction": (broken(zero_count_float=0.25), "fractional_histogram", "no whole counts"),
    "below zero": (broken(positive_deltas=[1, -2, 3]), "bad_buckets", "below zero"),
    "few counts": (broken(positive_deltas=[1]), "bad_buckets", "fewer counts"),
    "many counts": (broken(positive_deltas=[1, 1, 1, 1]), "bad_buckets", "more counts"),
    "overlap": (broken(positive_spans=[span(1, 2), span(-1, 1)]), "bad_buckets", "overlap"),
    "gap": (broken(positive_spans=[span(1, 2), span(2**31 - 1, 1)]), "too_many_buckets", "more than 16384"),
    "long": (broken(positive_spans=[span(1, 2**32 - 1)]), "too_many_buckets", "more than 16384"),
    "schema": (broken(schema=-54), "bad_schema", "no schema -54"),
    "no time": (broken(timestamp=0), "bad_timestamp", "the timestamp 0 ms"),
    "bounds": (broken(schema=-53, custom_values=[1.0, 1.0]), "bad_buckets", "do not rise"),
    "nan bound": (broken(schema=-53, custom_values=[1.0, math.nan]), "bad_buckets", "do not rise"),
    "outside": (broken(schema=-53, custom_values=[1.0, 2.0]), "bad_buckets", "outside their 3"),
    "before": (broken(schema=-53, custom_values=[1.0], positive_spans=[span(-1, 3)]), "bad_buckets", "outside their 2"),
}


@VERSIONS
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_histogram_is_left_out(request_of, name):
    made, reason, says = BAD[name]
    good = histogram({4: 4})
    data, written = read(request_of().series(LABELS, histograms=[good, made]).series(LABELS, [(1.0, NOW)]))
    assert (written.histograms, written.samples, written.invalid) == (1, 1, {reason: 1})
    assert says in written.message
    assert len(metrics(data)) == 2


def test_gaps_between_buckets_are_not_a_way_to_our_memory():
    made = One()
    wide = histogram({1: 1, 16_000: 1})
    for number in range(400):
        made.series({**LABELS, "n": str(number)}, histograms=[wide])
    _, written = read(made)
    assert written.histograms == (1 << 22) // 16_000
    assert written.invalid == {"too_many_buckets": 400 - written.histograms}


# --- exemplars ------------------------------------------------------------------------------------------------------------

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
EXEMPLAR = ({"trace_id": TRACE, "span_id": SPAN, "job": "import", "user": "7"}, 0.25, NOW - 3)


def check(one):
    assert (one.trace_id.hex(), one.span_id.hex(), one.as_double, one.time_unix_nano) == (
        TRACE,
        SPAN,
        0.25,
        (NOW - 3) * 10**6,
    )
    assert attributes(one.filtered_attributes) == {"job": "import", "user": "7"}


@VERSIONS
@pytest.mark.parametrize("value", [0.0, 3.5])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("many", [True, False])
def test_exemplars_come_to_the_sample_of_their_series(request_of, value, before, many):
    """Prometheus sends them in a TimeSeries of their own."""
    made = request_of()
    samples = [(9.0, NOW - 1), (value, NOW)] if many else [(value, NOW)]
    other = {**LABELS, "x": "z"}
    for step in (0, 1) if before else (1, 0):
        made.series(LABELS, samples) if step else made.series(LABELS, exemplars=[EXEMPLAR])
        made.series(other, [(1.0, NOW)])
    data, written = read(made)
    (metric,) = metrics(data)
    with_it = [point for point in metric.gauge.data_points if point.exemplars]
    assert [(bits(point.as_double), point.time_unix_nano) for point in with_it] == [(bits(value), NOW * 10**6)]
    check(with_it[0].exemplars[0])
    assert (written.exemplars, written.lonely) == (1, 0)


@VERSIONS
def test_exemplars_beside_a_sample_and_beside_a_histogram(request_of):
    made = request_of().series(LABELS, [(1.0, NOW)], [EXEMPLAR, ({}, 1.0, 0)])
    made.series({**LABELS, "x": "h"}, exemplars=[EXEMPLAR], histograms=[histogram({1: 1}), histogram({1: 2})])
    made.series({**LABELS, "x": "c"}, exemplars=[EXEMPLAR], histograms=[histogram(schema=-53, bounds=[1.0])])
    data, written = read(made)
    numbers, exponential, custom = metrics(data)
    check(numbers.gauge.data_points[0].exemplars[0])
    assert numbers.gauge.data_points[0].exemplars[1].time_unix_nano == 0
    assert [len(point.exemplars) for point in exponential.exponential_histogram.data_points] == [0, 1]
    check(exponential.exponential_histogram.data_points[1].exemplars[0])
    check(custom.histogram.data_points[0].exemplars[0])
    assert written.exemplars == 4


@VERSIONS
def test_an_exemplar_alone_is_counted(request_of):
    data, written = read(request_of().series(LABELS, exemplars=[EXEMPLAR]).series({**LABELS, "x": "z"}, [(1.0, NOW)]))
    assert (written.exemplars, written.lonely, written.samples, written.invalid) == (0, 1, 1, {})
    assert not metrics(data)[0].gauge.data_points[0].exemplars


@pytest.mark.parametrize("text", ["", "0" * 32, TRACE.upper(), TRACE[:-1], "x" * 32, TRACE[:30] + " 1", "é" * 16])
def test_what_is_no_trace_id_stays_a_label(text):
    data, _ = read(One().series(LABELS, [(1.0, NOW)], [({"trace_id": text}, 1.0, NOW)]))
    (one,) = metrics(data)[0].gauge.data_points[0].exemplars
    assert (one.trace_id, attributes(one.filtered_attributes)) == (b"", {"trace_id": text})


@VERSIONS
def test_an_exemplar_that_is_no_utf8_is_left_out(request_of):
    data, written = read(request_of().series(LABELS, [(1.0, NOW)], [({"a": b"\xff"}, 1.0, NOW), EXEMPLAR]))
    assert (written.exemplars, written.samples, written.invalid) == (1, 1, {"not_utf8": 1})
    assert len(metrics(data)[0].gauge.data_points[0].exemplars) == 1
