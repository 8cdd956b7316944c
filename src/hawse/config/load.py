"""Configuration sources → one marked tree."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from hawse.config.expand import Expander
from hawse.config.reader import read_yaml
from hawse.config.tree import Node, error, merge
from hawse.diagnostics import Finding, Where


class Loaded:
    """What the sources hold together.

    `root` is the merged and expanded tree, as far as it could be read; `findings` is what was wrong on the way;
    `files` are all files that were read, those of `${file:…}` included.
    """

    def __init__(self, root: Node, findings: list[Finding], files: list[str]) -> None:
        self.root = root
        self.findings = findings
        self.files = files


def load(sources: Iterable[str], overrides: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> Loaded:
    """Read sources and merge them, later ones over earlier ones.

    A source is a file's path, `file:PATH`, `env:NAME` (a variable holding YAML) or `yaml:TEXT` (`::` in its keys
    opens a level: `yaml:exporters::debug::verbosity: detailed`). Overrides are `key.key=value` and come last.
    Never raises for what the user wrote: see `Loaded.findings`.
    """
    environ = os.environ if environ is None else environ
    findings: list[Finding] = []
    files: list[str] = []
    trees = [_read(source, environ, findings, files) for source in sources]
    trees += [_override(text, findings) for text in overrides]
    expander = Expander(environ, findings)
    root = Node({})
    for tree in trees:
        if isinstance(tree.value, dict | None):
            root = merge(root, expander.expand(tree if tree.value is not None else tree.with_value({})))
        else:
            findings.append(error("HW105", tree.mark, "", f"a configuration is a map, this is {tree.describe()}"))
    return Loaded(root, findings, [*files, *expander.files])


def _read(source: str, environ: Mapping[str, str], findings: list[Finding], files: list[str]) -> Node:
    scheme, colon, rest = source.partition(":")
    if colon and scheme == "yaml":
        # Named by its first key only: values may be secrets.
        return _nested(read_yaml(rest, f"yaml:{' '.join(rest.partition(':')[0].split())}…", findings))
    if colon and scheme == "env":
        if rest not in environ:
            message = f'the environment variable "{rest}" is not set'
            findings.append(error("HW101", Where(source), "", message, "set it to the configuration's text"))
        return read_yaml(environ.get(rest, ""), source, findings)
    name = rest if colon and scheme == "file" else source
    files.append(name)
    try:
        content = Path(name).read_bytes()
    except OSError as problem:
        message = f"cannot read the configuration: {problem.strerror}"
        findings.append(error("HW101", Where(name), "", message, "check the path and its rights"))
        return Node({}, Where(name))
    return read_yaml(content, name, findings)


def _override(text: str, findings: list[Finding]) -> Node:
    """`service.drain_timeout=5s` as a tree."""
    key, equals, value = text.partition("=")
    where = Where(f"--set {key}")
    if not equals or not key.strip():
        findings.append(error("HW101", where, "", "not of the form key=value", "write --set section.key=value"))
        return Node({})
    node = Node(read_yaml(value, where.file, findings).value if value.strip() else None, where)
    for step in reversed(key.strip().replace("::", ".").split(".")):
        node = Node({step: node.with_key(where)}, where)
    return node


def _nested(node: Node) -> Node:
    """`a::b: 1` as `a: {b: 1}`."""
    if not isinstance(node.value, dict):
        return node
    result = Node({}, node.mark)
    for key, child in node.value.items():
        inner = _nested(child)
        for step in reversed(key.split("::")):
            inner = Node({step: inner.with_key(child.key)}, node.mark)
        result = merge(result, inner)
    return result.with_key(node.key)
