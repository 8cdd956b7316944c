"""The series of groups, encoded for remote write, with what is known of their labels kept from batch to batch."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from hawse.batch import AttributeValue, Group
from hawse.codecs.prometheus_series import Settings, Target, rows, scan
from hawse.codecs.prometheus_series_messages import messages
from hawse.codecs.prometheus_series_points import Exemplar, Unfit, Value, attributes, read
from hawse.codecs.prometheus_series_shares import Share
from hawse.codecs.remote_write_encode_known import Cached, Family, Known, by_sight
from hawse.codecs.remote_write_encode_series import (
    USUAL_TAIL,
    Meta,
    Series,
    Symbols,
    head_1,
    head_2,
    labels_1,
    pack_double,
    series_1,
    series_2,
    tail,
)
from hawse.wire import WireError

_NUMBERS = frozenset({"gauge", "sum"})
_BEGUN = frozenset({"histogram", "exponential", "summary"})
_INT = b"\x31"  # the tag of as_int
_long = struct.Struct("<q").unpack
_SLICE = 500  # points after which the size is looked at, and others get their turn
_ENTRY = 250  # about what an entry costs beside its bytes


class Dropped(msgspec.Struct):
    """Points that can't be series: of which resource and metric (encoded), and why."""

    resource: bytes
    reason: str
    points: int
    metric: bytes


class Piece:
    """Series that are sent together. `parts` are three a series; `symbols` is their table, for 2.0."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.shares: list[Share] = []
        self.symbols = Symbols()
        self.families: dict[int, Family] = {}
        self.size = 0  # about


class Walk:
    """Writes the series of groups, one after the other, into pieces of about `largest` bytes."""

    def __init__(self, settings: Settings, version: int, largest: int) -> None:
        self._settings = settings
        self._version = version
        self._largest = largest - largest // 10
        self._piece = Piece()
        self.pieces = [self._piece]
        self.dropped: list[Dropped] = []
        self._points = 0  # of the share that is being written
        self._since = 0  # series since others had their turn
        self._tails: dict[bytes, bytes] = {}
        self._latest = 0

    def group(self, group: Group, cached: Cached) -> Iterator[None]:
        """Write a group's series; yields now and then. Raises WireError where it is malformed."""
        self._latest = 0
        self._tails.clear()
        resource = bytes(group.resource.raw)
        begun = len(self._piece.parts)
        for key, raws, raw in scan(group, self._settings):
            family = cached.family(key, self._settings)
            if family.head.unfit:
                if raws:
                    self.dropped.append(Dropped(resource, family.head.unfit, len(raws), raw))
                continue
            for at in range(0, len(raws), _SLICE):
                before = len(self._piece.parts)
                yield from self._family(raws[at : at + _SLICE], family, cached, raw, resource)
                if self._full(before):
                    self._cut(resource, begun)
                    begun = 0
        if cached.target.info and self._latest:
            self._info(cached.target)
        self._share(resource, begun)

    def _full(self, before: int) -> bool:
        piece = self._piece
        piece.size += sum(map(len, piece.parts[before::3])) + 5 * (len(piece.parts) - before)
        return piece.size > self._largest

    def _cut(self, resource: bytes, begun: int) -> None:
        self._share(resource, begun)
        self._piece = Piece()
        self.pieces.append(self._piece)

    def _share(self, resource: bytes, begun: int) -> None:
        self._piece.shares.append(Share(resource, self._points, (len(self._piece.parts) - begun) // 3))
        self._points = 0

    def _family(
        self, raws: list[bytes], family: Family, cached: Cached, metric: bytes, resource: bytes
    ) -> Iterator[None]:
        self._piece.families[id(family)] = family
        if family.head.kind in _NUMBERS and not (self._settings.created and family.head.monotonic):
            self._numbers(raws, family, cached, metric, resource)
            self._since += len(raws)
        else:
            for one in raws:
                before = len(self._piece.parts)
                self._point(one, family, cached, metric, resource)
                self._since += (len(self._piece.parts) - before) // 3
                if self._since >= _SLICE:
                    self._since = 0
                    yield
        if self._since >= _SLICE:
            self._since = 0
            yield

    def _numbers(self, raws: list[bytes], family: Family, cached: Cached, metric: bytes, resource: bytes) -> None:
        """Points of numbers. What of a point does not change tells what comes before the value.

        Three layouts are known by sight: attributes, start, time, flags, value as Hawse writes points; the same
        without flags; and the Collector's: start, time, value, attributes. All others are decoded.
        """
        get, tails, parts = family.entries.get, self._tails, self._piece.parts
        symbols = None if self._version == 1 else self._piece.symbols
        written = 0
        for raw in raws:
            first = raw[:1]
            if first == b"\x11" and raw[18:19] != b"\x40":
                known = get(raw[:9] + raw[27:])
                time, tag, value = raw[10:18], raw[18:19], raw[19:27]
                fits = raw[9:10] == b"\x19"
            elif first == b"\x19" and raw[9:10] != b"\x40":
                known = get(raw[18:])
                time, tag, value = raw[1:9], raw[9:10], raw[10:18]
                fits = True
            elif raw[-11:-9] == b"\x40\x00" and raw[-20:-19] == b"\x19":
                known = get(raw[:-20])
                time, tag, value = raw[-19:-11], raw[-9:-8], raw[-8:]
                fits = True
            else:
                known = get(raw[:-18])
                time, tag, value = raw[-17:-9], raw[-9:-8], raw[-8:]
                fits = raw[-18:-17] == b"\x19"
            if known is None:
                known = self._by_labels(raw, family, cached)
            if known is None or not fits:
                self._point(raw, family, cached, metric, resource)
                continue
            end = tails.get(time) or self._tail(time)
            if len(end) != USUAL_TAIL:
                self._point(raw, family, cached, metric, resource)
                continue
            if tag == _INT:
                value = pack_double(_long(value)[0])
            elif tag != b"\x21":
                self._point(raw, family, cached, metric, resource)
                continue
            parts += (known if symbols is None else head_2(symbols, known), value, end)  # type: ignore[arg-type]
            written += 1
        self._points += written

    def _by_labels(self, raw: bytes, family: Family, cached: Cached) -> Known | None:
        """What is known of a number point from now on; None where its layout is not known, or its labels collide."""
        try:
            point = messages().Number.FromString(raw)
        except DecodeError as error:
            raise WireError(f"malformed data point: {error}") from None
        pairs = family.pairs(point.attributes)
        key = by_sight(raw, b"".join([pair[3] for pair in pairs]))
        labels = None if key is None else family.plain_labels(pairs, cached.target)
        if key is None or labels is None:
            return None
        known: Known
        if self._version == 1:
            known = head_1(b"".join([pair[2] for pair in labels]))
        else:
            start = point.start // 1_000_000 if family.head.monotonic else 0
            known = Series(tuple([pair[:2] for pair in labels]), family.meta, start)
        family.entries[key] = known
        cached.cost += _ENTRY + 2 * len(raw)
        return known

    def _tail(self, time: bytes) -> bytes:
        if len(time) < 8:
            return b""
        nanoseconds = int.from_bytes(time, "little")
        self._latest = max(self._latest, nanoseconds)
        made = self._tails[time] = tail(nanoseconds // 1_000_000)
        return made

    def _point(self, raw: bytes, family: Family, cached: Cached, metric: bytes, resource: bytes) -> None:
        """Any point."""
        known = family.head
        try:
            point = read(known.kind, raw, known.texts)
        except Unfit as unfit:
            self.dropped.append(Dropped(resource, unfit.reason, 1, metric))
            return
        self._latest = max(self._latest, point.time)
        milliseconds = point.time // 1_000_000
        start = point.start // 1_000_000 if known.monotonic or known.kind in _BEGUN else 0
        decoded: Mapping[str, AttributeValue] | None = None
        for variant, value, exemplars in rows(known, point, self._settings):
            at = (point.attributes, variant)
            labels = family.labels.get(at)
            if labels is None:
                if decoded is None:
                    decoded = attributes(point.attributes)
                pairs = cached.target.labels(known, decoded, variant)
                labels = labels_1(pairs) if self._version == 1 else pairs
                cached.cost += _ENTRY + 2 * len(raw)
                family.labels[at] = labels
            self._write(labels, family.meta, start, milliseconds, value, exemplars)
        self._points += 1

    def _write(
        self, labels: Any, meta: Meta, start: int, milliseconds: int, value: Value, exemplars: Sequence[Exemplar]
    ) -> None:
        piece = self._piece
        if self._version == 1:
            piece.parts += series_1(labels, milliseconds, value, exemplars)
        else:
            piece.parts += series_2(piece.symbols, Series(labels, meta, start), milliseconds, value, exemplars)

    def _info(self, target: Target) -> None:
        labels: Any = labels_1(target.info) if self._version == 1 else target.info
        meta = Meta("info", b"target", b"Target metadata", b"")
        self._write(labels, meta, 0, self._latest // 1_000_000, 1.0, ())
