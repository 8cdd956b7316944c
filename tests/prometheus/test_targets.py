"""From what was found to what is scraped. tests/peers/test_relabelling.py holds it against a real Prometheus."""

import pytest

from hawse.prometheus.decoding import decoded
from hawse.prometheus.settings import ScrapeConfigs
from hawse.prometheus.targets import Dropped, Populate, Target, TargetGroup, populate


def job(**keys):
    return decoded({"scrape_configs": [{"job_name": "j", **keys}]}, ScrapeConfigs).jobs()[0]


def rule(name, value):
    return {"relabel_configs": [{"target_label": name, "replacement": value}]}


def test_defaults_and_the_url():
    config = job(params={"b": ["1", "2"], "a": ["x y&z"]}, scheme="https", metrics_path="/m")
    target = populate(
        {"__address__": "h:1", "__meta_x": "1", "__tmp": "2", "own": "3"},
        config,
        {"own": "no", "shared": "4", "empty": ""},
    )
    assert target.labels == {"job": "j", "instance": "h:1", "own": "3", "shared": "4"}
    assert str(target.url) == "https://h:1/m?a=x+y%26z&b=1&b=2"
    assert (target.interval, target.timeout) == (60, 10)
    assert target.discovered == {
        "__address__": "h:1", "__meta_x": "1", "__tmp": "2", "own": "3", "shared": "4", "job": "j",
        "__scheme__": "https", "__metrics_path__": "/m", "__scrape_interval__": "1m", "__scrape_timeout__": "10s",
        "__param_a": "x y&z", "__param_b": "1", "__convert_classic_histograms_to_nhcb__": "false",
        "__always_scrape_classic_histograms__": "false", "__scrape_native_histograms__": "false",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "url"),
    [
        ({"__metrics_path__": "probe"}, "http://h:1/probe"),
        ({"__metrics_path__": "/a b?c"}, "http://h:1/a%20b%3Fc"),
        ({"__param_x": "1", "__param_a": "ö/"}, "http://h:1/metrics?a=%C3%B6%2F&x=1"),
        ({"__address__": "[::1]:9100"}, "http://[::1]:9100/metrics"),
        ({"__address__": "evil?x=1#"}, "http://evil%3Fx=1%23/metrics"),
        ({"__address__": "user@evil"}, "http://user%40evil/metrics"),
        ({"__address__": "h"}, "http://h/metrics"),
    ],
)
def test_labels_make_the_url(labels, url):
    assert str(populate({"__address__": "h:1", **labels}, job()).url) == url


def test_the_first_value_of_a_parameter_is_that_of_its_label():
    config = job(params={"p": ["1", "2"]})
    assert populate({"__address__": "h", "__param_p": "x"}, config).url.query == "p=x&p=2"
    assert populate({"__address__": "h"}, config).url.query == "p=1&p=2"


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({}, "no address"),
        ({"__address__": "h:1/x"}, '"h:1/x" is not a valid hostname'),
        ({"__address__": "h", "__scheme__": "ftp"}, 'unsupported scheme "ftp"'),
        ({"__address__": "h", "__scrape_interval__": "0"}, "scrape interval cannot be 0"),
        ({"__address__": "h", "__scrape_timeout__": "0s"}, "scrape timeout cannot be 0"),
        ({"__address__": "h", "__scrape_interval__": "x"}, "error parsing scrape interval: 'x' is no duration"),
        (
            {"__address__": "h", "__scrape_timeout__": "2m"},
            'scrape timeout cannot be greater than scrape interval ("2m" > "1m")',
        ),
        (
            {"__address__": "h", "__scrape_native_histograms__": "yes"},
            'error parsing __scrape_native_histograms__: "yes"',
        ),
        ({"__address__": "h", "a": "\ud800"}, 'invalid label value for "a"'),
    ],
)
def test_what_is_no_target_is_told_why(labels, reason):
    found = populate(labels, job())
    assert isinstance(found, Dropped) and found.rule == -1
    assert found.reason.startswith(reason)
    assert found.discovered.items() >= labels.items()


def test_a_rule_that_drops_is_named():
    config = job(
        relabel_configs=[
            {"target_label": "a", "replacement": "b"},
            {"action": "drop", "source_labels": ["a"], "regex": "b"},
        ]
    )
    found = populate({"__address__": "h"}, config)
    assert found == Dropped(found.found, "dropped by relabel_configs[1] (action drop)", 1)
    steps = Populate(config).explain(found.found)
    assert [step.after is None for step in steps] == [False, True]


def test_instance_and_reserved_labels():
    assert populate({"__address__": "h"}, job(**rule("instance", "web"))).labels["instance"] == "web"
    assert populate({"__address__": "h"}, job(**rule("__tmp_x", "1"))).labels == {"job": "j", "instance": "h"}
    assert populate({"__address__": "h", "__scrape_interval__": "5s"}, job(scrape_timeout="2s")).interval == 5
    assert populate({"__address__": "h", "__scrape_native_histograms__": "1"}, job()).histograms.native is True
    assert populate({"__address__": "h"}, job(always_scrape_classic_histograms=True)).histograms.always_classic is True


def test_the_key_is_that_of_labels_and_url():
    make = Populate(job())
    one = make({"__address__": "h", "__meta_x": "1"})
    assert one.key == make({"__address__": "h", "__meta_x": "2"}).key  # only what was found is different
    others = [{"a": "b"}, {"__tmp": "1"}, {"__scheme__": "https"}, {"__param_a": "b"}, {"__metrics_path__": "/x"}]
    keys = {one.key, *(make({"__address__": "h", **other}).key for other in others)}
    assert len(keys) == 6 and all(len(key) == 16 for key in keys)
    assert one.key.hex() == Populate(job())({"__address__": "h"}).key.hex()


def test_groups():
    group = TargetGroup("s", ({"__address__": "a"}, {"__address__": "b/c"}), {"x": "1"})
    found = Populate(job()).group(group)
    assert [type(one) for one in found] == [Target, Dropped]
    assert found[0].labels["x"] == "1" and found[0].found.shared is group.labels
