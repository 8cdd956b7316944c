"""Remote-write requests (1.0, snappy) as a fleet of Prometheus servers sends them, for the enrichment bench.

Series are those of `bench.exposition`, of so many pods as the series allow at 1,000 each, with the labels that
discovery adds (`namespace`, `pod`, `container`, `job`, `instance`). A request has 2,000 samples, as Prometheus is
configured by default, of one of four shards: a quarter of the series of each of some pods, in their order. Every
series comes once a round, each round 15 seconds after the last.
"""

import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cramjam

from bench.exposition import TARGET, Exposition
from hawse.wire import varint

SAMPLES = 2000  # of a request
OF_A_POD = 1000
_SHARDS = 4
_START = 1_792_000_000_000  # 2026-10-14, milliseconds


class Pod(NamedTuple):
    """As the API server knows it."""

    namespace: str
    name: str
    uid: str


def pods(series: int) -> list[Pod]:
    rng = random.Random(series)
    return [
        Pod(
            ("shop", "web", "jobs", "platform")[n % 4], f"api-{n:04d}-7d8f9c6b5-x{n:04d}", f"{rng.getrandbits(64):016x}"
        )
        for n in range(series // OF_A_POD)
    ]


def write(spool: Path, series: int, rounds: int) -> int:
    """Write a spool of requests (see `bench.sink`); how many samples they hold."""
    rng = random.Random(1)
    shards: list[list[bytes]] = [[] for _ in range(_SHARDS)]
    for number, pod in enumerate(pods(series)):
        for head in _heads(number, pod):
            rng.choice(shards).append(head)
    count = 0
    with spool.open("wb") as file:
        for round_ in range(rounds):
            stamp = b"\x10" + varint(_START + 15_000 * round_)
            for part in _requests(shards):
                message = b"".join([head + struct.pack("<d", rng.random() * 1e6) + stamp for head in part])
                data = bytes(cramjam.snappy.compress_raw(message))
                file.write(f"{len(data)} snappy\n".encode())
                file.write(data)
                count += len(part)
    return count


def _requests(shards: list[list[bytes]]) -> Iterator[list[bytes]]:
    """In turns, what each shard has at hand."""
    for at in range(0, max(map(len, shards)), SAMPLES):
        yield from (part for shard in shards if (part := shard[at : at + SAMPLES]))


def _heads(number: int, pod: Pod) -> Iterator[bytes]:
    """Of each series of a pod, all of its TimeSeries (field 1 of WriteRequest) before the value of its sample."""
    instance = f"10.1.{number // 250}.{number % 250}:8080"
    own = {"namespace": pod.namespace, "pod": pod.name, "container": "api", "job": "api", "instance": instance}
    for name, labels in _series(number):
        pairs = sorted({"__name__": name, **labels, **own}.items())
        encoded = b"".join(_field(1, _field(1, key.encode()) + _field(2, value.encode())) for key, value in pairs)
        # The sample: a double (9 bytes with its tag) and a time (a tag and 6 bytes, in these years).
        series = encoded + b"\x12" + varint(16) + b"\x09"
        yield b"\x0a" + varint(len(series) + 15) + series


def _series(number: int) -> Iterator[tuple[str, dict[str, str]]]:
    body = Exposition(OF_A_POD).body(0).replace(TARGET, f"{number % 100:02d}")
    for line in body.splitlines():
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].removesuffix("}").partition("{")
            pairs = (pair.partition("=") for pair in labels.split(","))
            yield name, {key: value.strip('"') for key, _, value in pairs}


def _field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data
