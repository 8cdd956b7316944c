"""Jaeger's Thrift becomes what OpenTelemetry's translation says, in both protocols."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.batch import Batch, Signal
from hawse.codecs.jaeger_thrift import TooMany, Translator
from hawse.codecs.thrift import Binary, Compact
from hawse.wire import WireError

from . import jaeger as w
from .jaeger_oracle import by_scope, expected, read

PAIRS = [(w.CompactWriter(), Compact), (w.BinaryWriter(), Binary), (w.LooseWriter(), Binary)]
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.just("x" * 200)
KEYS = st.sampled_from([
    "span.kind", "error", "otel.status_code", "otel.status_description", "http.status_code", "http.status_message",
    "w3c.tracestate", "otel.scope.name", "otel.scope.version", "otel.library.name", "otel.library.version",
    "http.method", "component", "event", "message", "",
]) | TEXT  # fmt: skip
VALUES = (
    st.sampled_from(["client", "server", "OK", "error", "404", "200", "lib"])
    | st.integers(99, 601)
    | TEXT
    | I64
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
)
TAGS = st.lists(st.tuples(KEYS, VALUES), max_size=6)
SMALL = st.integers(-2, 2)
REFERENCES = st.lists(st.tuples(st.integers(0, 1), SMALL, SMALL, SMALL), max_size=3)
SPANS = st.fixed_dictionaries(
    {
        "low": SMALL | I64,
        "high": SMALL | I64,
        "id": I64,
        "parent": SMALL | I64,
        "name": TEXT,
        "references": REFERENCES,
        "flags": st.integers(0, 3),
        "start": st.integers(0, 1 << 53) | I64,
        "duration": st.integers(0, 1 << 40) | I64,
        "tags": TAGS,
        "logs": st.lists(st.tuples(st.integers(0, 1 << 53), TAGS), max_size=2),
    }
)


def written(span, **how):
    """A model span as fields to write."""
    return w.span(
        span["low"],
        span["high"],
        span["id"],
        span["parent"],
        span["name"],
        span["flags"],
        span["start"],
        span["duration"],
        references=[w.reference(*one) for one in span["references"]] or None,
        tags=[w.tag(*one, **how) for one in span["tags"]] or None,
        logs=[w.log(time, [w.tag(*one, **how) for one in fields]) for time, fields in span["logs"]] or None,
    )


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
@pytest.mark.parametrize("how", [{}, {"swapped": True}])
@settings(max_examples=60)
@given(spans=st.lists(SPANS, max_size=4))
def test_every_field_is_translated(writer, protocol, how, spans):
    raw = w.emit(writer, [written(span, **how) for span in spans])
    translator = Translator(protocol)
    for _ in range(2):  # the second time from memory
        ((attributes, found),) = read(translator.datagram(raw))
        assert attributes == {"service.name": "shop"}
        assert found == by_scope([expected(span) for span in spans])
    assert translator.count(raw) == len(spans)


@pytest.mark.parametrize("how", [{}, {"swapped": True}])
@settings(max_examples=30)
@given(spans=st.lists(SPANS | SPANS.map(lambda span: span | {"references": []}), min_size=13, max_size=18))
def test_many_at_a_time_are_translated_alike(how, spans):
    raw = w.emit(w.CompactWriter(), [written(span, **how) for span in spans])
    translator = Translator(Compact)
    for _ in range(2):
        ((_, found),) = read(translator.datagram(raw))
        assert found == by_scope([expected(span) for span in spans])


def test_many_at_a_time_cut_off_or_changed():
    """Columns make the same of anything as reading one by one, errors included."""
    raw = w.emit(w.CompactWriter(), [FULL, *[w.span(tags=[w.tag("a", "b"), w.tag("n", 300)])] * 12])
    columns, plain = Translator(Compact), Translator(Compact)
    plain._columns = None

    def outcome(translator, data):
        try:
            return Batch(Signal.TRACES, translator.datagram(data)).encode()
        except WireError as error:
            return str(error)

    assert isinstance(outcome(columns, raw), bytes)
    for at in range(len(w.emit(w.CompactWriter(), [FULL, w.span(tags=[w.tag("a", "b"), w.tag("n", 300)])]))):
        for data in (raw[:at], *(raw[:at] + bytes([value]) + raw[at + 1 :] for value in (0, 0x7F, 0xFF, raw[at] ^ 1))):
            assert outcome(columns, data) == outcome(plain, data)


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
@pytest.mark.parametrize(
    ("service", "tags", "resource"),
    [
        ("shop", None, {"service.name": "shop"}),
        ("", [("a", 1)], {"a": 1}),
        ("OTLPResourceNoServiceName", [("a", 1)], {"a": 1}),
        (
            "s",
            [("hostname", "h"), ("ip", "10.0.0.1"), ("jaeger.version", "Go-2.30.0"), ("n", 1.5), ("t", True)],
            {
                "service.name": "s", "host.name": "h", "ip": "10.0.0.1", "opencensus.exporterversion": "Jaeger-Go-2.30.0",
                "n": 1.5, "t": True,
            },
        ),
        ("s", [("hostname", "h"), ("host.name", "i")], {"service.name": "s", "hostname": "h", "host.name": "i"}),
        ("s", [("service.name", "other"), ("b", b"\xff")], {"service.name": "other", "b": b"\xff"}),
        ("s", [("k", "\udc80")], {"service.name": "s", "k": "\ufffd\ufffd\ufffd"}),
    ],
)  # fmt: skip
def test_processes_become_resources(writer, protocol, service, tags, resource):
    of = w.process(service, None if tags is None else [w.tag(*one) for one in tags])
    translator = Translator(protocol)
    for _ in range(2):
        ((attributes, _),) = read(translator.datagram(w.emit(writer, [w.span()], of)))
        assert attributes == resource


def body(translator, data, most=1 << 62):
    work = translator.body(data, most)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_bodies(writer, protocol):
    raw = writer.value(w.STRUCT, w.batch([w.span(id_=number) for number in range(1, 101)]))
    translator = Translator(protocol)
    long = writer.value(w.STRUCT, w.batch([w.span()] * 300))
    assert sum(1 for _ in translator.body(long)) == (2 if protocol is Compact else 9)  # turns for others
    ((_, spans),) = read([body(translator, raw)])
    assert [one["span"] for _, one in spans] == [struct.pack(">q", number) for number in range(1, 101)]
    with pytest.raises(TooMany, match="100 spans, 99 are allowed"):
        body(translator, raw, 99)
    with pytest.raises(WireError, match=f"3 bytes follow the batch, from byte {len(raw)}"):
        body(translator, raw + b"abc")


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_values_that_their_type_does_not_name(writer, protocol):
    """Thrift gives a missing value its zero; types that Jaeger does not have are told as text."""
    bare = [[(1, w.STRING, b"k"), (2, w.I32, kind)] for kind in range(7)]
    for kind, value in enumerate(
        ["", 0.0, False, 0, b"", '<Unknown Jaeger TagType "5">', '<Unknown Jaeger TagType "6">']
    ):
        ((_, ((_, span),)),) = read(Translator(protocol).datagram(w.emit(writer, [w.span(tags=[bare[kind]])])))
        assert span["attributes"] == {"k": value}
    other = w.tag("k", 7, kind=0)  # said to be text, but the number is there
    ((_, ((_, span),)),) = read(Translator(protocol).datagram(w.emit(writer, [w.span(tags=[other])])))
    assert span["attributes"] == {"k": ""}


def test_clients_wait_statistics_and_sequence_numbers_are_passed_over():
    more = [(3, w.I64, 12), (4, w.STRUCT, [(1, w.I64, 1), (2, w.I64, 2), (3, w.I64, 3)])]
    raw = w.CompactWriter().message(b"emitBatch", 4, 1, [(1, w.STRUCT, w.batch([w.span()]) + more)])
    assert len(Translator(Compact).datagram(raw)) == 1


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_two_calls_in_a_datagram(writer, protocol):
    raw = w.emit(writer, [w.span()], w.process("a")) + w.emit(writer, [w.span()], w.process("b"), kind=1)
    found = read(Translator(protocol).datagram(raw))
    assert [attributes["service.name"] for attributes, _ in found] == ["a", "b"]


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "without a batch"),
        ([(1, w.STRUCT, [(2, w.LIST, (w.STRUCT, []))])], "has no process"),
        ([(1, w.STRUCT, [(1, w.STRUCT, w.process())])], "has no spans"),
        ([(1, w.STRUCT, [(1, w.STRUCT, [])])], "has no serviceName"),
        ([(1, w.STRUCT, w.batch([w.span()[:4] + w.span()[5:]]))], "span at byte [0-9]+ has no operationName"),
        ([(1, w.STRUCT, w.batch([w.span(tags=[[(1, w.STRING, b"k")]])]))], "tag at byte [0-9]+ has no vType"),
        ([(1, w.STRUCT, w.batch([w.span(tags=[[(2, w.I32, 0)]])]))], "tag at byte [0-9]+ has no key"),
        ([(1, w.STRUCT, w.batch([w.span(logs=[[(1, w.I64, 3)]])]))], "log at byte [0-9]+ has no fields"),
        ([(1, w.STRUCT, w.batch([w.span(references=[w.reference(0, 1, 2, 3)[:3]])]))], "has no spanId"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(writer, protocol, arguments, message):
    with pytest.raises(WireError, match=message):
        Translator(protocol).datagram(writer.message(b"emitBatch", 4, 1, arguments))


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_other_calls_are_told(writer, protocol):
    with pytest.raises(WireError, match="'emitZipkinBatch', not emitBatch"):
        Translator(protocol).datagram(w.emit(writer, [], name=b"emitZipkinBatch"))
    with pytest.raises(WireError, match="is answered, not called"):
        Translator(protocol).datagram(w.emit(writer, [], kind=2))


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_parts_of_a_span_are_bounded(writer, protocol):
    tags = [w.tag("k", 1)] * 4
    raw = w.emit(writer, [w.span(tags=tags, logs=[w.log(1, tags)])] * 3)
    assert Translator(protocol, 9).datagram(raw)[0].items == 3
    with pytest.raises(WireError, match="1 elements more than are allowed"):
        Translator(protocol, 8).datagram(raw)


FULL = w.span(
    references=[w.reference(1, 3, 4, 5)],
    tags=[w.tag("a", "b"), w.tag("n", 300), w.tag("t", value=True), w.tag("d", 1.5), w.tag("y", b"z" * 130)],
    logs=[w.log(5, [w.tag("event", "e")])],
)


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_cut_off_at_any_byte(writer, protocol):
    translator = Translator(protocol)
    raw = w.emit(writer, [FULL, FULL])
    translator.datagram(raw)
    for size in range(len(raw)):
        with pytest.raises(WireError, match="byte"):
            translator.datagram(raw[:size])
        assert translator.count(raw[:size]) in {1, 2}
    whole = writer.value(w.STRUCT, w.batch([FULL]))
    for size in range(len(whole)):
        with pytest.raises(WireError, match="byte"):
            body(translator, whole[:size])


@pytest.mark.parametrize(("writer", "protocol"), PAIRS)
def test_changed_at_any_byte(writer, protocol):
    """Whatever comes of it, it is a group that can be read, or an error."""
    translator = Translator(protocol)
    raw = w.emit(writer, [FULL])
    for at in range(len(raw)):
        for value in (0, 0x7F, 0x80, 0xFF, raw[at] ^ 1):
            changed = raw[:at] + bytes([value]) + raw[at + 1 :]
            try:
                groups = translator.datagram(changed)
            except WireError:
                continue
            read_loosely(groups)


def read_loosely(groups):
    for group in groups:
        assert isinstance(dict(group.resource.attributes), dict)
    read(groups)


@given(st.binary(max_size=300))
def test_anything_at_all(data):
    for protocol in (Compact, Binary):
        translator = Translator(protocol)
        with pytest.raises(WireError):
            translator.datagram(data)
        assert translator.count(data) >= 0
        try:
            body(translator, data)
        except WireError:
            pass


def test_memory_is_bounded():
    translator = Translator(Compact)
    writer = w.CompactWriter()
    for number in range(40):
        tags = [w.tag(f"k{number}.{other}", str(other)) for other in range(400)]
        translator.datagram(w.emit(writer, [w.span(name=f"n{number}{i}") for i in range(40)] + [w.span(tags=tags)]))
    assert len(translator._span_tags) <= 8192
    assert len(translator._names) <= 1024


def test_names_that_are_no_text():
    fields = w.span()
    fields[4] = (5, w.STRING, b"caf\xe9")
    ((_, ((_, span),)),) = read(Translator(Compact).datagram(w.emit(w.CompactWriter(), [fields])))
    assert span["name"] == "caf\ufffd"
