"""A trace that is held, as policies see it: what has come of it so far, read when a policy first asks for it."""

from collections.abc import Callable, Iterator
from typing import Any

from hawse.batch import AttributeValue, Resource
from hawse.codecs import spans as codec
from hawse.codecs.spans import Spans
from hawse.sampling.owner import Owner

OVERHEAD = 400  # bytes of objects for a trace with one part, roughly; those of further parts are small beside spans


class Part:
    """Spans of a trace that came with one batch."""

    __slots__ = ("owner", "spans")

    def __init__(self, spans: Spans, owner: Owner) -> None:
        self.spans = spans
        self.owner = owner


class Trace:
    """All that was received under one trace id. `arrived` is when the first span came, in seconds of the clock."""

    __slots__ = ("_columns", "_read", "arrived", "id", "nbytes", "note", "parts", "spans")

    def __init__(self, trace_id: bytes, arrived: float) -> None:
        self.id = trace_id
        self.arrived = arrived
        self.parts: list[Part] = []
        self.spans = 0  # how many
        self.nbytes = OVERHEAD
        self.note = ""  # the sub-policy that decided
        self._read: list[tuple[Resource, list[Any]]] | None = None
        self._columns: Any = None

    def add(self, spans: Spans, owner: Owner) -> None:
        """Hold more of it."""
        self.parts.append(Part(spans, owner))
        self.spans += spans.count
        self.nbytes += len(spans.data)
        self.forget()

    def withdraw(self, owner: Owner) -> int:
        """Forget what came with a batch; how many bytes that was."""
        gone = [part.spans for part in self.parts if part.owner is owner]
        self.parts = [part for part in self.parts if part.owner is not owner]
        self.spans -= sum(spans.count for spans in gone)
        size = sum(len(spans.data) for spans in gone)
        self.nbytes -= size
        self.forget()
        return size

    def by_resource(self) -> list[tuple[Resource, list[Any]]]:
        """Resources and their spans, as `codecs.spans.read` gives them. Raises WireError."""
        if self._read is None:
            self._read = [(part.spans.scope.resource, codec.read(part.spans.data)) for part in self.parts]
        return self._read

    def all_spans(self) -> Iterator[Any]:
        """Every span. Raises WireError."""
        for _, found in self.by_resource():
            yield from found

    @property
    def columns(self) -> Any:
        """The fields of all spans, as `codecs.spans.columns` has them. Raises WireError."""
        if self._columns is None:
            self._columns = codec.columns(self._data)
        return self._columns

    @property
    def _data(self) -> bytes:
        if len(self.parts) == 1:
            return self.parts[0].spans.data
        return b"".join([part.spans.data for part in self.parts])

    def has(self, key: str, test: Callable[[AttributeValue], bool]) -> bool:
        """Whether an attribute of a resource or span passes a test. Raises WireError."""
        for part in self.parts:
            value = part.spans.scope.resource.attributes.get(key)
            if value is not None and test(value):
                return True
        return any(test(value) for value in codec.pairs(self._data, key))

    def duration(self) -> int:
        """From the earliest start to the latest end, in nanoseconds; 0 where they make no sense."""
        starts, ends = self.columns.start, self.columns.end
        if not ends:
            return 0
        return max(0, int(max(ends) - (min(starts) if len(starts) == self.spans else 0)))

    def with_status(self, code: int) -> int:
        """How many spans have that status code."""
        codes: list[int] = self.columns.status.code[:]
        return codes.count(code) if code else self.spans - len(codes) + codes.count(0)

    def forget(self) -> None:
        """Let go of what was read: the trace may wait for its delivery."""
        self._read = self._columns = None
