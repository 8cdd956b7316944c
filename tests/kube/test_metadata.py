"""The store of pods: its indexes under any order of events, deleted pods, addresses used again, waiting."""

import asyncio
import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hawse.demo import objects
from hawse.kube import metadata
from hawse.kube.metadata import MetaStore, PodStore
from hawse.kube.pods import Keys, Wanted
from hawse.kube.objects import PartialObject, PodObject


def made(*args, **kwargs):
    return msgspec.json.decode(json.dumps(objects.pod(*args, **kwargs)), type=PodObject)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def store(grace=120.0, wanted=None):
    clock = Clock()
    made_ = PodStore(grace, clock)
    made_.wanted = wanted or Wanted(Keys(patterns=["(.*)"]), Keys(patterns=["(.*)"]), True)
    return made_, clock


def names(pod):
    return None if pod is None else (pod.namespace, pod.name, pod.uid)


def test_a_pod_is_found_by_uid_name_and_each_of_its_addresses():
    pods, _ = store()
    pods.put(made("shop", "web", uid="u1", ips=("10.0.0.1", "fd00::1")))
    assert {names(found) for found in (
        pods.by_uid.get("u1"), pods.by_name.get("shop/web"), pods.by_ip.get("10.0.0.1"), pods.by_ip.get("fd00::1"),
    )} == {("shop", "web", "u1")}  # fmt: skip


def test_pods_in_the_hosts_network_are_not_found_by_address():
    pods, _ = store()
    pods.put(made("kube-system", "proxy", uid="u1", ips=("10.0.0.11",), host_network=True))
    assert pods.by_ip.get("10.0.0.11") is None and pods.by_uid.get("u1").ips == ("10.0.0.11",)


def test_static_pods_are_found_by_the_uid_of_their_log_folder():
    pods, _ = store()
    pods.put(made("kube-system", "etcd", uid="api-uid", annotations={"kubernetes.io/config.mirror": "file-uid"}))
    assert pods.by_uid.get("file-uid") is pods.by_uid.get("api-uid") is not None


def test_an_address_that_is_used_again_belongs_to_the_younger_pod_in_any_order_of_events():
    old = {"uid": "old", "ips": ("10.0.0.1",), "started": "2026-01-01T00:00:00Z"}
    young = {"uid": "young", "ips": ("10.0.0.1",), "started": "2026-01-01T00:01:00Z"}
    pods, _ = store()
    pods.put(made("shop", "a", **old))
    pods.put(made("shop", "b", **young))
    pods.put(made("shop", "a", **old, labels={"changed": "late"}))  # an update of the old one comes in late
    assert pods.by_ip.get("10.0.0.1").uid == "young"
    pods.delete(made("shop", "a", **old))
    assert pods.by_ip.get("10.0.0.1").uid == "young"
    other, _ = store()
    other.put(made("shop", "b", **young))
    other.put(made("shop", "a", **old))
    assert other.by_ip.get("10.0.0.1").uid == "young"


def test_a_finished_pod_gives_its_address_up_to_one_that_runs():
    pods, _ = store()
    pods.put(made("shop", "new", uid="new", ips=("10.0.0.1",), started="2026-01-01T00:00:00Z"))
    pods.put(made("shop", "job", uid="job", ips=("10.0.0.1",), started="2026-01-01T00:01:00Z", phase="Succeeded"))
    assert pods.by_ip.get("10.0.0.1").uid == "new"


def test_deleted_pods_are_remembered_for_the_grace_period_and_no_longer():
    pods, clock = store(grace=120)
    pods.put(made("shop", "web", uid="u1", ips=("10.0.0.1",)))
    pods.delete(made("shop", "web", uid="u1", ips=("10.0.0.1",)))
    assert len(pods) == 0
    clock.now += 119
    pods.expire()
    found = pods.by_uid.get("u1")
    assert found is pods.by_ip.get("10.0.0.1") is not None
    version = found.version
    clock.now += 2
    pods.expire()
    assert pods.by_uid.get("u1") is pods.by_ip.get("10.0.0.1") is pods.by_name.get("shop/web") is None
    assert found.version > version


def test_a_deleted_pod_does_not_keep_its_address_or_name_from_a_new_one():
    pods, clock = store()
    pods.put(made("shop", "web-0", uid="old", ips=("10.0.0.1",), started="2026-01-01T00:00:00Z"))
    pods.delete(made("shop", "web-0", uid="old", ips=("10.0.0.1",), started="2026-01-01T00:00:00Z"))
    pods.put(made("shop", "web-0", uid="new", ips=("10.0.0.1",), started="2026-01-01T00:00:00Z"))
    assert pods.by_ip.get("10.0.0.1").uid == pods.by_name.get("shop/web-0").uid == "new"
    assert pods.by_uid.get("old").uid == "old"
    clock.now += 1000
    pods.expire()
    assert pods.by_ip.get("10.0.0.1").uid == pods.by_name.get("shop/web-0").uid == "new"


def test_the_number_of_deleted_pods_is_bounded(monkeypatch):
    monkeypatch.setattr(metadata, "MAX_DELETED", 10)
    pods, _ = store()
    for number in range(25):
        pods.put(made("shop", f"web-{number}", uid=f"u{number}"))
        pods.delete(made("shop", f"web-{number}", uid=f"u{number}"))
    assert [number for number in range(25) if pods.by_uid.get(f"u{number}")] == list(range(15, 25))


def test_an_address_that_a_pod_loses_is_forgotten():
    pods, _ = store()
    pods.put(made("shop", "web", uid="u1", ips=("10.0.0.1",)))
    pods.put(made("shop", "web", uid="u1", ips=("10.0.0.2",)))
    assert pods.by_ip.get("10.0.0.1") is None and pods.by_ip.get("10.0.0.2").uid == "u1"


def test_a_list_deletes_what_it_does_not_have():
    pods, _ = store()
    told = []
    pods.watchers.append(told.append)
    for uid in ("a", "b"):
        pods.put(made("shop", uid, uid=uid))
    pods.begin()
    pods.put(made("shop", "b", uid="b"))
    pods.put(made("shop", "c", uid="c"))
    assert pods.by_uid.get("a").deleted is False  # until the list is complete it stays
    pods.end()
    assert pods.by_uid.get("a").deleted and len(pods) == 2
    assert told == ["added", "added", "added", "deleted"]


def test_an_event_that_changes_nothing_we_keep_changes_nothing():
    pods, _ = store(wanted=Wanted())
    pods.put(made("shop", "web", uid="u1", labels={"a": "1"}))
    before = pods.by_uid.get("u1")
    before.cached = {"something": 1}
    pods.put(made("shop", "web", uid="u1", labels={"a": "2"}))
    assert pods.by_uid.get("u1") is before and before.version == 0
    pods.put(made("shop", "web", uid="u1", node="node-2"))
    assert pods.by_uid.get("u1") is not before and before.version == 1 and pods.by_uid.get("u1").cached is None


def test_only_wanted_labels_annotations_and_containers_are_kept():
    pods, _ = store(wanted=Wanted(Keys(["app"]), Keys(patterns=[r"sumologic\.com/(.*)"])))
    labels = {"app": "web", "pod-template-hash": "abc"}
    notes = {"sumologic.com/exclude": "true", "big": "x" * 1000}
    pods.put(made("s", "w", uid="u", labels=labels, annotations=notes, owners=[objects.owner("ReplicaSet", "web-abc")]))
    found = pods.by_uid.get("u")
    assert (found.labels, found.annotations, found.containers) == (
        {"app": "web"},
        {"sumologic.com/exclude": "true"},
        (),
    )
    assert found.deployment == "web"  # found before the label was dropped


def test_containers_have_the_ids_of_this_run_and_the_one_before():
    pods, _ = store()
    pods.put(made("s", "w", uid="u", restarts=2, containers={"app": "img:1", "side": "img:2"}))
    (app, side) = pods.by_uid.get("u").containers
    assert (app.name, app.restart_count, app.id) == ("app", 2, objects.container_id("s", "w", "app", "2"))
    assert app.previous_id == objects.container_id("s", "w", "app", "1")
    assert side.image == "img:2" and side.image_id.startswith("img@sha256:")


def test_waiting_ends_when_the_pod_comes_and_leaves_nothing_behind():
    async def run():
        pods, _ = store()
        by_uid, by_ip = pods.by_uid.wait("u1"), pods.by_ip.wait("10.0.0.1")
        other = pods.by_uid.wait("u2")
        pods.put(made("shop", "web", uid="u1"))
        assert by_uid.done() and not by_ip.done() and not other.done()
        pods.put(made("shop", "web", uid="u1", ips=("10.0.0.1",)))
        assert by_ip.done()
        pods.by_uid.forget("u2", other)
        assert other.cancelled() and not pods.by_uid._waiting and not pods.by_ip._waiting

    asyncio.run(run())


def test_an_index_made_later_has_the_pods_of_before():
    pods, _ = store()
    pods.put(made("shop", "web", uid="u1", node="n1"))
    index = pods.index(lambda pod: [pod.node])
    assert index.get("n1").uid == "u1"
    pods.unindex(index)
    pods.put(made("shop", "web2", uid="u2", node="n2"))
    assert index.get("n2") is None


def test_other_objects_change_the_version_only_when_something_kept_changes():
    kept = MetaStore()
    kept.wanted = Wanted(Keys(["team"]))

    def namespace(**labels):
        return msgspec.json.decode(json.dumps(objects.namespace("shop", labels)), type=PartialObject)

    kept.begin()
    kept.put(namespace(team="a"))
    kept.end()
    version = kept.version
    kept.put(namespace(team="a", other="x"))
    assert kept.version == version and kept.get("shop").labels == {"team": "a"}
    kept.put(namespace(team="b"))
    assert kept.version > version
    kept.begin()
    kept.end()
    assert kept.get("shop") is None


# --- any sequence of events


IPS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
EVENT = st.tuples(
    st.sampled_from(["put", "put", "put", "delete", "wait"]),
    st.integers(0, 5),
    st.sampled_from(IPS),
    st.integers(0, 9),
    st.sampled_from(["Running", "Succeeded"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, max_size=40))
def test_after_any_events_each_index_gives_the_pod_that_has_the_key_now(events):
    pods, clock = store(grace=10)
    alive, dead = {}, {}
    for what, number, ip, second, phase in events:
        uid = f"u{number}"
        started = f"2026-01-01T00:00:0{number}Z"  # a pod's start time never changes
        if what == "put" and uid not in dead:
            pods.put(made("ns", f"p{number % 3}", uid=uid, ips=(ip,), started=started, phase=phase))
            alive[uid] = (f"ns/p{number % 3}", ip, (phase == "Running", started))
        elif what == "delete" and uid in alive:
            name, ip, rank = alive.pop(uid)
            phase = "Running" if rank[0] else "Succeeded"
            pods.delete(made("ns", f"p{number % 3}", uid=uid, ips=(ip,), started=started, phase=phase))
            dead[uid] = clock.now + 10
        elif what == "wait":
            clock.now += second
            pods.expire()
    assert len(pods) == len(alive)
    for uid in alive:
        assert pods.by_uid.get(uid).uid == uid
    for uid, until in dead.items():
        assert (pods.by_uid.get(uid) is not None) == (until > clock.now)
    for index, place in ((pods.by_name, 0), (pods.by_ip, 1)):
        for key in {entry[place] for entry in alive.values()}:
            claims = {uid: entry for uid, entry in alive.items() if entry[place] == key}
            found = index.get(key)
            assert found is pods.by_uid.get(found.uid)
            best = max(entry[2] for entry in claims.values())
            assert found.rank >= best  # a pod that ended, and is remembered, may stand before others that ended
            assert found.uid in claims or not best[0]
    gone = {uid for uid in dead if pods.by_uid.get(uid) is None}
    for index in (pods.by_name, pods.by_ip):
        assert not {pod.uid for pod in index._found.values()} & gone
