"""What a monitor may not do: whoever may write one into a namespace must not reach further by it than that namespace.

Collectors scrape with their own identity from their own place in the network, so an address, a file or a Secret that a
monitor names is reached with the collector's rights. `Allow` loosens each limit by itself. Jobs that the allocator's
own configuration defines are the administrator's, and are not held against any of this.

docs/target-allocator.md, "What is refused", tells users the same.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta

from hawse.component import Problem, Section

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where clouds answer with credentials of the machine, beside 169.254.0.0/16 and fe80::/10.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd20:ce::254"))
)
_LOCAL_NAMES = re.compile(
    r"localhost|(.+\.)?localhost|localhost\.localdomain|ip6-localhost|ip6-loopback|metadata|instance-data"
    r"|metadata\.google\.internal|(.+\.)?instance-data\.[a-z0-9.-]*internal|metadata\.azure\.internal"
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SERVICE = re.compile(r"(?:[a-z0-9-]+\.){0,2}[a-z0-9-]+\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?")
_ADDRESS = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)(?:%[A-Za-z0-9_.~%-]*)?\]|([A-Za-z0-9_.-]+))(?::[0-9]{1,5})?|([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)"
)
_META = "__meta_kubernetes_"


class Refusal(Exception):
    """Something in a monitor that is not allowed, or can't be had. The text says what, and how to allow or mend it."""


class NamedObject(Section, frozen=True):
    """One object, by its name."""

    namespace: str
    name: str


class Allow(Section, frozen=True):
    """What monitors may do beyond their namespace. Everything is off unless it is set."""

    file_references: Annotated[
        bool, Meta(description="Name files of the collector: bearerTokenFile, tlsConfig.caFile, certFile, keyFile.")
    ] = False
    foreign_addresses: Annotated[
        bool,
        Meta(description="Have addresses scraped that no discovered object has, by relabelling or static targets."),
    ] = False
    local_addresses: Annotated[
        bool, Meta(description="Have loopback, link-local and cloud metadata addresses scraped.")
    ] = False
    redirects: Annotated[bool, Meta(description="Have HTTP redirects of targets followed.")] = False
    http_discovery: Annotated[bool, Meta(description="Have the allocator fetch http_sd URLs of ScrapeConfigs.")] = False
    node_discovery: Annotated[
        bool, Meta(description="Discover nodes by ScrapeConfigs (role Node): needs nodes of the whole cluster.")
    ] = False
    addresses: Annotated[
        tuple[str, ...],
        Meta(description="Hosts that monitors may name: names, `*.suffix`, addresses or networks (10.0.0.0/8)."),
    ] = ()

    def problems(self) -> Iterator[Problem]:
        for number, one in enumerate(self.addresses):
            if _network(one) is None and not re.fullmatch(r"(\*\.)?[A-Za-z0-9_.-]+", one):
                fix = "write a name without port, *.suffix, an address, or a network such as 10.0.0.0/8"
                yield Problem(f"addresses[{number}]", f"{one!r} is no host and no network", fix)


class Guard:
    """Holds addresses against `Allow`. Addresses that come often are looked at once."""

    def __init__(self, allow: Allow) -> None:
        self.allow = allow
        self._networks = [network for one in allow.addresses if (network := _network(one)) is not None]
        self._names = [one.lower() for one in allow.addresses if _network(one) is None]

    def why_not(self, address: str, discovered: Mapping[str, str], namespaces: Iterable[str]) -> str:
        """Why a monitor's target must not be scraped at `address` (`host:port`, after relabelling); "" if it may be.

        `discovered` are its labels before relabelling: `__address__` and `__meta_kubernetes_…`. `namespaces` are
        those whose Services it may name beside the discovered object's own.
        """
        host = host_of(address)
        if not host:
            return f"{address!r} is no address"
        found = address_of(host)
        if found is None:
            return self._name(host, discovered, namespaces)
        if not self.allow.local_addresses and (what := _local(found)):
            return f"{host} is {what} (allow.local_addresses is off)"
        if self.allow.foreign_addresses or found in _own_addresses(discovered):
            return ""
        if any(found in network for network in self._networks):
            return ""
        return f"{host} is not an address of {_subject(discovered)} (not in allow.addresses)"

    def why_not_host(self, host: str, namespace: str) -> str:
        """The same for a host that a monitor names outright: a proxy, a prober, a token URL."""
        return self.why_not(host_of_url(host) or host, {}, (namespace,))

    def _name(self, host: str, discovered: Mapping[str, str], namespaces: Iterable[str]) -> str:
        if not self.allow.local_addresses and _LOCAL_NAMES.fullmatch(host):
            return f"{host} names this machine or the cloud's metadata (allow.local_addresses is off)"
        if self.allow.foreign_addresses or any(_named(host, one) for one in self._names):
            return ""
        service = _SERVICE.fullmatch(host)
        own = discovered.get(f"{_META}namespace", "")
        if service and service[1] in {*namespaces, own} - {""}:
            if discovered.get(f"{_META}service_type") == "ExternalName":
                return f"{host} is a Service of type ExternalName, which leads anywhere (not in allow.addresses)"
            return ""
        where = " or ".join(f"NAME.{one}.svc" for one in dict.fromkeys([*namespaces, own]) if one)
        beside = f"; a Service is written {where}" if where else ""
        return f"{host} is not a name of {_subject(discovered)} (not in allow.addresses{beside})"


def host_of(address: str) -> str:
    """The host of `host:port`, `[v6]:port` or a bare host: lower-case, without a zone or a last dot.

    "" for what is none of these, letter by letter: `a.svc:80@b` is a user and a host to whoever makes a URL of it, and
    resolvers take digits of other scripts for digits.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return ""
    return next(part for part in match.groups() if part is not None).lower().rstrip(".")


def host_of_url(url: str) -> str:
    """The same of a URL, or of an address without a scheme."""
    if "://" not in url:
        return host_of(url)
    try:
        return host_of(urlsplit(url).netloc)
    except ValueError:
        return ""


def address_of(host: str) -> Address | None:
    """The IP address that a host is, however it is written: resolvers take `127.1` and `0x7f000001` for one, too."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[0-9a-fx.]+", host) or not host[0].isdecimal():
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        return inner or found
    return found


def _local(found: Address) -> str:
    if found in _METADATA:
        return "a cloud's metadata address"
    for what in ("loopback", "link_local", "unspecified", "multicast"):
        if getattr(found, f"is_{what}"):
            kind = what.replace("_", "-")
            return f"{'an' if kind[0] == 'u' else 'a'} {kind} address"
    return "a broadcast address" if found == ipaddress.IPv4Address(0xFFFFFFFF) else ""


def _own_addresses(discovered: Mapping[str, str]) -> set[Address]:
    """The addresses that the discovered object has: what discovery gave it, a pod's, a Service's, a node's own."""
    texts = [host_of(discovered.get("__address__", ""))] if _kubernetes(discovered) else []
    texts += [discovered.get(f"{_META}{name}", "") for name in ("pod_ip", "service_cluster_ip")]
    texts += [value for name, value in discovered.items() if name.startswith(f"{_META}node_address_")]
    return {found for text in texts if text and (found := address_of(text)) is not None}


def _kubernetes(discovered: Mapping[str, str]) -> bool:
    return f"{_META}namespace" in discovered or f"{_META}node_name" in discovered


def _subject(discovered: Mapping[str, str]) -> str:
    """The discovered object in words."""
    namespace = discovered.get(f"{_META}namespace", "")
    for kind in ("pod", "endpointslice", "endpoints", "service", "ingress"):
        if name := discovered.get(f"{_META}{kind}_name", ""):
            return f"the {kind} {namespace}/{name}"
    if node := discovered.get(f"{_META}node_name", ""):
        return f"the node {node}"
    return "anything that was discovered"


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _named(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed
