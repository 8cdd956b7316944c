"""Matching label texts against anchored RE2 expressions, and Go's `$1`/`${name}` templates.

Most expressions in real configurations are a text, some texts, or `(.*)`: those need no automaton, and are told apart
once. The rest goes to RE2, whose answers for short texts are kept for a while: series come in runs of one name.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from hawse.prometheus.values import Pattern

Groups = Sequence[str]  # [0] is the whole text; "" for a group that took no part

_LITERAL = re.compile(r"[^\\.+*?()|\[\]{}^$]*")
_PREFIX = re.compile(r"([^\\.+*?()|\[\]{}^$]*)\((\.[*+])\)")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|\$)")
# Steps of an expression (`programsize`) times characters of a text: RE2 needs 5 ns for each, at worst.
_WORK = 16_000_000
_KEPT, _SHORT = 128, 256  # answers kept for an expression, for texts of at most so many characters


class Matcher(NamedTuple):
    """An expression, ready: `test` says whether it matches the whole text, `groups` what its groups have taken."""

    test: Callable[[str], bool]
    groups: Callable[[str], Groups | None]
    names: dict[str, int]


def matcher(pattern: Pattern) -> Matcher:
    """The cheapest way to match `pattern`."""
    text = str(pattern)
    simple = _any(text) or _texts(text) or _prefixed(text)
    return simple or _re2(pattern)


def _any(text: str) -> Matcher | None:
    if text not in {"(.*)", ".*"}:
        return None
    if text == ".*":
        return Matcher(_always, lambda value: (value,), {})
    return Matcher(_always, lambda value: (value, value), {})


def _always(_: str) -> bool:
    return True


def _texts(text: str) -> Matcher | None:
    """`a`, `a|b` and `(a|b)`."""
    group = text.startswith("(") and text.endswith(")")
    inner = text[1:-1] if group else text
    words = inner.split("|")
    if not all(_LITERAL.fullmatch(word) for word in words):
        return None
    known = frozenset(words)
    if group:
        return Matcher(known.__contains__, lambda value: (value, value) if value in known else None, {})
    return Matcher(known.__contains__, lambda value: (value,) if value in known else None, {})


def _prefixed(text: str) -> Matcher | None:
    """`text(.+)` and `text(.*)`."""
    match = _PREFIX.fullmatch(text)
    if match is None:
        return None
    prefix = match[1]
    start, least = len(prefix), len(prefix) + (match[2] == ".+")

    def test(value: str) -> bool:
        return len(value) >= least and value.startswith(prefix)

    def groups(value: str) -> Groups | None:
        return (value, value[start:]) if test(value) else None

    return Matcher(test, groups, {})


def _re2(pattern: Pattern) -> Matcher:
    """A text that is too long for an expression of its size matches nothing: the event loop waits meanwhile."""
    fullmatch = pattern.compiled.fullmatch
    longest = max(_SHORT, _WORK // pattern.compiled.programsize)

    def ask(value: str) -> Groups | None:
        found = fullmatch(value.encode("utf-8", "surrogatepass"))
        if found is None:
            return None
        taken = (found.group(0), *found.groups(b""))
        return tuple([one.decode("utf-8", "surrogatepass") for one in taken])

    kept = lru_cache(_KEPT)(ask)

    def groups(value: str) -> Groups | None:
        if len(value) <= _SHORT:
            return kept(value)
        return ask(value) if len(value) <= longest else None

    names = {name.decode(): number for name, number in pattern.compiled.groupindex.items()}
    return Matcher(lambda value: groups(value) is not None, groups, names)


def template(text: str, names: dict[str, int]) -> Callable[[Groups], str]:
    """What fills groups into a text, as Go's regexp.Expand does.

    `$name` takes as many letters, digits and underscores as there are, so `$1x` is the group "1x"; a group that is
    not there is empty; `$$` is a dollar sign; any other `$` stays.
    """
    if "$" not in text:
        return lambda _: text
    parts: list[str | int] = []
    at = 0
    for match in _VARIABLE.finditer(text):
        parts.append(text[at : match.start()])
        name = match[1] or match[2]
        parts.append("$" if name is None else _number(name, names))
        at = match.end()
    parts.append(text[at:])
    kept = [part for part in parts if part != ""]
    if len(kept) == 1 and isinstance(kept[0], int):
        only = kept[0]
        return lambda groups: groups[only] if only < len(groups) else ""
    return lambda groups: "".join(
        [part if isinstance(part, str) else groups[part] if part < len(groups) else "" for part in kept]
    )


_NO_GROUP = 1 << 30


def _number(name: str, names: dict[str, int]) -> int:
    if name.isascii() and name.isdecimal() and (name == "0" or not name.startswith("0")) and len(name) < 9:
        return int(name)
    return names.get(name, _NO_GROUP)
