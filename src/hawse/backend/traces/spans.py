"""Spans as the store keeps them: what searches ask for as columns, and each Span message as it came beside them.

Nothing is lost by that, and taking a span in costs no object but the few that its columns are made of
(opentelemetry-proto, `trace/v1/trace.proto`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from hawse.backend.columns import LATEST, compress, decompress
from hawse.batch import Group
from hawse.codecs.descriptors import classes
from hawse.wire import WireError, decode_attributes

CHUNK_SPANS = 4096
CHUNK_BYTES = 1 << 20

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
ERROR = 2

# What searches need of a span, and the same spans as the bytes that came.
_READ = """Group: 2 Scope scopes*, 3 bytes schema_url
Scope: 1 bytes scope, 2 Span spans*, 3 bytes schema_url
Span: 1 bytes trace_id, 2 bytes span_id, 4 bytes parent_span_id, 5 bytes name, 6 int32 kind, 7 fixed64 start,
    8 fixed64 end, 15 Status status
Status: 3 int32 code
RawGroup: 2 RawScope scopes*
RawScope: 2 bytes spans*
Named: 1 bytes name, 2 bytes version
Whole: 1 bytes trace_id, 2 bytes span_id, 3 bytes trace_state, 4 bytes parent_span_id, 5 bytes name, 6 int32 kind,
    7 fixed64 start, 8 fixed64 end, 10 uint32 dropped_attributes, 11 bytes events*, 12 uint32 dropped_events,
    13 bytes links*, 14 uint32 dropped_links, 15 WholeStatus status, 16 fixed32 flags
WholeStatus: 2 bytes message, 3 int32 code
Event: 1 fixed64 time, 2 bytes name, 4 uint32 dropped
Link: 1 bytes trace_id, 2 bytes span_id, 3 bytes trace_state, 5 uint32 dropped, 6 fixed32 flags
Rare: 3 bytes trace_state, 15 RareStatus status
RareStatus: 2 bytes message
Attributes: 9 bytes attributes*
Keys: 9 Key attributes*
Key: 1 bytes key"""

# A chunk's fixed columns, in the order in which they are joined. `parent` is zero where there is none.
_COLUMNS = {
    "trace": "V16",
    "span": "V8",
    "parent": "V8",
    "start": "<i8",  # ns since 1970
    "end": "<i8",
    "kind": "u1",
    "status": "u1",
    "name": "<u4",  # place among the chunk's names
    "scope": "<u4",  # place among the chunk's scopes
    "resource": "<u4",  # number in the store
    "length": "<u4",  # bytes of the Span message
}
_WIDTH = sum(np.dtype(kind).itemsize for kind in _COLUMNS.values())


@cache
def message_class(name: str) -> Any:
    """Made when first needed: a process that stores logs alone has no use for it."""
    return classes("hawse.backend.spans", _READ)[name]


class Scope(msgspec.Struct, array_like=True, frozen=True):
    """Where spans come from: name, version and attributes of the instrumentation scope, URL of the spans' schema."""

    name: str = ""
    version: str = ""
    attributes: dict[str, Any] = {}
    schema_url: str = ""

    def key(self) -> bytes:
        """The same for the same scope."""
        return msgspec.json.encode(self)


class Names(msgspec.Struct, array_like=True):
    """What the places in `name` and `scope` stand for."""

    names: list[str] = []
    scopes: list[Scope] = []


class Spans(msgspec.Struct):
    """Spans with their columns, in any order. `raw` is each Span message as it came, without tag and length."""

    columns: dict[str, NDArray[Any]]
    names: Names
    raw: list[bytes]

    def __len__(self) -> int:
        return len(self.raw)

    def taken(self, places: NDArray[np.int64]) -> "Spans":
        """Some of them, in the order of `places`."""
        columns = {name: column[places] for name, column in self.columns.items()}
        return Spans(columns, self.names, [self.raw[place] for place in places.tolist()])

    def by_trace(self) -> "Spans":
        """In the order of traces and times: a question for one trace then meets few chunks."""
        order = np.lexsort((self.columns["start"], trace_hash(self.columns["trace"])))
        return self.taken(order)


class SpanLot(msgspec.Struct):
    """Spans of one resource; the column `resource` is zero until the store has a number for it."""

    resource: Mapping[str, Any]
    spans: Spans


# --- OTLP → columns -------------------------------------------------------------------------------------------------


def read(group: Group) -> SpanLot:
    """The spans of a group. Raises WireError where it is malformed."""
    data = b"".join(group.scopes)
    try:
        parsed, raw = message_class("Group").FromString(data), message_class("RawGroup").FromString(data)
        schema_url = _text(parsed.schema_url)
        scopes = [_scope(one.scope, _text(one.schema_url) or schema_url) for one in parsed.scopes]
    except DecodeError as error:
        raise WireError(f"malformed spans: {error}") from None
    spans = [span for one in parsed.scopes for span in one.spans]
    counts = [len(one.spans) for one in parsed.scopes]
    messages = [message for one in raw.scopes for message in one.spans]
    columns, names = _columned(spans)
    columns["scope"] = np.repeat(np.arange(len(counts), dtype="<u4"), counts)
    columns["resource"] = np.zeros(len(spans), "<u4")
    columns["length"] = np.fromiter(map(len, messages), "<u4", len(messages))
    return SpanLot(group.resource.attributes, Spans(columns, Names(names, scopes), messages))


def _columned(spans: Sequence[Any]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    count = len(spans)
    names: dict[bytes, int] = {}
    placed = [names.setdefault(span.name, len(names)) for span in spans]
    found: dict[str, NDArray[Any]] = {
        "trace": _ids([span.trace_id for span in spans], 16),
        "span": _ids([span.span_id for span in spans], 8),
        "parent": _ids([span.parent_span_id for span in spans], 8),
        "start": _times([span.start for span in spans]),
        "end": _times([span.end for span in spans]),
        "kind": _small([span.kind for span in spans]),
        "status": _small([span.status.code for span in spans]),
        "name": np.fromiter(placed, "<u4", count),
    }
    return found, [_text(name) for name in names]


def _times(times: list[int]) -> NDArray[np.int64]:
    """None later than a search without an end finds."""
    found: NDArray[np.int64] = np.minimum(np.array(times, "<u8"), np.uint64(LATEST - 1)).astype("<i8")
    return found


def _small(numbers: list[int]) -> NDArray[np.uint8]:
    """Numbers of an enum; those that no enum has are all 255."""
    found = np.array(numbers, "<i4")
    return np.where((found >= 0) & (found < 255), found, 255).astype("u1")


def _ids(ids: list[bytes], size: int) -> NDArray[Any]:
    """Ids of the right size; what is shorter is filled up with zeros, as what is missing is."""
    joined = b"".join(ids)
    if len(joined) != size * len(ids) or any([len(one) != size for one in ids]):  # noqa: C419  # a list is faster
        joined = b"".join([one[:size].ljust(size, b"\0") for one in ids])
    return np.frombuffer(joined, f"V{size}")


def _scope(raw: bytes, schema_url: str) -> Scope:
    named = message_class("Named").FromString(raw)
    return Scope(_text(named.name), _text(named.version), decode_attributes(raw, number=3), schema_url)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# --- many as one, one as several ------------------------------------------------------------------------------------


def joined(parts: Sequence[Spans]) -> Spans:
    """All of them, in order, with one list of names."""
    if len(parts) == 1:
        return parts[0]
    names: dict[str, int] = {}
    scopes: dict[bytes, int] = {}
    by_place: list[Scope] = []
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
    for part in parts:
        new_name = [names.setdefault(name, len(names)) for name in part.names.names]
        new_scope = []
        for scope in part.names.scopes:
            place = scopes.setdefault(scope.key(), len(scopes))
            if place == len(by_place):
                by_place.append(scope)
            new_scope.append(place)
        for name, column in part.columns.items():
            moved = {"name": new_name, "scope": new_scope}.get(name)
            columns[name].append(column if moved is None else np.array(moved or [0], "<u4")[column])
    return Spans(
        {name: np.concatenate(some) for name, some in columns.items()},
        Names(list(names), by_place),
        [message for part in parts for message in part.raw],
    )


def pieces(spans: Spans) -> Iterator[Spans]:
    """Cut into what fits a chunk, in order. A span larger than that has one for itself."""
    ends = np.cumsum(spans.columns["length"], dtype=np.int64)
    start = 0
    while start < len(spans):
        base = int(ends[start - 1]) if start else 0
        fitting = int(np.searchsorted(ends, base + CHUNK_BYTES, "right"))
        end = max(start + 1, min(start + CHUNK_SPANS, fitting))
        yield spans if (start, end) == (0, len(spans)) else spans.taken(np.arange(start, end))
        start = end


# --- columns ↔ bytes ------------------------------------------------------------------------------------------------


def pack(spans: Spans) -> tuple[bytes, bytes, bytes]:
    """Fixed columns, names, messages, as `unpack` reads them."""
    used = _used(spans)
    fixed = b"".join([used.columns[name].tobytes() for name in _COLUMNS])
    return compress(fixed), compress(msgspec.json.encode(used.names)), compress(b"".join(used.raw))


def _used(spans: Spans) -> Spans:
    """With the names that occur alone: a piece of many spans has few of theirs."""
    names, name = np.unique(spans.columns["name"], return_inverse=True)
    scopes, scope = np.unique(spans.columns["scope"], return_inverse=True)
    columns = {**spans.columns, "name": name.astype("<u4"), "scope": scope.astype("<u4")}
    kept = Names([spans.names.names[i] for i in names.tolist()], [spans.names.scopes[i] for i in scopes.tolist()])
    return Spans(columns, kept, spans.raw)


def columns_of(packed: bytes, items: int) -> dict[str, NDArray[Any]]:
    """The fixed columns."""
    fixed = decompress(packed)
    if len(fixed) != items * _WIDTH:
        raise ValueError("a chunk of spans is damaged")
    found, at = {}, 0
    for name, kind in _COLUMNS.items():
        found[name] = np.frombuffer(fixed, kind, items, at)
        at += found[name].nbytes
    return found


def names_of(packed: bytes) -> Names:
    """What names and scopes stand for."""
    return msgspec.json.decode(decompress(packed), type=Names)


def messages_of(blob: bytes, lengths: NDArray[Any]) -> list[bytes]:
    """The Span messages, of all of them joined."""
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    return [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def unpack(packed: tuple[bytes, bytes, bytes], items: int) -> Spans:
    """The spans that `pack` was given."""
    columns = columns_of(packed[0], items)
    return Spans(columns, names_of(packed[1]), messages_of(decompress(packed[2]), columns["length"]))


def trace_hash(traces: NDArray[Any]) -> NDArray[np.uint32]:
    """Four bytes for each trace id: of those that are random by W3C's rules, whatever is in the others."""
    words = np.frombuffer(traces.tobytes(), "<u4").reshape(-1, 4)
    hashed: NDArray[np.uint32] = words[:, 3] ^ words[:, 1]
    return hashed
