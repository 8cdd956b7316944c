"""The API server's refusals, told as what to do; a watch's lines, however they come."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawse.kube.errors import ApiError, Call, Gone, explain
from hawse.kube.lines import Lines


def status(code, message="", **more):
    return json.dumps({"kind": "Status", "apiVersion": "v1", "code": code, "message": message, **more}).encode()


PODS = Call("", "v1", "pods", "shop")
JOBS = Call("batch", "v1", "jobs")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (explain(401, status(401, "Unauthorized"), {}, "list", PODS, "context 'a' of f"), "renew the token.*"),
        (
            explain(403, status(403, 'User "system:serviceaccount:obs:hawse" cannot list'), {}, "list", PODS, ""),
            r'rule \{apiGroups: \[""\], resources: \["pods"\], verbs: \["list", "watch"\]\} to a Role in namespace shop '
            "with a RoleBinding to system:serviceaccount:obs:hawse",
        ),
        (
            explain(403, b"", {}, "watch", JOBS, ""),
            r'rule \{apiGroups: \["batch"\], resources: \["jobs"\].*to a ClusterRole with a ClusterRoleBinding',
        ),
        (explain(404, b"404 page not found", {}, "list", JOBS, ""), "404 page not found.*batch/v1"),
        (explain(503, b"<html>", {}, "list", PODS, ""), "cannot list pods in namespace shop.*503.*try again"),
    ],
)
def test_refusals(error, says):
    import re

    assert re.search(says, str(error)), str(error)


def test_gone_and_retry_after():
    assert isinstance(explain(410, status(410, "too old"), {}, "watch", PODS, ""), Gone)
    assert explain(429, b"", {"retry-after": "7"}, "list", PODS, "").retry_after == 7
    assert explain(503, status(503, details={"retryAfterSeconds": 3}), {}, "list", PODS, "").retry_after == 3
    assert explain(500, b"", {"retry-after": "Wed, 21 Oct"}, "list", PODS, "").retry_after is None


def test_paths():
    assert JOBS.path({}) == "/apis/batch/v1/jobs"
    call = Call("", "v1", "pods", "a b", "x=y,!z", "spec.nodeName=n")
    assert call.path({"limit": "5", "continue": ""}) == (
        "/api/v1/namespaces/a%20b/pods?limit=5&labelSelector=x%3Dy%2C%21z&fieldSelector=spec.nodeName%3Dn"
    )


LINE = st.binary(min_size=1, max_size=30).filter(lambda line: b"\n" not in line and line.strip())


@given(st.lists(LINE), st.lists(st.integers(1, 20)), st.booleans())
def test_lines_come_out_whole_however_they_are_cut(lines, cuts, last_is_open):
    body = b"\n".join(lines) + (b"" if last_is_open else b"\n")
    taken, found, rest = 0, [], Lines()
    for cut in [*cuts, len(body)]:
        found += rest.feed(body[taken : taken + cut])
        taken += cut
    assert found == (lines[:-1] if last_is_open else lines)


def test_a_line_without_end_is_refused():
    rest = Lines(longest=100)
    rest.feed(b"x" * 60)
    with pytest.raises(ApiError, match="longer than 100 bytes"):
        rest.feed(b"x" * 60)
    fresh = Lines(longest=100)
    assert fresh.feed(b"x" * 90 + b"\n" + b"y" * 90) == [b"x" * 90]
