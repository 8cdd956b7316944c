"""Takes Zipkin's spans (openzipkin/zipkin-api): version 1 in JSON and Thrift, version 2 in JSON and protobuf.

The answer tells what became of the spans: 202 that they are safe, 503 that the client should keep them and try again,
400 that they will never be taken. Nothing is kept here. docs/zipkin.md tells users what becomes of each field.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from math import ceil
from typing import Annotated, TypeAlias

from msgspec import Meta

from hawse.batch import Batch, Group, Signal
from hawse.codecs.zipkin import Conventions, Limits, TooMany, Translator
from hawse.component import (
    Busy,
    Consumer,
    Context,
    Listens,
    Need,
    Problem,
    Reads,
    Receiver,
    ReceiverFactory,
    Refused,
    Section,
    Stability,
)
from hawse.net.budget import Budget
from hawse.net.http import HttpError, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, split_endpoint
from hawse.turns import in_turns
from hawse.values import ByteSize
from hawse.wire import WireError

# --- what the user writes ---------------------------------------------------------------------------------------------


class HttpConfig(ServerConfig, frozen=True):
    """The server, where it stands below `protocols`."""

    endpoint: str = "localhost:9411"


class Protocols(Section, frozen=True):
    """The one protocol that there is, as newer versions of OpenTelemetry's collector write it."""

    http: HttpConfig | None = None


class ZipkinConfig(HttpConfig, frozen=True):
    """Receives traces in Zipkin's formats, versions 1 and 2."""

    protocols: Annotated[
        Protocols | None, Meta(description="The server's settings may stand here, below `http`, instead of above.")
    ] = None
    parse_string_tags: Annotated[bool, Meta(description="Make numbers and booleans of tags that look like them.")] = (
        False
    )
    network_conventions: Annotated[
        Conventions,
        Meta(
            description="Names of endpoints' addresses: `v0` is net.host.ip, net.peer.ip, peer.service; `v1` is "
            "network.local.address, network.peer.address, service.peer.name; `dup` is both.",
        ),
    ] = "v0"
    max_request_spans: Annotated[int, Meta(ge=1, description="Spans of a request.")] = 200_000
    max_span_parts: Annotated[int, Meta(ge=1, description="Tags and annotations of a span, together.")] = 10_000
    max_json_body_size: Annotated[
        ByteSize, Meta(description="Largest body in JSON, which takes many times its size while it is read.")
    ] = ByteSize(4 << 20)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.protocols is not None and self.protocols.http is None:
            yield Problem("protocols", "no protocol is switched on", "write `protocols: {http: {}}`, or leave it out")

    @property
    def server(self) -> ServerConfig:
        """The settings of the listener."""
        return self.protocols.http if self.protocols and self.protocols.http else self


def needs(config: ZipkinConfig) -> Iterator[Need]:
    """The port, and the files of TLS."""
    host, port = split_endpoint(config.server.endpoint)
    yield Listens(port, "tcp", "Zipkin", host or "0.0.0.0")
    tls = config.server.tls
    for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if path:
            yield Reads(path, "TLS")


# --- what it does -----------------------------------------------------------------------------------------------------

_THRIFT = frozenset({"application/x-thrift", "application/vnd.apache.thrift.binary"})
_PROTOBUF = frozenset({"application/x-protobuf", "application/protobuf"})
_COMPLAIN_EVERY = 30.0  # seconds
_RETRY_AFTER = 1.0  # seconds, where whoever is busy doesn't say
_Read: TypeAlias = Callable[..., Generator[None, None, list[Group]]]


class Zipkin(Receiver):
    """Listens while it is started. `port` is the port bound, which matters where port 0 was asked for."""

    def __init__(self, config: ZipkinConfig, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self._output = outputs[Signal.TRACES]
        self._servers: HttpServers = context.shared(HttpServers)
        self._budget: Budget = context.shared(Budget)
        self._translator = Translator(
            Limits(config.max_request_spans, config.max_span_parts),
            parse_string_tags=config.parse_string_tags,
            conventions=config.network_conventions,
        )
        self._malformed = context.meter.counter("hawse_receiver_malformed_requests", "Requests that are not Zipkin's.")
        self._complained = float("-inf")
        self.port = 0

    async def start(self) -> None:
        """Bind the port."""
        routes = {("POST", "/api/v1/spans"): self._take_v1, ("POST", "/api/v2/spans"): self._take_v2}
        path = "protocols.http" if self._config.server is not self._config else ""
        self.port = await self._servers.mount(self._config.server, routes, owner=self._context.id, path=path)
        self._context.log.info("listening for Zipkin on port %d", self.port)

    async def stop(self) -> None:
        """Take no more, and answer what has been taken."""
        await self._servers.unmount(self._context.id)

    async def _take_v1(self, request: Request) -> Response:
        return await self._take(request, self._translator.thrift_v1, _THRIFT, self._translator.json_v1, _PROTOBUF)

    async def _take_v2(self, request: Request) -> Response:
        return await self._take(request, self._translator.proto_v2, _PROTOBUF, self._translator.json_v2, _THRIFT)

    async def _take(
        self, request: Request, binary: _Read, types: frozenset[str], in_json: _Read, not_here: frozenset[str]
    ) -> Response:
        """Whatever says that it is nothing else counts as JSON: many clients say nothing."""
        kind = request.content_type
        if kind in not_here:
            return _text(415, f"{request.path} does not take {kind}; send application/json or {max(types)}")
        read = binary if kind in types else in_json
        if read is in_json and len(request.body) > self._config.max_json_body_size:
            message = f"the body has {len(request.body)} bytes of JSON, {self._config.max_json_body_size} are allowed"
            raise HttpError(413, message, limit="max_json_body_size")
        debug = request.headers.get("x-b3-flags") == "1"
        try:
            groups = await in_turns(read(request.body, debug=debug))
        except TooMany as error:
            self._malformed.add(1)
            return _text(413, f"{error} (max_request_spans)")
        except WireError as error:
            message = f"malformed request: {error}"
            self._complain(message, request.peer)
            return _text(400, message)
        return await self._hand_on(Batch(Signal.TRACES, groups, request.peer))

    async def _hand_on(self, batch: Batch) -> Response:
        size = batch.nbytes
        if not self._budget.acquire(size):
            raise HttpError(503, "as much is in flight as memory allows", {"retry-after": "1"}, limit="memory_limit")
        try:
            if batch.items:
                await self._output.consume(batch)
        except Busy as busy:
            wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
            return _text(503, busy.reason, {"retry-after": str(max(1, ceil(wait)))})
        except Refused as refused:
            return _text(400, refused.reason)
        finally:
            self._budget.release(size)
        return Response(202)

    def _complain(self, message: str, peer: str) -> None:
        """Count, and tell now and then: a broken client tries without end."""
        self._malformed.add(1)
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            self._context.log.warning("%s from %s, refused", message, peer or "an unknown address")


def _text(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, message + "\n", headers or {}, "text/plain; charset=utf-8")


factory = ReceiverFactory(
    "zipkin", ZipkinConfig, Zipkin, signals={Signal.TRACES}, needs=needs, stability=Stability.BETA
)
