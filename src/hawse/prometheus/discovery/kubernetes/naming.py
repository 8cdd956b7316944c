"""Names of `__meta_kubernetes_…` labels."""

import re
from functools import lru_cache

from hawse.prometheus.discovery.kubernetes.kept import Meta

Labels = dict[str, str]

PREFIX = "__meta_kubernetes_"
NAMESPACE = f"{PREFIX}namespace"

_INVALID = re.compile(r"[^a-zA-Z0-9_]")


def sanitized(name: str) -> str:
    """A name with underscores for what labels may not have in theirs."""
    return _INVALID.sub("_", name)


@lru_cache(20_000)
def _pair(what: str, key: str) -> tuple[str, str]:
    name = sanitized(key)
    return f"{PREFIX}{what}_{name}", f"{PREFIX}{what}present_{name}"


def add_texts(labels: Labels, meta: Meta, role: str) -> None:
    """The labels and annotations of an object: each as its value, and as `true` under …present_."""
    for what, texts in (("label", meta.labels), ("annotation", meta.annotations)):
        if texts:
            for key, value in texts.items():
                name, present = _pair(f"{role}_{what}", key)
                labels[name] = value
                labels[present] = "true"


def add_meta(labels: Labels, meta: Meta, role: str) -> None:
    """The same with the object's name."""
    labels[f"{PREFIX}{role}_name"] = meta.name
    add_texts(labels, meta, role)


def joined(host: str, port: int) -> str:
    """`host:port`; IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def word(value: bool) -> str:  # noqa: FBT001
    """`true` or `false`."""
    return "true" if value else "false"
