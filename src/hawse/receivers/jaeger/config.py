"""What the user writes for the jaeger receiver, and what it needs."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from hawse.component import Config, Listens, Need, Problem, Reads, Section
from hawse.net.settings import GrpcServerConfig, ServerConfig, split_endpoint
from hawse.net.udp import UdpConfig
from hawse.values import Duration


class GrpcConfig(GrpcServerConfig, frozen=True):
    """Jaeger's protobuf over gRPC (`jaeger.api_v2.CollectorService`)."""

    endpoint: str = "localhost:14250"


class ThriftHttpConfig(ServerConfig, frozen=True):
    """Thrift over HTTP: a batch is posted to /api/traces."""

    endpoint: str = "localhost:14268"


class ThriftCompactConfig(UdpConfig, frozen=True):
    """Thrift's compact protocol over UDP, as agents take it from most clients."""

    endpoint: str = "localhost:6831"


class ThriftBinaryConfig(UdpConfig, frozen=True):
    """Thrift's binary protocol over UDP, as agents take it from clients in JavaScript."""

    endpoint: str = "localhost:6832"


class Protocols(Section, frozen=True):
    """The protocols to listen for: each key that is there, even an empty one, switches its protocol on."""

    grpc: GrpcConfig | None = None
    thrift_http: ThriftHttpConfig | None = None
    thrift_compact: ThriftCompactConfig | None = None
    thrift_binary: ThriftBinaryConfig | None = None


class RemoteSampling(Section, frozen=True):
    """Tells clients how much to sample, as an agent does over HTTP, and by the ports of `grpc` and `thrift_http`."""

    host_endpoint: Annotated[str, Meta(description="Where clients ask over HTTP.")] = "localhost:5778"
    strategy_file: Annotated[
        str, Meta(description="Jaeger's JSON of sampling strategies. Without it, one trace in a thousand is sampled.")
    ] = ""
    strategy_file_reload_interval: Annotated[
        Duration, Meta(description="How often the file is looked at; 0 reads it once.")
    ] = Duration(10)

    @property
    def server(self) -> ServerConfig:
        """The settings of the listener."""
        return ServerConfig(endpoint=self.host_endpoint)

    def problems(self) -> Iterator[Problem]:
        try:
            split_endpoint(self.host_endpoint)
        except ValueError as error:
            yield Problem("host_endpoint", str(error), 'write "host:port", such as "0.0.0.0:5778"')
        if self.strategy_file and not self.strategy_file.startswith("/"):
            yield Problem("strategy_file", f"{self.strategy_file!r} is no absolute path", "begin it with a slash")


class JaegerConfig(Config, frozen=True):
    """Receives traces from Jaeger's clients and agents."""

    protocols: Protocols
    remote_sampling: RemoteSampling | None = None
    max_request_spans: Annotated[int, Meta(ge=1, description="Spans of a request or datagram.")] = 200_000
    max_span_parts: Annotated[
        int, Meta(ge=1, description="Tags, logs, their fields, and references of a span, all together.")
    ] = 10_000

    def problems(self) -> Iterator[Problem]:
        if all(one is None for one in served(self.protocols).values()):
            fix = "write `protocols: {grpc: {}, thrift_http: {}, thrift_compact: {}, thrift_binary: {}}`"
            yield Problem("protocols", "no protocol is switched on", fix)


def served(protocols: Protocols) -> dict[str, ServerConfig | UdpConfig | None]:
    """All protocols by their keys."""
    return {name: getattr(protocols, name) for name in Protocols.__struct_fields__}


_PURPOSES = {
    "grpc": "Jaeger gRPC",
    "thrift_http": "Jaeger Thrift over HTTP",
    "thrift_compact": "Jaeger Thrift compact",
    "thrift_binary": "Jaeger Thrift binary",
}


def needs(config: JaegerConfig) -> Iterator[Need]:
    """One port for each protocol and for sampling, the files of TLS, the strategies."""
    for name, settings in served(config.protocols).items():
        if settings is None:
            continue
        host, port = split_endpoint(settings.endpoint)
        transport = "udp" if isinstance(settings, UdpConfig) else "tcp"
        yield Listens(port, transport, _PURPOSES[name], host or "0.0.0.0")
        if isinstance(settings, ServerConfig) and settings.tls:
            for path in (settings.tls.cert_file, settings.tls.key_file, settings.tls.client_ca_file):
                if path:
                    yield Reads(path, "TLS")
    sampling = config.remote_sampling
    if sampling is not None:
        host, port = split_endpoint(sampling.host_endpoint)
        yield Listens(port, "tcp", "Jaeger sampling strategies", host or "0.0.0.0")
        if sampling.strategy_file:
            yield Reads(sampling.strategy_file, "sampling strategies")
