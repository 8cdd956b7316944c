"""What comes in by remote write goes out by remote write as it came: the same series, the same bits."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.batch import Batch, Signal
from hawse.codecs.prometheus_series import Settings
from hawse.codecs.remote_write import Limits
from hawse.codecs.remote_write_encode import Encoder
from hawse.codecs.remote_write_schema import TYPES, message
from hawse.wire import walk

from .remote_write import LABELS, NOW, STALE, VERSIONS, One, Two, bits, double, memory
from .test_remote_write_histograms import histogram

OUT = pytest.mark.parametrize("out", [1, 2])


def back(made, out, known=None):
    """Through OTLP and out again: (labels, bits of the value, time) of each sample, histograms, types by series."""
    written = asyncio.run(type(made).read(made.body(), known or memory(), Limits()))
    assert written.invalid == {}
    samples, histograms, exemplars, types = [], [], [], {}
    requests, lost = Encoder(Settings(), out).encode(Batch(Signal.METRICS, written.groups))
    assert lost == []
    for request in requests:
        for labels, series, story in parsed(bytes(request.body), out):
            if labels.get("__name__") == "target_info":
                continue
            key = tuple(sorted(labels.items()))
            samples += [(key, bits(sample.value), sample.timestamp) for sample in series.samples]
            histograms += [(key, one) for one in series.histograms]
            exemplars += [(key, one.value, one.timestamp) for one in series.exemplars]
            types[labels["__name__"]] = story
    return samples, histograms, exemplars, types


def parsed(body, version):
    if version == 1:
        for number, _, _, begin, end in walk(body):
            if number == 1:
                series = message("TimeSeries1").FromString(body[begin:end])
                yield {one.name.decode(): one.value.decode() for one in series.labels}, series, None
        return
    whole = message("Request2").FromString(body)
    texts = [symbol.decode() for symbol in whole.symbols]
    for raw in whole.timeseries:
        series = message("TimeSeries2").FromString(raw)
        refs = [texts[ref] for ref in series.labels_refs]
        yield dict(zip(refs[::2], refs[1::2], strict=True)), series, (
            TYPES[series.metadata.type], texts[series.metadata.help_ref], texts[series.metadata.unit_ref]
        )  # fmt: skip


NAMES = st.sampled_from(["a", "b_total", "c_bucket", "c_sum", "d_bytes_total", "e_created", "f_info", "g:rule"])
TYPE = st.sampled_from(TYPES)
VALUES = st.one_of(st.sampled_from([0.0, -0.0, double(STALE), double(0x7FF8000000000001)]), st.floats())
LABEL_SETS = st.dictionaries(
    st.sampled_from(["job", "instance", "pod", "namespace", "le", "quantile", "service_name", "x"]),
    st.sampled_from(["a", "a/b", "/", "a/b/c", "0.10", "1e-05", "+Inf", "é", " "]), max_size=5,
)  # fmt: skip


@VERSIONS
@OUT
@given(
    series=st.lists(
        st.tuples(NAMES, LABEL_SETS, VALUES, TYPE), max_size=8, unique_by=lambda one: (one[0], *sorted(one[1].items()))
    )
)
@settings(max_examples=100, deadline=None)
def test_samples(request_of, out, series):
    made, wanted = request_of(), []
    for number, (name, labels, value, type_) in enumerate(series):
        labels = {"__name__": name, **labels}
        made.series(labels, [(value, NOW + number)], family=(type_, "", ""))
        wanted.append((tuple(sorted(labels.items())), bits(value), NOW + number))
    assert Counter(back(made, out)[0]) == Counter(wanted)


@OUT
def test_types_help_and_units(out):
    made = Two()
    stories = {
        "a_total": ("counter", "A.", ""),
        "b": ("gauge", "B.", "bytes"),
        "c": ("info", "", ""),
        "d": ("unknown", "D.", ""),
    }
    for name, story in stories.items():
        made.series({**LABELS, "__name__": name}, [(1.0, NOW)], family=story)
    _, _, _, types = back(made, out)
    assert out == 1 or types == stories


@VERSIONS
@OUT
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_histograms(request_of, out, floats, seed):
    rng = random.Random(seed)
    buckets = {rng.randrange(-40, 40): rng.randrange(1, 1000) for _ in range(rng.randrange(1, 9))}
    sent = histogram(buckets, {3: 4, 9: 1}, floats=floats, schema=rng.randrange(-4, 9))
    _, found, _, _ = back(request_of().series(LABELS, histograms=[sent], family=("histogram", "", "")), out)
    ((key, came),) = found
    assert key == tuple(sorted(LABELS.items()))
    assert (came.sum, came.schema, came.zero_threshold, came.timestamp) == (
        sent.sum,
        sent.schema,
        sent.zero_threshold,
        NOW,
    )
    assert counts(came) == counts(sent)


def counts(of):
    """Counts by bucket, whatever the spans are, without those of nothing."""
    floats = of.WhichOneof("count") == "count_float"
    found = {"count": of.count_float if floats else of.count_int}
    found["zero"] = of.zero_count_float if of.WhichOneof("zero_count") == "zero_count_float" else of.zero_count_int
    for sign in ("positive", "negative"):
        values, total = [], 0
        for delta in getattr(of, f"{sign}_deltas"):
            total += delta
            values.append(total)
        values = values or list(getattr(of, f"{sign}_counts"))
        index, at = 0, iter(values)
        for span in getattr(of, f"{sign}_spans"):
            index += span.offset
            for _ in range(span.length):
                if value := next(at):
                    found[sign, index] = value
                index += 1
    return found


@VERSIONS
@OUT
def test_exemplars(request_of, out):
    labels = {**LABELS, "__name__": "c_total"}
    made, known = request_of(), memory()
    if request_of is One:
        back(One().metadata("c", "counter"), out, known)
    made.series(labels, [(1.0, NOW)], family=("counter", "", ""))
    one = ({"trace_id": "0af7651916cd43dd8448eb211c80319c", "x": "y"}, 0.5, NOW - 1)
    made.series(labels, exemplars=[one], family=("counter", "", ""))
    assert back(made, out, known)[2] == [(tuple(sorted(labels.items())), 0.5, NOW - 1)]
