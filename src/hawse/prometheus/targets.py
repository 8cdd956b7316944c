"""From what discovery found to what is scraped: default labels, relabelling, checks, URL.

As Prometheus' PopulateLabels (scrape/target.go) does it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote_plus

import msgspec

from hawse.prometheus.relabel import Labels, Relabel, compiled
from hawse.prometheus.settings import ScrapeConfig
from hawse.prometheus.values import PromDuration

META, PARAM, RESERVED = "__meta_", "__param_", "__"
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
        path = self.path if self.path.startswith("/") or not self.path else f"/{self.path}"
        return f"{self.scheme}://{self.address}{path}" + (f"?{self.query}" if self.query else "")


class Histograms(NamedTuple):
    """What a target's labels say about histograms, over what its job says."""

    native: bool
    always_classic: bool
    convert: bool


class Target(msgspec.Struct, frozen=True, gc=False):
    """What is scraped. `labels` go onto its series: those without `__` in front, `job` and `instance` among them.

    `discovered` is what there was before relabelling, `interval` and `timeout` are seconds. `key` identifies the
    target: equal for equal labels (also those with `__`, but not `__meta_`) and URL.
    """

    labels: dict[str, str]
    discovered: dict[str, str]
    url: Url
    interval: float
    timeout: float
    key: bytes
    histograms: Histograms


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """What is not scraped, and why. `rule` is the number of the relabel rule that dropped it, -1 for an error."""

    discovered: dict[str, str]
    reason: str
    rule: int = -1


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
        self._params = {name: tuple(map(str, values)) for name, values in config.params.items()}

    def discovered(self, labels: Mapping[str, str], shared: Mapping[str, str]) -> Labels:
        """The labels of a target and its group, with the job's defaults, before any rule."""
        made = {name: value for name, value in {**shared, **labels}.items() if value}
        for name, value in self._defaults.items():
            if value and name not in made:
                made[name] = value
        return made

    def __call__(self, labels: Mapping[str, str], shared: Mapping[str, str] = {}) -> Target | Dropped:
        """A target, or why it is none."""
        discovered = self.discovered(labels, shared)
        kept = self.relabel(dict(discovered))
        if kept is None:
            return self._dropped(discovered)
        return self._target(discovered, kept)

    def group(self, group: TargetGroup) -> list[Target | Dropped]:
        """All targets of a group."""
        return [self(labels, group.labels) for labels in group.targets]

    def _dropped(self, discovered: Labels) -> Dropped:
        number = self.relabel.dropped_by(discovered)
        action = self.relabel.configs[number].action
        return Dropped(discovered, f"dropped by relabel_configs[{number}] ({action})", number)

    def _target(self, discovered: Labels, labels: Labels) -> Target | Dropped:
        address = labels.get("__address__", "")
        try:
            interval, timeout = _times(labels)
            histograms = Histograms(
                _flag(labels, "__scrape_native_histograms__"),
                _flag(labels, "__always_scrape_classic_histograms__"),
                _flag(labels, "__convert_classic_histograms_to_nhcb__"),
            )
        except ValueError as error:
            return Dropped(discovered, str(error))
        if not address:
            return Dropped(discovered, "no address: the label __address__ is not there, or empty")
        if "/" in address:
            return Dropped(
                discovered, f'"{address}" is not a valid hostname: __address__ is host:port, without scheme and path'
            )
        for name in [name for name in labels if name.startswith(META)]:
            del labels[name]
        if not labels.get("instance"):
            labels["instance"] = address
        if broken := next((name for name, value in labels.items() if not _is_utf8(value)), ""):
            return Dropped(discovered, f'invalid label value for "{broken}": it is no UTF-8')
        url = self._url(labels, address)
        public = {name: value for name, value in labels.items() if not name.startswith(RESERVED)}
        return Target(public, discovered, url, interval, timeout, _key(labels, url), histograms)

    def _url(self, labels: Labels, address: str) -> Url:
        params = dict(self._params)
        for name, value in labels.items():
            if name.startswith(PARAM):
                param = name.removeprefix(PARAM)
                params[param] = (value, *params.get(param, ())[1:])
        query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name in sorted(params) for value in params[name])
        return Url(labels.get("__scheme__", ""), address, labels.get("__metrics_path__", ""), query)


def populate(labels: Mapping[str, str], config: ScrapeConfig, shared: Mapping[str, str] = {}) -> Target | Dropped:
    """One target of a filled job. For more than one, keep a `Populate`."""
    return Populate(config)(labels, shared)


def _word(value: bool | None) -> str:  # noqa: FBT001
    return "true" if value else "false"


def _flag(labels: Labels, name: str) -> bool:
    value = labels.get(name, "")
    if value and value not in _TRUE and value not in _FALSE:
        raise ValueError(f'error parsing {name}: "{value}" is neither true nor false')
    return value in _TRUE


def _times(labels: Labels) -> tuple[float, float]:
    found = []
    for what in ("interval", "timeout"):
        text = labels.get(f"__scrape_{what}__", "")
        try:
            value = PromDuration.parse(text)
        except ValueError as error:
            raise ValueError(f"error parsing scrape {what}: {error}") from None
        if not value:
            raise ValueError(f"scrape {what} cannot be 0")
        found.append(value)
    interval, timeout = found
    if timeout > interval:
        raise ValueError(f'scrape timeout cannot be greater than scrape interval ("{timeout}" > "{interval}")')
    return float(interval), float(timeout)


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(labels: Labels, url: Url) -> bytes:
    """16 bytes that are equal for equal labels and URL, in every process."""
    parts: Sequence[str] = [part for item in sorted(labels.items()) for part in item]
    text = "\xff".join((*parts, str(url)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
