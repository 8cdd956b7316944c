"""Hands batches to a backend or Collector by OTLP over gRPC, with the keys of OpenTelemetry's `otlp`.

A batch is encoded and compressed once, straight from the pieces it came in, and kept so while it is tried again, and
in the queue on disk.
"""

from collections.abc import Iterator

import msgspec

from hawse.batch import Batch
from hawse.codecs import otlp
from hawse.component import Busy, Context, ExporterFactory, Need, Problem, Request, Stability
from hawse.net.grpc_client import GrpcClientConfig
from hawse.net.retry import RetryConfig
from hawse.otlp.exporter import OtlpExporter, unpacked
from hawse.otlp.grpc import Destination, encoded, encoding_of, needs_of
from hawse.state.settings import QueueConfig


class OtlpConfig(GrpcClientConfig, frozen=True):
    """Sends to `endpoint`: host:port, by TLS unless `tls.insecure`, or a URL with http:// or https://."""

    endpoint: str = ""
    sending_queue: QueueConfig = msgspec.field(default_factory=QueueConfig)
    retry_on_failure: RetryConfig = msgspec.field(default_factory=RetryConfig)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if not self.endpoint:
            yield Problem("endpoint", "there is nothing to send to", 'set endpoint, such as "collector:4317"')


def needs(config: OtlpConfig) -> Iterator[Need]:
    """The host, and the files of TLS."""
    yield from needs_of(config)


class Otlp(OtlpExporter):
    """All requests share a few connections; `sending_queue.num_consumers` are in flight at most."""

    def __init__(self, config: OtlpConfig, context: Context) -> None:
        super().__init__(context)
        self._config = config
        self._destination: Destination | None = None

    async def start(self) -> None:
        """Read the files of TLS. Connects with the first request."""
        self._destination = Destination(self._config, self.note_rejected)

    async def stop(self) -> None:
        """Close the connections."""
        if self._destination is not None:
            await self._destination.close()

    def prepare(self, batch: Batch) -> list[Request]:
        """See RequestExporter. One request."""
        return [encoded(batch, self._config)]

    async def send(self, request: Request) -> None:
        """See RequestExporter. Returns when the server has answered OK."""
        if self._destination is None:
            raise Busy("the otlp exporter is not running")
        await self._destination.send(request)

    def restore(self, request: Request) -> Batch:
        """See RequestExporter."""
        return otlp.decode(request.signal, unpacked(request, encoding_of(request)))


factory = ExporterFactory("otlp", OtlpConfig, Otlp, needs=needs, stability=Stability.BETA)
