"""gRPC client (grpc/grpc, doc/PROTOCOL-HTTP2.md), with the keys of OpenTelemetry's configgrpc: unary calls."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import cramjam
import msgspec
from msgspec import Meta

from hawse import __version__
from hawse.component import Busy, Problem, Section
from hawse.net import credentials, grpc
from hawse.net.compression import Malformed, TooLarge, compress, decompress
from hawse.net.grpc import Code, GrpcError
from hawse.net.http2.call import Answer
from hawse.net.http2.channel import Channel
from hawse.net.http2.fields import block
from hawse.net.settings import CompressionParams, TLSClient, split_endpoint, url_problems
from hawse.net.tls import ClientTLS
from hawse.values import ByteSize, Duration, Secret
from hawse.wire import Buffer

GrpcCompression = Literal["gzip", "zstd", "snappy", "none", ""]
_NONE: Mapping[str, str] = MappingProxyType({})
_RESERVED = frozenset({"te", "host", "content-type", "content-length", "connection", "user-agent"})
# What a status of HTTP means where the answer is none of gRPC's (doc/http-grpc-status-mapping.md).
_OF_HTTP = {400: Code.INTERNAL, 401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED, 404: Code.UNIMPLEMENTED,
            429: Code.UNAVAILABLE, 502: Code.UNAVAILABLE, 503: Code.UNAVAILABLE, 504: Code.UNAVAILABLE}  # fmt: skip


class GrpcTLS(TLSClient, frozen=True):
    """TLS of a client. Without `ca_file` and `ca_pem` the system's CA certificates count."""

    insecure: Annotated[
        bool, Meta(description="Without TLS, where the endpoint is host:port; http:// and https:// say so themselves.")
    ] = False


class ClientKeepalive(Section, frozen=True):
    """PINGs that show whether the server is still there. Servers of grpc-go close where they come too often."""

    time: Annotated[Duration, Meta(description="Seconds without a sign of the server before one is sent.")] = Duration(
        30
    )
    timeout: Annotated[Duration, Meta(description="How long to wait for the answer.")] = Duration(20)
    permit_without_stream: Annotated[bool, Meta(description="Also while no request is under way.")] = False

    def problems(self) -> Iterator[Problem]:
        if self.time < 1 or self.timeout <= 0:
            yield Problem("time", "time must be at least 1s, and timeout above 0", "use time: 30s, timeout: 20s")


class GrpcClientConfig(Section, frozen=True):
    """Whom a gRPC client talks to, and how. Subclass it to give `endpoint` a default."""

    endpoint: str
    tls: GrpcTLS = msgspec.field(default_factory=GrpcTLS)
    compression: GrpcCompression = "gzip"
    compression_params: CompressionParams = msgspec.field(default_factory=CompressionParams)
    timeout: Annotated[Duration, Meta(description="For one request and its answer. 0 is no limit.")] = Duration(30)
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    authority: Annotated[
        str, Meta(description="What the server is told to be called; its host and port by default.")
    ] = ""
    keepalive: ClientKeepalive | None = None
    balancer_name: Annotated[
        str, Meta(description="Accepted for OpenTelemetry's sake; of no effect: use the loadbalancing exporter.")
    ] = ""
    wait_for_ready: Annotated[bool, Meta(description="Accepted for OpenTelemetry's sake; of no effect.")] = False
    read_buffer_size: Annotated[ByteSize, Meta(description="Accepted for OpenTelemetry's sake; of no effect.")] = (
        ByteSize(32 << 10)
    )
    write_buffer_size: Annotated[ByteSize, Meta(description="Accepted for OpenTelemetry's sake; of no effect.")] = (
        ByteSize(512 << 10)
    )

    @property
    def target(self) -> tuple[str, int, bool]:
        """Host, port, and whether by TLS. Raises ValueError."""
        scheme, rest = _split(self.endpoint)
        secure = scheme == "https" or (scheme != "http" and not self.tls.insecure)
        if scheme in {"http", "https"} and not re.search(r":\d+$", rest):
            rest += ":443" if secure else ":80"
        host, port = split_endpoint(rest)
        if not host or not port:
            raise ValueError(f"{self.endpoint!r} names no host and port")
        return host, port, secure

    def problems(self) -> Iterator[Problem]:
        scheme, rest = _split(self.endpoint)
        if scheme not in {"", "http", "https", "dns"}:
            yield Problem("endpoint", f"{scheme}: is not understood", 'write "host:port", or https://host:port')
        elif self.endpoint:
            if scheme in {"http", "https"}:
                yield from url_problems("endpoint", f"{scheme}://{rest}")
            try:
                _ = self.target
            except ValueError as error:
                yield Problem("endpoint", str(error), 'write "host:port", such as "collector:4317"')
        for name, value in self.headers.items():
            if not re.fullmatch(r"[0-9A-Za-z_.-]+", name) or name.lower() in _RESERVED or name.startswith("grpc-"):
                yield Problem(f"headers.{name}", f"{name!r} cannot be sent", "use letters, digits and dashes")
            if not name.lower().endswith("-bin") and not re.fullmatch(r"[\x20-\x7e]*", value.reveal()):
                yield Problem(f"headers.{name}", "the value has characters that are no printable ASCII")


def _split(endpoint: str) -> tuple[str, str]:
    """The scheme ("" for none) and the rest of an endpoint: http://host:port/, dns:///host:port, host:port."""
    scheme, colon, rest = endpoint.partition("://")
    if not colon:
        known = re.match(r"(unix|dns|passthrough):(?!\d)", endpoint)
        return (known[1], endpoint[known.end() :]) if known else ("", endpoint)
    return scheme.lower(), rest.strip("/")


def compressed(parts: Iterable[Buffer], compression: str, level: int = 1) -> bytes:
    """A message compressed. gRPC's snappy is the framing format, in which Go's clients and servers write it."""
    if compression == "snappy":
        return bytes(cramjam.snappy.compress(b"".join(parts)))
    return compress(parts, compression, level)


def client_tls(settings: GrpcClientConfig) -> ClientTLS:
    """TLS for clients of these settings. Raises HawseError naming the file that cannot be used."""
    tls = ClientTLS(settings.tls, ("h2",))
    tls.context()
    return tls


class GrpcClient:
    """Unary calls to `settings.endpoint`. All network failures are Busy, with a reason that names host and port."""

    def __init__(
        self,
        settings: GrpcClientConfig,
        *,
        max_response_size: int = 4 << 20,
        connections: int = 4,
        tls: ClientTLS | None = None,
    ) -> None:
        """`tls` is shared with other clients. Raises HawseError if files of the TLS settings cannot be used."""
        host, port, secure = settings.target
        self._settings = settings
        self._limit = max_response_size
        self._tls = (tls or client_tls(settings)) if secure else None
        self._context = self._tls.context() if self._tls is not None else None
        keepalive = settings.keepalive
        self._channel = Channel(
            host,
            port,
            self._tls,
            server_name=settings.tls.server_name_override,
            shows_certificate=settings.tls.has_certificate,
            keepalive=(keepalive.time, keepalive.timeout, keepalive.permit_without_stream) if keepalive else None,
            most=connections,
        )
        self.name = self._channel.name
        self._secrets = dict(settings.headers)
        self._blocks: dict[tuple[str, str], bytes] = {}  # header blocks by path and encoding

    async def call(self, path: str, message: bytes, *, encoding: str = "") -> bytes:
        """Send a message (compressed, where `encoding` says how) and return the answer's. Raises Busy or GrpcError."""
        fields = self._blocks.get((path, encoding))
        if fields is None:
            fields = self._blocks[path, encoding] = self._block(path, encoding)
        body = grpc.framed(message, compressed=bool(encoding))
        most, timeout = self._limit + grpc.PREFIX, self._settings.timeout
        answer = await self._channel.call(fields, body, limit=most, timeout=timeout)
        return self._message(answer)

    def renewed(self) -> str:
        """Read credentials again that came out of files, and say what came of it, as the end of a message."""
        self._secrets, changed = credentials.reread(self._secrets)
        self._blocks.clear()
        files = self._tls.renew() if self._tls is not None else []
        if self._tls is not None and self._tls.context() is not self._context:
            self._context = self._tls.context()
            self._channel.hang_up()
        return credentials.told(changed + files, self._secrets, self._settings.tls)

    def retire(self) -> None:
        """Let calls under way end, and hang up: there are to be no more."""
        self._channel.retire()

    async def close(self) -> None:
        """Close all connections."""
        await self._channel.close()

    def _block(self, path: str, encoding: str) -> bytes:
        settings = self._settings
        fields = [
            (":method", "POST"),
            (":scheme", "https" if self._tls else "http"),
            (":path", path),
            (":authority", settings.authority or self.name),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", f"hawse/{__version__}"),
            ("grpc-accept-encoding", "gzip,zstd,snappy,identity"),
        ]
        if settings.timeout:
            fields.append(("grpc-timeout", grpc.timeout_of(settings.timeout)))
        if encoding:
            fields.append(("grpc-encoding", encoding))
        for name, value in self._secrets.items():
            text = value.reveal()
            if name.lower().endswith("-bin"):
                text = base64.b64encode(text.encode()).decode().rstrip("=")
            fields.append((name.lower(), text))
        return block(fields)

    def _message(self, answer: Answer) -> bytes:
        """The answer's message. Raises GrpcError for a status, Busy for what is no answer."""
        kind = answer.headers.get("content-type", "")
        trailers = answer.trailers or answer.headers
        if not kind.startswith("application/grpc") and "grpc-status" not in trailers:
            code = _OF_HTTP.get(answer.status, Code.UNKNOWN)
            said = " ".join(answer.body[:200].decode("utf-8", "replace").split())
            message = f"HTTP {answer.status} with content-type {kind[:50]!r}, which is no gRPC: {said}"
            raise GrpcError(code, message)
        error = grpc.status_of(trailers)
        if error is not None:
            raise error
        try:
            flag = grpc.unary(answer.body[: grpc.PREFIX], len(answer.body))
            encoding = answer.headers.get("grpc-encoding", "(none)").lower() if flag else ""
            body = answer.body[grpc.PREFIX :]
            return decompress(body, encoding, self._limit) if body else b""
        except GrpcError as problem:
            raise Busy(f"{self.name}: the answer is malformed: {problem.message}") from None
        except (TooLarge, Malformed, KeyError) as problem:
            raise Busy(f"{self.name}: the answer cannot be decompressed: {problem}") from None


__all__ = ["Code", "GrpcClient", "GrpcClientConfig", "GrpcError", "compressed"]
