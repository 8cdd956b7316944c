"""Label and field selectors of list and watch (kubernetes.io/docs/concepts/overview/working-with-objects/labels)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]
Matches = Callable[[Object], bool]

_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*")
_FIELDS = ("metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "status.podIP")


class SelectorError(ValueError):
    """Not a selector that the API server would take."""


def labels(selector: str) -> Matches:
    """`a=b, c!=d, e, !f, g in (h, i), j notin (k)`."""
    tests = [_label(part) for part in re.split(r",(?![^(]*\))", selector) if part.strip()]

    def matches(found: Object) -> bool:
        there: Mapping[str, str] = found["metadata"].get("labels") or {}
        return all(test(there) for test in tests)

    return matches


def _label(part: str) -> Callable[[Mapping[str, str]], bool]:
    match = _SET.fullmatch(part)
    if match:
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        return lambda there: (there.get(key) in values) == (operator == "in")
    part = part.strip()
    if "!=" in part:
        key, value = (side.strip() for side in part.split("!=", 1))
        return lambda there: there.get(key) != value
    if "=" in part:
        key, value = (side.strip() for side in part.replace("==", "=").split("=", 1))
        return lambda there: there.get(key) == value
    if part.startswith("!"):
        return lambda there: part[1:].strip() not in there
    if " " in part:
        raise SelectorError(f"unable to parse requirement: {part!r}")
    return lambda there: part in there


def fields(selector: str) -> Matches:
    """`spec.nodeName=n, metadata.namespace!=m`. Raises SelectorError for fields that pods can't be selected by."""
    tests: list[tuple[list[str], str, bool]] = []
    for part in filter(None, (part.strip() for part in selector.split(","))):
        key, equal, value = part.replace("==", "=").partition("=")
        negated = key.endswith("!")
        key = key.removesuffix("!").strip()
        if not equal or key not in _FIELDS:
            raise SelectorError(f"field label not supported: {key}")
        tests.append((key.split("."), value.strip(), negated))

    def matches(found: Object) -> bool:
        return all((_dig(found, path) == value) != negated for path, value, negated in tests)

    return matches


def _dig(found: Object, path: list[str]) -> str:
    value: Any = found
    for key in path:
        value = (value or {}).get(key)
    return value or ""
