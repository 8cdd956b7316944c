"""Settings out of plain data (JSON, YAML of other files, an API's answer), as strictly as the configuration file's."""

from typing import Any, TypeVar

import msgspec

from hawse.config.decode import FAILED, Decoder
from hawse.config.reader import read_yaml
from hawse.config.shape import shape_of
from hawse.config.tree import Content, Node, placed
from hawse.diagnostics import Finding, HawseError, Where

T = TypeVar("T")


def decoded(value: Any, kind: type[T], where: str = "") -> T:
    """A value of `kind` (a Section, `tuple[StaticConfig, ...]`, …) out of dicts, lists and scalars.

    `where` names the data in errors (a file, a URL, an object). Raises HawseError with everything that is wrong.
    """
    return _decoded(Node(_content(value), Where(where)), kind)


def decoded_yaml(text: bytes | str, kind: type[T], file: str) -> T:
    """The same out of YAML, whose errors have lines. Raises HawseError."""
    findings: list[Finding] = []
    node = read_yaml(text, file, findings)
    if findings:
        raise HawseError(findings)
    return _decoded(node, kind)


def _content(value: Any) -> Content:
    if isinstance(value, dict):
        return {str(key): Node(_content(item)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [Node(_content(item)) for item in value]
    if isinstance(value, msgspec.Raw):
        return _content(msgspec.json.decode(value))
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _decoded(node: Node, kind: type[T]) -> T:
    findings: list[Finding] = []
    made = Decoder(findings).decode(node, shape_of(kind), "")
    if findings or made is FAILED:
        raise HawseError([_in_file(finding, node.mark.file) for finding in placed(node, findings)])
    return made  # type: ignore[no-any-return]


def _in_file(finding: Finding, file: str) -> Finding:
    if finding.where.file or not file:
        return finding
    where = Where(file, finding.where.line, finding.where.column, finding.where.path)
    return msgspec.structs.replace(finding, where=where)
