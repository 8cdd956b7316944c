"""Pods to attributes, by OpenTelemetry's names."""

import json

import msgspec
import pytest

from hawse.demo import objects
from hawse.kube import images
from hawse.kube.metadata import MetaStore, PodStore
from hawse.kube.objects import PartialObject, PodObject
from hawse.kube.rules import METADATA, FieldRule, Rules, container_of

NO_RELATIONS = lambda kind, key: None  # noqa: E731


def pod_of(rules, *args, **kwargs):
    store = PodStore()
    store.wanted = rules.wanted()
    store.put(msgspec.json.decode(json.dumps(objects.pod(*args, **kwargs)), type=PodObject))
    return store.by_name.get("/".join(args[:2]))


def attributes(metadata, *args, labels_rules=(), annotation_rules=(), otel=False, related=NO_RELATIONS, **kwargs):
    rules = Rules(frozenset(metadata), tuple(labels_rules), tuple(annotation_rules), otel_annotations=otel)
    return rules.of_pod(pod_of(rules, *args, **kwargs), related)


WEB = {
    "owners": [objects.owner("ReplicaSet", "web-app-5db86d8867", "shop")],
    "labels": {"pod-template-hash": "5db86d8867", "app": "web"},
    "ips": ("10.0.0.1", "fd00::1"),
}


def test_a_deployments_pod():
    made = attributes(METADATA, "shop", "web-app-5db86d8867-sdqlj", uid="u1", started="2026-01-01T00:00:00Z", **WEB)
    assert made == {
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "web-app-5db86d8867-sdqlj",
        "k8s.pod.uid": "u1",
        "k8s.pod.hostname": "web-app-5db86d8867-sdqlj",
        "k8s.pod.ip": "10.0.0.1",
        "k8s.pod.start_time": "2026-01-01T00:00:00Z",
        "k8s.node.name": "node-1",
        "k8s.deployment.name": "web-app",
        "k8s.replicaset.name": "web-app-5db86d8867",
        "k8s.replicaset.uid": objects.uid_of("ReplicaSet", "shop", "web-app-5db86d8867"),
        "service.name": "web-app",
        "service.namespace": "shop",
    }


@pytest.mark.parametrize(
    ("kind", "owner", "labels", "expected"),
    [
        ("ReplicaSet", "by-hand-5db86d8867", {}, {"k8s.replicaset.name": "by-hand-5db86d8867"}),
        ("ReplicaSet", "web-abc", {"pod-template-hash": "xyz"}, {"k8s.replicaset.name": "web-abc"}),
        ("StatefulSet", "db", {}, {"k8s.statefulset.name": "db"}),
        ("DaemonSet", "agent", {}, {"k8s.daemonset.name": "agent"}),
        ("Job", "migrate", {}, {"k8s.job.name": "migrate"}),
        ("Job", "daily-2026", {}, {"k8s.job.name": "daily-2026"}),
        ("Job", "backup-29366040", {}, {"k8s.job.name": "backup-29366040", "k8s.cronjob.name": "backup"}),
        ("Job", "b-1-29366040", {}, {"k8s.job.name": "b-1-29366040", "k8s.cronjob.name": "b-1"}),
        ("Node", "node-1", {}, {}),
    ],
)
def test_owners(kind, owner, labels, expected):
    asked = {f"k8s.{name}.name" for name in ("deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob")}
    assert attributes(asked, "s", "p", owners=[objects.owner(kind, owner)], labels=labels) == expected


def test_only_what_is_asked_for_and_known_is_made():
    assert attributes({"k8s.pod.ip", "k8s.deployment.name", "k8s.node.name"}, "s", "p") == {"k8s.node.name": "node-1"}


def test_the_hostname_is_what_the_pod_sees():
    assert attributes({"k8s.pod.hostname"}, "s", "p", host_network=True) == {"k8s.pod.hostname": "node-1"}


@pytest.mark.parametrize(
    ("labels", "owner", "expected"),
    [
        ({"app.kubernetes.io/name": "n", "app.kubernetes.io/instance": "i"}, ("StatefulSet", "db"), "i"),
        ({"app.kubernetes.io/name": "n"}, ("StatefulSet", "db"), "n"),
        ({}, ("StatefulSet", "db"), "db"),
        ({"pod-template-hash": "abc"}, ("ReplicaSet", "web-abc"), "web"),
        ({}, ("ReplicaSet", "web-abc"), "web-abc"),
        ({}, ("Job", "backup-29366040"), "backup"),
        ({}, None, "p"),
    ],
)
def test_service_name_by_opentelemetrys_order(labels, owner, expected):
    owners = [objects.owner(*owner)] if owner else []
    assert attributes({"service.name"}, "s", "p", labels=labels, owners=owners) == {"service.name": expected}


def test_otel_annotations_win():
    notes = {"resource.opentelemetry.io/service.name": "mine", "resource.opentelemetry.io/x": "y", "other": "z"}
    made = attributes({"service.name"}, "s", "p", annotations=notes, otel=True)
    assert made == {"service.name": "mine", "x": "y"}


def test_labels_by_key_by_pattern_and_all():
    labels = {"app.kubernetes.io/component": "db", "app.kubernetes.io/version": "5", "team": "a", "empty": ""}
    rules = [
        FieldRule("t", key="team"),
        FieldRule("$1", key_regex=r"app\.kubernetes\.io/(.*)"),
        FieldRule("x-${name}-$$1", key_regex=r"(?P<name>te)am"),
        FieldRule(key="team"),
        FieldRule("absent", key="nothing"),
        FieldRule("e", key="empty"),
    ]
    made = attributes(set(), "s", "p", labels=labels, labels_rules=rules)
    assert made == {"t": "a", "component": "db", "version": "5", "x-te-$1": "a", "k8s.pod.labels.team": "a", "e": ""}
    made = attributes(set(), "s", "p", labels=labels, labels_rules=[FieldRule("pod_labels_$1", key_regex="(.*)")])
    assert made == {f"pod_labels_{key}": value for key, value in labels.items() if value}
    made = attributes(set(), "s", "p", annotations={"a/b": "c"}, annotation_rules=[FieldRule(key_regex=".*")])
    assert made == {"k8s.pod.annotations.a/b": "c"}


def test_related_objects_are_watched_only_when_asked_for():
    assert Rules().kinds == frozenset()
    assert Rules(frozenset({"k8s.cluster.uid", "k8s.node.uid"})).kinds == {"namespace", "node"}
    assert Rules(frozenset({"k8s.cronjob.uid", "k8s.deployment.uid"})).kinds == {"job", "deployment"}
    labels = tuple(FieldRule(key="a", source=kind) for kind in ("namespace", "daemonset", "pod"))
    assert Rules(labels=labels).kinds == {"namespace", "daemonset"}


def test_labels_and_uids_of_related_objects():
    rules = Rules(
        frozenset({"k8s.cluster.uid", "k8s.node.uid", "k8s.deployment.uid"}),
        tuple(FieldRule(key_regex="(.*)", source=kind) for kind in ("namespace", "node", "deployment")),
        (FieldRule("note", key="n", source="namespace"),),
    )
    stores = {kind: MetaStore() for kind in rules.kinds}
    there = [
        objects.plain("Namespace", "shop", labels={"team": "a"}, annotations={"n": "hi", "m": "no"}),
        objects.plain("Namespace", "kube-system"),
        objects.plain("Node", "node-1", labels={"zone": "z"}),
        objects.plain("Deployment", "web-app", "shop", labels={"chart": "c"}),
    ]
    for entry in there:
        kind = entry["kind"].lower()
        stores[kind].wanted = rules.wanted(kind)
        stores[kind].put(msgspec.json.decode(json.dumps(entry), type=PartialObject))
    assert rules.of_pod(pod_of(rules, "shop", "p", **WEB), lambda kind, key: stores[kind].get(key)) == {
        "k8s.cluster.uid": objects.uid_of("Namespace", "", "kube-system"),
        "k8s.node.uid": objects.uid_of("Node", "", "node-1"),
        "k8s.deployment.uid": objects.uid_of("Deployment", "shop", "web-app"),
        "k8s.namespace.labels.team": "a",
        "note": "hi",
        "k8s.node.labels.zone": "z",
        "k8s.deployment.labels.chart": "c",
    }


def test_the_cronjobs_uid_is_the_jobs_owner():
    rules = Rules(frozenset({"k8s.cronjob.uid"}))
    store = MetaStore()
    job = objects.plain("Job", "b-29366040", "s", owners=[objects.owner("CronJob", "b", "s")])
    store.put(msgspec.json.decode(json.dumps(job), type=PartialObject))
    pod = pod_of(rules, "s", "p", owners=[objects.owner("Job", "b-29366040", "s")])
    assert rules.of_pod(pod, lambda kind, key: store.get(key)) == {
        "k8s.cronjob.uid": objects.uid_of("CronJob", "s", "b"),
    }


def test_containers_by_name_by_id_or_alone():
    rules = Rules(METADATA)
    pod = pod_of(
        rules, "s", "p", restarts=3, containers={"app": "reg.example:5000/a/b:1.2@sha256:ff", "side": "busybox"}
    )
    app = container_of(pod, "app", "")
    assert rules.of_container(pod, app, None) == {
        "k8s.container.name": "app",
        "container.id": objects.container_id("s", "p", "app", "3"),
        "container.image.name": "reg.example:5000/a/b",
        "container.image.tag": "1.2",
        "container.image.repo_digests": [pod.containers[0].image_id],
        "service.version": "1.2@sha256:ff",
        "service.instance.id": "s.p.app",
    }
    assert rules.of_container(pod, app, 2)["container.id"] == objects.container_id("s", "p", "app", "2")
    assert "container.id" not in rules.of_container(pod, app, 0)
    side = container_of(pod, "", objects.container_id("s", "p", "side", "2"))
    assert side.name == "side" and rules.of_container(pod, side, None)["container.image.tag"] == "latest"
    assert container_of(pod, "other", "") is container_of(pod, "", "") is None
    alone = pod_of(rules, "s", "q", containers={"only": "x"})
    assert container_of(alone, "", "").name == "only"


@pytest.mark.parametrize(
    ("reference", "name", "tag", "version"),
    [
        ("nginx", "nginx", "latest", ""),
        ("nginx:1.27", "nginx", "1.27", "1.27"),
        ("localhost:5000/nginx", "localhost:5000/nginx", "latest", ""),
        ("localhost:5000/a/nginx:v1@sha256:00", "localhost:5000/a/nginx", "v1", "v1@sha256:00"),
        ("nginx@sha256:00", "nginx", "", "sha256:00"),
    ],
)
def test_images(reference, name, tag, version):
    parsed = images.parse(reference)
    assert (parsed.name, images.tag_of(parsed), images.version_of(parsed)) == (name, tag, version)


def test_digests():
    assert images.repo_digest("docker-pullable://nginx@sha256:00") == "nginx@sha256:00"
    assert images.repo_digest("sha256:00") == ""
