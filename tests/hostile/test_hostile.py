"""A real process between hostile clients and a well-behaved one, whose latency is printed and who loses nothing."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from attacks import ATTACKS  # noqa: E402

sys.path.remove(str(HERE))

# What a well-behaved client bears: machines that run tests are noisy, so this is far above what is printed.
P50, P99 = 100.0, 1000.0  # ms
SECONDS = 1.2
# What a refusal must have been counted as, at least once.
NAMED = {
    "zip_bomb": ["max_request_body_size"],
    "smuggled": ["malformed"],
    "header_flood": ["max_header_count", "max_header_bytes", "max_url_bytes"],
    "endless": ["max_request_body_size", "malformed", "max_header_bytes"],
    "slow_head": ["read_header_timeout"],
    "slow_body": ["read_timeout"],
    "tiny_parts": ["max_request_items"],
}


class Server:
    """`hawse run` with an otlp receiver and a file behind it."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.file = folder / "out.json"
        self.next = 0
        (folder / "config.yaml").write_text(f"""
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{self.port}", read_header_timeout: 1s, read_timeout: 2s}}}}}}}}
exporters: {{file: {{path: {self.file}}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
  telemetry: {{metrics: {{address: "127.0.0.1:{self.port}"}}}}
  memory_limit: 256MiB
""")
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hawse", "run", "--config", str(folder / "config.yaml")], stderr=log
            )
        self.log = folder / "log"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                self.metrics()
                return
            except OSError:
                time.sleep(0.05)
        self.process.kill()
        self.process.wait()
        pytest.fail(self.log.read_text())

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
            return response.read().decode()

    def refused(self):
        return Counter(
            {
                name: int(n)
                for name, n in re.findall(r'hawse_server_refused_total\{limit="(\w+)"\} (\d+)', self.metrics())
            }
        )

    def peak_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1000

    def serve_well(self, seconds):
        """The well-behaved client's report."""
        done = subprocess.run(
            [sys.executable, str(HERE / "client.py"), str(self.port), str(self.next), str(seconds)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        self.next += report["sent"]
        return report

    def stop(self):
        self.process.terminate()
        try:
            assert self.process.wait(30) == 0, self.log.read_text()
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("hostile"))
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@contextmanager
def attacking(server, names, seconds):
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / "attacks.py"), name, str(server.port), str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    answers = {}
    try:
        for one in running:
            assert one.stdout.readline() == "ready\n"
        time.sleep(0.2)  # until they are at it
        yield answers
    finally:
        for one in running:
            out, error = one.communicate(timeout=60)
            assert one.returncode == 0, error
            said = json.loads(out)
            answers[said["attack"]] = said["answers"]


@pytest.fixture(scope="module")
def quiet(server):
    """Its latency with nobody else there."""
    server.serve_well(0.5)
    report = server.serve_well(SECONDS)
    print("\nalone", json.dumps(report))
    return report


@pytest.mark.parametrize("name", ATTACKS)
def test_a_well_behaved_client_is_served(server, quiet, name, capsys):
    before = server.refused()
    with attacking(server, [name], SECONDS + (2 if name == "slow_body" else 0.7)) as answers:
        report = server.serve_well(SECONDS)
    counted = server.refused() - before
    with capsys.disabled():
        print(
            "\n"
            + json.dumps(
                {
                    "attack": name,
                    "alone": quiet,
                    "beside": report,
                    "answers": answers[name],
                    "refused": counted,
                    "peak_rss_mb": server.peak_mb(),
                }
            )
        )
    assert report["p50_ms"] < P50
    assert report["p99_ms"] < P99
    for limit in NAMED.get(name, []):
        assert counted[limit] > 0, counted
    assert server.process.poll() is None


def test_all_at_once_and_nothing_is_lost(server, quiet, capsys):
    with attacking(server, ATTACKS, 4) as answers:
        report = server.serve_well(3)
    with capsys.disabled():
        print(
            "\n"
            + json.dumps(
                {"attack": "all", "alone": quiet, "beside": report, "answers": answers, "peak_rss_mb": server.peak_mb()}
            )
        )
    assert report["p50_ms"] < 2 * P50
    assert server.peak_mb() < 256
    assert server.serve_well(0.3)["retries"] <= 1  # at most a connection that was closed for room
    server.stop()
    text = server.file.read_text()
    found = Counter(re.findall(r"good-(\d{8})", text))
    missing = [number for number in range(server.next) if f"{number:08d}" not in found]
    assert not missing, missing[:10]
    assert "SMUGGLED" not in text
    assert "Traceback" not in server.log.read_text()
