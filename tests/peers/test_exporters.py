"""Real exporters, and programs with real client libraries: what they expose is the same through Hawse."""

import contextlib
import subprocess
import sys

import pytest

import pytest

from .compare import name, runs, steady_differences
from .exporters import exporters
from .pair import Pair
from .programs import Program, port
from .targets import Frozen

_CLIENT = """
import sys, threading
from prometheus_client import Counter, Gauge, Histogram, Summary, Info, Enum, start_http_server
start_http_server(int(sys.argv[1]), "127.0.0.1")
requests = Counter("client_requests", "Requests.", ["method", "path"])
requests.labels("get", "/a\\"b\\\\c\\nd").inc(3)
requests.labels("post", "").inc(0.5, exemplar={"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"})
Gauge("client_ratio", "Ratio.").set(0.1 + 0.2)
histogram = Histogram("client_latency_seconds", "Latency.", ["op"], buckets=(0.1, 1, 5, 10))
for value in (0.05, 0.5, 3, 7, 70):
    histogram.labels("read").observe(value, exemplar={"span_id": "b7ad6b7169203331"})
Summary("client_size_bytes", "Size.").observe(1234)
Info("client_build", "Build.").info({"version": "1.2", "branch": "main"})
Enum("client_state", "State.", states=["starting", "running"]).state("running")
threading.Event().wait()
"""


@contextlib.contextmanager
def _everything(peer, folder):
    """Job → (address, path): the exporters, and a program with Python's client library."""
    own = port()
    client = [sys.executable, "-c", _CLIENT, str(own)]
    with (
        exporters(peer, folder) as found,
        Program("client", client, folder / "client", f"http://127.0.0.1:{own}/metrics"),
    ):
        yield {**found, "client": (f"127.0.0.1:{own}", "/metrics")}


def _job(job, address, path, **more):
    return {"job_name": job, "metrics_path": path, "static_configs": [{"targets": [address]}], **more}


def test_word_for_word(peer, tmp_path):
    """What they said at two moments, shown to both: all series, all values."""
    prometheus = peer("prometheus")
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_everything(peer, tmp_path))
        frozen = {job: stack.enter_context(Frozen(f"http://{where}{path}")) for job, (where, path) in found.items()}
        for target in frozen.values():
            target.take()
        jobs = [_job(job, target.address, "/metrics") for job, target in frozen.items()]
        pair = stack.enter_context(Pair(prometheus, tmp_path, jobs).running())
        for target in frozen.values():
            target.seen(times=2)
        bodies = {job: target.take() for job, target in frozen.items()}
        for target in frozen.values():
            target.seen(times=2)
        pair.same()
        direct, through = pair.samples()
    assert _ups(through) == dict.fromkeys(found, [1.0])
    assert b'le="1.0"' in bodies["client"]
    assert len(direct) > 1000


@pytest.mark.long
def test_as_they_are(peer, tmp_path):
    """Asked by both, each at its own time: the same series, and the same value wherever it does not change."""
    prometheus = peer("prometheus")
    with _everything(peer, tmp_path) as found:
        blackbox, _ = found["blackbox-exporter"]
        jobs = [_job(job, *where) for job, where in found.items()]
        jobs.append(_probe(blackbox, [found["redis-exporter"][0]]))
        jobs.append(_job("kept-node", *found["node-exporter"], metric_relabel_configs=_KEPT))
        pair = Pair(prometheus, tmp_path, jobs)
        with pair.running():
            pair.stored(f"count(up == 1)", len(jobs))
            pair.stored(f"min(count_over_time(up[1m])) > bool 4", 1)
            pair.same(_quiet, 10)
            direct, through = pair.samples()
    # A machine that is busy may let one of them answer too late for once.
    assert _ups(through).keys() == {job["job_name"] for job in jobs}
    assert {name(labels) for labels in direct if ("job", "kept-node") in labels} > {"node_load1", "up"}
    assert ("instance", found["redis-exporter"][0]) in next(k for k in direct if name(k) == "probe_success")
    assert sum(len(runs(samples)) == 1 for samples in direct.values()) > 500


_KEPT = [{"source_labels": ["__name__"], "regex": "node_load1|node_cpu_.*", "action": "keep"}]


def _probe(blackbox, targets):
    """As Prometheus' guide to multi-target exporters has it."""
    return {
        "job_name": "probe",
        "metrics_path": "/probe",
        "params": {"module": ["http_2xx"]},
        "static_configs": [{"targets": targets}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": blackbox},
        ],
    }


def _quiet(direct, through):
    """Without what comes and goes by itself: processes of this machine, and what the first request makes."""
    passing = ("namedprocess_", "promhttp_metric_handler_requests_")
    return steady_differences(
        *(
            {labels: samples for labels, samples in side.items() if not name(labels).startswith(passing)}
            for side in (direct, through)
        )
    )


def _ups(through):
    return {dict(labels)["job"]: runs(samples) for labels, samples in through.items() if name(labels) == "up"}
