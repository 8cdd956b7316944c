"""A configuration document as a tree whose every key and value knows its file, line and column."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from hawse.diagnostics import Finding, Severity, Where

Scalar: TypeAlias = "None | bool | int | float | str"
Content: TypeAlias = "Scalar | dict[str, Node] | list[Node]"

UNKNOWN = Where()


class Node:
    """A value and where it was written. Immutable by convention: changing something makes a new node.

    `value` is a scalar, a dict of nodes or a list of nodes. `key` is the place of the map key that leads here, None
    for list items and the root. A value that came out of `${…}` has in `text` what was put in, before YAML gave it
    a type, and in `origin` what the user wrote. `written` is the text of a scalar that YAML made something else of.
    """

    __slots__ = ("key", "mark", "origin", "text", "value", "written")

    def __init__(
        self,
        value: Content,
        mark: Where = UNKNOWN,
        *,
        key: Where | None = None,
        text: str | None = None,
        origin: str = "",
        written: str = "",
    ) -> None:
        self.value = value
        self.mark = mark
        self.key = key
        self.text = text
        self.origin = origin
        self.written = written

    def with_value(self, value: Content) -> "Node":
        """Another value in the same place."""
        return Node(value, self.mark, key=self.key, text=self.text, origin=self.origin)

    def with_key(self, key: Where | None) -> "Node":
        """The same value under a key at another place."""
        return Node(self.value, self.mark, key=key, text=self.text, origin=self.origin, written=self.written)

    @property
    def where(self) -> Where:
        """Where to point a reader: at a scalar itself, at the key of a map, a list or an empty value."""
        return self.mark if self.key is None or not isinstance(self.value, dict | list | None) else self.key

    @property
    def entries(self) -> "dict[str, Node]":
        """The entries of a map; nothing for anything else (an empty value means an empty map)."""
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value without places: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def describe(self) -> str:
        """The value in words, for messages. What came from the environment or a file is not told."""
        if isinstance(self.value, dict):
            return "a map"
        if isinstance(self.value, list):
            return "a list"
        if self.origin:
            return f"the value of {self.origin}"
        if self.value is None:
            return "nothing"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return f'the text "{self.value}"' if isinstance(self.value, str) else f"the number {self.value}"


def merge(below: Node, above: Node) -> Node:
    """Two documents in one: maps merge key by key, anything else is replaced by what is above."""
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    merged = dict(below.value)
    for key, node in above.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return above.with_value(merged)


def join(path: str, step: str | int) -> str:
    """A path and one step more: `receivers.otlp`, `include[0]`."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def find(root: Node, path: str) -> Node:
    """The node at a path, or the deepest one on the way to it. Keys may hold dots: the longest that fits is taken."""
    node, rest = root, path
    while rest:
        step = _step(node, rest)
        if step is None:
            break
        node, length = step
        rest = rest[length:].removeprefix(".")
    return node


def _step(node: Node, rest: str) -> tuple[Node, int] | None:
    if isinstance(node.value, list):
        number = rest[1:].partition("]")[0] if rest.startswith("[") else ""
        if number.isdigit() and int(number) < len(node.value):
            return node.value[int(number)], len(number) + 2
        return None
    fitting = (key for key in node.entries if rest.startswith(key) and rest[len(key) : len(key) + 1] in {"", ".", "["})
    key = max(fitting, key=len, default=None)
    return None if key is None else (node.entries[key], len(key))


def placed(root: Node, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same findings with file, line and column added to those that have a path only."""
    for finding in findings:
        if finding.where.file or not finding.where.path:
            yield finding
        else:
            mark = find(root, finding.where.path).where
            where = Where(mark.file, mark.line, mark.column, finding.where.path)
            yield msgspec.structs.replace(finding, where=where)


def error(code: str, mark: Where, path: str, message: str, fix: str = "") -> Finding:
    """An error at a mark and a path."""
    return Finding(code, Severity.ERROR, Where(mark.file, mark.line, mark.column, path), message, fix)
