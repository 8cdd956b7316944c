"""OTLP's metrics as requests of Prometheus' remote write, 1.0 and 2.0, not yet compressed.

    encoder = Encoder(Settings(), version=1)
    for written in encoder.encode(batch): ...     # written.body, written.lane

All series of a target (a job's instance) are in one lane, whatever batch they come with: requests of a lane must
arrive in the order in which they were made.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec

from hawse.batch import Batch, Group, Resource
from hawse.codecs.prometheus_series import Settings, Target
from hawse.codecs.remote_write_encode_series import metadata_1
from hawse.codecs.remote_write_encode_walk import Cached, Piece, Share, Walk
from hawse.wire import field

_MOST = 64 << 20  # bytes of what is remembered
_TARGETS = 4096


class Written(msgspec.Struct):
    """A request. `shares` are in the order of its series."""

    body: bytes
    lane: int
    shares: list[Share]

    @property
    def points(self) -> int:
        """Data points of OTLP."""
        return sum(share.points for share in self.shares)


class Lost(msgspec.Struct):
    """Points of a resource that cannot be series. `data` is a group's fields (as `Group.scopes`) with their metrics."""

    resource: bytes
    reason: str
    points: int
    data: bytes


class Encoded(msgspec.Struct):
    """A piece, encoded; of 1.0, `metadata` are fields that go with it."""

    body: bytes
    shares: list[Share]
    metadata: list[bytes] = []


class Encoder:
    """Remembers resources and their series, as far as `most` bytes go."""

    def __init__(
        self,
        settings: Settings,
        version: int = 1,
        *,
        largest: int = 3_000_000,
        lanes: int = 5,
        metadata: bool = False,
        most: int = _MOST,
    ) -> None:
        """`largest` is the size of a request's body, `metadata` is for 1.0 (2.0 always has it)."""
        self._settings = settings
        self._version = version
        self._largest = largest
        self._lanes = lanes
        self._metadata = metadata
        self._most = most
        self._known: OrderedDict[bytes, Cached] = OrderedDict()
        self._cost = 0

    def encode(self, batch: Batch) -> tuple[list[Written], list[Lost]]:
        """The requests of a batch, and what cannot be sent. Raises WireError where the batch is malformed."""
        by_lane: dict[int, list[tuple[Group, Cached]]] = {}
        for group in batch.groups:
            cached = self._cached(group.resource)
            by_lane.setdefault(cached.lane % self._lanes, []).append((group, cached))
        written: list[Written] = []
        lost: list[Lost] = []
        for lane, groups in by_lane.items():
            pieces: list[Encoded] = []
            for unit in [groups] if self._version == 2 else [[one] for one in groups]:
                pieces += self._walked(unit, lost)
            written += self._requests(lane, pieces)
        self._make_room()
        return written, lost

    def _walked(self, unit: Sequence[tuple[Group, Cached]], lost: list[Lost]) -> list[Encoded]:
        walk = Walk(self._settings, self._version, self._largest)
        for group, cached in unit:
            self._cost -= cached.cost
            try:
                walk.group(group, cached)
            finally:
                self._cost += cached.cost
        lost += [Lost(one.resource, one.reason, one.points, field(2, field(2, one.metric))) for one in walk.dropped]
        return [self._encoded(piece) for piece in walk.pieces if piece.parts]

    def _encoded(self, piece: Piece) -> Encoded:
        if self._version == 2:
            return Encoded(piece.symbols.encoded() + b"".join(piece.parts), piece.shares)
        metadata = [metadata_1(family.meta) for family in piece.families.values()] if self._metadata else []
        return Encoded(b"".join(piece.parts), piece.shares, metadata)

    def _requests(self, lane: int, pieces: list[Encoded]) -> Iterator[Written]:
        """Pieces of 2.0 are requests; those of 1.0 are put together."""
        first = 0
        size = 0
        for number, piece in enumerate(pieces):
            if number > first and (self._version == 2 or size + len(piece.body) > self._largest):
                yield _joined(lane, pieces[first:number])
                first, size = number, 0
            size += len(piece.body)
        if pieces:
            yield _joined(lane, pieces[first:])

    # --- what is remembered

    def _cached(self, resource: Resource) -> Cached:
        raw = bytes(resource.raw)
        known = self._known.get(raw)
        if known is None:
            known = self._known[raw] = Cached(Target(resource.attributes, self._settings))
        else:
            self._known.move_to_end(raw)
        return known

    def _make_room(self) -> None:
        known = self._known
        while known and (len(known) > _TARGETS or self._cost > self._most):
            self._cost -= known.popitem(last=False)[1].cost


def _joined(lane: int, pieces: Sequence[Encoded]) -> Written:
    metadata = dict.fromkeys(one for piece in pieces for one in piece.metadata)
    body = b"".join([*(piece.body for piece in pieces), *metadata])
    return Written(body, lane, [share for piece in pieces for share in piece.shares])
