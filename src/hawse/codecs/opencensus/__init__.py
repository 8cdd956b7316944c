"""OpenCensus' spans (census-instrumentation/opencensus-proto) as groups of OTLP's.

`Stream` is what receivers use: it reads the messages of one stream, of which each may rest on those before it. The
translation is OpenTelemetry's (collector contrib, pkg/translator/opencensus). `json` makes messages of their JSON.
"""

from collections.abc import Generator

from hawse.batch import Group
from hawse.codecs.opencensus.resource import Resources
from hawse.codecs.opencensus.spans import SpanReader
from hawse.codecs.span_writer import scope_spans
from hawse.wire import LENGTH, WireError, walk

_STEP = 32  # spans between two turns for others
_AT_ONCE = 8192  # spans that are joined without a turn for others
_FIELDS = 4096  # fields around them that are walked between two


class TooMany(WireError):
    """More spans than the caller allows."""


class Translator:
    """Is kept, for all streams: it remembers attributes and resources by their bytes."""

    def __init__(self, most_spans: int = 1 << 62, most_parts: int = 10_000) -> None:
        """`most_spans` of a message; `most_parts` bounds attributes, events and links of a span, all together."""
        self._most = most_spans
        self.spans = SpanReader(most_parts)
        self.resources = Resources(most_parts)

    def outline(self, data: bytes) -> Generator[None, None, tuple[bytes | None, bytes | None, list[tuple[int, int]]]]:
        """Node and resource of a message, None where it has none, and where its spans are."""
        node, resource, spans = list[bytes](), list[bytes](), list[tuple[int, int]]()
        parts = {1: node, 3: resource}
        for index, (number, kind, _, at, behind) in enumerate(walk(data)):
            if kind == LENGTH and number == 2:
                spans.append((at, behind))
            elif kind == LENGTH and number in parts:
                parts[number].append(data[at:behind])
            if index % _FIELDS == _FIELDS - 1:
                self._check(len(spans))
                yield
        self._check(len(spans))
        joined = (b"".join(found) if found else None for found in (node, resource))  # protobuf merges them so
        return (*joined, spans)  # type: ignore[return-value]

    def _check(self, count: int) -> None:
        if count > self._most:
            raise TooMany(f"the message has {count} spans, {self._most} are allowed")


class Stream:
    """One call of Export: the node and the resource of a message count for those after it, too."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._node: bytes | None = None
        self._resource = b""

    def read(self, data: bytes, now: int) -> Generator[None, None, list[Group]]:
        """An ExportTraceServiceRequest. Yields now and then, for others to run; returns groups.

        `now` (ns since 1970) is the start of spans that tell none. Raises WireError, which names the place, or TooMany.
        """
        node, resource, places = yield from self._translator.outline(data)
        if node is not None:
            self._node = node
        elif self._node is None:
            raise WireError("the first message of a stream must have a node")
        if resource is not None:
            self._resource = resource
        found: dict[bytes, list[bytes]] = {}
        for index, (at, behind) in enumerate(places):
            try:
                own, span = self._translator.spans.read(data[at:behind], now)
            except WireError as error:
                raise WireError(f"span {index}, at byte {at}: {error}") from None
            found.setdefault(self._resource if own is None else own, []).append(span)
            if index % _STEP == _STEP - 1:
                yield
        groups = []
        for raw, spans in found.items():
            pieces = []
            for first in range(0, len(spans), _AT_ONCE):
                pieces.append(scope_spans(spans[first : first + _AT_ONCE]))
                yield
            of = self._translator.resources.of(self._node or b"", raw)
            groups.append(Group(of, tuple(pieces), len(spans)))
        return groups


__all__ = ["Stream", "TooMany", "Translator"]
