"""Monitors as scrape configurations: names, labels and selectors as prometheus-operator makes them; what is refused."""

import json

import msgspec
import pytest

from hawse.allocator.crd import Monitor, Rights
from hawse.allocator.documents import decoded
from hawse.allocator.monitors import KINDS
from hawse.allocator.safety import Allow, Guard, Refusal
from hawse.allocator.select import Limits
from hawse.kube.objects import ObjectMeta
from hawse.prometheus.settings import GlobalConfig
from hawse.prometheus.targets import Dropped, populate

META = "__meta_kubernetes_"
SECRETS = {("shop", "auth", "user"): "u", ("shop", "auth", "password"): "p", ("shop", "auth", "ca.crt"): "PEM"}


def lookup(namespace, name, key):
    try:
        return SECRETS[namespace, name, key]
    except KeyError:
        raise Refusal(f"the Secret {namespace}/{name} is not one that the allocator may read") from None


def rights(limits=(), **allow):
    return Rights(
        Guard(Allow(**allow)), Limits.of(limits or ("*",), "monitoring"), lookup, lookup, False, "", ("pod", "service")
    )


def jobs(kind, spec, given=None, name="web", namespace="shop"):
    monitor = Monitor(ObjectMeta(name=name, namespace=namespace), msgspec.Raw(json.dumps(spec).encode()))
    return list(KINDS[kind].jobs(monitor, given or rights()))


def job(kind, spec, given=None):
    (made,) = jobs(kind, spec, given)
    return made


def config(kind, spec, given=None):
    made = job(kind, spec, given)
    assert made.refused == ""
    return decoded(made.document, GlobalConfig())


def refused(kind, spec, given=None):
    return job(kind, spec, given).refused


def test_service_monitor():
    made = config(
        "ServiceMonitor",
        {
            "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["test"]}],
            },
            "jobLabel": "team",
            "targetLabels": ["app.kubernetes.io/part-of"],
            "podTargetLabels": ["version"],
            "sampleLimit": 1000,
            "endpoints": [
                {
                    "port": "http",
                    "path": "/m",
                    "scheme": "HTTPS",
                    "interval": "15s",
                    "scrapeTimeout": "5s",
                    "params": {"a": ["1", "2"]},
                    "honorLabels": True,
                    "tlsConfig": {"insecureSkipVerify": True, "serverName": "web"},
                    "basicAuth": {
                        "username": {"name": "auth", "key": "user"},
                        "password": {"name": "auth", "key": "password"},
                    },
                    "relabelings": [{"sourceLabels": ["__address__"], "targetLabel": "addr", "action": "Uppercase"}],
                    "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "go_.*", "action": "drop"}],
                }
            ],
        },
    )
    assert made.job_name == "serviceMonitor/shop/web/0"
    assert (made.metrics_path, made.scheme, made.sample_limit, made.honor_labels) == ("/m", "https", 1000, True)
    assert (float(made.scrape_interval), float(made.scrape_timeout)) == (15, 5)
    assert made.tls_config.insecure_skip_verify
    assert (made.basic_auth.username, made.basic_auth.password.reveal()) == ("u", "p")
    assert made.metric_relabel_configs[0].action == "drop"
    (found,) = made.kubernetes_sd_configs
    assert (found.role, found.namespaces.names) == ("endpointslice", ("shop",))
    assert not made.follow_redirects
    labels = {
        "__address__": "10.1.0.1:8080",
        f"{META}namespace": "shop",
        f"{META}service_name": "web-svc",
        f"{META}service_label_app": "web",
        f"{META}service_labelpresent_app": "true",
        f"{META}service_label_team": "checkout",
        f"{META}service_label_app_kubernetes_io_part_of": "store",
        f"{META}endpointslice_port_name": "http",
        f"{META}endpointslice_address_target_kind": "Pod",
        f"{META}endpointslice_address_target_name": "web-0",
        f"{META}pod_name": "web-0",
        f"{META}pod_container_name": "app",
        f"{META}pod_label_version": "v1",
        f"{META}pod_phase": "Running",
    }
    target = populate(labels, made)
    assert target.labels == {
        "namespace": "shop",
        "service": "web-svc",
        "pod": "web-0",
        "container": "app",
        "app_kubernetes_io_part_of": "store",
        "version": "v1",
        "job": "checkout",
        "endpoint": "http",
        "addr": "10.1.0.1:8080",
        "instance": "10.1.0.1:8080",
    }
    assert str(target.url) == "https://10.1.0.1:8080/m?a=1&a=2"
    for change in (
        {f"{META}service_label_app": "api"},
        {f"{META}endpointslice_port_name": "grpc"},
        {f"{META}service_label_tier": "test", f"{META}service_labelpresent_tier": "true"},
        {f"{META}pod_phase": "Succeeded"},
    ):
        assert isinstance(populate({**labels, **change}, made), Dropped), change


def test_service_monitor_of_nodes_without_a_job_label():
    made = config("ServiceMonitor", {"endpoints": [{"targetPort": 10250, "filterRunning": False}]})
    labels = {
        "__address__": "10.0.0.1:10250",
        f"{META}namespace": "kube-system",
        f"{META}service_name": "kubelet",
        f"{META}pod_container_port_number": "10250",
        f"{META}endpointslice_address_target_kind": "Node",
        f"{META}endpointslice_address_target_name": "node-1",
        f"{META}pod_phase": "Failed",
    }
    found = populate(labels, made).labels
    assert (found["node"], found["job"], found["endpoint"]) == ("node-1", "kubelet", "10250")


def test_each_endpoint_is_a_job_and_what_is_wrong_with_one_is_said_of_it():
    made = jobs("ServiceMonitor", {"endpoints": [{"port": "a"}, {"port": "b", "bearerTokenFile": "/x"}, {"port": "c"}]})
    assert [one.name for one in made] == [f"serviceMonitor/shop/web/{number}" for number in range(3)]
    assert [bool(one.refused) for one in made] == [False, True, False]


def test_pod_monitor():
    made = config(
        "PodMonitor",
        {
            "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web.v1", "api"]}]},
            "namespaceSelector": {"matchNames": ["shop", "other"]},
            "podTargetLabels": ["team"],
            "podMetricsEndpoints": [{"portNumber": 9090, "bearerTokenSecret": {"name": "auth", "key": "user"}}],
        },
    )
    assert made.job_name == "podMonitor/shop/web/0"
    assert made.authorization.credentials.reveal() == "u"
    assert made.kubernetes_sd_configs[0].namespaces.names == ("other", "shop")
    labels = {
        "__address__": "10.1.0.1:9090",
        f"{META}namespace": "other",
        f"{META}pod_name": "web-0",
        f"{META}pod_container_name": "app",
        f"{META}pod_container_port_number": "9090",
        f"{META}pod_label_app": "web.v1",
        f"{META}pod_labelpresent_app": "true",
        f"{META}pod_label_team": "a",
    }
    assert populate(labels, made).labels == {
        "job": "shop/web",
        "namespace": "other",
        "container": "app",
        "pod": "web-0",
        "team": "a",
        "instance": "10.1.0.1:9090",
    }
    assert isinstance(populate({**labels, f"{META}pod_label_app": "webxv1"}, made), Dropped)
    assert isinstance(populate({**labels, f"{META}pod_container_port_number": "1"}, made), Dropped)


def test_probe_of_static_targets():
    made = config(
        "Probe",
        {
            "jobName": "uptime",
            "module": "http_2xx",
            "params": [{"name": "module", "values": ["ignored"]}, {"name": "debug", "values": ["true"]}],
            "prober": {"url": "blackbox.shop.svc:9115", "scheme": "HTTP"},
            "targets": {"staticConfig": {"static": ["https://example.com/x?y=1"], "labels": {"env": "prod"}}},
        },
    )
    (static,) = made.static_configs
    assert (static.targets, static.labels) == (("https://example.com/x?y=1",), {"namespace": "shop", "env": "prod"})
    target = populate({"__address__": static.targets[0]}, made, static.labels)
    assert target.labels == {
        "job": "uptime",
        "namespace": "shop",
        "env": "prod",
        "instance": "https://example.com/x?y=1",
    }
    url = "http://blackbox.shop.svc:9115/probe?debug=true&module=http_2xx&target=https%3A%2F%2Fexample.com%2Fx%3Fy%3D1"
    assert str(target.url) == url


def test_probe_of_ingresses():
    spec = {
        "prober": {"url": "blackbox.shop.svc:9115"},
        "targets": {"ingress": {"selector": {"matchLabels": {"a": "b"}}}},
    }
    made = config("Probe", spec)
    labels = {
        "__address__": "shop.example.com",
        f"{META}namespace": "shop",
        f"{META}ingress_name": "front",
        f"{META}ingress_scheme": "https",
        f"{META}ingress_path": "/",
        f"{META}ingress_label_a": "b",
        f"{META}ingress_labelpresent_a": "true",
    }
    target = populate(labels, made)
    assert target.labels["instance"] == "https://shop.example.com/"
    assert target.labels["ingress"] == "front"
    assert target.url.address == "blackbox.shop.svc:9115"
    assert isinstance(populate({**labels, f"{META}ingress_label_a": "c"}, made), Dropped)


def test_scrape_config():
    made = config(
        "ScrapeConfig",
        {
            "jobName": "mine",
            "metricsPath": "/x",
            "scrapeInterval": "1m",
            "staticConfigs": [{"targets": ["a.shop.svc:80"], "labels": {"x": "y"}}],
            "kubernetesSDConfigs": [
                {"role": "Pod", "selectors": [{"role": "Pod", "label": "app=web"}]},
                {"role": "Service", "namespaces": {"names": ["other"], "ownNamespace": True}},
            ],
            "relabelings": [{"targetLabel": "z", "replacement": "$1"}],
        },
    )
    assert made.job_name == "scrapeConfig/shop/web"
    assert populate({"__address__": "a.shop.svc:80"}, made).labels["job"] == "mine"
    pods, services = made.kubernetes_sd_configs
    assert (pods.role, pods.namespaces.names, pods.selectors[0].label) == ("pod", (), "app=web")
    assert services.namespaces.names == ("other", "shop")


def test_discovery_stays_within_the_limits():
    spec = {"namespaceSelector": {"any": True}, "endpoints": [{"port": "http"}]}
    assert config("ServiceMonitor", spec).kubernetes_sd_configs[0].namespaces.names == ()
    some = rights(("shop", "b"))
    assert config("ServiceMonitor", spec, some).kubernetes_sd_configs[0].namespaces.names == ("b", "shop")
    spec["namespaceSelector"] = {"matchNames": ["b", "secret"]}
    assert config("ServiceMonitor", spec, some).kubernetes_sd_configs[0].namespaces.names == ("b",)
    spec["namespaceSelector"] = {"matchNames": ["secret"]}
    assert refused("ServiceMonitor", spec, some) == (
        "its targets are in secret, where the allocator may not look (namespaces)"
    )
    own = msgspec.structs.replace(some, ignore_namespace_selectors=True)
    assert config("ServiceMonitor", spec, own).kubernetes_sd_configs[0].namespaces.names == ("shop",)


REFUSED = [
    ("ServiceMonitor", {"endpoints": [{"bearerTokenFile": "/var/run/token"}]}, "bearerTokenFile names a file"),
    ("ServiceMonitor", {"endpoints": [{"tlsConfig": {"caFile": "/ca"}}]}, "tlsConfig.caFile names a file"),
    ("ServiceMonitor", {"endpoints": [{"tlsConfig": {"certFile": "/c"}}]}, "tlsConfig.certFile names a file"),
    ("ServiceMonitor", {"endpoints": [{"tlsConfig": {"keyFile": "/k"}}]}, "tlsConfig.keyFile names a file"),
    ("PodMonitor", {"podMetricsEndpoints": [{"tlsConfig": {"keyFile": "/k"}}]}, "tlsConfig.keyFile names a file"),
    ("ServiceMonitor", {"endpoints": [{"authorization": {"credentialsFile": "/k"}}]}, "credentialsFile names a file"),
    ("ServiceMonitor", {"endpoints": [{"oauth2": {"tokenUrl": "http://169.254.169.254/t"}}]}, "oauth2.tokenUrl"),
    (
        "ServiceMonitor",
        {"endpoints": [{"oauth2": {"tokenUrl": "http://a.shop.svc/t", "tlsConfig": {"caFile": "/ca"}}}]},
        "tlsConfig.caFile names a file",
    ),
    ("ServiceMonitor", {"endpoints": [{"proxyUrl": "http://evil.com:80"}]}, "proxyUrl: evil.com"),
    (
        "ServiceMonitor",
        {"endpoints": [{"authorization": {"credentials": {"name": "other", "key": "t"}}}]},
        "the Secret shop/other is not one",
    ),
    ("ServiceMonitor", {"endpoints": [{"tlsConfig": {"ca": {"secret": {"name": "x", "key": "y"}}}}]}, "Secret shop/x"),
    ("ServiceMonitor", {"endpoints": [{"tlsConfig": {"ca": {"configMap": {"name": "x", "key": "y"}}}}]}, "shop/x"),
    ("ServiceMonitor", {"endpoints": [{"port": 7}]}, "spec: Expected `str | null`, got `int`"),
    ("ServiceMonitor", {"endpoints": "no"}, "spec: Expected `array`, got `str`"),
    ("ServiceMonitor", {"endpoints": []}, "it has no endpoints"),
    ("ServiceMonitor", {"endpoints": [{}] * 501}, "501 endpoints are too many: at most 500"),
    ("PodMonitor", {"podMetricsEndpoints": [{}] * 501}, "501 endpoints are too many"),
    ("ServiceMonitor", {"endpoints": [{"relabelings": [{}] * 501}]}, "501 relabelings are too many"),
    ("ServiceMonitor", {"endpoints": [{"metricRelabelings": [{}] * 501}]}, "501 relabelings are too many"),
    ("ServiceMonitor", {"endpoints": [{}], "scrapeClass": "x"}, "the scrape class 'x' is not known"),
    (
        "ServiceMonitor",
        {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}, "endpoints": [{}]},
        "'Near' is no operator",
    ),
    ("Probe", {"targets": {"staticConfig": {"static": ["a"]}}}, "prober.url is missing"),
    ("Probe", {"prober": {"url": "127.0.0.1:9115"}, "targets": {}}, "prober.url: 127.0.0.1 is a loopback"),
    (
        "Probe",
        {"prober": {"url": "b.monitoring.svc:9115"}, "targets": {}},
        "prober.url: b.monitoring.svc is not a name",
    ),
    ("Probe", {"prober": {"url": "http://b.shop.svc:9115"}, "targets": {}}, "prober.url is host and port"),
    ("Probe", {"prober": {"url": "b.shop.svc:9115/x"}, "targets": {}}, "prober.url is missing, or no host and port"),
    ("Probe", {"prober": {"url": "b.shop.svc:9115"}, "targets": {}}, "neither staticConfig nor ingress"),
    ("ScrapeConfig", {"fileSDConfigs": [{"files": ["/etc/x.json"]}]}, "fileSDConfigs would read files"),
    ("ScrapeConfig", {"httpSDConfigs": [{"url": "http://a.shop.svc/sd"}]}, "allow.http_discovery is off"),
    ("ScrapeConfig", {"consulSDConfigs": [{"server": "x"}]}, "consulSDConfigs: this kind of discovery is not there"),
    ("ScrapeConfig", {"kubernetesSDConfigs": [{"role": "Node"}]}, "allow.node_discovery is off"),
    ("ScrapeConfig", {"kubernetesSDConfigs": [{"role": "Ingress"}]}, "not in prometheus_cr.scrape_config_roles"),
    ("ScrapeConfig", {"kubernetesSDConfigs": [{"role": "Dragon"}]}, "the role 'Dragon' is not one of"),
    ("ScrapeConfig", {"kubernetesSDConfigs": [{"role": "Pod", "apiServer": "http://x"}]}, "apiServer"),
    (
        "ScrapeConfig",
        {"staticConfigs": [{"targets": ["a"], "labels": {"__meta_kubernetes_pod_ip": "10.0.0.1"}}]},
        "the label __meta_kubernetes_pod_ip says what was discovered",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "reason"), REFUSED, ids=[f"{kind}-{why[:30]}" for kind, _, why in REFUSED])
def test_what_is_refused(kind, spec, reason):
    made = job(kind, spec)
    assert reason in made.refused
    assert made.document == {}


def test_what_loosens_it():
    files = {"endpoints": [{"bearerTokenFile": "/token", "tlsConfig": {"caFile": "/ca"}, "followRedirects": True}]}
    made = config("ServiceMonitor", files, rights(file_references=True, redirects=True))
    assert (made.authorization.credentials_file, made.tls_config.ca_file) == ("/token", "/ca")
    assert made.follow_redirects
    assert job("ServiceMonitor", {"endpoints": [{"followRedirects": True}]}).notes == (
        "followRedirects has no effect (allow.redirects is off)",
    )
    http = {"httpSDConfigs": [{"url": "http://a.shop.svc/sd", "refreshInterval": "5s"}]}
    assert config("ScrapeConfig", http, rights(http_discovery=True)).http_sd_configs[0].url == "http://a.shop.svc/sd"
    assert "is not a name" in refused(
        "ScrapeConfig", {"httpSDConfigs": [{"url": "http://evil.com/sd"}]}, rights(http_discovery=True)
    )
    assert config("ScrapeConfig", {"kubernetesSDConfigs": [{"role": "Node"}]}, rights(node_discovery=True))
    probe = {"prober": {"url": "b.monitoring.svc:9115"}, "targets": {"staticConfig": {"static": ["a"]}}}
    assert config("Probe", probe, rights(addresses=("b.monitoring.svc",)))


def test_prometheus_refusals_are_told():
    made = job("ServiceMonitor", {"endpoints": [{"interval": "1s", "scrapeTimeout": "5s"}]})
    with pytest.raises(Refusal, match="timeout greater than scrape interval"):
        decoded(made.document, GlobalConfig())
    made = job("ServiceMonitor", {"endpoints": [{"relabelings": [{"regex": "(", "action": "keep"}]}]})
    with pytest.raises(Refusal, match="relabel_configs.*regex"):
        decoded(made.document, GlobalConfig())
    made = job("ServiceMonitor", {"endpoints": [{"interval": "soon"}]})
    with pytest.raises(Refusal, match="scrape_interval: 'soon' is no duration"):
        decoded(made.document, GlobalConfig())
