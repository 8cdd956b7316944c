"""The JSON Schema agrees with the decoder: what runs is valid, and what is misspelt is not."""

import re
from pathlib import Path

import pytest

from hawse.config.load import load
from hawse.config.reader import read_yaml
from hawse.config.schema import schema
from hawse.registry import Registry

ROLES = sorted(Path(load.__code__.co_filename).parents[1].glob("roles/*.yaml"))
TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float),
}  # fmt: skip


class Validator:
    """As much of JSON Schema as ours uses; a keyword that it does not know fails the test."""

    KNOWN = {
        "$schema", "$defs", "title", "description", "default", "format", "type", "properties", "required", "items",
        "additionalProperties", "patternProperties", "minProperties", "maxProperties", "minItems", "maxItems", "prefixItems",
        "enum", "anyOf", "$ref", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength",
    }  # fmt: skip

    def __init__(self, root):
        self.root = root

    def errors(self, value, rule, path="$"):
        assert set(rule) <= self.KNOWN, set(rule) - self.KNOWN
        if "$ref" in rule:
            yield from self.errors(value, self.root["$defs"][rule["$ref"].removeprefix("#/$defs/")], path)
        if "anyOf" in rule and all(any(True for _ in self.errors(value, one, path)) for one in rule["anyOf"]):
            yield path
        if "enum" in rule and value not in rule["enum"]:
            yield path
        if "type" in rule:
            wanted = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
            if not any(
                isinstance(value, TYPES[one]) and (one == "boolean") == isinstance(value, bool) for one in wanted
            ):
                yield path
                return
        if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
            yield path
        if isinstance(value, int | float) and not isinstance(value, bool):
            if value < rule.get("minimum", value) or value > rule.get("maximum", value):
                yield path
        if isinstance(value, list):
            if len(value) < rule.get("minItems", 0):
                yield path
            for number, item in enumerate(value):
                yield from self.errors(item, rule.get("items", {}), f"{path}[{number}]")
        if isinstance(value, dict):
            yield from self.entries(value, rule, path)

    def entries(self, value, rule, path):
        if len(value) < rule.get("minProperties", 0):
            yield path
        yield from (f"{path}.{key}" for key in rule.get("required", ()) if key not in value)
        for key, item in value.items():
            rules = [rule.get("properties", {})[key]] if key in rule.get("properties", {}) else []
            rules += [one for pattern, one in rule.get("patternProperties", {}).items() if re.search(pattern, key)]
            extra = rule.get("additionalProperties", {})
            if not rules and extra is False:
                yield f"{path}.{key}"
            for one in rules or ([extra] if extra else []):
                yield from self.errors(item, one, f"{path}.{key}")


@pytest.fixture(scope="module")
def errors():
    made = schema(Registry())
    return lambda document: list(Validator(made).errors(document, made))


@pytest.mark.parametrize("role", ROLES, ids=lambda path: path.stem)
def test_roles_are_valid_as_written_with_their_references(errors, role):
    findings = []
    document = read_yaml(role.read_text(), str(role), findings).plain()
    assert findings == []
    assert errors(document) == []


GOOD = {
    "receivers": {"otlp/a": {"protocols": {"http": None}}},
    "exporters": {"debug": None, "otlphttp": {"endpoint": "http://x", "timeout": "5s", "retry_on_failure": {"enabled": False}}},
    "service": {"pipelines": {"logs/a": {"receivers": ["otlp/a"], "exporters": ["debug"]}}, "drain_timeout": 0},
}  # fmt: skip


def test_what_is_wrong(errors):
    assert errors(GOOD) == []
    for path, change in (
        ("$.exporters.otlphttp.endpont", lambda document: document["exporters"]["otlphttp"].update(endpont=1)),
        ("$.receivers.otpl", lambda document: document["receivers"].update(otpl=None)),
        ("$.service.pipelines.log", lambda document: document["service"]["pipelines"].update(log={})),
        ("$.service.pipelines", lambda document: document["service"].update(pipelines={})),
        ("$.exporters.otlphttp.timeout", lambda document: document["exporters"]["otlphttp"].update(timeout="soon")),
        ("$.processor", lambda document: document.update(processor={})),
    ):
        document = {key: {**value} for key, value in GOOD.items()}
        document["exporters"]["otlphttp"] = {**document["exporters"]["otlphttp"]}
        document["service"]["pipelines"] = {**document["service"]["pipelines"]}
        change(document)
        found = errors(document)
        assert found
        assert any(one == path or path.startswith(one) for one in found), (path, found)
