"""What each action of a relabel rule does, compiled into a function of a set of labels.

A set of labels is a dict; a label that is not there and one with an empty value are the same, so setting a label to ""
removes it.
"""

import hashlib
from collections.abc import Callable

from hawse.prometheus.matching import matcher, template
from hawse.prometheus.relabel_config import RelabelConfig, valid_name

Labels = dict[str, str]
Rule = Callable[[Labels], bool]  # changes the labels; False drops them


def made_ready(config: RelabelConfig, scheme: str) -> Rule:
    """A rule that can be called. `scheme` says which names are valid ("utf8" or "legacy")."""
    return _RULES[config.action](config, scheme)


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
