"""Expositions of a target: text, OpenMetrics and protobuf, two scrapes one after the other."""

import asyncio
from collections.abc import Iterator

from fuzz.targets import Target, table
from hawse.batch import Batch, Signal
from hawse.codecs.exposition import Exposition, ExpositionError, LimitExceeded, Limits, Settings
from hawse.codecs.otlp import decode
from hawse.codecs.prometheus_series import series

_NOW = 1_790_000_000_000_000_000
_TYPES = ("text/plain", "application/openmetrics-text", "application/vnd.google.protobuf")
_LABELS = {"job": "j", "instance": "i", "pod": "p"}
_SETTINGS = (
    Settings(),
    Settings(honor_labels=True, honor_timestamps=False),
    Settings(track_timestamps_staleness=True, resource_labels={"pod": "k8s.pod.name"}),
    Settings(limits=Limits(sample=9, label=5, label_value_length=20, bucket=3), scrape_classic_histograms=True),
)


async def _scrapes(kind: int, bodies: list[bytes]) -> None:
    exposition = Exposition({}, _LABELS, None, _SETTINGS[kind >> 2 & 3])
    for number, body in enumerate(bodies):
        try:
            groups = (await exposition.read(body, _TYPES[kind % 3], _NOW + number * 10**9)).groups
        except (ExpositionError, LimitExceeded) as error:
            assert str(error)
            groups = exposition.stale(_NOW + number * 10**9)
        batch = Batch(Signal.METRICS, groups)
        assert decode(Signal.METRICS, batch.encode()).items == batch.items
        seen = set()
        for labels, _, _ in series(batch):
            key = frozenset(labels.items())
            assert key not in seen, labels
            seen.add(key)


def _run(data: bytes) -> None:
    """The first byte chooses format and settings; a zero byte parts the scrapes of a text."""
    if data:
        bodies = [data[1:]] if data[0] % 3 == 2 else data[1:].split(b"\0")[:3]
        asyncio.run(_scrapes(data[0], bodies + bodies[-1:]))


def _seeds() -> Iterator[bytes]:
    text = (
        b'# HELP a_total x\n# TYPE a_total counter\na_total{pod="q",x="y"} 1 5\n# TYPE h histogram\n'
        b'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n# TYPE s summary\ns{quantile="0.5"} NaN\n'
        b"s_sum 1\ns_count 2\nb 1e3\n"
    )  # fmt: skip
    metrics = text.replace(b"a_total 1 5", b'a_total 1 5 # {trace_id="00"} 1') + b"h_created 1.5\n# UNIT b x\n# EOF\n"
    for mode in (0, 12):
        yield bytes((mode,)) + text + b"\0" + text.replace(b"h_sum 3", b"h_sum 4.5")
        yield bytes((mode,)) + text + b"\0" + text.replace(b'pod="q"', b'pod="r"').replace(b"histogram", b"gauge")
    for mode in (1, 4):
        yield bytes((mode,)) + metrics + b"\0" + metrics.replace(b"s_count 2", b"s_count 2.5")
    yield b"\x02" + bytes.fromhex("130a016318002209 0a060a0178120179 1a00".replace(" ", ""))[:20]
    native = bytes.fromhex("1a0a016e180422133a11080c1100000000000032402801380248034a00")
    yield b"\x02" + native


TARGETS = table(
    Target(
        "exposition",
        _run,
        _seeds,
        tokens=(b"# TYPE ", b"# HELP ", b"# EOF\n", b'{le="', b"_bucket", b"_sum", b"_count", b"_created", b"NaN",
                b"+Inf", b" # {", b'quantile="', b"histogram", b"summary", b"counter", b"\0", b'{"a b",'),
    )
)  # fmt: skip
