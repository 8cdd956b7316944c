"""The scrape configuration: what is filled in from `global`, and what is refused, where and how told.

What a real Prometheus refuses and takes: tests/peers/test_relabelling.py.
"""

import pytest

from hawse.diagnostics import HawseError
from hawse.prometheus.decoding import decoded, decoded_yaml
from hawse.prometheus.settings import DEFAULT_PROTOCOLS, PROTO_FIRST, GlobalConfig, ScrapeConfig, ScrapeConfigs


def findings(value, kind=ScrapeConfig):
    with pytest.raises(HawseError) as caught:
        decoded(value, kind)
    return [(finding.where.path, finding.message) for finding in caught.value.findings]


def job(config, **above):
    return decoded({"global": above, "scrape_configs": [{"job_name": "j", **config}]}, ScrapeConfigs).jobs()[0]


def test_defaults_are_those_of_prometheus():
    made = job({})
    assert (made.scrape_interval, made.scrape_timeout, made.metrics_path, made.scheme) == (60, 10, "/metrics", "http")
    assert made.honor_timestamps and made.enable_compression and made.follow_redirects and not made.honor_labels
    assert made.scrape_protocols == DEFAULT_PROTOCOLS
    assert (made.metric_name_validation_scheme, made.metric_name_escaping_scheme) == ("utf8", "allow-utf-8")
    assert made.body_size_limit == made.sample_limit == made.target_limit == 0
    assert made.scrape_native_histograms is made.always_scrape_classic_histograms is made.extra_scrape_metrics is False


@pytest.mark.parametrize(
    ("own", "above", "interval", "timeout"),
    [
        ({}, {}, 60, 10),
        ({}, {"scrape_interval": "5s"}, 5, 5),
        ({"scrape_interval": "5s"}, {}, 5, 5),
        ({"scrape_interval": "30s"}, {"scrape_interval": "5s", "scrape_timeout": "2s"}, 30, 2),
        ({"scrape_timeout": "3s"}, {"scrape_interval": "4s"}, 4, 3),
        ({"scrape_interval": 0}, {"scrape_interval": 0, "scrape_timeout": 0}, 60, 10),
    ],
)
def test_times(own, above, interval, timeout):
    made = job(own, **above)
    assert (made.scrape_interval, made.scrape_timeout) == (interval, timeout)


def test_limits_and_switches_are_inherited():
    above = {"sample_limit": 5, "body_size_limit": "1MB", "target_limit": 3, "scrape_native_histograms": True}
    made = job({"sample_limit": 7, "convert_classic_histograms_to_nhcb": True}, **above)
    assert (made.sample_limit, made.body_size_limit, made.target_limit) == (7, 1 << 20, 3)
    assert made.scrape_native_histograms and made.convert_classic_histograms_to_nhcb
    assert made.scrape_protocols == PROTO_FIRST
    assert job({"scrape_native_histograms": False}, **above).scrape_protocols == DEFAULT_PROTOCOLS
    assert job({"scrape_classic_histograms": True}).always_scrape_classic_histograms is True
    assert job({}, scrape_protocols=["PrometheusText0.0.4"]).scrape_protocols == ("PrometheusText0.0.4",)


@pytest.mark.parametrize(
    ("own", "above", "scheme", "escaping"),
    [
        ({}, {"metric_name_validation_scheme": "legacy"}, "legacy", "underscores"),
        ({}, {"metric_name_escaping_scheme": "dots"}, "utf8", "dots"),
        ({"metric_name_validation_scheme": "legacy"}, {"metric_name_escaping_scheme": "dots"}, "legacy", "underscores"),
        ({"metric_name_escaping_scheme": "values"}, {}, "utf8", "values"),
    ],
)
def test_names(own, above, scheme, escaping):
    made = job(own, **above)
    assert (made.metric_name_validation_scheme, made.metric_name_escaping_scheme) == (scheme, escaping)


def test_numbers_and_booleans_are_the_text_that_they_are_written_with():
    text = """
    job_name: j
    params: {module: [2, yes, 1.10]}
    static_configs: [{targets: ["h:1"], labels: {version: 1.10, on: true, hex: 0x1F, none: }}]
    relabel_configs: [{source_labels: [a], regex: true, target_label: b, replacement: 007}]
    """
    made = decoded_yaml(text, ScrapeConfig, "job.yaml")
    assert made.static_configs[0].labels == {"version": "1.10", "on": "true", "hex": "0x1F", "none": ""}
    assert made.params == {"module": ("2", "yes", "1.10")}
    assert (made.relabel_configs[0].regex, made.relabel_configs[0].replacement) == ("true", "007")


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"scrape_interval": "5s", "scrape_timeout": "6s"}, "scrape_timeout", 'scrape timeout greater than scrape interval for the job "j"'),
        ({"scrape_protocols": []}, "scrape_protocols", "scrape_protocols cannot be empty"),
        ({"scrape_protocols": ["PrometheusProto", "PrometheusProto"]}, "scrape_protocols", "duplicated protocol in scrape_protocols"),
        ({"basic_auth": {"username": "a"}, "bearer_token": "b"}, "bearer_token", "at most one of basic_auth and bearer_token must be configured"),
        ({"oauth2": {"client_id": "a"}}, "oauth2", "oauth2 token_url must be configured"),
        ({"http_headers": {"Host": {"values": ["a"]}}}, "http_headers.Host", 'setting header "Host" is not allowed'),
        ({"tls_config": {"cert_file": "a"}}, "tls_config.key_file", "a client certificate and its key belong together"),
        ({"static_configs": [{"targets": ["a:1", "http://b"]}]}, "static_configs[0].targets[1]", '"http://b" is not a valid hostname'),
        ({"relabel_configs": [{"action": "hashmod", "target_label": "a"}]}, "relabel_configs[0].modulus", "relabel configuration for hashmod requires non-zero modulus"),
        (
            {"metric_name_validation_scheme": "legacy", "metric_relabel_configs": [{}, {"target_label": "a b"}]},
            "metric_relabel_configs[0].target_label",
            "the replace action requires target_label",
        ),
        ({"metric_name_validation_scheme": "legacy", "metric_name_escaping_scheme": "allow-utf-8"}, "metric_name_escaping_scheme", "utf8 metric names requested but validation scheme is not set to utf8"),
        ({"kubernetes_sd_configs": [{"role": "pod", "bearer_token": "a"}]}, "kubernetes_sd_configs[0].bearer_token", "to use a custom HTTP client configuration, api_server must be given explicitly"),
        ({"kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": "a", "tls_config": {"ca_file": "b"}}]}, "kubernetes_sd_configs[0].tls_config", "cannot use a custom HTTP client configuration together with kubeconfig_file"),
        ({"kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": "a", "api_server": "https://b"}]}, "kubernetes_sd_configs[0].kubeconfig_file", "cannot use kubeconfig_file and api_server simultaneously"),
        ({"kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": "a", "namespaces": {"own_namespace": True}}]}, "kubernetes_sd_configs[0].namespaces.own_namespace", "cannot use kubeconfig_file and namespaces.own_namespace simultaneously"),
        ({"kubernetes_sd_configs": [{"role": "pod", "selectors": [{"role": "service"}]}]}, "kubernetes_sd_configs[0].selectors[0].role", "the role pod supports only pod, node selectors"),
        ({"kubernetes_sd_configs": [{"role": "node", "selectors": [{"role": "node"}, {"role": "node"}]}]}, "kubernetes_sd_configs[0].selectors[1].role", "duplicated selector role: node"),
        ({"kubernetes_sd_configs": [{"role": "node", "api_server": "https://a", "oauth2": {"client_id": "a", "token_url": "https://b"}}]}, "kubernetes_sd_configs[0].oauth2", "oauth2 is not supported for the API server"),
        ({"file_sd_configs": [{"files": ["a.txt"]}]}, "file_sd_configs[0].files[0]", "path name 'a.txt' is not valid for file discovery"),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_where(config, path, message):
    assert (path, message) in findings({"job_name": "j", **config})


def test_what_is_wrong_only_because_of_global():
    config = {
        "global": {"scrape_interval": "5s", "metric_name_validation_scheme": "legacy"},
        "scrape_configs": [
            {"job_name": "a", "scrape_timeout": "6s"},
            {"job_name": "a", "relabel_configs": [{"target_label": "a-b"}]},
        ],
        "scrape_config_files": ["/*/a.yaml"],
    }
    assert findings(config, ScrapeConfigs) == [
        ("scrape_configs[0].scrape_timeout", 'scrape timeout greater than scrape interval for the job "a"'),
        ("scrape_configs[1].job_name", 'found multiple scrape configs with job name "a"'),
        ("scrape_configs[1].relabel_configs[0].target_label", '"a-b" is invalid target_label for the replace action'),
        ("scrape_config_files[0]", "invalid scrape config file path '/*/a.yaml'"),
    ]
    assert findings({"scrape_interval": "1s", "scrape_timeout": "2s"}, GlobalConfig) == [
        ("scrape_timeout", "global scrape timeout greater than scrape interval")
    ]


def test_secrets_are_not_shown():
    made = decoded({"job_name": "j", "basic_auth": {"username": "u", "password": "hunter2"}}, ScrapeConfig)
    assert "hunter2" not in repr(made) and made.basic_auth.password.reveal() == "hunter2"


def test_errors_name_the_data_that_they_are_in():
    with pytest.raises(HawseError, match=r"servicemonitor shop/web scrape_intervall: unknown key"):
        decoded({"job_name": "j", "scrape_intervall": "5s"}, ScrapeConfig, "servicemonitor shop/web")
