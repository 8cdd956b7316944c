"""Targets: lists out of files and off HTTP servers, objects out of Kubernetes, and rules that a tenant writes."""

from collections.abc import Iterator
from typing import Any

import msgspec

from fuzz.targets import Target, table
from hawse.diagnostics import HawseError
from hawse.kube.client import _NO_JSON
from hawse.prometheus.decoding import decoded, decoded_yaml
from hawse.prometheus.discovery import formats
from hawse.prometheus.discovery.formats import FormatError
from hawse.prometheus.discovery.kubernetes.finder import ROLES
from hawse.prometheus.discovery.kubernetes.kept import Keeper
from hawse.prometheus.discovery.kubernetes.stores import Store
from hawse.prometheus.discovery.kubernetes.watching import KINDS
from hawse.prometheus.sd_settings import KubernetesSDConfig
from hawse.prometheus.settings import GlobalConfig, ScrapeConfig
from hawse.prometheus.targets import Dropped, Populate

_POPULATE = Populate(decoded({"job_name": "j"}, ScrapeConfig).filled(GlobalConfig()))


def _lists(data: bytes) -> None:
    try:
        if data[:1] == b"y":
            groups = formats.from_yaml(data[1:], "f.yaml", {"__meta_filepath": "f.yaml"})
        else:
            groups = formats.from_json(data[1:], "u", {"__meta_url": "u"})
    except FormatError as error:
        assert str(error)
        return
    for group in groups.values():
        for found in _POPULATE.group(group):
            assert found.discovered
            assert isinstance(found, Dropped) or str(found.url).isascii()


_TARGET = {"__address__": "10.0.0.1:80", "__meta_a": "x-y", "__meta_b_c": "true", "env": "a" * 50, "ö": "ä\n"}


def _rules(data: bytes) -> None:
    """A whole job: what is taken is applied, and explained."""
    try:
        job = decoded_yaml(data, ScrapeConfig, "job.yaml")
    except HawseError as error:
        assert all(finding.message and finding.code for finding in error.findings)
        return
    populate = Populate(job.filled(GlobalConfig()))
    found = populate(_TARGET, {"team": "x"})
    steps = populate.explain(found.found)
    if isinstance(found, Dropped) and found.rule >= 0:
        assert steps[found.rule].after is None
        assert len(steps) == found.rule + 1


_ROLES = sorted(ROLES)


def _objects(data: bytes) -> None:
    """Two objects, one of the role's kind and one beside it, or any."""
    if len(data) < 2:
        return
    role = _ROLES[data[0] % len(_ROLES)]
    keeper = Keeper()
    found: dict[str, dict[str, Any]] = {}
    for part, kind in zip(data[2:].split(b"\0", 1), (role, sorted(KINDS)[data[1] % len(KINDS)]), strict=False):
        known = KINDS[kind].object
        if known is None:
            continue
        store: Store[Any, Any] = Store(keeper.pod if kind == "pod" else keeper.other)
        try:
            store.put(msgspec.json.decode(part, type=known))
        except _NO_JSON:
            continue
        found[kind] = store.objects
    attach = {"node": True, "namespace": True, "deployment": True, "job": True, "cronjob": True}
    config = decoded({"role": role, "attach_metadata": attach}, KubernetesSDConfig)
    made = ROLES[role](config, lambda kind, key: found.get(kind, {}).get(key))
    for one in list(found.get(role, {}).values()):
        list(made.references(one))
        for target in made.build(one).targets:
            assert all(isinstance(value, str) for value in target.values())


_POD = (
    b'{"metadata":{"name":"a","namespace":"n","uid":"u","labels":{"app":"a/b"},"annotations":{"k":"v"},"ownerReferences":'
    b'[{"kind":"ReplicaSet","name":"r","uid":"r","controller":true}]},"spec":{"nodeName":"node","containers":[{"name":"c",'
    b'"image":"i:1","ports":[{"name":"h","containerPort":80,"protocol":"TCP"}]}],"initContainers":null},"status":{"phase":'
    b'"Running","podIP":"fd00::1","hostIP":"h","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":'
    b'[{"name":"c","containerID":"containerd://x"}]}}'
)
_SEEDS = {
    "pod": _POD,
    "node": b'{"metadata":{"name":"n"},"spec":{"providerID":"p"},"status":{"addresses":[{"type":"InternalIP","address":"a"}],'
    b'"conditions":[{"type":"Ready","status":"True"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}',
    "service": b'{"metadata":{"name":"s","namespace":"n"},"spec":{"type":"LoadBalancer","clusterIP":"c","ports":[{"port":80}]},'
    b'"status":{"loadBalancer":{"ingress":[{"ip":"i"}]}}}',
    "endpoints": b'{"metadata":{"name":"s","namespace":"n"},"subsets":[{"addresses":[{"ip":"i","nodeName":"n","targetRef":'
    b'{"kind":"Pod","name":"a","namespace":"n"}}],"notReadyAddresses":[{"ip":"j"}],"ports":[{"port":80}]}]}',
    "endpointslice": b'{"metadata":{"name":"s-1","namespace":"n","labels":{"kubernetes.io/service-name":"s"}},"addressType":"IPv4",'
    b'"endpoints":[{"addresses":["a"],"conditions":{"ready":true},"targetRef":{"kind":"Pod","name":"a","namespace":"n"},'
    b'"deprecatedTopology":{"a":"b"}}],"ports":[{"port":80,"appProtocol":"h"}]}',
    "ingress": b'{"metadata":{"name":"i","namespace":"n"},"spec":{"rules":[{"host":"a.b","http":{"paths":[{"path":"/"}]}}],'
    b'"tls":[{"hosts":["*.b"]}]}}',
}  # fmt: skip


def _object_seeds() -> Iterator[bytes]:
    pod = sorted(KINDS).index("pod")
    for number, role in enumerate(_ROLES):
        yield bytes((number, pod)) + _SEEDS[role] + b"\0" + _POD


def _list_seeds() -> Iterator[bytes]:
    yield b'j[{"targets":["a:1","[::1]:2","h/x"],"labels":{"__scrape_interval__":"5s","a":"b"}},{"targets":null}]'
    yield b"y- targets: [a:1]\n  labels: {version: 1.10, on: true}\n- targets: []\n"


def _rule_seeds() -> Iterator[bytes]:
    yield b"""job_name: j
scrape_interval: 15s
params: {module: [http_2xx]}
relabel_configs:
- {source_labels: [__meta_a, env], separator: "-", regex: "(?P<x>[a-z]+)-(.*)", target_label: "${x}_$2", replacement: "$1$$"}
- {action: labelmap, regex: "__meta_(.+)", replacement: "m_$1"}
- {action: hashmod, source_labels: [__address__], target_label: __tmp, modulus: 8}
- {action: keep, source_labels: [__tmp], regex: 0|1|2|3|4|5|6|7}
"""
    yield b"""job_name: j
metric_name_validation_scheme: legacy
relabel_configs: [{action: labelkeep, regex: "__.*|env"}, {action: uppercase, source_labels: [env], target_label: env}]
metric_relabel_configs: [{action: dropequal, source_labels: [a], target_label: b}, {action: labeldrop, regex: (a|b)+c}]
kubernetes_sd_configs: [{role: pod, namespaces: {names: [a]}, selectors: [{role: pod, label: "a=b"}], attach_metadata: {node: true}}]
"""


_WORDS = [
    b"(a*)*", b"{1000}", b"(?i)", b"(?P<a>", b"\\pL", b"[^", b"$1", b"${", b"$$", b"|", b".*", b"\\", b"hashmod", b"labelmap", b"replace",
    b"target_label: ", b"regex: ", b"source_labels: [", b"- {action: ", b"null", b"\\ud800", b'"', b"{}", b"[]", b"\n", b"\xff",
]  # fmt: skip

TARGETS = table(
    Target("targets", _lists, _list_seeds, _WORDS, 2048),
    Target("relabelling", _rules, _rule_seeds, _WORDS, 2048),
    Target("kube_objects", _objects, _object_seeds, _WORDS, 4096),
)
