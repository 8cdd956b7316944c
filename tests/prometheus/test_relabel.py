"""Relabelling against a plain reading of its documentation, and the corners that the oracle has no say in.

tests/peers/test_relabelling.py holds it against a real Prometheus.
"""

import hashlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.prometheus.relabel import RelabelConfig, compiled
from hawse.prometheus.values import Pattern, Text

NAMES = st.sampled_from(["a", "b", "ab", "__tmp", "__meta_a", "job"])
# Expressions that Python and RE2 read alike.
REGEXES = st.sampled_from(
    [
        "(.*)",
        ".*",
        "",
        "a",
        "a|b",
        "(a|ab)",
        "(.+)",
        "a(.*)",
        "x(.+)",
        "(a)?(.*)",
        "([^:]*):(.*)",
        "[ab]+",
        "(?i)AB",
        "^a$",
    ]
)
VALUES = st.text("ab:x\nö", max_size=4)
TEMPLATES = st.lists(
    st.sampled_from(["$1", "${1}", "$2", "$0", "$9", "$$", "$", "${", "a", "-", "$x", "$01", "_"]), max_size=3
).map("".join)
LABELS = st.dictionaries(NAMES, VALUES.filter(bool), max_size=5)
SOURCES = st.lists(NAMES, max_size=3).map(tuple)


@st.composite
def rules(draw):
    action = draw(st.sampled_from(sorted(ORACLE)))
    return RelabelConfig(
        source_labels=draw(SOURCES),
        separator=Text(draw(st.sampled_from([";", "", "ab"]))),
        regex=Pattern.parse(draw(REGEXES)),
        modulus=draw(st.integers(1, 9)),
        target_label=draw(st.sampled_from(["a", "b", "n"]) if action != "replace" else TEMPLATES),
        replacement=Text(draw(TEMPLATES)),
        action=action,
    )


def expand(template, match):
    """One character at a time."""
    made, at = "", 0
    while at < len(template):
        if template[at] != "$":
            made, at = made + template[at], at + 1
            continue
        if template.startswith("$$", at):
            made, at = made + "$", at + 2
            continue
        braced = template.startswith("${", at)
        end = start = at + 1 + braced
        while end < len(template) and (template[end].isalnum() or template[end] == "_"):
            end += 1
        name = template[start:end]
        if not name or (braced and not template.startswith("}", end)):
            made, at = made + "$", at + 1
            continue
        at = end + braced
        if name.isdigit() and str(int(name)) == name and int(name) <= match.re.groups:
            made += match[int(name)] or ""
    return made


def put(labels, name, value):
    rest = {key: one for key, one in labels.items() if key != name}
    return {**rest, name: value} if value else rest


def whole(rule, text):
    return re.fullmatch(f"(?s:{rule.regex})" if not rule.regex.startswith("(?i)") else rule.regex, text)


def replace(rule, labels, value):
    match = whole(rule, value)
    if match is None:
        return labels
    target = expand(rule.target_label, match)
    return put(labels, target, expand(rule.replacement, match)) if target else labels


def labelmap(rule, labels, _):
    made = labels
    for name in sorted(labels):
        match = whole(rule, name)
        if match and expand(rule.replacement, match):
            made = put(made, expand(rule.replacement, match), labels[name])
    return made


ORACLE = {
    "replace": replace,
    "keep": lambda rule, labels, value: labels if whole(rule, value) else None,
    "drop": lambda rule, labels, value: None if whole(rule, value) else labels,
    "keepequal": lambda rule, labels, value: labels if labels.get(rule.target_label, "") == value else None,
    "dropequal": lambda rule, labels, value: None if labels.get(rule.target_label, "") == value else labels,
    "hashmod": lambda rule, labels, value: put(
        labels, rule.target_label, str(int(hashlib.md5(value.encode()).hexdigest()[16:], 16) % rule.modulus)
    ),
    "labelmap": labelmap,
    "labeldrop": lambda rule, labels, _: {key: one for key, one in labels.items() if not whole(rule, key)},
    "labelkeep": lambda rule, labels, _: {key: one for key, one in labels.items() if whole(rule, key)},
    "lowercase": lambda rule, labels, value: put(labels, rule.target_label, value.lower()),
    "uppercase": lambda rule, labels, value: put(labels, rule.target_label, value.upper()),
}


@given(st.lists(rules(), max_size=4), LABELS)
def test_as_documented(configs, labels):
    relabel = compiled(configs)
    expected = dict(labels)
    steps = []
    for rule in configs:
        value = str(rule.separator).join(expected.get(name, "") for name in rule.source_labels)
        before, expected = expected, ORACLE[rule.action](rule, expected, value)
        steps.append((before, expected))
        if expected is None:
            break
    assert relabel(dict(labels)) == expected
    assert [(step.before, step.after) for step in relabel.explain(labels)] == steps
    dropped = relabel.apply(dict(labels))
    assert dropped == (len(steps) - 1 if expected is None else -1)


def one(labels, **keys):
    if "regex" in keys:
        keys["regex"] = Pattern.parse(keys["regex"])
    return compiled([RelabelConfig(**keys)])(labels)


def test_explain_says_what_each_rule_did():
    configs = [
        RelabelConfig(source_labels=("a",), target_label="b", regex=Pattern.parse("x(.+)")),
        RelabelConfig(source_labels=("a",), target_label="c", regex=Pattern.parse("y")),
        RelabelConfig(source_labels=("a",), action="drop", regex=Pattern.parse("x.*")),
        RelabelConfig(target_label="never", replacement=Text("x")),
    ]
    labels = {"a": "xy"}
    steps = compiled(configs).explain(labels)
    assert labels == {"a": "xy"}
    assert [(step.rule, step.matched) for step in steps] == [(0, True), (1, False), (2, True)]
    assert steps[0].after == steps[1].after == {"a": "xy", "b": "y"}
    assert steps[2].after is None and steps[2].config is configs[2]


@pytest.mark.parametrize(
    ("value", "lower", "upper"),
    [
        ("aBc-1", "abc-1", "ABC-1"),
        ("Straße", "straße", "STRAßE"),  # Go changes characters one by one: ß has no capital of one character
        ("İ", "i", "İ"),
        ("ᾀ", "ᾀ", "ᾈ"),
        ("ΑΣ", "ας".replace("ς", "σ"), "ΑΣ"),
        ("ŉ", "ŉ", "ŉ"),
    ],
)
def test_case_of_characters(value, lower, upper):
    assert one({"a": value}, source_labels=("a",), target_label="a", action="lowercase") == {"a": lower}
    assert one({"a": value}, source_labels=("a",), target_label="a", action="uppercase") == {"a": upper}


def test_hashmod_is_that_of_prometheus():
    # From the documentation of sharding: the same targets must go to the same server as with Prometheus.
    labels = {"__address__": "10.0.0.1:9100"}
    made = one(labels, source_labels=("__address__",), target_label="shard", modulus=1000, action="hashmod")
    digest = hashlib.md5(b"10.0.0.1:9100").digest()
    assert made["shard"] == str(int.from_bytes(digest[-8:], "big") % 1000)


def test_named_groups_and_long_values():
    value = "v" * 1000 + "-w"
    made = one(
        {"a": value}, source_labels=("a",), target_label="b", regex="(?P<x>v+)-(?P<y>w)", replacement=Text("$y$x")
    )
    assert made["b"] == "w" + "v" * 1000


def test_a_name_that_is_none_is_not_set():
    labels = {"a": "1-2"}
    keys = {"source_labels": ("a",), "target_label": "n-$1", "regex": Pattern.parse("(.*)")}
    assert compiled([RelabelConfig(**keys)], "legacy")(dict(labels)) == labels
    assert compiled([RelabelConfig(**keys)], "utf8")(dict(labels)) == {"a": "1-2", "n-1-2": "1-2"}


def test_texts_that_are_no_unicode_pass():
    labels = {"a": "x\ud800y"}
    assert (
        one(labels, source_labels=("a",), target_label="b", regex="x(?:.*)y|(z)", replacement=Text("hit")) is not None
    )


@pytest.mark.parametrize(
    ("regex", "value"),
    [
        ("(a*)*b", "a" * 5000),
        ("(a|aa)+c", "a" * 5000),
        ("(.*)(.*)(.*)(.*)(.*)x", "a" * 5000),
        ("([a-z]+)+[0-9]", "abc" * 2000),
        ("(x+x+)+y", "x" * 5000),
    ],
)
def test_no_expression_takes_long(regex, value):
    rule = compiled([RelabelConfig(source_labels=("a",), target_label="b", regex=Pattern.parse(regex))])
    began = time.perf_counter()
    rule({"a": value})
    assert time.perf_counter() - began < 0.5  # Python's own would need longer than the universe


def test_a_text_that_is_too_long_for_its_expression_matches_nothing():
    rule = compiled([RelabelConfig(source_labels=("a",), action="keep", regex=Pattern.parse("(.*?a){900}(.*)c"))])
    assert rule({"a": "a" * 900 + "c"}) is not None
    began = time.perf_counter()
    assert rule({"a": "a" * 100_000 + "c"}) is None
    assert time.perf_counter() - began < 0.5


def test_a_template_of_a_tenant_does_not_take_long():
    began = time.perf_counter()
    config = RelabelConfig(target_label="$aaaaaaaa" * 40 + "!")
    assert list(config.problems_under("legacy"))
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "regex", ["(?=a)", r"(a)\1", "a{1001}", "(", "[", "(?<a", "a**", r"\8", "((a{100}){100}){100}"]
)
def test_what_re2_does_not_take_is_refused(regex):
    with pytest.raises(ValueError, match="is no regular expression of RE2: "):
        Pattern.parse(regex)


def test_speed():
    """The rules that nearly everybody has: a set of labels takes microseconds."""
    relabel = compiled(
        [
            RelabelConfig(
                source_labels=("__meta_kubernetes_pod_annotation_prometheus_io_scrape",),
                action="keep",
                regex=Pattern.parse("true"),
            ),
            RelabelConfig(action="labelmap", regex=Pattern.parse("__meta_kubernetes_pod_label_(.+)")),
            RelabelConfig(
                source_labels=("__address__", "port"),
                regex=Pattern.parse(r"([^:]+)(?::\d+)?;(\d+)"),
                replacement=Text("$1:$2"),
                target_label="__address__",
            ),
            RelabelConfig(source_labels=("__meta_kubernetes_namespace",), target_label="namespace"),
        ]
    )
    labels = {f"__meta_kubernetes_pod_label_{number}": "x" for number in range(20)}
    labels |= {
        "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
        "__address__": "10.0.0.1:80",
        "port": "90",
    }
    began = time.perf_counter()
    for _ in range(500):
        assert relabel(dict(labels)) is not None
    assert (time.perf_counter() - began) / 500 < 0.0005
