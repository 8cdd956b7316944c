"""The `resource` processor: sets, changes and removes resource attributes, as OpenTelemetry's does."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta

from hawse import component
from hawse.batch import AttributeValue, Batch, Remembered, Resource
from hawse.codecs.otlp_records import as_text
from hawse.component import Consumer, Context, Problem, ProcessorFactory, Refused, Section, no_needs
from hawse.values import Regex
from hawse.wire import WireError


class Action(Section, frozen=True):
    """One change.

    `insert` (where the key is missing), `update` (where it is there) and `upsert` (both) take `value`, or the value
    of `from_attribute`, or else `default_value`. `delete` and `hash` (SHA-1, hexadecimal) take `key`, `pattern` or
    both; `extract` sets what the named groups of `pattern` find in the value of `key`; `convert` changes its type.
    """

    action: Literal["insert", "update", "upsert", "delete", "hash", "extract", "convert"]
    key: str = ""
    value: Any = None
    from_attribute: str = ""
    default_value: Any = None
    pattern: Annotated[
        Regex | None, Meta(description="Of whole keys for delete and hash, of the value for extract.")
    ] = None
    converted_type: Literal["int", "double", "string", ""] = ""

    def problems(self) -> Iterator[Problem]:
        if not self.key and not (self.pattern and self.action in {"delete", "hash"}):
            yield Problem("key", f"{self.action} needs a key", "name the attribute")
        if self.action in {"insert", "update", "upsert"}:
            given = [self.value is not None, bool(self.from_attribute)]
            if not any((*given, self.default_value is not None)):
                yield Problem("value", f"{self.action} needs a value", "set value or from_attribute")
            for name in ("value", "default_value"):
                if not _writable(getattr(self, name)):
                    yield Problem(name, "is no attribute value", "use text, a boolean, a number, a list or a map")
            if all(given):
                yield Problem("from_attribute", "value is set as well", "remove one of them")
        if self.action == "extract" and not (self.pattern and self.pattern.compiled.groupindex):
            yield Problem("pattern", "extract needs a pattern with named groups", 'such as "^(?P<app>[^-]+)"')
        if (self.action == "convert") != bool(self.converted_type):
            yield Problem("converted_type", "goes with action: convert", "set both or neither")


def _writable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _writable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_writable, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str | float | bytes)


class Config(component.Config, frozen=True):
    """The changes, in order."""

    attributes: Annotated[tuple[Action, ...], Meta(min_length=1)]


Attributes = dict[str, AttributeValue]


def apply(action: Action, attributes: Attributes) -> None:
    """Change the attributes in place."""
    _ACTIONS[action.action](action, attributes)


def _put(action: Action, attributes: Attributes) -> None:
    present = action.key in attributes
    if present == (action.action == "insert") and action.action != "upsert":
        return
    value = action.value if action.value is not None else attributes.get(action.from_attribute)
    if value is None:
        value = action.default_value
    if value is not None:
        attributes[action.key] = value


def _matching(action: Action, attributes: Attributes) -> list[str]:
    pattern = action.pattern.compiled if action.pattern else None
    return [key for key in attributes if key == action.key or (pattern is not None and pattern.search(key))]


def _delete(action: Action, attributes: Attributes) -> None:
    for key in _matching(action, attributes):
        del attributes[key]


def _hash(action: Action, attributes: Attributes) -> None:
    for key in _matching(action, attributes):
        text = as_text(attributes[key]).encode("utf-8", "replace")
        attributes[key] = hashlib.sha1(text, usedforsecurity=False).hexdigest()


def _extract(action: Action, attributes: Attributes) -> None:
    value = attributes.get(action.key)
    if isinstance(value, str) and action.pattern is not None:
        match = action.pattern.compiled.search(value)
        if match:
            attributes.update({name: text or "" for name, text in match.groupdict().items()})


def _convert(action: Action, attributes: Attributes) -> None:
    """What cannot be converted stays as it is."""
    value = attributes.get(action.key)
    if value is None:
        return
    try:
        if action.converted_type == "string":
            attributes[action.key] = as_text(value)
        elif action.converted_type == "int" and isinstance(value, str | bool | int | float):
            number = int(value)
            if -(2**63) <= number < 2**63:
                attributes[action.key] = number
        elif isinstance(value, str | bool | int | float):
            attributes[action.key] = float(value)
    except (ValueError, OverflowError):
        pass


_ACTIONS: dict[str, Callable[[Action, Attributes], None]] = {
    "insert": _put,
    "update": _put,
    "upsert": _put,
    "delete": _delete,
    "hash": _hash,
    "extract": _extract,
    "convert": _convert,
}


class ResourceProcessor(component.Processor):
    """Changes resources; one is worked out once and remembered by its bytes. Records are never looked at."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:  # noqa: ARG002
        self._config = config
        self._output = output
        self._changed = Remembered(self._change)

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        try:
            groups = [group.with_resource(self._changed(group.resource)) for group in batch.groups]
        except WireError as error:
            raise Refused(f"malformed resource attributes: {error}", "malformed") from None
        await self._output.consume(batch.with_groups(groups))

    def _change(self, resource: Resource) -> Resource:
        before = resource.attributes
        after = dict(before)
        for action in self._config.attributes:
            apply(action, after)
        changed = {
            key: value
            for key, value in after.items()
            if key not in before or type(value) is not type(before[key]) or value != before[key]
        }
        return resource.replaced(changed, [key for key in before if key not in after])


factory = ProcessorFactory("resource", Config, ResourceProcessor, needs=no_needs)
