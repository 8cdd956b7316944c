"""The `groupbyattrs` processor: attributes of records, spans or data points become attributes of their resource.

For telemetry from elsewhere whose points say which pod they are about (`namespace`, `pod`): k8sattributes then finds
the pod without looking inside. Keys are those of the OpenTelemetry Collector's processor of this name. Points are
taken apart as bytes, attributes are never decoded but for the resources that result; metrics in which none of the keys
occurs are not looked into.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated, Any

from msgspec import Meta

from hawse import component
from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs import otlp_parts
from hawse.component import Consumer, Context, ProcessorFactory, Refused, no_needs
from hawse.turns import Turns
from hawse.wire import LENGTH, WireError, decode_attributes, field, walk

_REMEMBERED = 4096  # resources, by what was moved to them…
_LARGEST = 8 << 10  # …but for large ones
_MOST = 64 << 20  # bytes of a batch that has been taken apart
_SLICE = 64  # points between looks at the clock
_ITEMS = {Signal.LOGS: "LogRecord", Signal.TRACES: "Span"}
_NUMBERS = {"gauge": 5, "sum": 7, "histogram": 9, "exponential_histogram": 10, "summary": 11}

Moved = tuple[bytes, ...]  # KeyValues, sorted
Pieces = dict[Moved, list[bytes]]  # items of a scope, or points of a metric, by what was moved


class Config(component.Config, frozen=True):
    """Groups records, spans and data points by some of their attributes, which move to the resource."""

    keys: Annotated[
        tuple[str, ...],
        Meta(description="Attributes to move. None: only what has the same resource is put together."),
    ] = ()


class _Room:
    """What may be made of a batch: resources, scopes and metrics are copied for each part, so few bytes may become
    many, where every point is of another pod.
    """

    __slots__ = ("_left",)

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, size: int) -> None:
        """Raises Refused when there is no more."""
        self._left -= size
        if self._left < 0:
            message = f"by these keys, the batch would become more than {_MOST >> 20} MiB: send smaller ones"
            raise Refused(message, "too_large")


class GroupByAttrs(component.Processor):
    """A batch in, a batch out: with one group for each resource that results."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:  # noqa: ARG002
        self._output = output
        self._keys = frozenset(key.encode() for key in config.keys)
        self._heads = tuple(field(1, key) for key in sorted(self._keys))  # how KeyValues with these keys begin
        self._resources: OrderedDict[tuple[bytes, Moved], Resource] = OrderedDict()

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        room = _Room(max(_MOST, 2 * batch.nbytes))
        try:
            groups = [made for group in batch.groups for made in await self._apart(batch.signal, group, room)]
        except WireError as error:
            raise Refused(f"malformed {batch.signal}: {error}", "malformed") from None
        await self._output.consume(batch.with_groups(_merged(groups)))

    async def _apart(self, signal: Signal, group: Group, room: _Room) -> list[Group]:
        """The group by resource; itself, if none of its items has any of the keys."""
        if not self._heads:
            return [group]
        data = b"".join(group.scopes)
        if not self._occur(data):
            return [group]
        message = otlp_parts.read("Group", data)
        turns = Turns()
        scopes: Pieces = {}
        items: dict[Moved, int] = {}
        for scope in message.scopes:
            for moved, inside in (await self._scope(signal, scope.items[:], turns, room)).items():
                del scope.items[:]
                scope.items.extend(inside)
                piece = field(2, scope.SerializeToString())
                room.take(len(piece) + (0 if moved in scopes else len(group.resource.raw)))
                scopes.setdefault(moved, []).append(piece)
                items[moved] = items.get(moved, 0) + otlp_parts.count(signal, inside)
        del message.scopes[:]
        rest = message.SerializeToString()
        room.take(len(rest) * len(scopes))
        return [
            Group(self._resource(group.resource, moved), (*pieces, rest) if rest else tuple(pieces), items[moved])
            for moved, pieces in scopes.items()
        ]

    def _occur(self, data: bytes) -> bool:
        return any([head in data for head in self._heads])  # noqa: C419  # as a list it takes half the time

    async def _scope(self, signal: Signal, raws: list[bytes], turns: Turns, room: _Room) -> Pieces:
        """The items of a scope, without what is moved, by what is moved."""
        found: Pieces = {}
        for raw in raws:
            if not self._occur(raw):
                found.setdefault((), []).append(raw)
            elif signal is Signal.METRICS:
                async for moved, metric in self._metric(raw, turns):
                    room.take(len(metric))
                    found.setdefault(moved, []).append(metric)
            else:
                moved, item = self._taken(otlp_parts.read(_ITEMS[signal], raw), raw)
                found.setdefault(moved, []).append(item)
            await turns.give()
        return found

    async def _metric(self, raw: bytes, turns: Turns) -> AsyncIterator[tuple[Moved, bytes]]:
        """The metric for each resource that its points are of."""
        message = otlp_parts.read("Metric", raw)
        bodies: Pieces = {}  # data with points, as fields of a metric
        for kind, data in list(otlp_parts.data_of(message)):
            points: Pieces = {}
            raws = data.points[:]
            for at in range(0, len(raws), _SLICE):
                some = raws[at : at + _SLICE]
                for point, one in zip(otlp_parts.read_points(kind, some), some, strict=True):
                    moved, left = self._taken(point, one)
                    points.setdefault(moved, []).append(left)
                await turns.give()
            for moved, inside in (points or {(): []}).items():
                del data.points[:]
                data.points.extend(inside)
                bodies.setdefault(moved, []).append(field(_NUMBERS[kind], data.SerializeToString()))
            message.ClearField(kind)
        head = message.SerializeToString()
        for moved, fields in bodies.items():
            yield moved, head + b"".join(fields)

    def _taken(self, message: Any, raw: bytes) -> tuple[Moved, bytes]:
        """What is moved of an item's attributes, and the item without it."""
        attributes = message.attributes[:]
        heads = self._heads
        moved = [one for one in attributes if one.startswith(heads) or one[:1] != b"\x0a"]
        if not all(map(_begins_with_key, moved)):
            moved = [one for one in attributes if _key(one) in self._keys]
        if not moved:
            return (), raw
        kept = [one for one in attributes if one not in moved]
        del message.attributes[:]
        message.attributes.extend(kept)
        return tuple(sorted(moved)), message.SerializeToString()

    def _resource(self, resource: Resource, moved: Moved) -> Resource:
        if not moved:
            return resource
        known = (bytes(resource.raw), moved)
        found = self._resources.get(known)
        if found is None:
            attributes = decode_attributes(b"".join(field(1, one) for one in moved))
            found = Resource(known[0], resource.attributes).replaced(attributes)
            if len(found.raw) <= _LARGEST:
                if len(self._resources) >= _REMEMBERED:
                    self._resources.popitem(last=False)
                self._resources[known] = found
        return found


def _begins_with_key(pair: bytes) -> bool:
    return pair[:1] == b"\x0a"


def _key(pair: bytes) -> bytes:
    key = b""
    for number, kind, _, at, end in walk(pair):
        if number == 1 and kind == LENGTH:
            key = pair[at:end]
    return key


def _merged(groups: Iterable[Group]) -> Iterator[Group]:
    """Groups of the same resource become one, unless their schemas differ."""
    together: dict[bytes, list[Group]] = {}
    for group in groups:
        together.setdefault(bytes(group.resource.raw), []).append(group)
    for same in together.values():
        by_schema: dict[bytes, list[Group]] = {}
        for group in same:
            by_schema.setdefault(_beside_scopes(group) if len(same) > 1 else b"", []).append(group)
        for alike in by_schema.values():
            pieces = tuple(piece for group in alike for piece in group.scopes)
            yield alike[0] if len(alike) == 1 else Group(alike[0].resource, pieces, sum(one.items for one in alike))


def _beside_scopes(group: Group) -> bytes:
    data = b"".join(group.scopes)
    return b"".join(data[tag:end] for number, _, tag, _, end in walk(data) if number != 2)


factory = ProcessorFactory("groupbyattrs", Config, GroupByAttrs, needs=no_needs)
