"""Sends all spans of a trace to the same one of several servers, with the keys of OpenTelemetry's `loadbalancing`.

A batch is divided by trace ID into one request for each member. Each is tried again by itself, at the member that its
traces belong to by then: when members change, what waits is divided anew.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hawse.batch import Batch, Resource, Signal
from hawse.codecs import otlp
from hawse.codecs.otlp_by_trace import Steps as Dividing
from hawse.codecs.otlp_by_trace import dividing
from hawse.component import (
    Busy,
    Config,
    Connects,
    Context,
    ExporterFactory,
    Need,
    Problem,
    Refused,
    Request,
    Section,
    Stability,
    TooLarge,
)
from hawse.net.ahead import Ahead, Steps
from hawse.net.grpc_client import GrpcClientConfig, client_tls
from hawse.net.retry import RetryConfig
from hawse.net.settings import split_endpoint
from hawse.otlp.exporter import OtlpExporter, unpacked
from hawse.otlp.grpc import Destination, encoded, encoding_of, files_of
from hawse.otlp.members import Resolver
from hawse.otlp.ring import Ring
from hawse.state.settings import QueueConfig
from hawse.values import Duration
from hawse.wire import WireError

if TYPE_CHECKING:
    from hawse.net.tls import ClientTLS

_PORT = 4317
_DIVIDED = 64  # requests that are divided anew and not asked for yet


class Static(Section, frozen=True):
    """A list that does not change."""

    hostnames: Annotated[tuple[str, ...], Meta(min_length=1, description="host or host:port; the port is 4317 else.")]

    @property
    def members(self) -> tuple[str, ...]:
        """With their ports."""
        return tuple(name if ":" in name.rpartition("]")[2] else f"{name}:{_PORT}" for name in self.hostnames)

    def problems(self) -> Iterator[Problem]:
        for number, member in enumerate(self.members):
            try:
                host, _ = split_endpoint(member)
            except ValueError as error:
                yield Problem(f"hostnames[{number}]", str(error), 'write "host" or "host:port"')
            else:
                if not host:
                    yield Problem(f"hostnames[{number}]", "there is no host in it", 'write "host" or "host:port"')


class Dns(Section, frozen=True):
    """All addresses behind a name, such as that of a headless Service."""

    hostname: Annotated[str, Meta(min_length=1)]
    port: Annotated[int | str, Meta(description="Of all members.")] = _PORT
    interval: Annotated[Duration, Meta(description="Between two look-ups.")] = Duration(5)
    timeout: Annotated[Duration, Meta(description="For a look-up.")] = Duration(1)

    @property
    def number(self) -> int:
        """The port, which may be written as text; 0 for none."""
        text = str(self.port)
        return int(text) if text.isdecimal() and len(text) < 6 and int(text) < 65_536 else 0

    def problems(self) -> Iterator[Problem]:
        if not self.number:
            yield Problem("port", f"{self.port!r} is no port", "ports are 1 to 65535")
        for key in ("interval", "timeout"):
            if getattr(self, key) <= 0:
                yield Problem(key, "must be above 0", "use 5s" if key == "interval" else "use 1s")


class Members(Section, frozen=True):
    """Exactly one of them."""

    static: Static | None = None
    dns: Dns | None = None
    k8s: Annotated[Any, Meta(description="Not there: use dns with a headless Service.")] = None

    def problems(self) -> Iterator[Problem]:
        if self.k8s is not None:
            message = "the k8s resolver is not there: it would need permission to watch endpoints"
            yield Problem("k8s", message, "use dns: {hostname: name.namespace.svc}, of a headless Service")
        elif (self.static is None) == (self.dns is None):
            yield Problem("", "exactly one of static and dns is needed", "write `dns: {hostname: …}`")


class Sub(GrpcClientConfig, frozen=True):
    """Settings of the `otlp` exporter, for all members. Its queue and retrying may be set here or outside."""

    endpoint: Annotated[str, Meta(description="Of no effect: the resolver says who.")] = ""
    sending_queue: QueueConfig | None = None
    retry_on_failure: RetryConfig | None = None


class Protocol(Section, frozen=True):
    """How members are spoken to."""

    otlp: Sub = msgspec.field(default_factory=Sub)


class LoadBalancingConfig(Config, frozen=True):
    """Spans of the same trace (or service) go to the same member."""

    resolver: Members
    protocol: Protocol = msgspec.field(default_factory=Protocol)
    routing_key: Annotated[
        Literal["traceID", "service", ""], Meta(description='What goes to one member together; "" is traceID.')
    ] = "traceID"
    timeout: Annotated[Duration | None, Meta(description="Instead of protocol.otlp.timeout.")] = None
    sending_queue: Annotated[
        QueueConfig | None, Meta(description="For all members together; protocol.otlp.sending_queue where not given.")
    ] = None
    retry_on_failure: Annotated[
        RetryConfig | None, Meta(description="protocol.otlp.retry_on_failure where not given.")
    ] = None

    def __post_init__(self) -> None:
        """The pipeline looks for both outside."""
        for key, default in (("sending_queue", QueueConfig), ("retry_on_failure", RetryConfig)):
            if getattr(self, key) is None:
                msgspec.structs.force_setattr(self, key, getattr(self.protocol.otlp, key) or default())

    def client(self, member: str) -> GrpcClientConfig:
        """The settings for a member. Certificates are for the name that was looked up, not for its addresses."""
        sub, dns = self.protocol.otlp, self.resolver.dns
        tls = sub.tls
        if dns is not None and not tls.server_name_override:
            tls = msgspec.structs.replace(tls, server_name_override=dns.hostname)
        return msgspec.structs.replace(sub, endpoint=member, tls=tls, timeout=self.timeout or sub.timeout)

    @property
    def port(self) -> int:
        """Of members found by DNS."""
        return self.resolver.dns.number if self.resolver.dns is not None else 0


def needs(config: LoadBalancingConfig) -> Iterator[Need]:
    """The members, and the files of TLS."""
    static, dns = config.resolver.static, config.resolver.dns
    for member in static.members if static is not None else ():
        host, port = split_endpoint(member)
        yield Connects(host, port, "tcp", "OTLP/gRPC")
    if dns is not None:
        yield Connects(dns.hostname, dns.number, "tcp", "OTLP/gRPC")
    if not config.protocol.otlp.tls.insecure:
        yield from files_of(config.protocol.otlp.tls)


class LoadBalancing(OtlpExporter):
    """A request's headers say for which member it was made, and of which ring."""

    def __init__(self, config: LoadBalancingConfig, context: Context) -> None:
        super().__init__(context)
        self._config = config
        self._destinations: dict[str, Destination] = {}
        self._by_service = config.routing_key == "service"
        self._ahead = Ahead(self._preparing)
        self._running = False
        self._tls: ClientTLS | None = None  # of all members
        self._divided: dict[int, tuple[Request, str, list[Request]]] = {}  # by id: what `split` is asked for next
        meter = context.meter
        self._updates = meter.counter("loadbalancer_num_backend_updates", "How often the members have changed.")
        self._outcomes = meter.counter("loadbalancer_backend_outcome", "Requests to members, by how they ended.")
        meter.gauge("loadbalancer_num_backends", "Members.", lambda: len(self._ring.members))
        self._ring = Ring(())
        self._resolver: Resolver | None = None
        if (dns := config.resolver.dns) is not None:
            looked_up = meter.counter("loadbalancer_num_resolutions", "Look-ups of the members.")
            self._resolver = Resolver(
                dns.hostname, dns.number, dns.interval, dns.timeout, self.found, looked_up, context.log
            )

    async def start(self) -> None:
        """Read the files of TLS, and find the members; while there are none, batches wait."""
        self._running = True
        if not self._config.protocol.otlp.tls.insecure:
            self._tls = client_tls(self._config.protocol.otlp)
        static = self._config.resolver.static
        if static is not None:
            self.found(list(static.members))
        if self._resolver is not None:
            await self._resolver.resolve()
            self._context.spawn(self._resolver.run(), "members")

    async def stop(self) -> None:
        """Close the connections."""
        self._running = False
        await asyncio.gather(*(destination.close() for destination in self._destinations.values()))

    def found(self, members: list[str]) -> None:
        """These are the members now."""
        ring = Ring(members)
        if ring.id == self._ring.id:
            return
        old, self._ring = self._ring, ring
        self._updates.add(1)
        gone, new = set(old.members) - set(ring.members), set(ring.members) - set(old.members)
        self._context.log.info("%d members: %s came, %s went", len(ring.members), _listed(new), _listed(gone))
        for member in gone:
            if (destination := self._destinations.pop(member, None)) is not None:
                destination.retire()

    # --- requests

    async def warm(self, batch: Batch) -> None:
        """See RequestExporter."""
        await self._ahead.warm(batch)

    def prepare(self, batch: Batch) -> list[Request]:
        """See RequestExporter. One request for each member. Raises Refused where spans are malformed."""
        return self._ahead.take(batch)

    def _preparing(self, batch: Batch) -> Steps:
        ring = self._ring
        try:
            parts = yield from self._dividing(batch, ring)
        except WireError as error:
            raise Refused(str(error), "malformed") from None
        requests = []
        for lane, (member, part) in enumerate(parts.items()):
            requests.append(self._request(part, member, ring, lane))
            yield
        return requests

    def _dividing(self, batch: Batch, ring: Ring) -> Dividing:
        if len(ring.members) < 2:
            return {ring.member(b""): batch}
        if not self._by_service:
            return (yield from dividing(batch, ring.member))
        parts: dict[str, list[Any]] = {}
        for group in batch.groups:
            parts.setdefault(ring.member(_service(group.resource)), []).append(group)
        return {member: batch.with_groups(groups) for member, groups in parts.items()}

    def _request(self, batch: Batch, member: str, ring: Ring, lane: int = 0) -> Request:
        request = encoded(batch, self._config.protocol.otlp)
        request.headers |= {"member": member, "ring": ring.id}
        request.lane = lane
        return request

    def split(self, request: Request, *, by_group: bool) -> list[Request]:
        """See RequestExporter. Between members first, where they have changed."""
        kept, ring, requests = self._divided.pop(id(request), (None, "", []))
        if kept is request and ring == self._ring.id:
            return requests
        return super().split(request, by_group=by_group)

    def restore(self, request: Request) -> Batch:
        """See RequestExporter."""
        return otlp.decode(request.signal, unpacked(request, encoding_of(request)))

    # --- sending

    async def send(self, request: Request) -> None:
        """See RequestExporter. A request made for other members is divided anew, unless all of it has the same one."""
        if not self._running:
            raise Busy("the loadbalancing exporter is not running")
        if not self._ring.members:
            why = self._resolver.problem if self._resolver is not None else ""
            raise Busy(why or "there are no members: the name has no addresses")
        while request.headers.get("ring") != self._ring.id:  # they may change meanwhile
            await self._redirect(request)
        member = request.headers["member"]
        outcome = "false"
        try:
            await self._destination(member).send(request)
            outcome = "true"
        except Busy:
            if self._resolver is not None:
                self._resolver.hurry()
            raise
        finally:
            self._outcomes.add(1, endpoint=member, success=outcome)

    async def _redirect(self, request: Request) -> None:
        """Name the member that all of a request belongs to now. Raises TooLarge where there are several."""
        ring = self._ring
        try:
            parts = await _done(self._dividing(self.restore(request), ring))
        except WireError as error:
            raise Refused(str(error), "malformed") from None
        if len(parts) < 2:
            request.headers = {**request.headers, "member": next(iter(parts), ""), "ring": ring.id}
            return
        requests = []
        for member, part in parts.items():
            requests.append(self._request(part, member, ring))
            await asyncio.sleep(0)
        while len(self._divided) >= _DIVIDED:
            del self._divided[next(iter(self._divided))]
        self._divided[id(request)] = (request, ring.id, requests)
        raise TooLarge("its members have changed, and it belongs to several now", "members_changed")

    def _destination(self, member: str) -> Destination:
        found = self._destinations.get(member)
        if found is None:
            found = self._destinations[member] = Destination(self._config.client(member), self.note_rejected, self._tls)
        return found


async def _done(steps: Dividing) -> Mapping[str, Batch]:
    """The parts, with turns for others in between."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)


def _service(resource: Resource) -> bytes:
    return str(resource.attributes.get("service.name", "")).encode("utf-8", "replace")


def _listed(members: set[str]) -> str:
    return ", ".join(sorted(members)[:10]) + (", …" if len(members) > 10 else "") if members else "none"


factory = ExporterFactory(
    "loadbalancing", LoadBalancingConfig, LoadBalancing, needs=needs, signals={Signal.TRACES}, stability=Stability.BETA
)
