"""`hawse up`, as a user runs it: processes, sockets, files, signals."""

import asyncio
import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from hawse.backend.server import Backend
from hawse.demo.workload import Tally

UP = [sys.executable, "-m", "hawse", "up", "--no-host-logs"]
OWN = {"backend", "logs-collector", "logs-enrichment", "metrics-collector", "metrics-enrichment", "target-allocator"}
OWN |= {"traces"}
FIRST = re.compile(rb"^(INFO|ERROR) ")  # of an entry of the container "orders"


def _start(*arguments):
    return subprocess.Popen([*UP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _until_running(up):
    """What it says until it collects, and the processes by name."""
    said, pids = [], {}
    for line in up.stderr:
        said.append(line)
        if match := re.match(r"  (\S+) +pid (\d+)", line):
            pids[match[1]] = int(match[2])
        if line.startswith("open "):
            return "".join(said), pids
    pytest.fail("".join(said))


def _alive(pid):
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except FileNotFoundError:
        return False


def _wait_until_gone(pids):
    deadline = time.monotonic() + 20
    while (left := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


# --- what the files hold, read in the plainest way --------------------------------------------------------------------


def _nanoseconds(stamp):
    """RFC 3339 with up to nine digits of fraction and any offset."""
    match = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", stamp)
    seconds = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).timestamp()
    return int(seconds) * 10**9 + int((match[2] or "0").ljust(9, "0"))


def _pieces(data):
    for line in data.splitlines():
        if line.startswith(b'{"log"'):
            entry = json.loads(line)
            yield entry["time"], entry["stream"], entry["log"].endswith("\n"), entry["log"].rstrip("\n").encode()
        else:
            stamp, stream, tag, text = line.split(b" ", 3)
            yield stamp.decode(), stream.decode(), tag == b"F", text


def _lines(data):
    """(time of the first piece, stream, text) of each line; partial ones joined."""
    open_ = {}
    for stamp, stream, whole, text in _pieces(data):
        began, so_far = open_.pop(stream, (stamp, b""))
        if whole:
            yield _nanoseconds(began), stream, so_far + text
        else:
            open_[stream] = began, so_far + text


def _entries(lines):
    """Lines of "orders" joined to the entries that they belong to."""
    joined = {}
    for when, stream, text in lines:
        if FIRST.match(text) or stream not in joined:
            if stream in joined:
                yield joined.pop(stream)
            joined[stream] = when, stream, text
        else:
            began, _, so_far = joined[stream]
            joined[stream] = began, stream, so_far + b"\n" + text
    yield from joined.values()


def _sequence(path):
    """All bytes that went to a log, rotated files first."""
    real = path.resolve()
    rotated = sorted(real.parent.glob(f"{real.name}.*"), key=lambda found: found.name, reverse="docker" in real.parts)
    read = {True: lambda found: gzip.decompress(found.read_bytes()), False: Path.read_bytes}
    return b"".join(read[found.suffix == ".gz"](found) for found in (*rotated, real))


def _written(log):
    """(pod uid, container, restart, stream, time, text) of every record that the node's files hold."""
    found = Counter()
    for path in (log / "pods").glob("*/*/*.log"):
        uid, container = path.parent.parent.name.rsplit("_", 1)[1], path.parent.name
        lines = _lines(_sequence(path))
        for when, stream, text in _entries(lines) if container == "orders" else lines:
            found[uid, container, path.stem, stream, when, text.decode()] += 1
    return found


async def _stored(state):
    async with Backend(store=state / "backend.db") as backend:
        return await backend.records()


def _identity(record):
    fields = record["resource"]
    names = ("pod_id", "container", "k8s.container.restart_count", "log.iostream")
    return (*(fields[name] for name in names), int(record["time_unix_nano"]), record["body"])


def test_what_the_backend_holds_is_what_the_files_held(tmp_path):
    with contextlib.ExitStack() as held:
        taken = held.enter_context(socket.socket())
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # a port of the defaults is in use: another one is taken
            taken.bind(("127.0.0.1", 24321))
            taken.listen()
        run = subprocess.run(
            [
                *(*UP, "--for", "8s", "--rate", "4", "--seed", "5", "--scrape-interval", "1s"),
                *("-o", "json", "--state", str(tmp_path)),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    assert "127.0.0.1:24321" not in run.stderr
    result = json.loads(run.stdout)
    logs = result["signals"]["logs"]
    tally = Tally.load(tmp_path / "demo" / "tally.json")
    excluded = {pod.uid: pod.records for pod in tally.pods if not pod.collected}
    assert (logs["lost"], logs["in_flight"], logs["duplicates"], logs["unenriched"]) == (0, 0, 0, 0)
    assert logs["written"] == logs["read"] == logs["filtered"] + logs["delivered"] > 1000
    assert logs["filtered"] == sum(excluded.values()) > 0
    _check_ledgers(result["ledgers"], logs)
    _check_metrics(tmp_path, result)
    _check_traces(tmp_path, result)
    assert tally.rotations > 0
    assert tally.restarts > 0

    records = asyncio.run(_stored(tmp_path))
    written = Counter({key: n for key, n in _written(tmp_path / "demo" / "log").items() if key[0] not in excluded})
    assert Counter(map(_identity, records)) == written
    _check_fields(records)


def _check_ledgers(ledgers, logs):
    """What the tiers say of themselves is what the files held and the backend has."""
    collector, enrichment = (ledgers[name] for name in ("logs-collector", "logs-enrichment"))
    for ledger in (collector, enrichment):
        assert ledger["balanced"]
        (total,) = ledger["totals"]
        assert (total["in_flight"], total["refused"], total["dropped"], total["unaccounted"]) == (0, 0, 0, 0)
        assert total["received"] == logs["read"]
    assert collector["totals"][0]["delivered"] == logs["read"]
    assert enrichment["totals"][0]["delivered"] == logs["delivered"]
    assert enrichment["totals"][0]["reasons"] == {
        "filtered": {"pod annotation sumologic.com/exclude": logs["filtered"]}
    }


def _check_traces(state, result):
    """Every span that was sent by any of four protocols, under its pod; the logs beside a trace name it."""
    traces = result["signals"]["traces"]
    assert (traces["lost"], traces["missing"], traces["in_flight"], traces["duplicates"]) == (0, 0, 0, 0)
    assert traces["sent"] == traces["received"] == traces["delivered"] > 100
    senders = Tally.load(state / "demo" / "tally.json").senders
    assert all(one.sent == one.made > 0 for one in senders)
    assert set(traces["protocols"]) == {"otlp-grpc", "otlp-http", "jaeger-compact", "zipkin"}
    ledger = result["ledgers"]["traces"]
    assert ledger["balanced"]
    assert ledger["totals"][0]["received"] == ledger["totals"][0]["delivered"] == traces["sent"]
    asyncio.run(_check_spans(state, senders))


async def _check_spans(state, senders):
    async with Backend(store=state / "backend.db") as backend:
        for one in senders:
            asked = {"service": one.service, "k8s.namespace.name": one.namespace, "k8s.pod.name": one.pod}
            assert await backend.spans(asked) == one.sent, one
        found = (await backend.ask("traces/search", {"name": "place order"}))["traces"][0]
        assert (found["spans"], found["root"]["service"], found["root"]["missing"]) == (7, "web", False)
        beside = await backend.ask("traces/logs", {"trace_id": found["trace_id"]})
        assert sum(record["of"] == "trace" for record in beside["records"]) == 4


def _check_metrics(state, result):
    """Every sample of every scrape, with its pod's metadata; targets found by the allocator in each of its ways."""
    metrics = result["signals"]["metrics"]
    assert (metrics["lost"], metrics["missing"], metrics["in_flight"], metrics["refused"]) == (0, 0, 0, 0)
    assert metrics["received"] == metrics["delivered"] > metrics["exposed"] > 500
    assert metrics["targets"]["down"] == 0
    for name in ("metrics-collector", "metrics-enrichment"):
        ledger = result["ledgers"][name]
        (total,) = ledger["totals"]
        assert ledger["balanced"]
        assert total["received"] == total["delivered"] == metrics["received"]
    exporters = Tally.load(state / "demo" / "tally.json").exporters
    assert len(exporters) == 8
    assert min(one.scrapes for one in exporters) >= 3
    assert metrics["targets"]["up"] == len(exporters) + len(OWN)
    asyncio.run(_check_samples(state, exporters))


async def _check_samples(state, exporters):
    async with Backend(store=state / "backend.db") as backend:
        for one in exporters:
            found = await backend.samples(f'{{instance="{one.instance}",__name__!~"up|scrape_.+"}}')
            values = [sample["value"] for series in found for sample in series["samples"] if sample["value"] != "stale"]
            assert len(values) == one.samples
            (scrapes,) = [series for series in found if series["name"] == "demo_scrapes_total"]
            told = [float(sample["value"]) for sample in scrapes["samples"] if sample["value"] != "stale"]
            assert len(told) == one.scrapes
            if one.container != "report":  # which is restarted, and counts anew
                assert told == [float(n + 1) for n in range(one.scrapes)]
            # The target went away at the end: each of its series has ended.
            assert {series["samples"][-1]["value"] for series in found if len(series["samples"]) > 1} == {"stale"}
            labels = scrapes["labels"]
            assert (labels["namespace"], labels["pod"], labels["cluster"]) == (one.namespace, one.pod, "kubernetes")
            (up,) = await backend.samples(f'up{{instance="{one.instance}"}}')
            assert [sample["value"] for sample in up["samples"]].count("1.0") == one.scrapes
        web = await backend.samples('http_requests_total{deployment="web",pod_labels_app="web",code="200"}')
        assert len(web) == 2
        assert {series["type"] for series in web} == {"counter"}
        own = await backend.samples('up{namespace="monitoring"}')
        assert {series["labels"]["job"] for series in own} == OWN


def _check_fields(records):
    """Metadata and names as Sumo Logic's users know them (one record of each container)."""
    by_container = {record["resource"]["container"]: record["resource"] for record in records}
    nginx, orders, payments = (by_container[name] for name in ("nginx", "orders", "payments"))
    assert nginx["deployment"] == "web"
    assert nginx["pod_labels_app"] == "web"
    assert nginx["namespace_labels_team"] == "storefront"
    assert nginx["node"] == "demo-node"
    assert nginx["cluster"] == "kubernetes"
    assert nginx["_sourceCategory"] == "kubernetes/shop/web"
    assert nginx["_sourceName"] == f"shop.{nginx['pod']}.nginx"
    assert orders["statefulset"] == "orders"
    assert orders["_sourceName"] == "orders"
    assert payments["_sourceCategory"] == "kubernetes/pci/payments"
    assert payments["_sourceHost"] == "payments.example"
    assert by_container["geo"]["_sourceCategory"] == "shop/geo"
    assert by_container["agent"]["daemonset"] == "node-agent"
    assert by_container["agent"]["_sourceCategory"] == "infrastructure/platform/node/agent"
    assert by_container["report"]["k8s.job.name"].startswith("daily-")
    assert not [key for fields in by_container.values() for key in fields if "annotation" in key]


def test_ctrl_c_drains_and_sums_up():
    with _start("--rate", "2") as up:
        said, pids = _until_running(up)
        time.sleep(2)
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=60)
    assert up.returncode == 0, err
    assert set(pids) == {"demo", *OWN}
    assert "http://127.0.0.1:" in said
    rows = re.findall(r"^ +([a-z ]+?) +([\d,]+) +([\d,]+) +([\d,]+)$", out, re.MULTILINE)
    assert [name for name, *_ in rows] == ["read", "filtered", "delivered", "in flight", "lost"]
    for column, least in ((1, 50), (2, 50), (3, 20)):
        counted = {row[0]: int(row[column].replace(",", "")) for row in rows}
        assert counted["lost"] == counted["in flight"] == 0
        assert counted["read"] == counted["filtered"] + counted["delivered"] > least
    assert out.count("every record is accounted for, none is lost") == 5
    assert not _wait_until_gone(pids.values())


def test_a_process_that_dies_ends_it_with_its_last_words():
    with _start("-o", "json") as up:
        _, pids = _until_running(up)
        os.kill(pids["logs-enrichment"], signal.SIGKILL)
        out, err = up.communicate(timeout=60)
    assert up.returncode == 3
    assert out == ""
    assert "logs-enrichment was killed by SIGKILL" in err
    assert "listening for OTLP/HTTP" in err
    assert "Traceback" not in err
    assert not _wait_until_gone(pids.values())


def test_no_process_outlives_it():
    with _start() as up:
        _, pids = _until_running(up)
        up.kill()
        up.communicate(timeout=60)
    assert not _wait_until_gone(pids.values())


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--for", "soon"], 2, "no duration"),
        (["--kubeconfig", "/nowhere"], 2, "does not exist"),
        (["--no-demo"], 3, "there is nothing to collect"),
    ],
)
def test_mistakes_are_told(arguments, code, message):
    if "--no-demo" in arguments and _listens(9100):
        pytest.skip("a node exporter is something to collect")
    run = subprocess.run([*UP, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == code
    assert message in run.stderr
    assert "Traceback" not in run.stderr
