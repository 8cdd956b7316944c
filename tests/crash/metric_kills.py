"""Part of `make test-crash`: metrics-enrichment is killed under load; then every point that it took must have arrived.

Clients send numbered points by OTLP/HTTP and by remote write, and repeat a request until it is answered with success.
The backend is busy half of the time, so that there is always something in the role's hands. Prints one JSON line.
"""

import argparse
import gzip
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cramjam
import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.peers.programs import Program, port
from tests.peers.prompb import message

CLIENTS = 4  # half of them OTLP, half remote write
POINTS = 200  # in a request
_NAME = "crash_load"
# A pod that no one knows of: enrichment asks for nothing, and looks into nothing.
_LABELS = {"__name__": _NAME, "job": "crash", "instance": "i"}
_KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


class Report(msgspec.Struct):
    """The JSON line. Points are what is counted."""

    seed: int
    queue: bool
    kills: int = 0
    accepted: int = 0
    delivered: int = 0
    missing: int = 0
    strange: int = 0
    duplicates: int = 0
    backend_busy: int = 0
    wall_s: float = 0.0
    examples: list[str] = []

    @property
    def holds(self) -> bool:
        return not self.missing and not self.strange and self.accepted > 0

    def json(self) -> str:
        return msgspec.json.encode(self).decode()


class Backend:
    """Takes OTLP, and counts points by client and number. `busy` makes it answer 503."""

    def __init__(self):
        self.port = port()
        self.points = Counter()
        self.busy = False
        self.refused = 0
        self._lock = threading.Lock()

    def have(self):
        with self._lock:
            return Counter(self.points)

    def __enter__(self):
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                busy = backend.busy
                if busy:
                    backend.refused += 1
                else:
                    backend._take(body)
                self.send_response(503 if busy else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args):  # the role was killed
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body):
        request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
        found = []
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in (*metric.gauge.data_points, *metric.sum.data_points):
                        client = next((a.value.string_value for a in point.attributes if a.key == "client"), "")
                        found.append((metric.name, client, point.as_int or int(point.as_double)))
        with self._lock:
            self.points.update(found)


class Client(threading.Thread):
    """Sends numbers from 0 on, in order. `accepted` is how many have been answered with success."""

    def __init__(self, number, ports):
        super().__init__(daemon=True)
        self.key = f"client-{number}"
        self.accepted = 0
        self.ended = threading.Event()
        self.odd: list[str] = []
        self._otlp = number % 2 == 0
        self._port = ports[0] if self._otlp else ports[1]
        self._connection = None

    def run(self):
        while not self.ended.is_set():
            path, headers, body = (self._otlp_request if self._otlp else self._write_request)()
            while not self._sent(path, headers, body):
                time.sleep(0.02)
            self.accepted += POINTS
        self._disconnect()

    def _disconnect(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _sent(self, path, headers, body):
        """Whether it was answered with success; a connection that breaks is no answer."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            self._connection.request("POST", path, body, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._disconnect()
            return False
        if answer.status not in {200, 204, 429, 503}:
            self.odd.append(f"{self.key}: {answer.status} {text[:200]!r}")
        return answer.status in {200, 204}

    def _otlp_request(self):
        request = ExportMetricsServiceRequest()
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=_NAME)
        for number in range(self.accepted, self.accepted + POINTS):
            point = metric.gauge.data_points.add(as_int=number, time_unix_nano=time.time_ns())
            point.attributes.add(key="client").value.string_value = self.key
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        return "/v1/metrics", headers, gzip.compress(request.SerializeToString(), 1)

    def _write_request(self):
        request = message("WriteRequest")()
        series = request.timeseries.add()
        for name, value in sorted({**_LABELS, "client": self.key}.items()):
            series.labels.add(name=name, value=value)
        now = int(time.time() * 1000)
        for number in range(self.accepted, self.accepted + POINTS):
            series.samples.add(value=number, timestamp=now + number - self.accepted)
        headers = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}
        return "/api/v1/write", headers, bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def _role(root, backend, *, queue):
    otlp, write, telemetry = port(), port(), port()
    (root / "kubeconfig").write_text(json.dumps(_KUBECONFIG))
    env = {
        "KUBECONFIG": str(root / "kubeconfig"),
        "HAWSE_KUBE_AUTH_TYPE": "kubeConfig",
        "HAWSE_OTLP_HOST": "127.0.0.1",
        "HAWSE_OTLP_PORT": str(otlp),
        "HAWSE_REMOTE_WRITE_HOST": "127.0.0.1",
        "HAWSE_REMOTE_WRITE_PORT": str(write),
        "HAWSE_TELEMETRY_HOST": "127.0.0.1",
        "HAWSE_TELEMETRY_PORT": str(telemetry),
        "HAWSE_HEALTH_HOST": "127.0.0.1",
        "HAWSE_HEALTH_PORT": "0",
        "HAWSE_METRICS_EXPORTER": "otlphttp",
        "HAWSE_BACKEND_ENDPOINT": f"http://127.0.0.1:{backend.port}",
        "HAWSE_STATE": str(root / "state"),
        "HAWSE_QUEUE": "true" if queue else "false",
    }
    quick = "{enabled: true, initial_interval: 100ms, max_interval: 500ms}"
    argv = [sys.executable, "-m", "hawse", "run", "--role", "metrics-enrichment", "--no-watch"]
    argv += ["--set", f"exporters.otlphttp.retry_on_failure={quick}", "--set", "exporters.otlphttp.timeout=3s"]
    return Program("metrics-enrichment", argv, root, f"http://127.0.0.1:{telemetry}/metrics", env), (otlp, write)


def killed(root: Path, *, kills: int, seed: int, queue: bool) -> Report:
    """Kill it so often, and compare. The process' log and its queue stay in `root`."""
    began = time.monotonic()
    rng = random.Random(f"metric kills {seed}")
    report = Report(seed, queue)
    with Backend() as backend:
        program, ports = _role(root, backend, queue=queue)
        with program:
            clients = [Client(number, ports) for number in range(CLIENTS)]
            for client in clients:
                client.start()
            for number in range(kills):
                backend.busy = number % 2 == 0
                # Often while it starts, oftener while it works.
                time.sleep(rng.uniform(0, 0.5) if rng.random() < 0.3 else rng.uniform(0.7, 1.5))
                program.kill()
                report.kills += 1
                program.start(wait=False)
            backend.busy = False
            program.wait()
            for client in clients:
                client.ended.set()
            for client in clients:
                client.join(60)
                assert not client.is_alive(), f"{client.key} has no answer\n{program.tail()}"
            _settle(backend, clients)
            assert program.stop() == 0, program.tail()
            report.backend_busy = backend.refused
        _compare(report, backend.have(), clients)
    report.wall_s = round(time.monotonic() - began, 1)
    return report


def _settle(backend, clients, seconds=60.0):
    """Until all is there, or nothing comes any more."""
    expected = sum(client.accepted for client in clients)
    before, since = -1, time.monotonic()
    while (now := len(backend.have())) < expected and time.monotonic() - since < 8 and seconds > 0:
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.2)
        seconds -= 0.2


def _compare(report, points, clients):
    expected = {(_NAME, client.key, number) for client in clients for number in range(client.accepted)}
    report.accepted, report.delivered = len(expected), sum(points.values())
    missing, strange = expected - points.keys(), points.keys() - expected
    report.missing, report.strange = len(missing), len(strange)
    report.duplicates = report.delivered - len(points)
    report.examples = [*(f"missing: {one}" for one in sorted(missing)[:5]), *(f"strange: {one}" for one in sorted(strange)[:5])]  # fmt: skip
    for client in clients:
        report.examples += client.odd[:3]
        report.strange += len(client.odd)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--queue", choices=("off", "on"), default="on")
    parser.add_argument("--keep", type=Path, help="folder for the log and the queue, kept")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    with tempfile.TemporaryDirectory(prefix="hawse-crash-") as folder:
        root = given.keep or Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        report = killed(root, kills=given.kills, seed=seed, queue=given.queue == "on")
    print(report.json())
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
