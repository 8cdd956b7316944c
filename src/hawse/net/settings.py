"""Settings of HTTP servers and clients, with the keys of OpenTelemetry's confighttp and configtls."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field, structs

from hawse.component import Problem, Section
from hawse.values import ByteSize, Duration, Secret

TLSVersion = Literal["1.2", "1.3"]
Compression = Literal["gzip", "zstd", "deflate", "zlib", "none", ""]


class TLSServer(Section, frozen=True):
    """TLS of a server. With `client_ca_file`, clients must show a certificate that it signed."""

    cert_file: str
    key_file: str
    client_ca_file: str = ""
    min_version: TLSVersion = "1.2"
    max_version: TLSVersion | Literal[""] = ""


class TLSClient(Section, frozen=True):
    """TLS of a client. Without `ca_file` and `ca_pem` the system's CA certificates count."""

    ca_file: str = ""
    ca_pem: str = ""
    include_system_ca_certs_pool: Annotated[
        bool, Meta(description="With ca_file: trust the system's certificates, too.")
    ] = False
    cert_file: str = ""
    cert_pem: str = ""
    key_file: str = ""
    key_pem: Secret = Secret("")
    insecure: Annotated[bool, Meta(description="Of no effect: an http:// endpoint is plain, https:// is TLS.")] = False
    insecure_skip_verify: bool = False
    server_name_override: str = ""
    min_version: TLSVersion = "1.2"
    max_version: TLSVersion | Literal[""] = ""

    def problems(self) -> Iterator[Problem]:
        for kind in ("ca", "cert", "key"):
            if getattr(self, f"{kind}_file") and getattr(self, f"{kind}_pem").strip():
                yield Problem(f"{kind}_pem", f"{kind}_file and {kind}_pem are both given", "keep one of them")
        if self.has_certificate != bool(self.key_file or self.key_pem):
            missing, there = ("key", "cert") if self.has_certificate else ("cert", "key")
            form = "file" if getattr(self, f"{there}_file") else "pem"
            yield Problem(f"{missing}_{form}", f"{there}_{form} and {missing}_{form} belong together", "set both")

    @property
    def has_certificate(self) -> bool:
        """Whether the client shows a certificate."""
        return bool(self.cert_file or self.cert_pem)


class Cors(Section, frozen=True):
    """Which web pages may post here. A `*` in an origin stands for any text."""

    allowed_origins: tuple[str, ...] = ()
    allowed_headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age: Annotated[int, Meta(ge=0, description="Seconds that a browser may remember the answer.")] = 0


class ServerConfig(Section, frozen=True):
    """Where an HTTP server listens, and what it takes from its clients.

    Limits and time-outs of the connection are those of the component that opens a shared socket first; size limits
    of bodies are each component's own.
    """

    endpoint: str
    tls: TLSServer | None = None
    cors: Cors | None = None
    max_request_body_size: Annotated[ByteSize, Meta(description="Largest body, as sent and when decompressed.")] = (
        ByteSize(20 << 20)
    )
    max_decompression_ratio: Annotated[
        int, Meta(ge=0, description="Largest ratio of decompressed to sent, for bodies above 1 MiB. 0 is no limit.")
    ] = 1100  # deflate reaches 1032 at most: this bounds zstd
    max_url_bytes: Annotated[ByteSize, Meta(description="Longest path with its query.")] = ByteSize(8 << 10)
    max_header_bytes: Annotated[ByteSize, Meta(description="Largest header, all its fields and the URL together.")] = (
        ByteSize(64 << 10)
    )
    max_header_count: Annotated[int, Meta(ge=1, description="Fields of a header at most.")] = 100
    max_connections: Annotated[
        int, Meta(ge=1, description="At most; above, those that wait for a request longest are closed.")
    ] = 4096
    max_connections_per_peer: Annotated[
        int, Meta(ge=0, description="From one address (a proxy in front is one, too). 0 is no limit.")
    ] = 1024
    max_concurrent_requests: Annotated[int, Meta(ge=1, description="Being answered at the same time.")] = 1024
    max_pipelined_requests: Annotated[
        int, Meta(ge=1, description="Sent on a connection before the first of them is answered.")
    ] = 100
    max_concurrent_streams: Annotated[
        int, Meta(ge=1, description="Requests at the same time on a connection of HTTP/2.")
    ] = 100
    read_header_timeout: Annotated[Duration, Meta(description="For a request's header. 0 is no limit.")] = Duration(10)
    read_timeout: Annotated[Duration, Meta(description="For a whole request. 0 is no limit.")] = Duration(300)
    min_body_rate: Annotated[
        ByteSize, Meta(description="Bytes per second of a body, after its first 10 seconds. 0 is no limit.")
    ] = ByteSize(1 << 10)
    write_timeout: Annotated[Duration, Meta(description="For the client to take an answer's next piece.")] = Duration(
        30
    )
    idle_timeout: Annotated[Duration, Meta(description="For a connection's next request. 0 is no limit.")] = Duration(
        60
    )
    include_metadata: Annotated[bool, Meta(description="Accepted for OpenTelemetry's sake; of no effect.")] = False
    response_headers: dict[str, str] = field(default_factory=dict)

    def problems(self) -> Iterator[Problem]:
        try:
            split_endpoint(self.endpoint)
        except ValueError as error:
            yield Problem("endpoint", str(error), 'write "host:port", such as "0.0.0.0:4318"')


class KeepaliveParameters(Section, frozen=True):
    """Accepted for OpenTelemetry's sake: connections end by `idle_timeout`, and are kept as long as they are used."""

    max_connection_idle: Duration = Duration(0)
    max_connection_age: Duration = Duration(0)
    max_connection_age_grace: Duration = Duration(0)
    time: Duration = Duration(0)
    timeout: Duration = Duration(0)


class EnforcementPolicy(Section, frozen=True):
    """Accepted for OpenTelemetry's sake: pings are answered, and bounded as all frames that bring nothing."""

    min_time: Duration = Duration(0)
    permit_without_stream: bool = True


class Keepalive(Section, frozen=True):
    """Accepted for OpenTelemetry's sake."""

    server_parameters: KeepaliveParameters = KeepaliveParameters()
    enforcement_policy: EnforcementPolicy = EnforcementPolicy()


class GrpcServerConfig(ServerConfig, frozen=True):
    """A gRPC server, with the keys of OpenTelemetry's configgrpc. `server` is what is mounted."""

    transport: Literal["tcp", "tcp4", "tcp6"] = "tcp"
    max_recv_msg_size_mib: Annotated[
        int,
        Meta(ge=0, description="Largest message in MiB, as sent and when decompressed; 0 is max_request_body_size."),
    ] = 0
    read_buffer_size: Annotated[ByteSize, Meta(description="Accepted for OpenTelemetry's sake; of no effect.")] = (
        ByteSize(512 << 10)
    )
    write_buffer_size: Annotated[ByteSize, Meta(description="Accepted for OpenTelemetry's sake; of no effect.")] = (
        ByteSize(32 << 10)
    )
    keepalive: Keepalive = Keepalive()

    @property
    def server(self) -> ServerConfig:
        """The settings of the listener."""
        if not self.max_recv_msg_size_mib:
            return self
        return structs.replace(self, max_request_body_size=ByteSize(self.max_recv_msg_size_mib << 20))


class CompressionParams(Section, frozen=True):
    """How hard to compress: gzip and deflate take 0 to 3 (isal's levels; higher ones count as 3), zstd 1 to 22."""

    level: Annotated[int, Meta(ge=0, le=22)] = 1


class ClientConfig(Section, frozen=True):
    """Whom an HTTP client talks to, and how. Subclass it to give `endpoint` a default."""

    endpoint: str
    tls: TLSClient = field(default_factory=TLSClient)
    compression: Compression = "gzip"
    compression_params: CompressionParams = field(default_factory=CompressionParams)
    timeout: Annotated[Duration, Meta(description="For one request and its answer. 0 is no limit.")] = Duration(30)
    headers: dict[str, Secret] = field(default_factory=dict)
    max_conns_per_host: Annotated[int, Meta(ge=0, description="Requests in flight at most. 0 is no limit.")] = 16
    max_idle_conns: Annotated[int, Meta(ge=0)] = 100
    idle_conn_timeout: Duration = Duration(90)
    disable_keep_alives: bool = False

    def problems(self) -> Iterator[Problem]:
        yield from url_problems("endpoint", self.endpoint)
        for name, value in self.headers.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                yield Problem(f"headers.{name}", f"{name!r} is no header name", "use letters, digits and dashes")
            if not re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value.reveal()):
                yield Problem(f"headers.{name}", "the value has line breaks or characters outside Latin-1")


def url_problems(path: str, url: str) -> Iterator[Problem]:
    """What is wrong with a client's URL; nothing for an empty one, which is for the caller to judge."""
    if not url:
        return
    try:
        parts = urlsplit(url)
    except ValueError:  # an address in brackets that is none
        yield Problem(path, f"{url!r} is no HTTP URL", "IPv6 addresses stand in brackets: http://[::1]:4318")
        return
    try:
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield Problem(path, f"{url!r} is no HTTP URL", 'write "http://host:port" or "https://host:port"')
    elif not port_fits:
        yield Problem(path, f"{url!r} has no valid port", "ports are 1 to 65535")
    elif parts.username is not None:
        yield Problem(path, "credentials in the URL would be shown in logs", "send them in `headers`")


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[v6]:port` or `:port` (host "": all interfaces). Raises ValueError."""
    host, colon, port = endpoint.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{endpoint!r} has no port between 0 and 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "/" in host or re.search(r"\s", host):
        raise ValueError(f"{endpoint!r} is no host and port")
    return host, int(port)
