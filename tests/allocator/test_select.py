"""Selectors and limits of namespaces."""

import pytest

from hawse.allocator.select import LabelSelector, Limits, NamespaceSelector, Requirement, on_discovered
from hawse.demo import selectors as api_selectors

LABELS = {"app": "web", "app.kubernetes.io/name": "web.v1", "empty": ""}


def selector(labels=None, *expressions):
    return LabelSelector(match_labels=labels or {}, match_expressions=tuple(Requirement(*one) for one in expressions))


CASES = [
    (selector(), True),
    (selector({"app": "web"}), True),
    (selector({"app": "api"}), False),
    (selector({"other": "web"}), False),
    (selector({"empty": ""}), True),
    (selector({"missing": ""}), False),
    (selector({"app.kubernetes.io/name": "web.v1"}), True),
    (selector({"app.kubernetes.io/name": "webxv1"}), False),
    (selector(None, ("app", "In", ("web", "api"))), True),
    (selector(None, ("app", "In", ("api",))), False),
    (selector(None, ("app", "NotIn", ("web",))), False),
    (selector(None, ("missing", "NotIn", ("web",))), True),
    (selector(None, ("app", "Exists")), True),
    (selector(None, ("missing", "Exists")), False),
    (selector(None, ("missing", "DoesNotExist")), True),
    (selector(None, ("app", "DoesNotExist")), False),
    (selector({"app": "web"}, ("empty", "Exists"), ("missing", "DoesNotExist")), True),
]


@pytest.mark.parametrize(("one", "selects"), CASES, ids=[str(one) or "everything" for one, _ in CASES])
def test_labels(one, selects):
    assert (one.why_not(LABELS) == "") == selects
    # The API server says the same of the selector as it is sent,
    assert api_selectors.labels(str(one))({"metadata": {"labels": LABELS}}) == selects
    # and so does what is looked at of discovered labels.
    named = {name.replace(".", "_").replace("/", "_"): value for name, value in LABELS.items()}
    discovered = {f"__meta_kubernetes_pod_label_{name}": value for name, value in named.items() if value}
    discovered |= {f"__meta_kubernetes_pod_labelpresent_{name}": "true" for name in named}
    assert on_discovered(one, "pod")(discovered) == selects


def test_why_not_tells_what_is_there():
    assert selector({"app": "api"}).why_not(LABELS) == "label app is 'web', not 'api'"
    assert selector({"x": "y"}).why_not(LABELS) == "label x is not there, not 'y'"
    why = selector(None, ("app", "NotIn", ("web",))).why_not(LABELS)
    assert why == "label app is 'web', but the selector says app notin (web)"


def test_requirements_that_make_no_sense():
    assert [problem.path for problem in Requirement("a", "In").problems()] == ["values"]
    assert [problem.path for problem in Requirement("a", "Exists", ("b",)).problems()] == ["values"]


def test_limits():
    own = Limits.of((), "monitoring")
    assert own.scopes == ("monitoring",)
    assert own.allows("monitoring")
    assert not own.allows("shop")
    assert own.narrowed(None) == {"monitoring"}
    some = Limits.of(("a", "b", "c"), "monitoring", ("c",))
    assert some.scopes == ("a", "b")
    assert some.narrowed(frozenset({"b", "x"})) == {"b"}
    every = Limits.of(("*",), "monitoring")
    assert every.scopes == ("",)
    assert every.narrowed(None) is None
    assert every.narrowed(frozenset({"x"})) == {"x"}


def test_namespaces_of_a_monitor():
    assert NamespaceSelector().names("own") == {"own"}
    assert NamespaceSelector(any=True).names("own") is None
    assert NamespaceSelector(match_names=("a",)).names("own") == {"a"}
