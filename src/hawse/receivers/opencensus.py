"""Takes OpenCensus' spans (opencensus-proto, agent/trace/v1): a stream of messages over gRPC, or JSON over HTTP.

A stream has no answers to its messages. Who is busy holds the client back: the message is tried again here, and the
stream's window does the rest. What will never be taken, or cannot be read, ends the stream with INVALID_ARGUMENT.
Single messages (ExportOne, and those in JSON) are answered as OTLP's are. docs/opencensus.md tells users the rest.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from math import ceil
from typing import Annotated

from msgspec import Meta, structs

from hawse.batch import Batch, Group, Signal
from hawse.codecs.opencensus import Stream, TooMany, Translator, json
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
    Stability,
)
from hawse.net.budget import Budget
from hawse.net.grpc import METHOD, STREAM, Code, GrpcError, retry_delay, retry_info
from hawse.net.http import AnyHandler, HttpError, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import Cors, GrpcServerConfig, ServerConfig, split_endpoint
from hawse.turns import in_turns
from hawse.values import ByteSize
from hawse.wire import WireError

# --- what the user writes ---------------------------------------------------------------------------------------------


class OpenCensusConfig(GrpcServerConfig, frozen=True):
    """Receives traces from OpenCensus' libraries and agents, over gRPC and, on the same port, HTTP with JSON."""

    endpoint: str = "localhost:55678"
    cors_allowed_origins: Annotated[
        tuple[str, ...], Meta(description="Web pages that may post JSON; short for `cors.allowed_origins`.")
    ] = ()
    max_request_spans: Annotated[int, Meta(ge=1, description="Spans of a message.")] = 200_000
    max_span_parts: Annotated[int, Meta(ge=1, description="Attributes, events and links of a span, all together.")] = (
        10_000
    )
    max_json_body_size: Annotated[
        ByteSize, Meta(description="Largest body in JSON, which takes many times its size while it is read.")
    ] = ByteSize(4 << 20)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.cors_allowed_origins and self.cors is not None:
            yield Problem("cors_allowed_origins", "cors is given, too", "write the origins in cors.allowed_origins")

    @property
    def server(self) -> ServerConfig:
        """The settings of the listener."""
        server = super().server
        if not self.cors_allowed_origins:
            return server
        return structs.replace(server, cors=Cors(allowed_origins=self.cors_allowed_origins, allowed_headers=("*",)))


def needs(config: OpenCensusConfig) -> Iterator[Need]:
    """The port, and the files of TLS."""
    host, port = split_endpoint(config.endpoint)
    yield Listens(port, "tcp", "OpenCensus", host or "0.0.0.0")
    tls = config.tls
    for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if path:
            yield Reads(path, "TLS")


# --- what it does -----------------------------------------------------------------------------------------------------

_SERVICE = "/opencensus.proto.agent.trace.v1.TraceService"
_PATH = "/v1/trace"
_COMPLAIN_EVERY = 30.0  # seconds
_RETRY_AFTER = 1.0  # seconds, where whoever is busy doesn't say


class OpenCensus(Receiver):
    """Listens while it is started. `port` is the port bound, which matters where port 0 was asked for."""

    def __init__(self, config: OpenCensusConfig, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self._output = outputs[Signal.TRACES]
        self._servers: HttpServers = context.shared(HttpServers)
        self._budget: Budget = context.shared(Budget)
        self._translator = Translator(config.max_request_spans, config.max_span_parts)
        self._malformed = context.meter.counter(
            "hawse_receiver_malformed_requests", "Messages that are not OpenCensus'."
        )
        self._stopping = asyncio.Event()
        self._complained = float("-inf")
        self.port = 0

    async def start(self) -> None:
        """Bind the port."""
        routes: dict[tuple[str, str], AnyHandler] = {
            (STREAM, f"{_SERVICE}/Export"): self._export,
            (METHOD, f"{_SERVICE}/ExportOne"): self._export_one,
            ("POST", _PATH): self._post,
        }
        self.port = await self._servers.mount(self._config.server, routes, owner=self._context.id)
        self._context.log.info("listening for OpenCensus on port %d", self.port)

    async def stop(self) -> None:
        """Take no more, and see the messages through that have been taken."""
        self._stopping.set()
        await self._servers.unmount(self._context.id)

    async def _export(self, request: Request, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        stream = Stream(self._translator)
        async for message in messages:
            batch = await self._read(stream, message, request.peer)
            if not batch.items:
                continue
            size = batch.nbytes
            await self._budget.wait(size)
            try:
                await self._deliver(batch)
            finally:
                self._budget.release(size)
        return
        yield b""  # a stream of no answers

    async def _deliver(self, batch: Batch) -> None:
        """Hand on, again and again while those behind are busy: the client waits meanwhile."""
        while True:
            try:
                await self._output.consume(batch)
            except Busy as busy:
                wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait)
                if self._stopping.is_set():
                    raise GrpcError(Code.UNAVAILABLE, busy.reason, (retry_info(wait),)) from None
            except Refused as refused:
                raise GrpcError(Code.INVALID_ARGUMENT, refused.reason) from None
            else:
                return

    async def _export_one(self, request: Request) -> Response:
        await self._once(await self._read(Stream(self._translator), request.body, request.peer))
        return Response(200)

    async def _read(self, stream: Stream, message: bytes, peer: str) -> Batch:
        try:
            return Batch(Signal.TRACES, await in_turns(stream.read(message, time.time_ns())), peer)
        except TooMany as error:
            self._malformed.add(1)
            raise GrpcError(Code.RESOURCE_EXHAUSTED, f"{error} (max_request_spans)") from None
        except WireError as error:
            told = f"malformed ExportTraceServiceRequest: {error}"
            self._complain(told, peer)
            raise GrpcError(Code.INVALID_ARGUMENT, told) from None

    async def _once(self, batch: Batch) -> None:
        """Hand on what has an answer. Raises GrpcError."""
        size = batch.nbytes
        if not self._budget.acquire(size):
            raise GrpcError(Code.UNAVAILABLE, "as much is in flight as memory allows", (retry_info(_RETRY_AFTER),))
        try:
            if batch.items:
                await self._output.consume(batch)
        except Busy as busy:
            wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
            raise GrpcError(Code.UNAVAILABLE, busy.reason, (retry_info(wait),)) from None
        except Refused as refused:
            raise GrpcError(Code.INVALID_ARGUMENT, refused.reason) from None
        finally:
            self._budget.release(size)

    async def _post(self, request: Request) -> Response:
        """JSON: one message, or several as a stream would have them, taken or refused together."""
        size, most = len(request.body), self._config.max_json_body_size
        if size > most:
            raise HttpError(413, f"the body has {size} bytes of JSON, {most} are allowed", limit="max_json_body_size")
        stream, groups = Stream(self._translator), list[Group]()
        try:
            for message in await in_turns(json.read(request.body)):
                groups += await in_turns(stream.read(message, time.time_ns()))
        except TooMany as error:
            self._malformed.add(1)
            return _text(413, f"{error} (max_request_spans)")
        except WireError as error:
            told = f"malformed request: {error}"
            self._complain(told, request.peer)
            return _text(400, told)
        try:
            await self._once(Batch(Signal.TRACES, groups, request.peer))
        except GrpcError as error:
            if error.code is not Code.UNAVAILABLE:
                return _text(400, error.message)
            return _text(503, error.message, {"retry-after": _seconds(error)})
        return Response(200, b"{}", content_type="application/json")

    def _complain(self, message: str, peer: str) -> None:
        """Count, and tell now and then: a broken client tries without end."""
        self._malformed.add(1)
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            self._context.log.warning("%s from %s, refused", message, peer or "an unknown address")


def _seconds(error: GrpcError) -> str:
    return str(max(1, ceil(retry_delay(error.details) or _RETRY_AFTER)))


def _text(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, message + "\n", headers or {}, "text/plain; charset=utf-8")


factory = ReceiverFactory(
    "opencensus", OpenCensusConfig, OpenCensus, signals={Signal.TRACES}, needs=needs, stability=Stability.BETA
)
