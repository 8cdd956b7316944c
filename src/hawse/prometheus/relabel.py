"""Relabelling: rules that keep, drop and rewrite sets of labels, as Prometheus applies them.

prometheus.io/docs/prometheus/latest/configuration, "relabel_config". A set of labels is a dict; a label that is not
there and one with an empty value are the same, so setting a label to "" removes it.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Self

import msgspec
from msgspec import Meta

from hawse.component import Problem, Section
from hawse.prometheus.matching import matcher, template
from hawse.prometheus.values import Pattern, Text

Labels = dict[str, str]
Rule = Callable[[Labels], bool]  # changes the labels; False drops them

ACTIONS = (
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
)
_DEFAULT_REGEX, _DEFAULT_REPLACEMENT = "(.*)", "$1"
_LEGACY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# Possessive, for it is matched against what tenants write.
_LEGACY_TEMPLATE = re.compile(r"(?:[a-zA-Z_]|\$(?:\{\w++\}|\w++))(?:\w|\$(?:\{\w++\}|\w++))*+", re.ASCII)


def valid_name(name: str, scheme: str = "utf8") -> bool:
    """Whether a label may have this name: under "utf8" any text, under "legacy" letters, digits and underscores."""
    if scheme == "legacy":
        return _LEGACY_NAME.fullmatch(name) is not None
    return bool(name) and is_utf8(name)


def is_utf8(text: str) -> bool:
    """Whether it can be written; half of a surrogate pair, out of JSON, cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Action(str):
    """What a rule does. Upper case is the same as lower case, as in Prometheus."""

    __slots__ = ()
    described = " or ".join(f'"{action}"' for action in ACTIONS)
    schema: ClassVar[dict[str, Any]] = {"type": "string", "enum": list(ACTIONS)}

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Take the user's word; raise ValueError for one that is none of ACTIONS."""
        if isinstance(value, str) and value.lower() in ACTIONS:
            return cls(value.lower())
        raise ValueError(f"unknown relabel action {value!r}; write one of {', '.join(ACTIONS)}")


class RelabelConfig(Section, frozen=True):
    """One rule.

    `replace`, `keep`, `drop` and `hashmod` look at the values of `source_labels`, joined by `separator`; `labelmap`,
    `labeldrop` and `labelkeep` at the names of all labels.
    """

    source_labels: tuple[str, ...] = ()
    separator: Text = Text(";")
    regex: Annotated[Pattern, Meta(description="RE2, must match from beginning to end.")] = Pattern.parse(
        _DEFAULT_REGEX
    )
    modulus: Annotated[int, Meta(ge=0)] = 0
    target_label: str = ""
    replacement: Text = Text(_DEFAULT_REPLACEMENT)
    action: Action = Action("replace")

    def problems(self) -> Iterator[Problem]:
        yield from self.problems_under("utf8")

    def problems_under(self, scheme: str) -> Iterator[Problem]:
        """What Prometheus refuses, with `metric_name_validation_scheme` ("utf8" or "legacy")."""
        action, target = self.action, self.target_label
        if action == "hashmod" and not self.modulus:
            yield Problem("modulus", "relabel configuration for hashmod requires non-zero modulus", "set modulus")
        if action in _TARGETED and not target:
            yield Problem("target_label", f"the {action} action requires target_label", "set target_label")
        elif action in _TARGETED and not self._target_fits(scheme):
            fix = "names are letters, digits and underscores, and do not begin with a digit"
            yield Problem("target_label", f'"{target}" is invalid target_label for the {action} action', fix)
        if action == "labelmap" and not _template_fits(str(self.replacement), scheme):
            yield Problem("replacement", f'"{self.replacement}" is invalid replacement for the labelmap action')
        for key in self._superfluous():
            yield Problem(key, f"{key} can not be set for the {action} action", f"remove {key}")

    def _target_fits(self, scheme: str) -> bool:
        if self.action == "replace" and "$" in self.target_label:
            return _template_fits(self.target_label, scheme)
        return valid_name(self.target_label, scheme)

    def _superfluous(self) -> Iterator[str]:
        allowed = _ONLY.get(self.action)
        for key in ("source_labels", "target_label", "regex", "separator", "modulus", "replacement"):
            if allowed is not None and key not in allowed and getattr(self, key) != getattr(_DEFAULT, key):
                yield key


_TARGETED = frozenset({"replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"})
_NAMES_ONLY = ("regex",)
_EQUAL_ONLY = ("source_labels", "target_label")
_CASE_ONLY = ("source_labels", "target_label", "regex", "separator", "modulus")
_ONLY = {
    "keepequal": _EQUAL_ONLY,
    "dropequal": _EQUAL_ONLY,
    "labeldrop": _NAMES_ONLY,
    "labelkeep": _NAMES_ONLY,
    "lowercase": _CASE_ONLY,
    "uppercase": _CASE_ONLY,
}
_DEFAULT = RelabelConfig()


def _template_fits(text: str, scheme: str) -> bool:
    return _LEGACY_TEMPLATE.fullmatch(text) is not None if scheme == "legacy" else valid_name(text)


class Step(msgspec.Struct, frozen=True):
    """What one rule did. `after` is None where it dropped the labels; `matched` whether it did anything at all."""

    rule: int
    config: RelabelConfig
    before: Labels
    after: Labels | None
    matched: bool


class Relabel:
    """Rules in their order. Calling it is the hot path; it keeps nothing but a memory of answers."""

    def __init__(self, configs: Sequence[RelabelConfig], scheme: str = "utf8") -> None:
        self.configs = tuple(configs)
        self._rules = tuple(_RULES[config.action](config, scheme) for config in self.configs)

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    def __call__(self, labels: Labels) -> Labels | None:
        """The labels after all rules, None where one of them dropped them. Changes its argument."""
        for rule in self._rules:
            if not rule(labels):
                return None
        return labels

    def apply(self, labels: Labels) -> int:
        """Change the labels; the number of the rule that drops them, -1 for none."""
        for number, rule in enumerate(self._rules):
            if not rule(labels):
                return number
        return -1

    def explain(self, labels: Labels) -> list[Step]:
        """What each rule does, up to the one that drops. Leaves its argument alone."""
        steps = []
        after: Labels = dict(labels)
        for number, (config, rule) in enumerate(zip(self.configs, self._rules, strict=True)):
            before, after = after, dict(after)
            kept = rule(after)
            steps.append(Step(number, config, before, after if kept else None, not kept or before != after))
            if not kept:
                break
        return steps


def compiled(configs: Sequence[RelabelConfig], scheme: str = "utf8") -> Relabel:
    """Rules made ready. `scheme` is the job's `metric_name_validation_scheme`."""
    return Relabel(configs, scheme)


# --- one function for each action -------------------------------------------------------------------------------------


def _source(config: RelabelConfig) -> Callable[[Labels], str]:
    names, separator = config.source_labels, str(config.separator)
    if len(names) == 1:
        name = names[0]
        return lambda labels: labels.get(name, "")
    return lambda labels: separator.join([labels.get(name, "") for name in names])


def _set(labels: Labels, name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _replace(config: RelabelConfig, scheme: str) -> Rule:
    source, found = _source(config), matcher(config.regex)
    groups = found.groups
    expand = template(str(config.replacement), found.names)
    target_of = template(config.target_label, found.names)
    fixed = "$" not in config.target_label
    target = config.target_label

    def rule(labels: Labels) -> bool:
        taken = groups(source(labels))
        if taken is None:
            return True
        name = target if fixed else target_of(taken)
        if fixed or valid_name(name, scheme):
            _set(labels, name, expand(taken))
        return True

    return rule


def _keep(config: RelabelConfig, _scheme: str) -> Rule:
    source, test = _source(config), matcher(config.regex).test
    return lambda labels: test(source(labels))


def _drop(config: RelabelConfig, _scheme: str) -> Rule:
    source, test = _source(config), matcher(config.regex).test
    return lambda labels: not test(source(labels))


def _keepequal(config: RelabelConfig, _scheme: str) -> Rule:
    source, target = _source(config), config.target_label
    return lambda labels: labels.get(target, "") == source(labels)


def _dropequal(config: RelabelConfig, _scheme: str) -> Rule:
    source, target = _source(config), config.target_label
    return lambda labels: labels.get(target, "") != source(labels)


def _hashmod(config: RelabelConfig, _scheme: str) -> Rule:
    """The last eight bytes of the MD5, as a number, modulo `modulus`. It spreads targets, and guards nothing."""
    source, target, modulus = _source(config), config.target_label, config.modulus

    def rule(labels: Labels) -> bool:
        value = source(labels).encode("utf-8", "surrogatepass")
        digest = hashlib.md5(value, usedforsecurity=False).digest()
        labels[target] = str(int.from_bytes(digest[8:], "big") % modulus)
        return True

    return rule


def _labelmap(config: RelabelConfig, _scheme: str) -> Rule:
    found = matcher(config.regex)
    groups, expand = found.groups, template(str(config.replacement), found.names)

    def rule(labels: Labels) -> bool:
        # Of several labels that map to one name the last in the order of their names counts.
        made = {}
        for name in sorted(labels):
            taken = groups(name)
            if taken is not None:
                made[expand(taken)] = labels[name]
        made.pop("", None)
        labels.update(made)
        return True

    return rule


def _labeldrop(config: RelabelConfig, _scheme: str) -> Rule:
    test = matcher(config.regex).test

    def rule(labels: Labels) -> bool:
        for name in [name for name in labels if test(name)]:
            del labels[name]
        return True

    return rule


def _labelkeep(config: RelabelConfig, _scheme: str) -> Rule:
    test = matcher(config.regex).test

    def rule(labels: Labels) -> bool:
        for name in [name for name in labels if not test(name)]:
            del labels[name]
        return True

    return rule


def _case(change: Callable[[str], str]) -> Callable[[RelabelConfig, str], Rule]:
    def make(config: RelabelConfig, _scheme: str) -> Rule:
        source, target = _source(config), config.target_label

        def rule(labels: Labels) -> bool:
            value = source(labels)
            _set(labels, target, change(value) if value.isascii() else "".join([_one(c, change) for c in value]))
            return True

        return rule

    return make


def _one(character: str, change: Callable[[str], str]) -> str:
    """One character's other case, where that is one character: Go knows no others (`ß` stays)."""
    if character == "İ":
        return "i" if change is str.lower else character
    changed = change(character)
    if len(changed) == 1:
        return changed
    title = character.title()
    return title if len(title) == 1 else character


_RULES: dict[str, Callable[[RelabelConfig, str], Rule]] = {
    "replace": _replace,
    "keep": _keep,
    "drop": _drop,
    "keepequal": _keepequal,
    "dropequal": _dropequal,
    "hashmod": _hashmod,
    "labelmap": _labelmap,
    "labeldrop": _labeldrop,
    "labelkeep": _labelkeep,
    "lowercase": _case(str.lower),
    "uppercase": _case(str.upper),
}
