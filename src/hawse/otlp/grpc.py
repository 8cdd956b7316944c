"""OTLP over gRPC to one destination (opentelemetry-proto, docs/specification.md, "OTLP/gRPC")."""

import re
from collections.abc import Callable, Iterator

from hawse.batch import Batch, Signal
from hawse.codecs import otlp
from hawse.component import Busy, Connects, Need, Reads, Refused, Request, TooLarge
from hawse.net.grpc import Code, GrpcError, retry_delay
from hawse.net.grpc_client import GrpcClient, GrpcClientConfig, GrpcTLS, compressed
from hawse.net.tls import ClientTLS
from hawse.wire import WireError

# What the specification names as worth trying again ("Retryable" in its table of codes), and what an administrator
# can mend while the data waits: wrong credentials, a service that is not there yet.
_RETRYABLE = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.OUT_OF_RANGE, Code.UNAVAILABLE,
                        Code.DATA_LOSS})  # fmt: skip
_CREDENTIALS = frozenset({Code.UNAUTHENTICATED, Code.PERMISSION_DENIED})
# How servers word that a message is too large for them; the code is that of limits on rates, too.
_SIZE = re.compile(r"\blarger\b|too large|\bexceed|\ballowed\b|\bmax_request_", re.IGNORECASE)
_ENCODING = "grpc-encoding"


def encoded(batch: Batch, config: GrpcClientConfig) -> Request:
    """The request of a batch, compressed as the configuration has it."""
    encoding = "" if config.compression in {"none", ""} else config.compression
    body = compressed(batch.parts(), encoding, config.compression_params.level)
    return Request(batch.signal, batch.items, body, {_ENCODING: encoding} if encoding else {})


def encoding_of(request: Request) -> str:
    """How a request's body is compressed, "" for not."""
    return request.headers.get(_ENCODING, "")


class Destination:
    """One server of OTLP/gRPC. `rejected` is told of partial successes: signal, items, message, who."""

    def __init__(
        self,
        config: GrpcClientConfig,
        rejected: Callable[[Signal, int, str, str], None],
        tls: ClientTLS | None = None,
    ) -> None:
        """`tls` is shared with other destinations. Raises HawseError if files of the TLS settings cannot be used."""
        self._client = GrpcClient(config, max_response_size=1 << 20, tls=tls)
        self._note_rejected = rejected
        self.name = self._client.name

    def retire(self) -> None:
        """Let requests under way end, and hang up: there are to be no more."""
        self._client.retire()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def send(self, request: Request) -> None:
        """Return when the server has taken a request. Raises Busy, TooLarge or Refused."""
        path = otlp.SERVICES[request.signal]
        try:
            answer = await self._client.call(path, request.body, encoding=encoding_of(request))
        except GrpcError as error:
            raise self._judged(error) from None
        if answer:
            try:
                rejected, message = otlp.rejected(answer)
            except WireError:
                return  # OK is OK, whatever the answer
            self._note_rejected(request.signal, rejected, message, self.name)

    def _judged(self, error: GrpcError) -> Busy | Refused:
        code, wait = error.code, retry_delay(error.details)
        reason = f"{self.name} answered {code.name}: {error.message}"
        if code in _CREDENTIALS:
            return Busy(f"{reason}; {self._client.renewed()}")
        if code in _RETRYABLE or code is Code.UNIMPLEMENTED or (code is Code.RESOURCE_EXHAUSTED and wait is not None):
            return Busy(reason, wait)
        too_large = code is Code.RESOURCE_EXHAUSTED and _SIZE.search(error.message)
        return (TooLarge if too_large else Refused)(reason, f"grpc_{code.name.lower()}")


def files_of(tls: GrpcTLS) -> Iterator[Need]:
    """The files of TLS."""
    for path in (tls.ca_file, tls.cert_file, tls.key_file):
        if path:
            yield Reads(path, "TLS")


def needs_of(config: GrpcClientConfig) -> Iterator[Need]:
    """The host, and the files of TLS."""
    host, port, secure = config.target
    yield Connects(host, port, "tcp", "OTLP/gRPC")
    if secure:
        yield from files_of(config.tls)
