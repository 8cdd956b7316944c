"""From the labels that a target exposes to those that its series get, as Prometheus' scrape loop does it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from hawse.codecs.exposition.errors import ExpositionError, LimitExceeded
from hawse.wire import encode_attribute, field

Relabel: TypeAlias = Callable[[dict[str, str]], "dict[str, str] | None"]


class Limits(msgspec.Struct, frozen=True):
    """What a target may expose at most; 0 is no limit. Named as in Prometheus' scrape configuration."""

    sample: int = 0
    label: int = 0
    label_name_length: int = 0
    label_value_length: int = 0
    bucket: int = 0


class Key(NamedTuple):
    """What makes a Resource of a target: job, instance, the values of the resource labels ("" where there is none)."""

    job: str
    instance: str
    others: tuple[str, ...]


class Series(NamedTuple):
    """A series as it is kept: its group, its name, and its other labels, sorted by name."""

    key: Key
    name: str
    labels: tuple[tuple[str, str], ...]


class Labelling:
    """Merges target labels, relabels and checks limits."""

    def __init__(
        self,
        labels: Mapping[str, str],
        relabel: Relabel | None,
        limits: Limits,
        resource_labels: Mapping[str, str],
        *,
        honor_labels: bool,
    ) -> None:
        """`resource_labels` are those that choose a series' Resource (their keys)."""
        self._target = {name: value for name, value in labels.items() if value}
        self._relabel = relabel
        self._limits = limits
        self._any_label_limit = bool(limits.label or limits.label_name_length or limits.label_value_length)
        self._resource = tuple(resource_labels)
        self._honor = honor_labels
        self._encoded: dict[tuple[str, str, int], bytes] = {}

    def series(self, name: str, exposed: list[tuple[str, str]]) -> Series | None:
        """The series that a sample belongs to; None where it is dropped. Raises ExpositionError, LimitExceeded."""
        found = dict(exposed)
        if len(found) != len(exposed):
            twice = next(label for number, (label, _) in enumerate(exposed) if label in dict(exposed[:number]))
            raise ExpositionError(f"the label {twice!r} of {name!r} is there twice")
        merged = self._merged(found)
        merged["__name__"] = name
        if self._relabel is not None:
            kept = self._relabel(merged)
            if not kept:
                return None
            merged = kept
        if self._any_label_limit:
            self._check(merged)
        return self._made(merged)

    def own(self, name: str) -> Series:
        """A series of the scrape itself (`up`): the target's labels only."""
        return self._made({"__name__": name, **self._target})

    def encoded(self, labels: tuple[tuple[str, str], ...], number: int) -> bytes:
        """Labels as repeated KeyValue in a field."""
        known = self._encoded
        if len(known) > 20_000:
            known.clear()
        parts = []
        for name, value in labels:
            part = known.get((name, value, number))
            if part is None:
                part = known[name, value, number] = field(number, encode_attribute(name, value))
            parts.append(part)
        return b"".join(parts)

    def forget(self) -> None:
        """Free what was kept for `encoded`."""
        self._encoded.clear()

    def _merged(self, exposed: dict[str, str]) -> dict[str, str]:
        target = self._target
        if self._honor:
            merged = {**target, **exposed}
        elif target.keys().isdisjoint(exposed):
            merged = {**exposed, **target}
        else:
            merged = {**exposed, **target}
            for name in sorted(target.keys() & exposed.keys(), key=len):
                if value := exposed[name]:
                    renamed = "exported_" + name
                    while renamed in merged:
                        renamed = "exported_" + renamed
                    merged[renamed] = value
        return {name: value for name, value in merged.items() if value}

    def _check(self, labels: dict[str, str]) -> None:
        limits = self._limits
        name = labels.get("__name__", "")[:100]
        if limits.label and len(labels) > limits.label:
            raise LimitExceeded(f"label_limit: {name!r} has {len(labels)} labels, {limits.label} are allowed")
        for label, value in labels.items():
            if limits.label_name_length and len(label.encode()) > limits.label_name_length:
                raise LimitExceeded(
                    f"label_name_length_limit: a label name of {name!r} has {len(label.encode())} bytes, "
                    f"{limits.label_name_length} are allowed: {label[:50]!r}…"
                )
            if limits.label_value_length and len(value.encode()) > limits.label_value_length:
                raise LimitExceeded(
                    f"label_value_length_limit: the value of {label!r} of {name!r} has {len(value.encode())} bytes, "
                    f"{limits.label_value_length} are allowed"
                )

    def _made(self, labels: dict[str, str]) -> Series:
        name = labels.pop("__name__", "")
        if not name:
            raise ExpositionError("a series has no name behind metric_relabel_configs")
        key = Key(
            labels.pop("job", ""), labels.pop("instance", ""), tuple(labels.get(one, "") for one in self._resource)
        )
        return Series(key, name, tuple(sorted(labels.items())))
