"""Values as Prometheus writes them: durations, sizes, label texts, regular expressions."""

import re
from functools import cache
from typing import Any, ClassVar, Self

import re2

from hawse.values import ByteSize, Duration

_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_MILLISECONDS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_UNITS = ("y", "w", "d", "h", "m", "s", "ms")
_LONGEST = (1 << 63) // 1_000_000  # milliseconds that fit into Go's time.Duration
_LONGEST_TEXT = 100
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTPE]i?)?B?")
_SIZE_UNITS = {unit: 1 << (10 * power) for power, unit in enumerate(("", "K", "M", "G", "T", "P", "E"))}


class PromDuration(Duration):
    """Seconds. Written as Prometheus reads it: whole numbers, largest unit first (`1d12h`, `1w`, `500ms`), or 0."""

    __slots__ = ()
    described = "a duration"  # for messages and docs
    schema: ClassVar[dict[str, Any]] = {
        "type": ["string", "integer"],
        "pattern": r"^(0|([0-9]+(ms|[ywdhms]))+|.*\$\{.+\}.*)$",
    }

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read the user's text; raise ValueError if it is no duration."""
        if value == 0 and not isinstance(value, bool | float):
            return cls(0)
        if isinstance(value, str):
            if value == "0":
                return cls(0)
            match = _DURATION.fullmatch(value) if 0 < len(value) < _LONGEST_TEXT else None
            if match:
                total = sum(int(count) * size for count, size in zip(match.groups("0"), _MILLISECONDS, strict=True))
                if total < _LONGEST:
                    return cls(total / 1000)
        raise ValueError(
            f'{value!r} is no duration; write whole numbers with units, largest first, such as "15s", "1m30s" or "1d"'
        )

    def __str__(self) -> str:
        """As Prometheus writes it into `__scrape_interval__`: years and weeks only where nothing is left over."""
        left = round(float(self) * 1000)
        parts = []
        for unit, size in zip(_UNITS, _MILLISECONDS, strict=True):
            count, rest = divmod(left, size)
            if count and not (rest and unit in "yw"):
                parts.append(f"{count}{unit}")
                left = rest
        return "".join(parts) or "0s"


class Base2Bytes(ByteSize):
    """Bytes. As Prometheus has it, KB is 1024 bytes like KiB."""

    __slots__ = ()
    described = "a size"

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read the user's text or number; raise ValueError if it is no size."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f'{value!r} is no size; write bytes, such as 1048576, or with a unit, such as "10MB"')
        return cls(float(match[1]) * _SIZE_UNITS[(match[2] or "").removesuffix("i")])


class Text(str):
    """A label's value or a separator. Numbers, `true` and nothing count as the text they are written with."""

    __slots__ = ()
    described = "text"
    as_written = True  # for config.decode: `version: 1.10` is "1.10"
    schema: ClassVar[dict[str, Any]] = {"type": ["string", "number", "boolean", "null"]}

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Take a scalar."""
        return cls(_text(value))


class Pattern(str):
    """A regular expression of RE2, anchored at both ends, in which `.` matches line breaks, too.

    As Prometheus has it: `^(?s:…)$`. RE2 needs time in proportion to the text, whoever wrote the expression.
    """

    __slots__ = ("compiled",)
    described = "a regular expression"
    as_written = True
    schema: ClassVar[dict[str, Any]] = {"type": ["string", "number", "boolean", "null"]}

    compiled: "re2._Regexp"

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Compile the user's text; raise ValueError where it is wrong."""
        made = cls(_text(value))
        made.compiled = compiled(str(made))
        return made


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"expected text, got {type(value).__name__}")


@cache
def _options() -> "re2.Options":
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 4 << 20  # bytes of one expression and its automaton: tenants have many
    return options


def compiled(pattern: str) -> "re2._Regexp":
    """The anchored expression, for bytes. Raises ValueError with RE2's reason."""
    try:
        return re2.compile(b"(?s:" + pattern.encode() + b")", _options())
    except (re2.error, UnicodeEncodeError):
        reason = _reason(pattern) or "it is too large, or closes more groups than it opens"
        raise ValueError(f"{pattern!r} is no regular expression of RE2: {reason}") from None


def _reason(pattern: str) -> str:
    """What is wrong with what the user wrote, without our anchors; "" where it is those that it does not fit into."""
    try:
        re2.compile(pattern.encode(), _options())
    except re2.error as error:
        return str(error.args[0].decode("utf-8", "replace"))
    except UnicodeEncodeError:
        return "it is no UTF-8"
    return ""
