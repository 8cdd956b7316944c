"""hawse.batch.Remembered."""

import pytest

from hawse.batch import Remembered, Resource
from hawse.wire import WireError


def test_a_resource_is_worked_out_once_whatever_buffer_it_is_in():
    calls = []
    known = Remembered(lambda resource: calls.append(dict(resource.attributes)) or resource)
    raw = bytearray(Resource.of({"a": "b"}).raw)
    first = known(Resource(memoryview(raw)))
    again = known(Resource(bytes(raw)))
    raw[:] = bytes(len(raw))  # the buffer is its owner's again
    assert first is again
    assert first.attributes == Resource(first.raw).attributes == {"a": "b"}
    assert calls == [{"a": "b"}]


def test_memory_is_bounded_and_the_oldest_goes():
    calls = []
    known = Remembered(lambda resource: calls.append(resource.attributes["n"]) or calls[-1], most=3)
    for number in (1, 2, 3, 1, 4, 2, 1):
        assert known(Resource.of({"n": number})) == number
    assert calls == [1, 2, 3, 4, 1]
    assert len(known._known) == 3


def test_what_raises_is_not_remembered():
    known = Remembered(lambda resource: resource)
    for _ in range(2):
        with pytest.raises(WireError):
            known(Resource(b"\x0a\x7f"))
    assert not known._known
