"""Marked tree → the Config structs of components: strict, and with everything that is wrong at once."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from hawse.component import Config
from hawse.config import shape
from hawse.config.expand import expand_again
from hawse.config.nearest import did_you_mean, nearest
from hawse.config.rules import broken_rule, describe
from hawse.config.shape import Ruled
from hawse.config.tree import Node, error, find, join
from hawse.diagnostics import Finding, Where
from hawse.values import Secret


class _Failed:
    """Stands for a value that could not be made; why is in the findings."""

    def __repr__(self) -> str:
        return "FAILED"


FAILED: Final = _Failed()


class Decoder:
    """Makes values of nodes. What is wrong is appended to `findings`, in the order of the document."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    def struct(self, node: Node, type_: type[msgspec.Struct], path: str) -> Any:
        """A struct of a map (an empty value is an empty map), or FAILED."""
        return self.decode(node, Ruled(shape.block(type_)), path)

    def decode(self, node: Node, takes: Ruled, path: str) -> Any:
        """A value of the shape, or FAILED."""
        value = self._decode(node, takes.shape, path)
        if value is not FAILED and takes.rules:
            complaint = broken_rule(value, takes)
            if complaint:
                return self._fail("HW105", node.where, path, complaint)
        return value

    def _decode(self, node: Node, kind: shape.Shape, path: str) -> Any:
        return _DECODERS[type(kind)](self, node, kind, path)

    def _fail(self, code: str, where: Where, path: str, message: str, fix: str = "") -> _Failed:
        self.findings.append(error(code, where, path, message, fix))
        return FAILED

    def _expected(self, what: str, node: Node, path: str, fix: str = "") -> _Failed:
        return self._fail("HW105", node.where, path, f"expected {what}, got {node.describe()}", fix)

    # --- scalars

    def _any(self, node: Node, _kind: shape.AnyValue, _path: str) -> Any:
        return node.plain()

    def _nothing(self, node: Node, _kind: shape.Nothing, path: str) -> Any:
        return None if node.value is None else self._expected("nothing", node, path)

    def _plain(self, node: Node, kind: shape.Plain, path: str) -> Any:
        value = node.value
        if kind.type is str:
            if isinstance(value, str):
                return value
            if node.text is not None:  # ${env:PORT} in a text field: the text as it was, not 4318
                return node.text
            scalar = not isinstance(value, dict | list) and value is not None
            fix = f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"' if scalar else ""
            return self._expected("text", node, path, fix)
        if kind.type is bool:
            return value if isinstance(value, bool) else self._expected("true or false", node, path)
        if isinstance(value, int) and not isinstance(value, bool):
            return kind.type(value)
        if kind.type is float and isinstance(value, float):
            return value
        return self._expected("a whole number" if kind.type is int else "a number", node, path)

    def _parsed(self, node: Node, kind: shape.Parsed, path: str) -> Any:
        value = node.value
        if issubclass(kind.type, str) and node.text is not None:
            value = node.text
        elif kind.as_written and not isinstance(value, dict | list):
            value = node.written or ("" if value is None else value)
        if isinstance(value, dict | list) or (value is None and not kind.secret):
            return self._expected("a value", node, path)
        try:
            made = kind.type.parse(value)
        except ValueError as problem:
            message = str(problem) if not node.origin else str(problem).replace(repr(value), node.origin)
            return self._fail("HW105", node.where, path, message)
        if isinstance(made, Secret) and "${file:" in node.origin:
            made.again = partial(expand_again, node.origin)
        return made

    def _choice(self, node: Node, kind: shape.Choice, path: str) -> Any:
        for candidate in (node.value, node.text):
            for value in kind.values:
                if candidate == value and type(candidate) is type(value):
                    return kind.make(value)
        known = [str(value) for value in kind.values]
        close = nearest(node.value, known, 1) if isinstance(node.value, str) else []
        fix = f'did you mean "{close[0]}"?' if close else ""
        return self._expected(f"one of {', '.join(known)}", node, path, fix)

    # --- what holds others

    def _items(self, node: Node, kind: shape.Items, path: str) -> Any:
        if node.value is None:
            return kind.make(())
        if not isinstance(node.value, list):
            scalar = not isinstance(node.value, dict) and not node.origin
            return self._expected("a list", node, path, f"write [{node.value}]" if scalar else "")
        values = [self.decode(item, kind.item, join(path, number)) for number, item in enumerate(node.value)]
        return FAILED if FAILED in values else kind.make(values)

    def _fixed(self, node: Node, kind: shape.Fixed, path: str) -> Any:
        if not isinstance(node.value, list) or len(node.value) != len(kind.items):
            return self._expected(f"a list of {len(kind.items)}", node, path)
        pairs = zip(node.value, kind.items, strict=True)
        values = tuple(self.decode(item, takes, join(path, number)) for number, (item, takes) in enumerate(pairs))
        return FAILED if FAILED in values else values

    def _keyed(self, node: Node, kind: shape.Keyed, path: str) -> Any:
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            return self._expected("a map", node, path)
        result = {}
        for name, child in node.value.items():
            there = join(path, name)
            key = self.decode(Node(_key(name, kind.key), child.key or child.mark), kind.key, there)
            result[key] = self.decode(child, kind.value, there)
        return FAILED if FAILED in result or FAILED in result.values() else result

    def _block(self, node: Node, kind: shape.Block, path: str) -> Any:
        if node.value is not None and not isinstance(node.value, dict):
            return self._expected(f"a map of settings ({', '.join(list(kind.fields)[:4])}, …)", node, path)
        before = len(self.findings)
        values: dict[str, Any] = {}
        meant = {close for name in node.entries if name not in kind.fields for close in nearest(name, kind.fields, 1)}
        for name, child in node.entries.items():
            field = kind.fields.get(name)
            if field is None:
                fix = _right_key(name, kind)
                self._fail("HW104", child.key or child.mark, join(path, name), f'unknown key "{name}"', fix)
            elif child.value is not None or field.required or not _null_is_default(field.takes):
                values[field.attribute] = self.decode(child, field.takes, join(path, name))
        for name, field in kind.fields.items():
            if field.required and name not in node.entries and name not in meant:  # a typo is told once
                fix = field.takes.description
                self._fail("HW106", node.where, path, f'the key "{name}" is missing', fix and f"{name}: {fix}")
        if FAILED in values.values() or len(self.findings) > before:
            return FAILED
        return self._made(node, kind.type, values, path)

    def _made(self, node: Node, type_: type[msgspec.Struct], values: dict[str, Any], path: str) -> Any:
        try:
            made = type_(**values)
        except (ValueError, TypeError) as refusal:  # a __post_init__ that refuses
            return self._fail("HW110", node.where, path, str(refusal))
        if not isinstance(made, Config):
            return made
        problems = list(made.problems())
        for problem in problems:
            there = join(path, problem.path) if not problem.path.startswith("[") else path + problem.path
            where = find(node, problem.path).where
            self._fail("HW110", where, there if problem.path else path, problem.message, problem.fix)
        return FAILED if problems else made

    def _one_of(self, node: Node, kind: shape.OneOf, path: str) -> Any:
        options = [option for option in kind.options if not isinstance(option.shape, shape.Nothing)]
        optional = len(options) < len(kind.options)
        # An empty `http:` means the section with its defaults; leaving the key out means none, and so does a reference
        # to what is empty: the environment can't leave a key out.
        block = any(isinstance(option.shape, shape.Block) for option in options)
        if node.value is None and optional and (node.origin or not block):
            return None
        fitting = [option for option in options if _fits(node, option.shape)]
        tried: list[list[Finding]] = []
        for option in fitting or options:
            attempt = Decoder([])
            value = attempt.decode(node, option, path)
            if value is not FAILED and not attempt.findings:
                return value
            tried.append(attempt.findings)
        if len(tried) == 1:
            self.findings += tried[0]
            return FAILED
        if fitting and isinstance(node.value, dict | list):
            fewest = min(len(findings) for findings in tried)
            self.findings += next(findings for findings in tried if len(findings) == fewest)
            return FAILED
        return self._expected(" or ".join(describe(option) for option in options), node, path)


_DECODERS: dict[Any, Callable[[Decoder, Node, Any, str], Any]] = {
    shape.AnyValue: Decoder._any,
    shape.Nothing: Decoder._nothing,
    shape.Plain: Decoder._plain,
    shape.Parsed: Decoder._parsed,
    shape.Choice: Decoder._choice,
    shape.Items: Decoder._items,
    shape.Fixed: Decoder._fixed,
    shape.Keyed: Decoder._keyed,
    shape.Block: Decoder._block,
    shape.OneOf: Decoder._one_of,
}


def _key(name: str, takes: Ruled) -> Any:
    """A map's key as YAML would have typed it, where keys are numbers."""
    numeric = isinstance(takes.shape, shape.Plain) and takes.shape.type is int
    return int(name) if numeric and re.fullmatch(r"-?\d+", name) else name


def _null_is_default(takes: Ruled) -> bool:
    """Whether an empty value leaves a field at its default: yes, but where a block is switched on by its key."""
    return not any(
        isinstance(option.shape, shape.Block | shape.AnyValue)
        or (isinstance(option.shape, shape.Parsed) and option.shape.as_written)
        for option in takes.options
    )


def _fits(node: Node, kind: shape.Shape) -> bool:
    """Whether a node's outer form is that of the shape."""
    if isinstance(kind, shape.AnyValue):
        return True
    if isinstance(node.value, dict):
        return isinstance(kind, shape.Block | shape.Keyed)
    if isinstance(node.value, list):
        return isinstance(kind, shape.Items | shape.Fixed)
    if node.value is None:
        return isinstance(kind, shape.Block)
    return not isinstance(kind, shape.Block | shape.Keyed | shape.Items | shape.Fixed)


def _right_key(name: str, kind: shape.Block) -> str:
    """The nearest key of this block, or where the key belongs if a block below has it, or all keys."""
    if not nearest(name, kind.fields):
        below = _below(name, kind, 3)
        if below:
            return f'did you mean "{below}"?'
    return did_you_mean(name, kind.fields, what="known keys") or "this takes no keys"


def _below(name: str, kind: shape.Block, depth: int) -> str:
    for field in kind.fields.values():
        for option in field.takes.options:
            if isinstance(option.shape, shape.Block):
                if name in option.shape.fields:
                    return f"{field.name}.{name}"
                found = _below(name, option.shape, depth - 1) if depth else ""
                if found:
                    return f"{field.name}.{found}"
    return ""
