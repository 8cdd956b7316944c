"""What an API server, or whoever answers in its place, sends; and kubeconfig files."""

from collections.abc import Iterator
from typing import Any

import msgspec

from fuzz.targets import Target, table
from hawse.diagnostics import HawseError
from hawse.kube import kubeconfig
from hawse.kube.client import _NO_JSON, _Events
from hawse.kube.errors import ApiError, Call, explain
from hawse.kube.lines import Lines
from hawse.kube.metadata import PodStore
from hawse.kube.objects import ObjectList, PartialObject, PodObject
from hawse.kube.pods import Keys, Wanted

_CALL = Call("", "v1", "pods")
_PAGES: tuple[msgspec.json.Decoder[Any], ...] = (
    msgspec.json.Decoder(ObjectList[PodObject]),
    msgspec.json.Decoder(ObjectList[PartialObject]),
)


def _watch(data: bytes) -> None:
    if len(data) < 2:
        return
    events: _Events[Any] = _Events(_CALL, PodObject) if data[0] & 1 else _Events(_CALL, PartialObject)
    lines, store, step = Lines(longest=1 << 16), _store(), 1 + data[1]
    try:
        for at in range(2, len(data), step):
            for line in lines.feed(data[at : at + step]):
                kind, found, _ = events.decode(line)
                if isinstance(found, PodObject):
                    store.delete(found) if kind == "DELETED" else store.put(found)
    except ApiError as error:
        assert str(error)


def _list(data: bytes) -> None:
    if not data:
        return
    try:
        page = _PAGES[data[0] & 1].decode(data[1:])
    except _NO_JSON:
        error = explain(200 + data[0], data[1:], {"retry-after": data[1:9].decode("latin-1")}, "list", _CALL, "here")
        assert str(error)
        return
    if data[0] & 1 == 0:
        store = _store()
        store.begin()
        for found in page.items or ():
            store.put(found)
        store.end()


def _store() -> PodStore:
    store = PodStore()
    store.wanted = Wanted(Keys(patterns=[".*"]), Keys(patterns=[".*"]), containers=True)
    return store


def _kubeconfig(data: bytes) -> None:
    try:
        merged = kubeconfig.Kubeconfig([])
        kubeconfig._merge(merged, "/nowhere/config", kubeconfig._decode("/nowhere/config", data))
        kubeconfig.resolve(merged)
    except HawseError as error:
        assert all(finding.message and finding.code for finding in error.findings)


_POD = (
    b'{"metadata":{"name":"a-7d8f9c6b5-x2x4z","namespace":"n","uid":"u","resourceVersion":"5","creationTimestamp":"2026-11-24T13:05:00Z",'
    b'"labels":{"app":"a","pod-template-hash":"7d8f9c6b5"},"annotations":{"k":"v"},"ownerReferences":[{"kind":"ReplicaSet",'
    b'"name":"a-7d8f9c6b5","uid":"r","controller":true}]},"spec":{"nodeName":"node","containers":[{"name":"c","image":"i:1"}]},'
    b'"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}],"startTime":"2026-11-24T13:05:00Z",'
    b'"containerStatuses":[{"name":"c","containerID":"containerd://x","imageID":"i@sha256:1","restartCount":2,'
    b'"lastState":{"terminated":{"containerID":"containerd://y"}}}]}}'
)


def _watch_seeds() -> Iterator[bytes]:
    events = b"".join(b'{"type":"%b","object":%b}\n' % (kind, _POD) for kind in (b"ADDED", b"MODIFIED", b"DELETED"))
    events += b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}\n'
    gone = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    for head in (b"\0\x1f", b"\1\xff", b"\1\0"):
        yield head + events
        yield head + gone


def _list_seeds() -> Iterator[bytes]:
    page = b'{"metadata":{"resourceVersion":"7","continue":"abc"},"items":[%b,%b]}' % (_POD, _POD)
    status = b'{"kind":"Status","code":403,"reason":"Forbidden","message":"pods is forbidden","details":{"retryAfterSeconds":1}}'
    for first in (0, 1):
        yield bytes((first,)) + page
    for code in (201, 202, 203, 204, 210, 229):
        yield bytes((code,)) + status


def _kubeconfig_seeds() -> Iterator[bytes]:
    yield b"""apiVersion: v1
kind: Config
current-context: c
clusters: [{name: k, cluster: {server: "https://a:6443", certificate-authority-data: QUJD, insecure-skip-tls-verify: true}}]
users:
- name: u
  user: {token: t, exec: {apiVersion: client.authentication.k8s.io/v1, command: get-token, args: [a], env: [{name: A, value: b}]}}
contexts:
- {name: c, context: {cluster: k, user: u, namespace: n}}
"""
    yield b"clusters: null\n"
    yield b'{"clusters": [{"name": "a", "cluster": {"server": "x"}}]}'


_JSON = [
    b'{"type":"ADDED","object":',
    b"null",
    b"[]",
    b"{}",
    b"\n",
    b'"labels":',
    b'"uid":',
    b"1e99",
    b'"restartCount":-1',
    b'"metadata":null',
]
_YAML = [
    b"&a ",
    b"*a",
    b"<<: *a",
    b"- ",
    b": ",
    b"\n",
    b"\t",
    b"!!binary ",
    b"!!python/object ",
    b"? ",
    b"|\n",
    b"[[[[",
    b"{{{{",
    b"2026-11-24",
    b"~",
    b"0x",
]

TARGETS = table(
    Target("kube_watch", _watch, _watch_seeds, _JSON),
    Target("kube_list", _list, _list_seeds, _JSON),
    Target("kubeconfig", _kubeconfig, _kubeconfig_seeds, _YAML, 2048),
)
