"""A trace that is held, as policies see it: what has come of it so far, read when a policy first asks for it."""

from collections.abc import Iterator
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

    __slots__ = ("_read", "arrived", "id", "nbytes", "note", "parts", "spans")

    def __init__(self, trace_id: bytes, arrived: float) -> None:
        self.id = trace_id
        self.arrived = arrived
        self.parts: list[Part] = []
        self.spans = 0  # how many
        self.nbytes = OVERHEAD
        self.note = ""  # the sub-policy that decided
        self._read: list[tuple[Resource, list[Any]]] | None = None

    def add(self, spans: Spans, owner: Owner) -> None:
        """Hold more of it."""
        self.parts.append(Part(spans, owner))
        self.spans += spans.count
        self.nbytes += len(spans.data)
        self._read = None

    def withdraw(self, owner: Owner) -> int:
        """Forget what came with a batch; how many bytes that was."""
        gone = [part.spans for part in self.parts if part.owner is owner]
        self.parts = [part for part in self.parts if part.owner is not owner]
        self.spans -= sum(spans.count for spans in gone)
        size = sum(len(spans.data) for spans in gone)
        self.nbytes -= size
        self._read = None
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

    def values(self, key: str) -> Iterator[AttributeValue]:
        """The values of an attribute, of resources and of spans. Raises WireError."""
        needle = key.encode()
        for part, (resource, found) in zip(self.parts, self.by_resource(), strict=True):
            if (value := resource.attributes.get(key)) is not None:
                yield value
            if needle in part.spans.data:  # in C: of most traces no span is decoded
                for span in found:
                    if (value := codec.attributes(span).get(key)) is not None:
                        yield value

    def duration(self) -> int:
        """From the earliest start to the latest end, in nanoseconds; 0 where they make no sense."""
        times = [(span.start, span.end) for span in self.all_spans()]
        if not times:
            return 0
        return max(0, int(max(end for _, end in times) - min(start for start, _ in times)))

    def with_status(self, code: int) -> int:
        """How many spans have that status code."""
        return len([True for span in self.all_spans() if span.status.code == code])

    def forget(self) -> None:
        """Let go of what was read: the trace may wait for its delivery."""
        self._read = None
