"""A real Prometheus sends to us by remote write, and nothing of it is lost: we are killed, and made to wait."""

import json
import os
import random
import threading
import time

import pytest

from .programs import Hawse, port, until
from .prometheus import Prometheus
from .sink import Sink
from .targets import Target

SEED = int(os.environ.get("SEED") or random.randrange(10**6))


class Load(Target):
    """A target of `series` series that are all different at each scrape, and some of which come and go."""

    def __init__(self, series=800):
        super().__init__()
        self._series = series
        self._turn = 0
        self._rng = random.Random(SEED)

    def _answer(self, handler):
        with self._lock:
            self._turn += 1
            turn = self._turn
        lines = ["# TYPE load_total counter"]
        lines += [f'load_total{{number="{n}"}} {turn * 1000 + n}' for n in range(self._series) if (n + turn) % 50]
        lines += ["# TYPE load_seconds histogram"]
        for le in ("0.1", "1", "+Inf"):
            lines.append(f'load_seconds_bucket{{le="{le}"}} {turn}')
        lines += [f"load_seconds_sum {turn / 3}", f"load_seconds_count {turn}"]
        self._body = "\n".join([*lines, ""]).encode()
        super()._answer(handler)


def _hawse(folder, receive, sink, *, queue):
    write = {
        "endpoint": sink.url,
        "target_info": {"enabled": False},
        "timeout": "3s",
        "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
        "sending_queue": {"enabled": queue, "storage": "file_storage"} if queue else {"enabled": False},
    }
    return Hawse(
        folder,
        {
            "receivers": {"prometheusremotewrite": {"endpoint": f"127.0.0.1:{receive}"}},
            "exporters": {"prometheusremotewrite": write},
            "extensions": {"file_storage": {"directory": str(folder / "state")}},
            "service": {
                "extensions": ["file_storage"],
                "pipelines": {
                    "metrics": {"receivers": ["prometheusremotewrite"], "exporters": ["prometheusremotewrite"]}
                },
            },
        },
    )


def _prometheus(binary, folder, targets, receive):
    scraping = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"},
        "scrape_configs": [
            {"job_name": f"load-{n}", "static_configs": [{"targets": [target.address]}]} for n, target in enumerate(targets)
        ],
        "remote_write": [
            {
                "url": f"http://127.0.0.1:{receive}/api/v1/write",
                "queue_config": {"min_backoff": "30ms", "max_backoff": "300ms", "batch_send_deadline": "200ms"},
            }
        ],
    }  # fmt: skip
    return Prometheus(binary, folder / "prometheus", scraping)


def _stored(prometheus, until_ms):
    return {
        (labels, at, value)
        for labels, samples in prometheus.samples().items()
        for at, value in samples
        if at <= until_ms
    }


def _all_there(prometheus, sink, hawse):
    """Everything that Prometheus has stored by now reaches the sink; returns how much that is."""
    now = int(time.time() * 1000)
    stored = _stored(prometheus, now)
    missing = set()

    def there():
        nonlocal missing
        missing = stored - sink.have().keys()
        return not missing

    until(
        there,
        lambda: f"{len(missing)} of {len(stored)} samples, seed {SEED}: {sorted(missing)[:5]}\n{hawse.tail()}",
        45,
    )
    strange = [sample for sample in sink.have() if sample[1] <= now and sample not in stored]
    assert not strange, strange[:5]
    return stored


@pytest.mark.parametrize("queue", [pytest.param(True, id="queue"), pytest.param(False, id="memory")])
@pytest.mark.long
def test_a_sender_loses_nothing(peer, tmp_path, capsys, queue):
    binary = peer("prometheus")
    rng = random.Random(SEED)
    receive = port()
    kills = 0
    with Sink() as sink, Load() as one, Load(300) as two:
        hawse = _hawse(tmp_path / "hawse", receive, sink, queue=queue)
        with hawse, _prometheus(binary, tmp_path, [one, two], receive) as prometheus:
            until(lambda: len(sink.have()) > 1000, lambda: f"samples at the sink\n{hawse.tail()}")
            for _ in range(6):
                time.sleep(rng.uniform(0.2, 1.2))
                hawse.kill()
                kills += 1
                time.sleep(rng.uniform(0, 0.5))
                hawse.start(wait=rng.random() < 0.7)
            hawse.wait()
            for sink.answer, sink.retry_after in ((503, None), (429, "1"), (500, None)):
                time.sleep(2.5)
                hawse.wait()
                hawse.kill()
                kills += 1
                hawse.start()
            assert sink.refused > 3
            sink.answer, sink.retry_after = 200, None
            assert hawse.stop() == 0
            hawse.start()
            stored = _all_there(prometheus, sink, hawse)
            dropped = prometheus.value("sum(prometheus_remote_storage_samples_failed_total)")
            arrived = sink.have()
    line = {"samples": len(stored), "kills": kills, "refused": sink.refused, "seed": SEED, "queue": queue}
    line["duplicates"] = sum(arrived.values()) - len(arrived)
    with capsys.disabled():
        print(f"\n{json.dumps(line)}", end="")
    assert len(stored) > 30_000
    assert not dropped
