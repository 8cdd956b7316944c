"""Which series a question is about, written as Prometheus writes it: `name{label="value",other=~"regex"}`.

prometheus.io/docs/prometheus/latest/querying/basics, "Time series selectors". Expressions match from beginning to end
and have Python's syntax; a label that is not there is like an empty one. Names that are no plain ones stand in quotes.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from hawse.backend.conditions import Mistake

_NAME = "__name__"
_WORD = r"""[a-zA-Z_:.][a-zA-Z0-9_:.\-/]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_MATCHER = re.compile(
    rf"\s*({_WORD})\s*(?:(=~|!~|!=|=)\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`))?\s*(,|$|(?=\}}))"
)
_HEAD = re.compile(rf"\s*({_WORD})?\s*(\{{)?")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_LONGEST = 20_000


class Matcher(msgspec.Struct, frozen=True):
    """A label must be (`=`), must not be (`!=`), must match (`=~`), must not match (`!~`) a text."""

    label: str
    operator: str
    value: str

    def test(self) -> Callable[[str], bool]:
        """What says whether a label's value, "" where it has none, is wanted. Raises Mistake."""
        value = self.value
        if self.operator == "=":
            return value.__eq__
        if self.operator == "!=":
            return value.__ne__
        try:
            pattern = re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise Mistake(f"match: {self.label}{self.operator}{value!r} is no regular expression: {error}") from None
        wanted = self.operator == "=~"
        return lambda found: (pattern.fullmatch(found) is not None) is wanted


class Selector(msgspec.Struct, frozen=True):
    """Matchers that must all hold; those of the name apart."""

    name: tuple[Matcher, ...] = ()
    labels: tuple[Matcher, ...] = ()

    def wants_name(self) -> Callable[[str], bool]:
        """What says whether a metric's name is wanted. Raises Mistake."""
        tests = [matcher.test() for matcher in self.name]
        return lambda name: all(test(name) for test in tests)

    def wants_labels(self) -> Callable[[Mapping[str, str]], bool]:
        """What says whether a series' labels are wanted. Raises Mistake."""
        tests = [(matcher.label, matcher.test()) for matcher in self.labels]
        return lambda labels: all(test(labels.get(label, "")) for label, test in tests)


def parse(text: str) -> Selector:
    """Read a selector. Raises Mistake that says where it is wrong."""
    if len(text) > _LONGEST:
        raise Mistake(f"match: more than {_LONGEST} characters")
    head = _HEAD.match(text)
    assert head is not None  # it matches the empty text
    name = [Matcher(_NAME, "=", _plain(head[1]))] if head[1] else []
    labels: list[Matcher] = []
    at = head.end()
    if head[2]:
        at = _matchers(text, at, name, labels)
    if text[at:].strip():
        raise _mistake(text, at, "the end")
    if not name and not labels:
        raise Mistake('match: an empty selector; write a name, or labels in braces: {job="web"}')
    return Selector(tuple(name), tuple(labels))


def _matchers(text: str, at: int, name: list[Matcher], labels: list[Matcher]) -> int:
    """Read what is between braces; say where they end."""
    while not re.compile(r"\s*\}").match(text, at):
        match = _MATCHER.match(text, at)
        if match is None or at == match.end():
            raise _mistake(text, at, 'label="value"')
        label, operator, value, _ = match.groups()
        if operator is None:
            if label[0] not in "\"'" or name:
                raise _mistake(text, match.end(1), "=, !=, =~ or !~")
            name.append(Matcher(_NAME, "=", _plain(label)))
        else:
            label = _plain(label)
            (name if label == _NAME else labels).append(Matcher(label, operator, _plain(value)))
        at = match.end()
    return text.index("}", at) + 1


def _mistake(text: str, at: int, wanted: str) -> Mistake:
    rest = text[at : at + 40]
    return Mistake(
        f"match: expected {wanted} at character {at + 1}, not {rest!r}"
        if rest
        else f"match: {wanted} is missing at the end of {text!r}"
    )


def _plain(text: str) -> str:
    """A token's text; quotes and escapes as Go has them."""
    if text[0] == "`":
        return text[1:-1]
    if text[0] not in "\"'":
        return text
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return {"n": "\n", "t": "\t", "r": "\r"}.get(escape, escape)
