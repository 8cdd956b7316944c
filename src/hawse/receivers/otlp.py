"""Takes OTLP over gRPC and HTTP (opentelemetry-proto, docs/specification.md), over HTTP in protobuf or JSON.

The answer tells what became of the batch: 200 (OK) means that it is safe, 503 (UNAVAILABLE) that the client should keep
it and try again, 429 the same because memory is used up, 400 (INVALID_ARGUMENT) that it will never be taken. Nothing is
kept here.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hawse.batch import Batch, Remembered, Resource, Signal
from hawse.codecs import otlp, otlp_json
from hawse.component import (
    Busy,
    Config,
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
from hawse.net.grpc import METHOD, Code, GrpcError, retry_info
from hawse.net.http import Handler, HttpError, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import GrpcServerConfig, ServerConfig, split_endpoint
from hawse.values import ByteSize
from hawse.wire import WireError, field, varint

_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
# Codes of google.rpc.Status (googleapis, google/rpc/code.proto).
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _INTERNAL, _UNAVAILABLE = 3, 8, 13, 14
_COMPLAIN_EVERY = 30.0  # seconds
_REMEMBERED, _SMALL = 512, 2048  # resources, and bytes of each, that are decoded once
_TURN = 0.005  # seconds of work without a turn for others
_RETRY_AFTER = 1.0  # seconds, where whoever is busy doesn't say


# What both protocols bound.
MaxItems = Annotated[
    int, Meta(ge=1, description="Records, spans or points of a request; a resource counts as 8, a scope as 4.")
]
MaxResource = Annotated[ByteSize, Meta(description="Largest set of resource attributes.")]
_MOST_ITEMS, _LARGEST_RESOURCE = 200_000, ByteSize(256 << 10)


class GrpcConfig(GrpcServerConfig, frozen=True):
    """OTLP over gRPC."""

    endpoint: str = "localhost:4317"
    max_request_items: MaxItems = _MOST_ITEMS
    max_resource_size: MaxResource = _LARGEST_RESOURCE


class HttpConfig(ServerConfig, frozen=True):
    """OTLP over HTTP."""

    endpoint: str = "localhost:4318"
    max_request_items: MaxItems = _MOST_ITEMS
    max_resource_size: MaxResource = _LARGEST_RESOURCE
    logs_url_path: str = otlp.PATHS[Signal.LOGS]
    metrics_url_path: str = otlp.PATHS[Signal.METRICS]
    traces_url_path: str = otlp.PATHS[Signal.TRACES]
    max_json_body_size: Annotated[
        ByteSize, Meta(description="Largest body in JSON, which takes many times its size while it is read.")
    ] = ByteSize(4 << 20)

    def path(self, signal: Signal) -> str:
        """Where a signal is posted."""
        chosen: str = getattr(self, f"{signal}_url_path")
        return chosen if chosen.startswith("/") else f"/{chosen}"

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        paths = [self.path(signal) for signal in Signal]
        for signal, path in zip(Signal, paths, strict=True):
            if paths.count(path) > 1:
                yield Problem(f"{signal}_url_path", f"{path!r} is used for two signals", "give each its own path")


class Protocols(Section, frozen=True):
    """The protocols to listen for: each key that is there, even an empty one, switches its protocol on."""

    grpc: GrpcConfig | None = None
    http: HttpConfig | None = None


class OtlpConfig(Config, frozen=True):
    """Receives logs, metrics and traces from OpenTelemetry SDKs and Collectors."""

    protocols: Protocols

    def problems(self) -> Iterator[Problem]:
        if self.protocols.http is None and self.protocols.grpc is None:
            yield Problem("protocols", "no protocol is switched on", "write `protocols: {grpc: {}, http: {}}`")


def needs(config: OtlpConfig) -> Iterator[Need]:
    """One port for each protocol, and the files of TLS."""
    for server, purpose in ((config.protocols.grpc, "OTLP/gRPC"), (config.protocols.http, "OTLP/HTTP")):
        if server is not None:
            host, port = split_endpoint(server.endpoint)
            yield Listens(port, "tcp", purpose, host or "0.0.0.0")
            tls = server.tls
            for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
                if path:
                    yield Reads(path, "TLS")


class Otlp(Receiver):
    """Listens while it is started. `port` and `grpc_port` are those bound, which matters where 0 was asked for."""

    def __init__(self, config: OtlpConfig, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self._outputs = outputs
        self._servers: HttpServers = context.shared(HttpServers)
        self._malformed = context.meter.counter("hawse_receiver_malformed_requests", "Requests that are no OTLP.")
        self._complained = float("-inf")
        self._known: Remembered[Resource] = Remembered(_same, _REMEMBERED)
        self.port = self.grpc_port = 0

    async def start(self) -> None:
        """Bind the ports."""
        grpc, http = self._config.protocols.grpc, self._config.protocols.http
        if grpc is not None:
            calls = {(METHOD, otlp.SERVICES[signal]): self._call(signal, grpc) for signal in self._outputs}
            self.grpc_port = await self._servers.mount(
                grpc.server, calls, owner=self._context.id, path="protocols.grpc"
            )
            self._context.log.info("listening for OTLP/gRPC on %s", grpc.endpoint)
        if http is not None:
            routes = {("POST", http.path(signal)): self._handler(signal, http) for signal in self._outputs}
            self.port = await self._servers.mount(
                http, routes, owner=self._context.id, path="protocols.http", explain=explain
            )
            self._context.log.info("listening for OTLP/HTTP on %s", http.endpoint)

    async def stop(self) -> None:
        """Take no more, and answer what has been taken."""
        await self._servers.unmount(self._context.id)

    def _call(self, signal: Signal, limits: GrpcConfig) -> Handler:
        output = self._outputs[signal]

        async def take(request: Request) -> Response:
            try:
                batch = decode(signal, request, limits, as_json=False)
                await read_resources(batch, self._known)
            except WireError as error:
                message = f"malformed {signal} request: {error}"
                self._complain(message, request.peer)
                raise GrpcError(Code.INVALID_ARGUMENT, message) from None
            try:
                if batch.items:
                    await output.consume(batch)
            except Busy as busy:
                wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
                raise GrpcError(Code.UNAVAILABLE, busy.reason, (retry_info(wait),)) from None
            except Refused as refused:
                raise GrpcError(Code.INVALID_ARGUMENT, refused.reason) from None
            return _TAKEN

        return take

    def _handler(self, signal: Signal, limits: HttpConfig) -> Handler:
        output = self._outputs[signal]

        async def take(request: Request) -> Response:
            kind = request.content_type
            if kind not in {_PROTOBUF, _JSON, "application/protobuf"}:
                message = f"content-type {kind[:100]!r} is not OTLP; send {_PROTOBUF} or {_JSON}"
                return Response(415, message + "\n", content_type="text/plain; charset=utf-8")
            as_json = kind == _JSON
            try:
                batch = decode(signal, request, limits, as_json=as_json)
                await read_resources(batch, self._known)
            except WireError as error:
                message = f"malformed {signal} request: {error}"
                self._complain(message, request.peer)
                return _status(400, _INVALID_ARGUMENT, message, as_json=as_json)
            try:
                if batch.items:
                    await output.consume(batch)
            except Busy as busy:
                wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
                headers = {"retry-after": str(max(1, ceil(wait)))}
                return _status(503, _UNAVAILABLE, busy.reason, as_json=as_json, headers=headers)
            except Refused as refused:
                return _status(400, _INVALID_ARGUMENT, refused.reason, as_json=as_json)
            return _DONE[as_json]

        return take

    def _complain(self, message: str, peer: str) -> None:
        """Count, and tell now and then: a broken client tries without end."""
        self._malformed.add(1)
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            self._context.log.warning("%s from %s, refused", message, peer or "an unknown address")


def explain(request: Request, error: HttpError) -> Response:
    """A refusal of the server's own as OTLP has it: a Status in the encoding of the request, `error`'s status."""
    status = error.response.status
    if request.content_type not in {_PROTOBUF, _JSON, "application/protobuf"}:
        return error.response
    code = {429: _RESOURCE_EXHAUSTED, 503: _UNAVAILABLE}.get(status, _INVALID_ARGUMENT if status < 500 else _INTERNAL)
    return _status(status, code, error.message, as_json=request.content_type == _JSON, headers=error.response.headers)


# An Export…ServiceResponse without partial_success: all was taken.
_TAKEN = Response(200, b"")
_DONE = {True: Response(200, b"{}", content_type=_JSON), False: Response(200, b"", content_type=_PROTOBUF)}


def decode(signal: Signal, request: Request, limits: GrpcConfig | HttpConfig, *, as_json: bool) -> Batch:
    """The batch of a request. Raises WireError where it is malformed, HttpError over a limit."""
    if as_json and isinstance(limits, HttpConfig) and len(request.body) > limits.max_json_body_size:
        message = f"the body has {len(request.body)} bytes of JSON, {limits.max_json_body_size} are allowed"
        raise HttpError(413, message, limit="max_json_body_size")
    codec = otlp_json.decode if as_json else otlp.decode
    try:
        batch = codec(signal, request.body, request.peer, limits.max_request_items)
    except otlp.TooMany:
        message = f"the request has more than {limits.max_request_items} items, resources counted as 8 and scopes as 4"
        raise HttpError(413, message, limit="max_request_items") from None
    for group in batch.groups:
        if len(group.resource.raw) > limits.max_resource_size:
            message = f"a resource has {len(group.resource.raw)} bytes, {limits.max_resource_size} are allowed"
            raise HttpError(413, message, limit="max_resource_size")
    return batch


def _same(resource: Resource) -> Resource:
    return resource


async def read_resources(batch: Batch, known: Remembered[Resource] | None = None) -> None:
    """Decode the resources, for good, so that no component has to reckon with malformed ones. Raises WireError.

    Clients send the same over and over, so small ones are remembered: nobody has seen the groups but us.

    Others get their turn in between: attributes are all that a client can make expensive.
    """
    since = time.perf_counter()
    for group in batch.groups:
        if known is not None and len(group.resource.raw) <= _SMALL:
            group.resource = known(group.resource)
        _ = group.resource.attributes
        if time.perf_counter() - since > _TURN:
            await asyncio.sleep(0)
            since = time.perf_counter()


def _status(
    http_status: int, code: int, message: str, *, as_json: bool, headers: Mapping[str, str] | None = None
) -> Response:
    """A google.rpc.Status: code is field 1, message field 2."""
    body: Any
    if as_json:
        body = msgspec.json.encode({"code": code, "message": message})
    else:
        body = b"\x08" + varint(code) + field(2, message.encode("utf-8", "replace"))
    return Response(http_status, body, headers or {}, _JSON if as_json else _PROTOBUF)


factory = ReceiverFactory("otlp", OtlpConfig, Otlp, needs=needs, stability=Stability.BETA)
