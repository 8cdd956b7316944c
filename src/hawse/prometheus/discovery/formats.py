"""Groups as files and HTTP discovery have them: `[{"targets": ["host:port"], "labels": {"name": "value"}}]`."""

from collections.abc import Iterable, Sequence

import msgspec

from hawse.diagnostics import HawseError
from hawse.prometheus.decoding import decoded_yaml
from hawse.prometheus.sd_settings import StaticConfig
from hawse.prometheus.targets import TargetGroup


class FormatError(ValueError):
    """Not a list of groups; says where and what."""


class _Group(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    targets: list[str] | None = None
    labels: dict[str, str] | None = None


_json = msgspec.json.Decoder(list[_Group])


def from_json(body: bytes | bytearray, source: str, labels: dict[str, str]) -> dict[str, TargetGroup]:
    """Groups by their source (`source` and a number); each gets `labels` too. Raises FormatError."""
    try:
        groups = _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(str(error)) from None
    pairs = [(group.targets or (), group.labels or {}) for group in groups]
    return _made(pairs, source, labels)


def from_yaml(body: bytes, file: str, labels: dict[str, str]) -> dict[str, TargetGroup]:
    """The same out of YAML."""
    try:
        groups = decoded_yaml(body, tuple[StaticConfig, ...], file)
    except HawseError as error:
        raise FormatError("; ".join(str(finding) for finding in error.findings[:3])) from None
    pairs = [(group.targets, {name: str(value) for name, value in group.labels.items()}) for group in groups]
    return _made(pairs, file, labels)


def _made(
    pairs: Sequence[tuple[Iterable[str], dict[str, str]]], source: str, labels: dict[str, str]
) -> dict[str, TargetGroup]:
    made = {}
    for number, (targets, own) in enumerate(pairs):
        name = f"{source}:{number}"
        found = tuple({"__address__": target} for target in targets)
        made[name] = TargetGroup(name, found, {**own, **labels})
    return made
