"""Who collects, and the grace for those that are away."""

import msgspec
import pytest

from hawse.allocator.collectors import CollectorPod, Pods, Resolved
from tests.allocator.cluster import collector

NOW = 1_795_000_000.0


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pods(clock):
    changes = []
    made = Pods(30, lambda: changes.append(clock.now), clock)
    made.changes = changes
    return made


def pod(*arguments, **keys):
    return msgspec.convert(collector(*arguments, **keys), CollectorPod)


def names(found):
    return [f"{member.name}{'' if member.there else '?'}" for member in found.members()]


def test_ready_pods_are_members(pods):
    pods.begin()
    pods.put(pod("c-0"))
    pods.put(pod("c-1", ready=False))
    pods.put(pod("c-2", phase="Pending"))
    pods.end()
    assert names(pods) == ["c-0"]
    assert pods.members()[0].node == "node-1"
    pods.put(pod("c-1"))
    assert names(pods) == ["c-0", "c-1"]
    assert pods.discovered == 3
    assert pods.next_change() is None


def test_one_that_stops_is_waited_for(pods, clock):
    for name in ("c-0", "c-1"):
        pods.put(pod(name))
    names(pods)
    clock.now += 100
    pods.put(pod("c-1", ready=False))
    assert names(pods) == ["c-0", "c-1?"]
    assert 29 < pods.next_change() <= 30.01
    clock.now += 29
    assert names(pods) == ["c-0", "c-1?"]
    clock.now += 2
    assert names(pods) == ["c-0"]
    pods.put(pod("c-1"))
    assert names(pods) == ["c-0", "c-1"]


def test_a_stateful_pod_that_is_made_anew_keeps_its_place(pods, clock):
    for name in ("c-0", "c-1"):
        pods.put(pod(name))
    names(pods)
    terminating = pod("c-1")
    terminating.metadata.deletionTimestamp = "2026-11-24T10:00:00Z"
    pods.put(terminating)
    clock.now += 5
    pods.delete(terminating)
    assert names(pods) == ["c-0", "c-1?"]
    clock.now += 5
    pods.put(pod("c-1", ready=False))
    assert names(pods) == ["c-0", "c-1?"]
    clock.now += 5
    pods.put(pod("c-1"))
    assert names(pods) == ["c-0", "c-1"]


def test_pods_that_never_come_back_are_not_waited_for(pods):
    for name in ("c-a", "c-b"):
        pods.put(pod(name, owner="DaemonSet"))
    names(pods)
    terminating = pod("c-b", owner="DaemonSet")
    terminating.metadata.deletionTimestamp = "2026-11-24T10:00:00Z"
    pods.put(terminating)
    assert names(pods) == ["c-a"]
    pods.delete(terminating)
    assert names(pods) == ["c-a"]
    # but one that is only not ready is
    pods.put(pod("c-a", owner="DaemonSet", ready=False))
    assert names(pods) == ["c-a?"]


def test_an_allocator_that_has_just_started_finds_the_same(clock):
    from datetime import UTC, datetime

    def at(seconds):
        return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def started(one, seconds):
        one["status"]["startTime"] = at(seconds)
        return msgspec.convert(one, CollectorPod)

    fresh = Pods(30, lambda: None, clock)
    fresh.begin()
    fresh.put(started(collector("c-0", ready=False, since=at(-10)), -1000))  # was ready until 10 s ago
    fresh.put(started(collector("c-1", ready=False, since=at(-40)), -1000))  # until 40 s ago
    fresh.put(started(collector("c-2", ready=False, since=at(-10)), -10))  # has never been
    fresh.end()
    assert names(fresh) == ["c-0?"]
    assert fresh.next_change() == pytest.approx(20, abs=0.1)


def test_a_list_that_lacks_a_pod_ends_it(pods, clock):
    pods.put(pod("c-0"))
    pods.put(pod("c-1"))
    names(pods)
    pods.begin()
    pods.put(pod("c-0"))
    pods.end()
    assert names(pods) == ["c-0", "c-1?"]
    clock.now += 31
    assert names(pods) == ["c-0"]


def test_only_what_matters_is_a_change(pods):
    pods.put(pod("c-0"))
    before = len(pods.changes)
    pods.put(pod("c-0"))
    assert len(pods.changes) == before
    pods.put(pod("c-0", ready=False))
    assert len(pods.changes) == before + 1


def test_addresses_behind_a_name(clock):
    changes = []
    found = Resolved("collectors", 5, 30, lambda: changes.append(1), clock)
    found.take(["10.0.0.1", "10.0.0.2"])
    assert names(found) == ["10.0.0.1", "10.0.0.2"]
    clock.now += 10
    found.take(["10.0.0.1"])
    assert names(found) == ["10.0.0.1", "10.0.0.2?"]
    assert found.next_change() == pytest.approx(20, abs=0.1)
    clock.now += 20
    assert names(found) == ["10.0.0.1"]
    assert len(changes) == 1
