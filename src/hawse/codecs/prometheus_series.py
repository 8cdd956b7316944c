"""OTLP's metrics as Prometheus' series (OpenTelemetry's "Prometheus and OpenMetrics Compatibility").

A metric that came from Prometheus says so in its metadata (`prometheus.type`): its name and its labels are written as
they are. Others get names and labels that Prometheus likes, with unit and type in the name. `series` is the plain way
for those who want a few; the codecs of remote write and of Prometheus' text remember what they have encoded.

    for labels, value, milliseconds in series(batch): ...
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from hawse.batch import AttributeValue, Batch, Group
from hawse.codecs.otlp_records import as_text
from hawse.codecs.prometheus_series_messages import messages
from hawse.codecs.prometheus_series_names import label_name, metric_name, unit_name
from hawse.codecs.prometheus_series_points import (
    PLAIN,
    Point,
    Row,
    Texts,
    Unfit,
    Value,
    Variant,
    attributes,
    created,
    read,
)
from hawse.wire import WireError

Labels = tuple[tuple[str, str], ...]
_CUMULATIVE = 2
_KINDS = {"histogram": "histogram", "exponential": "histogram", "summary": "summary"}
_SERVICE = ("service.namespace", "service.name", "service.instance.id")
_TEMPORAL = frozenset({"sum", "histogram", "exponential"})


class Settings(msgspec.Struct, frozen=True):
    """What users choose."""

    namespace: str = ""  # in front of every name
    add_metric_suffixes: bool = True  # unit and type, where the metric is not Prometheus' own
    external_labels: Mapping[str, str] = {}  # on every series that has no label of the name
    target_info: bool = True  # a series with the resource's attributes
    resource_labels: bool = False  # these on every series
    exclude_service_attributes: bool = False  # but for those that make job and instance
    scope_labels: bool = False  # otel_scope_name, otel_scope_version, where the metric is not Prometheus' own
    created: bool = False  # x_created, where it is known


class Head(msgspec.Struct, frozen=True):
    """What a metric's points have in common. `unfit` says why none of them can be a series, "" if they can."""

    kind: str  # which of OTLP's kinds of data, "" for none
    name: str
    type: str  # Prometheus' name of it: counter, gauge, histogram, …
    help: str
    unit: str
    own: bool  # whether it came from Prometheus
    monotonic: bool
    texts: Texts
    scope: Labels
    unfit: str = ""

    def series_name(self, suffix: str) -> str:
        """The name of a series of the family. A counter's `_created` does not go behind `_total`."""
        return (self.name.removesuffix("_total") if suffix == "_created" else self.name) + suffix


class Key(NamedTuple):
    """All of a metric but its points, as it is on the wire: what its `Head` is made from."""

    kind: str
    name: bytes
    description: bytes
    unit: bytes
    monotonic: bool
    temporality: int
    metadata: tuple[bytes, ...]
    scope: Labels


def scan(group: Group, settings: Settings) -> Iterator[tuple[Key, list[bytes], bytes]]:
    """The metrics of a group, in order: what they are, their points, and all of their bytes. Raises WireError."""
    classes = messages()
    try:
        for scopes in classes.Group.FromString(b"".join(group.scopes)).scopes:
            scope = _scope_labels(scopes.scope) if settings.scope_labels else ()
            for raw in scopes.metrics:
                metric = classes.Metric.FromString(raw)
                kind = metric.WhichOneof("data") or ""
                data = getattr(metric, kind or "gauge")
                key = Key(
                    kind,
                    metric.name,
                    metric.description,
                    metric.unit,
                    data.is_monotonic and kind == "sum",
                    data.aggregation_temporality,
                    tuple(metric.metadata),
                    scope,
                )
                yield key, data.data_points[:], raw
    except DecodeError as error:
        raise WireError(f"malformed metrics: {error}") from None


def _scope_labels(scope: Any) -> Labels:
    pairs = (("otel_scope_name", _text(scope.name)), ("otel_scope_version", _text(scope.version)))
    return tuple(pair for pair in pairs if pair[1])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def head(key: Key, settings: Settings) -> Head:
    """What a metric is to Prometheus."""
    metadata = attributes(key.metadata) if key.metadata else {}
    told = metadata.get("prometheus.type")
    own = isinstance(told, str) and bool(told)
    type_ = str(told) if own else _KINDS.get(key.kind, "counter" if key.monotonic else "gauge")
    name, unit = _text(key.name), _text(key.unit)
    if not own:
        name = metric_name(name, unit, type_, settings.namespace, suffixes=settings.add_metric_suffixes)
        unit = unit_name(unit)
    elif settings.namespace:
        name = f"{settings.namespace}_{name}"
    unfit = "" if key.kind else "no_data"
    if not name.strip("_"):
        unfit = "no_name"
    if key.kind in _TEMPORAL and key.temporality != _CUMULATIVE:
        unfit = "delta_temporality"
    texts = Texts(*(_texts(metadata.get(f"prometheus.{text}")) for text in ("le", "quantile")))
    scope = () if own else key.scope
    return Head(key.kind, name, type_, _text(key.description), unit, own, key.monotonic, texts, scope, unfit)


def _texts(value: AttributeValue) -> tuple[str, ...]:
    return tuple(value.split(",")) if isinstance(value, str) else ()


# --- labels ---------------------------------------------------------------------------------------------------------


class Target:
    """The labels that all series of a resource have, and how the others are put beside them."""

    def __init__(self, resource: Mapping[str, AttributeValue], settings: Settings) -> None:
        """`resource` are its attributes."""
        namespace, name, instance = (as_text(resource.get(key)) for key in _SERVICE)
        job = f"{namespace}/{name}" if namespace and name else name
        self._identity = {key: text for key, text in (("job", job), ("instance", instance)) if text}
        # What tells the target from others: all attributes where there is no service in them.
        self.identity = repr(sorted(self._identity.items()) or sorted(resource.items(), key=lambda pair: pair[0]))
        self._external = settings.external_labels
        self._resource: dict[str, AttributeValue] = {}
        if settings.resource_labels:
            gone = _SERVICE if settings.exclude_service_attributes else ()
            self._resource = {key: value for key, value in resource.items() if key not in gone}
        others = {key: value for key, value in resource.items() if key not in _SERVICE}
        self.info: Labels = ()
        if settings.target_info and others and self._identity:
            family = f"{settings.namespace}_target_info" if settings.namespace else "target_info"
            self.info = _sorted({**settings.external_labels, **_normal(others), **self._identity, "__name__": family})

    def labels(self, metric: Head, attributes_: Mapping[str, AttributeValue], variant: Variant = PLAIN) -> Labels:
        """All labels of a series, sorted by name, without empty ones, the name under `__name__`."""
        suffix, label, text = variant
        if metric.own:
            own = {key: as_text(value) for key, value in attributes_.items()}
            if self._resource:
                own |= _normal(self._resource)
        else:
            own = _normal({**attributes_, **self._resource})
        made = {**self._external, **{key: value for key, value in own.items() if value}, **self._identity}
        made.update(metric.scope)
        if label:
            made[label] = text
        made["__name__"] = metric.series_name(suffix)
        return _sorted(made)


def _normal(attributes_: Mapping[str, AttributeValue]) -> dict[str, str]:
    """Attributes with names that Prometheus likes. Where two become one, both texts are kept, joined by ";"."""
    found: dict[str, str] = {}
    for key in sorted(attributes_):
        name, text = label_name(key), as_text(attributes_[key])
        found[name] = f"{found[name]};{text}" if name in found else text
    return found


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, text) for name, text in labels.items() if text and name))


# --- the plain way --------------------------------------------------------------------------------------------------


def series(
    batch: Batch,
    settings: Settings = Settings(target_info=False),  # noqa: B008  # frozen
) -> Iterator[tuple[dict[str, str], Value, int]]:
    """Labels, value and Unix milliseconds of each sample; a value is a float, or a `Native` histogram.

    Stale markers have the value STALE. What cannot be a series (delta temporality) is left out; raises WireError.
    """
    for group in batch.groups:
        target = Target(group.resource.attributes, settings)
        latest = 0
        for key, raws, _ in scan(group, settings):
            metric = head(key, settings)
            for point in _points(metric, raws):
                latest = max(latest, point.time)
                labels = attributes(point.attributes)
                for variant, value, _ in rows(metric, point, settings):
                    yield dict(target.labels(metric, labels, variant)), value, point.time // 1_000_000
        if target.info and latest:
            yield dict(target.info), 1.0, latest // 1_000_000


def _points(metric: Head, raws: list[bytes]) -> Iterator[Point]:
    """Those that can be series."""
    if not metric.unfit:
        for raw in raws:
            try:
                yield read(metric.kind, raw, metric.texts)
            except Unfit:
                continue


def rows(metric: Head, point: Point, settings: Settings) -> list[Row]:
    """The samples of a point; with when it was created, where that is asked for and known."""
    if settings.created and point.start and (metric.monotonic or metric.kind in {"histogram", "summary"}):
        return [*point.rows, created(point)]
    if metric.kind == "sum" and not metric.monotonic:
        return [(variant, value, ()) for variant, value, _ in point.rows]  # exemplars are for counters
    return point.rows


__all__ = ["Head", "Key", "Labels", "Settings", "Target", "WireError", "head", "rows", "scan", "series"]
