"""Where all of Zipkin's encodings meet: a span is written as OTLP, into the group of its resource and scope."""

from collections.abc import Generator, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from hawse.batch import AttributeValue, Group, Resource
from hawse.codecs import span_writer
from hawse.codecs.span_writer import SPAN
from hawse.codecs.zipkin.events import event
from hawse.codecs.zipkin.settle import NO_SCOPE, Scope, Special, settle
from hawse.codecs.zipkin.tags import PLAIN, RESOURCE, SERVICE_NAME_SOURCE, Tag, Tags, text
from hawse.wire import WireError, encode_attribute, field

Conventions: TypeAlias = Literal["v0", "v1", "dup"]
# How the addresses of endpoints are called: local address and port; peer's address, port and service.
_NAMES = {
    "v0": (("net.host.ip", "net.host.port"), ("net.peer.ip", "net.peer.port", "peer.service")),
    "v1": (
        ("network.local.address", "network.local.port"),
        ("network.peer.address", "network.peer.port", "service.peer.name"),
    ),
}
_MOST_KEPT = 1024
_LONGEST_KEPT = 4096  # bytes of a resource, characters of an endpoint
_AT_ONCE = 8192  # spans that are joined without a turn for others; more of a scope come as several
_SAMPLED = 1
_ABSENT = field(SPAN, encode_attribute("otel.zipkin.absentField.startTime", value=True))
_DEBUG = field(SPAN, encode_attribute("zipkin.debug", value=True))
_FROM_OPENTELEMETRY = "telemetry.sdk.name"  # its exporters say debug of all that is sampled
_SHARED = field(SPAN, encode_attribute("zipkin.shared", value=True))


class Endpoint(NamedTuple):
    """Who recorded a span, or whom it talked to; "" and 0 for what is not known."""

    service: str = ""
    ipv4: str = ""
    ipv6: str = ""
    port: int = 0


NOBODY = Endpoint()
Encoded: TypeAlias = Mapping[str, bytes]  # attributes by key
_ResourceKey: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]  # service, and tags of the resource


class Known:
    """What is remembered from request to request: what tags, endpoints and resources become."""

    def __init__(self, *, parse_string_tags: bool = False, conventions: Conventions = "v0") -> None:
        self.tags = Tags(parse_strings=parse_string_tags)
        chosen = ("v0", "v1") if conventions == "dup" else (conventions,)
        self._local_names = tuple(_NAMES[one][0] for one in chosen)
        self._remote_names = tuple(_NAMES[one][1] for one in chosen)
        self._locals: dict[Endpoint, Encoded] = {}
        self._remotes: dict[Endpoint, Encoded] = {}
        self._resources: dict[_ResourceKey, Resource] = {}

    def local(self, endpoint: Endpoint) -> Encoded:
        """The attributes of the endpoint that recorded a span, but for its service."""
        found = self._locals.get(endpoint)
        if found is None:
            found = self._keep(self._locals, endpoint, [(*names, "") for names in self._local_names])
        return found

    def remote(self, endpoint: Endpoint) -> Encoded:
        """The attributes of the endpoint at the other side."""
        found = self._remotes.get(endpoint)
        if found is None:
            found = self._keep(self._remotes, endpoint, self._remote_names)
        return found

    def _keep(
        self, kept: dict[Endpoint, Encoded], endpoint: Endpoint, names: Iterable[tuple[str, str, str]]
    ) -> Encoded:
        address = endpoint.ipv6 or endpoint.ipv4
        made = {
            key: field(SPAN, encode_attribute(key, value))
            for address_key, port_key, service_key in names
            for key, value in ((address_key, address), (port_key, endpoint.port), (service_key, endpoint.service))
            if key and value
        }
        if len(endpoint.service) + len(endpoint.ipv4) + len(endpoint.ipv6) <= _LONGEST_KEPT:
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            kept[endpoint] = made
        return made

    def resource(self, key: _ResourceKey) -> Resource:
        """The resource of a service and the tags that belong to it."""
        found = self._resources.get(key)
        if found is None:
            found = _resource(*key)
            if len(found.raw) <= _LONGEST_KEPT:
                if len(self._resources) >= _MOST_KEPT:
                    self._resources.clear()
                self._resources[key] = found
        return found


def _resource(service: str, tags: Iterable[tuple[str, str]]) -> Resource:
    told = dict(tags)
    source = told.pop(SERVICE_NAME_SOURCE, "") or "service.name"
    attributes: dict[str, AttributeValue] = {source: service} if service else {}
    attributes.update(told)
    return Resource.of(attributes)


class Spans:
    """The spans of one request, by resource and scope."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._groups: dict[_ResourceKey, dict[Scope, list[bytes]]] = {}

    def add(
        self,
        *,
        trace_id: bytes,
        span_id: bytes,
        parent_id: bytes,
        name: str,
        kind: int,
        start: int,
        duration: int,
        local: Endpoint,
        remote: Endpoint,
        annotations: Iterable[tuple[int, str]],
        tags: Iterable[Tag],
        debug: bool = False,
        shared: bool = False,
        version_1: bool = False,
    ) -> None:
        """Ids have 16 and 8 bytes (no parent: b""); times are microseconds since 1970, 0 for a start not known."""
        known = self._known
        plain: dict[str, bytes] = {}
        if local is not NOBODY:
            plain.update(known.local(local))
        if remote is not NOBODY:
            plain.update(known.remote(remote))
        special: Special = {}
        of_resource: list[tuple[str, str]] = []
        kept = known.tags
        for tag in tags:
            key, value = tag
            encoded, role = kept[tag] if value.__class__ is str else kept.keep(key, value)
            if role == PLAIN:
                plain[key] = encoded
            elif role == RESOURCE:
                of_resource.append((key, text(value)))
            else:
                special[key] = (value, encoded)
        scope, fields = NO_SCOPE, b""
        if special:
            scope, kind, fields = settle(kind, special, plain, version_1=version_1)
        marks = (b"" if start else _ABSENT) + (_SHARED if shared else b"")
        if debug and not any(key == _FROM_OPENTELEMETRY for key, _ in of_resource):
            marks += _DEBUG
        written = span_writer.span(
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id=parent_id if parent_id != span_id else b"",
            name=name,
            kind=kind,
            start=start * 1000,
            end=(start + max(0, duration)) * 1000,
            attributes=b"".join(plain.values()) + marks,
            flags=_SAMPLED if debug else None,
            more=fields + b"".join(event(time * 1000, told) for time, told in annotations),
        )
        scopes = self._groups.setdefault((local.service, tuple(sorted(of_resource, key=_first))), {})
        scopes.setdefault(scope, []).append(written)

    def groups(self) -> Generator[None, None, list[Group]]:
        """A group for each resource. Yields now and then."""
        made = []
        for key, scopes in self._groups.items():
            pieces = []
            for scope, spans in scopes.items():
                for at in range(0, len(spans), _AT_ONCE):
                    pieces.append(span_writer.scope_spans(spans[at : at + _AT_ONCE], *scope))
                    yield
            made.append(Group(self._known.resource(key), tuple(pieces), sum(map(len, scopes.values()))))
        return made


def _first(tag: tuple[str, str]) -> str:
    return tag[0]


def identifier(told: str, size: int, name: str) -> bytes:
    """An id in hexadecimal, as `size` bytes; shorter ones are padded with zeros. Raises WireError."""
    try:
        found = bytes.fromhex(told.zfill(size * 2))
    except ValueError:
        found = b""
    if len(found) != size or not told:
        raise WireError(f"{name} {told[:40]!r} is not an id of at most {size * 2} hexadecimal digits")
    if not any(found):
        raise WireError(f"{name} is zero")
    return found
