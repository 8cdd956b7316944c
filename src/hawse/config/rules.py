"""The rules of msgspec.Meta, and what a field takes, in words."""

import re
from collections.abc import Callable
from typing import Any

from hawse.config import shape
from hawse.config.shape import Ruled


def broken_rule(value: Any, takes: Ruled) -> str:
    """What rule a value breaks, in words, or nothing."""
    for name, rule in takes.rules:
        if not _RULES[name](value, rule):
            unit = " items" if isinstance(value, list | tuple | dict | set | frozenset) else " characters"
            return f"must {_RULE_WORDS[name]} {rule}" + (unit if name.endswith("length") else "")
    return ""


_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, rule: value is None or value > rule,
    "ge": lambda value, rule: value is None or value >= rule,
    "lt": lambda value, rule: value is None or value < rule,
    "le": lambda value, rule: value is None or value <= rule,
    "multiple_of": lambda value, rule: value is None or value % rule == 0,
    "pattern": lambda value, rule: value is None or re.search(rule, value) is not None,
    "min_length": lambda value, rule: value is None or len(value) >= rule,
    "max_length": lambda value, rule: value is None or len(value) <= rule,
}
_RULE_WORDS = {
    "gt": "be more than",
    "ge": "be at least",
    "lt": "be less than",
    "le": "be at most",
    "multiple_of": "be a multiple of",
    "pattern": "match the pattern",
    "min_length": "have at least",
    "max_length": "have at most",
}


def describe(takes: Ruled) -> str:
    """What a shape takes, in words for messages and docs."""
    kind = takes.shape
    if isinstance(kind, shape.Plain):
        return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind.type]
    if isinstance(kind, shape.Parsed):
        words = {
            "Duration": "a duration",
            "ByteSize": "a size",
            "Regex": "a regular expression",
            "Secret": "a secret",
            "ExtensionID": "an extension's id",
            "ComponentID": "a component's id",
            "PipelineID": "a pipeline's name",
        }
        own = getattr(kind.type, "described", "")  # a type may bring its own
        return own or words.get(name := str(kind.type.__name__), name)
    if isinstance(kind, shape.Choice):
        return " or ".join(f'"{value}"' for value in kind.values)
    if isinstance(kind, shape.OneOf):
        return " or ".join(describe(option) for option in kind.options)
    if isinstance(kind, shape.Items):
        return f"a list of {describe(kind.item)}"
    if isinstance(kind, shape.Keyed):
        return f"a map of {describe(kind.value)}"
    return {"Nothing": "nothing", "AnyValue": "anything", "Fixed": "a list", "Block": "a map"}[type(kind).__name__]
