"""JSON Schema (draft 2020-12) of configuration files: what editors complete and check by."""

import inspect
import re
import sys
from typing import Any

import msgspec

from hawse.component import Empty, Factory, Kind
from hawse.config import shape
from hawse.config.configuration import SECTIONS, Factories
from hawse.config.settings import Pipeline, Service
from hawse.config.show import plain
from hawse.values import ByteSize, ComponentID, Duration, Regex, Secret

_TYPED = ("integer", "number", "boolean", "array", "object")
_REFERENCE = {"type": "string", "pattern": r"\$\{[\s\S]+\}"}  # its default may have several lines
_PARSED: dict[type, dict[str, Any]] = {
    Duration: {"type": ["string", "integer"], "pattern": r"^(0|([0-9.]+(ns|us|µs|ms|s|m|h|d))+|.*\$\{.+\}.*)$"},
    ByteSize: {"type": ["integer", "string"], "minimum": 0},
    Secret: {"type": "string"},
    Regex: {"type": "string", "format": "regex"},
    ComponentID: {"type": "string"},
}


def schema(factories: Factories) -> dict[str, Any]:
    """The schema of a whole document, with all components that the factories know."""
    definitions: dict[str, Any] = {}
    properties = {
        section: {
            "type": ["object", "null"],
            "description": f"The {section} by id: type, or type/name.",
            "patternProperties": {
                f"^{re.escape(type_)}(/.+)?$": _component(factories, kind, type_, definitions)
                for type_ in factories.types(kind)
            },
            "additionalProperties": False,
        }
        for section, kind in SECTIONS.items()
    }
    service = _block(shape.block(Service), definitions)
    service["properties"]["pipelines"] = {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {"^(logs|metrics|traces)(/.+)?$": _block(shape.block(Pipeline), definitions)},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hawse configuration",
        "type": "object",
        "properties": {**properties, "service": service},
        "additionalProperties": False,
        "$defs": definitions,
    }


def _component(factories: Factories, kind: Kind, type_: str, definitions: dict[str, Any]) -> dict[str, Any]:
    factory = factories.factory(kind, type_)
    assert factory is not None
    name = f"{kind}.{type_}"
    made = _block(shape.block(factory.config), definitions)
    made["description"] = summary(factory)
    definitions[name] = {"anyOf": [made, {"type": "null"}]} if not made.get("required") else made
    return {"$ref": f"#/$defs/{name}"}


def component_schema(config: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one component's settings."""
    definitions: dict[str, Any] = {}
    made = _block(shape.block(config), definitions)
    return {**made, "$defs": definitions} if definitions else made


def _block(kind: shape.Block, definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {}
    for name, field in kind.fields.items():
        made = of(field.takes, definitions)
        if not field.required:  # an empty value leaves the default
            made = {"anyOf": [made, {"type": "null"}]}
        if field.takes.description:
            made = {**made, "description": field.takes.description}
        if not field.required:
            made = {**made, "default": plain(field.make_default())}
        properties[name] = made
    required = [name for name, field in kind.fields.items() if field.required]
    result: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**result, "required": required} if required else result


def of(takes: shape.Ruled, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one shape. Structs are put into `definitions`, by the name of their class."""
    made = _of(takes.shape, definitions)
    counted = "Items" if made.get("type") == "array" else "Properties" if made.get("type") == "object" else ""
    for name, rule in takes.rules:
        key = shape.RULES[name]
        if counted and name in {"min_length", "max_length"}:
            key = key.replace("Length", counted)
        # A Duration's rules are on its seconds, which its text does not show.
        if not (isinstance(takes.shape, shape.Parsed) and issubclass(takes.shape.type, Duration)):
            made = {**made, key: rule}
    # A single ${…} may stand for a number, a choice, a whole list or map. (Of text it is a part like any other.)
    return {"anyOf": [made, _REFERENCE]} if made.get("type") in _TYPED or {"enum", "$ref"} & made.keys() else made


def _of(kind: shape.Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, shape.Plain):
        return {"type": {str: "string", int: "integer", float: "number", bool: "boolean"}[kind.type]}
    if isinstance(kind, shape.Parsed):
        own = getattr(kind.type, "schema", None)  # a type may bring its own
        known = (dict(made) for base, made in _PARSED.items() if issubclass(kind.type, base))
        return dict(own) if own else next(known, {"type": "string"})
    if isinstance(kind, shape.Choice):
        return {"enum": list(kind.values)}
    if isinstance(kind, shape.Items):
        return {"type": "array", "items": of(kind.item, definitions)}
    if isinstance(kind, shape.Fixed):
        items = [of(item, definitions) for item in kind.items]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if isinstance(kind, shape.Keyed):
        return {"type": "object", "additionalProperties": of(kind.value, definitions)}
    if isinstance(kind, shape.OneOf):
        return {"anyOf": [of(option, definitions) for option in kind.options]}
    if isinstance(kind, shape.Block):
        return _named(kind, definitions)
    return {"type": "null"} if isinstance(kind, shape.Nothing) else {}


def _named(kind: shape.Block, definitions: dict[str, Any]) -> dict[str, Any]:
    name = f"{kind.type.__module__.removeprefix('hawse.')}.{kind.type.__qualname__}"
    if name not in definitions:
        definitions[name] = {}  # stands in while the struct's own fields may refer to it
        definitions[name] = _block(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def documentation(factory: Factory[Any]) -> str:
    """What a component's file says of it at its top: users read that, the class's docstring is for developers."""
    module = factory.config.__module__ if factory.config is not Empty else factory.create.__module__
    return inspect.cleandoc(sys.modules[module].__doc__ or factory.create.__doc__ or "")


def summary(factory: Factory[Any]) -> str:
    """The first paragraph of it, on one line, without "The `type` receiver:", which stands beside it anyway."""
    text = " ".join(documentation(factory).partition("\n\n")[0].split())
    bare = re.sub(rf"^(The )?`?{re.escape(factory.type)}`?( {factory.kind})?: ", "", text)
    return bare[:1].upper() + bare[1:]
