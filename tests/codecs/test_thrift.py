"""Thrift's protocols: what a plain writer writes is read; what is wrong is told with its byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.codecs import thrift
from hawse.codecs.thrift import Binary, Compact, complete
from hawse.wire import WireError

from . import jaeger as w

PAIRS = [(w.CompactWriter(), Compact), (w.BinaryWriter(), Binary), (w.LooseWriter(), Binary)]
SIGNED = {w.BYTE: 8, w.I16: 16, w.I32: 32, w.I64: 64}
SCALARS = {
    **{kind: st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) for kind, bits in SIGNED.items()},
    w.BOOL: st.booleans(),
    w.DOUBLE: st.floats(allow_nan=False),
    w.STRING: st.binary(max_size=300),
}
KNOWN = {
    w.BYTE: thrift.A_BYTE, w.I16: thrift.AN_I16, w.I32: thrift.AN_I32, w.I64: thrift.AN_I64, w.BOOL: thrift.A_BOOL,
    w.DOUBLE: thrift.A_DOUBLE, w.STRING: thrift.A_STRING,
}  # fmt: skip


def typed(values):
    return st.one_of([inner.map(lambda one, kind=kind: (kind, one)) for kind, inner in values.items()])


def containers(inner):
    """Lists and sets of one type, maps and structs of things."""
    lists = inner.flatmap(
        lambda one: st.lists(SCALARS.get(one[0], st.just(one[1])), max_size=20).map(lambda found: (one[0], found))
    )
    maps = st.tuples(typed(SCALARS), inner).map(lambda two: (two[0][0], two[1][0], [(two[0][1], two[1][1])]))
    fields = st.dictionaries(st.integers(1, 300), inner, max_size=4).map(
        lambda found: [(number, *one) for number, one in sorted(found.items())]
    )
    return st.one_of(
        lists.map(lambda one: (w.LIST, one)),
        lists.map(lambda one: (w.SET, one)),
        maps.map(lambda one: (w.MAP, one)),
        fields.map(lambda one: (w.STRUCT, one)),
    )


ANYTHING = st.recursive(typed(SCALARS), containers, max_leaves=12)


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
@given(fields=st.dictionaries(st.integers(-(1 << 15), (1 << 15) - 1), typed(SCALARS), max_size=8))
def test_scalars_come_back(writer, protocol, fields):
    raw = writer.value(w.STRUCT, [(number, *one) for number, one in fields.items()])
    known = {number: KNOWN[kind] for number, (kind, _) in fields.items()}
    found, end = protocol(raw).struct(0, known)
    assert found == {number: value for number, (_, value) in fields.items()}
    assert end == len(raw)


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
@given(unknown=ANYTHING)
def test_what_is_not_known_is_passed_over(writer, protocol, unknown):
    raw = writer.value(w.STRUCT, [(3, w.I32, -5), (4, *unknown), (9, w.STRING, b"behind")])
    found, end = protocol(raw).struct(0, {3: thrift.AN_I32, 9: thrift.A_STRING})
    assert found == {3: -5, 9: b"behind"}
    assert end == len(raw)


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_a_field_of_another_type_is_passed_over(writer, protocol):
    raw = writer.value(w.STRUCT, [(1, w.STRING, b"no number"), (2, w.I32, 7)])
    assert protocol(raw).struct(0, {1: thrift.AN_I64, 2: thrift.AN_I32})[0] == {2: 7}


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
@given(name=st.text(max_size=200), kind=st.integers(1, 4), sequence=st.integers(0, (1 << 31) - 1))
def test_heads_of_messages(writer, protocol, name, kind, sequence):
    raw = writer.message(name.encode("utf-8", "replace"), kind, sequence, [])
    head, at = protocol(raw).message(0)
    assert head == (name.encode("utf-8", "replace").decode(), kind, sequence)
    assert raw[at:] == b"\0"


@pytest.mark.parametrize("protocol", [Compact, Binary])
@given(raw=st.binary(max_size=200))
def test_anything_is_read_or_refused(protocol, raw):
    for read in (lambda reader: reader.struct(0, {}), lambda reader: reader.message(0)):
        try:
            with complete(raw):
                read(protocol(raw))
        except WireError as error:
            assert "byte" in str(error)


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_cut_off_anywhere(writer, protocol):
    unknown = [(w.LIST, (w.STRING, [b"a", b"b"])), (w.MAP, (w.I32, w.STRING, [(1, b"c")])), (w.DOUBLE, 1.5)]
    raw = writer.value(w.STRUCT, [(number, *one) for number, one in enumerate(unknown, 1)])
    for size in range(len(raw)):
        with pytest.raises(WireError, match="byte"), complete(raw[:size]):  # noqa: PT012
            protocol(raw[:size]).struct(0, {})


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_depth_and_elements_are_bounded(writer, protocol):
    deep = (w.I32, 1)
    for _ in range(40):
        deep = (w.STRUCT, [(1, *deep)])
    raw = writer.value(w.STRUCT, [(1, *deep)])
    with pytest.raises(WireError, match="nest deeper than 32"):
        protocol(raw).struct(0, {})
    many = writer.value(w.STRUCT, [(1, w.LIST, (w.BOOL, [True] * 10_001))])
    with pytest.raises(WireError, match="more than 10000 elements"):
        protocol(many).struct(0, {})
    known = writer.value(w.STRUCT, [(1, w.LIST, (w.STRUCT, [[]] * 5))])
    reader = protocol(known)
    reader.left = 4
    with pytest.raises(WireError, match="1 elements more than are allowed"):
        reader.struct(0, {1: thrift.a_list({})})
    assert protocol(known).struct(0, {1: thrift.a_list({})})[0] == {1: [{}] * 5}
    nested = writer.value(w.STRUCT, [(1, w.STRUCT, [(4, w.I64, -1)])])
    assert protocol(nested).struct(0, {1: thrift.a_struct({4: thrift.AN_I64})})[0] == {1: {4: -1}}


@pytest.mark.parametrize(
    ("protocol", "raw", "message"),
    [
        (Binary, "0f0001 0c 7fffffff", "said to have 2147483647 elements"),
        (Binary, "0f0001 0c ffffffff", "a size of -1 at byte 4"),
        (Binary, "0b0001 00001000 61", "a string of 4096 bytes begins at byte 7"),
        (Binary, "07", "type 7 at byte 0"),
        (Binary, "0d0002 0b01 00000001", "types 11 and 1 at byte 3"),
        (Compact, "19 fc ffffffff0f", "said to have 4294967295 elements"),
        (Compact, "18 ffffffffffffffffffffff01", "more than ten bytes begins at byte 1"),
        (Compact, "1d", "type 13 at byte 0"),
        (Compact, "19 2e", "type 14 at byte 1"),
        (Compact, "2b 01 d1", "types 13 and 1 at byte 2"),
    ],
)
def test_what_is_wrong_is_told_with_its_byte(protocol, raw, message):
    data = bytes.fromhex(raw)
    with pytest.raises(WireError, match=message), complete(data):
        protocol(data).struct(0, {1: thrift.a_list({})})


@pytest.mark.parametrize(
    ("protocol", "raw", "message"),
    [
        (Binary, "80020001", "is not 0x80010000"),
        (Binary, "80010009 00000000 00000000", "type 9"),
        (Compact, "81", "not the 0x82"),
        (Compact, "8222", "version 2 at byte 1"),
        (Compact, "82010000", "type 0"),
    ],
)
def test_heads_that_are_none(protocol, raw, message):
    data = bytes.fromhex(raw)
    with pytest.raises(WireError, match=message), complete(data):
        protocol(data).message(0)
