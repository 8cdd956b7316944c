"""Real exporters, started on this machine: their scrape URLs."""

import contextlib
import urllib.request

from .programs import Program, port

_PUSHED = """\
# TYPE batch_job_duration_seconds summary
# HELP batch_job_duration_seconds How long a job took: "quoted" \\\\ and \\n a new line.
batch_job_duration_seconds{quantile="0.5"} 1.25
batch_job_duration_seconds{quantile="0.99"} 7
batch_job_duration_seconds_sum 1234.5
batch_job_duration_seconds_count 321
# TYPE batch_job_records_total counter
batch_job_records_total{outcome="ok",path="C:\\\\data \\"x\\""} 1.5e+09
batch_job_records_total{outcome="nan",path="é 🚢"} NaN
# TYPE batch_job_size_bytes histogram
batch_job_size_bytes_bucket{le="1"} 1
batch_job_size_bytes_bucket{le="1000"} 5
batch_job_size_bytes_bucket{le="1e+06"} 6
batch_job_size_bytes_bucket{le="+Inf"} 9
batch_job_size_bytes_sum -4.5
batch_job_size_bytes_count 9
# TYPE batch_job_temperature gauge
batch_job_temperature -Inf
batch_job_untyped 42
"""


@contextlib.contextmanager
def exporters(peer, folder):
    """Name → (host:port, path) of everything that there is."""
    with contextlib.ExitStack() as stack:
        found = {}

        def run(name, options, path="/metrics", ready="/metrics"):
            own = port()
            address = f"127.0.0.1:{own}"
            argv = [peer(name), f"--web.listen-address={address}", *options]
            stack.enter_context(Program(name, argv, folder / name, f"http://{address}{ready}"))
            found[name.removeprefix("prometheus-")] = (address, path)
            return address

        (folder / "blackbox.yaml").write_text("modules: {http_2xx: {prober: http, timeout: 1s}}")
        (folder / "process.yaml").write_text('process_names: [{name: "{{.Comm}}", cmdline: ["."]}]')
        run("prometheus-node-exporter", [])
        run("prometheus-blackbox-exporter", [f"--config.file={folder / 'blackbox.yaml'}"])
        run("prometheus-process-exporter", [f"-config.path={folder / 'process.yaml'}"])
        run("prometheus-redis-exporter", ["--redis.addr=redis://127.0.0.1:1"])  # with no Redis: up, and says so
        pushgateway = run("prometheus-pushgateway", [])
        push = urllib.request.Request(
            f"http://{pushgateway}/metrics/job/batch/instance/worker-1", _PUSHED.encode(), method="PUT"
        )
        with urllib.request.urlopen(push, timeout=10) as answer:
            assert answer.status == 200
        yield found
