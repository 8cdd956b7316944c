"""Batches: what components may do with them, without a look inside."""

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

from hawse import wire
from hawse.batch import Batch, Group, Resource, Signal

texts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5)


def read(resource):
    """Attributes as they are in the bytes, not as remembered."""
    return wire.decode_attributes(resource.raw)


@given(texts, texts, st.sets(st.text(max_size=8)))
@settings(deadline=None)
def test_replaced(before, new, more):
    resource = Resource.of(before)
    remove = more | set(sorted(before)[:2])
    changed = resource.replaced(new, remove)
    expected = {key: value for key, value in before.items() if key not in remove} | new
    assert changed.attributes == read(changed) == expected
    assert resource.attributes == read(resource) == before  # the old one is as it was


@given(texts, texts)
@settings(deadline=None)
def test_extended(before, new):
    new = {f"new.{key}": value for key, value in new.items()}
    resource = Resource(memoryview(wire.encode_attributes(before)))
    changed = resource.extended(wire.encode_attributes(new), new)
    assert changed.attributes == read(changed) == before | new


def test_other_fields_of_a_resource_stay():
    raw = wire.encode_attributes({"a": "1", "b": "2"}) + b"\x10\x07"  # dropped_attributes_count 7
    changed = Resource(raw).replaced({"c": "3"}, remove=["a"])
    assert b"\x10\x07" in changed.raw
    assert read(changed) == {"b": "2", "c": "3"}


@given(st.lists(st.tuples(texts, st.lists(st.integers(0, 50), max_size=3)), max_size=4))
@settings(deadline=None)
def test_sizes_parts_and_bytes_agree(groups):
    made = []
    for attributes, scopes in groups:
        pieces = tuple(wire.field(2, b"\x12\x00" * records) for records in scopes)
        made.append(Group(Resource.of(attributes), pieces, sum(scopes)))
    batch = Batch(Signal.LOGS, made, "10.0.0.1")
    encoded = batch.encode()
    assert b"".join(batch.parts()) == encoded
    theirs = LogsData.FromString(encoded)
    assert [len(rl.resource.attributes) for rl in theirs.resource_logs] == [len(attributes) for attributes, _ in groups]
    assert [sum(len(s.log_records) for s in rl.scope_logs) for rl in theirs.resource_logs] == [g.items for g in made]
    assert batch.items == sum(group.items for group in made)
    assert batch.nbytes == sum(group.nbytes for group in made)
    assert len(encoded) == sum(1 + wire.varint_size(group.nbytes) + group.nbytes for group in made)
    assert batch.with_groups(made[:1]).peer == "10.0.0.1"


def test_a_group_with_another_resource_keeps_its_records():
    group = Group(Resource.of({"a": "1"}), (b"\x12\x02\x12\x00",), 1)
    other = group.with_resource(Resource.of({"b": "2"}))
    assert (other.items, other.scopes) == (1, group.scopes)
    assert group.resource.attributes == {"a": "1"}


def test_signals_name_their_items():
    assert [signal.items for signal in Signal] == ["log_records", "metric_points", "spans"]
