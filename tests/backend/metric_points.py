"""Requests of OTLP metrics for the backend's tests, and what it makes of them."""

import math
import sqlite3
import struct

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from hawse.backend.metrics.points import Decoder
from hawse.backend.metrics.samples import stale
from hawse.backend.schema import METRICS
from hawse.batch import Signal
from hawse.codecs import otlp


def memory():
    connection = sqlite3.connect(":memory:")
    connection.executescript(METRICS)
    return connection


def decoded(registry, *groups):
    """(name, labels, time, value or None for stale) of all samples, in the order of series and arrival."""
    request = ExportMetricsServiceRequest(resource_metrics=groups)
    return decoded_bytes(registry, request.SerializeToString())


def decoded_bytes(registry, raw):
    decoder = Decoder(registry)
    batch = otlp.decode(Signal.METRICS, raw)
    for group in batch.groups:
        decoder.read(group)
    samples = decoder.samples()
    assert samples.points + samples.rejected == batch.items
    names = {one.id: one for one in registry._new}
    metrics = {number: name for number, name, *_ in registry._new_metrics}
    ends = stale(samples.values).tolist()
    return [
        (metrics[names[number].metric], names[number].labels, when, None if end else value)
        for number, when, value, end in zip(
            samples.series.tolist(), samples.times.tolist(), samples.values.tolist(), ends, strict=True
        )
    ]


def group_of(**metric):
    group = ExportMetricsServiceRequest().resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "web"
    made = group.scope_metrics.add().metrics.add(**metric)
    return group, made


def filled(point, label, start, time, value, flags, exemplar):
    if label:
        point.attributes.add(key="l").value.string_value = label
    point.start_time_unix_nano, point.time_unix_nano, point.flags = start, time, flags
    if not flags:
        if isinstance(value, int):
            point.as_int = value
        else:
            point.as_double = value
        if exemplar:
            point.exemplars.add(time_unix_nano=time, as_double=1.0)
    return point


def same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(sorted(found, key=repr), sorted(wanted, key=repr), strict=True):
        assert one[:3] == other[:3]
        assert one[3] == other[3] or (math.isnan(one[3]) and math.isnan(other[3]))


def told(found):
    return [
        (
            "m",
            f'{{"l":{label!r}}}'.replace("'", '"').replace("\\x", "\\u00") if label else "{}",
            time,
            None if flags else float(value),
        )
        for label, _, time, value, flags, _ in found
    ]


def attributes_first(label, start, time, value, flags, exemplar):
    """As our own scraper lays points out."""
    point = NumberDataPoint()
    if label:
        point.attributes.add(key="l").value.string_value = label
    raw = point.SerializeToString()
    raw += b"\x11" + struct.pack("<Q", start) if start else b""
    raw += b"\x19" + struct.pack("<Q", time) + bytes((0x40, flags))
    return raw + (b"\x31" + struct.pack("<q", value) if isinstance(value, int) else b"\x21" + struct.pack("<d", value))
