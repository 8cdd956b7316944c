"""Log records beside a trace: those that name it, and what its pods said meanwhile."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hawse.backend import query
from hawse.backend.conditions import Search
from hawse.backend.reader import Chunk, Reader, matching
from hawse.backend.traces.search import holding

_NAMED_WITHIN = 600 * 10**9  # ns before and after a trace in which records that name it are looked for


def logs(
    reader: Reader, trace_id: bytes, around: int, limit: int, body_limit: int, until: float
) -> dict[str, Any] | None:
    """Records by their time, `of` tells why each is there: `trace` (it names the trace's id, in its field or anywhere
    in its body) or `pod` (it came from a pod of the trace, `around` ns before its start to `around` after its end).

    Records that name the trace come first where there are more than `limit`. None where there is no such trace.
    """
    span = _extent(reader, trace_id)
    if span is None:
        return None
    start, end, pods = span
    name = trace_id.hex()
    named = _gathered(reader, Search((), start - _NAMED_WITHIN, end + _NAMED_WITHIN), limit, until, naming=name)
    near: list[_Found] = []
    if pods and around >= 0:
        near = _gathered(reader, Search((), start - around, end + around + 1), limit, until, pods=pods)
    ids = {chunk.id + place for _, chunk, place in named}
    near = [one for one in near if one[1].id + one[2] not in ids]
    kept = sorted(
        [(*one, "trace") for one in named[:limit]] + [(*one, "pod") for one in near[: max(0, limit - len(named))]],
        key=lambda one: (one[0], one[1].id + one[2]),
    )
    shown = query.records(reader, ((chunk, place) for _, chunk, place, _ in kept), body_limit)
    return {
        "records": [{"of": of, **record} for record, (*_, of) in zip(shown, kept, strict=True)],
        "more": len(named) + len(near) > len(kept),
        "pods": sorted("/".join(pod) for pod in pods if len(pod) < 3),
    }


_Found = tuple[int, Chunk, int]  # time, chunk, place


def _extent(reader: Reader, trace_id: bytes) -> tuple[int, int, set[tuple[str, ...]]] | None:
    """Start, end, and pods of a trace."""
    wanted = np.frombuffer(trace_id, "V16")[0]
    start, end = 1 << 62, 0
    numbers: set[int] = set()
    for chunk, places in holding(reader, [trace_id]):
        mine = places[chunk.columns["trace"][places] == wanted]
        if len(mine):
            start = min(start, int(chunk.columns["start"][mine].min()))
            end = max(end, int(chunk.columns["end"][mine].max()))
            numbers.update(chunk.columns["resource"][mine].tolist())
    if not numbers:
        return None
    resources = reader.resources()
    return start, max(start, end), {pod for number in numbers for pod in _pods(resources[number].attributes)}


def _pods(attributes: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """What tells a pod: namespace and name, as OpenTelemetry and as Sumo Logic call them; or the uid alone."""
    namespace = attributes.get("k8s.namespace.name") or attributes.get("namespace")
    name = attributes.get("k8s.pod.name") or attributes.get("pod")
    uid = attributes.get("k8s.pod.uid") or attributes.get("pod_id")
    if namespace and name:
        yield str(namespace), str(name)
    elif uid:
        yield (str(uid),)
    elif not name and (service := attributes.get("service.name")):  # no pod at all: the program that sent it
        yield ("service", str(attributes.get("service.namespace", "")), str(service))


def _gathered(
    reader: Reader,
    asked: Search,
    limit: int,
    until: float,
    *,
    naming: str = "",
    pods: set[tuple[str, ...]] = frozenset(),  # type: ignore[assignment]
) -> list[_Found]:
    """The first records in a time range that name an id, or come from pods; one more than `limit` at most."""
    verdicts = reader.verdicts(asked)
    if pods:
        verdicts = {
            number: one for number, one in verdicts.items() if not pods.isdisjoint(_pods(one.resource.attributes))
        }
    found: list[_Found] = []
    for chunk in reader.chunks("max_time >= ? AND min_time < ?", (asked.start, asked.end), "min_time, id"):
        places = matching(chunk, verdicts, asked, until)
        if naming:
            places = _naming(chunk, places, naming)
        times = chunk.columns.times
        found += [(int(times[place]), chunk, place) for place in places]
        if len(found) > 4 * (limit + 1):
            found = _first(found, limit + 1)
    return _first(found, limit + 1)


def _first(found: list[_Found], most: int) -> list[_Found]:
    return sorted(found, key=lambda one: (one[0], one[1].id + one[2]))[:most]


def _naming(chunk: Chunk, places: list[int], name: str) -> list[int]:
    """Of these places, those of records that name an id, in small or in capital letters."""
    words = (name.encode(), name.upper().encode())
    in_bodies = any(word in chunk.columns.blob for word in words)
    in_fields = chunk.columns.mentions(name)
    if not in_bodies and not in_fields:
        return []
    bodies = chunk.columns.bodies
    return [
        place
        for place in places
        if (in_fields and name in _ids(chunk, place)) or (in_bodies and any(word in bodies[place] for word in words))
    ]


def _ids(chunk: Chunk, place: int) -> list[str]:
    extra = chunk.columns.others(place)
    attributes = [extra.attributes.get(name) for name in ("trace_id", "traceId", "traceid")]
    return [extra.trace_id, *[value.lower() for value in attributes if isinstance(value, str)]]
