"""OTTL's conditions: what they answer, and how what is not to be had is refused."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.ottl import OttlError, parse, parse_statement
from hawse.ottl.paths import CONTEXTS

POINTS = [{"method": "GET", "code": 200}, {"method": "PUT", "le": "0.5"}]
METRIC = SimpleNamespace(
    name="http_requests_total", type=2, unit="s", description="served", points_with=lambda _: POINTS
)
POINT = SimpleNamespace(
    name="up", type=1, unit="", description="", flags=1, attributes={"pod": "a-1", "n": 5, "x": 1.5, "t": True}
)
LOG = SimpleNamespace(attributes={"k": "v"}, body="it failed", severity_number=17, severity_text="ERROR")
SPAN = SimpleNamespace(attributes={"http.route": "/"}, name="GET /", kind=2, status_code=2)
ITEMS = {"metric": METRIC, "datapoint": POINT, "log": LOG, "span": SPAN, "resource": None}
RESOURCE = {"job": "api", "n": 3, "ok": True}


def answer(text, context="metric", resource=RESOURCE):
    condition = parse(text, context)
    test = condition.test(condition.settle(resource))
    return test(ITEMS[context]) if callable(test) else test


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name == "http_requests_total"', True),
        ('metric.name != "http_requests_total"', False),
        ('"http_requests_total" == name', True),
        ('IsMatch(name, "^http_.*_total$")', True),
        ('IsMatch(name, "requests")', True),  # anywhere, as Go's MatchString
        ('IsMatch(name, "^requests")', False),
        ('HasPrefix(name, "http_") and HasSuffix(name, "_total")', True),
        ("type == METRIC_DATA_TYPE_SUM", True),
        ('type == METRIC_DATA_TYPE_GAUGE or unit == "s"', True),
        ('not IsMatch(name, "^up$")', True),
        ("not not true", True),
        ('(name == "a" or name == "http_requests_total") and not (unit == "ms")', True),
        ('name == "a" or name == "b" and name == "http_requests_total"', False),  # and binds tighter
        ('resource.attributes["job"] == "api"', True),
        ('resource.attributes["job"] != "pod-annotations" and IsMatch(name, "http_.*")', True),
        ('resource.attributes["missing"] == nil', True),
        ('resource.attributes["job"] != nil', True),
        ('resource.attributes["missing"] != "x"', True),
        ('resource.attributes["missing"] == "x"', False),
        ('resource.attributes["n"] == 3', True),
        ('resource.attributes["n"] == 3.0', True),
        ('resource.attributes["n"] >= 2.5', True),
        ('2 < resource.attributes["n"]', True),
        ('resource.attributes["n"] == "3"', False),
        ('resource.attributes["n"] < "4"', False),  # other types are never less
        ('resource.attributes["ok"] == true', True),
        ('resource.attributes["ok"] == 1', False),
        ('IsMatch(resource.attributes["n"], "^3$")', True),  # as text
        ('IsMatch(resource.attributes["missing"], ".*")', False),
        ('IsMatch(name, "x") == false', True),
        ('HasAttrKeyOnDatapoint("le")', True),
        ('HasAttrKeyOnDatapoint("pod")', False),
        ('HasAttrOnDatapoint("method", "PUT")', True),
        ('HasAttrOnDatapoint("method", "POST")', False),
        ('HasAttrOnDatapoint("code", 200)', True),
        ('description == "served"', True),
        ("true", True),
    ],
)
def test_metrics(text, expected):
    assert answer(text) is expected


@pytest.mark.parametrize(
    ("context", "text", "expected"),
    [
        ("datapoint", "flags == FLAG_NO_RECORDED_VALUE", True),
        ("datapoint", 'attributes["pod"] == "a-1" and metric.name == "up"', True),
        ("datapoint", 'datapoint.attributes["n"] > 4 and attributes["x"] < 2', True),
        ("datapoint", 'attributes["t"] == true', True),
        ("datapoint", "metric.type == METRIC_DATA_TYPE_SUM", False),
        ("log", 'severity_number >= SEVERITY_NUMBER_ERROR and IsMatch(body, "fail")', True),
        ("log", 'log.attributes["k"] == "v" and severity_text == "ERROR"', True),
        ("span", "kind == SPAN_KIND_SERVER and status.code == STATUS_CODE_ERROR", True),
        ("span", 'span.name == "GET /" and span.attributes["http.route"] == "/"', True),
        ("resource", 'attributes["job"] == "api" and resource.attributes["n"] == 3', True),
        ("resource", 'attributes["job"] == "\\x61\\u0070i"', True),
    ],
)
def test_other_contexts(context, text, expected):
    assert answer(text, context) is expected


def test_a_resource_may_settle_a_condition():
    condition = parse('resource.attributes["job"] == "a" and IsMatch(name, "x")', "metric")
    assert condition.test(condition.settle({"job": "b"})) is False
    assert callable(condition.test(condition.settle({"job": "a"})))
    other = parse('not (resource.attributes["job"] == "a" or name == "x")', "metric")
    assert other.test(other.settle({"job": "a"})) is False
    assert condition.uses == {"name"}
    assert parse('attributes["a"] == 1', "resource").uses == frozenset()


def test_statements():
    condition = parse_statement('route() where attributes["a"] == "b"', "resource")
    assert condition.test(condition.settle({"a": "b"})) is True
    assert parse_statement("route()", "resource").test(()) is True
    with pytest.raises(OttlError) as error:
        parse_statement('delete_key(attributes, "a")', "resource")
    assert "route() where" in error.value.fix


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ('isMatch(name, "x")', "character 1: the function isMatch is not supported", 'did you mean "IsMatch"?'),
        ('Concat(name, "x") == "y"', "character 1", "functions here"),
        ('name = "x"', "character 6: '= \"x\"' cannot be read", ""),
        ('names == "x"', "the path names is not supported", 'did you mean "name"'),
        ('name["x"] == "y"', "name takes no key", "write name"),
        ('resource.attributes == "y"', "resource.attributes needs one key", 'write resource.attributes["key"]'),
        ("resource.attributes['a'] == \"y\"", "cannot be read", ""),
        ('IsMatch(name, "a\\.b")', "'\\\\.' is no escape", "\\\\."),
        ('IsMatch(name, "(")', "is no regular expression", ""),
        ("IsMatch(name)", "takes a path and a text", 'IsMatch(name, "pattern")'),
        ('name == resource.attributes["x"]', "not a path with a constant", "a path on one side"),
        ("type == METRIC_DATA_TYPE_HISTOGRAMM", "no enum", "METRIC_DATA_TYPE_HISTOGRAM"),
        ('name == "a" name == "b"', "expected and, or, or the end", ""),
        ('(name == "a"', "expected ')'", ""),
        ('name == "a', "cannot be read", "close the text with a quote"),
        ("name", "expected a comparison", ""),
        ("", "expected a path", ""),
        ("HasAttrKeyOnDatapoint(name)", "takes 1 constant", ""),
        ("not " * 50 + "true", "nest deeper", ""),
        ("true or " * 3000 + "true", "at most", ""),
    ],
)
def test_what_is_not_to_be_had_is_told(text, message, fix):
    with pytest.raises(OttlError) as error:
        parse(text, "metric")
    assert message in str(error.value)
    assert fix in error.value.fix


def test_functions_of_metrics_are_refused_elsewhere():
    with pytest.raises(OttlError, match="metric context"):
        parse('HasAttrKeyOnDatapoint("a")', "datapoint")


PIECES = [
    "name", "==", "!=", '"a"', "and", "or", "not", "(", ")", "IsMatch(name, \"a\")", "1", "1.5", "nil", "true", "[", "]", ",", ".",
    "resource", 'attributes["k"]', "type", "METRIC_DATA_TYPE_SUM", "\\", '"', "HasAttrOnDatapoint(", "-",
]  # fmt: skip


@given(
    st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)),
    st.sampled_from(CONTEXTS),
)
def test_any_text_is_a_condition_or_an_error(text, context):
    try:
        condition = parse(text, context)
    except OttlError as error:
        assert str(error)
        return
    test = condition.test(condition.settle(RESOURCE))
    assert (test(ITEMS[context]) if callable(test) else test) in {True, False}


TREES = st.recursive(
    st.sampled_from(
        [
            'name == "http_requests_total"',
            'unit == "x"',
            'resource.attributes["job"] == "api"',
            "true",
            'resource.attributes["n"] == 4',
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(st.lists(inner, min_size=2, max_size=4), st.sampled_from(["and", "or"])).map(
            lambda made: "(" + f" {made[1]} ".join(made[0]) + ")"
        ),
    ),
    max_leaves=12,
)


@given(TREES)
def test_brackets_and_words_join_as_in_python(text):
    """Python's own `and`, `or`, `not` on the same leaves."""
    plain = text
    for leaf, value in (
        ('name == "http_requests_total"', "True"), ('unit == "x"', "False"), ('resource.attributes["job"] == "api"', "True"),
        ("true", "True"), ('resource.attributes["n"] == 4', "False"),
    ):  # fmt: skip
        plain = plain.replace(leaf, value)
    assert answer(text) is eval(plain)
