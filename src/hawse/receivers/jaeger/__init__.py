"""jaeger: takes what Jaeger's clients and agents send, and tells them how much to sample.

`config` is what the user writes; `agent` takes datagrams, `sampling` answers with `strategies`; HTTP and gRPC are here.
Over both, the answer tells what became of the spans: 202 (OK) that they are safe, 503 (UNAVAILABLE) that the client
should keep them and try again, 400 (INVALID_ARGUMENT) that they will never be taken. docs/jaeger.md tells users more.
"""

import asyncio
import time
from collections.abc import Mapping
from math import ceil

from hawse.batch import Batch, Group, Signal
from hawse.codecs.jaeger_proto import ProtoTranslator
from hawse.codecs.jaeger_thrift import TooMany, Translator
from hawse.codecs.thrift import Binary, Compact
from hawse.component import Busy, Consumer, Context, Receiver, ReceiverFactory, Refused, Stability
from hawse.net.budget import Budget
from hawse.net.grpc import METHOD, Code, GrpcError, retry_info
from hawse.net.http import Handler, HttpError, Request, Response
from hawse.net.server import HttpServers
from hawse.net.udp import UdpConfig
from hawse.receivers.jaeger.agent import Agent
from hawse.receivers.jaeger.config import JaegerConfig, needs, served
from hawse.receivers.jaeger.sampling import Sampling
from hawse.turns import Turns, in_turns
from hawse.wire import WireError

_CALL = "/jaeger.api_v2.CollectorService/PostSpans"
_PATH = "/api/traces"
_BINARY = ("application/x-thrift", "application/vnd.apache.thrift.binary")
_COMPACT = "application/vnd.apache.thrift.compact"
_COMPLAIN_EVERY = 30.0  # seconds
_RETRY_AFTER = 1.0  # seconds, where whoever is busy doesn't say


class Jaeger(Receiver):
    """Listens while it is started. `ports` has the ports bound, by the protocols' keys and `remote_sampling`."""

    def __init__(self, config: JaegerConfig, context: Context, outputs: Mapping[Signal, Consumer]) -> None:
        self._config = config
        self._context = context
        self._output = outputs[Signal.TRACES]
        self._servers: HttpServers = context.shared(HttpServers)
        self._budget: Budget = context.shared(Budget)
        self._binary = Translator(Binary, config.max_span_parts)
        self._compact = Translator(Compact, config.max_span_parts)
        self._proto = ProtoTranslator(config.max_span_parts)
        self._malformed = context.meter.counter(
            "hawse_receiver_malformed_requests", "Requests and datagrams that are none of Jaeger's."
        )
        self._complained = float("-inf")
        self._sampling = Sampling(config.remote_sampling, context) if config.remote_sampling else None
        self._agents = {
            name: Agent(name, settings, translator, context, self._output, self._complain)
            for name, translator in (("thrift_compact", self._compact), ("thrift_binary", self._binary))
            if isinstance(settings := served(config.protocols)[name], UdpConfig)
        }
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Bind the ports."""
        if self._sampling is not None:
            self._sampling.load("remote_sampling")
        for name, agent in self._agents.items():
            await agent.start()
            self._listens(name, agent.port)
        await self._serve_collector()
        await self._serve_sampling()

    async def _serve_collector(self) -> None:
        grpc, http, sampling = self._config.protocols.grpc, self._config.protocols.thrift_http, self._sampling
        owner = self._context.id
        if grpc is not None:
            routes: dict[tuple[str, str], Handler] = {(METHOD, _CALL): self._post_spans}
            routes.update(sampling.grpc() if sampling else {})
            self._listens("grpc", await self._servers.mount(grpc.server, routes, owner=owner, path="protocols.grpc"))
        if http is not None:
            routes = {("POST", _PATH): self._post}
            routes.update(sampling.collector() if sampling else {})
            port = await self._servers.mount(http, routes, owner=owner, path="protocols.thrift_http")
            self._listens("thrift_http", port)

    async def _serve_sampling(self) -> None:
        if self._sampling is None or self._config.remote_sampling is None:
            return
        server = self._config.remote_sampling.server
        port = await self._servers.mount(server, self._sampling.http(), owner=self._context.id, path="remote_sampling")
        self._listens("remote_sampling", port)
        self._context.spawn(self._sampling.follow(), "sampling strategies")

    def _listens(self, name: str, port: int) -> None:
        self.ports[name] = port
        self._context.log.info("listening for Jaeger's %s on port %d", name, port)

    async def stop(self) -> None:
        """Take no more, and answer (or hand on) what has been taken."""
        await asyncio.gather(
            self._servers.unmount(self._context.id), *(agent.stop() for agent in self._agents.values())
        )

    async def _post(self, request: Request) -> Response:
        kind = request.content_type
        if kind not in _BINARY and kind != _COMPACT:
            return _text(415, f"content-type {kind[:100]!r} is not Thrift; send {_BINARY[0]}")
        translator = self._compact if kind == _COMPACT else self._binary
        try:
            group = await in_turns(translator.body(request.body, self._config.max_request_spans), Turns())
        except TooMany as error:
            self._malformed.add(1)
            return _text(413, f"{error} (max_request_spans)")
        except WireError as error:
            message = f"malformed batch: {error}"
            self._complain(message, request.peer)
            return _text(400, message)
        try:
            await self._hand_on([group], request.peer)
        except Busy as busy:
            wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
            return _text(503, busy.reason, {"retry-after": str(max(1, ceil(wait)))})
        except Refused as refused:
            return _text(400, refused.reason)
        return Response(202)

    async def _post_spans(self, request: Request) -> Response:
        try:
            groups = await in_turns(self._proto.request(request.body, self._config.max_request_spans), Turns())
        except TooMany as error:
            self._malformed.add(1)
            raise GrpcError(Code.RESOURCE_EXHAUSTED, f"{error} (max_request_spans)") from None
        except WireError as error:
            message = f"malformed PostSpansRequest: {error}"
            self._complain(message, request.peer)
            raise GrpcError(Code.INVALID_ARGUMENT, message) from None
        try:
            await self._hand_on(groups, request.peer)
        except Busy as busy:
            wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
            raise GrpcError(Code.UNAVAILABLE, busy.reason, (retry_info(wait),)) from None
        except Refused as refused:
            raise GrpcError(Code.INVALID_ARGUMENT, refused.reason) from None
        return Response(200)

    async def _hand_on(self, groups: list[Group], peer: str) -> None:
        batch = Batch(Signal.TRACES, groups, peer)
        if not batch.items:
            return
        size = batch.nbytes
        if not self._budget.acquire(size):
            raise HttpError(503, "as much is in flight as memory allows", {"retry-after": "1"}, limit="memory_limit")
        try:
            await self._output.consume(batch)
        finally:
            self._budget.release(size)

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
    "jaeger", JaegerConfig, Jaeger, signals={Signal.TRACES}, needs=needs, stability=Stability.BETA
)
