"""Values that users write in configuration files: durations, sizes, secrets, references, patterns.

Each is a subclass of the plain type that code works with, made from the user's text by `parse`, which raises
ValueError with a message fit for the user. `config.decode` calls `parse` for every field of these types.
"""

import re
from collections.abc import Callable
from typing import Any, Self

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
_DURATION_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Duration(float):
    """Seconds. Written as Go's time.ParseDuration reads it (`300ms`, `1m30s`); a bare 0 is allowed."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read the user's text; raise ValueError if it is no duration."""
        if isinstance(value, str):
            parts = _DURATION.findall(value)
            if parts and "".join(number + unit for number, unit in parts) == value:
                return cls(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))
        if value in {0, "0"} and not isinstance(value, bool):
            return cls(0)
        raise ValueError(f'{value!r} is no duration; write a number with a unit, such as "500ms", "10s" or "1m30s"')

    def __str__(self) -> str:
        for unit, size in (("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3)):
            if self >= size and self % size == 0:
                return f"{int(self / size)}{unit}"
        return f"{float(self):g}s"


class ByteSize(int):
    """Bytes. Written as a number or with a unit (`1MiB`, `64KB`)."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read the user's text or number; raise ValueError if it is no size."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f'{value!r} is no size; write bytes, such as 1048576, or with a unit, such as "1MiB"')
        return cls(float(match[1]) * _SIZE_UNITS[(match[2] or "").lower()])


class Secret(str):
    """Text that must not be shown: `str()`, `repr()` and every dump say `[REDACTED]`; `reveal()` gives the text.

    One that came out of a file (`${file:/var/run/token}`) can be read again: tokens are renewed in place.
    """

    __slots__ = ("again",)

    again: Callable[[], str | None]  # the text as it is now, None where it cannot be had; not there for other secrets

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Take the user's text."""
        if not isinstance(value, str):
            raise ValueError(f"expected text, got {type(value).__name__}")  # noqa: TRY004
        return cls(value)

    def reveal(self) -> str:
        """The text itself, for the wire only."""
        return str.__str__(self)

    def reread(self) -> "Secret":
        """The secret as its file has it now; this one where it came from no file, or that cannot be read."""
        again = getattr(self, "again", None)
        text = again() if again is not None else None
        if text is None or text == self.reveal():
            return self
        made = Secret(text)
        made.again = self.again
        return made

    def __repr__(self) -> str:
        return "[REDACTED]"

    def __str__(self) -> str:
        return "[REDACTED]"

    def __format__(self, spec: str) -> str:
        return "[REDACTED]"


class Regex(str):
    """A regular expression in Python's syntax (RE2's is a subset but for a few escapes). `compiled` is ready made."""

    compiled: re.Pattern[str]

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Compile the user's text; raise ValueError where it is wrong."""
        if not isinstance(value, str):
            raise ValueError(f"expected a regular expression as text, got {type(value).__name__}")  # noqa: TRY004
        made = cls(value)
        try:
            made.compiled = re.compile(value.replace(r"\z", r"\Z"))
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return made


class ComponentID(str):
    """`type` or `type/name`, as the OpenTelemetry Collector writes it."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Check the form; raise ValueError where it is wrong."""
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*(/[^\s/][^/]*)?", value):
            raise ValueError(f'{value!r} is no component id; write "type" or "type/name"')
        return cls(value)

    @property
    def type(self) -> str:
        """The part before the slash."""
        return self.partition("/")[0]

    @property
    def name(self) -> str:
        """The part after the slash, or nothing."""
        return self.partition("/")[2]


class ExtensionID(ComponentID):
    """A reference to an extension (`storage: file_storage`): the graph checks that the service runs it."""

    __slots__ = ()


class PipelineID(ComponentID):
    """A reference of a connector to a pipeline behind it (`metrics/audit`): the graph checks that it is there."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Check the form; raise ValueError where it is wrong."""
        try:
            return super().parse(value)
        except ValueError:
            raise ValueError(f'{value!r} is no pipeline; write its name, such as "metrics" or "logs/audit"') from None
