"""Scrape configurations in and out: documents with Prometheus' keys to `ScrapeConfig`s, and back for the clients.

What clients get leaves out where targets are found: they ask the allocator for them.
"""

from hashlib import blake2b
from typing import Any

import msgspec

from hawse.allocator.crd import Document
from hawse.allocator.safety import Refusal
from hawse.config import shape
from hawse.diagnostics import HawseError
from hawse.prometheus.decoding import decoded as from_plain
from hawse.prometheus.settings import GlobalConfig, ScrapeConfig, job_problems
from hawse.values import ByteSize, Duration, Secret

HIDDEN = "<secret>"  # as Prometheus writes a secret that is not to be shown
_DISCOVERY = frozenset({"static_configs", "file_sd_configs", "http_sd_configs", "kubernetes_sd_configs"})
_ALWAYS = frozenset({"job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "honor_timestamps"})
_NO_EFFECT = frozenset({"scrape_failure_log_file", "scrape_classic_histograms"})
_DEFAULTS = ScrapeConfig(job_name="-").filled(GlobalConfig())


def decoded(document: Document, above: GlobalConfig) -> ScrapeConfig:
    """A job out of a document, filled from `global`. Raises Refusal with all that is wrong."""
    try:
        made = from_plain(document, ScrapeConfig)
    except HawseError as error:
        raise Refusal("; ".join(f"{one.where.path}: {one.message}" for one in error.findings)) from None
    if wrong := [f"{one.path}: {one.message}" for one in job_problems(made, above, "")]:
        raise Refusal("; ".join(wrong))
    return made.filled(above)


def encoded(config: ScrapeConfig, *, reveal: bool) -> Document:
    """A filled job as JSON has it: what differs from Prometheus' defaults. Secrets are hidden unless `reveal`."""
    made = {}
    for name, field in shape.block(ScrapeConfig).fields.items():
        value = getattr(config, field.attribute)
        if name in _DISCOVERY or name in _NO_EFFECT:
            continue
        if name in _ALWAYS or value != getattr(_DEFAULTS, field.attribute):
            made[name] = _plain(value, reveal=reveal)
    return made


def has_secrets(config: ScrapeConfig) -> bool:
    """Whether the answer to clients differs by `reveal`."""
    return encoded(config, reveal=True) != encoded(config, reveal=False)


def _plain(value: Any, *, reveal: bool) -> Any:
    if isinstance(value, Secret):
        return value.reveal() if reveal else HIDDEN
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, ByteSize):
        return f"{int(value)}B"
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, msgspec.Struct):
        return _section(value, reveal=reveal)
    if isinstance(value, dict):
        return {str(key): _plain(item, reveal=reveal) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, reveal=reveal) for item in value]
    return value


def _section(value: msgspec.Struct, *, reveal: bool) -> Document:
    """A section's keys that are not at their defaults: `regex` of `keepequal`, say, must not be there."""
    fields = shape.block(type(value)).fields
    return {
        name: _plain(item, reveal=reveal)
        for name, field in fields.items()
        if field.required or (item := getattr(value, field.attribute)) != field.make_default()
        if (item := getattr(value, field.attribute)) is not None
    }


def identity(value: Any) -> str:
    """A text that is equal for equal sections, their secrets included, and tells nothing of them."""
    return blake2b(repr(_plain(value, reveal=True)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
