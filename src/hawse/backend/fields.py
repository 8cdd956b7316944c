"""Fields of a record by name, as searches ask for them.

A name means, in this order: `source` (see reader.source), one of the record's own (`body`, `severity_text`,
`trace_id`, …), a resource attribute, a record attribute, a key of the body where that is a JSON object.
`resource.attributes.NAME`, `attributes.NAME` and `body.KEY` ask for exactly one of these.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from hawse.backend.columns import Columns, Extra

RECORD = (
    "body",
    "severity_text",
    "severity_number",
    "trace_id",
    "span_id",
    "event_name",
    "scope.name",
    "scope.version",
)
_OF_RESOURCE = "resource.attributes."
_OF_RECORD = "attributes."
_OF_BODY = "body."


def text(value: Any) -> str:
    """A value as searches see it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def of_resource(name: str, attributes: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether the resource settles the field for all its records, and its value (None: none of them has it)."""
    if name.startswith(_OF_RESOURCE):
        value = attributes.get(name.removeprefix(_OF_RESOURCE))
        return True, None if value is None else text(value)
    if name in RECORD or name.startswith((_OF_RECORD, _OF_BODY)):
        return False, None
    if name in attributes:
        return True, text(attributes[name])
    return False, None


def of_record(name: str, columns: Columns, index: int) -> str | None:
    """The value of a field that the resource does not settle; None where the record has no such field."""
    if name == "body":
        return columns.bodies[index].decode("utf-8", "replace")
    extra = columns.others(index)
    if name in RECORD:
        return _own(name, extra)
    if name.startswith(_OF_BODY):
        return _of_body(name.removeprefix(_OF_BODY), columns.bodies[index])
    if name.startswith(_OF_RECORD):
        value = extra.attributes.get(name.removeprefix(_OF_RECORD))
        return None if value is None else text(value)
    value = extra.attributes.get(name)
    return _of_body(name, columns.bodies[index]) if value is None else text(value)


def _own(name: str, extra: Extra) -> str | None:
    value = getattr(extra, name.replace(".", "_"))
    return str(value) if value else None


def _of_body(key: str, body: bytes) -> str | None:
    if body[:1] != b"{" or (b"\\" not in body and key.partition(".")[0].encode() not in body):
        return None  # without parsing it
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if key in found:
        return text(found[key])
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return text(found)
