"""Exemplars, put into the prepared bytes of a scrape: the only thing in them that has no fixed width."""

import struct
from collections.abc import Mapping

from hawse.codecs.exposition.points import Kind
from hawse.codecs.exposition.text import Exemplar
from hawse.wire import LENGTH, encode_attribute, field, varint, walk

_fixed = struct.Struct("<Q")
_double = struct.Struct("<d")


def encode(exemplar: Exemplar, at: int) -> bytes:
    """An Exemplar message (`metrics/v1/metrics.proto`). Without a time of its own it gets `at` (ns)."""
    out = []
    for name, value in exemplar.labels:
        ids = {"trace_id": (5, 16), "span_id": (4, 8)}.get(name)
        raw = _hex(value) if ids else None
        if ids and raw is not None and len(raw) == ids[1]:
            out.append(field(ids[0], raw))
        else:
            out.append(field(7, encode_attribute(name, value)))
    time = at if exemplar.time is None else max(0, exemplar.time) * 1_000_000
    return b"".join(out) + b"\x11" + _fixed.pack(time) + b"\x19" + _double.pack(exemplar.value)


def _hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def spliced(data: bytes | bytearray, first: int, last: int, exemplars: Mapping[int, list[bytes]]) -> bytes:
    """The metrics of a group with exemplars in their points.

    `exemplars` are encoded; each is for the point around a position (that of its value, say) in `data`.
    """
    places = sorted(exemplars)
    out = []
    for _, _, tag_at, start, end in walk(data, first, last):
        own = [place for place in places if start <= place < end]
        out.append(_metric(data, start, end, own, exemplars) if own else bytes(data[tag_at:end]))
    return b"".join(out)


def _metric(
    data: bytes | bytearray, start: int, end: int, places: list[int], found: Mapping[int, list[bytes]]
) -> bytes:
    out = []
    for number, wire, tag_at, at, behind in walk(data, start, end):
        if wire != LENGTH or not any(at <= place < behind for place in places):
            out.append(bytes(data[tag_at:behind]))
            continue
        # The attributes' field tells histograms from numbers: exemplars are 8 there, 5 here.
        tag = 8 if number == Kind.HISTOGRAM else 5
        points = []
        for inner, inner_wire, inner_tag, a, b in walk(data, at, behind):
            here = [place for place in places if a <= place < b] if inner == 1 and inner_wire == LENGTH else []
            if here:
                more = b"".join(field(tag, one) for place in here for one in found[place])
                points.append(field(1, bytes(data[a:b]) + more))
            else:
                points.append(bytes(data[inner_tag:b]))
        out.append(field(number, b"".join(points)))
    return b"\x12" + varint(sum(map(len, out))) + b"".join(out)
