"""Hands batches to a backend or Collector by OTLP over HTTP, with the keys of OpenTelemetry's `otlphttp`.

A batch is encoded and compressed once, straight from the pieces it came in, and kept so while it is tried again, and
in the queue on disk.
"""

from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from hawse.batch import Batch, Signal
from hawse.codecs import otlp, otlp_json
from hawse.component import (
    Busy,
    Connects,
    Context,
    ExporterFactory,
    Need,
    Problem,
    Reads,
    Refused,
    Request,
    Stability,
    TooLarge,
)
from hawse.net.client import ClientResponse, HttpClient
from hawse.net.compression import compress, content_encoding
from hawse.net.retry import RetryConfig, retry_after
from hawse.net.settings import ClientConfig, url_problems
from hawse.otlp.exporter import OtlpExporter, unpacked
from hawse.state.settings import QueueConfig
from hawse.wire import LENGTH, WireError, walk

# What the specification names as worth trying again (docs/specification.md, "Retryable Response Codes"), and what an
# administrator can mend while the data waits: wrong credentials, a path that is not there yet.
_RETRYABLE = frozenset({429, 502, 503, 504})
_MENDABLE = frozenset({401, 403, 404, 405, 407, 408, 500})
_CONTENT_TYPES = {"proto": "application/x-protobuf", "json": "application/json"}


class OtlpHttpConfig(ClientConfig, frozen=True):
    """Sends to `<endpoint>/v1/logs`, `/v1/metrics` and `/v1/traces`, or to an endpoint for each signal."""

    endpoint: str = ""
    logs_endpoint: str = ""
    metrics_endpoint: str = ""
    traces_endpoint: str = ""
    encoding: Literal["proto", "json"] = "proto"
    sending_queue: QueueConfig = msgspec.field(default_factory=QueueConfig)
    retry_on_failure: RetryConfig = msgspec.field(default_factory=RetryConfig)

    def url(self, signal: Signal) -> str:
        """Where a signal goes, "" for nowhere."""
        own: str = getattr(self, f"{signal}_endpoint")
        if own or not self.endpoint:
            return own
        return self.endpoint.rstrip("/") + otlp.PATHS[signal]

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        for signal in Signal:
            yield from url_problems(f"{signal}_endpoint", getattr(self, f"{signal}_endpoint"))
        if not any(self.url(signal) for signal in Signal):
            yield Problem("endpoint", "there is nothing to send to", 'set endpoint, such as "https://backend:4318"')


def needs(config: OtlpHttpConfig) -> Iterator[Need]:
    """The hosts of all endpoints, and the files of TLS."""
    hosts = {}
    for signal in Signal:
        parts = urlsplit(config.url(signal))
        if parts.hostname:
            hosts[parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)] = True
    for host, port in hosts:
        yield Connects(host, port, "tcp", "OTLP/HTTP")
    for path in (config.tls.ca_file, config.tls.cert_file, config.tls.key_file):
        if path:
            yield Reads(path, "TLS")


class OtlpHttp(OtlpExporter):
    """At most `max_conns_per_host` requests are in flight; further batches wait for their turn."""

    def __init__(self, config: OtlpHttpConfig, context: Context) -> None:
        super().__init__(context)
        self._config = config
        self._client = HttpClient(config, max_response_size=1 << 20)
        self._headers = {"content-type": _CONTENT_TYPES[config.encoding]}
        if encoding := content_encoding(config.compression):
            self._headers["content-encoding"] = encoding
        self._urls = {signal: config.url(signal) for signal in Signal}

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.close()

    def prepare(self, batch: Batch) -> list[Request]:
        """One request. Raises Refused where the signal has no endpoint, or can't be written as JSON."""
        config = self._config
        if not self._urls[batch.signal]:
            raise Refused(f"no endpoint for {batch.signal}: set endpoint or {batch.signal}_endpoint", "no_endpoint")
        try:
            parts = batch.parts() if config.encoding == "proto" else (otlp_json.encode(batch),)
        except WireError as error:
            raise Refused(f"cannot be written as JSON: {error}", "malformed") from None
        body = compress(parts, config.compression, config.compression_params.level)
        return [Request(batch.signal, batch.items, body, self._headers)]

    async def send(self, request: Request) -> None:
        """Return when the backend has answered 2xx. Raises Busy, TooLarge or Refused."""
        url = self._urls[request.signal]
        if not url:
            raise Busy(f"there is no endpoint for {request.signal} any more, and some of them are in the queue")
        response = await self._client.request("POST", url, request.body, request.headers)
        self._judge(response, request.signal, url)

    def restore(self, request: Request) -> Batch:
        """See RequestExporter."""
        data = unpacked(request, request.headers.get("content-encoding", ""))
        if request.headers["content-type"] == _CONTENT_TYPES["json"]:
            return otlp_json.decode(request.signal, data)
        return otlp.decode(request.signal, data)

    def _judge(self, response: ClientResponse, signal: Signal, url: str) -> None:
        """Return for a success; raise Busy, TooLarge or Refused."""
        status = response.status
        if 200 <= status < 300:
            self._look_for_rejected(response, signal, url)
            return
        reason = f"{url} answered {status}: {_said(response)}"
        if status in {401, 403}:
            reason += f"; {self._client.renewed()}"
        if status in _RETRYABLE:
            raise Busy(reason, retry_after(response.headers.get("retry-after", "")))
        if status in _MENDABLE:
            raise Busy(reason)
        raise (TooLarge if status == 413 else Refused)(reason, f"http_{status}")

    def _look_for_rejected(self, response: ClientResponse, signal: Signal, url: str) -> None:
        if not response.body:
            return
        try:
            rejected, message = _partial_success(response, signal)
        except (ValueError, TypeError, AttributeError):
            return  # a 2xx is a 2xx, whatever the body
        self.note_rejected(signal, rejected, message, url)


def _partial_success(response: ClientResponse, signal: Signal) -> tuple[int, str]:
    """Rejected items and message. Raises ValueError where the body is something else."""
    if not response.headers.get("content-type", "").startswith("application/json"):
        return otlp.rejected(response.body)
    partial = msgspec.json.decode(response.body).get("partialSuccess") or {}
    name = {"logs": "rejectedLogRecords", "metrics": "rejectedDataPoints", "traces": "rejectedSpans"}[signal]
    return int(partial.get(name) or 0), str(partial.get("errorMessage") or "")


def _said(response: ClientResponse) -> str:
    """What the body of a failure says: google.rpc.Status in protobuf or JSON, or the beginning of any text."""
    body = response.body[:4096]
    kind = response.headers.get("content-type", "")
    try:
        if kind.startswith("application/x-protobuf"):
            for number, wire_type, _, start, end in walk(body):
                if number == 2 and wire_type == LENGTH:
                    return body[start:end].decode("utf-8", "replace")
        elif kind.startswith("application/json"):
            return str(msgspec.json.decode(body)["message"])
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(body[:300].decode("utf-8", "replace").split()) or "(empty body)"


factory = ExporterFactory("otlphttp", OtlpHttpConfig, OtlpHttp, needs=needs, stability=Stability.BETA)
