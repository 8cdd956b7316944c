"""What a relabel rule is written as, and what Prometheus refuses of it.

prometheus.io/docs/prometheus/latest/configuration, "relabel_config".
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta

from hawse.component import Problem, Section
from hawse.prometheus.values import Pattern, Text

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
