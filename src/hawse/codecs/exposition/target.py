"""One target's series, kept from scrape to scrape."""

import asyncio
import struct
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hawse.batch import AttributeValue, Batch, Buffer, Group, Resource, Signal
from hawse.codecs.exposition import exemplars as splice
from hawse.codecs.exposition import protobuf
from hawse.codecs.exposition.build import Identity
from hawse.codecs.exposition.errors import ExpositionError, LimitExceeded
from hawse.codecs.exposition.families import Family, families, in_pieces
from hawse.codecs.exposition.labels import Key, Labelling, Limits, Relabel
from hawse.codecs.exposition.layout import Layout
from hawse.codecs.exposition.lines import Floats, Numbers
from hawse.codecs.exposition.natives import Natives
from hawse.codecs.exposition.points import (
    FLAGS_BEHIND_TIME,
    GAUGE_SIZE,
    NO_RECORDED_VALUE,
    Kind,
    gauge_rest,
    metric_front,
    metric_head,
)
from hawse.codecs.exposition.segment import Before, Segment, compile_segment
from hawse.codecs.exposition.stale import Old, clash, markers, old_points, reshaped, single_markers
from hawse.codecs.prometheus_series import series
from hawse.turns import Turns
from hawse.wire import field, varint

if TYPE_CHECKING:
    from hawse.codecs.exposition.protobuf import Native


class _Change(NamedTuple):
    """What a scrape has otherwise than the one before: points that are gone, how many samples are new.

    `clash`: what is gone may be there in another form (a histogram as single series).
    """

    gone: Sequence[Old] = ()
    added: int = 0
    clash: bool = False


_PIECE = 1 << 20  # bytes of a body between whose lines others get their turn
LONGEST = 1 << 20  # bytes of a line
_MANY, _SHORTEST = 100_000, 8  # of so many lines, bytes of one on average
_PROTOBUF = "application/vnd.google.protobuf"
SCOPE = "github.com/hawse/hawse/receivers/prometheus"
_head = field(1, field(1, SCOPE.encode()))
_report = struct.Struct("<Q")
_double = struct.Struct("<d")
_NAN = float("nan")


class Settings(msgspec.Struct, frozen=True):
    """What the scrape configuration says of a target's series (its keys, where not said otherwise).

    `resource_labels`: labels of a series that tell what it is about, to the Resource attributes that they also become.
    """

    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    limits: Limits = Limits()
    resource_labels: Mapping[str, str] = {}
    scrape_classic_histograms: bool = False


class Scraped(msgspec.Struct, frozen=True):
    """What a scrape gave. `groups` are valid until the next read."""

    groups: tuple[Group, ...]
    samples: int  # exposed
    kept: int  # behind metric_relabel_configs
    added: int  # of series that the scrape before did not have


class Exposition:
    """Reads a target's bodies. See the package for what it costs."""

    def __init__(
        self,
        resource: Mapping[str, AttributeValue],
        labels: Mapping[str, str],
        relabel: Relabel | None = None,
        settings: Settings = Settings(),  # noqa: B008
    ) -> None:
        """`resource` are attributes beside service.name and service.instance.id; `labels` the target's (with job and
        instance, without those that begin with __); `relabel` is metric_relabel_configs, which drops by None.
        """
        self._resource = dict(resource)
        self._settings = settings
        self._most = settings.limits.sample or 1 << 62
        self._exceeded = f"sample_limit: the target exposes more than the {self._most} samples that are allowed"
        self._names = tuple(settings.resource_labels.values())
        self._labelling = Labelling(
            labels, relabel, settings.limits, settings.resource_labels, honor_labels=settings.honor_labels
        )
        self._natives = Natives(self._labelling, settings.limits.bucket)
        self._layout: Layout | None = None
        self._marked = False  # whether all of it was said to be gone
        self._openmetrics = False
        self._protobuf = False  # there, `_created` is no series
        self._plain: set[str] = set()  # families whose histograms or summaries OTLP can't hold
        self._resources: dict[Key, Resource] = {}
        self._reports: dict[str, bytes] = {}

    @property
    def nbytes(self) -> int:
        """About how much memory is held."""
        return self._layout.nbytes if self._layout is not None else 0

    async def read(self, body: Buffer, content_type: str, at: int) -> Scraped:
        """A scrape's body, in the format that its Content-Type names, taken at `at` (Unix time, ns).

        Yields to the loop where it takes long. Raises ExpositionError and LimitExceeded; then what the last good one
        had is still known, for `stale`.
        """
        kind = content_type.partition(";")[0].strip().lower()
        openmetrics = kind in {"application/openmetrics-text", _PROTOBUF}
        self._protobuf = kind == _PROTOBUF
        natives: list[Native] = []
        layout = self._layout if openmetrics == self._openmetrics else None
        if kind == _PROTOBUF:
            lines, natives = await protobuf.read(body, classic=self._settings.scrape_classic_histograms)
            numbers = layout.lines.read(lines) if layout is not None else None
        else:
            text = bytes(body)
            numbers = layout.lines.read_body(text) if layout is not None else None
            lines = [] if numbers is not None else await _lines(text)
        change = _Change()
        if numbers is None or layout is None:
            layout, numbers, change = await self._known_anew(lines, at, openmetrics=openmetrics)
        misfits = layout.patch(numbers, at)
        while misfits is not None:
            lines = lines or await _lines(bytes(body))
            self._plain |= {layout.segments[layout.segment_of(int(one))].key[0] for one in misfits}
            layout, numbers, then = await self._known_anew(lines, at, openmetrics=openmetrics, old=layout)
            change = _Change([*change.gone, *then.gone], change.added, change.clash or then.clash)
            misfits = layout.patch(numbers, at)
        more = self._natives.read(natives, at, timestamps=self._settings.honor_timestamps)
        own = list(more)
        self._layout, self._openmetrics, self._marked = layout, openmetrics, False
        groups = self._groups(layout, numbers, change, at) + self._grouped(own)
        samples = len(layout.lines.prefixes) + len(natives)
        return Scraped(groups, samples, layout.kept + self._natives.kept, change.added + self._natives.added)

    def stale(self, at: int) -> tuple[Group, ...]:
        """Markers for all series that the last good scrape had, once. They stay known: they may well come back."""
        layout, marked, self._marked = self._layout, self._marked, True
        natives = self._grouped(list(self._natives.stale(at)))
        if layout is None or marked:
            return natives
        if layout.any_timed and not self._settings.track_timestamps_staleness:
            points = [old for number in range(len(layout.segments)) for old, timed in _old(layout, number) if not timed]
            found = markers(points, at).items()
            return (*(self._group(key, (data,), items) for key, (data, items) in found), *natives)
        view = memoryview(layout.stale(at))
        parts = (self._group(part.key, (view[part.first : part.last],), part.points) for part in layout.parts)
        return (*parts, *natives)

    def report(self, at: int, values: Mapping[str, float], *, stale: bool = False) -> Group:
        """What is said of the scrape itself (`up`, `scrape_duration_seconds`), as gauges with the target's labels.

        With `stale`, markers for these series in place of the values: the target has gone.
        """
        rest = bytearray(gauge_rest)
        rest[1:9] = _report.pack(at)
        if stale:
            rest[1 + FLAGS_BEHIND_TIME] = NO_RECORDED_VALUE
        before = bytes(rest[: GAUGE_SIZE - 8])
        parts: list[bytes] = []
        for name, value in values.items():
            parts += (
                self._reports.get(name) or self._report_front(name),
                before,
                _double.pack(_NAN if stale else value),
            )
        return self._group(self._labelling.own("up").key, (b"".join(parts),), len(values))

    def _report_front(self, name: str) -> bytes:
        """A gauge of the report up to the time of its one point: the same at every scrape."""
        labels = self._labelling.encoded(self._labelling.own(name).labels, Kind.GAUGE.attributes)
        point = b"\x0a" + varint(len(labels) + len(gauge_rest)) + labels
        front = metric_front(
            metric_head(name, {"prometheus.type": "gauge"}, "", ""), Kind.GAUGE, len(point) + len(gauge_rest)
        )
        made = self._reports[name] = front + point
        return made

    # --- a scrape with other series than the one before -----------------------------------------------------------

    async def _known_anew(
        self, lines: list[bytes], at: int, *, openmetrics: bool, old: Layout | None = None
    ) -> tuple[Layout, Numbers, "_Change"]:
        """The layout of these lines, with what stays of the last one; the numbers; what is otherwise."""
        old = old or self._layout
        found = await families(lines, openmetrics=openmetrics)
        # Each piece alone may be half a histogram; series may be there twice, which shows only if all are looked at.
        pieces = in_pieces(found)
        self._plain |= pieces
        alike = old is not None and old.lines.openmetrics is openmetrics and not pieces
        kept = await self._reusable(old, found, lines) if alike and old is not None else {}
        before, points = await self._before(old, {place for place, _ in kept.values()})
        segments: list[Segment] = []
        numbers: list[Numbers] = []
        last: dict[int, Floats] = {}
        fresh: set[Identity] = set()
        samples = 0
        turns = Turns()
        for place, family in enumerate(found):
            if (known := kept.get(place)) is not None and old is not None:
                segments.append(old.segments[known[0]])
                numbers.append(known[1])
                last[place] = old.last_of(known[0])
            else:
                segment, its, identities = await self._compiled(
                    family, lines, before, fresh, at, openmetrics=openmetrics, samples=samples
                )
                segments.append(segment)
                numbers.append(its)
                fresh |= identities
            await turns.give()
            samples += segments[-1].kept
            if samples > self._most:
                raise LimitExceeded(self._exceeded)
        layout = await _assembled(segments, kept, old, last, openmetrics=openmetrics)
        self._labelling.forget()
        track = self._settings.track_timestamps_staleness
        added = _added(layout, kept, old)
        if self._marked:
            return layout, _together(numbers), _Change(added=added)
        anew = [number for number in range(len(segments)) if number not in kept]
        await asyncio.sleep(0)
        changed = reshaped(points, fresh, (new for number in anew for new, _ in _old(layout, number)))
        gone = [one for one in points if one.identity not in fresh] + changed
        gone = [one for one in gone if track or not before[one.identity].timed]
        change = _Change(gone, added, bool(changed) or clash(gone, fresh))
        return layout, _together(numbers), change

    async def _reusable(self, old: Layout, found: list[Family], lines: list[bytes]) -> dict[int, tuple[int, Numbers]]:
        """Families whose lines are as they were: their places now, to those before and their numbers."""
        known = {segment.key: place for place, segment in enumerate(old.segments)}
        kept = {}
        turns = Turns()
        for place, family in enumerate(found):
            await turns.give()
            at = known.get(family.key)
            if at is None or family.key[0] in self._plain:
                continue
            segment = old.segments[at]
            own = lines[family.first : family.last]
            numbers = old.lines_of(at).read(own) if segment.metadata == family.metadata else None
            if numbers is not None:
                kept[place] = at, numbers
        return kept

    async def _before(self, old: Layout | None, kept: set[int]) -> tuple[dict[Identity, Before], list[Old]]:
        """What is known of the points of all segments but those that stay."""
        before: dict[Identity, Before] = {}
        points = []
        turns = Turns()
        for number in range(len(old.segments)) if old is not None else ():
            await turns.give()
            if number not in kept and old is not None:
                for point, timed in _old(old, number):
                    before[point.identity] = point.before(timed=timed)
                    points.append(point)
        return before, points

    async def _compiled(
        self,
        family: Family,
        lines: list[bytes],
        before: Mapping[Identity, Before],
        taken: Set[Identity],
        at: int,
        *,
        openmetrics: bool,
        samples: int,
    ) -> tuple[Segment, Numbers, set[Identity]]:
        return await compile_segment(
            family,
            lines,
            self._labelling,
            before,
            taken,
            at,
            openmetrics=openmetrics,
            is_plain=family.key[0] in self._plain,
            created_lines=not self._protobuf,
            honor_timestamps=self._settings.honor_timestamps,
            most=self._most - samples,
            exceeded=self._exceeded,
        )

    # --- groups ------------------------------------------------------------------------------------------------------

    def _groups(self, layout: Layout, numbers: Numbers, change: "_Change", at: int) -> tuple[Group, ...]:
        view = memoryview(layout.data)
        with_exemplars = layout.exemplars(numbers.exemplars, at) if numbers.exemplars else {}
        gone = markers(change.gone, at)
        if change.clash:
            gone = self._unclashed(layout, gone)
        groups = []
        for part in layout.parts:
            own = {place: found for place, found in with_exemplars.items() if part.first <= place < part.last}
            data: Buffer = view[part.first : part.last]
            if own:
                data = splice.spliced(layout.data, part.first, part.last, own)
            more, items = gone.pop(part.key, (b"", 0))
            groups.append(self._group(part.key, (data, more) if more else (data,), part.points + items))
        groups += [self._group(key, (data,), items) for key, (data, items) in gone.items()]
        return tuple(groups)

    def _unclashed(self, layout: Layout, gone: Mapping[Key, tuple[bytes, int]]) -> dict[Key, tuple[bytes, int]]:
        """Markers without those of series that are live in another form."""
        view = memoryview(layout.data)
        now = [self._group(part.key, (view[part.first : part.last],), part.points) for part in layout.parts]
        live = {frozenset(labels.items()) for labels, *_ in series(Batch(Signal.METRICS, now))}
        found: dict[Key, tuple[bytes, int]] = {}
        for key, (data, items) in gone.items():
            single = [metric for _, metric in single_markers([self._group(key, (data,), items)], live)]
            if single:
                found[key] = b"".join(single), len(single)
        return found

    def _grouped(self, metrics: list[tuple[Key, bytes]]) -> tuple[Group, ...]:
        """Metrics of one point each."""
        by_key: dict[Key, list[bytes]] = {}
        for key, metric in metrics:
            by_key.setdefault(key, []).append(metric)
        return tuple(self._group(key, (b"".join(its),), len(its)) for key, its in by_key.items())

    def _group(self, key: Key, metrics: tuple[Buffer, ...], items: int) -> Group:
        resource = self._resources.get(key)
        if resource is None:
            resource = self._resources[key] = Resource.of(
                {
                    "service.name": key.job,
                    "service.instance.id": key.instance,
                    **self._resource,
                    **{name: value for name, value in zip(self._names, key.others, strict=True) if value},
                }
            )
        size = len(_head) + sum(map(len, metrics))
        return Group(resource, (b"\x12" + varint(size) + _head, *metrics), items)


async def _lines(text: bytes) -> list[bytes]:
    """The lines of a body, with an empty one at its end, some at a time. Raises ExpositionError.

    Lines of a few bytes cost many times their size, and long ones much time: neither is what exporters write.
    """
    count = text.count(b"\n")
    if count > _MANY and len(text) < _SHORTEST * count:
        raise ExpositionError(f"line {count}: {count} lines in {len(text)} bytes: they are too short to be series")
    lines: list[bytes] = []
    at = 0
    while at < len(text):
        end = text.rfind(b"\n", at, at + _PIECE) + 1 or text.find(b"\n", at) + 1 or len(text)
        more = text[at:end].split(b"\n")
        if end - at > LONGEST and (longest := max(map(len, more))) > LONGEST:
            place = len(lines) + next(number for number, line in enumerate(more) if len(line) == longest)
            raise ExpositionError(f"line {place + 1}: it has {longest} bytes, {LONGEST} are allowed")
        if not more[-1]:
            more.pop()
        lines += more
        at = end
        await asyncio.sleep(0)
    return [*lines, b""]


def _old(layout: Layout, number: int) -> list[tuple[Old, bool]]:
    """The points of a segment, and whether their time was their own."""
    timed = layout.timed_of(number)
    data = layout.bytes_of(number)
    found = []
    at = 0
    for key, length in layout.segments[number].chunks:
        found += [(old, old.time_at in timed) for old in old_points(key, data[at : at + length], at)]
        at += length
    return found


def _together(numbers: list[Numbers]) -> Numbers:
    import numpy as np

    values = np.concatenate([*(one.values[:-1] for one in numbers), np.zeros(1)])
    sizes = [len(one.values) - 1 for one in numbers]
    times = None
    if any(one.times is not None for one in numbers):
        times = np.concatenate(
            [
                one.times if one.times is not None else np.zeros(size, np.int64)
                for one, size in zip(numbers, sizes, strict=True)
            ]
        )
    exemplars = {}
    at = 0
    for one, size in zip(numbers, sizes, strict=True):
        exemplars.update({at + number: exemplar for number, exemplar in one.exemplars.items()})
        at += size
    return Numbers(values, times, exemplars)


async def _assembled(
    segments: list[Segment],
    kept: dict[int, tuple[int, Numbers]],
    old: Layout | None,
    last: Mapping[int, Floats],
    *,
    openmetrics: bool,
) -> Layout:
    """A layout of new segments, and of old ones with what the old layout has of them."""
    data, lines = [], []
    turns = Turns()
    for place, segment in enumerate(segments):
        await turns.give()
        if segment.lines is not None:
            data.append(segment.data)
            lines.append(segment.lines)
        else:
            assert old is not None
            data.append(old.bytes_of(kept[place][0]))
            lines.append(old.lines_of(kept[place][0]))
    await asyncio.sleep(0)
    return Layout(segments, lines, data, last, openmetrics=openmetrics)


def _added(layout: Layout, kept: dict[int, tuple[int, Numbers]], old: Layout | None) -> int:
    """Samples of series that were not there before, and that are kept."""
    known = set(old.lines.prefixes) if old is not None else set()
    return sum(
        segment.kept if not known else sum(prefix not in known for prefix in layout.kept_prefixes(place))
        for place, segment in enumerate(layout.segments)
        if place not in kept
    )


__all__ = ["Exposition", "Scraped", "Settings"]
