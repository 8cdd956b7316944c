"""Remote write requests of OTLP metrics: decoded by a plain reading of the format, they hold what `series_oracle` says."""

import importlib.util
import math
import random
import struct
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.prometheus_series import Settings
from hawse.codecs.remote_write_encode import Encoder
from hawse.codecs.remote_write_encode_parts import contents, encoded, groups, halves
from hawse.codecs.remote_write_encode_template import Template
from hawse.wire import WireError


def _load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


oracle = _load("series_oracle")
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

# --- a plain reading of the format ------------------------------------------------------------------------------------


def fields(data):
    found = {}
    for number, kind, _, at, behind in wire.walk(data):
        raw = bytes(data[at:behind])
        if kind == wire.VARINT:
            raw = wire.read_varint(raw, 0, len(raw))[0]
        found.setdefault(number, []).append(raw)
    return found


def double(raw):
    return struct.unpack("<d", raw)[0]


def varints(raw):
    at, out = 0, []
    while at < len(raw):
        value, at = wire.read_varint(raw, at, len(raw))
        out.append(value)
    return out


def signed(value):
    return (value >> 1) ^ -(value & 1)


def spans(raws):
    found = [fields(raw) for raw in raws]
    return [(signed(one[1][0]), one[2][0]) for one in found]


def histogram(raw):
    one = fields(raw)
    stale = struct.pack("<d", double(one[3][0])) == b"\x02\0\0\0\0\0\xf0\x7f"
    assert (one[1][0] == 0x7FF0000000000002) == stale
    return {
        "count": None if stale else one[1][0], "sum": oracle.STALE if stale else double(one[3][0]), "schema": signed(one[4][0]),
        "zero": one[6][0], "threshold": double(one[5][0]),
        "positive": oracle.spread(spans(one.get(11, [])), [signed(v) for raw in one.get(12, []) for v in varints(raw)]),
        "negative": oracle.spread(spans(one.get(8, [])), [signed(v) for raw in one.get(9, []) for v in varints(raw)]),
    }, one[15][0]  # fmt: skip


def read(body, version):
    """(labels, value, milliseconds) of each sample, and what else the series have."""
    rows, extras = [], []
    request = fields(body)
    symbols = [raw.decode() for raw in request.get(4, [])]
    if version == 2:
        assert symbols[0] == "" and len(set(symbols)) == len(symbols)
        assert not {1, 2, 3} & request.keys()
    for raw in request.get(1 if version == 1 else 5, []):
        one = fields(raw)
        if version == 1:
            pairs = [(fields(label)[1][0].decode(), fields(label)[2][0].decode()) for label in one[1]]
        else:
            refs = [symbols[ref] for ref in varints(one[1][0])]
            pairs = list(zip(refs[::2], refs[1::2], strict=True))
        assert [name for name, _ in pairs] == sorted({name for name, _ in pairs})
        assert all(name and text for name, text in pairs)
        samples = [fields(sample) for sample in one.get(2, [])]
        natives = [histogram(native) for native in one.get(4 if version == 1 else 3, [])]
        assert len(samples) + len(natives) == 1
        rows += [(dict(pairs), double(sample[1][0]), sample.get(2, [0])[0]) for sample in samples]
        rows += [(dict(pairs), *native) for native in natives]
        extras.append((dict(pairs), one, samples))
    return rows, extras, symbols


def decoded(request):
    return otlp.decode(Signal.METRICS, request.SerializeToString())


def check(encoder, version, request, **options):
    wanted, lost = oracle.expected(request, **options)
    written, gone = encoder.encode(decoded(request))
    got = [row for one in written for row in read(bytes(one.body), version)[0]]
    assert oracle.comparable(got) == oracle.comparable(wanted)
    assert sum(one.points for one in gone) == lost
    assert sum(one.points for one in written) + lost == decoded(request).items
    assert sum(share.series for one in written for share in one.shares) == len(got)
    return written


# --- tests ------------------------------------------------------------------------------------------------------------


@quick
@given(oracle.requests(), st.sampled_from([1, 2]), st.sampled_from([300, 3_000_000]))
def test_requests_hold_the_series_of_a_batch(request, version, largest):
    encoder = Encoder(Settings(), version, largest=largest)
    for _ in range(4):  # cold, known, a template made, a template used
        check(encoder, version, request)


@quick
@given(oracle.requests(), oracle.requests())
def test_what_is_known_of_one_batch_does_no_harm_to_another(first, second):
    encoder = Encoder(Settings(), 1, most=20_000)
    for request in (first, second, first, first, second, second, first):
        check(encoder, 1, request)


# A scrape: as Hawse writes points, without flags, and as the Collector does.
LAYOUTS = ("hawse", "plain", "collector")


def scrape(time, values, layout="hawse", flags=0, start=1_600_000_000_000_000_000, pods=1, count=40):
    out = []
    for pod in range(pods):
        metrics = []
        for number in range(4):
            points = []
            for at in range(count):
                labels = wire.encode_attributes({"path": f"/{at}", "pod": f"p{pod}"}, 7)
                begun = b"\x11" + struct.pack("<q", start) if number % 2 else b""
                when = b"\x19" + struct.pack("<q", time)
                value = b"\x21" + struct.pack("<d", values(pod, number, at))
                point = {
                    "hawse": labels + begun + when + b"\x40" + bytes([flags]) + value,
                    "plain": labels + begun + when + value,
                    "collector": begun + when + value + labels,
                }[layout]
                points.append(wire.field(1, point))
            data = (
                wire.field(7, b"\x10\x02\x18\x01" + b"".join(points)) if number % 2 else wire.field(5, b"".join(points))
            )
            told = wire.field(12, wire.encode_attribute("prometheus.type", "counter" if number % 2 else "gauge"))
            metrics.append(wire.field(2, wire.field(1, b"m%d_total" % number) + wire.field(2, b"Help.") + told + data))
        resource = Resource.of({"service.name": "job", "service.instance.id": "1:1", "k8s.pod.name": f"p{pod}"})
        out.append(Group(resource, (wire.field(2, b"".join(metrics)),), 4 * count))
    return Batch(Signal.METRICS, out)


def as_request(batch):
    return oracle.ExportMetricsServiceRequest.FromString(batch.encode())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_scrape_after_scrape(layout, version):
    encoder = Encoder(Settings(), version)
    now = 1_700_000_000_000_000_000
    for turn in range(8):
        batch = scrape(now + turn * 15_000_000_000, lambda *at, turn=turn: turn + 0.5 * sum(at), layout, pods=3)
        check(encoder, version, as_request(batch))
    assert any(isinstance(one, Template) for one in encoder._templates.values())


@pytest.mark.parametrize("version", [1, 2])
def test_a_template_is_for_batches_that_are_alike(version):
    """Everything that may change from scrape to scrape, after a template was made."""
    encoder = Encoder(Settings(), version)
    now = 1_700_000_000_000_000_000
    chance = random.Random(3)
    usual = {"flags": 0, "start": 1_600_000_000_000_000_000, "count": 40}
    odd = [{}, {"flags": 1}, {}, {"start": 1_650_000_000_000_000_000}, {}, {"count": 39}, {"count": 41}, {}]
    for turn, change in enumerate([{}] * 4 + odd * 3):
        moment = now + turn * 1_000_000 if turn != 6 else 5  # a time of another width
        values = {"v": [math.nan, -0.0, math.inf, 1e-300, chance.random()][turn % 5]}
        batch = scrape(moment, lambda *at, values=values: values["v"], pods=2, **{**usual, **change})
        check(encoder, version, as_request(batch))


def test_a_template_is_not_fooled_by_labels_of_the_same_length():
    encoder = Encoder(Settings(), 1)
    batch = scrape(1_700_000_000_000_000_000, lambda *at: 1.0)
    for _ in range(3):
        check(encoder, 1, as_request(batch))
    other = as_request(batch)
    for point in other.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points:
        point.attributes[0].value.string_value = point.attributes[0].value.string_value.replace("/", "x")
    # upb writes in another order, so change the bytes by hand
    raw = bytearray(batch.groups[0].scopes[0])
    at = raw.index(b"/7")
    raw[at : at + 2] = b"x7"
    changed = Batch(Signal.METRICS, [Group(batch.groups[0].resource, (bytes(raw),), batch.items)])
    check(encoder, 1, as_request(changed))
    check(encoder, 1, other)


def histograms(turn):
    request = oracle.ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "api"
    group.resource.attributes.add(key="host").value.string_value = "h"
    scope = group.scope_metrics.add()
    classic = scope.metrics.add(name="lat", unit="s")
    classic.histogram.aggregation_temporality = 2
    quantiles = scope.metrics.add(name="q")
    for at in range(3):
        point = classic.histogram.data_points.add(
            time_unix_nano=1_700_000_000_000_000_000 + turn, count=10 + turn, sum=turn / 3, min=0.1 * turn, max=turn,
            bucket_counts=[turn, at, 2 * turn + 1, 1], explicit_bounds=[0.5, 1, 2.5],
        )  # fmt: skip
        point.attributes.add(key="path").value.string_value = f"/{at}"
        point = quantiles.summary.data_points.add(
            time_unix_nano=1_700_000_000_000_000_000, count=turn + 1, sum=turn + 0.5
        )
        point.attributes.add(key="path").value.string_value = f"/{at}"
        for quantile in (0.5, 0.99):
            point.quantile_values.add(quantile=quantile, value=turn + quantile)
    whole = scope.metrics.add(name="n")
    whole.sum.aggregation_temporality = 2
    whole.sum.data_points.add(as_int=-turn - 1, time_unix_nano=1_700_000_000_000_000_000)
    return request


@pytest.mark.parametrize("version", [1, 2])
def test_histograms_and_summaries_have_templates_too(version):
    encoder = Encoder(Settings(), version)
    for turn in (1, 2, 3, 4, 5, 6, 7, 8, 1 << 51, 5, 6):
        check(encoder, version, histograms(turn))
    assert [type(one) for one in encoder._templates.values()] == [Template]


def test_exemplars_metadata_and_starts():
    request = oracle.ExportMetricsServiceRequest()
    made = request.resource_metrics.add().scope_metrics.add().metrics.add(name="c", unit="By", description="Help.")
    made.sum.aggregation_temporality, made.sum.is_monotonic = 2, True
    point = made.sum.data_points.add(
        as_int=1, time_unix_nano=1_700_000_000_000_000_000, start_time_unix_nano=1_600_000_000_000_000_000
    )
    exemplar = point.exemplars.add(as_double=2.5, trace_id=b"t" * 16, span_id=b"s" * 8)
    exemplar.filtered_attributes.add(key="a").value.string_value = "b"
    long = point.exemplars.add(as_int=3, time_unix_nano=1_700_000_000_500_000_000)
    long.filtered_attributes.add(key="a").value.string_value = "b" * 128
    (one,), _ = Encoder(Settings(), 2).encode(decoded(request))
    _, ((_, series, (sample,)),), symbols = read(bytes(one.body), 2)
    assert sample[3] == series[6] == [1_600_000_000_000]  # start_timestamp since 2.0-rc.4, created_timestamp before
    meta = fields(series[5][0])
    assert (meta[1], symbols[meta[3][0]], symbols[meta[4][0]]) == ([1], "Help.", "bytes")
    shown = [fields(raw) for raw in series[4]]
    assert [[symbols[ref] for ref in varints(one[1][0])] for one in shown] == [
        ["a", "b", "span_id", b"ssssssss".hex(), "trace_id", (b"t" * 16).hex()],
        [],
    ]
    assert [(double(one[2][0]), one[3][0]) for one in shown] == [(2.5, 1_700_000_000_000), (3.0, 1_700_000_000_500)]
    (one,), _ = Encoder(Settings(), 1, metadata=True).encode(decoded(request))
    told = fields(fields(bytes(one.body))[3][0])
    assert told == {1: [1], 2: [b"c_bytes"], 4: [b"Help."], 5: [b"bytes"]}
    _, ((_, series, _),), _ = read(bytes(one.body), 1)
    labels = [[fields(label) for label in fields(raw)[1]] if 1 in fields(raw) else [] for raw in series[3]]
    assert [[(label[1][0], label[2][0]) for label in one] for one in labels][0][0] == (b"a", b"b")


def test_bodies_are_about_as_large_as_they_may_be():
    for version in (1, 2):
        encoder = Encoder(Settings(), version, largest=20_000)
        batch = scrape(1_700_000_000_000_000_000, lambda *at: 1.0, count=500)
        for _ in range(4):
            written = check(encoder, version, as_request(batch))
            assert 1 < len(written) < 20
            assert all(len(one.body) < 150_000 for one in written)
            assert len({one.lane for one in written}) == 1


def test_a_target_is_always_in_the_same_lane_and_targets_in_different_ones():
    encoder = Encoder(Settings(), 1, lanes=8)
    lanes = {}
    for _ in range(2):
        for target in range(40):
            request = oracle.ExportMetricsServiceRequest()
            group = request.resource_metrics.add()
            group.resource.attributes.add(key="service.name").value.string_value = f"job{target}"
            group.resource.attributes.add(key="more").value.int_value = len(lanes)  # what else it has does not count
            group.scope_metrics.add().metrics.add(name="up").gauge.data_points.add(as_int=1, time_unix_nano=1)
            (one,), _ = encoder.encode(decoded(request))
            assert lanes.setdefault(target, one.lane) == one.lane
    assert set(lanes.values()) == set(range(8))


def test_memory_is_bounded():
    encoder = Encoder(Settings(), 1, most=2_000_000)
    for turn in range(60):
        request = oracle.ExportMetricsServiceRequest()
        group = request.resource_metrics.add()
        group.resource.attributes.add(key="service.name").value.string_value = f"job{turn % 20}"
        data = group.scope_metrics.add().metrics.add(name="up").gauge
        for at in range(300):
            data.data_points.add(as_int=turn, time_unix_nano=turn).attributes.add(
                key="k"
            ).value.string_value = f"{turn}-{at}"
        encoder.encode(decoded(request))
        assert encoder._cost + encoder._templates_cost <= 2_000_000
    assert encoder._cost > 0


# --- parts --------------------------------------------------------------------------------------------------------------


@quick
@given(oracle.requests(), st.sampled_from([1, 2]))
def test_halves_together_are_the_whole(request, version):
    for written in Encoder(Settings(), version).encode(decoded(request))[0]:
        rows = read(bytes(written.body), version)[0]
        parts = halves(bytes(written.body), version, written.shares)
        if len(rows) < 2:
            assert parts == []
            continue
        (first, one), (second, other) = parts
        assert oracle.comparable(read(first, version)[0] + read(second, version)[0]) == oracle.comparable(rows)
        assert len(read(first, version)[0]) == sum(share.series for share in one) == len(rows) // 2
        assert sum(share.points for share in [*one, *other]) == written.points


@quick
@given(oracle.requests())
def test_a_request_of_2_can_be_one_of_1(request):
    for written in Encoder(Settings(), 2).encode(decoded(request))[0]:
        older = encoded(contents(bytes(written.body), 2), 1)
        assert oracle.comparable(read(older, 1)[0]) == oracle.comparable(read(bytes(written.body), 2)[0])


@quick
@given(oracle.requests(), st.sampled_from([1, 2]))
def test_what_was_in_a_request_comes_back_by_resource(request, version):
    batch = decoded(request)
    found = {}
    for written in Encoder(Settings(), version).encode(batch)[0]:
        for group in groups(bytes(written.body), version, written.shares):
            key = bytes(group.resource.raw)
            found[key] = found.get(key, 0) + group.items
            otlp.decode(Signal.METRICS, b"".join(group.parts()))
    assert found.keys() <= {bytes(group.resource.raw) for group in batch.groups}


def test_shares_survive_a_queue():
    written, _ = Encoder(Settings(), 1).encode(scrape(1_700_000_000_000_000_000, lambda *at: 1.0))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(written[0].shares), type=type(written[0].shares))
    assert again[0][1] == 160


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_no_request_is_an_error(version):
    for body in (b"\x0a\x05ab", b"\x2a\x02\x0a\x05", b"\x22\x01", b"\x2a\x03\x0a\x01\x09", b"\xff" * 20):
        try:
            contents(body, version)
        except WireError:
            continue


@pytest.mark.parametrize("version", [1, 2])
def test_what_takes_long_is_done_in_steps(version):
    """A batch that comes for the first time is learned, of one that comes for the second a template is made."""
    encoder = Encoder(Settings(), version)
    steps = []
    for turn in range(4):
        batch = scrape(1_700_000_000_000_000_000 + turn, lambda *at, turn=turn: float(turn), count=1000)
        steps.append(sum(1 for _ in encoder.encoding(batch)))
    check(encoder, version, as_request(batch))
    assert min(steps[:2]) >= 7
    assert steps[2:] == [0, 0]
    assert [type(one) for one in encoder._templates.values()].count(Template) == 1


def test_between_two_steps_others_may_be_encoded():
    encoder = Encoder(Settings(target_info=False), 1, most=300_000)
    batches = [
        scrape(1_700_000_000_000_000_000 + turn, lambda *at, turn=turn: float(turn), count=400) for turn in range(6)
    ]
    under_way = [(batch, encoder.encoding(batch)) for batch in batches]
    done = {}
    while len(done) < len(batches):
        for number, (_, steps) in enumerate(under_way):
            try:
                if number not in done:
                    next(steps)
            except StopIteration as end:
                done[number] = end.value[0]
    for number, batch in enumerate(batches):
        wanted, _ = oracle.expected(as_request(batch), target_info=False)
        got = [row for one in done[number] for row in read(bytes(one.body), 1)[0]]
        assert oracle.comparable(got) == oracle.comparable(wanted)
    assert encoder._cost == sum(one.cost for one in encoder._known.values())


@pytest.mark.parametrize("version", [1, 2])
def test_what_changes_with_every_scrape_is_seldom_tried_again(version):
    made = []
    encoder = Encoder(Settings(), version)
    for turn in range(40):
        batch = scrape(1_700_000_000_000_000_000 + turn * 10**9, lambda *at: 1.0)
        raw = bytes(batch.groups[0].scopes[0]).replace(b"Help.", b"Hel%02d" % turn)
        changed = Batch(Signal.METRICS, [Group(batch.groups[0].resource, (raw,), batch.items)])
        check(encoder, version, as_request(changed))
        made.append(isinstance(next(iter(encoder._templates.values())), Template))
    assert sum(made) <= 2
