"""What fuzzing has found, kept as tests of their own beside the corpus."""

import asyncio

import pytest

from hawse import wire
from hawse.backend import fields, http_source
from hawse.backend.store import Limits, Store
from hawse.batch import Resource
from hawse.codecs.container_log import SLACK, Parser
from hawse.diagnostics import HawseError
from hawse.kube import kubeconfig
from hawse.kube.client import KubeClient, _Events
from hawse.kube.enrich import _count
from hawse.kube.errors import ApiError, Call, explain
from hawse.kube.objects import PodObject

PODS = Call("", "v1", "pods")
DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def test_an_attribute_whose_name_is_no_utf8_can_be_replaced():
    raw = wire.field(1, wire.field(1, b"a\xff") + wire.field(2, wire.encode_value("x")))
    left = Resource(raw).replaced({"b": 1}, ["a\ufffd"])
    assert dict(Resource(left.raw).attributes) == dict(left.attributes) == {"b": 1}


@pytest.mark.parametrize(
    "line", [b'{"type":"ADDED\x84","object":{}}', DEEP, b'{"type":"ADDED","object":{"metadata":"\xff"}}']
)
def test_a_watch_that_sends_no_json_is_told(line):
    with pytest.raises(ApiError, match="not what the API server sends"):
        _Events(PODS, PodObject).decode(line)


@pytest.mark.parametrize("body", [b'{"message":"\xff"}', DEEP])
def test_a_list_that_is_no_json_is_told(body):
    client = KubeClient(access=None)

    async def get(path, accept):
        return 200, {}, body

    client._get = get

    async def first():
        async for _ in client.pages(PODS, PodObject):
            pass

    with pytest.raises(ApiError, match="not what the API server sends"):
        asyncio.run(first())


@pytest.mark.parametrize("body", [b'{"message":"\xff"}', DEEP])
def test_a_refusal_that_is_no_json_is_told(body):
    assert explain(500, body, {}, "list", PODS, "here").status == 500


def test_digits_that_are_no_numbers():
    assert explain(429, b"", {"retry-after": "\xb2"}, "list", PODS, "here").retry_after is None
    assert [_count("\xb2"), _count("9" * 5000), _count("2")] == [None, None, 2]


def test_times_that_no_store_holds_are_those_of_arrival(tmp_path):
    store = Store(tmp_path / "s.db", Limits())
    body = b'{"timestamp":99999999999999}\n{"timestamp":179065536000000}\n{"timestamp":"\xff"}\n' + DEEP
    (lot,) = http_source.arrival("text/plain", {}, body + b'\n{"timestamp":1790000000}', store.registry).lots
    store.close()
    now = lot.observed[0]
    assert lot.times == [now, now, now, now, 1790000000 * 10**9]


def test_a_deep_or_broken_json_body_has_no_fields():
    assert fields._of_body("x", DEEP) is None
    assert fields._of_body("x", b'{"x":"\xff"}') is None


def test_a_docker_line_may_nest():
    line = b'{"log":"a\\n","stream":"stdout","time":"2026-11-24T13:05:00Z","x":' + DEEP + b"}\n"
    parser = Parser()
    buffer = bytearray(b"\0" + line + bytes(SLACK))
    out = parser.feed(buffer, 1, 1 + len(line), 0, 5)
    assert sum(records.items for records in out.values()) == 1


@pytest.mark.parametrize("value", ["2026-13-01", "!!timestamp x", "!!bool maybe", "!!int x", "[" * 20_000])
def test_a_kubeconfig_with_odd_values_is_told(tmp_path, value):
    (tmp_path / "config").write_text(f"current-context: {value}\n")
    with pytest.raises(HawseError, match="is no YAML|is no kubeconfig"):
        kubeconfig.load(str(tmp_path / "config"))
