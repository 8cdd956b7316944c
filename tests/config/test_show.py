"""`config show` and the JSON Schema."""

import json
from typing import Annotated

import msgspec
from msgspec import Meta

from hawse.component import Config, Exporter, ExporterFactory, Kind, Section, no_needs
from hawse.config.configuration import decode
from hawse.config.load import load
from hawse.config.schema import schema
from hawse.config.show import show
from hawse.values import Duration, Secret


class Auth(Section, frozen=True):
    user: str = ""
    password: Secret = Secret("")


class Settings(Config, frozen=True):
    endpoint: Annotated[str, Meta(description="Where to.")]
    token: Secret | None = None
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    timeout: Duration = Duration(90)
    auth: Auth | None = None
    count: Annotated[int, Meta(ge=1)] = 1


class Sink(Exporter):
    """Takes all.

    More of it.
    """


class Factories:
    def types(self, kind):
        return ["sink"] if kind is Kind.EXPORTER else []

    def factory(self, kind, type_):
        if kind is Kind.EXPORTER and type_ == "sink":
            return ExporterFactory("sink", Settings, Sink, needs=no_needs)
        return None


TEXT = """
exporters:
  sink:
    endpoint: http://me:hunter2@host/path
    token: ${env:TOKEN}
    headers: {Authorization: Bearer hunter2, X: "${env:TOKEN}"}
    auth: {user: me, password: hunter2, pasword: hunter2}
    count: none
  unknown: {password: hunter2, url: "${env:TOKEN}", nested: [{api_key: hunter2, plain: yes}]}
service:
  pipelines: {logs: {receivers: [a], exporters: [sink]}}
"""


def shown(text, *, defaults=False):
    loaded = load([f"yaml:{text}"], environ={"TOKEN": "hunter2"})
    findings = loaded.findings
    return show(loaded.root, decode(loaded.root, Factories(), findings), defaults=defaults), findings


def test_an_invalid_configuration_is_shown_without_its_secrets():
    result, findings = shown(TEXT)
    assert findings
    assert "hunter2" not in json.dumps(result)
    assert result["exporters"]["sink"]["endpoint"] == "http://[REDACTED]@host/path"
    assert result["exporters"]["sink"]["headers"] == {"Authorization": "[REDACTED]", "X": "[REDACTED]"}
    assert result["exporters"]["sink"]["auth"]["user"] == "me"
    assert result["exporters"]["sink"]["count"] == "none"
    assert result["exporters"]["unknown"]["url"] == "${env:TOKEN}"
    assert result["exporters"]["unknown"]["nested"][0]["plain"] == "yes"


def test_defaults():
    text = "exporters: {sink: {endpoint: 'http://h', token: hunter2}}"
    assert shown(text)[0] == {"exporters": {"sink": {"endpoint": "http://h", "token": "[REDACTED]"}}}
    assert shown(text, defaults=True)[0]["exporters"]["sink"] == {
        "endpoint": "http://h", "token": "[REDACTED]", "headers": {}, "timeout": "90s", "count": 1,
    }  # fmt: skip


def test_schema():
    made = schema(Factories())
    exporters = made["properties"]["exporters"]
    assert exporters["additionalProperties"] is False
    (pattern, reference) = next(iter(exporters["patternProperties"].items()))
    assert (pattern, reference) == ("^sink(/.+)?$", {"$ref": "#/$defs/exporter.sink"})
    sink = made["$defs"]["exporter.sink"]
    assert sink["required"] == ["endpoint"]
    assert sink["description"] == "`config show` and the JSON Schema."  # what the component's module says at its top
    assert sink["additionalProperties"] is False
    assert sink["properties"]["endpoint"] == {"type": "string", "description": "Where to."}
    assert sink["properties"]["count"]["anyOf"][0]["anyOf"][0] == {"type": "integer", "minimum": 1}
    assert sink["properties"]["timeout"]["default"] == "90s"
    references = [part.split('"')[0] for part in json.dumps(made).split('"$ref": "#/$defs/')[1:]]
    assert set(references) <= set(made["$defs"])
    assert "drain_timeout" in made["properties"]["service"]["properties"]
