"""YAML text → marked tree (YAML 1.2's core schema, as the OpenTelemetry Collector's parser has it, not 1.1's).

So `yes`, `on`, `12:30` and `2026-11-24` are text. Duplicate keys are errors; anchors, aliases and `<<` work.
"""

import re
from typing import Any, ClassVar

import yaml

from hawse.config.tree import Content, Node, error, join
from hawse.diagnostics import Finding, Where

# libyaml where PyYAML was built with it (ten times faster), else the same in Python.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
# Aliases may blow a small file up to any size ("billion laughs"); no real configuration comes near this.
_MAX_NODES = 200_000


class _Loader(_Base):  # type: ignore[misc]
    """Resolves plain scalars by the core schema."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0[0-7]*|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml(text: str | bytes, file: str, findings: list[Finding]) -> Node:
    """Parse one document; what is wrong is added to `findings`. An empty document is an empty map."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file)
        findings.append(error("HW102", where, "", f"not valid YAML: {_reason(problem)}", _advice(text, where)))
        return Node({}, Where(file))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        reason = str(problem).splitlines()[0]
        findings.append(error("HW102", Where(file), "", f"not valid YAML: {reason}", "save the file as UTF-8 text"))
        return Node({}, Where(file))
    if root is None:
        return Node({}, Where(file, 1, 1))
    return _Builder(file, findings).build(root, "")


def _reason(problem: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (problem.context, problem.problem) if part)


def _advice(text: str | bytes, where: Where) -> str:
    lines = (text if isinstance(text, str) else text.decode("utf-8", "replace")).splitlines()
    if 0 < where.line <= len(lines) and "\t" in lines[where.line - 1].partition("#")[0]:
        return "indent with spaces, not tabs"
    return "look at this line and the one above it"


class _Builder:
    """Makes our nodes of PyYAML's."""

    def __init__(self, file: str, findings: list[Finding]) -> None:
        self.file = file
        self.findings = findings
        self.open: set[int] = set()
        self.built = 0

    def mark(self, node: Any) -> Where:
        return Where(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def build(self, node: Any, path: str, key: Where | None = None) -> Node:
        mark = self.mark(node)
        self.built += 1
        if id(node) in self.open or self.built > _MAX_NODES:
            if self.built <= _MAX_NODES + 1:
                self.complain("HW102", node, path, "not valid YAML: an alias holds itself, or far too much")
            return Node(None, mark, key=key)
        if isinstance(node, yaml.ScalarNode):
            scalar = self.scalar(node, path)
            return Node(scalar, mark, key=key, written="" if isinstance(scalar, str | None) else node.value)
        self.open.add(id(node))
        value: Content
        if isinstance(node, yaml.SequenceNode):
            value = [self.build(item, join(path, number)) for number, item in enumerate(node.value)]
        else:
            value = self.entries(node, path)
        self.open.discard(id(node))
        return Node(value, mark, key=key)

    def entries(self, node: Any, path: str) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.complain("HW102", key_node, path, "a key must be text, not a map or a list")
            elif key_node.tag == _TAG + "merge":
                merged |= self.merged(value_node, path)
            elif key_node.value in own:
                first = own[key_node.value].key
                line = first.line if first else 0
                there = join(path, key_node.value)
                message = f'duplicate key "{key_node.value}", first on line {line}'
                self.complain("HW103", key_node, there, message, "remove one of them, or merge the two")
            else:
                key = key_node.value
                own[key] = self.build(value_node, join(path, key), self.mark(key_node))
        return {**merged, **own}

    def merged(self, node: Any, path: str) -> dict[str, Node]:
        """What `<<` brings in: a map, or a list of maps of which the first has precedence."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Node] = {}
        for one in reversed(nodes):
            result |= self.build(one, path).entries
        return result

    def scalar(self, node: Any, path: str) -> Any:
        tag, text = node.tag.removeprefix(_TAG), node.value
        try:
            return _SCALARS[tag](text)
        except KeyError:
            self.complain("HW102", node, path, f"unknown YAML tag {node.tag!r}", "remove the tag")
        except ValueError:
            self.complain("HW102", node, path, f'"{text}" is not of the type {node.tag!r}')
        return text

    def complain(self, code: str, node: Any, path: str, message: str, fix: str = "") -> None:
        self.findings.append(error(code, self.mark(node), path, message, fix))


def _integer(text: str) -> int:
    # A leading zero means octal, as in Go's strconv.ParseInt with base 0 (file modes are written so).
    digits = text.lstrip("-+")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return int(text, 8)
    return int(text, 0)


def _floating(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Any] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": _floating,
    "str": str,
    "merge": str,
    "!": str,
}
