"""The `sumologic` exporter: to a Sumo Logic HTTP source or OTLP source.

Keys are those of the `sumologic` exporter of the OpenTelemetry Collector, plus the collection chart's log formats.
docs/sumologic-exporter.md tells users what each format makes of a record.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, field

from hawse import component
from hawse.batch import Batch, Buffer, Group, Remembered, Resource, Signal
from hawse.codecs import otlp, sumo, sumo_metrics
from hawse.codecs.otlp_halves import halves
from hawse.codecs.prometheus_series_shares import Share, divided, packed, unpacked
from hawse.codecs.prometheus_series_shares import points as points_of
from hawse.component import Busy, Connects, Context, ExporterFactory, Need, Problem, Reads, Refused, Request, TooLarge
from hawse.net.ahead import Ahead, Steps
from hawse.net.client import ClientResponse, HttpClient
from hawse.net.compression import Malformed, compress, content_encoding, decompress
from hawse.net.compression import TooLarge as Bomb
from hawse.net.retry import RetryConfig, retry_after
from hawse.net.settings import ClientConfig
from hawse.state.settings import QueueConfig
from hawse.values import ByteSize, Duration, Secret
from hawse.wire import WireError
from hawse.wire import field as wire_field

_COMPLAIN_EVERY = 30.0  # seconds
_LARGEST = 1 << 30  # bytes of a request of ours, decompressed
_LINES = "application/x-www-form-urlencoded"
_METRICS = sumo_metrics.CONTENT_TYPE
_REASON = "Reason"  # of a request that is never sent: why what is in it cannot be


class Config(ClientConfig, frozen=True, kw_only=True):
    """`endpoint` is the URL of the source. Whoever knows it can send, so it is kept secret."""

    endpoint: Annotated[Secret, Meta(description="The URL that Sumo Logic shows for the source.")]
    log_format: Annotated[
        Literal["otlp", "fields", "json", "json_merge", "text"],
        Meta(description="otlp is for an OTLP source, the others for an HTTP source."),
    ] = "otlp"
    metric_format: Annotated[
        Literal["otlp", "prometheus"],
        Meta(description="otlp is for an OTLP source, prometheus (lines of its text) for an HTTP source."),
    ] = "otlp"
    trace_format: Literal["otlp"] = "otlp"
    json_logs: Annotated[sumo.JsonLogs, Meta(description="What a JSON line looks like.")] = field(
        default_factory=sumo.JsonLogs
    )
    max_request_body_size: Annotated[
        ByteSize, Meta(description="Largest body before compression, for the HTTP source.", ge=1)
    ] = ByteSize(1 << 20)
    client: Annotated[str, Meta(description="Sent as X-Sumo-Client.")] = "hawse"
    sending_queue: QueueConfig = field(default_factory=QueueConfig)
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

    __slots__ = ("lines", "resource")

    def __init__(self, resource: Resource) -> None:
        self.resource = bytes(resource.raw)
        self.lines: list[bytes] = []


class _MetricSource:
    """The same for metrics, which keep whose lines these are."""

    __slots__ = ("headers", "lines", "shares")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.lines: list[bytes] = []
        self.shares: list[Share] = []


def _headers(resource: Resource) -> Mapping[str, str]:
    return sumo.source_headers(resource.attributes)


class SumoLogic(component.RequestExporter):
    """Of an HTTP source, a request has the lines of one source: sources go side by side, those of one in order.

    A request that failed is tried again by itself, so what was taken is not sent twice.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._client: HttpClient | None = None
        self._replaced: list[HttpClient] = []
        self._otlp_base = _without_otlp_path(config.endpoint.reveal())
        self._headers_of = Remembered(_headers)
        self._writer = sumo_metrics.Writer()
        self._ahead = Ahead(self._metric_requests)
        self._lines_of: dict[Signal, str] = {}  # what goes as lines, and as which
        if config.log_format != "otlp":
            self._lines_of[Signal.LOGS] = _LINES
        if config.metric_format != "otlp":
            self._lines_of[Signal.METRICS] = _METRICS
        self._complained = float("-inf")
        meter = context.meter
        self._requests = meter.counter("otelcol_exporter_requests_sent", "HTTP requests, by answer's status.")
        self._bytes = meter.counter("otelcol_exporter_requests_bytes", "Their bodies' size, as sent.", "By")
        self._records = meter.counter("otelcol_exporter_requests_records", "Records inside.")

    async def start(self) -> None:
        self._client = HttpClient(self._config)

    async def stop(self) -> None:
        for client in (*self._replaced, self._client):
            if client is not None:
                await client.close()

    def prepare(self, batch: Batch) -> list[Request]:
        """See RequestExporter. A malformed batch is refused before any of it is sent."""
        lines = self._lines_of.get(batch.signal)
        if lines is None:
            headers = {"Content-Type": "application/x-protobuf"}
            return [self._request(batch.signal, batch.items, batch.parts(), headers)]
        if lines == _METRICS:
            return self._ahead.take(batch)
        try:
            sources = self._sources(batch.groups)
        except WireError as error:
            raise Refused(str(error), "malformed") from None
        return [
            self._request(Signal.LOGS, records, [body], {"Content-Type": _LINES}, lane, source.resource)
            for lane, source in enumerate(sources)
            for body, records in sumo.requests(source.lines, self._config.max_request_body_size)
            if body  # a lone empty line is nothing that a source would keep
        ]

    async def warm(self, batch: Batch) -> None:
        """See RequestExporter: lines of metrics take 5 µs each and more."""
        if self._lines_of.get(batch.signal) == _METRICS:
            await self._ahead.warm(batch)

    def _metric_requests(self, batch: Batch) -> Steps:
        """What tells a source of metrics is its name, category and host: all else are labels."""
        found: dict[tuple[tuple[str, str], ...], _MetricSource] = {}
        requests: list[Request] = []
        for group in batch.groups:
            lost: list[sumo_metrics.Lost] = []
            try:
                headers, lines, points = yield from self._writer.lines(group, lost)
            except WireError as error:
                raise Refused(str(error), "malformed") from None
            source = found.setdefault(tuple(headers.items()), _MetricSource(headers))
            source.lines += lines
            source.shares.append(Share(bytes(group.resource.raw), points, len(lines)))
            requests += [self._refusal(group.resource, one) for one in lost]
        for lane, source in enumerate(found.values()):
            shares = source.shares
            for body, lines_ in sumo.requests(source.lines, self._config.max_request_body_size):
                own, shares = divided(shares, lines_)
                if body:
                    requests.append(self._metric_request(body, own, source.headers, lane))
                    yield
        return requests

    def _metric_request(self, body: bytes, shares: list[Share], source: Mapping[str, str], lane: int) -> Request:
        headers = {"Content-Type": _METRICS, **source}
        return self._request(Signal.METRICS, points_of(shares), [body], headers, lane, packed(shares))

    def _refusal(self, resource: Resource, lost: sumo_metrics.Lost) -> Request:
        """Points that can be no lines, as a request that will be refused, and so counted."""
        data = wire_field(2, wire_field(2, lost.metric))
        headers = {"Content-Type": "", _REASON: lost.reason}
        return self._request(Signal.METRICS, lost.points, [data], headers, -1, bytes(resource.raw))

    def _sources(self, groups: Iterable[Group]) -> list[_Source]:
        found: dict[int, _Source] = {}
        form = self._config.log_format
        assert form != "otlp"
        for group in groups:
            headers = self._headers_of(group.resource)
            # The same resource gives the same object; of equal ones that aren't, each gets its own request.
            source = found.get(id(headers))
            if source is None:
                source = found[id(headers)] = _Source(group.resource)
            source.lines += sumo.lines(group, form, self._config.json_logs)
        return list(found.values())

    def _request(
        self,
        signal: Signal,
        records: int,
        parts: Iterable[Buffer],
        headers: dict[str, str],
        lane: int = 0,
        resource: bytes = b"",
    ) -> Request:
        settings = self._config
        if encoding := content_encoding(settings.compression):
            headers["Content-Encoding"] = encoding
        body = compress(parts, settings.compression, settings.compression_params.level)
        return Request(signal, records, body, headers, lane, resource)

    async def send(self, request: Request) -> None:
        """See RequestExporter."""
        client = self._client
        if client is None:
            raise Busy("the sumologic exporter is not running")
        if reason := request.headers.get(_REASON):
            raise Refused(f"a metric that is no Prometheus series: {reason}", reason)
        headers = {**request.headers, "X-Sumo-Client": self._config.client}
        url = self._otlp_base + otlp.PATHS[request.signal]
        if request.headers["Content-Type"] == _LINES:
            url = ""
            headers |= self._headers_of(Resource(request.resource))
        elif request.headers["Content-Type"] == _METRICS:
            url = ""
        status, signal = "0", request.signal.value  # as upstream counts a request without an answer
        try:
            response = await client.request("POST", url, [request.body], headers)
            status = str(response.status)
        finally:
            self._requests.add(1, status_code=status, pipeline=signal)
            self._bytes.add(len(request.body), status_code=status, pipeline=signal)
            self._records.add(request.items, status_code=status, pipeline=signal)
        self._judge(response, client.name(url))

    def split(self, request: Request, *, by_group: bool) -> list[Request]:
        """See RequestExporter. The lines of a source are one group."""
        kind = request.headers["Content-Type"]
        if kind == _METRICS:
            return self._metric_halves(request)
        if _REASON in request.headers:
            return []
        if kind != _LINES:
            return [one for half in halves(self.restore(request), by_group=by_group) for one in self.prepare(half)]
        lines = [] if by_group else _plain(request).split(b"\n")
        at, first = len(lines) // 2, request.items // 2  # a record may have several lines: the middle is a guess
        if not at or not first:
            return []
        headers = {"Content-Type": _LINES}
        return [
            self._request(request.signal, records, [b"\n".join(half)], dict(headers), request.lane, request.resource)
            for half, records in ((lines[:at], first), (lines[at:], request.items - first))
        ]

    def _metric_halves(self, request: Request) -> list[Request]:
        """A line may be at fault: each is by itself."""
        lines = _plain(request).split(b"\n")
        at = len(lines) // 2
        if not at:
            return []
        source = {name: text for name, text in request.headers.items() if name.startswith("X-Sumo-")}
        return [
            self._metric_request(b"\n".join(half), shares, source, request.lane)
            for half, shares in zip((lines[:at], lines[at:]), divided(unpacked(request.resource), at), strict=True)
        ]

    def restore(self, request: Request) -> Batch:
        """See RequestExporter. Of lines only the text is known, and where they came from."""
        data = _plain(request)
        kind = request.headers["Content-Type"]
        resource = Resource(request.resource)
        if _REASON in request.headers:
            return Batch(request.signal, [Group(resource, (data,), request.items)])
        if kind == _METRICS:
            return Batch(request.signal, sumo_metrics.groups(data, unpacked(request.resource)))
        if kind != _LINES:
            return otlp.decode(request.signal, data)
        records = (wire_field(2, wire_field(5, wire_field(1, line))) for line in data.split(b"\n"))
        scopes = wire_field(2, b"".join(records))
        return Batch(request.signal, [Group(resource, (scopes,), request.items)])

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
        if response.status in {400, 413}:
            raise (TooLarge if response.status == 413 else Refused)(reason, f"http_{response.status}")
        if response.status in {401, 403}:
            reason += f"; {self._renew()}"
        raise Busy(reason, retry_after(response.headers.get("retry-after", "")))

    def _renew(self) -> str:
        """Use the endpoint, whose secret is in its path, and what else is secret, as their files have them now."""
        config, old = self._config, self._client
        assert old is not None
        endpoint = config.endpoint.reread()
        if endpoint == config.endpoint:
            said = "it does not know the URL in `endpoint`: compare it with the one Sumo Logic shows for the source"
            return f"{said}; {', '.join(changed)} read again" if (changed := old.renew()) else said
        self._config = msgspec.structs.replace(config, endpoint=endpoint)
        self._otlp_base = _without_otlp_path(endpoint.reveal())
        self._client = HttpClient(self._config)
        self._replaced.append(old)  # others may be waiting for its answers
        return "`endpoint` was read again, and is another one now: using that"


def _plain(request: Request) -> bytes:
    """The body, decompressed. Raises WireError."""
    try:
        return decompress(request.body, request.headers.get("Content-Encoding", ""), _LARGEST)
    except (Malformed, Bomb, KeyError) as error:
        raise WireError(f"not what was sent: {error}") from None


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
