"""Traces that a search wants, each in a few words. Which traces: those that have a span that meets all conditions."""

import heapq
from collections.abc import Generator, Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hawse.backend.query import rfc3339
from hawse.backend.reader import Reader, TimedOut
from hawse.backend.traces.chunks import Chunk, Matcher, Wanted, chunks, service_of
from hawse.backend.traces.spans import ERROR, trace_hash

_MOST_CONSIDERED = 50_000  # traces that a search looks at, whether or not they take as long as asked for
_MOST_SERVICES = 32  # that are named of a trace
_TOGETHER = 256  # traces that are put together at once
_NO_PARENT = b"\0" * 8


class Summary(msgspec.Struct):
    """A trace in a few words. Times are Unix nanoseconds."""

    trace_id: bytes
    start: int = 1 << 62
    end: int = 0
    spans: int = 0
    errors: int = 0
    services: dict[str, list[int]] = {}  # spans, errors
    root: tuple[int, int, str, str] | None = None  # whether it has a parent, start, service, name

    @property
    def duration(self) -> int:
        """From its first start to its last end."""
        return max(0, self.end - self.start)

    def shown(self) -> dict[str, Any]:
        """As the API tells it."""
        by_size = sorted(self.services.items(), key=lambda item: (-item[1][0], item[0]))
        root = self.root
        return {
            "trace_id": self.trace_id.hex(),
            "start": rfc3339(self.start),
            "start_unix_nano": str(self.start),
            "duration_nano": str(self.duration),
            "spans": self.spans,
            "errors": self.errors,
            "root": {"service": root[2], "name": root[3], "missing": bool(root[0])} if root else None,
            "services": [
                {"name": name, "spans": spans, "errors": errors} for name, (spans, errors) in by_size[:_MOST_SERVICES]
            ],
            "service_count": len(by_size),
        }


def search(reader: Reader, wanted: Wanted, least: int, most: int | None, limit: int, until: float) -> dict[str, Any]:
    """The latest traces, by the start of their latest span that is wanted.

    `least` and `most` are the shortest and the longest duration of the whole trace, in ns. `complete` is false where
    time ran out, or there were too many traces to look at.
    """
    found: list[Summary] = []
    complete, considered = True, 0
    candidates = _candidates(reader, Matcher(reader, wanted, until))
    try:
        while len(found) <= limit:
            some = _some(candidates, min(_TOGETHER, limit + 1) if not least and most is None else _TOGETHER)
            if not some:
                break
            considered += len(some)
            found += [
                one
                for one in summaries(reader, some).values()
                if one.duration >= least and (most is None or one.duration <= most)
            ]
            if considered >= _MOST_CONSIDERED:
                complete = False
                break
    except TimedOut:
        if not found:
            raise
        complete = False
    return {
        "traces": [one.shown() for one in found[:limit]],
        "more": len(found) > limit or not complete,
        "complete": complete,
    }


def _some(candidates: Generator[bytes, None, None], most: int) -> list[bytes]:
    return [one for one, _ in zip(candidates, range(most), strict=False)]


def _candidates(reader: Reader, matcher: Matcher) -> Generator[bytes, None, None]:
    """Ids of traces, each once, the one with the latest wanted span first. Raises TimedOut."""
    waiting: dict[bytes, int] = {}
    told: set[bytes] = set()
    for chunk in chunks(reader, *_in_time(matcher.wanted), "max_time DESC, id DESC"):
        # Chunks come by their latest span: what is later than that cannot be overtaken any more.
        yield from _emitted(waiting, told, chunk.max_time)
        places = np.flatnonzero(matcher.mask(chunk))
        starts = chunk.columns["start"][places].tolist()
        for trace, start in zip(chunk.columns["trace"][places].tolist(), starts, strict=True):
            if trace not in told and start > waiting.get(trace, -1):
                waiting[trace] = start
        if len(waiting) > 2 * _MOST_CONSIDERED:
            waiting = dict(heapq.nlargest(_MOST_CONSIDERED, waiting.items(), key=lambda item: item[1]))
    yield from _emitted(waiting, told, -1)


def _in_time(wanted: Wanted) -> tuple[str, tuple[int, int]]:
    return "max_time >= ? AND min_time < ?", (wanted.search.start, wanted.search.end)


def _emitted(waiting: dict[bytes, int], told: set[bytes], later_than: int) -> Iterable[bytes]:
    ready = sorted([(-start, trace) for trace, start in waiting.items() if start > later_than])
    for _, trace in ready:
        del waiting[trace]
        told.add(trace)
        yield trace


# --- traces put together --------------------------------------------------------------------------------------------


def holding(reader: Reader, traces: Iterable[bytes]) -> Generator[tuple[Chunk, NDArray[np.int64]], None, None]:
    """The chunks that have spans of some traces, and the places of these spans in them."""
    hashes = np.unique(trace_hash(np.frombuffer(b"".join(traces), "V16")))
    numbers = [
        number
        for number, own in reader.connection.execute("SELECT id, hashes FROM span_chunk ORDER BY id")
        if _any_in(hashes, np.frombuffer(own, "<u4"))
    ]
    for number in numbers:
        for chunk in chunks(reader, "id = ?", (number,)):
            yield chunk, np.flatnonzero(np.isin(trace_hash(chunk.columns["trace"]), hashes))


def _any_in(hashes: NDArray[np.uint32], own: NDArray[np.uint32]) -> bool:
    places = np.minimum(np.searchsorted(own, hashes), len(own) - 1)
    return bool((own[places] == hashes).any())


def summaries(reader: Reader, traces: Iterable[bytes]) -> dict[bytes, Summary]:
    """The traces in a few words, in the order in which they were given."""
    found = {trace: Summary(trace, services={}) for trace in traces}
    resources = reader.resources()
    services: dict[int, str] = {}
    for chunk, places in holding(reader, found):
        names = chunk.names.names
        columns = ("trace", "start", "end", "status", "parent", "name", "resource")
        rows = zip(*[chunk.columns[column][places].tolist() for column in columns], strict=True)
        for trace, start, end, status, parent, name, resource in rows:
            one = found.get(trace)
            if one is None:
                continue  # it has the same hash as a trace that is wanted
            service = services.get(resource)
            if service is None:
                service = services[resource] = service_of(resources[resource].attributes)
            failed = status == ERROR
            one.start, one.end = min(one.start, start), max(one.end, end)
            one.spans += 1
            one.errors += failed
            tally = one.services.setdefault(service, [0, 0])
            tally[0] += 1
            tally[1] += failed
            candidate = (int(parent != _NO_PARENT), start, service, names[name])
            if one.root is None or candidate < one.root:
                one.root = candidate
    return found
