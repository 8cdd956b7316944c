"""Spans of a group for those who must see them (opentelemetry-proto, `trace/v1/trace.proto`).

Three depths, as for log records: `cut` parts a group by trace id and looks at nothing else; `read` parses what was cut,
whose fields cost when they are asked for, and `attributes` decodes those of one span. What is cut keeps its bytes:
fields that nobody here knows stay where they are. All raise WireError on bytes that are malformed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from hawse.batch import AttributeValue, Group, Resource
from hawse.codecs import otlp_parts
from hawse.codecs.descriptors import classes
from hawse.codecs.otlp_records import _attribute, _attributes, _seen
from hawse.wire import WireError, encode_attributes, field, without_attributes

# Text and values are bytes, as in `otlp_records`: one stray byte must not cost the whole trace.
_LAYOUT = """Spans: 2 Span items*
Span: 1 bytes trace_id, 3 bytes trace_state, 4 bytes parent_span_id, 5 bytes name, 6 uint64 kind, 7 fixed64 start,
    8 fixed64 end, 9 bytes attributes*, 15 Status status, 16 fixed32 flags
Status: 3 uint64 code
Id: 1 bytes trace_id
Raw: 2 bytes items*
Columns: 2 Column item
Column: 3 bytes trace_state*, 5 bytes name*, 7 fixed64 start*, 8 fixed64 end*, 15 Codes status, 16 fixed32 flags*
Codes: 3 uint64 code*
Pairs: 2 Pair item
Pair: 9 bytes attributes*"""
_ATTRIBUTES = 9
_ID_FIRST = b"\x0a\x10"  # how a span begins that has 16 bytes of trace id before all else: every SDK's
_SLICE = 2048  # spans that are cut at once
UNSET, OK, ERROR = range(3)


@cache
def _classes() -> dict[str, Any]:
    return classes("hawse.spans", _LAYOUT)


def _parsed(name: str, data: bytes) -> Any:
    try:
        return _classes()[name].FromString(data)
    except DecodeError as error:
        raise WireError(f"malformed spans: {error}") from None


class Scope:
    """What spans that were cut from one ScopeSpans have in common: scopes are told apart by identity.

    `head` has the fields of the ScopeSpans beside its spans, `rest` those of the ResourceSpans beside its scopes.
    """

    __slots__ = ("head", "resource", "rest")

    def __init__(self, resource: Resource, head: bytes, rest: bytes) -> None:
        self.resource = resource
        self.head = head
        self.rest = rest


class Spans:
    """Some spans of one scope. `data` are the spans as fields of a ScopeSpans, owned; `count` says how many."""

    __slots__ = ("count", "data", "scope")

    def __init__(self, scope: Scope, data: bytes, count: int) -> None:
        self.scope = scope
        self.data = data
        self.count = count


def cut(group: Group) -> Iterator[list[tuple[bytes, Spans]]]:
    """The spans of a group by trace id, some thousand spans at a time; a trace may come again in the next lot.

    An id has 16 bytes where the sender kept to the protocol; b"" is of spans without one. What comes out owns its
    bytes. 0.2–0.5 µs a span.
    """
    message = otlp_parts.opened(group)
    scopes = list(message.scopes)
    del message.scopes[:]
    rest = message.SerializeToString()
    resource = group.resource
    if not isinstance(resource.raw, bytes):
        resource = Resource(bytes(resource.raw), resource.attributes)
    for one in scopes:
        raws = one.items[:]
        del one.items[:]
        scope = Scope(resource, one.SerializeToString(), rest)
        for at in range(0, len(raws), _SLICE):
            yield _by_trace(scope, raws[at : at + _SLICE])


def trace_ids(raws: Iterable[bytes]) -> list[bytes]:
    """The trace id of each span, given the bytes of the messages."""
    return [raw[2:18] if raw[:2] == _ID_FIRST else _parsed("Id", raw).trace_id for raw in raws]


def _by_trace(scope: Scope, raws: list[bytes]) -> list[tuple[bytes, Spans]]:
    found: dict[bytes, list[bytes]] = {}
    for trace_id, raw in zip(trace_ids(raws), raws, strict=True):
        mine = found.get(trace_id)
        if mine is None:
            found[trace_id] = [raw]
        else:
            mine.append(raw)
    return [(trace_id, Spans(scope, joined(mine), len(mine))) for trace_id, mine in found.items()]


def joined(raws: Sequence[bytes]) -> bytes:
    """Span messages as fields of a ScopeSpans."""
    if len(raws) == 1:
        return field(2, raws[0])
    made: bytes = _classes()["Raw"](items=raws).SerializeToString()
    return made


def apart(data: bytes) -> list[bytes]:
    """The messages of spans that were joined."""
    found: list[bytes] = _parsed("Raw", data).items[:]
    return found


def read(data: bytes) -> list[Any]:
    """The spans in some of `Spans.data`: `trace_id`, `trace_state`, `parent_span_id` and `name` as bytes, `kind`,
    `start` and `end` (Unix nanoseconds), `status.code`, `flags`; for attributes see `attributes`.
    """
    return list(_parsed("Spans", data).items)


def columns(data: bytes) -> Any:
    """What some spans have, field by field: `trace_state`, `name`, `start`, `end`, `status.code` and `flags` as lists
    of what is on the wire. A span without a field has no place in its list. 0.1 µs a span: protobuf merges messages
    that come again, so spans are declared as one span that has all of them; no object is made of any.
    """
    return _parsed("Columns", data).item


def pairs(data: bytes, key: str) -> Iterator[AttributeValue]:
    """The values of an attribute on some spans, each once, of which hardly any are decoded but those."""
    needle = key.encode("utf-8", "replace")
    if needle not in data:
        return
    for raw in {raw for raw in _parsed("Pairs", data).item.attributes[:] if needle in raw}:
        name, value = _seen.get(raw) or _attribute(raw)
        if name == key:
            yield value


def attributes(span: Any) -> Mapping[str, AttributeValue]:
    """The attributes of a span that `read` gave, decoded. Not to be modified."""
    return _attributes(span.attributes)


def groups(parts: Iterable[Spans]) -> list[Group]:
    """Parts as groups again: what came from one scope is one scope, and what is of one resource one group."""
    scopes: dict[int, list[Spans]] = {}
    for part in parts:
        scopes.setdefault(id(part.scope), []).append(part)
    resources: dict[tuple[int, bytes], list[list[Spans]]] = {}
    for mine in scopes.values():
        scope = mine[0].scope
        resources.setdefault((id(scope.resource), scope.rest), []).append(mine)
    made = []
    for of_resource in resources.values():
        pieces = [field(2, b"".join([one[0].scope.head, *(part.data for part in one)])) for one in of_resource]
        scope = of_resource[0][0].scope
        items = sum(part.count for one in of_resource for part in one)
        made.append(Group(scope.resource, (*pieces, scope.rest) if scope.rest else tuple(pieces), items))
    return made


class Stamp:
    """Attributes that are set on every span of some traces, encoded once."""

    __slots__ = ("_keys", "_names", "_suffix", "attributes")

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self._keys = tuple(attributes)
        self._names = tuple(key.encode() for key in attributes)  # a span without these bytes has no such attribute
        self._suffix = encode_attributes(attributes, _ATTRIBUTES)

    def on(self, spans: Spans) -> Spans:
        """The same spans with the attributes, which replace those of the same keys. 0.3 µs a span."""
        suffix = self._suffix
        if not suffix:
            return spans
        raws = apart(spans.data)
        if any(name in spans.data for name in self._names):
            raws = [self._without(raw) for raw in raws]
        return Spans(spans.scope, joined([raw + suffix for raw in raws]), spans.count)

    def _without(self, raw: bytes) -> bytes:
        if any(name in raw for name in self._names):
            return without_attributes(raw, self._keys, _ATTRIBUTES)
        return raw
