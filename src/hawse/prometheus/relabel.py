"""Relabelling: rules that keep, drop and rewrite sets of labels, as Prometheus applies them."""

from collections.abc import Sequence

import msgspec

from hawse.prometheus.actions import Labels, made_ready
from hawse.prometheus.relabel_config import Action, RelabelConfig, is_utf8, valid_name

__all__ = ["Action", "Labels", "Relabel", "RelabelConfig", "Step", "compiled", "is_utf8", "valid_name"]


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
        self._rules = tuple(made_ready(config, scheme) for config in self.configs)

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
