"""What clients are told of jobs: JSON that Prometheus' own configuration takes."""

import pytest

from hawse.allocator.crd.fields import RelabelRule
from hawse.allocator.crd.rules import own
from hawse.allocator.documents import HIDDEN, decoded, encoded, has_secrets
from hawse.allocator.safety import Refusal
from hawse.prometheus.settings import GlobalConfig

DOCUMENT = {
    "job_name": "a",
    "scrape_interval": "1m30s",
    "params": {"x": ["1"]},
    "body_size_limit": "10MB",
    "sample_limit": 7,
    "basic_auth": {"username": "u", "password": "hunter2"},
    "tls_config": {"ca": "PEM", "key": "KEY", "cert": "CERT", "min_version": "TLS13"},
    "static_configs": [{"targets": ["a:1"]}],
    "relabel_configs": [
        {"source_labels": ["a", "b"], "separator": "", "target_label": "c", "replacement": ""},
        {"source_labels": ["a"], "target_label": "b", "action": "KeepEqual"},
        {"action": "labeldrop", "regex": "x.*"},
    ],
    "native_histogram_min_bucket_factor": 1.5,
}


def test_what_clients_get():
    made = encoded(decoded(DOCUMENT, GlobalConfig()), reveal=True)
    assert made == {
        "job_name": "a",
        "honor_timestamps": True,
        "params": {"x": ["1"]},
        "scrape_interval": "1m30s",
        "scrape_timeout": "10s",
        "metrics_path": "/metrics",
        "scheme": "http",
        "body_size_limit": f"{10 << 20}B",
        "sample_limit": 7,
        "native_histogram_min_bucket_factor": 1.5,
        "basic_auth": {"username": "u", "password": "hunter2"},
        "tls_config": {"ca": "PEM", "key": "KEY", "cert": "CERT", "min_version": "TLS13"},
        "relabel_configs": [
            {"source_labels": ["a", "b"], "separator": "", "target_label": "c", "replacement": ""},
            {"source_labels": ["a"], "target_label": "b", "action": "keepequal"},  # a regex here, and Go refuses it
            {"action": "labeldrop", "regex": "x.*"},
        ],
    }
    # It is itself a configuration, and the same one, but for where targets are found.
    assert encoded(decoded(made, GlobalConfig()), reveal=True) == made


def test_secrets_are_hidden():
    config = decoded(DOCUMENT, GlobalConfig())
    made = encoded(config, reveal=False)
    assert made["basic_auth"] == {"username": "u", "password": HIDDEN}
    assert made["tls_config"]["key"] == HIDDEN
    assert "hunter2" not in str(made)
    assert has_secrets(config)
    assert not has_secrets(decoded({"job_name": "a"}, GlobalConfig()))


def test_global_is_filled_in():
    made = encoded(decoded({"job_name": "a"}, GlobalConfig(sample_limit=5)), reveal=False)
    assert (made["scrape_interval"], made["sample_limit"]) == ("1m", 5)


def test_all_that_is_wrong_is_told():
    with pytest.raises(Refusal) as refusal:
        decoded({"job_name": "a", "scheme": "gopher", "sample_limit": -1, "nonsense": 1}, GlobalConfig())
    for word in ("scheme", "sample_limit", "nonsense"):
        assert word in str(refusal.value)


def test_rules_of_monitors_lose_nothing():
    rule = RelabelRule(source_labels=("a",), separator="", regex="", replacement="", action="Replace", modulus=0)
    assert own([rule]) == [{"source_labels": ["a"], "separator": "", "replacement": "", "action": "replace"}]
