"""What is remembered from request to request: series, and metadata that come by themselves."""

import time
from collections.abc import Mapping
from typing import TypeAlias

from hawse.codecs.remote_write_cache import Forms, Numbers
from hawse.codecs.remote_write_series import UNKNOWN, Family, Series, Usage

Story: TypeAlias = tuple[Family, int]  # metadata, and start time in Unix ns, 0 for none


class Memory:
    """What is remembered from request to request, of all senders.

    Series take at most `limit` bytes; families, texts, labels and metadata that are remembered by themselves an eighth
    more each.
    """

    def __init__(self, limit: int, resource_labels: Mapping[str, str]) -> None:
        self.usage = Usage()
        self.forms = Forms(limit, self.usage)
        self.series = Series(resource_labels, self.usage, limit // 8)
        self.families = Families(self.series, limit // 8)
        self.symbols: Numbers[bytes] = Numbers(limit // 8, lambda text: 180 + len(text))
        self.stories: Numbers[Story] = Numbers(limit // 8, lambda story: 700 + sum(map(len, story[0])))

    def turn(self) -> None:
        """Forget what has not been seen for a while."""
        if self.forms.turn(time.monotonic()):
            self.symbols.turn()
            self.stories.turn()


class Families:
    """Metadata that came by themselves (1.0), by the family's name. The oldest make room for new ones."""

    def __init__(self, series: Series, limit: int) -> None:
        self._series = series
        self._limit = limit
        self._size = 0
        self._known: dict[bytes, Family] = {}
        self.version = 0  # counts changes of what is known of metrics

    def learn(self, name: bytes, family: Family) -> None:
        """From now on, and for metrics that are known already."""
        old = self._known.pop(name, None)
        self._known[name] = family
        self._size += _size(name, family) - (_size(name, old) if old else 0)
        while self._size > self._limit and self._known:
            oldest = next(iter(self._known))
            self._size -= _size(oldest, self._known.pop(oldest))
        if family != old:
            for suffix in (b"", *_SUFFIXES):
                metric = self._series.metric(name + suffix)
                if metric is not None:
                    metric.family = self.of(metric.name)
                    self.version += 1

    def of(self, name: bytes) -> Family:
        """What is known of a series of that name."""
        if not self._known:
            return UNKNOWN
        found = self._known.get(name)
        if found is not None:
            return found
        for suffix, types in _SUFFIXES.items():
            if name.endswith(suffix):
                found = self._known.get(name[: -len(suffix)])
                if found is not None and found.type in types:
                    # A counter's series is the counter; those of a histogram or summary are parts of it.
                    return found if found.type in {"counter", "info"} else found._replace(type="unknown")
        return UNKNOWN


# By which names series go beside their family's (OpenMetrics 1.0, "Suffixes").
_PARTS = frozenset({"histogram", "gaugehistogram", "summary"})
_SUFFIXES = {
    b"_total": frozenset({"counter"}),
    b"_bucket": _PARTS,
    b"_count": _PARTS,
    b"_sum": _PARTS,
    b"_gcount": _PARTS,
    b"_gsum": _PARTS,
    b"_info": frozenset({"info"}),
}


def _size(name: bytes, family: Family) -> int:
    return 400 + len(name) + len(family.help) + len(family.unit)
