"""A node's worth of containers that log: the demo's ground truth.

`Node` writes; `Tally` says exactly what was written, so that whoever collects can be held against it.
"""

import random
import time
from pathlib import Path

import msgspec

from hawse.demo import apps, cast
from hawse.demo.meters import MEASURES, Meters
from hawse.demo.runtime import ContainerLog
from hawse.demo.senders import SenderTally

_ROTATE_AT = 96 << 10  # bytes: small, so that a demo of half a minute shows some (kubelet's default is 10 MiB)
_FIRST_CRASH, _RARELY = 6.0, 300.0  # seconds after a start; doubles with each, up to the kubelet's longest back-off
_BURST = (0.02, 12)  # chance per container and tick, factor


class PodTally(msgspec.Struct):
    """What one pod has written. A record is a line as the application wrote it, or an entry of several lines."""

    namespace: str
    pod: str
    uid: str
    collected: bool
    lines: int = 0
    records: int = 0
    bytes: int = 0  # of the records' texts, in UTF-8


class ExporterTally(msgspec.Struct):
    """What one container has told scrapers of its metrics. `samples` is the sum over all scrapes."""

    namespace: str
    pod: str
    container: str
    instance: str  # host:port
    scrapes: int = 0
    samples: int = 0


class Tally(msgspec.Struct):
    """What the node has written so far."""

    pods: list[PodTally]
    exporters: list[ExporterTally] = []
    senders: list[SenderTally] = []
    rotations: int = 0
    restarts: int = 0

    def save(self, path: Path) -> None:
        """Write as JSON, in one step."""
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(msgspec.json.encode(self))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Tally":
        """Read what `save` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


class Running:
    """A container with its log and its metrics."""

    def __init__(self, pod: cast.Pod, container: cast.Container, log: ContainerLog, tally: PodTally) -> None:
        self.pod = pod
        self.container = container
        self.log = log
        self.tally = tally
        instance = f"{pod.ip}:{container.port}"
        self.exporter = ExporterTally(pod.namespace, pod.name, container.name, instance)
        # Chance of its own: the logs of a seed are the same whether or not somebody reads the metrics.
        self._rng = random.Random(instance)  # noqa: S311
        self.meters = Meters(self._rng)
        self.number = 0
        self.owed = 0.0  # events due but not written, a fraction
        self.lives = _FIRST_CRASH  # seconds that it runs from one start to the next
        self.crash_at = _FIRST_CRASH

    def measure(self, event: apps.Event) -> None:
        """Count an event in the metrics."""
        MEASURES[self.container.app](self.meters, event)

    def restarted(self) -> None:
        """Counters begin anew."""
        self.meters = Meters(self._rng)

    def scraped(self, samples: int) -> None:
        """So many samples have been told."""
        self.exporter.scrapes += 1
        self.exporter.samples += samples


class Node:
    """Writes the logs of the cast below a folder. `advance` does all the work, in the caller's time."""

    def __init__(self, root: Path, rng: random.Random, *, rate: float = 1.0, network: str = "10.244") -> None:
        """`root` stands for the node's /var/log; `rate` multiplies the events a second (about 100 at 1); `network` is
        where the pods' addresses are.
        """
        self.pods = cast.pods(rng, network)
        self._rng = rng
        self._rate = rate
        self._elapsed = 0.0
        self._last = 0
        self.tally = Tally([PodTally(pod.namespace, pod.name, pod.uid, pod.collected) for pod in self.pods])
        self.running = [
            Running(pod, container, self._log(root, pod, container), tally)
            for pod, tally in zip(self.pods, self.tally.pods, strict=True)
            for container in pod.containers
        ]
        self.tally.exporters = [running.exporter for running in self.running if running.container.port]

    def advance(self, seconds: float) -> None:
        """Write what falls due in so much time: all of it is in the files, whole lines only, on return."""
        self._elapsed += seconds
        for running in self.running:
            self._live(running, seconds)

    def close(self) -> None:
        """Close the files."""
        for running in self.running:
            running.log.close()

    def _live(self, running: Running, seconds: float) -> None:
        burst = _BURST[1] if self._rng.random() < _BURST[0] else 1
        running.owed += running.container.rate * self._rate * seconds * burst
        while running.owed >= 1:
            running.owed -= 1
            self._say(running)
        if running.log.size() > _ROTATE_AT:
            running.log.rotate(self._now())
            self.tally.rotations += 1
        if running.pod.crashes and self._elapsed >= running.crash_at:
            running.lives = min(2 * running.lives, _RARELY)
            running.crash_at += running.lives
            running.log.restart(self._container_id())
            running.restarted()
            self.tally.restarts += 1

    def _say(self, running: Running) -> None:
        running.number += 1
        self.log(running, running.container.app(self._rng, running.number))

    def log(self, running: Running, event: apps.Event) -> None:
        """Write an event of a container."""
        running.measure(event)
        for line in event.lines:
            running.log.write(self._now(), event.stream, line)
        records = ["\n".join(event.lines)] if running.container.first_line else event.lines
        running.tally.lines += len(event.lines)
        running.tally.records += len(records)
        running.tally.bytes += sum(len(text.encode()) for text in records)

    def _now(self) -> int:
        """Nanoseconds since 1970, no two alike."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def _container_id(self) -> str:
        return f"{self._rng.getrandbits(256):064x}"

    def _log(self, root: Path, pod: cast.Pod, container: cast.Container) -> ContainerLog:
        return ContainerLog(
            root,
            namespace=pod.namespace,
            pod=pod.name,
            uid=pod.uid,
            container=container.name,
            format_=pod.format,
            id_=self._container_id(),
        )
