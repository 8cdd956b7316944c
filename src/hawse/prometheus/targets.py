"""From what discovery found to what is scraped: default labels, relabelling, checks, URL.

As Prometheus' PopulateLabels (scrape/target.go) does it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, quote_plus

import msgspec

from hawse.prometheus.relabel import Labels, Relabel, Step, compiled, is_utf8
from hawse.prometheus.settings import ScrapeConfig
from hawse.prometheus.values import PromDuration

META, PARAM, RESERVED = "__meta_", "__param_", "__"
_NONE: Mapping[str, str] = MappingProxyType({})
_PLAIN = re.compile(r"[A-Za-z0-9._~:/-]+")  # needs no encoding
# strconv.ParseBool's words.
_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "true", "TRUE", "True"}),
    frozenset({"0", "f", "F", "false", "FALSE", "False"}),
)


class TargetGroup(msgspec.Struct, frozen=True):
    """Targets of one origin with the labels that they share. A group of the same `source` replaces the earlier one.

    Each target is a dict of labels with `__address__` in it. A group without targets is gone.
    """

    source: str
    targets: tuple[dict[str, str], ...] = ()
    labels: dict[str, str] = {}


class Url(NamedTuple):
    """Where a target is scraped. `address` is `__address__` as it is: host and, mostly, port."""

    scheme: str
    address: str
    path: str
    query: str  # encoded, without "?"

    def __str__(self) -> str:
        """Percent-encoded, as Go writes URLs."""
        path = self.path if _PLAIN.fullmatch(self.path) else quote(self.path, safe="$&+,/:;=@")
        slash = "/" if path and not path.startswith("/") else ""
        host = self.address if _PLAIN.fullmatch(self.address) else quote(self.address, safe="!$&'()*+,;=:[]<>\"")
        return f"{self.scheme}://{host}{slash}{path}" + (f"?{self.query}" if self.query else "")


class Histograms(NamedTuple):
    """What a target's labels say about histograms, over what its job says."""

    native: bool
    always_classic: bool
    convert: bool


class Found(msgspec.Struct, frozen=True, gc=False):
    """What there was before relabelling: a target's own labels, those of its group, the job's defaults.

    They are kept apart because the last two are the same for many targets.
    """

    own: Mapping[str, str]
    shared: Mapping[str, str]
    defaults: Mapping[str, str]

    def labels(self) -> Labels:
        """All of them. A label with an empty value is none."""
        made = {name: value for name, value in {**self.shared, **self.own}.items() if value}
        for name, value in self.defaults.items():
            if value and name not in made:
                made[name] = value
        return made


class Target(msgspec.Struct, frozen=True, gc=False):
    """What is scraped. `labels` go onto its series: those without `__` in front, `job` and `instance` among them.

    `interval` and `timeout` are seconds. `key` (16 bytes) identifies the target, in every process: it is equal for
    equal labels (also those with `__`, but not `__meta_`) and URL.
    """

    labels: dict[str, str]
    found: Found
    url: Url
    interval: float
    timeout: float
    key: bytes
    histograms: Histograms

    @property
    def discovered(self) -> Labels:
        """The labels before relabelling, with those that begin with `__meta_`; made anew each time."""
        return self.found.labels()


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """What is not scraped, and why. `rule` is the number of the relabel rule that dropped it, -1 for an error."""

    found: Found
    reason: str
    rule: int = -1

    @property
    def discovered(self) -> Labels:
        """The labels before relabelling; made anew each time."""
        return self.found.labels()


class Populate:
    """Makes targets of one job, whose rules are compiled once. `config` must be filled (`ScrapeConfigs.jobs()`)."""

    def __init__(self, config: ScrapeConfig) -> None:
        self.config = config
        self.relabel: Relabel = compiled(config.relabel_configs, config.metric_name_validation_scheme or "utf8")
        self._defaults = {
            "job": config.job_name,
            "__scrape_interval__": str(config.scrape_interval),
            "__scrape_timeout__": str(config.scrape_timeout),
            "__metrics_path__": config.metrics_path,
            "__scheme__": config.scheme,
            "__convert_classic_histograms_to_nhcb__": _word(config.convert_classic_histograms_to_nhcb),
            "__always_scrape_classic_histograms__": _word(config.always_scrape_classic_histograms),
            "__scrape_native_histograms__": _word(config.scrape_native_histograms),
        }
        self._defaults |= {PARAM + name: str(values[0]) for name, values in config.params.items() if values}
        self._reasons = [
            f"dropped by relabel_configs[{number}] (action {rule.action})"
            for number, rule in enumerate(config.relabel_configs)
        ]
        self._params = {name: tuple(map(str, values)) for name, values in config.params.items()}

    def __call__(self, labels: Mapping[str, str], shared: Mapping[str, str] = _NONE) -> Target | Dropped:
        """A target, or why it is none. Keeps its arguments, which must not change."""
        found = Found(labels, shared, self._defaults)
        made = found.labels()
        dropped_by = self.relabel.apply(made)
        if dropped_by >= 0:
            return Dropped(found, self._reasons[dropped_by], dropped_by)
        try:
            return self._target(found, made)
        except ValueError as error:
            return Dropped(found, str(error))

    def group(self, group: TargetGroup) -> list[Target | Dropped]:
        """All targets of a group."""
        return [self(labels, group.labels) for labels in group.targets]

    def explain(self, found: Found) -> list[Step]:
        """What each rule of relabel_configs does to what was found."""
        return self.relabel.explain(found.labels())

    def _target(self, found: Found, labels: Labels) -> Target:
        address = _address(labels)
        interval, timeout = _times(labels.get("__scrape_interval__", ""), labels.get("__scrape_timeout__", ""))
        histograms = Histograms(
            _flag(labels, "__scrape_native_histograms__"),
            _flag(labels, "__always_scrape_classic_histograms__"),
            _flag(labels, "__convert_classic_histograms_to_nhcb__"),
        )
        for name in [name for name in labels if name.startswith(META)]:
            del labels[name]
        if not labels.get("instance"):
            labels["instance"] = address
        if broken := next((name for name, value in labels.items() if not is_utf8(value)), ""):
            raise ValueError(f'invalid label value for "{broken}": it is no UTF-8')
        url = self._url(labels, address)
        public = {name: value for name, value in labels.items() if not name.startswith(RESERVED)}
        return Target(public, found, url, interval, timeout, _key(labels, url), histograms)

    def _url(self, labels: Labels, address: str) -> Url:
        params = dict(self._params)
        for name, value in labels.items():
            if name.startswith(PARAM):
                param = name.removeprefix(PARAM)
                params[param] = (value, *params.get(param, ())[1:])
        if not params:
            return Url(labels["__scheme__"], address, labels.get("__metrics_path__", ""), "")
        query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name in sorted(params) for value in params[name])
        return Url(labels["__scheme__"], address, labels.get("__metrics_path__", ""), query)


def populate(labels: Mapping[str, str], config: ScrapeConfig, shared: Mapping[str, str] = _NONE) -> Target | Dropped:
    """One target of a filled job. For more than one, keep a `Populate`."""
    return Populate(config)(labels, shared)


def _word(value: bool | None) -> str:  # noqa: FBT001
    return "true" if value else "false"


def _flag(labels: Labels, name: str) -> bool:
    value = labels.get(name, "")
    if value and value not in _TRUE and value not in _FALSE:
        raise ValueError(f'error parsing {name}: "{value}" is neither true nor false')
    return value in _TRUE


def _address(labels: Labels) -> str:
    address = labels.get("__address__", "")
    if not address:
        raise ValueError("no address: the label __address__ is not there, or empty")
    if "/" in address:
        raise ValueError(f'"{address}" is not a valid hostname: __address__ is host:port, without scheme and path')
    if labels.get("__scheme__") not in {"http", "https"}:
        raise ValueError(f'unsupported scheme "{labels.get("__scheme__", "")}": __scheme__ is http or https')
    return address


@lru_cache(1024)
def _times(interval: str, timeout: str) -> tuple[float, float]:
    """Seconds. Raises ValueError."""
    every, within = _time("interval", interval), _time("timeout", timeout)
    if within > every:
        raise ValueError(f'scrape timeout cannot be greater than scrape interval ("{timeout}" > "{interval}")')
    return every, within


def _time(what: str, text: str) -> float:
    try:
        value = PromDuration.parse(text)
    except ValueError as error:
        raise ValueError(f"error parsing scrape {what}: {error}") from None
    if not value:
        raise ValueError(f"scrape {what} cannot be 0")
    return float(value)


def _key(labels: Labels, url: Url) -> bytes:
    """16 bytes that are equal for equal labels and URL, in every process."""
    parts: Sequence[str] = [part for item in sorted(labels.items()) for part in item]
    text = "\xff".join((*parts, str(url)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
