"""The `sumologic` exporter: to a Sumo Logic HTTP source or OTLP source.

Keys are those of the `sumologic` exporter of the OpenTelemetry Collector, plus the collection chart's log formats.
docs/sumologic-exporter.md tells users what each format makes of a record.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, field

from hawse import component
from hawse.batch import Batch, Buffer, Group, Remembered, Resource, Signal
from hawse.codecs import otlp, sumo
from hawse.component import Busy, Connects, Context, ExporterFactory, Need, Problem, Reads, Refused
from hawse.net.client import ClientResponse, HttpClient
from hawse.net.compression import compress, content_encoding
from hawse.net.retry import RetryConfig, deliver, retry_after
from hawse.net.settings import ClientConfig
from hawse.values import ByteSize, Duration, Secret
from hawse.wire import WireError

_COMPLAIN_EVERY = 30.0  # seconds


class Config(ClientConfig, frozen=True, kw_only=True):
    """`endpoint` is the URL of the source. Whoever knows it can send, so it is kept secret."""

    endpoint: Annotated[Secret, Meta(description="The URL that Sumo Logic shows for the source.")]
    log_format: Annotated[
        Literal["otlp", "fields", "json", "json_merge", "text"],
        Meta(description="otlp is for an OTLP source, the others for an HTTP source."),
    ] = "otlp"
    metric_format: Literal["otlp"] = "otlp"
    trace_format: Literal["otlp"] = "otlp"
    json_logs: Annotated[sumo.JsonLogs, Meta(description="What a JSON line looks like.")] = field(
        default_factory=sumo.JsonLogs
    )
    max_request_body_size: Annotated[
        ByteSize, Meta(description="Largest body before compression, for the HTTP source.", ge=1)
    ] = ByteSize(1 << 20)
    client: Annotated[str, Meta(description="Sent as X-Sumo-Client.")] = "hawse"
    retry_on_failure: RetryConfig = field(
        default_factory=lambda: RetryConfig(initial_interval=Duration(5), max_interval=Duration(30))
    )

    def problems(self) -> Iterator[Problem]:
        if not self.endpoint:
            yield Problem("endpoint", "is empty", "give the URL of the source, such as ${env:SUMOLOGIC_ENDPOINT}")
        yield from super().problems()


def needs(config: Config) -> Iterator[Need]:
    url = urlsplit(config.endpoint.reveal())
    port = url.port or (443 if url.scheme == "https" else 80)
    yield Connects(url.hostname or "", port, "tcp", "Sumo Logic")
    for path in (config.tls.ca_file, config.tls.cert_file, config.tls.key_file):
        if path:
            yield Reads(path, "TLS")


class _Source:
    """The lines of all groups of a batch that go out with the same headers."""

    __slots__ = ("headers", "lines")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.lines: list[bytes] = []


def _headers(resource: Resource) -> Mapping[str, str]:
    return {"Content-Type": "application/x-www-form-urlencoded", **sumo.source_headers(resource.attributes)}


class SumoLogic(component.Exporter):
    """Posts a batch and returns when all of it was taken.

    Lines of an HTTP source go out per source: sources side by side, the requests of one in order. A request that
    failed is tried again by itself, so what was taken is not sent twice while the batch is held here.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._client: HttpClient | None = None
        self._otlp_base = _without_otlp_path(config.endpoint.reveal())
        self._headers_of = Remembered(_headers)
        self._complained = float("-inf")
        meter = context.meter
        self._requests = meter.counter("otelcol_exporter_requests_sent", "HTTP requests, by answer's status.")
        self._bytes = meter.counter("otelcol_exporter_requests_bytes", "Their bodies' size, as sent.", "By")
        self._records = meter.counter("otelcol_exporter_requests_records", "Records inside.")

    async def start(self) -> None:
        self._client = HttpClient(self._config)

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def consume(self, batch: Batch) -> None:
        """See Consumer. A malformed batch is refused before any of it is sent."""
        if batch.signal is not Signal.LOGS or self._config.log_format == "otlp":
            await self._send_otlp(batch)
            return
        try:
            sources = self._sources(batch.groups)
        except WireError as error:
            raise Refused(str(error)) from None
        outcomes = await asyncio.gather(*(self._send_lines(source) for source in sources), return_exceptions=True)
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        # What is busy comes again as a whole; it says nothing of what was refused, which then is refused again.
        for failure in sorted(failed, key=lambda failure: isinstance(failure, Refused)):
            raise failure

    async def _send_otlp(self, batch: Batch) -> None:
        await self._send(
            self._otlp_base + otlp.PATHS[batch.signal],
            compress(batch.parts(), self._config.compression, self._config.compression_params.level),
            {"Content-Type": "application/x-protobuf"},
            batch.signal,
            batch.items,
        )

    def _sources(self, groups: Iterable[Group]) -> list[_Source]:
        found: dict[int, _Source] = {}
        form = self._config.log_format
        assert form != "otlp"
        for group in groups:
            headers = self._headers_of(group.resource)
            # The same resource gives the same object; of equal ones that aren't, each gets its own request.
            source = found.get(id(headers))
            if source is None:
                source = found[id(headers)] = _Source(headers)
            source.lines += sumo.lines(group, form, self._config.json_logs)
        return list(found.values())

    async def _send_lines(self, source: _Source) -> None:
        settings = self._config
        for body, records in sumo.requests(source.lines, settings.max_request_body_size):
            if body:  # a lone empty line is nothing that a source would keep
                packed = compress([body], settings.compression, settings.compression_params.level)
                await self._send("", packed, source.headers, Signal.LOGS, records)

    async def _send(self, url: str, body: Buffer, headers: Mapping[str, str], signal: Signal, records: int) -> None:
        sent = {**headers, "X-Sumo-Client": self._config.client}
        encoding = content_encoding(self._config.compression)
        if encoding:
            sent["Content-Encoding"] = encoding
        client = self._client
        if client is None:
            raise Busy("the sumologic exporter is not running")

        async def attempt() -> None:
            status = "0"  # as upstream counts a request without an answer
            try:
                response = await client.request("POST", url, [body], sent)
                status = str(response.status)
            finally:
                self._requests.add(1, status_code=status, pipeline=signal.value)
                self._bytes.add(len(body), status_code=status, pipeline=signal.value)
                self._records.add(records, status_code=status, pipeline=signal.value)
            self._judge(response, client.name(url))

        await deliver(attempt, self._config.retry_on_failure, self._log)

    def _judge(self, response: ClientResponse, where: str) -> None:
        """Return, or raise Busy or Refused, by Sumo Logic's answer."""
        told = _told(response)
        if response.status in {200, 204}:
            now = time.monotonic()
            if told and now - self._complained >= _COMPLAIN_EVERY:
                self._complained = now
                self._log.warning("%s took the data, but says: %s", where, told)
            return
        reason = f"{where} answered {response.status}" + (f": {told}" if told else "")
        if response.status == 400:
            raise Refused(reason)
        if response.status == 401:
            reason += (
                "; it does not know the URL in `endpoint`: compare it with the one Sumo Logic shows for the source"
            )
        raise Busy(reason, retry_after(response.headers.get("retry-after", "")))


class _Complaint(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Answer(msgspec.Struct):
    """The JSON of an answer that is not plain success."""

    id: str = ""
    code: str = ""
    message: str = ""
    errors: list[_Complaint] = []


def _told(response: ClientResponse) -> str:
    """What an answer says, in a line. Empty for an empty one, and for an OTLP source's that says "all taken"."""
    body = response.body
    if response.headers.get("content-type", "").startswith("application/x-protobuf"):
        return _rejected(body) if response.status == 200 else ""
    if not body.strip():
        return ""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body[:200].decode("utf-8", "replace").strip()
    parts = [answer.code, answer.message, *(f"{error.code} {error.message}".strip() for error in answer.errors)]
    return ", ".join(part for part in (*parts, f"id {answer.id}" if answer.id else "") if part)


def _rejected(body: bytes) -> str:
    try:
        items, message = otlp.rejected(body)
    except WireError:
        return ""
    return f"{items} items rejected: {message}" if items else message


def _without_otlp_path(url: str) -> str:
    """The endpoint without /v1/logs (or its like), which is added for each signal."""
    base = url.rstrip("/")
    for path in otlp.PATHS.values():
        base = base.removesuffix(path)
    return base.rstrip("/")


factory = ExporterFactory("sumologic", Config, SumoLogic, needs=needs)
