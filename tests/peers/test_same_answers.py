"""The same series with the same values, whether Prometheus scrapes a target or Hawse does and hands on.

All that is stored is compared, stale markers included, not what a query happens to show.
"""

import json

import pytest

from tests.codecs.exposition.test_protobuf import NATIVE, TYPE, body

from .compare import name, runs
from .pair import Pair
from .prometheus import STALE
from .targets import OPENMETRICS, Target

FIRST = r"""# HELP http_requests_total Requests: "all" of \\ them.\nAnd more.
# TYPE http_requests_total counter
http_requests_total{code="200",method="get"} 1027
http_requests_total{code="400",method="get"} 3
# TYPE temperature_celsius gauge
temperature_celsius{room="kitchen"} -0.5
temperature_celsius{room="Küche \"a\" \\ b\nc"} 21
temperature_celsius{room=""} 1
temperature_celsius 1e-05
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} NaN
rpc_duration_seconds{quantile="0.5"} 4773
rpc_duration_seconds{quantile="0.99"} 76656
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
# TYPE request_size_bytes histogram
request_size_bytes_bucket{le="100"} 24054
request_size_bytes_bucket{le="1e+06"} 33444
request_size_bytes_bucket{le="+Inf"} 144320
request_size_bytes_sum 53423
request_size_bytes_count 144320
# TYPE odd_histogram histogram
odd_histogram_bucket{le="1"} 5
odd_histogram_bucket{le="2"} 3
odd_histogram_bucket{le="3"} 3.5
odd_histogram_sum 3
# TYPE empty_histogram histogram
empty_histogram_bucket{le="+Inf"} 0
empty_histogram_sum 0
empty_histogram_count 0
something_untyped{a="1",b="2"} 3.14159
biggest 1.7976931348623157e+308
smallest 5e-324
infinite{sign="+"} +Inf
infinite{sign="-"} -Inf
# TYPE exact untyped
exact 9007199254740993
clash{job="own",instance="mine",exported_job="taken"} 7
"""
SECOND = (
    FIRST.replace("1027", "1030")
    .replace('http_requests_total{code="400",method="get"} 3\n', "")
    .replace('request_size_bytes_bucket{le="100"} 24054\n', "")
    .replace("something_untyped", "something_new")
    .replace('rpc_duration_seconds{quantile="0.01"} NaN', 'rpc_duration_seconds{quantile="0.01"} 12')
)
RESTARTED = FIRST.replace("1027", "2").replace("144320", "33500")

OPEN = """# TYPE shop_orders counter
# UNIT shop_orders orders
# HELP shop_orders All.
shop_orders_total{shop="a"} 17.0 # {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"} 1.0 1700000000.25
shop_orders_total{shop="b"} 5
# TYPE latency_seconds histogram
# UNIT latency_seconds seconds
latency_seconds_bucket{le="0.1"} 8 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736",other="x"} 0.067
latency_seconds_bucket{le="1.0"} 10
latency_seconds_bucket{le="10.0"} 11
latency_seconds_bucket{le="+Inf"} 17
latency_seconds_sum 324789.3
latency_seconds_count 17
# TYPE backlog gaugehistogram
backlog_bucket{le="1.0"} 3
backlog_bucket{le="+Inf"} 5
backlog_gsum -1.5
backlog_gcount 5
# TYPE build info
build_info{version="1.2.3",branch="é"} 1
# TYPE state stateset
state{state="on"} 1
state{state="off"} 0
# TYPE mystery unknown
mystery{a="b"} 1.5e3
# TYPE durations summary
durations{quantile="0.5"} 1.0
durations{quantile="1.0"} 2
durations_sum 3
durations_count 4
# EOF
"""


@pytest.fixture
def prometheus(peer):
    return peer("prometheus")


def test_scripted(prometheus, tmp_path):
    """A restart, vanished series, failed scrapes, a target that goes away: the same values in the same order."""
    with Target() as plain, Target() as leaving:
        plain.show(FIRST)
        leaving.show(FIRST)
        listed = tmp_path / "targets.json"
        listed.write_text(json.dumps([{"targets": [leaving.address], "labels": {"zone": "z1"}}]))
        jobs = [
            {"job_name": "plain", "static_configs": [{"targets": [plain.address], "labels": {"env": "test"}}]},
            {"job_name": "leaving", "file_sd_configs": [{"files": [str(listed)], "refresh_interval": "1s"}]},
        ]
        with Pair(prometheus, tmp_path, jobs).running() as pair:
            plain.seen(times=2)
            plain.show(SECOND)
            plain.seen(times=2)
            plain.show(FIRST)
            plain.seen()
            plain.show(SECOND, status=503)
            plain.seen()
            pair.stored('up{job="plain"}', 0)
            plain.show("this is no metric}\nhttp_requests_total 1\n")
            plain.seen(times=2)
            plain.show(SECOND)
            plain.seen()
            plain.down()
            pair.stored('up{job="plain"}', 0)
            plain.show(RESTARTED)
            plain.up()
            pair.stored('up{job="plain"}', 1)
            listed.write_text("[]")
            pair.stored('count(up{job="leaving"}) or vector(0)', 0, 10)
            plain.seen()
            pair.same()
            direct, through = pair.samples()
    states = {dict(labels)["job"]: runs(samples) for labels, samples in through.items() if name(labels) == "up"}
    assert states["plain"] == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert states["leaving"] == [1.0, STALE]
    vanished = next(labels for labels in through if ("code", "400") in labels and ("job", "plain") in labels)
    assert runs(through[vanished])[:3] == [3.0, STALE, 3.0]
    assert all(runs(samples)[-1] == STALE for labels, samples in through.items() if ("job", "leaving") in labels)
    assert len(direct) > 60


@pytest.mark.long
def test_openmetrics_and_labels(prometheus, tmp_path):
    """OpenMetrics' types and exemplars, and what the configuration makes of labels."""
    pod = 'pods{namespace="shop",pod="web-1",container="main"} 1\npods{namespace="shop",pod="web-2"} 2\n'
    stamped = f"stamped 5 {1_700_000_000_000}\n"
    with Target() as openmetrics, Target() as plain:
        openmetrics.show(OPEN, OPENMETRICS)
        plain.show(FIRST + pod + stamped)
        where = [{"targets": [plain.address]}]
        renamed = [{"targets": [plain.address], "labels": {"instance": "", "__meta_x": "y", "__tmp": "z"}}]
        jobs = [
            {"job_name": "open", "static_configs": [{"targets": [openmetrics.address]}]},
            {"job_name": "honest", "static_configs": where, "honor_labels": True, "honor_timestamps": False},
            {
                "job_name": "relabelled/with/slashes",
                "static_configs": renamed,
                "honor_timestamps": False,
                "relabel_configs": [
                    {"source_labels": ["__meta_x"], "target_label": "from_meta"},
                    {"target_label": "service", "replacement": "s"},
                ],
                "metric_relabel_configs": [
                    {"source_labels": ["__name__"], "regex": "rpc_.*", "action": "drop"},
                    {"source_labels": ["le"], "regex": "100", "action": "drop"},
                    {"source_labels": ["room"], "regex": r"(\S)[\s\S]*", "target_label": "initial"},
                    {"source_labels": ["__name__"], "regex": "infinite", "target_label": "__name__", "replacement": "endless"},
                    {"regex": "method", "action": "labeldrop"},
                ],
            },
        ]  # fmt: skip
        flags = ["--enable-feature=exemplar-storage"]
        with Pair(prometheus, tmp_path, jobs, flags=flags).running() as pair:
            openmetrics.seen(times=2)
            plain.seen(times=2)
            openmetrics.show(OPEN.replace("17", "18"), OPENMETRICS)
            openmetrics.seen(times=2)
            pair.same()
            asked = openmetrics.asked
            exemplars = [_exemplars(server) for server in (pair.direct, pair.through)]
            direct, _ = pair.samples()
    assert exemplars[0] == exemplars[1]
    assert len(exemplars[0]) >= 2
    assert all(samples[0][1] == 1 for labels, samples in direct.items() if name(labels) == "up")
    assert any(("le", "10.0") in labels for labels in direct)
    ours = next(headers for scraper, headers in asked.items() if scraper != "Prometheus")
    assert "application/openmetrics-text" in {key.lower(): value for key, value in ours.items()}["accept"]


def _exemplars(server):
    return sorted(
        {
            (*sorted(row["seriesLabels"].items()), *sorted(exemplar["labels"].items()), exemplar["value"])
            for row in server.exemplars('{__name__=~".+"}')
            for exemplar in row["exemplars"]
        }
    )


@pytest.mark.long
def test_native_histograms(prometheus, tmp_path):
    """Protobuf in, remote write out: the same buckets. What vanishes is marked."""
    grown = {**NATIVE, "count": 24, "sum": 40.0, "positive_span": [{"offset": 0, "length": 6}]}
    grown["positive_delta"] = [2, 1, 0, 3, -5, 1]
    other = {"name": "requests_total", "type": 0, "metric": [{"counter": {"value": 5}}]}

    def family(histogram, **labels):
        pairs = [{"name": name, "value": value} for name, value in labels.items()]
        return {"label": pairs, "histogram": histogram}

    def exposed(*metrics):
        return body({"name": "latency_seconds", "help": "H", "type": 4, "metric": list(metrics)}, other)

    with Target() as target:
        jobs = [{"job_name": "native", "static_configs": [{"targets": [target.address]}]}]
        target.show(exposed(family(NATIVE, op="a"), family(NATIVE, op="b")), TYPE)
        protocols = {"scrape_protocols": ["PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"]}
        flags = ["--enable-feature=native-histograms"]
        with Pair(prometheus, tmp_path, jobs, only_hawse=protocols, flags=flags).running() as pair:
            target.seen(times=2)
            pair.stored("count(latency_seconds)", 2)
            target.show(exposed(family(grown, op="a"), family(NATIVE, op="b")), TYPE)
            target.seen(times=2)
            target.show(exposed(family(grown, op="a")), TYPE)
            target.seen(times=2)
            pair.stored("count(latency_seconds)", 1)
            target.show(exposed(family(grown, op="a"), family(NATIVE, op="b")), TYPE)
            target.seen(times=2)
            pair.stored("count(latency_seconds)", 2)
            target.down()
            pair.stored('up{job="native"}', 0)
            pair.stored("count(latency_seconds) or vector(0)", 0)
            pair.same()
            direct, through = (
                {dict(labels)["op"]: runs(its) for labels, its in server.histograms("latency_seconds").items()}
                for server in (pair.direct, pair.through)
            )
    assert direct == through
    assert [json.loads(value)["count"] for value in direct["a"]] == ["12", "24"]
    assert [json.loads(value)["count"] for value in direct["b"]] == ["12"]
    assert len(json.loads(direct["a"][1])["buckets"]) == 9
