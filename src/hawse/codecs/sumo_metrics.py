"""Metrics as a Sumo Logic HTTP source takes them: lines of Prometheus' text, `name{label="value"} number milliseconds`.

As the Sumo Logic exporter of the OpenTelemetry Collector writes them: a resource's attributes are labels, too, and
names get no suffixes for units. Other than there, a histogram's buckets are called `_bucket`, as in Prometheus. What
the text cannot tell is left out: stale markers, and the buckets of exponential histograms.
"""

import math
import re
import struct
from collections import OrderedDict
from collections.abc import Generator, Iterable, Mapping, Sequence

from hawse.batch import AttributeValue, Group, Resource
from hawse.codecs.otlp_records import as_text
from hawse.codecs.prometheus_series import Head, Key, Settings, Target, head, rows, scan
from hawse.codecs.prometheus_series_points import STALE, Native, Point, Unfit, Variant, attributes, read
from hawse.codecs.prometheus_series_shares import Share
from hawse.wire import field

CONTENT_TYPE = "application/vnd.sumologic.prometheus"
_SETTINGS = Settings(
    add_metric_suffixes=False, target_info=False, resource_labels=True, exclude_service_attributes=True
)
_SOURCE = {"X-Sumo-Host": "_sourceHost", "X-Sumo-Name": "_sourceName", "X-Sumo-Category": "_sourceCategory"}
_STEP = 400  # lines between two turns of others
_MOST = 32 << 20  # bytes of what is remembered, about
_ODD = re.compile(r"[^a-zA-Z0-9_:]")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_STALE = struct.pack("<d", STALE)
_SUM, _COUNT = ("_sum", "", ""), ("_count", "", "")
Prefixes = dict[tuple[tuple[bytes, ...], Variant], bytes]


class Lost:
    """Points that cannot be lines: why, and how many of which metric (encoded)."""

    def __init__(self, reason: str, points: int, metric: bytes) -> None:
        self.reason = reason
        self.points = points
        self.metric = metric


class _Known:
    """A resource, and the beginnings of its lines."""

    def __init__(self, resource: Resource, owner: "Writer") -> None:
        kept = {key: value for key, value in resource.attributes.items() if key not in _SOURCE.values()}
        self.target = Target(kept, _SETTINGS)
        self.headers = _headers(resource.attributes)
        self.families: dict[Key, tuple[Head, Prefixes]] = {}
        self.cost = 0
        self.owner: Writer | None = owner
        self.grow(1000 + len(resource.raw))

    def grow(self, size: int) -> None:
        """Count what is remembered in addition."""
        self.cost += size
        if self.owner is not None:
            self.owner.cost += size


class Writer:
    """Remembers the labels of series, as far as `most` bytes go."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self.cost = 0  # about what is remembered, in bytes
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def lines(
        self, group: Group, lost: list[Lost]
    ) -> Generator[None, None, tuple[Mapping[str, str], list[bytes], int]]:
        """The headers of a group's source, its lines, and the points in them. What is not in them is put into `lost`.

        Yields now and then, and returns it in the end. Raises WireError where the group is malformed.
        """
        known = self._resource(group.resource)
        out: list[bytes] = []
        points = turn = 0
        for key, raws, metric in scan(group, _SETTINGS):
            if key not in known.families:
                known.families[key] = (head(key, _SETTINGS), {})
                known.grow(500 + len(key.description))
            family, prefixes = known.families[key]
            # Other than in Prometheus, deltas can be sent as they are: it is the query that must know.
            unfit = "" if family.unfit == "delta_temporality" else family.unfit
            if unfit:
                lost.append(Lost(unfit, len(raws), metric))
                continue
            for raw in raws:
                try:
                    point = read(family.kind, raw, family.texts)
                except Unfit as why:
                    lost.append(Lost(why.reason, 1, metric))
                    continue
                points += 1
                _add(out, point, family, prefixes, known)
                if len(out) - turn > _STEP:
                    turn = len(out)
                    yield
        self._make_room()
        return known.headers, out, points

    def _resource(self, resource: Resource) -> _Known:
        raw = bytes(resource.raw)
        known = self._known.get(raw)
        if known is None:
            known = self._known[raw] = _Known(resource, self)
        self._known.move_to_end(raw)
        return known

    def _make_room(self) -> None:
        while self._known and self.cost > self._most:
            gone = self._known.popitem(last=False)[1]
            self.cost -= gone.cost
            gone.owner = None


def _add(out: list[bytes], point: Point, family: Head, prefixes: Prefixes, known: _Known) -> None:
    time = b" %d" % (point.time // 1_000_000)
    for variant, value, _ in _rows(family, point):
        at = (point.attributes, variant)
        prefix = prefixes.get(at)
        if prefix is None:
            prefix = prefixes[at] = _prefix(known.target.labels(family, attributes(point.attributes), variant))
            known.grow(300 + len(prefix) + sum(map(len, point.attributes)))
        out.append(prefix + _number(value).encode() + time)


def _rows(family: Head, point: Point) -> Iterable[tuple[Variant, float, object]]:
    for row in rows(family, point, _SETTINGS):
        variant, value, exemplars = row
        if isinstance(value, Native):
            yield from _native(value)
        elif not (math.isnan(value) and struct.pack("<d", value) == _STALE):
            yield variant, value, exemplars


def _native(value: Native) -> list[tuple[Variant, float, object]]:
    if value.stale:
        return []
    return [(_SUM, value.sum, ()), (_COUNT, float(value.count), ())]


def _prefix(labels: Iterable[tuple[str, str]]) -> bytes:
    """A line up to its number. What came from Prometheus may have names of any characters, line feeds included."""
    pairs: dict[str, str] = {}
    for name, text in labels:
        plain = _ODD.sub("_", name)
        pairs[plain] = f"{pairs[plain]};{text}" if plain in pairs else text
    name = _ODD.sub("_", pairs.pop("__name__"))
    inside = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in pairs.items())
    return (f"{name}{{{inside}}} " if inside else f"{name} ").encode("utf-8", "replace")


def _number(value: float) -> str:
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)


def _headers(resource: Mapping[str, AttributeValue]) -> dict[str, str]:
    """The headers that say where a resource's metrics come from: host, name, category."""
    return {header: as_text(resource[key]) for header, key in _SOURCE.items() if key in resource}


def groups(data: bytes, shares: Sequence[Share]) -> list[Group]:
    """Lines as OTLP, by resource: a gauge for each, named by all that comes before its number."""
    lines, made, at = data.split(b"\n"), [], 0
    for share in shares:
        metrics = b"".join(map(_gauge, lines[at : at + share.series]))
        made.append(Group(Resource(share.resource), (field(2, metrics),), share.points))
        at += share.series
    return made


def _gauge(line: bytes) -> bytes:
    name, number, time = [*line.rsplit(b" ", 2), b"", b""][:3]
    try:
        point = b"\x19" + struct.pack("<Q", int(time) * 1_000_000) + b"\x21" + struct.pack("<d", float(number))
    except (ValueError, struct.error):
        point = b""
    return field(2, field(1, name) + field(5, field(1, point)))


__all__ = ["CONTENT_TYPE", "Lost", "Writer", "groups"]
