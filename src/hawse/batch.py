"""What flows: batches of groups of OTLP, kept as the bytes that they are on the wire.

A `Group` is one ResourceLogs, ResourceMetrics or ResourceSpans message (opentelemetry-proto, `logs/v1/logs.proto`,
`metrics/v1/metrics.proto`, `trace/v1/trace.proto`). All three are laid out alike: field 1 is the Resource, field 2
the Scope… messages, field 3 the schema URL. Batches, groups and resources are immutable: a component that changes
something makes a new one, so a batch may be shared by any number of consumers.
"""

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeAlias, TypeVar

from hawse import wire

T = TypeVar("T")
Buffer: TypeAlias = bytes | bytearray | memoryview
AttributeValue: TypeAlias = "str | bool | int | float | bytes | None | list[AttributeValue] | dict[str, AttributeValue]"


class Signal(enum.StrEnum):
    """The kinds of telemetry, named as in `service.pipelines`. Events are logs."""

    LOGS = "logs"
    METRICS = "metrics"
    TRACES = "traces"

    @property
    def items(self) -> str:
        """How OpenTelemetry's self-metrics name the items: `log_records`, `metric_points`, `spans`."""
        return {"logs": "log_records", "metrics": "metric_points", "traces": "spans"}[self.value]


class Resource:
    """A Resource message (`resource/v1/resource.proto`): its bytes, and its attributes decoded on first read.

    `raw` is the message without tag and length. `attributes` must not be modified.
    """

    __slots__ = ("_attributes", "raw")

    def __init__(self, raw: Buffer = b"", attributes: Mapping[str, AttributeValue] | None = None) -> None:
        """`attributes`, where given, must be exactly what `raw` holds."""
        self.raw = raw
        self._attributes = attributes

    @classmethod
    def of(cls, attributes: Mapping[str, AttributeValue]) -> "Resource":
        """Encode a resource from its attributes."""
        return cls(wire.encode_attributes(attributes), dict(attributes))

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """Name to value. Of a name that is there twice the last counts. Read only."""
        if self._attributes is None:
            self._attributes = wire.decode_attributes(self.raw)
        return self._attributes

    def extended(self, suffix: Buffer, attributes: Mapping[str, AttributeValue]) -> "Resource":
        """Append encoded attributes: the cheap way, for keys known not to be there yet.

        `suffix` is `wire.encode_attributes(attributes)`, kept by the caller (one per pod, say).
        """
        return Resource(bytes(self.raw) + bytes(suffix), {**self.attributes, **attributes})

    def replaced(self, set_: Mapping[str, AttributeValue] | None = None, remove: Iterable[str] = ()) -> "Resource":
        """Set attributes (whether or not they are there) and remove others. Other fields of the message stay."""
        new = set_ or {}
        gone = {*new, *remove}
        present = gone.intersection(self.attributes)
        raw = wire.without_attributes(self.raw, present) if present else bytes(self.raw)
        kept = {key: value for key, value in self.attributes.items() if key not in gone}
        return Resource(raw + wire.encode_attributes(new), {**kept, **new})

    def __repr__(self) -> str:
        return f"Resource({dict(self.attributes)!r})"


class Remembered(Generic[T]):
    """A function of resources that remembers its results by the resources' bytes, since the same come again and again.

    A call for a known resource costs about half a microsecond. The oldest of `most` results makes room for the next.
    `work` is given a resource that owns its bytes; what it raises goes to the caller and is not remembered.
    """

    __slots__ = ("_known", "_most", "_work")

    def __init__(self, work: Callable[[Resource], T], most: int = 1024) -> None:
        self._work = work
        self._most = most
        self._known: OrderedDict[bytes, T] = OrderedDict()

    def __call__(self, resource: Resource) -> T:
        raw = bytes(resource.raw)
        found = self._known.get(raw)
        if found is None:
            found = self._work(Resource(raw, resource.attributes))
            if len(self._known) >= self._most:
                self._known.popitem(last=False)
            self._known[raw] = found
        return found


class Group:
    """One resource and what came from it.

    `scopes` are the bytes of all fields of the Resource… message but field 1, in order, tags and lengths included,
    cut into any number of pieces. `items` is the number of records, points or spans inside.
    """

    __slots__ = ("items", "resource", "scopes")

    def __init__(self, resource: Resource, scopes: tuple[Buffer, ...], items: int) -> None:
        self.resource = resource
        self.scopes = scopes
        self.items = items

    def with_resource(self, resource: Resource) -> "Group":
        """The same records from another resource."""
        return Group(resource, self.scopes, self.items)

    @property
    def nbytes(self) -> int:
        """The size of the encoded group, without tag and length."""
        raw = len(self.resource.raw)
        return 1 + wire.varint_size(raw) + raw + sum(map(len, self.scopes))

    def parts(self) -> Iterator[Buffer]:
        """The group as field 1 of an Export…ServiceRequest, in pieces to be joined, written or compressed."""
        raw = self.resource.raw
        yield b"\x0a" + wire.varint(self.nbytes) + b"\x0a" + wire.varint(len(raw))
        yield raw
        yield from self.scopes


class Batch:
    """A signal and its groups, as handed from component to component.

    `peer` is the address of the client that sent it ("" where there is none): processors associate by it.
    """

    __slots__ = ("_items", "groups", "peer", "signal")

    def __init__(self, signal: Signal, groups: Iterable[Group], peer: str = "") -> None:
        self.signal = signal
        self.groups = tuple(groups)
        self.peer = peer
        self._items = -1  # asked for at every edge between components

    def with_groups(self, groups: Iterable[Group]) -> "Batch":
        """The same origin, other groups."""
        return Batch(self.signal, groups, self.peer)

    @property
    def items(self) -> int:
        """Records, points or spans."""
        if self._items < 0:
            self._items = sum(group.items for group in self.groups)
        return self._items

    @property
    def nbytes(self) -> int:
        """The size of the groups, encoded."""
        return sum(group.nbytes for group in self.groups)

    def parts(self) -> Iterator[Buffer]:
        """The batch as an ExportLogsServiceRequest (or its like for the other signals), in pieces."""
        for group in self.groups:
            yield from group.parts()

    def encode(self) -> bytes:
        """The same in one piece."""
        return b"".join(self.parts())

    def __repr__(self) -> str:
        return f"Batch({self.signal}, {len(self.groups)} groups, {self.items} items)"
