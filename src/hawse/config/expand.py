"""`${env:NAME}`, `${env:NAME:-default}`, `${file:PATH}` and `$$`, as the OpenTelemetry Collector has them.

A value that is one reference and nothing else is read as YAML (numbers, booleans, whole maps); inside a longer text
the reference is replaced as text. What is put in as text is not looked at again, so a password may hold `$`.
Other than in the Collector, a variable that is not set and has no default is an error, not an empty text.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from hawse.config.reader import read_yaml
from hawse.config.tree import Content, Node, error, join
from hawse.diagnostics import Finding, Where

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?!-)(.*)", re.DOTALL)
_MAX_DEPTH = 20  # files that pull in files


class _Unresolved(Exception):
    """A reference that leads nowhere."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class Expander:
    """Replaces references in a tree. `files` gathers the files that were read, to be watched."""

    def __init__(self, environ: Mapping[str, str], findings: list[Finding]) -> None:
        self.environ = environ
        self.findings = findings
        self.files: list[str] = []

    def expand(self, node: Node, path: str = "", depth: int = 0) -> Node:
        """The tree with all references replaced; those that can't be are findings and become nothing."""
        if isinstance(node.value, dict):
            return node.with_value({k: self.expand(v, join(path, k), depth) for k, v in node.value.items()})
        if isinstance(node.value, list):
            return node.with_value([self.expand(v, join(path, i), depth) for i, v in enumerate(node.value)])
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            return self._text(node, node.value, path, depth)
        except _Unresolved as problem:
            self.findings.append(error("HW107", node.mark, path, problem.message, problem.fix))
            return Node(None, node.mark, key=node.key, origin=node.value)

    def _text(self, node: Node, text: str, path: str, depth: int) -> Node:
        if text.startswith("${") and _closing(text, 0) == len(text) - 1:
            return self._whole(node, text, path, depth)
        replaced = self._inside(text)
        return Node(replaced, node.mark, key=node.key, origin=text if "${" in text.replace("$$", "") else "")

    def _whole(self, node: Node, text: str, path: str, depth: int) -> Node:
        """A value that is one reference: typed by YAML, with its text kept for fields that want text."""
        content = self._resolve(text[2:-1])
        ignored: list[Finding] = []
        parsed = read_yaml(content, node.mark.file, ignored).value if content.strip() else None
        if ignored or isinstance(parsed, str):
            parsed = content
        result = Node(_moved(parsed, node.mark), node.mark, key=node.key, text=content, origin=text)
        if isinstance(result.value, dict | list):
            if depth >= _MAX_DEPTH:
                raise _Unresolved(f"{text} leads in a circle", "take the reference out of what it refers to")
            result = self.expand(result, path, depth + 1)
        return result

    def _inside(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        while (dollar := text.find("$", at)) >= 0:
            parts.append(text[at:dollar])
            close = _closing(text, dollar) if text.startswith("${", dollar) else -1
            if text.startswith("$$", dollar):
                parts.append("$")
                at = dollar + 2
            elif close >= 0:
                parts.append(self._resolve(text[dollar + 2 : close]))
                at = close + 1
            else:
                parts.append("$")
                at = dollar + 1
        return "".join(parts) + text[at:]

    def _resolve(self, reference: str) -> str:
        reference = self._inside(reference) if "$" in reference else reference
        match = _SCHEME.fullmatch(reference)
        scheme, rest = (match[1], match[2]) if match else ("env", reference)
        if scheme == "env":
            return self._variable(rest)
        if scheme == "file":
            return self._file(rest)
        raise _Unresolved(
            f'"${{{reference}}}" names an unknown provider "{scheme}"',
            'use env: or file:, or write "$${" where the text "${" is meant',
        )

    def _variable(self, rest: str) -> str:
        name, has_default, default = rest.partition(":-")
        if not _NAME.fullmatch(name):
            fix = 'write ${env:NAME}, or "$${" where the text "${" is meant'
            raise _Unresolved(f'"{name}" is no name of an environment variable', fix)
        if name in self.environ:
            return self.environ[name]
        if has_default:
            return default
        fix = f"set it, or give a default: ${{env:{name}:-default}}"
        raise _Unresolved(f'the environment variable "{name}" is not set', fix)

    def _file(self, name: str) -> str:
        self.files.append(name)
        try:
            content = Path(name).read_text(encoding="utf-8")
        except OSError as problem:
            raise _Unresolved(f'cannot read "{name}": {problem.strerror}', "check the path and its rights") from None
        except UnicodeDecodeError:
            raise _Unresolved(f'"{name}" is not UTF-8 text', "save it as UTF-8") from None
        # Mounted secrets and `echo` end in a newline, which no password, token or address has.
        return content.removesuffix("\n").removesuffix("\r")


def expand_again(text: str) -> str | None:
    """The text of a value with its references replaced as they read now; None where one leads nowhere."""
    findings: list[Finding] = []
    node = Expander(os.environ, findings).expand(Node(text))
    found = node.text if node.text is not None else node.value
    return found if isinstance(found, str) and not findings else None


def _closing(text: str, start: int) -> int:
    """Where the `${` at `start` is closed, or -1."""
    depth, at = 0, start
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return -1


def _moved(content: Content, mark: Where) -> Content:
    """A parsed value all of whose marks are the reference's: that is the place where the user looks."""
    if isinstance(content, dict):
        return {key: Node(_moved(node.value, mark), mark, key=mark) for key, node in content.items()}
    if isinstance(content, list):
        return [Node(_moved(node.value, mark), mark) for node in content]
    return content
