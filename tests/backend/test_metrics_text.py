import math
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.backend.metrics.registry import Registry
from hawse.backend.metrics.text import TextDecoder
from hawse.backend.schema import METRICS
from hawse.batch import Resource

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,20}", fullmatch=True)
label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,20}", fullmatch=True).filter(lambda name: name != "__name__")
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
lines = st.tuples(
    names,
    st.dictionaries(label_names, values, max_size=4),
    st.one_of(st.floats(), st.integers(-(2**53), 2**53)),
    st.integers(0, 2**40),
)


def memory():
    connection = sqlite3.connect(":memory:")
    connection.executescript(METRICS)
    return connection


@pytest.fixture
def read():
    connection = memory()
    registry = Registry(connection, 0)
    origin = registry.origin(Resource.of({"cluster": "k"}))

    def reading(body):
        samples = TextDecoder(registry, origin).read(body)
        series = {one.id: one for one in registry._new}
        metrics = {number: (name, kind) for number, name, kind, *_ in registry._new_metrics}
        return [
            (*metrics[series[number].metric], series[number].labels, when, value)
            for number, when, value in zip(
                samples.series.tolist(), samples.times.tolist(), samples.values.tolist(), strict=True
            )
        ]

    yield reading
    connection.close()


def escaped(text):
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def line(name, labels, value, when):
    inner = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value!r} {when}" if labels else f"{name} {value!r} {when}"


@given(st.lists(lines, max_size=6))
def test_what_was_written_is_read_twice(found):
    connection = memory()
    registry = Registry(connection, 0)
    origin = registry.origin(Resource.of({}))
    body = "\n".join(line(*one) for one in found).encode()
    first = TextDecoder(registry, origin).read(body)
    again = TextDecoder(registry, origin).read(body)  # known by now
    assert first.series.tolist() == again.series.tolist()
    assert first.times.tolist() == again.times.tolist() == [when * 10**6 for *_, when in found]
    for one, other, (_, _, value, _) in zip(first.values.tolist(), again.values.tolist(), found, strict=True):
        assert one == other == float(value) or (math.isnan(one) and math.isnan(other) and math.isnan(value))
    assert len(set(first.series.tolist())) == len({(name, *sorted(labels.items())) for name, labels, *_ in found})
    connection.close()


def test_forms(read):
    found = read(
        b"# HELP a About a.\n# TYPE a counter\n\n"
        b'a{x="1",y="q\\"}\\\\\\n"} 1.5 7\r\n'
        b"a\t2\n"
        b"b{} -Inf 8\n"
        b'b{x = "1" , } 0x1p3 9\n'
        b'{"utf8.name", "l.l"="v"} 3 10\n'
        b'{__name__="c"} 4 11'
    )
    assert [(name, kind, labels, value) for name, kind, labels, _, value in found] == [
        ("a", "counter", '{"x":"1","y":"q\\"}\\\\\\n"}', 1.5),
        ("a", "counter", "{}", 2.0),
        ("b", "unknown", "{}", -math.inf),
        ("b", "unknown", '{"x":"1"}', 8.0),
        ("utf8.name", "unknown", '{"l.l":"v"}', 3.0),
        ("c", "unknown", "{}", 4.0),
    ]
    assert [when for *_, when, _ in found][2:] == [8_000_000, 9_000_000, 10_000_000, 11_000_000]
    assert found[1][3] > 10**18  # no time: that of arrival


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"ok 1\nbad", "line 2: expected a value"),
        (b'a{x="1" 1 2', "closing brace"),
        (b'a{x="1} 1 2', "closing brace or quote"),
        (b"a one 2", "'one' is no number"),
        (b"a 1_000 2", "'1_000' is no number"),
        (b"a 1 soon", "'soon' is no time"),
        (b"a 1 2 3", "expected a value and perhaps a time"),
        (b"a{x=1} 1", 'expected label="value"'),
        (b'{x="1"} 1', "a series without a name"),
    ],
)
def test_mistakes_say_where(read, body, why):
    with pytest.raises(ValueError, match="line ") as caught:
        read(body)
    assert why in str(caught.value)


def test_lines_of_a_request_are_bounded(read):
    with pytest.raises(ValueError, match="more than 2000000 lines"):
        read(b"\n" * 2_000_001)


@given(st.binary(max_size=80))
def test_anything_is_read_or_refused(raw):
    connection = memory()
    registry = Registry(connection, 0)
    try:
        TextDecoder(registry, registry.origin(Resource.of({}))).read(raw)
    except ValueError:
        pass
    connection.close()
