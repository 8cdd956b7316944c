"""Relabelling and target building against a real Prometheus: the same rules and targets, the same labels.

Rules and targets are made up from a fixed seed (SEED=… for another), in jobs of a few rules each. Prometheus reads
them from the same configuration, and tells what became of every target by its API.
"""

import json
import os
import random
import subprocess

import pytest

from hawse.diagnostics import HawseError
from hawse.prometheus import targets
from hawse.prometheus.decoding import decoded
from hawse.prometheus.discovery import static
from hawse.prometheus.settings import ScrapeConfigs

from .programs import get, until
from .prometheus import Prometheus

JOBS, TARGETS = 100, 20
NAMES = ["a", "b", "c", "__tmp", "job", "instance", "__meta_x", "__meta_y_z", "__param_p", "__address__"]
WORDS = [
    "",
    "x",
    "xy",
    "foo",
    "foo-bar",
    "FOO",
    "Straße",
    "İx ŉ",
    "10.0.0.1:90",
    "a;b",
    "1",
    "true",
    "a b?c#d@e%",
    "$1",
]
REGEXES = [
    "(.*)",
    ".*",
    "",
    "foo|x",
    "(foo|xy)",
    "fo+(.*)",
    "(.+)",
    "x(.*)",
    "([^:]+):(\\d+)",
    "(?i)foo",
    "(?P<first>[a-z]+)-(?P<rest>.+)",
    "(a)?;?(.*)",
    "foo$",
    "^foo",
    "\\d+|\\pL+",
    "__meta_(.+)",
    "[abc]",
    "__.*|a",
    "job|instance|__(address|scheme|metrics_path|scrape_interval|scrape_timeout)__|a",
    1,
    True,
]
TEMPLATES = [
    "$1",
    "${1}",
    "$0",
    "$1x",
    "${1}x",
    "$$1",
    "$",
    "a$",
    "${first}_$rest",
    "$2-$1",
    "fixed",
    "",
    "${",
    "$01",
    "ö",
]
TARGETS_OF = ["a", "b", "__tmp", "n_$1", "${1}", "instance", "__address__", "__param_q", "job", "${first}x"]
MAPS = ["$1", "m_$1", "${1}_n", "a", "x$0"]


def rule(random):
    action = random.choice(
        ["replace"] * 5
        + ["keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"]
        + ["keepequal", "dropequal", "Replace"]
    )
    made = {"action": action}
    kind = action.lower()
    if kind not in {"labelmap", "labeldrop", "labelkeep"}:
        made["source_labels"] = random.sample(NAMES, random.choice([0, 1, 1, 1, 2, 3]))
    if kind not in {"keepequal", "dropequal"} and random.random() < 0.8:
        made["regex"] = random.choice(REGEXES)
    if kind in {"replace", "keep", "drop", "hashmod", "lowercase", "uppercase"} and random.random() < 0.3:
        made["separator"] = random.choice(["", "-", ";;", ":"])
    if kind == "replace":
        made["target_label"] = random.choice(TARGETS_OF)
        if random.random() < 0.8:
            made["replacement"] = random.choice(TEMPLATES)
    if kind == "labelmap":
        made["regex"] = random.choice(["__meta_(.+)", "(a)", "(.)", "__(tmp|meta_x)"])
        made["replacement"] = random.choice(MAPS)
    if kind in {"hashmod", "lowercase", "uppercase", "keepequal", "dropequal"}:
        made["target_label"] = random.choice(["a", "b", "__tmp", "instance"])
    if kind == "hashmod":
        made["modulus"] = random.choice([1, 2, 7, 1 << 40])
    return made


def group(random):
    labels = {name: random.choice(WORDS) for name in random.sample(NAMES, 5) if name != "__address__"}
    if random.random() < 0.1:
        labels["__scrape_interval__"] = random.choice(["5s", "1m30s", "0s", "x"])
    if random.random() < 0.1:
        labels["__scrape_timeout__"] = random.choice(["500ms", "2m"])
    if random.random() < 0.1:
        labels["__metrics_path__"] = random.choice(["/a b", "probe", "/x?y"])
    return {"targets": [random.choice(["127.0.0.1:1", "host", "[::1]:9100", "host:9/x"])], "labels": labels}


def configuration(random):
    jobs = []
    for number in range(JOBS):
        jobs.append(
            {
                "job_name": f"job{number}",
                "scrape_interval": "1h",
                "scrape_timeout": "1s",
                "params": {"fixed": ["a b&c", "two"]},
                "static_configs": [group(random) for _ in range(TARGETS)],
                "relabel_configs": [rule(random) for _ in range(random.randint(1, 4))],
            }
        )
    return {"scrape_configs": jobs}


def ours(config):
    """Per pool: what is scraped (labels and URL), and how many are dropped by rules."""
    kept, dropped = {}, 0
    # Debian's Prometheus knows no other names yet, and has no key to say so.
    for job in decoded({"global": {"metric_name_validation_scheme": "legacy"}, **config}, ScrapeConfigs).jobs():
        populate = targets.Populate(job)
        found = [one for group in static.groups(job.static_configs, "static") for one in populate.group(group)]
        made = {
            one.key: (tuple(sorted(one.labels.items())), str(one.url), one.interval, one.timeout)
            for one in found
            if isinstance(one, targets.Target)
        }
        kept[job.job_name] = sorted(made.values())
        dropped += sum(isinstance(one, targets.Dropped) and one.rule >= 0 for one in found)
    return kept, dropped


def seconds(text):
    return targets.PromDuration.parse(text)


def test_the_same_rules_make_the_same_targets(peer, tmp_path):
    binary = peer("prometheus")
    config = configuration(random.Random(int(os.environ.get("SEED") or 5)))
    config["scrape_configs"] = [job for job in config["scrape_configs"] if fits(job)]
    assert len(config["scrape_configs"]) > JOBS / 2
    kept, dropped = ours(config)
    flags = ("--enable-feature=no-default-scrape-port",)  # as it is without a flag from version 3 on
    with Prometheus(binary, tmp_path / "prometheus", config, flags=flags) as server:

        def answered():
            status, _, body = get(f"{server.url}/api/v1/targets")
            data = json.loads(body)["data"]
            seen = {}
            for one in data["activeTargets"]:
                url = one["scrapeUrl"]
                made = (
                    tuple(sorted(one["labels"].items())),
                    url,
                    seconds(one["scrapeInterval"]),
                    seconds(one["scrapeTimeout"]),
                )
                seen.setdefault(one["scrapePool"], []).append(made)
            return status == 200 and {pool: sorted(found) for pool, found in seen.items()}, len(data["droppedTargets"])

        wanted = {pool: found for pool, found in kept.items() if found}
        until(lambda: sum(map(len, answered()[0].values())) >= sum(map(len, wanted.values())), "targets are found", 30)
        found, found_dropped = answered()
    assert sum(map(len, wanted.values())) > JOBS
    assert found == wanted
    assert found_dropped == dropped > JOBS / 2


def fits(job):
    """Whether a job is valid: what one of the two refuses must be refused by the other, which is tested below.

    Where labelmap gives several labels one name, newer versions of Prometheus have them in the random order of Go's maps.
    """
    rules = job.get("relabel_configs", ())
    if any(rule.get("action") == "labelmap" and "$" not in str(rule.get("replacement", "$1")) for rule in rules):
        return False
    try:
        decoded(job, targets.ScrapeConfig)
    except HawseError:
        return False
    return True


# What both must refuse: a job, beside its name. (Debian builds Prometheus without Kubernetes discovery.)
REFUSED = [
    {"scrape_interval": "5s", "scrape_timeout": "6s"},
    {"scrape_interval": "5x"},
    {"scrape_interval": "1m1h"},
    {"scrape_interval": "1.5s"},
    {"body_size_limit": "10 parsecs"},
    {"basic_auth": {"username": "a"}, "bearer_token": "b"},
    {"bearer_token": "a", "bearer_token_file": "b"},
    {"authorization": {"type": "Basic", "credentials": "a"}},
    {"authorization": {"credentials": "a", "credentials_file": "b"}},
    {"basic_auth": {"username": "a", "password": "b", "password_file": "c"}},
    {"oauth2": {"client_id": "a", "client_secret": "b"}},
    {"tls_config": {"ca": "a", "ca_file": "b"}},
    {"proxy_url": "http://p", "proxy_from_environment": True},
    {"no_proxy": "a"},
    {"static_configs": [{"targets": ["http://host:1/metrics"]}]},
    {"file_sd_configs": [{"files": []}]},
    {"file_sd_configs": [{"files": ["targets.txt"]}]},
    {"file_sd_configs": [{"files": ["/*/targets.json"]}]},
    {"http_sd_configs": [{}]},
    {"http_sd_configs": [{"url": "ftp://host"}]},
    {"http_sd_configs": [{"url": "http://"}]},
    {"relabel_configs": [{"action": "substitute"}]},
    {"relabel_configs": [{"regex": "("}]},
    {"relabel_configs": [{"regex": "(?=a)", "target_label": "a"}]},
    {"relabel_configs": [{"regex": "(a)\\1", "target_label": "a"}]},
    {"relabel_configs": [{"regex": "a{1001}", "target_label": "a"}]},
    {"relabel_configs": [{"source_labels": ["a"]}]},
    {"relabel_configs": [{"action": "hashmod", "target_label": "a"}]},
    {"relabel_configs": [{"action": "hashmod", "modulus": 2}]},
    {"relabel_configs": [{"action": "lowercase", "source_labels": ["a"]}]},
    {"relabel_configs": [{"action": "uppercase", "target_label": "a", "replacement": "b"}]},
    {"relabel_configs": [{"action": "keepequal", "target_label": "a", "regex": "b"}]},
    {"relabel_configs": [{"action": "dropequal", "source_labels": ["a"]}]},
    {"relabel_configs": [{"action": "labeldrop", "regex": "a", "source_labels": ["b"]}]},
    {"relabel_configs": [{"action": "labelkeep", "regex": "a", "target_label": "b"}]},
    {"relabel_configs": [{"target_label": "1a"}]},
    {"relabel_configs": [{"target_label": "a-$1"}]},
    {"relabel_configs": [{"action": "labelmap", "replacement": "a b"}]},
    {"metric_relabel_configs": [{"action": "hashmod", "target_label": "a"}]},
    {"relabel_config": []},
    {"scheme": ["http"]},
    {"params": {"a": "b"}},
]
# What both must take.
TAKEN = [
    {"scrape_interval": "1d12h", "scrape_timeout": "500ms"},
    {"body_size_limit": "10MB", "sample_limit": 5, "label_limit": 0},
    {"honor_labels": True, "honor_timestamps": False, "params": {"a": ["b", 1]}},
    {"static_configs": [{"targets": ["host:1", "host"], "labels": {"a": 1, "b": True, "c": ""}}]},
    {"file_sd_configs": [{"files": ["a/*.json", "b.yml", "c.YAML"], "refresh_interval": "1w"}]},
    {"http_sd_configs": [{"url": "https://host/x", "basic_auth": {"username": "a", "password": "b"}}]},
    {"relabel_configs": [{"regex": True, "action": "KEEP", "source_labels": ["a"]}]},
    {"relabel_configs": [{"regex": "(?i)a|\\pL", "target_label": "a$1", "replacement": 1}]},
    {"relabel_configs": [{"action": "labelmap", "regex": "a_(.+)"}, {"action": "drop", "regex": ""}]},
    {"authorization": {"type": "Token", "credentials_file": "/a"}, "tls_config": {"insecure_skip_verify": True}},
    {"oauth2": {"client_id": "a", "client_secret_file": "b", "token_url": "https://c", "scopes": ["d"]}},
]


def test_the_same_configurations_are_refused(peer, tmp_path):
    promtool = peer("promtool")

    def theirs(job):
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps({"scrape_configs": [{"job_name": "job", **job}]}))
        argv = [promtool, "check", "config", "--syntax-only", file]
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0

    def mine(job):
        legacy = {"metric_name_validation_scheme": "legacy"}
        try:
            decoded({"scrape_configs": [{"job_name": "job", **legacy, **job}]}, ScrapeConfigs)
        except HawseError:
            return False
        return True

    assert [job for job in REFUSED if mine(job)] == []
    assert [job for job in TAKEN if not mine(job)] == []
    assert [job for job in REFUSED if theirs(job)] == []
    assert [job for job in TAKEN if not theirs(job)] == []
    both = {"scrape_configs": [{"job_name": "job"}, {"job_name": "job"}]}
    with pytest.raises(HawseError, match='found multiple scrape configs with job name "job"'):
        decoded(both, ScrapeConfigs)
