"""OTLP metrics as Prometheus series, the slow way: on opentelemetry-proto's messages, by the specification's text.

Shares no code with `hawse.codecs`. `expected(request, …)` gives (labels, value, milliseconds) of each sample, values
of native histograms as dicts; `requests()` is a hypothesis strategy for requests to compare on.
"""

import math
import re
import struct

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

STALE = "stale"
UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": "", "By/s": "bytes_per_second", "{req}": "", "": ""}


def go(value):
    """Go's shortest form, by trying: as few digits as give the same number, then %g with Go's exponents."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    for digits in range(1, 18):
        text = f"{value:.{digits - 1}e}"
        if float(text) == value:
            break
    mantissa, exponent = text.split("e")
    if int(exponent) < -4 or int(exponent) >= 6:
        return f"{mantissa}e{int(exponent):+03d}" if value else "0"
    text = f"{value:.{max(0, digits - 1 - int(exponent))}f}"
    return text


def name_of(metric, kind, type_, namespace, suffixes):
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", metric.name) if word]
    if not words:
        return ""
    if suffixes:
        unit = UNITS[metric.unit]
        main, _, per = unit.partition("_per_")
        for word in (main, f"per_{per}" if per else ""):
            if word and word not in words:
                words.append(word)
        if type_ == "counter":
            words = [word for word in words if word != "total"] + ["total"]
        if metric.unit == "1" and type_ == "gauge":
            words = [word for word in words if word != "ratio"] + ["ratio"]
    if namespace:
        words.insert(0, namespace)
    made = "_".join(words)
    return "_" + made if made[:1].isdigit() else made


def plain_text(value):
    which = value.WhichOneof("value")
    if which == "string_value":
        return value.string_value
    if which == "bool_value":
        return "true" if value.bool_value else "false"
    if which == "int_value":
        return str(value.int_value)
    if which is None:
        return ""
    raise AssertionError(which)


def label_of(key):
    made = re.sub(r"_+", "_", re.sub(r"[^a-zA-Z0-9_]", "_", key)) or "_"
    if made[0].isdigit():
        return "key_" + made
    return "key" + made if made[0] == "_" else made


def normal(pairs):
    found = {}
    for key, text in sorted(pairs):
        name = label_of(key)
        found[name] = found[name] + ";" + text if name in found else text
    return found


def expected(request, *, namespace="", suffixes=True, target_info=True, external=(), scope_labels=False):
    out, lost = [], 0
    for group in request.resource_metrics:
        resource = {a.key: plain_text(a.value) for a in group.resource.attributes}
        job = resource.get("service.name", "")
        if job and resource.get("service.namespace"):
            job = f"{resource['service.namespace']}/{job}"
        identity = {"job": job, "instance": resource.get("service.instance.id", "")}
        latest = 0
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                got, gone, newest = of_metric(
                    metric, scope.scope, identity, dict(external), namespace, suffixes, scope_labels
                )
                out += got
                lost += gone
                latest = max(latest, newest)
        others = [
            (k, v) for k, v in resource.items() if k not in ("service.name", "service.namespace", "service.instance.id")
        ]
        if target_info and others and any(identity.values()) and latest:
            name = f"{namespace}_target_info" if namespace else "target_info"
            out.append(
                (clean({**dict(external), **normal(others), **identity, "__name__": name}), 1.0, latest // 10**6)
            )
    return out, lost


def clean(labels):
    return {name: text for name, text in labels.items() if name and text}


def of_metric(metric, scope, identity, external, namespace, suffixes, scope_labels):
    kind = metric.WhichOneof("data")
    told = {a.key: plain_text(a.value) for a in metric.metadata}
    data = getattr(metric, kind) if kind else None
    points = list(data.data_points) if kind else []
    type_ = told.get("prometheus.type", "")
    own = bool(type_)
    if not own:
        monotonic = kind == "sum" and data.is_monotonic
        type_ = {"sum": "counter" if monotonic else "gauge", "gauge": "gauge"}.get(kind, kind)
    name = metric.name if own else name_of(metric, kind, type_, namespace, suffixes)
    if own and namespace:
        name = f"{namespace}_{name}"
    if not name.strip("_") or (
        kind in ("sum", "histogram", "exponential_histogram") and data.aggregation_temporality != 2
    ):
        return [], len(points), 0
    out, lost, latest = [], 0, 0
    for point in points:
        try:
            rows = list(rows_of(kind, point, told))
        except ValueError:
            lost += 1
            continue
        pairs = [(a.key, plain_text(a.value)) for a in point.attributes]
        pairs = list(dict(pairs).items())
        labels = {**external, **clean(dict(pairs) if own else normal(pairs)), **clean(identity)}
        if scope_labels and not own:
            labels |= clean({"otel_scope_name": scope.name, "otel_scope_version": scope.version})
        latest = max(latest, point.time_unix_nano)
        for suffix, extra, value in rows:
            out.append((clean({**labels, **extra, "__name__": name + suffix}), value, point.time_unix_nano // 10**6))
    return out, lost, latest


def rows_of(kind, point, told):
    stale = bool(point.flags & 1)

    def val(value):
        return STALE if stale else float(value)

    if kind in ("gauge", "sum"):
        which = point.WhichOneof("value")
        if which is None and not stale:
            raise ValueError
        yield "", {}, STALE if stale else float(getattr(point, which))
    elif kind == "histogram":
        bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
        if counts and len(counts) != len(bounds) + 1 and not stale:
            raise ValueError
        texts = told.get("prometheus.le", "").split(",")
        if bounds and bounds[-1] == math.inf:
            bounds = bounds[:-1]
        if not counts and not stale:
            bounds = []
        if len(texts) != len(bounds) + 1 or texts == [""]:
            texts = [go(bound) for bound in bounds] + ["+Inf"]
        for at in range(len(bounds)):
            yield "_bucket", {"le": texts[at]}, val(sum(counts[: at + 1]))
        yield "_bucket", {"le": texts[-1]}, val(point.count)
        if point.HasField("sum") or stale:
            yield "_sum", {}, val(point.sum)
        yield "_count", {}, val(point.count)
    elif kind == "summary":
        texts = told.get("prometheus.quantile", "").split(",")
        if len(texts) != len(point.quantile_values) or texts == [""]:
            texts = [go(one.quantile) for one in point.quantile_values]
        for one, text in zip(point.quantile_values, texts, strict=True):
            yield "", {"quantile": text}, val(one.value)
        yield "_sum", {}, val(point.sum)
        yield "_count", {}, val(point.count)
    else:
        if point.scale < -4:
            raise ValueError
        yield "", {}, {
            "count": None if stale else point.count, "sum": STALE if stale else point.sum, "schema": min(point.scale, 8),
            "zero": point.zero_count, "threshold": point.zero_threshold or 1e-128,
            "positive": absolute(point.positive, point.scale), "negative": absolute(point.negative, point.scale),
        }  # fmt: skip


def absolute(buckets, scale):
    """Prometheus' bucket index → count, by the bucket's bounds: (2^(i/2^s), 2^((i+1)/2^s)] is bucket i + 1."""
    found = {}
    for at, count in enumerate(buckets.bucket_counts):
        index = (buckets.offset + at) // 2 ** max(0, scale - 8)
        if count:
            found[index + 1] = found.get(index + 1, 0) + count
    return found


def spread(spans, deltas):
    """Index → count of a native histogram as it is sent, without empty buckets."""
    found, index, count, left = {}, 0, 0, list(deltas)
    for gap, length in spans:
        index += gap
        for _ in range(length):
            count += left.pop(0)
            if count:
                found[index] = count
            index += 1
    assert not left
    return found


def comparable(rows):
    """In an order, with values that compare."""

    def plain(value):
        if isinstance(value, float):
            if struct.pack("<d", value) == b"\x02\x00\x00\x00\x00\x00\xf0\x7f":
                return STALE
            return "NaN" if math.isnan(value) else value
        if isinstance(value, dict):
            return tuple(
                (key, plain(item) if not isinstance(item, dict) else tuple(sorted(item.items())))
                for key, item in value.items()
            )
        return value

    return sorted(((sorted(labels.items()), plain(value), time) for labels, value, time in rows), key=repr)


# --- requests -----------------------------------------------------------------------------------------------------------

KEYS = ["http.method", "", "http_method", "code", "le", "1st", "_x", "é", "__name__", "job", "a..b", "a_b"]
TIMES = st.sampled_from([0, 1, 1_700_000_000_123_456_789, 1_700_000_001_000_000_000, 1 << 62, (1 << 64) - 1])
VALUES = st.floats() | st.sampled_from([0.0, 1.0, -1.5])


def _attributes(draw, target, keys=KEYS):
    for key in draw(st.lists(st.sampled_from(keys), max_size=4, unique=True)):
        made = target.add(key=key).value
        kind = draw(st.integers(0, 3))
        if kind < 2:
            made.string_value = draw(st.sampled_from(["", "GET", "ä", "x" * 200]))
        elif kind == 2:
            made.int_value = draw(st.integers(-5, 1 << 40))
        else:
            made.bool_value = draw(st.booleans())


@st.composite
def requests(draw):
    request = ExportMetricsServiceRequest()
    for _ in range(draw(st.integers(1, 3))):
        group = request.resource_metrics.add()
        _attributes(
            draw,
            group.resource.attributes,
            ["service.name", "service.namespace", "service.instance.id", "k8s.pod.name", "host"],
        )
        for _ in range(draw(st.integers(0, 2))):
            scope = group.scope_metrics.add()
            scope.scope.name = draw(st.sampled_from(["", "lib"]))
            for _ in range(draw(st.integers(0, 3))):
                _metric(draw, scope.metrics.add())
    return request


def _metric(draw, metric):
    metric.name = draw(st.sampled_from(["http.requests", "up", "x_total", "9lives", "a__b", "", "..."]))
    metric.unit = draw(st.sampled_from(list(UNITS)))
    metric.description = draw(st.sampled_from(["", "Help."]))
    kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary", "none"]))
    if kind == "none":
        return
    data = getattr(metric, kind)
    data.SetInParent()
    if kind in ("sum", "histogram", "exponential_histogram"):
        data.aggregation_temporality = draw(st.sampled_from([2, 2, 2, 1, 0]))
    if kind == "sum":
        data.is_monotonic = draw(st.booleans())
    if draw(st.booleans()):
        metric.metadata.add(key="prometheus.type").value.string_value = "unknown"
        if draw(st.booleans()):
            metric.metadata.add(key="prometheus.le").value.string_value = "0.5,1.0,+Inf"
            metric.metadata.add(key="prometheus.quantile").value.string_value = "0.50"
    for _ in range(draw(st.integers(0, 3))):
        _point(draw, kind, data.data_points.add())


def _point(draw, kind, point):
    point.time_unix_nano = draw(TIMES)
    point.start_time_unix_nano = draw(st.sampled_from([0, 1_600_000_000_000_000_000]))
    _attributes(draw, point.attributes)
    point.flags = draw(st.sampled_from([0, 0, 0, 1]))
    if kind in ("gauge", "sum"):
        which = draw(st.sampled_from(["as_double", "as_int", "as_double", "none"]))
        if which == "as_double":
            point.as_double = draw(VALUES)
        elif which == "as_int":
            point.as_int = draw(st.integers(-(1 << 63), (1 << 63) - 1))
        return
    point.count = draw(st.integers(0, 1 << 60))
    if draw(st.booleans()) or kind == "summary":
        point.sum = draw(VALUES)
    if kind == "histogram":
        bounds = sorted(draw(st.lists(st.sampled_from([0.5, 1.0, 1e6, 2.5e-5, math.inf]), unique=True, max_size=4)))
        point.explicit_bounds[:] = bounds
        if draw(st.booleans()):
            size = len(bounds) + draw(st.sampled_from([1, 1, 1, 0]))
            point.bucket_counts[:] = [draw(st.integers(0, 1 << 40)) for _ in range(size)]
    elif kind == "summary":
        for quantile in draw(st.lists(st.sampled_from([0.5, 0.99]), unique=True, max_size=2)):
            point.quantile_values.add(quantile=quantile, value=draw(VALUES))
    else:
        point.scale = draw(st.integers(-5, 11))
        point.zero_count = draw(st.integers(0, 9))
        for side in (point.positive, point.negative):
            side.offset = draw(st.integers(-20, 20))
            side.bucket_counts[:] = draw(st.lists(st.integers(0, 3), max_size=12))
