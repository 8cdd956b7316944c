"""Remote write requests in the making, and what comes out of them as OpenTelemetry's own classes read it."""

import asyncio
import struct

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from hawse.batch import Batch, Signal
from hawse.codecs import otlp, remote_write_1, remote_write_2
from hawse.codecs.remote_write import Limits
from hawse.codecs.remote_write_memory import Memory
from hawse.codecs.remote_write_schema import TYPES, message
from hawse.wire import field

NOW = 1_790_000_000_000
STALE = 0x7FF0000000000002
RESOURCE_LABELS = {"namespace": "k8s.namespace.name", "pod": "k8s.pod.name"}
LABELS = {"__name__": "up", "job": "shop/api", "instance": "10.0.0.1:80", "namespace": "shop", "pod": "api-1", "x": "y"}


def double(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


class One:
    """A request of version 1.0 in the making."""

    read = staticmethod(remote_write_1.read)

    def __init__(self):
        self.parts = []

    def series(self, labels, samples=(), exemplars=(), histograms=(), start=0, family=None):
        made = message("TimeSeries1")()
        pairs = labels.items() if isinstance(labels, dict) else labels
        for name, value in pairs:
            made.labels.add(name=_raw(name), value=_raw(value))
        for value, at in samples:
            made.samples.add(value=value, timestamp=at)
        for names, value, at in exemplars:
            one = made.exemplars.add(value=value, timestamp=at)
            for name, text in names.items():
                one.labels.add(name=_raw(name), value=_raw(text))
        made.histograms.extend(histograms)
        self.parts.append(field(1, made.SerializeToString()))
        return self

    def metadata(self, name, type_, help_="", unit=""):
        made = message("Metadata1")(type=TYPES.index(type_), metric_family_name=name.encode())
        made.help, made.unit = help_.encode(), unit.encode()
        self.parts.append(field(3, made.SerializeToString()))
        return self

    def body(self):
        return b"".join(self.parts)


class Two:
    """The same of version 2.0."""

    read = staticmethod(remote_write_2.read)

    def __init__(self, shift=0):
        self.symbols = {b"": 0} | {f"unused {number}".encode(): number + 1 for number in range(shift)}
        self.made = []

    def ref(self, text):
        return self.symbols.setdefault(_raw(text), len(self.symbols))

    def series(self, labels, samples=(), exemplars=(), histograms=(), start=0, family=None, in_sample=False):
        made = message("TimeSeries2")()
        pairs = labels.items() if isinstance(labels, dict) else labels
        made.labels_refs.extend(self.ref(text) for pair in pairs for text in pair)
        for value, at in samples:
            made.samples.add(value=value, timestamp=at, start_timestamp=start if in_sample else 0)
        for names, value, at in exemplars:
            refs = [self.ref(text) for pair in names.items() for text in pair]
            made.exemplars.add(value=value, timestamp=at, labels_refs=refs)
        made.histograms.extend(histograms)
        if family:
            made.metadata.type = TYPES.index(family[0])
            made.metadata.help_ref, made.metadata.unit_ref = map(self.ref, family[1:])
        if not in_sample:
            made.created_timestamp = start
        self.made.append(made.SerializeToString())
        return self

    def body(self):
        whole = message("Request2")()
        whole.symbols.extend(self.symbols)
        whole.timeseries.extend(self.made)
        return whole.SerializeToString()


def _raw(text):
    return text if isinstance(text, bytes) else text.encode()


VERSIONS = pytest.mark.parametrize("request_of", [One, Two], ids=["1.0", "2.0"])


def memory(limit=16 << 20):
    return Memory(limit, RESOURCE_LABELS)


def read(made, known=None, **limits):
    """What comes out, as OpenTelemetry's own classes read it, and what is told of it."""
    body = made if isinstance(made, bytes) else made.body()
    reader = type(made).read if not isinstance(made, bytes) else remote_write_1.read
    written = asyncio.run(reader(body, known or memory(), Limits(**limits)))
    batch = Batch(Signal.METRICS, written.groups)
    encoded = batch.encode()
    assert otlp.decode(Signal.METRICS, encoded).items == batch.items == written.samples + written.histograms
    return MetricsData.FromString(encoded), written


def attributes(of):
    return {one.key: one.value.string_value for one in of}


def metrics(data):
    return [metric for group in data.resource_metrics for scope in group.scope_metrics for metric in scope.metrics]


def points(data):
    """(resource, name, kind, attributes, start, time, bits or "stale") of each number."""
    found = []
    for group in data.resource_metrics:
        resource = tuple(sorted(attributes(group.resource.attributes).items()))
        (scope,) = group.scope_metrics
        for metric in scope.metrics:
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                value = "stale" if point.flags == 1 else bits(point.as_double)
                assert point.HasField("as_double") == (value != "stale")
                labels = tuple(sorted(attributes(point.attributes).items()))
                start, at = point.start_time_unix_nano, point.time_unix_nano
                found.append((resource, metric.name, kind, labels, start, at, value))
    return found


def expected(labels, kind, value, at, start=0):
    resource = {"service.name": labels.get("job"), "service.instance.id": labels.get("instance")}
    resource |= {name: labels.get(label) for label, name in RESOURCE_LABELS.items()}
    kept = {name: text for name, text in labels.items() if name not in {"__name__", "job", "instance"} and text}
    return (
        tuple(sorted((name, text) for name, text in resource.items() if text)),
        labels["__name__"], kind, tuple(sorted(kept.items())), start * 10**6, at * 10**6,
        "stale" if bits(value) == STALE else bits(value),
    )  # fmt: skip
