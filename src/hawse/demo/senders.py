"""How the demo's services send their spans: a protocol each, from the address of their pod where that is all it takes.

A sender keeps what it is given until it is acknowledged, as clients' batch processors do; over UDP nothing is ever
acknowledged. `tally` tells what has gone out.
"""

import asyncio
import http.client
import socket
from collections.abc import Callable
from typing import Protocol

import msgspec

from hawse.component import Busy
from hawse.demo.cast import Pod
from hawse.demo.spans import Span, jaeger, otlp, zipkin
from hawse.net.grpc import GrpcError
from hawse.net.grpc_client import GrpcClient, GrpcClientConfig, GrpcTLS
from hawse.values import Duration

EVERY = 0.5  # seconds between two requests of a sender
_TOGETHER = 200  # spans of a request
_IN_DATAGRAM = 20  # the same, over UDP
_WITHIN = 5.0  # seconds for an answer

# Protocol → the port of the traces role that it goes to, as `hawse up` names it.
PORTS = {
    "otlp-grpc": "traces/otlp-grpc",
    "otlp-http": "traces/otlp-http",
    "jaeger-compact": "traces/jaeger-compact",
    "zipkin": "traces/zipkin",
}
UDP = frozenset({"jaeger-compact"})


class SenderTally(msgspec.Struct):
    """What a service has sent: acknowledged, or, over UDP, handed to the system."""

    service: str
    protocol: str
    namespace: str
    pod: str
    made: int = 0
    sent: int = 0


class Transport(Protocol):
    """Sends a request of spans. Raises OSError where it was not taken."""

    most: int

    async def send(self, spans: list[Span]) -> None: ...

    async def close(self) -> None: ...


class Sender:
    """A service's batch processor. Nothing that is given to it is forgotten before it has been sent."""

    def __init__(self, transport: Transport, tally: SenderTally) -> None:
        self.tally = tally
        self._transport = transport
        self._waiting: list[Span] = []

    def add(self, span: Span) -> None:
        """A span has ended."""
        self.tally.made += 1
        self._waiting.append(span)

    async def flush(self) -> None:
        """Send what there is; what was not taken stays."""
        while self._waiting:
            some = self._waiting[: self._transport.most]
            try:
                await self._transport.send(some)
            except OSError:
                return
            del self._waiting[: len(some)]
            self.tally.sent += len(some)

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()


class Grpc:
    """OTLP/gRPC. The pod tells its uid, as the downward API has it."""

    most = _TOGETHER

    def __init__(self, service: str, pod: Pod, port: int) -> None:
        self._resource = {"service.name": service, "k8s.pod.uid": pod.uid, "telemetry.sdk.language": "go"}
        settings = GrpcClientConfig(
            endpoint=f"127.0.0.1:{port}", tls=GrpcTLS(insecure=True), timeout=Duration(_WITHIN), compression="none"
        )
        self._client = GrpcClient(settings)

    async def send(self, spans: list[Span]) -> None:
        path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        try:
            await self._client.call(path, otlp(self._resource, spans))
        except (Busy, GrpcError) as error:
            raise OSError(str(error)) from None

    async def close(self) -> None:
        await self._client.close()


class Http:
    """Posts over HTTP from the pod's address, by which it is recognised."""

    most = _TOGETHER

    def __init__(self, pod: Pod, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WITHIN, source_address=(pod.ip, 0))

    async def post(self, path: str, content_type: str, body: bytes) -> None:
        """Raises OSError where it was not taken."""
        await asyncio.to_thread(self._post, path, content_type, body)

    def _post(self, path: str, content_type: str, body: bytes) -> None:
        try:
            self._connection.request("POST", path, body, {"content-type": content_type})
            answer = self._connection.getresponse()
            answer.read()
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            raise OSError(str(error)) from None
        if answer.status >= 300:
            raise OSError(f"HTTP {answer.status}")

    async def close(self) -> None:
        self._connection.close()


class OtlpHttp(Http):
    """OTLP/HTTP in protobuf."""

    def __init__(self, service: str, pod: Pod, port: int) -> None:
        super().__init__(pod, port)
        self._resource = {"service.name": service, "telemetry.sdk.language": "nodejs"}

    async def send(self, spans: list[Span]) -> None:
        await self.post("/v1/traces", "application/x-protobuf", otlp(self._resource, spans))


class Zipkin(Http):
    """Zipkin v2 in JSON."""

    def __init__(self, service: str, pod: Pod, port: int) -> None:
        super().__init__(pod, port)
        self._service = service

    async def send(self, spans: list[Span]) -> None:
        await self.post("/api/v2/spans", "application/json", zipkin(self._service, spans))


class Jaeger:
    """Thrift's compact protocol over UDP, from the pod's address."""

    most = _IN_DATAGRAM

    def __init__(self, service: str, pod: Pod, port: int) -> None:
        self._service = service
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((pod.ip, 0))
        self._address = ("127.0.0.1", port)

    async def send(self, spans: list[Span]) -> None:
        self._socket.sendto(jaeger(self._service, spans), self._address)

    async def close(self) -> None:
        self._socket.close()


TRANSPORTS: dict[str, Callable[[str, Pod, int], Transport]] = {
    "otlp-grpc": Grpc,
    "otlp-http": OtlpHttp,
    "jaeger-compact": Jaeger,
    "zipkin": Zipkin,
}


def sender(service: str, protocol: str, pod: Pod, port: int) -> Sender:
    """A service's sender."""
    transport: Transport = TRANSPORTS[protocol](service, pod, port)
    return Sender(transport, SenderTally(service, protocol, pod.namespace, pod.name))
