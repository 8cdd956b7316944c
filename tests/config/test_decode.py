"""Marked trees → Config structs."""

import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from hawse.component import Config, Problem, Section
from hawse.config.decode import FAILED, Decoder
from hawse.config.load import load
from hawse.config.nearest import nearest
from hawse.values import ByteSize, ComponentID, Duration, ExtensionID, Regex, Secret


class Mode(enum.StrEnum):
    FAST = "fast"
    SAFE = "safe"


class TLS(Section, frozen=True):
    cert_file: str
    insecure: bool = False


class Http(Section, frozen=True):
    endpoint: str = "localhost:4318"
    tls: TLS | None = None


class Protocols(Section, frozen=True):
    http: Http | None = None

    def problems(self):
        if self.http and self.http.endpoint == "bad":
            yield Problem("http.endpoint", "is bad", "make it good")


class Rule(Section, frozen=True):
    name: str
    values: tuple[int, ...] = ()


class All(Config, frozen=True):
    include: Annotated[tuple[str, ...], Meta(min_length=1, description="What to read.")]
    start_at: Literal["beginning", "end"] = "end"
    mode: Mode = Mode.SAFE
    poll_interval: Annotated[Duration, Meta(gt=0)] = Duration(1)
    max_size: ByteSize = ByteSize(1)
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.5
    count: Annotated[int, Meta(ge=1, multiple_of=2)] = 2
    name: Annotated[str, Meta(pattern="^[a-z]+$", max_length=5)] = "abc"
    enabled: bool = True
    token: Secret | None = None
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    storage: ExtensionID | None = None
    pattern: Regex | None = None
    protocols: Protocols = Protocols()
    rules: tuple[Rule, ...] = ()
    pair: tuple[str, int] | None = None
    either: str | int | list[str] = ""
    ports: dict[int, str] = msgspec.field(default_factory=dict)
    anything: Any = None
    ids: list[ComponentID] = msgspec.field(default_factory=list)

    def problems(self):
        if self.count > 100:
            yield Problem("count", "is too much", "take less")
        if "double" in self.include:
            yield Problem(f"include[{self.include.index('double')}]", "is double")
            yield Problem("", "is odd as a whole")


def decode(text, type_=All, environ=None, path="receivers.all"):
    loaded = load([f"yaml:{text}"], environ=environ or {})
    findings = loaded.findings
    return Decoder(findings).struct(loaded.root, type_, path), findings


def test_everything_at_once():
    value, findings = decode(
        """
include: [a, b]
start_at: beginning
mode: fast
poll_interval: 1m30s
max_size: 1MiB
ratio: 1
count: 4
name: xyz
enabled: false
token: t0p
headers: {Authorization: "Bearer x"}
storage: file_storage/a
pattern: ^a+$
protocols: {http: {endpoint: "e:1", tls: {cert_file: c}}}
rules: [{name: r, values: [1, 2]}, {name: s}]
pair: [a, 1]
either: [x]
ports: {80: http}
anything: {deep: [1, {x: y}]}
ids: [otlp, debug/1]
"""
    )
    assert findings == []
    assert value.include == ("a", "b")
    assert (value.start_at, value.mode, value.poll_interval, value.max_size) == ("beginning", Mode.FAST, 90, 1 << 20)
    assert (value.ratio, value.count, value.name, value.enabled) == (1.0, 4, "xyz", False)
    assert isinstance(value.ratio, float)
    assert value.token.reveal() == "t0p"
    assert value.headers["Authorization"].reveal() == "Bearer x"
    assert isinstance(value.storage, ExtensionID)
    assert value.pattern.compiled.match("aa")
    assert value.protocols == Protocols(http=Http(endpoint="e:1", tls=TLS(cert_file="c")))
    assert value.rules == (Rule(name="r", values=(1, 2)), Rule(name="s"))
    assert (value.pair, value.either, value.ports) == (("a", 1), ["x"], {80: "http"})
    assert value.anything == {"deep": [1, {"x": "y"}]}
    assert value.ids == ["otlp", "debug/1"]


def test_empty_values():
    value, findings = decode("include: [a]\nprotocols:\n  http:\npoll_interval:\nrules:\ntoken:\nheaders:\n")
    assert findings == []
    assert value.protocols.http == Http()  # an empty section is on, with its defaults
    assert value == All(include=("a",), protocols=Protocols(http=Http()))
    value, findings = decode("", Protocols)
    assert (value, findings) == (Protocols(), [])


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("inclde: [a]", "inclde", 'unknown key "inclde"; did you mean "include"?'),
        ("include: [a]\nstartAt: end", "startAt", 'unknown key "startAt"; did you mean "start_at"?'),
        ("include: [a]\npoll: 1s", "poll", 'did you mean "poll_interval"?'),
        ("include: [a]\nendpoint: x", "endpoint", 'did you mean "protocols.http.endpoint"?'),
        ("include: [a]\nprotocols: {htp: }", "protocols.htp", 'unknown key "htp"; did you mean "http"?'),
        ("include: [a]\nrules: [{name: a}, {nam: b, name: b}]", "rules[1].nam", 'did you mean "name"?'),
        ("include: []", "include", "must have at least 1 items"),
        ("include: a", "include", 'expected a list, got the text "a"; write [a]'),
        ("include: [a, 5]", "include[1]", 'expected text, got the number 5; put it in quotes: "5"'),
        ("include: [a, yes, true]", "include[2]", 'expected text, got true; put it in quotes: "true"'),
        ("include: {a: b}", "include", "expected a list, got a map"),
        ("include: [a]\nstart_at: start", "start_at", "expected one of beginning, end"),
        ("include: [a]\nstart_at: beginnig", "start_at", 'did you mean "beginning"?'),
        ("include: [a]\nmode: quick", "mode", "expected one of fast, safe"),
        ("include: [a]\npoll_interval: 5", "poll_interval", "5 is no duration"),
        ("include: [a]\npoll_interval: 0", "poll_interval", "must be more than 0"),
        ("include: [a]\nmax_size: big", "max_size", "'big' is no size"),
        ("include: [a]\nratio: 1.5", "ratio", "must be at most 1"),
        ("include: [a]\nratio: half", "ratio", "expected a number"),
        ("include: [a]\ncount: 1.5", "count", "expected a whole number, got the number 1.5"),
        ("include: [a]\ncount: true", "count", "expected a whole number, got true"),
        ("include: [a]\ncount: 0", "count", "must be at least 1"),
        ("include: [a]\ncount: 3", "count", "must be a multiple of 2"),
        ("include: [a]\nname: X", "name", "must match the pattern ^[a-z]+$"),
        ("include: [a]\nname: abcdef", "name", "must have at most 5 characters"),
        ("include: [a]\nenabled: yes", "enabled", 'expected true or false, got the text "yes"'),
        ("include: [a]\nheaders: [a]", "headers", "expected a map, got a list"),
        ("include: [a]\nheaders: {a: [b]}", "headers.a", "expected a value, got a list"),
        ("include: [a]\nstorage: 'a b'", "storage", "no component id"),
        ("include: [a]\npattern: '('", "pattern", "no regular expression"),
        ("include: [a]\nprotocols: text", "protocols", "expected a map of settings (http, …)"),
        (
            "include: [a]\nprotocols: {http: {tls: {insecure: true}}}",
            "protocols.http.tls",
            'the key "cert_file" is missing',
        ),
        ("include: [a]\npair: [a]", "pair", "expected a list of 2"),
        ("include: [a]\npair: [a, b]", "pair[1]", "expected a whole number"),
        ("include: [a]\neither: 1.5", "either", "expected text or a whole number or a list of text"),
        ("include: [a]\nports: {http: x}", "ports.http", "expected a whole number"),
        ("start_at: end", "", 'the key "include" is missing; include: What to read.'),
        ("include: [a]\ncount: 200", "count", "is too much; take less"),
        ("include: [a]\nprotocols: {http: {endpoint: bad}}", "protocols.http.endpoint", "is bad; make it good"),
    ],
)
def test_what_is_wrong_is_told(text, path, message):
    value, findings = decode(text)
    assert value is FAILED
    found = [finding for finding in findings if finding.where.path == f"receivers.all.{path}".rstrip(".")]
    assert any(message in str(finding) for finding in found), findings
    assert all(finding.where.line for finding in findings)


def test_all_that_is_wrong_is_told_with_its_line():
    _, findings = decode(
        "inclde: [a]\ncount: x\nprotocols:\n  http:\n    endpont: 1\n    tls: {}\nrules:\n  - name: 7\n"
    )
    assert [(finding.code, finding.where.line, finding.where.column) for finding in findings] == [
        ("HW104", 1, 1),
        ("HW105", 2, 8),
        ("HW104", 5, 5),
        ("HW106", 6, 5),
        ("HW105", 8, 11),
    ]


def test_problems_point_at_what_they_are_about():
    _, findings = decode("include:\n  - single\n  - double\n")
    assert [(finding.where.line, finding.where.column, finding.where.path) for finding in findings] == [
        (3, 5, "receivers.all.include[1]"),
        (1, 1, "receivers.all"),
    ]


def test_text_from_the_environment_fits_text_and_is_not_told():
    env = {"NUM": "123", "BAD": "hunter2"}
    value, findings = decode("include: ['${env:NUM}']\ntoken: ${env:NUM}\nname: a", environ=env)
    assert findings == []
    assert value.include == ("123",)
    assert value.token.reveal() == "123"
    _, findings = decode(
        "include: [a]\ncount: ${env:BAD}\nmode: ${env:BAD}\npoll_interval: ${env:BAD}\npattern: '(${env:BAD}'",
        environ=env,
    )
    assert len(findings) == 4
    assert not any("hunter2" in str(finding) for finding in findings), findings
    assert "the value of ${env:BAD}" in str(findings[0])


def test_secrets_are_not_told():
    _, findings = decode("include: [a]\nheaders: {Authorization: 12345}\ntoken: 6789")
    assert len(findings) == 2
    assert findings[0].where.file == "yaml:include…"
    assert not any("12345" in str(finding) or "6789" in str(finding) for finding in findings)


def test_nearest():
    keys = ["retry_on_failure", "sending_queue", "endpoint", "timeout", "headers", "tls"]
    assert nearest("retry", keys) == ["retry_on_failure"]
    assert nearest("endpoints", keys) == ["endpoint"]
    assert nearest("time_out", keys) == ["timeout"]
    assert nearest("queue", keys) == ["sending_queue"]
    assert nearest("zzz", keys) == []


def test_what_the_environment_leaves_empty_is_not_there():
    """An empty section is switched on by its key; the environment cannot leave a key out."""
    text = "include: [a]\nprotocols: {http: {tls: %s}}"
    for empty in ("${env:TLS}", "${env:UNSET:-}"):
        value, findings = decode(text % f'"{empty}"', environ={"TLS": ""})
        assert findings == []
        assert value.protocols.http.tls is None
    value, findings = decode(text % "", environ={})
    assert value is FAILED
    assert [finding.code for finding in findings] == ["HW106"]
