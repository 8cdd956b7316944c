"""OTLP's metrics as requests of Prometheus' remote write, 1.0 and 2.0, not yet compressed.

    encoder = Encoder(Settings(), version=1)
    for written in encoder.encode(batch): ...     # written.body, written.lane

All series of a target (a job's instance) are in one lane, whatever batch they come with: requests of a lane must
arrive in the order in which they were made.
"""

import time
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from typing import TypeAlias

import msgspec

from hawse.batch import Batch, Group, Resource
from hawse.codecs.prometheus_series import Settings, Target, head, scan
from hawse.codecs.prometheus_series_shares import Share
from hawse.codecs.remote_write_encode_known import Cached
from hawse.codecs.remote_write_encode_series import metadata_1
from hawse.codecs.remote_write_encode_template import Encoded, Located, Template, Unpredictable
from hawse.codecs.remote_write_encode_walk import Piece, Walk
from hawse.wire import Buffer, field

_MOST = 128 << 20  # bytes of what is remembered
_UNITS = 1 << 15  # targets, and templates
_UNUSED = 600.0  # seconds after which a template makes room for others
_TRIES = frozenset({1, 8, 64, 512})  # how often a batch was seen when a template is made of it
_WORTH_IT = 4  # uses of a template
_DONE = object()
UnitKey: TypeAlias = tuple[int | bytes, ...]  # the resources in the batch, and the sizes of their groups


class Written(msgspec.Struct):
    """A request. `shares` are in the order of its series."""

    body: Buffer
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


class Unit:
    """Groups that are encoded together."""

    def __init__(self, group: Group, cached: Cached) -> None:
        self.groups: list[tuple[Group, Cached]] = []
        self.points = 0
        self.key: UnitKey = ()
        self._parts: list[bytes] = []
        self.add(group, cached)

    def add(self, group: Group, cached: Cached) -> None:
        """One more."""
        self.groups.append((group, cached))
        self.points += group.items
        self._parts.append(b"".join(group.scopes))
        self.key = (*self.key, cached.raw, len(self._parts[-1]))

    @property
    def data(self) -> bytes:
        """The groups' scopes."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


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
        self._templates: OrderedDict[UnitKey, Template | int] = OrderedDict()
        self._cost = self._templates_cost = 0

    def encode(self, batch: Batch) -> tuple[list[Written], list[Lost]]:
        """The requests of a batch, and what cannot be sent. Raises WireError where the batch is malformed."""
        steps = self.encoding(batch)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]

    def encoding(self, batch: Batch) -> Generator[None, None, tuple[list[Written], list[Lost]]]:
        """The same in steps of a few milliseconds: a series that comes for the first time takes 10 µs.

        Other batches may be encoded between two steps.
        """
        written: list[Written] = []
        lost: list[Lost] = []
        for lane, units in self._lanes_of(batch).items():
            pieces: list[Encoded] = []
            for unit in units:
                pieces += yield from self._pieces(unit, lost)
            written += self._requests(lane, pieces)
        self._make_room()
        return written, lost

    def _lanes_of(self, batch: Batch) -> dict[int, list[Unit]]:
        """What is encoded together: with 2.0, all of a lane, since it has one table of symbols; else each group."""
        found: dict[int, list[Unit]] = {}
        for group in batch.groups:
            cached = self._cached(group.resource)
            units = found.setdefault(cached.lane % self._lanes, [])
            if self._version == 2 and units:
                units[0].add(group, cached)
            else:
                units.append(Unit(group, cached))
        return found

    def _pieces(self, unit: Unit, lost: list[Lost]) -> Generator[None, None, list[Encoded]]:
        """The pieces of some groups, written into those of the batch before where they are alike."""
        template = self._templates.get(unit.key)
        if isinstance(template, Template):
            self._templates.move_to_end(unit.key)
            made = template.write(unit.data)
            if made is not None:
                if template.hits == _WORTH_IT:
                    self._forget(unit)
                return made
            # Made anew with the next batch, if it was of use; else later.
            template = 0 if template.hits >= _WORTH_IT else template.born + 1
        walk = Walk(self._settings, self._version, self._largest)
        yield from self._walked(unit, walk)
        lost += [Lost(one.resource, one.reason, one.points, field(2, field(2, one.metric))) for one in walk.dropped]
        pieces = [piece for piece in walk.pieces if piece.parts]
        encoded = [self._encoded(piece) for piece in pieces]
        if template is not None and template in _TRIES and not self._settings.created:
            yield from self._templating(unit, pieces, encoded, template)
        else:
            self._put(unit.key, (template or 0) + 1)
        return [one for one, _ in encoded]

    def _walked(self, unit: Unit, walk: Walk) -> Iterator[None]:
        for group, cached in unit.groups:
            steps = walk.group(group, cached)
            running = True
            while running:
                before = cached.cost
                try:
                    running = next(steps, _DONE) is not _DONE
                finally:
                    self._count(cached, before)
                if running:
                    yield
            self._known.move_to_end(cached.raw)

    def _templating(
        self, unit: Unit, pieces: Sequence[Piece], encoded: Sequence[tuple[Encoded, bytes]], seen: int
    ) -> Iterator[None]:
        """Make a template of what was written of a unit. What has none gets another chance, ever less often."""
        located = Located()
        at = 0
        try:
            for group, cached in unit.groups:
                size = sum(map(len, group.scopes))
                metrics = [(key, len(raws)) for key, raws, _ in scan(group, self._settings)]
                if any(head(key, self._settings).unfit for key, _ in metrics):
                    raise Unpredictable
                yield from located.group(unit.data, at, at + size, metrics, info=bool(cached.target.info))
                at += size
            parts = [(*one, piece.parts) for one, piece in zip(encoded, pieces, strict=True)]
            self._put(unit.key, Template(unit.data, located, parts, seen))
        except (Unpredictable, ValueError):
            self._put(unit.key, seen + 1)

    def _put(self, key: UnitKey, template: Template | int) -> None:
        """Remember it, if there is room beside those in use."""
        cost = _cost(template)
        self._templates_cost -= _cost(self._templates.pop(key, 0))
        long_ago = time.monotonic() - _UNUSED
        while self._templates and (self._templates_cost + cost > self._most or len(self._templates) >= _UNITS):
            oldest = next(iter(self._templates.values()))
            if isinstance(oldest, Template) and oldest.used > long_ago:
                return
            self._templates_cost -= _cost(self._templates.popitem(last=False)[1])
        if cost <= self._most:
            self._templates[key] = template
            self._templates_cost += cost

    def _encoded(self, piece: Piece) -> tuple[Encoded, bytes]:
        """With what comes before the series."""
        if self._version == 2:
            front = piece.symbols.encoded()
            return Encoded(front + b"".join(piece.parts), piece.shares), front
        metadata = [metadata_1(family.meta) for family in piece.families.values()] if self._metadata else []
        return Encoded(b"".join(piece.parts), piece.shares, metadata), b""

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
            known = self._known[raw] = Cached(raw, Target(resource.attributes, self._settings))
            self._cost += known.cost
        return known

    def _forget(self, unit: Unit) -> None:
        """The series of a unit whose template serves: they can be learned again."""
        for _, cached in unit.groups:
            if self._known.get(cached.raw) is cached:
                self._cost -= cached.cost
                cached.forget()
                self._cost += cached.cost

    def _count(self, cached: Cached, before: int) -> None:
        """What is known of a resource has grown; it may have been forgotten meanwhile."""
        known = self._known.get(cached.raw)
        if known is None:
            self._known[cached.raw] = cached
            self._cost += cached.cost
        elif known is cached:
            self._cost += cached.cost - before

    def _make_room(self) -> None:
        """Forget series that were not looked up for longest: those of templates, and of targets that are gone."""
        known = self._known
        while known and (len(known) > _UNITS or self._cost + self._templates_cost > self._most):
            self._cost -= known.popitem(last=False)[1].cost


def _cost(template: Template | int) -> int:
    return template.cost if isinstance(template, Template) else 0


def _joined(lane: int, pieces: Sequence[Encoded]) -> Written:
    metadata = dict.fromkeys(one for piece in pieces for one in piece.metadata)
    if len(pieces) == 1 and not metadata:
        return Written(pieces[0].body, lane, pieces[0].shares)
    body = b"".join([*(piece.body for piece in pieces), *metadata])
    return Written(body, lane, [share for piece in pieces for share in piece.shares])
