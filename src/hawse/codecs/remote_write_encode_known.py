"""What is known of the series of resources: their labels as remote write has them, by the bytes of their attributes."""

import zlib
from collections.abc import Sequence
from typing import Any, TypeAlias

from hawse.codecs.otlp_records import as_text
from hawse.codecs.prometheus_series import Head, Key, Settings, Target, head
from hawse.codecs.prometheus_series_names import label_name
from hawse.codecs.prometheus_series_points import Variant, attributes
from hawse.codecs.remote_write_encode_series import Meta, Series, labels_1
from hawse.wire import varint

_TIME_VALUE = frozenset({b"\x19\x21", b"\x19\x31"})  # the tags of a time and of a value
Known: TypeAlias = bytes | Series  # what comes before a sample's value: as it is (1.0), or what it is made from (2.0)


class Family:
    """A metric of one resource, and what is known of its series: by the bytes of a point's attributes."""

    __slots__ = ("_base", "_names", "entries", "head", "labels", "meta")

    def __init__(self, metric: Head) -> None:
        self.head = metric
        self.entries: dict[bytes, Known] = {}  # number points, by what of the point does not change
        self.labels: dict[tuple[tuple[bytes, ...], Variant], Any] = {}  # the others
        name = (metric.name.removesuffix("_total") if metric.type == "counter" else metric.name).encode()
        self.meta = Meta(metric.type, name, metric.help.encode(), metric.unit.encode())
        self._base: list[Pair] | None = None

    def pairs(self, raws: Sequence[bytes]) -> list["Pair"]:
        """The labels that a point's attributes are."""
        own = self.head.own
        seen = _seen[own]
        return [seen.get(raw) or _learn(raw, own=own) for raw in raws]

    def plain_labels(self, pairs: Sequence["Pair"], target: Target) -> list["Pair"] | None:
        """Sorted labels of a series without variant. None where attributes meet each other, or others, under a name."""
        base = self._base
        if base is None:
            base = self._base = [_pair(*label) for label in target.labels(self.head, {})]
        made = [*base, *pairs]
        if len({pair[0] for pair in made}) < len(made) or not all([pair[0] and pair[1] for pair in made]):  # noqa: C419
            return None
        made.sort()
        return made


# A label: name, text, both encoded for 1.0; and the attribute of a number point that it is made from, encoded.
Pair = tuple[str, str, bytes, bytes]
# Attributes seen before, of metrics that are not Prometheus' own and of those that are.
_seen: tuple[dict[bytes, Pair], dict[bytes, Pair]] = ({}, {})
_SEEN_MOST, _SEEN_LONGEST = 1 << 15, 256


def _pair(name: str, text: str, raw: bytes = b"") -> Pair:
    return name, text, labels_1(((name, text),)), b"\x3a" + varint(len(raw)) + raw


def _learn(raw: bytes, *, own: bool) -> Pair:
    ((key, value),) = attributes((raw,)).items()
    made = _pair(key if own else label_name(key), as_text(value), raw)
    if len(raw) <= _SEEN_LONGEST:
        seen = _seen[own]
        if len(seen) >= _SEEN_MOST:
            seen.clear()
        seen[raw] = made
    return made


class Cached:
    """A resource: its labels, its families. `cost` is about what they hold in bytes, `lane` a number of the target."""

    __slots__ = ("cost", "families", "lane", "raw", "target")

    def __init__(self, raw: bytes, target: Target) -> None:
        self.raw = raw
        self.target = target
        self.lane = zlib.crc32(target.identity.encode("utf-8", "replace"))
        self.families: dict[Key, Family] = {}
        self.forget()

    def forget(self) -> None:
        """All series."""
        self.families = {}
        self.cost = 2000 + len(self.raw)

    def family(self, key: Key, settings: Settings) -> Family:
        """The family of a metric."""
        found = self.families.get(key)
        if found is None:
            found = self.families[key] = Family(head(key, settings))
            self.cost += 600 + len(key.description)
        return found


def by_sight(raw: bytes, own: bytes) -> bytes | None:
    """By what `Walk` finds a number point again; None if it is of none of the layouts.

    `own` are the point's attributes, encoded. Whatever has them and nothing else before or behind the time and the
    value is the same series.
    """
    if raw[:1] == b"\x11" and raw[27:] == own:
        return raw[:9] + raw[27:] if raw[9:10] + raw[18:19] in _TIME_VALUE else None
    if raw[:1] == b"\x19" and raw[18:] == own:
        return raw[18:] if b"\x19" + raw[9:10] in _TIME_VALUE else None
    rest = 20 if raw[-11:-9] == b"\x40\x00" and raw[-20:-19] == b"\x19" else 18
    front = raw[:-rest]
    begun = len(front) == len(own) + 9 and front[-9:-8] == b"\x11"
    if raw[-rest : 1 - rest] + raw[-9:-8] in _TIME_VALUE and own == (front[:-9] if begun else front):
        return front
    return None
