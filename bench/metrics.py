"""`make bench-metrics`: what a million scraped samples cost the collector.

Ten targets of 20,000 series on this machine, each scraped every second as gzip'd text, → OTLP/HTTP + gzip → a sink.
One JSON line: `cpu_s_per_million` (CPU-seconds, user and system, of the collector's process per 10^6 samples
scraped, over a window of steady work), `samples_per_s` (delivered, in that window), `series`, `missed_scrapes` (all
targets, in that window: late by half an interval or more, failed, or not at the sink), `peak_rss_mb`; `startup_cpu_s`
is what came before the window: starting, and the first scrapes, that make the series cache. `points` is what the sink
counted in all, `wire_mb` its bodies.

A sample is a line of the exposition: a histogram of 12 buckets is 14 samples, and one point of OTLP.

BENCH_TARGETS, a file with a URL a line, replaces the targets; BENCH_URL, the address of an OTLP/HTTP sink, replaces
the sink (what it takes is then not looked at: samples are what the collector says it scraped, missed scrapes those
that it says failed or were not taken).
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from bench import measure, scrapes

SENT = "otelcol_exporter_sent_metric_points_total"
SCRAPED, SCRAPES = "hawse_scrape_samples_total", "hawse_scrapes_total"
FAILED, MISSED = "hawse_scrapes_failed_total", "hawse_scrapes_missed_total"
_COUNTERS = (SENT, SCRAPED, SCRAPES, FAILED, MISSED)


class Targets(NamedTuple):
    """What is scraped. `series` of all together, 0 where that is for the collector to say."""

    urls: Sequence[str]
    series: int = 0
    points: int = 0  # of one scrape of all, without those that describe the scrape


def configuration(targets: Sequence[str], sink: str, port: int, interval: float) -> dict[str, Any]:
    """A collector that scrapes these URLs, a job for each way to ask."""
    jobs: dict[tuple[str, str, str], list[str]] = {}
    for url in targets:
        parts = urlsplit(url)
        jobs.setdefault((parts.scheme, parts.path or "/metrics", parts.query), []).append(parts.netloc)
    every = f"{round(interval * 1000)}ms"
    scrape_configs = [
        {
            "job_name": f"bench-{number}",
            "scheme": scheme,
            "metrics_path": path,
            "params": parse_qs(query),
            "static_configs": [{"targets": hosts}],
        }
        for number, ((scheme, path, query), hosts) in enumerate(jobs.items())
    ]
    scraping = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": scrape_configs}
    return {
        "receivers": {"prometheus": {"config": scraping}},
        "exporters": {"otlphttp": {"endpoint": sink, "compression": "gzip"}},
        "service": {
            "pipelines": {"metrics": {"receivers": ["prometheus"], "exporters": ["otlphttp"]}},
            "telemetry": {"metrics": {"address": f"127.0.0.1:{port}"}},
        },
    }


class Window(NamedTuple):
    """A while of steady work. `counted` is by how much the collector's own counters grew in it."""

    began: float  # seconds since 1970
    ended: float
    cpu: float
    startup_cpu: float  # before it
    peak_rss_mb: float
    counted: dict[str, float]

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def collector(targets: Targets, url: str, work: Path, options: argparse.Namespace) -> Window:
    """Scrape for a while."""
    port = measure.free_port()
    file = work / "collector.yaml"  # JSON is YAML
    file.write_text(json.dumps(configuration(targets.urls, url, port, options.interval)))
    argv = ["-m", "hawse", "run", "--config", str(file), "--no-watch"]
    with measure.process(argv, {}, work / "collector.log") as child:
        # The first scrape of each target has left; then a while for what is done once.
        measure.until(child, port, SENT, max(1, targets.points))
        time.sleep(options.warm_up)
        startup, began, before = measure.cpu_seconds(child.pid), time.time(), _counters(port)
        time.sleep(options.seconds)
        cpu, ended, after = measure.cpu_seconds(child.pid), time.time(), _counters(port)
        time.sleep(2 * options.interval)  # what was scraped in the window arrives
        if child.poll() is not None:
            raise measure.Stalled(f"the collector ended with {child.returncode}")
        counted = {name: after[name] - before[name] for name in _COUNTERS}
        return Window(began, ended, cpu - startup, startup, measure.peak_rss_mb(child.pid), counted)


def _counters(port: int) -> dict[str, float]:
    return {name: measure.metric(port, name) or 0.0 for name in _COUNTERS}


def _result(window: Window, samples: float, **more: object) -> dict[str, object]:
    if not samples:
        raise measure.Stalled("no sample has arrived")
    return {
        "bench": "metrics-collector",
        "cpu_s_per_million": round(window.cpu / (samples / 1e6), 3),
        "samples_per_s": round(samples / window.seconds),
        **more,
        "peak_rss_mb": round(window.peak_rss_mb, 1),
        "startup_cpu_s": round(window.startup_cpu, 2),
    }


def _own_sink(targets: Targets, work: Path, options: argparse.Namespace) -> dict[str, object]:
    spool = work / "spool"
    with measure.process(["-m", "bench.sink", str(spool)], {}, work / "sink.log") as sink:
        assert sink.stdout
        url = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
        window = collector(targets, url, work, options)
    captured = scrapes.read(spool)
    scraped = captured.within(window.began, window.ended)
    names = [urlsplit(target).netloc for target in targets.urls]
    last = {scrape.target: scrape.samples for scrape in captured.scrapes if scrape.up}
    return _result(
        window,
        sum(scrape.samples for scrape in scraped),
        series=sum(last.values()),
        missed_scrapes=scrapes.missed(scraped, names, window.began, window.ended, options.interval),
        points=captured.points,
        wire_mb=round(captured.size / 1e6, 1),
    )


def _other_sink(targets: Targets, url: str, work: Path, options: argparse.Namespace) -> dict[str, object]:
    window = collector(targets, url, work, options)
    counted = window.counted
    return _result(
        window,
        counted[SCRAPED],
        series=round(counted[SCRAPED] / max(1, counted[SCRAPES]) * len(targets.urls)),
        missed_scrapes=round(counted[MISSED] + counted[FAILED]),
        points=round(counted[SENT]),
        wire_mb=None,
    )


@contextlib.contextmanager
def _targets(work: Path, options: argparse.Namespace) -> Iterator[Targets]:
    if file := os.environ.get("BENCH_TARGETS"):
        yield Targets([line.strip() for line in Path(file).read_text().splitlines() if line.strip()])
        return
    argv = ["-m", "bench.metric_targets", "--targets", str(options.targets), "--series", str(options.series)]
    argv += ["--unchanged", str(options.unchanged)]
    with measure.process(argv, {}, work / "targets.log") as child:
        assert child.stdout
        told = json.loads(child.stdout.readline())
        yield Targets(told["urls"], options.targets * told["series"], options.targets * told["points"])


def _measured(work: Path, options: argparse.Namespace) -> dict[str, object]:
    with _targets(work, options) as targets:
        url = os.environ.get("BENCH_URL", "").removesuffix("/v1/metrics").rstrip("/")
        return _other_sink(targets, url, work, options) if url else _own_sink(targets, work, options)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-metrics", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="the window that is measured")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before it")
    parser.add_argument("--interval", type=float, default=1, help="seconds from scrape to scrape")
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--series", type=int, default=20_000, help="of each target")
    parser.add_argument("--unchanged", type=float, default=0, help="share of the points that never change, 0 to 1")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hawse-bench-") as name:
        work = Path(name)
        try:
            print(json.dumps(_measured(work, options)), flush=True)
        except measure.Stalled as stalled:
            print(f"bench-metrics: {stalled}", file=sys.stderr)
            for log in sorted(work.rglob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
