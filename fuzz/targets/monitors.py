"""Monitors of tenants: whatever their specification says, they become jobs that reach no further than they may, or
are refused with a reason; and questions to the target allocator.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fuzz.targets import Target, table
from hawse.allocator.crd import Monitor, Rights
from hawse.allocator.documents import decoded, encoded
from hawse.allocator.explain import Asked
from hawse.allocator.monitors import KINDS
from hawse.allocator.safety import Allow, Guard, Refusal, address_of, host_of
from hawse.allocator.select import Limits
from hawse.kube.objects import ObjectMeta
from hawse.prometheus.settings import GlobalConfig
from hawse.prometheus.targets import Dropped, Populate

_KINDS = sorted(KINDS)
_META = "__meta_kubernetes_"
_POD = {
    "__address__": "10.1.0.5:8080",
    f"{_META}namespace": "shop",
    f"{_META}pod_name": "web-0",
    f"{_META}pod_ip": "10.1.0.5",
    f"{_META}pod_label_app": "web",
    f"{_META}pod_labelpresent_app": "true",
    f"{_META}service_name": "web",
    f"{_META}pod_annotation_to": "169.254.169.254:80",
}


def _named(namespace: str, name: str, key: str) -> str:
    if (namespace, name) == ("shop", "auth"):
        return f"secret of {key}"
    raise Refusal(f"{namespace}/{name} is not listed")


_RIGHTS = Rights(Guard(Allow()), Limits.of(("shop",), "shop"), _named, _named, roles=("pod", "service"))


def _monitor(data: bytes) -> None:
    if not data:
        return
    kind = _KINDS[data[0] % len(_KINDS)]
    try:
        spec = msgspec.json.decode(data[1:], type=msgspec.Raw)  # the API server has seen to it that it is JSON
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    monitor = Monitor(ObjectMeta(name="m", namespace="shop"), spec)
    for job in KINDS[kind].jobs(monitor, _RIGHTS):
        if job.refused:
            assert not job.document
            continue
        try:
            config = decoded(job.document, GlobalConfig())
        except Refusal as refusal:
            assert str(refusal)
            continue
        _no_files(encoded(config, reveal=True))
        assert msgspec.json.encode(encoded(config, reveal=False))
        for found in config.kubernetes_sd_configs:
            assert found.namespaces.names == ("shop",)
        _reaches_no_further(Populate(config))


def _no_files(document: Any) -> None:
    for key, value in document.items() if isinstance(document, dict) else ():
        assert not (key.endswith("_file") and value), (key, value)
        _no_files(value)


def _reaches_no_further(populate: Populate) -> None:
    target = populate(_POD, {})
    if isinstance(target, Dropped) or _RIGHTS.guard.why_not(target.url.address, _POD, ("shop",)):
        return
    host = host_of(target.url.address)
    address = address_of(host)
    assert str(address) == "10.1.0.5" if address is not None else ".shop.svc" in f".{host}", target.url


def _seeds() -> Iterator[bytes]:
    endpoint = {
        "port": "http",
        "interval": "30s",
        "scheme": "HTTPS",
        "tlsConfig": {"insecureSkipVerify": True, "ca": {"secret": {"name": "auth", "key": "ca"}}},
        "authorization": {"credentials": {"name": "auth", "key": "token"}},
        "relabelings": [
            {"sourceLabels": [f"{_META}pod_annotation_to"], "targetLabel": "__address__", "action": "replace"},
            {"targetLabel": "__address__", "replacement": "web.shop.svc:80"},
        ],
        "metricRelabelings": [{"action": "labeldrop", "regex": "a.*"}],
        "bearerTokenFile": "/token",
        "oauth2": {"tokenUrl": "http://a.shop.svc", "clientId": {"secret": {"name": "auth", "key": "id"}}},
    }
    few = {key: endpoint[key] for key in ("port", "relabelings", "tlsConfig")}
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    specs: dict[str, dict[str, Any]] = {
        "ServiceMonitor": {"selector": selector, "endpoints": [endpoint, few], "targetLabels": ["x"], "jobLabel": "y"},
        "PodMonitor": {"namespaceSelector": {"any": True}, "podMetricsEndpoints": [few, {"portNumber": 1}]},
        "Probe": {
            "prober": {"url": "b.shop.svc:9115", "path": "/p"},
            "targets": {"staticConfig": {"static": ["a"], "labels": {"b": "c"}}, "ingress": {"selector": selector}},
        },
        "ScrapeConfig": {
            "staticConfigs": [{"targets": ["10.1.0.5:1"], "labels": {"a": "b"}}],
            "kubernetesSDConfigs": [{"role": "Pod", "namespaces": {"names": ["shop"]}}],
            "relabelings": endpoint["relabelings"],
        },
    }
    for number, kind in enumerate(_KINDS):
        yield bytes((number,)) + json.dumps(specs[kind]).encode()
        for key, value in specs[kind].items():
            yield bytes((number,)) + json.dumps({key: value}).encode()


def _question(data: bytes) -> None:
    """What somebody asks `/explain`, and an address after relabelling."""
    text = data.decode("utf-8", "replace")
    assert Asked(text).is_discovered(_POD, {}) in {True, False}
    if not _RIGHTS.guard.why_not(text, _POD, ("shop",)):
        # Whoever makes a URL of it must come to the same host.
        made = urlsplit(f"http://{text}/metrics" if not text.count(":") > 1 or text[0] == "[" else f"http://[{text}]/")
        assert (made.hostname or "").rstrip(".").partition("%")[0] == host_of(text), text
    if not _RIGHTS.guard.why_not(text, {**_POD, "__address__": text}, ()):
        address = address_of(host_of(text))
        assert address is None or not (address.is_loopback or address.is_link_local), text


def _questions() -> Iterator[bytes]:
    yield from (
        b"10.1.0.5:8080",
        b"web.shop.svc:80",
        b"web.shop.svc:80@a",
        b"http://a.shop.svc:80/x?y#z",
        b"[::ffff:127.0.0.1]:80",
        b"shop/web-0",
        b"0x7f.1:80",
    )


TARGETS = table(
    Target("monitors", _monitor, _seeds, [b"null", b"__address__", b"$1", b"localhost", b"169.254.169.254"]),
    Target("questions", _question, _questions, [b"[", b"]", b"::", b"://", b"%25", b"127.", b"0x7f", b".svc"], 256),
)
