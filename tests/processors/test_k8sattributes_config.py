"""What users write for k8sattributes: OpenTelemetry's keys work, what is wrong is told, needs are exact."""

import pytest

from hawse.component import Calls, Connects
from hawse.config.decode import Decoder
from hawse.config.reader import read_yaml
from hawse.diagnostics import HawseError
from hawse.kube.rules import DEFAULT_METADATA
from hawse.kube.watches import Scope
from hawse.processors.k8sattributes import Config, factory, needs


def decoded(text):
    findings = []
    made = Decoder(findings).struct(read_yaml(text, "config.yaml", findings), Config, "processors.k8sattributes")
    return made, findings


def good(text):
    made, findings = decoded(text)
    assert not findings, [str(finding) for finding in findings]
    return made


def calls(text):
    return {
        (need.api_group, need.resource, need.verbs, need.scope) for need in needs(good(text)) if isinstance(need, Calls)
    }


# As users of the collection chart and of the OpenTelemetry Collector have it.
COMMON = r"""
auth_type: serviceAccount
passthrough: false
wait_for_metadata: true
wait_for_metadata_timeout: 10s
pod_delete_grace_period: 5m
filter:
  namespace: production
  node: node-1
  labels:
    - {key: app, value: web, op: equals}
    - {key: tier, value: back, op: not-equals}
    - {key: monitored, op: exists}
    - {key: secret, op: does-not-exist}
  fields:
    - {key: status.phase, value: Running}
    - {key: spec.serviceAccountName, value: x, op: not-equals}
extract:
  otel_annotations: true
  deployment_name_from_replicaset: true
  metadata: [k8s.pod.name, k8s.pod.hostname, k8s.deployment.name, container.image.name, service.name]
  labels:
    - {tag_name: "pod_labels_$1", key_regex: (.*)}
    - {tag_name: "namespace_labels_$1", key_regex: (.*), from: namespace}
  annotations:
    - {tag_name: commit, key: git-commit, from: pod}
    - {key: owner}
pod_association:
  - sources:
      - {from: resource_attribute, name: k8s.pod.uid}
  - sources:
      - {from: resource_attribute, name: k8s.pod.name}
      - {from: resource_attribute, name: k8s.namespace.name}
  - sources:
      - from: connection
exclude:
  pods:
    - name: jaeger-agent
"""


def test_a_common_configuration():
    made = good(COMMON)
    assert made.associations == (("k8s.pod.uid",), ("k8s.pod.name", "k8s.namespace.name"), ("connection",))
    assert made.filter.scope() == Scope(
        "production",
        "app=web,tier!=back,monitored,!secret",
        "status.phase=Running,spec.serviceAccountName!=x,spec.nodeName=node-1",
    )
    assert made.rules.kinds == {"namespace"}
    assert made.wait_for_metadata_timeout == 10 and made.pod_delete_grace_period == 300


def test_defaults():
    made = good("")
    assert set(made.rules.metadata) == set(DEFAULT_METADATA)
    assert made.associations[0] == ("k8s.pod.uid",) and made.associations[-1] == ("connection",)
    assert made.pod_delete_grace_period == 120


def test_the_node_from_the_environment(monkeypatch):
    made = good("filter: {node_from_env_var: KUBE_NODE_NAME}")
    monkeypatch.delenv("KUBE_NODE_NAME", raising=False)
    with pytest.raises(HawseError, match="KUBE_NODE_NAME is not set.*downward API"):
        made.filter.scope()
    monkeypatch.setenv("KUBE_NODE_NAME", "n7")
    assert made.filter.scope().field_selector == "spec.nodeName=n7"


@pytest.mark.parametrize(
    ("text", "path", "says", "fix"),
    [
        ("extract: {metadata: [k8s.pod.nam]}", "extract.metadata[0]", "k8s.pod.nam", 'did you mean "k8s.pod.name"?'),
        ("extract: {metadatas: []}", "extract.metadatas", "unknown key", "metadata"),
        (
            "extract: {deployment_name_from_replicaset: false}",
            "extract.deployment_name_from_replicaset",
            "never read",
            "remove",
        ),
        ("extract: {labels: [{key: a, key_regex: b}]}", "extract.labels[0].key", "only one", ""),
        ("extract: {labels: [{tag_name: a}]}", "extract.labels[0].key", "one of key and key_regex", ""),
        ("extract: {labels: [{key_regex: '(', tag_name: a}]}", "extract.labels[0].key_regex", "regular expression", ""),
        ("extract: {labels: [{key_regex: '(a)', tag_name: $2}]}", "extract.labels[0].tag_name", "$2", "1 group"),
        ("extract: {labels: [{key_regex: '(a)', tag_name: x_$1_y}]}", "extract.labels[0].tag_name", "$1_y", "${1}"),
        (
            "extract: {labels: [{key_regex: '(a)', tag_name: same}]}",
            "extract.labels[0].tag_name",
            "same attribute",
            "$1",
        ),
        ("extract: {labels: [{key: a, from: service}]}", "extract.labels[0].from", "pod, namespace", ""),
        ("auth_type: tls", "auth_type", "serviceAccount, kubeConfig, none", ""),
        ("context: prod", "context", "kubeConfig", "set auth_type"),
        ("watch_sync_period: 5m", "watch_sync_period", "no cache", "remove"),
        ("filter: {labels: [{key: a, op: in}]}", "filter.labels[0].op", "equals", ""),
        ("filter: {fields: [{key: a, value: b, op: exists}]}", "filter.fields[0].op", "equals", ""),
        ("pod_association: [{sources: []}]", "pod_association[0].sources", "", ""),
        (
            "pod_association: [{sources: [{from: resource_attribute}]}]",
            "pod_association[0].sources[0].name",
            "name",
            "",
        ),
        ("pod_association: [{sources: [{from: labels}]}]", "pod_association[0].sources[0].from", "connection", ""),
        (
            "pod_association: [{sources: [{from: resource_attribute, name: foo}]}]",
            "pod_association[0].sources[0].name",
            "foo",
            "extract.metadata",
        ),
        ("exclude: {pods: [{name: '['}]}", "exclude.pods[0].name", "regular expression", ""),
    ],
)
def test_what_is_wrong_is_told(text, path, says, fix):
    _, findings = decoded(text)
    assert len(findings) == 1, [str(finding) for finding in findings]
    (found,) = findings
    assert found.where.path == f"processors.k8sattributes.{path}" and found.where.line == 1
    assert says in found.message and fix in found.fix


@pytest.mark.parametrize(
    "name", ["container.id", "host.name", "k8s.pod.ip", "app", "k8s.pod.labels.tier", "k8s.node.name"]
)
def test_what_pods_can_be_found_by(name):
    good(f"""
extract: {{labels: [{{key: app, tag_name: app}}, {{key: tier}}]}}
pod_association: [{{sources: [{{from: resource_attribute, name: {name}}}]}}]
""")


PODS = ("", "pods", ("list", "watch"), "cluster")


def test_needs_are_what_the_rules_read_and_nothing_else():
    assert list(needs(good("passthrough: true"))) == []
    assert calls("") == {PODS}
    assert calls("filter: {namespace: shop}") == {("", "pods", ("list", "watch"), "shop")}
    assert calls("extract: {labels: [{key: a}]}") == {PODS}
    assert calls("extract: {labels: [{key: a, from: namespace}]}") == {
        PODS,
        ("", "namespaces", ("list", "watch"), "cluster"),
    }
    assert calls("extract: {metadata: [k8s.node.uid, k8s.cronjob.uid]}") == {
        PODS,
        ("", "nodes", ("list", "watch"), "cluster"),
        ("batch", "jobs", ("list", "watch"), "cluster"),
    }
    assert calls("{filter: {namespace: shop}, extract: {annotations: [{key: a, from: deployment}]}}") == {
        ("", "pods", ("list", "watch"), "shop"),
        ("apps", "deployments", ("list", "watch"), "shop"),
    }
    assert [need.port for need in needs(good("")) if isinstance(need, Connects)] == [443]
    assert factory.type == "k8sattributes"
