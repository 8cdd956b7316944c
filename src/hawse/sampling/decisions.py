"""What was decided of traces whose spans are gone, for spans that come late. The least recently used is forgotten."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from hawse.codecs.spans import Stamp


class Verdict:
    """What becomes of a trace. `rule` says why, for the ledger; `stamp` is set on spans that are kept, `late` on those
    that come later (the same where None). `malformed` traces are refused, whatever the rules.
    """

    __slots__ = ("keep", "later", "malformed", "rule", "stamp")

    def __init__(
        self, *, keep: bool, rule: str, stamp: Stamp | None = None, late: Stamp | None = None, malformed: bool = False
    ) -> None:
        self.keep = keep
        self.rule = rule
        self.stamp = stamp
        self.malformed = malformed
        self.later: Verdict = self if late is None else Verdict(keep=keep, rule=rule, stamp=late)


class Decisions:
    """At most `kept` and `dropped` decisions. An entry takes about 150 bytes."""

    def __init__(self, kept: int, dropped: int) -> None:
        self._most = {True: kept, False: dropped}
        self._known: dict[bool, OrderedDict[bytes, Verdict]] = {True: OrderedDict(), False: OrderedDict()}

    def put(self, trace_id: bytes, verdict: Verdict) -> None:
        """Remember a decision."""
        most, known = self._most[verdict.keep], self._known[verdict.keep]
        if most <= 0:
            return
        known[trace_id] = verdict
        if len(known) > most:
            known.popitem(last=False)

    def get(self, trace_id: bytes) -> Verdict | None:
        """The decision, if it is remembered."""
        for known in self._known.values():
            found = known.get(trace_id)
            if found is not None:
                known.move_to_end(trace_id)
                return found
        return None

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))


class Stamps:
    """Stamps by their attributes, which are few: each is encoded once."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, Any], ...], Stamp] = {}

    def __call__(self, attributes: Mapping[str, Any]) -> Stamp:
        """The stamp for these attributes."""
        key = tuple(attributes.items())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= 1024:
                self._known.clear()
            found = self._known[key] = Stamp(attributes)
        return found
