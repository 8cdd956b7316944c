"""The effective configuration as plain data, without its secrets."""

import enum
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from hawse.component import Kind
from hawse.config import shape
from hawse.config.configuration import SECTIONS, Configuration
from hawse.config.nearest import nearest
from hawse.config.settings import Service
from hawse.config.tree import Node
from hawse.values import Duration, Secret

REDACTED = "[REDACTED]"
_SENSITIVE = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|credential|api_?key|access_?key|private|auth|cookie", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def show(root: Node, configuration: Configuration, *, defaults: bool = False) -> dict[str, Any]:
    """The document as merged and expanded; with `defaults`, every key of what could be decoded.

    Values of fields that are secrets by type are redacted. Where the type is not known (unknown components and keys),
    so is whatever has a name like a secret's, and `${…}` is shown as written.
    """
    result: dict[str, Any] = {}
    for section, node in root.entries.items():
        if section == "service":
            result[section] = _service(node, configuration, defaults=defaults)
        elif section in SECTIONS:
            result[section] = {
                id_: _component(child, configuration, SECTIONS[section], id_, defaults=defaults)
                for id_, child in node.entries.items()
            }
        else:
            result[section] = _unknown(node, section)
    return result


def _service(node: Node, configuration: Configuration, *, defaults: bool) -> Any:
    if defaults and configuration.service is not None:
        return plain(configuration.service)
    return _known(node, shape.Ruled(shape.block(Service)), "service")


def _component(node: Node, configuration: Configuration, kind: Kind, id_: str, *, defaults: bool) -> Any:
    found = configuration.components[kind].get(id_)
    if found is None or found.factory is None:
        return _unknown(node, id_)
    if defaults and found.config is not None:
        return plain(found.config)
    return _known(node, shape.Ruled(shape.block(found.factory.config)), id_) or {}


def plain(value: Any) -> Any:
    """A decoded value as dicts, lists and scalars, secrets redacted."""
    if isinstance(value, Secret):
        return REDACTED if value.reveal() else ""  # one that is not set is none
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, str):
        return _USERINFO.sub(REDACTED, str.__str__(value))
    if isinstance(value, msgspec.Struct):
        # What is None is left out: written as an empty value, it would switch a section on.
        fields = {name: getattr(value, field.attribute) for name, field in shape.block(type(value)).fields.items()}
        return {name: plain(item) for name, item in fields.items() if item is not None}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _known(node: Node, takes: shape.Ruled, name: str) -> Any:
    """A node whose type is known, however wrong its value may be."""
    if any(isinstance(option.shape, shape.Parsed) and option.shape.secret for option in takes.options):
        return None if node.value is None else REDACTED
    if isinstance(node.value, dict):
        return {key: _entry(child, takes, key) for key, child in node.value.items()}
    if isinstance(node.value, list):
        items = [option.shape.item for option in takes.options if isinstance(option.shape, shape.Items)]
        return [_known(child, items[0], name) if items else _unknown(child, name) for child in node.value]
    if any(isinstance(option.shape, shape.AnyValue) for option in takes.options):
        return _unknown(node, name)
    return plain(node.value)


def _entry(child: Node, takes: shape.Ruled, key: str) -> Any:
    for option in takes.options:
        if isinstance(option.shape, shape.Block) and key in option.shape.fields:
            return _known(child, option.shape.fields[key].takes, key)
        if isinstance(option.shape, shape.Keyed):
            return _known(child, option.shape.value, key)
    # A misspelt key may be that of a secret.
    near = nearest(key, [name for name, secret in _siblings(takes) if secret])
    return _unknown(child, near[0] if near else key, secret=bool(near))


def _siblings(takes: shape.Ruled) -> Iterator[tuple[str, bool]]:
    """The keys of a block, and whether they hold secrets."""
    for option in takes.options:
        if isinstance(option.shape, shape.Block):
            for name, field in option.shape.fields.items():
                yield name, _holds_secrets(field.takes)


def _holds_secrets(takes: shape.Ruled) -> bool:
    return any(
        (isinstance(option.shape, shape.Parsed) and option.shape.secret)
        or (isinstance(option.shape, shape.Items) and _holds_secrets(option.shape.item))
        or (isinstance(option.shape, shape.Keyed) and _holds_secrets(option.shape.value))
        for option in takes.options
    )


def _unknown(node: Node, name: str, *, secret: bool = False) -> Any:
    if isinstance(node.value, dict):
        return {key: _unknown(child, key, secret=secret) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [_unknown(child, name, secret=secret) for child in node.value]
    if node.value is not None and (secret or _SENSITIVE.search(name)):
        return REDACTED
    return node.origin or plain(node.value)
