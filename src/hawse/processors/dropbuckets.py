"""The `dropbuckets` processor: histograms without buckets, which are most of what Prometheus metrics cost.

What is left of a histogram is its sum and count. Series called `…_bucket` that have a label `le` (a histogram that
came as single series) are dropped, and counted in the ledger. docs/metrics-enrichment.md tells users.
"""

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from google.protobuf.message import DecodeError
from msgspec import Meta

from hawse import component
from hawse.batch import Batch, Group, Signal
from hawse.codecs import otlp_parts
from hawse.codecs.descriptors import classes
from hawse.codecs.otlp_buckets import without_buckets
from hawse.component import Consumer, Context, ProcessorFactory, Refused, no_needs
from hawse.turns import Turns
from hawse.values import Regex
from hawse.wire import WireError, walk

_SUFFIX = b"_bucket"
_LE = "le"
_RULE = "keep"
_DATA = frozenset({5, 7, 9, 10, 11})  # fields of a Metric: gauge, sum, histogram, exponential histogram, summary
_HISTOGRAM = 9
_REMEMBERED, _LONGEST = 16384, 256  # names, and bytes of each


class Config(component.Config, frozen=True):
    """Takes the buckets out of histograms: what is left are `_sum` and `_count`."""

    keep: Annotated[
        Regex,
        Meta(description="Histograms that keep their buckets: what matches anywhere in the name, without _bucket."),
    ] = Regex.parse("^$")


# All names in a group's metrics, and whether any is a histogram: one object, whatever the number of metrics. Scopes,
# metrics and histograms repeat on the wire, and are declared as if they did not: protobuf makes one of them.
_MERGED = """Group: 2 Scope inner
Scope: 2 Metric inner
Metric: 1 bytes names*, 9 bytes histogram"""


@cache
def _merged() -> Any:
    return classes("hawse.buckets", _MERGED)["Group"]


class DropBuckets(component.Processor):
    """Changes groups that have histograms; all others keep their bytes."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:
        self._output = output
        self._ledger = context.ledger
        self._kept = _remembered(config.keep.compiled.search)
        self._off = config.keep in {"", ".*"}

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        if self._off:
            await self._output.consume(batch)
            return
        try:
            groups = [await self._of(group) for group in batch.groups]
        except WireError as error:
            raise Refused(f"malformed metrics: {error}", "malformed") from None
        left = [group for group in groups if group is not None]
        if left:
            await self._output.consume(batch.with_groups(left))

    async def _of(self, group: Group) -> Group | None:
        """The group without buckets; None if nothing is left of it."""
        if not self._concerns(b"".join(group.scopes)):
            return group
        message = otlp_parts.opened(group)
        dropped: list[bytes] = []
        turns = Turns()
        for scope in message.scopes:
            made: list[bytes] = []
            for raw in scope.items[:]:
                self._metric(raw, made, dropped)
                await turns.give()
            del scope.items[:]
            scope.items.extend(made)
        fewer = otlp_parts.count(Signal.METRICS, dropped)
        if fewer:
            self._ledger.filtered(Group(group.resource, (), fewer), _RULE)
        return otlp_parts.closed(group, message, group.items - fewer)

    def _concerns(self, scopes: bytes) -> bool:
        """Whether there may be any histogram, or single series of one, that is not to be kept."""
        try:
            metrics = _merged().FromString(scopes).inner.inner
        except DecodeError as error:
            raise WireError(str(error)) from None
        names = metrics.names[:]
        if not metrics.histogram:
            names = [name for name in names if name.endswith(_SUFFIX)]
        return not all(self._kept(name.removesuffix(_SUFFIX)) for name in names)

    def _metric(self, raw: bytes, made: list[bytes], dropped: list[bytes]) -> None:
        name = otlp_parts.metric_name(raw)
        family = name.removesuffix(_SUFFIX)
        if self._kept(family):
            made.append(raw)
        elif len(family) < len(name):
            taken, left = otlp_parts.cut(raw, lambda attributes: _LE in attributes)
            dropped += [taken] if taken is not None else []
            made += [left] if left is not None else []
        else:
            # More than one kind of data is no OTLP; to make one of it would lose the others' points.
            kinds = {number for number, *_ in walk(raw) if number in _DATA}
            made.append(without_buckets(raw) if kinds == {_HISTOGRAM} else raw)


def _remembered(search: Callable[[str], Any]) -> Callable[[bytes], bool]:
    known: dict[bytes, bool] = {}

    def kept(name: bytes) -> bool:
        found = known.get(name)
        if found is None:
            found = search(name.decode("utf-8", "replace")) is not None
            if len(name) <= _LONGEST:
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[name] = found
        return found

    return kept


factory = ProcessorFactory("dropbuckets", Config, DropBuckets, needs=no_needs, signals={Signal.METRICS})
