"""Relabel rules that prometheus-operator puts around a monitor's own, as documents with Prometheus' keys."""

import re
from collections.abc import Iterable, Iterator

from hawse.allocator.crd import Document
from hawse.allocator.crd.fields import Endpoint, RelabelRule, ScrapeLimits
from hawse.allocator.safety import Refusal
from hawse.allocator.select import LabelSelector, label_name

META = "__meta_kubernetes_"
MOST = 500  # rules of a list, and endpoints of a monitor
FIRST: Document = {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}
RUNNING: Document = {"action": "drop", "source_labels": [f"{META}pod_phase"], "regex": "(Failed|Succeeded)"}


def copied(source: str, target: str) -> Document:
    """A label under another name."""
    return {"source_labels": [source], "target_label": target}


def copied_if_set(source: str, target: str) -> Document:
    """The same, where the source has a value: what was there stays otherwise."""
    return {"source_labels": [source], "target_label": target, "regex": "(.+)", "replacement": "${1}"}


def fixed(target: str, value: str) -> Document:
    """A label of one value for all."""
    return {"target_label": target, "replacement": value.replace("$", "$$")}


def kept(source: str, value: str | int) -> Document:
    """Only targets whose label has a value. prometheus-operator takes it for a regular expression, and so do we."""
    return {"action": "keep", "source_labels": [source], "regex": str(value)}


def selected(kind: str, selector: LabelSelector) -> Iterator[Document]:
    """Only targets whose Service, pod or ingress (`kind`) has the labels."""
    for key, value in sorted(selector.match_labels.items()):
        yield _labelled("keep", kind, key, [value])
    for one in selector.match_expressions:
        if one.operator in {"In", "NotIn"}:
            yield _labelled("keep" if one.operator == "In" else "drop", kind, one.key, one.values)
        else:
            action = "keep" if one.operator == "Exists" else "drop"
            source = f"{META}{kind}_labelpresent_{label_name(one.key)}"
            yield {"action": action, "source_labels": [source], "regex": "true"}


def _labelled(action: str, kind: str, key: str, values: Iterable[str]) -> Document:
    name = label_name(key)
    return {
        "action": action,
        "source_labels": [f"{META}{kind}_label_{name}", f"{META}{kind}_labelpresent_{name}"],
        "regex": f"({'|'.join(map(_literal, values))});true",
    }


def _literal(value: str) -> str:
    """A label's value as an expression; most need no escapes, and are matched without an automaton then."""
    return value.replace(".", r"\.") if re.fullmatch(r"[A-Za-z0-9_.-]*", value) else re.escape(value)


def own(rules: Iterable[RelabelRule] | None) -> list[Document]:
    """The monitor's own rules. Raises Refusal where they are too many: each costs time for every target."""
    given = tuple(rules or ())
    if len(given) > MOST:
        raise Refusal(f"{len(given)} relabelings are too many: at most {MOST}")
    return [dict(_pairs(rule)) for rule in given]


def _pairs(rule: RelabelRule) -> Iterator[tuple[str, object]]:
    if rule.source_labels:
        yield "source_labels", list(rule.source_labels)
    for key in ("separator", "replacement"):  # empty ones say something
        if getattr(rule, key) is not None:
            yield key, getattr(rule, key)
    for key in ("target_label", "regex"):
        if getattr(rule, key):
            yield key, getattr(rule, key)
    if rule.modulus:
        yield "modulus", rule.modulus
    if rule.action:
        yield "action", rule.action.lower()


def few(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints of a monitor. Raises Refusal where they are too many: each is a job."""
    if len(endpoints) > MOST:
        raise Refusal(f"{len(endpoints)} endpoints are too many: at most {MOST}")
    return endpoints


def endpoint(spec: Endpoint) -> Document:
    """What an endpoint says of its scrapes."""
    made: Document = {
        "honor_labels": spec.honor_labels,
        "honor_timestamps": spec.honor_timestamps,
        "track_timestamps_staleness": spec.track_timestamps_staleness,
        "scrape_interval": spec.interval,
        "scrape_timeout": spec.scrape_timeout,
        "metrics_path": spec.path,
        "params": {name: list(values) for name, values in (spec.params or {}).items()},
    }
    return {key: value for key, value in made.items() if value not in (None, "", {})}


def limits(spec: ScrapeLimits) -> Document:
    """Limits, protocols and histograms. Raises Refusal for a scrape class: there are none here."""
    if spec.scrape_class:
        raise Refusal(f"the scrape class {spec.scrape_class!r} is not known: the allocator has none")
    names = (
        "sample_limit",
        "target_limit",
        "label_limit",
        "label_name_length_limit",
        "label_value_length_limit",
        "body_size_limit",
        "native_histogram_bucket_limit",
        "fallback_scrape_protocol",
    )
    made: Document = {name: getattr(spec, name) for name in names}
    made["always_scrape_classic_histograms"] = spec.scrape_classic_histograms
    made["convert_classic_histograms_to_nhcb"] = spec.convert_classic_histograms_to_nhcb
    made["scrape_protocols"] = list(spec.scrape_protocols or ())
    if spec.native_histogram_min_bucket_factor:
        made["native_histogram_min_bucket_factor"] = float(spec.native_histogram_min_bucket_factor)
    return {key: value for key, value in made.items() if value not in (None, "", 0, [])}
