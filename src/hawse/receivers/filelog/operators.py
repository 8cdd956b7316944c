"""What is done with a file's lines: `container` parses the runtime's format, `recombine` joins multi-line entries.

The keys are those of OpenTelemetry's operators of these names (opentelemetry-collector-contrib,
`pkg/stanza/docs/operators`); of its expressions, the forms that choose files and first lines are understood.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from hawse.codecs.container_log import MAX_LOG_SIZE, Multiline
from hawse.component import Problem, Section
from hawse.values import ByteSize, Duration

_TEXT = r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|`([^`]*)`)"""
_FIRST = re.compile(rf"\s*(?:\$?body|\$record)\s+matches\s+{_TEXT}\s*")
_TERM = re.compile(rf"""\s*(?:attributes|resource)\[["']([^"']+)["']\]\s*(==|!=|matches)\s*{_TEXT}\s*""")
_FIRST_HELP = "write: body matches \"^\\\\d{4}-\", or use first_line_regex: '^\\d{4}-'"
_IF_HELP = 'write: attributes["k8s.container.name"] == "NAME", with !=, matches and `and`'


def _literal(double: str | None, single: str | None, raw: str | None) -> str:
    if raw is not None:
        return raw
    return re.sub(
        r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), double if double is not None else single or ""
    )


class Condition:
    """An `if` expression over the attributes that a file's path tells. Raises ValueError if it is not understood."""

    def __init__(self, text: str) -> None:
        self._terms: list[tuple[str, str, str]] = []
        for term in re.split(r"\s+(?:and|&&)\s+", text):
            match = _TERM.fullmatch(term)
            if match is None:
                raise ValueError(f"the expression {term!r} is not understood")
            wanted = _literal(match[3], match[4], match[5])
            if match[2] == "matches":
                re.compile(wanted)
            self._terms.append((match[1], match[2], wanted))

    def holds(self, attributes: Mapping[str, str]) -> bool:
        """Whether it holds for a file."""
        return all(self._term(attributes.get(key, ""), how, wanted) for key, how, wanted in self._terms)

    @staticmethod
    def _term(value: str, how: str, wanted: str) -> bool:
        if how == "matches":
            return re.search(wanted, value) is not None
        return (value == wanted) is (how == "==")


class Operator(Section, frozen=True):
    """A step of parsing. `container` comes first; of several `recombine`, a file gets the first whose `if` holds."""

    type: Literal["container", "recombine"]
    id: str = ""
    # container
    format: Annotated[
        Literal["", "containerd", "crio", "docker"],
        Meta(description="Accepted for OpenTelemetry's sake: the format is recognised per file, line by line."),
    ] = ""
    add_metadata_from_filepath: bool = True
    max_log_size: Annotated[ByteSize, Meta(description="Longer lines and entries go on in a further record.")] = (
        ByteSize(MAX_LOG_SIZE)
    )
    # recombine
    first_line_regex: Annotated[str, Meta(description="What the first line of an entry looks like.")] = ""
    is_first_entry: Annotated[str, Meta(description='The same as an expression: `body matches "REGEX"`.')] = ""
    if_: Annotated[str, Meta(description='Which files: `attributes["k8s.container.name"] == "NAME"`.')] = field(
        name="if", default=""
    )
    combine_field: Literal["body"] = "body"
    combine_with: str = "\n"
    source_identifier: Annotated[
        str, Meta(description="Accepted for OpenTelemetry's sake: entries are joined per file and stream.")
    ] = ""
    force_flush_period: Annotated[
        Duration | None, Meta(description="An entry that waits longer is handed out. Default: the receiver's.")
    ] = None

    def problems(self) -> Iterator[Problem]:
        """The expressions must be understood, and keys belong to their operator."""
        if self.force_flush_period is not None and self.force_flush_period <= 0:
            yield Problem("force_flush_period", "must be above 0")
        if self.max_log_size < 64 or self.max_log_size > MAX_LOG_SIZE:
            yield Problem("max_log_size", f"{int(self.max_log_size)} is not between 64 and {MAX_LOG_SIZE} bytes")
        if self.type == "container":
            for key in ("first_line_regex", "is_first_entry"):
                if getattr(self, key):
                    yield Problem(
                        key, "belongs to an operator of type recombine", "add one behind the container operator"
                    )
            return
        if not self.first_line_regex and not self.is_first_entry:
            yield Problem("first_line_regex", "is missing", _FIRST_HELP)
        elif not self.first_line_regex and not _FIRST.fullmatch(self.is_first_entry):
            yield Problem("is_first_entry", f"the expression {self.is_first_entry!r} is not understood", _FIRST_HELP)
        else:
            try:
                re.compile(self.first_line.encode())
            except re.error as error:
                key = "first_line_regex" if self.first_line_regex else "is_first_entry"
                yield Problem(key, f"{self.first_line!r} is no regular expression: {error}")
        try:
            self.condition()
        except (ValueError, re.error) as error:
            yield Problem("if", str(error), _IF_HELP)

    @property
    def first_line(self) -> str:
        """The regular expression of first lines."""
        if self.first_line_regex:
            return self.first_line_regex
        match = _FIRST.fullmatch(self.is_first_entry)
        return _literal(match[1], match[2], match[3]) if match else ""

    def condition(self) -> Condition | None:
        """The `if` expression, or None. Raises ValueError."""
        return Condition(self.if_) if self.if_ else None

    def multiline(self) -> Multiline:
        """What the parser is told."""
        return Multiline(re.compile(self.first_line.encode()), self.combine_with.encode())


def recombine_for(operators: tuple[Operator, ...], attributes: Mapping[str, str]) -> Operator | None:
    """The first `recombine` that is meant for a file with these attributes."""
    for operator in operators:
        if operator.type == "recombine":
            condition = operator.condition()
            if condition is None or condition.holds(attributes):
                return operator
    return None
