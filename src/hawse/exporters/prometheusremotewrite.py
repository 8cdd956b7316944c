"""Hands metrics to Prometheus, Mimir, Thanos or any other receiver of Prometheus' remote write, 1.0 or 2.0.

Keys are those of the `prometheusremotewrite` exporter of the OpenTelemetry Collector, with Hawse's `sending_queue`.
docs/remote-write.md tells users what a metric becomes.
"""

import re
import time
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field

from hawse.batch import Batch, Group, Resource, Signal
from hawse.codecs.prometheus_series import Settings
from hawse.codecs.prometheus_series_shares import Share, packed, unpacked
from hawse.codecs.remote_write_encode import Encoder, Lost, Written
from hawse.codecs.remote_write_encode_parts import contents, encoded, groups, halves
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
    RequestExporter,
    Section,
    TooLarge,
)
from hawse.net.ahead import Ahead, Steps
from hawse.net.client import ClientResponse, HttpClient
from hawse.net.compression import Malformed, compress, decompress
from hawse.net.compression import TooLarge as Bomb
from hawse.net.lanes import Lanes
from hawse.net.retry import RetryConfig, retry_after
from hawse.net.settings import ClientConfig
from hawse.state.settings import QueueConfig
from hawse.values import ByteSize
from hawse.wire import Buffer, WireError

# What an administrator can mend while the data waits: wrong credentials, a receiver that is not switched on yet. The
# protocol's other 4xx are about the data.
_MENDABLE = frozenset({401, 403, 404, 405, 407, 408})
_MESSAGES = {1: "prometheus.WriteRequest", 2: "io.prometheus.write.v2.Request"}
_HEADERS = {
    1: {"content-type": "application/x-protobuf", "x-prometheus-remote-write-version": "0.1.0"},
    2: {
        "content-type": f"application/x-protobuf;proto={_MESSAGES[2]}",
        "x-prometheus-remote-write-version": "2.0.0",
    },
}
_RESERVED = frozenset({"content-encoding", "content-type", "x-prometheus-remote-write-version", "user-agent"})
_WRITTEN = {kind: f"x-prometheus-remote-write-{kind}-written" for kind in ("samples", "histograms", "exemplars")}
_REASONS = {
    "delta_temporality": "delta temporality is nothing that Prometheus knows: let the sender use cumulative",
    "no_name": "a metric without a name",
    "no_data": "a metric without data",
    "no_value": "a data point without a value",
    "buckets_without_bounds": "a histogram whose buckets and bounds do not match",
    "bound_is_nan": "a histogram with a bound that is no number",
    "scale_below_-4": "an exponential histogram with a scale below -4, which native histograms do not have",
    "too_many_buckets": "a histogram with more than 4,096 buckets, an exponential one with more than 65,536",
    "too_many_quantiles": "a summary with more than 4,096 quantiles",
}
_COMPLAIN_EVERY = 30.0  # seconds
_LARGEST = 1 << 30  # bytes of a request of ours, decompressed
_RETRY_MARGIN = 5.0  # seconds that a request tried again may come late before others overtake it


class Switch(Section, frozen=True):
    """Off unless it says otherwise."""

    enabled: bool = False


class TargetInfo(Section, frozen=True):
    """The `target_info` series, which has a resource's attributes as labels."""

    enabled: bool = True


class ResourceToTelemetry(Section, frozen=True):
    """All attributes of resources as labels on every series."""

    enabled: bool = False
    exclude_service_attributes: Annotated[
        bool,
        Meta(description="But service.name, service.namespace and service.instance.id, which are job and instance."),
    ] = False


class RemoteWriteQueue(Section, frozen=True):
    """OpenTelemetry's queue of this exporter. Hawse's is `sending_queue`; here, only `num_consumers` counts."""

    enabled: Annotated[bool, Meta(description="Of no effect: see sending_queue.")] = True
    queue_size: Annotated[int, Meta(ge=0, description="Of no effect: see sending_queue.")] = 10_000
    num_consumers: Annotated[
        int, Meta(ge=1, le=1024, description="Lanes: requests side by side. A target's series are always in the same.")
    ] = 5


class Config(ClientConfig, frozen=True, kw_only=True):
    """`endpoint` is the URL that takes remote write, such as http://prometheus:9090/api/v1/write."""

    endpoint: str
    compression: Annotated[
        Literal["snappy", "none", ""], Meta(description="Of no effect: remote write is always snappy.")
    ] = "snappy"  # type: ignore[assignment]
    protobuf_message: Annotated[
        Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"],
        Meta(description="Remote write 1.0 or 2.0. A receiver that does not know 2.0 gets 1.0."),
    ] = "prometheus.WriteRequest"
    namespace: Annotated[
        str, Meta(pattern=r"^([a-zA-Z_:][a-zA-Z0-9_:]*)?$", description="In front of every metric's name.")
    ] = ""
    external_labels: Annotated[
        dict[str, str], Meta(description="Labels for every series that has none of the name.")
    ] = field(default_factory=dict)
    add_metric_suffixes: Annotated[
        bool, Meta(description="Unit and type in the names of metrics that did not come from Prometheus.")
    ] = True
    send_metadata: Annotated[bool, Meta(description="Type, help and unit with 1.0, too; 2.0 always has them.")] = False
    disable_scope_info: Annotated[
        bool, Meta(description="No otel_scope_ labels on metrics that did not come from Prometheus.")
    ] = False
    target_info: TargetInfo = field(default_factory=TargetInfo)
    export_created_metric: Annotated[Switch, Meta(description="Series `x_created`, where a start time is known.")] = (
        field(default_factory=Switch)
    )
    resource_to_telemetry_conversion: ResourceToTelemetry = field(default_factory=ResourceToTelemetry)
    max_batch_size_bytes: Annotated[
        ByteSize, Meta(description="About the largest request before compression.", ge=1)
    ] = ByteSize(3_000_000)
    series_cache_size: Annotated[
        ByteSize, Meta(description="Memory for what is known of series; those beyond are worked out at every scrape.")
    ] = ByteSize(128 << 20)
    remote_write_queue: RemoteWriteQueue = field(default_factory=RemoteWriteQueue)
    sending_queue: QueueConfig = field(default_factory=QueueConfig)
    retry_on_failure: RetryConfig = field(default_factory=RetryConfig)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if not self.endpoint:
            yield Problem("endpoint", "is empty", "give the URL, such as http://prometheus:9090/api/v1/write")
        for name in self.headers:
            if name.lower() in _RESERVED:
                yield Problem(f"headers.{name}", f"{name!r} is the protocol's own", "remove it")
        for name, text in self.external_labels.items():
            if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name == "__name__":
                yield Problem(f"external_labels.{name}", f"{name!r} is no label name", "use letters, digits and _")
            elif not text:
                yield Problem(f"external_labels.{name}", "an empty label is no label", "give it a value or remove it")

    @property
    def version(self) -> int:
        """Of the protocol."""
        return 2 if self.protobuf_message == _MESSAGES[2] else 1

    def settings(self) -> Settings:
        """What the codec is told."""
        conversion = self.resource_to_telemetry_conversion
        return Settings(
            namespace=self.namespace,
            add_metric_suffixes=self.add_metric_suffixes,
            external_labels=self.external_labels,
            target_info=self.target_info.enabled,
            resource_labels=conversion.enabled,
            exclude_service_attributes=conversion.exclude_service_attributes,
            scope_labels=not self.disable_scope_info,
            created=self.export_created_metric.enabled,
        )


def needs(config: Config) -> Iterator[Need]:
    url = urlsplit(config.endpoint)
    yield Connects(url.hostname or "", url.port or (443 if url.scheme == "https" else 80), "tcp", "remote write")
    for path in (config.tls.ca_file, config.tls.cert_file, config.tls.key_file):
        if path:
            yield Reads(path, "TLS")


class PrometheusRemoteWrite(RequestExporter):
    """All series of a target are in one lane, and a lane's requests arrive in the order in which they were made.

    Receivers refuse a sample that is older than one they have of its series: a request that is tried again holds up
    what was made later for the same targets, and nothing else.
    """

    def __init__(self, config: Config, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._client: HttpClient | None = None
        self._lanes = Lanes()
        self._ahead = Ahead(self._preparing)
        self._encoder = self._make_encoder(config.version)
        self._version = config.version
        self._complained = float("-inf")
        meter, name = context.meter, "exporter_prometheusremotewrite"
        self._translated = meter.counter(f"{name}_translated_time_series", "Series that metrics were made to.")
        self._requests = meter.counter(f"{name}_sent_batch_count", "Requests sent, by answer's status.")
        self._counted = {
            kind: meter.counter(f"{name}_written_{kind}", f"What a receiver of 2.0 says to have written of {kind}.")
            for kind in _WRITTEN
        }

    def _make_encoder(self, version: int) -> Encoder:
        config = self._config
        return Encoder(
            config.settings(),
            version,
            largest=int(config.max_batch_size_bytes),
            lanes=config.remote_write_queue.num_consumers,
            metadata=config.send_metadata,
            most=int(config.series_cache_size),
        )

    async def start(self) -> None:
        """Read the files of TLS."""
        self._client = HttpClient(self._config)

    async def stop(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    # --- requests

    async def warm(self, batch: Batch) -> None:
        """See RequestExporter. Twenty thousand series that nobody knows take a tenth of a second and more."""
        if batch.signal is Signal.METRICS:
            await self._ahead.warm(batch)

    def prepare(self, batch: Batch) -> list[Request]:
        """See RequestExporter. What cannot be series is a request of its own, which will be refused, and so counted."""
        if batch.signal is not Signal.METRICS:
            raise Refused(f"remote write takes metrics, no {batch.signal}", "no_metrics")
        return self._ahead.take(batch)

    def _preparing(self, batch: Batch) -> Steps:
        made, version = time.time_ns(), self._version
        try:
            written, lost = yield from self._encoder.encoding(batch)
        except WireError as error:
            raise Refused(str(error), "malformed") from None
        self._translated.add(sum(share.series for one in written for share in one.shares))
        requests = []
        for number, one in enumerate(written):
            requests.append(self._request(one, version, made + number))
            yield
        return requests + [_lost(one) for one in lost]

    def _request(self, written: Written, version: int, made: int) -> Request:
        headers = {"version": str(version), "made": str(made)}
        body = _squeezed(written.body)
        shares = _squeezed(packed(written.shares))
        return Request(Signal.METRICS, written.points, body, headers, written.lane, shares)

    def split(self, request: Request, *, by_group: bool) -> list[Request]:  # noqa: ARG002
        """See RequestExporter. Any series may be at fault: most receivers take the others, and take them twice."""
        version = int(request.headers.get("version", 0))
        if not version:
            return []
        made = int(request.headers["made"])
        parts = halves(_plain(request), version, _shares(request))
        return [self._request(Written(body, request.lane, shares), version, made) for body, shares in parts]

    def restore(self, request: Request) -> Batch:
        """See RequestExporter. A series comes back as a gauge of its name."""
        body = _plain(request)
        if "reason" in request.headers:
            return Batch(request.signal, [Group(Resource(request.resource), (body,), request.items)])
        return Batch(request.signal, groups(body, int(request.headers["version"]), _shares(request)))

    # --- sending

    async def send(self, request: Request) -> None:
        """See RequestExporter."""
        reason = request.headers.get("reason")
        if reason is not None:
            raise Refused(_REASONS.get(reason, reason), reason)
        retry = self._config.retry_on_failure
        patience = retry.max_interval + _RETRY_MARGIN if retry.enabled else 0.0
        async with self._lanes.turn(request.lane, int(request.headers["made"]), patience):
            await self._send(request)

    async def _send(self, request: Request) -> None:
        version = int(request.headers["version"])
        if version == 2 and self._version == 1:
            request, version = _downgraded(request), 1
        response = await self._post(request.body, version)
        silent = not any(name in response.headers for name in _WRITTEN.values())
        if version == 2 and (response.status == 415 or (200 <= response.status < 300 and silent)):
            self._fall_back(response.status)
            response = await self._post(_downgraded(request).body, 1)
            version = 1
        self._judge(response)
        if version == 2:
            self._count(request, response)

    async def _post(self, body: bytes, version: int) -> ClientResponse:
        if self._client is None:
            raise Busy("the prometheusremotewrite exporter is not running")
        status = "0"
        try:
            response = await self._client.request("POST", "", body, {"content-encoding": "snappy", **_HEADERS[version]})
            status = str(response.status)
        finally:
            self._requests.add(1, status_code=status)
        return response

    def _count(self, request: Request, response: ClientResponse) -> None:
        """A receiver of 2.0 that took a request says what it has written, which must be all of it."""
        told = {kind: response.headers.get(name, "") for kind, name in _WRITTEN.items()}
        numbers = {kind: int(text) if text.isdecimal() else 0 for kind, text in told.items()}
        for kind, number in numbers.items():
            self._counted[kind].add(number)
        sent = sum(share.series for share in _shares(request))
        missing = sent - numbers["samples"] - numbers["histograms"]
        now = time.monotonic()
        if missing > 0 and now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            self._log.warning(
                "%s took a request but wrote only %d of its %d samples", self._config.endpoint, sent - missing, sent
            )

    def _fall_back(self, status: int) -> None:
        """Use 1.0 from now on. A receiver of 1.0 may take a request of 2.0 for an empty one, and say 204."""
        if self._version == 2:
            self._version = 1
            self._encoder = self._make_encoder(1)
            said = "415" if status == 415 else f"{status} without saying what it has written"
            self._log.warning("%s answered %s to remote write 2.0: using 1.0", self._config.endpoint, said)

    def _judge(self, response: ClientResponse) -> None:
        """Return for a success; raise Busy, TooLarge or Refused."""
        status = response.status
        if 200 <= status < 300:
            return
        told = " ".join(response.body[:500].decode("utf-8", "replace").split()) or "(empty body)"
        reason = f"{self._config.endpoint} answered {status}: {told}"
        if status in {401, 403}:
            assert self._client is not None
            reason += f"; {self._client.renewed()}"
        if status == 429 or status >= 500:
            raise Busy(reason, retry_after(response.headers.get("retry-after", "")))
        if status in _MENDABLE or status < 400:
            raise Busy(reason)
        raise (TooLarge if status == 413 else Refused)(reason, f"http_{status}")


def _squeezed(body: Buffer) -> bytes:
    return compress([body], "snappy")


def _lost(lost: Lost) -> Request:
    body = _squeezed(lost.data)
    return Request(Signal.METRICS, lost.points, body, {"reason": lost.reason}, -1, lost.resource)


def _plain(request: Request) -> bytes:
    """The body, decompressed. Raises WireError."""
    return _unfolded(request.body)


def _unfolded(body: bytes) -> bytes:
    try:
        return decompress(body, "snappy", _LARGEST)
    except (Malformed, Bomb) as error:
        raise WireError(f"not what was sent: {error}") from None


def _shares(request: Request) -> list[Share]:
    return unpacked(_unfolded(request.resource))


def _downgraded(request: Request) -> Request:
    """The same for a receiver of 1.0."""
    body = _squeezed(encoded(contents(_plain(request), 2), 1))
    return Request(
        request.signal, request.items, body, {**request.headers, "version": "1"}, request.lane, request.resource
    )


factory = ExporterFactory("prometheusremotewrite", Config, PrometheusRemoteWrite, needs=needs, signals={Signal.METRICS})
