"""What a search asks for, read from the parameters of its URL."""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from hawse.backend.columns import LATEST
from hawse.values import Duration

EARLIEST = 0
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)?")
_RESERVED = frozenset(
    {"from", "to", "from_ts", "to_ts", "limit", "cursor", "by", "step", "after", "clock", "q", "body_limit"}
)


class Condition(msgspec.Struct, frozen=True):
    """A field must match a regular expression, or must not.

    As in Prometheus, an expression has to match a field from its beginning to its end; in `body` it may match
    anywhere. An empty expression asks whether the field is there at all.
    """

    field: str
    regex: str
    wanted: bool = True

    def test(self, pattern: "re.Pattern[str]", value: str | None) -> bool:
        """Whether a record whose field has `value` (None: it has no such field) is wanted."""
        if value is None:
            return not self.wanted
        found = not self.regex or (pattern.search(value) if self.field == "body" else pattern.fullmatch(value))
        return bool(found) is self.wanted


class Search(msgspec.Struct, frozen=True):
    """Conditions, all of which must hold, and a time range: `start` ≤ record's time < `end`, Unix nanoseconds."""

    conditions: tuple[Condition, ...] = ()
    start: int = EARLIEST
    end: int = LATEST


class Mistake(ValueError):
    """A parameter is wrong; the message says which and why."""


def compiled(conditions: Sequence[Condition]) -> list[tuple[Condition, "re.Pattern[str]"]]:
    """The conditions with their expressions, compiled. Raises Mistake."""
    found = []
    for condition in conditions:
        try:
            found.append((condition, re.compile(condition.regex)))
        except (re.error, RecursionError, OverflowError) as error:
            raise Mistake(f"{condition.field}: {condition.regex!r} is no regular expression: {error}") from None
    return found


def search(query: Mapping[str, list[str]]) -> Search:
    """Read a search from a URL's query: FIELD=REGEX, FIELD!=REGEX, q, from, to, from_ts, to_ts. Raises Mistake."""
    conditions = []
    for name, values in query.items():
        wanted = not name.endswith("!")
        field = "body" if name == "q" else name.removesuffix("!")
        if name in _RESERVED and name != "q":
            continue
        conditions += [Condition(field, value, wanted) for value in values if value or name != "q"]
    compiled(conditions)
    start, end = bound(query, "from", EARLIEST), bound(query, "to", LATEST)
    return Search(tuple(conditions), start, end)


def bound(query: Mapping[str, list[str]], name: str, default: int) -> int:
    """Unix nanoseconds of the parameter `name` (or `name`_ts, in milliseconds). Raises Mistake."""
    if value := last(query, name + "_ts"):
        # As the Sumo Logic mock has it: milliseconds, and its callers send the largest number for "no end".
        if not value.isascii() or not value.isdigit():
            raise Mistake(f"{name}_ts: {value!r} is no time; write milliseconds since 1970")
        return min(int(value) * 10**6, LATEST)
    value = last(query, name)
    return moment(name, value) if value else default


def moment(name: str, value: str) -> int:
    """Unix nanoseconds of RFC 3339, of `now`, of `-15m` (that long ago), or of nanoseconds. Raises Mistake."""
    if value == "now":
        return time.time_ns()
    if value.isascii() and value.isdigit() and len(value) < 20:
        return min(int(value), LATEST)
    if value.startswith("-"):
        try:
            return max(EARLIEST, time.time_ns() - int(Duration.parse(value[1:]) * 10**9))
        except ValueError as error:
            raise Mistake(f"{name}: {error}") from None
    match = _RFC3339.fullmatch(value)
    if match:
        zone = match[4] or "Z"
        try:
            moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{'+00:00' if zone in 'Zz' else zone}")
        except ValueError as error:
            raise Mistake(f"{name}: {value!r}: {error}") from None
        seconds = int(moment.astimezone(UTC).timestamp())
        return max(EARLIEST, seconds * 10**9 + int((match[3] or "").ljust(9, "0")))
    raise Mistake(
        f'{name}: {value!r} is no time; write RFC 3339 ("2026-01-31T10:00:00Z"), "-15m", "now", or nanoseconds'
    )


def last(query: Mapping[str, list[str]], name: str, default: str = "") -> str:
    """The last value of a parameter."""
    values = query.get(name)
    return values[-1] if values else default


def number(query: Mapping[str, list[str]], name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`. Raises Mistake."""
    value = last(query, name, str(default))
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= most:
        raise Mistake(f"{name}: {value!r} is no number from 1 to {most}")
    return int(value)
