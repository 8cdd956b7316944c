"""Groups that are the same but for their numbers are read as columns, and to the same samples."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.backend.metrics import templates
from hawse.backend.metrics.points import Decoder
from hawse.backend.metrics.registry import Registry
from hawse.wire import field
from tests.backend.metric_points import attributes_first, decoded_bytes, filled, group_of, memory, same, told

labels = st.lists(st.sampled_from(["", "a", "b" * 130, "\x11@\x19", "c", "d"]), min_size=1, max_size=5, unique=True)


@pytest.fixture
def registry():
    connection = memory()
    yield Registry(connection, 0)
    connection.close()


def drawn(rng, chosen, stale=0.0):
    """(label, start, time, value, flags, exemplar) for each label; the start and the kind of value are the label's."""
    for label in chosen:
        value = rng.randrange(-(2**50), 2**50) if len(label) % 2 else rng.random() * 1e6
        yield label, 7 if label else 0, rng.randrange(1, 2**62), value, int(rng.random() < stale), False


def as_protobuf(rows):
    group, metric = group_of(name="m")
    for row in rows:
        filled(metric.gauge.data_points.add(), *row)
    return field(1, group.SerializeToString())


def as_ours(rows):
    data = b"".join(field(1, attributes_first(*row)) for row in rows)
    return field(1, field(2, field(2, field(1, b"m") + field(5, data))))


@given(chosen=labels, seed=st.integers(0, 99), ours=st.booleans())
def test_the_same_layout_again_and_again(chosen, seed, ours):
    rng = random.Random(seed)
    connection = memory()
    registry = Registry(connection, 0)
    for _ in range(6):
        rows = list(drawn(rng, chosen, stale=0.3 if ours else 0))
        same(decoded_bytes(registry, as_ours(rows) if ours else as_protobuf(rows)), told(rows))
    connection.close()


@given(st.lists(labels, min_size=1, max_size=3), st.lists(st.integers(0, 2), min_size=3, max_size=12), st.booleans())
def test_layouts_that_change_places(layouts, order, ours):
    rng = random.Random(1)
    connection = memory()
    registry = Registry(connection, 0)
    for number in order:
        chosen = layouts[number % len(layouts)]
        rows = list(drawn(rng, random.sample(chosen, len(chosen)) if number else chosen))
        same(decoded_bytes(registry, as_ours(rows) if ours else as_protobuf(rows)), told(rows))
    connection.close()


def test_a_template_is_made_the_second_time_and_then_used(registry, monkeypatch):
    rng = random.Random(1)
    for _ in range(2):
        decoded_bytes(registry, as_ours(list(drawn(rng, ["a", "b"]))))
    monkeypatch.setattr(Decoder, "_quickly", None)
    monkeypatch.setattr(Decoder, "_slowly", None)
    rows = list(drawn(rng, ["a", "b"], stale=1.0))
    same(decoded_bytes(registry, as_ours(rows)), told(rows))


def test_any_other_byte_that_differs_is_seen(registry):
    rows = list(drawn(random.Random(1), ["a", "b", "c"]))
    raw = as_ours(rows)
    for _ in range(3):
        decoded_bytes(registry, raw)
    for old, new in ((b"\x0a\x01m", b"\x0a\x01n"), (b"\x12\x03\x0a\x01b", b"\x12\x03\x0a\x01x")):
        changed = raw.replace(old, new)
        assert changed != raw
        found = decoded_bytes(registry, changed)
        assert {(name, text) for name, text, *_ in found} & {("n", '{"l":"a"}'), ("m", '{"l":"x"}')}
    same(decoded_bytes(registry, raw), told(rows))


def test_histograms_beside_numbers_are_decoded_by_themselves(registry):
    for step in range(1, 6):
        group, numbers = group_of(name="m")
        for label in ("a", "b", "c"):
            filled(numbers.gauge.data_points.add(), label, 0, step, float(step), 0, False)
        histogram = group.scope_metrics[0].metrics.add(name="h").histogram
        histogram.data_points.add(
            time_unix_nano=step, count=step + 5, sum=step, explicit_bounds=[1, 2], bucket_counts=[step, 2, 3]
        )
        found = decoded_bytes(registry, field(1, group.SerializeToString()))
        values = {(name, text): value for name, text, _, value in found}
        assert values["m", '{"l":"b"}'] == values["h_bucket", '{"le":"1"}'] == values["h_sum", "{}"] == step
        assert values["h_bucket", '{"le":"2"}'] == step + 2
        assert values["h_count", "{}"] == step + 5
        assert len(found) == 8


def test_where_templates_are_of_little_use_few_are_made(registry, monkeypatch):
    made = []
    build = templates.template_of
    monkeypatch.setattr(templates, "template_of", lambda *given: made.append(1) or build(*given))
    for step in range(300):  # the same length in turn, or another one after three groups
        names = (["a", "b"] if step % 2 else ["b", "a"]) if step < 150 else ["a", "b" * (step // 3)]
        rows = list(drawn(random.Random(step), names))
        same(decoded_bytes(registry, as_ours(rows)), told(rows))
    assert 1 <= len(made) <= 10
    for step in range(200):  # it settles
        decoded_bytes(registry, as_ours(list(drawn(random.Random(step), ["a", "b"]))))
    monkeypatch.setattr(Decoder, "_quickly", None)
    decoded_bytes(registry, as_ours(list(drawn(random.Random(1), ["a", "b"]))))


def test_points_with_exemplars_are_decoded_by_themselves(registry):
    for step in range(1, 5):
        group, metric = group_of(name="m")
        for label in ("a", "b", "c"):
            filled(metric.gauge.data_points.add(), label, 0, step, step + 0.5, 0, False)
        other = group.scope_metrics[0].metrics.add(name="n")
        filled(other.gauge.data_points.add(), "a", 0, step, step + 0.25, 0, True)
        found = decoded_bytes(registry, field(1, group.SerializeToString()))
        assert [value for *_, value in sorted(found)] == [step + 0.5] * 3 + [step + 0.25]


def test_templates_go_when_all_is_forgotten(registry):
    rng = random.Random(1)
    for _ in range(3):
        decoded_bytes(registry, as_ours(list(drawn(rng, ["a"]))))
    (origin,) = registry._origins.values()
    origin.forget()
    registry.forget()
    rows = list(drawn(rng, ["a"]))
    same(decoded_bytes(registry, as_ours(rows)), told(rows))
