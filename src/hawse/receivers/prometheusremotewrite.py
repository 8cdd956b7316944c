"""Takes Prometheus remote write, 1.0 and 2.0 (prometheus.io/docs/specs/prw), and makes OTLP metrics of it.

The answer tells what became of the samples: 204 means that they are safe, 503 that the client should keep them and try
again, 400 that they (or those that the text names) will never be taken. Memory that is used up is 503 here as well:
by default, Prometheus throws away what is answered with 429. docs/remote-write.md tells users the rest.
"""

import re
import time
from collections.abc import Iterator, Mapping
from math import ceil
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta, field

from hawse.batch import Batch, Signal
from hawse.codecs import remote_write_1, remote_write_2
from hawse.codecs.otlp import TooMany
from hawse.codecs.remote_write import Limits, NoRoom, Written
from hawse.codecs.remote_write_memory import Memory
from hawse.component import (
    Busy,
    Consumer,
    Context,
    Listens,
    Need,
    Problem,
    Reads,
    Receiver,
    ReceiverFactory,
    Refused,
    Stability,
)
from hawse.net.budget import Budget
from hawse.net.compression import Malformed, TooLarge, decompress
from hawse.net.http import HttpError, Request, Response
from hawse.net.server import HttpServers
from hawse.net.settings import ServerConfig, split_endpoint
from hawse.values import ByteSize
from hawse.wire import WireError

# --- what the user writes ---------------------------------------------------------------------------------------------

_RESOURCE_LABELS = {
    "namespace": "k8s.namespace.name",
    "pod": "k8s.pod.name",
    "container": "k8s.container.name",
    "node": "k8s.node.name",
}


class PrometheusRemoteWriteConfig(ServerConfig, frozen=True):
    """Receives metrics that Prometheus and its like send by remote write, versions 1.0 and 2.0."""

    endpoint: str = "localhost:9090"
    path: Annotated[str, Meta(description="Where metrics are posted.")] = "/api/v1/write"
    resource_labels: Annotated[
        dict[str, str],
        Meta(description="Labels that are copied to the resource, and under which name: by them pods are found."),
    ] = field(default_factory=lambda: dict(_RESOURCE_LABELS))
    max_request_items: Annotated[int, Meta(ge=1, description="Samples of a request; the like of them count, too.")] = (
        200_000
    )
    series_cache_size: Annotated[
        ByteSize,
        Meta(description="Bytes in which series are remembered, about 900 each; at most a quarter of memory_limit."),
    ] = ByteSize(128 << 20)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if not self.path.startswith("/"):
            yield Problem("path", f"{self.path!r} does not begin with a slash", f"write {'/' + self.path!r}")
        names = list(self.resource_labels.values())
        for label, name in self.resource_labels.items():
            if not label or not name:
                yield Problem("resource_labels", "a label or an attribute has no name", "give it one")
            elif names.count(name) > 1 or name in {"service.name", "service.instance.id"}:
                fix = "give each label an attribute of its own; job and instance have theirs already"
                yield Problem(f"resource_labels.{label}", f"{name!r} is given out twice", fix)


def needs(config: PrometheusRemoteWriteConfig) -> Iterator[Need]:
    """The port, and the files of TLS."""
    host, port = split_endpoint(config.endpoint)
    yield Listens(port, "tcp", "Prometheus remote write", host or "0.0.0.0")
    tls = config.tls
    for path in (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ():
        if path:
            yield Reads(path, "TLS")


# --- what it does -----------------------------------------------------------------------------------------------------

_PROTOBUF = "application/x-protobuf"
_MESSAGES = {"prometheus.WriteRequest": 1, "io.prometheus.write.v2.Request": 2}
_PROTO = re.compile(r';\s*proto\s*=\s*"?([^";]*)"?', re.IGNORECASE)
_COMPLAIN_EVERY = 30.0  # seconds
_RETRY_AFTER = 1.0  # seconds, where whoever is busy doesn't say
_UNFOLDED = 4  # OTLP may take as many times the largest body
_NOTHING: Mapping[str, str] = MappingProxyType({})


class PrometheusRemoteWrite(Receiver):
    """Listens while it is started. `port` is the port bound, which matters where port 0 was asked for."""

    def __init__(
        self, config: PrometheusRemoteWriteConfig, context: Context, outputs: Mapping[Signal, Consumer]
    ) -> None:
        self._config = config
        self._context = context
        self._output = outputs[Signal.METRICS]
        self._servers: HttpServers = context.shared(HttpServers)
        self._budget: Budget = context.shared(Budget)
        size = min(config.series_cache_size, self._budget.memory_limit // 4)
        self._memory = Memory(size, config.resource_labels)
        meter = context.meter
        self._malformed = meter.counter("hawse_receiver_malformed_requests", "Requests that are no remote write.")
        self._invalid = meter.counter(
            "hawse_receiver_invalid_samples", "Samples, histograms and exemplars that no series can have, by reason."
        )
        self._lonely = meter.counter(
            "hawse_receiver_dropped_exemplars", "Exemplars without a sample of their series in the same request."
        )
        forms = self._memory.forms
        meter.gauge("hawse_receiver_series_cached", "Series remembered.", lambda: len(forms))
        meter.gauge("hawse_receiver_series_cache_bytes", "What they take.", lambda: self._memory.usage.bytes)
        self._complained = float("-inf")
        self.port = 0

    async def start(self) -> None:
        """Bind the port."""
        routes = {("POST", self._config.path): self._take}
        self.port = await self._servers.mount(self._config, routes, owner=self._context.id, explain=explain)
        self._context.log.info("listening for Prometheus remote write on %s", self._config.endpoint)

    async def stop(self) -> None:
        """Take no more, and answer what has been taken."""
        await self._servers.unmount(self._context.id)

    async def _take(self, request: Request) -> Response:
        version = version_of(request)
        if not version:
            known = ", ".join(_MESSAGES)
            return _text(415, f"content-type is not that of remote write: send {_PROTOBUF};proto= one of {known}")
        limits = Limits(
            self._config.max_request_items, _UNFOLDED * self._config.max_request_body_size, self._budget.acquire
        )
        try:
            read = remote_write_1.read if version == 1 else remote_write_2.read
            written = await read(self._body(request), self._memory, limits)
            return await self._hand_on(written, version, request.peer)
        except NoRoom as full:
            raise HttpError(503, str(full), {"retry-after": "1"}, limit="memory_limit") from None
        except TooMany as error:
            self._malformed.add(1)
            return self._refuse(413, f"{error} (max_request_items, max_request_body_size)", request.peer)
        except WireError as error:
            self._malformed.add(1)
            return self._refuse(400, f"malformed request: {error}", request.peer)
        finally:
            self._budget.release(limits.held)

    def _body(self, request: Request) -> bytes:
        """The message. Senders that do not say how they compress it mean snappy. Raises WireError, HttpError."""
        if "content-encoding" in request.headers or not request.body:
            return request.body
        try:
            return decompress(request.body, "snappy", self._config.max_request_body_size)
        except Malformed as error:
            raise WireError(str(error)) from None
        except TooLarge as error:
            raise HttpError(413, error.message, limit=error.limit) from None

    async def _hand_on(self, written: Written, version: int, peer: str) -> Response:
        told = _counts(written) if version == 2 else _NOTHING
        nothing = _counts(Written()) if version == 2 else _NOTHING
        size = sum(group.nbytes for group in written.groups)
        if size and not self._budget.acquire(size):
            raise NoRoom("as much is in flight as memory allows")
        try:
            if written.groups:
                # Without the peer: it is Prometheus' pod, and no association may take it for that of the series.
                await self._output.consume(Batch(Signal.METRICS, written.groups))
        except Busy as busy:
            wait = _RETRY_AFTER if busy.retry_after is None else busy.retry_after
            return _text(503, busy.reason, {"retry-after": str(max(1, ceil(wait))), **nothing})
        except Refused as refused:
            return _text(400, refused.reason, nothing)
        finally:
            self._budget.release(size)
        return self._left_out(written, peer, told) or Response(204, headers=told)

    def _left_out(self, written: Written, peer: str, told: Mapping[str, str]) -> Response | None:
        """Count what could not be taken, and the answer where there is such."""
        if written.lonely:
            self._lonely.add(written.lonely)
        for reason, count in written.invalid.items():
            self._invalid.add(count, reason=reason)
        if not written.invalid:
            return None
        count = sum(written.invalid.values())
        message = f"left out {count} that cannot be taken, took the others; the first of them: {written.message}"
        return self._refuse(400, message, peer, told)

    def _refuse(self, status: int, message: str, peer: str, headers: Mapping[str, str] = _NOTHING) -> Response:
        """Answer, and tell now and then: a broken client goes on without end."""
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN_EVERY:
            self._complained = now
            self._context.log.warning("%s, from %s, answered with %d", message, peer or "an unknown address", status)
        return _text(status, message, headers)


def version_of(request: Request) -> int:
    """1 or 2, or 0 for a message that is not spoken here. Without a `proto` parameter it is 1."""
    if request.content_type != _PROTOBUF:
        return 0
    found = _PROTO.search(request.headers.get("content-type", ""))
    return _MESSAGES.get(found[1].strip(), 0) if found else 1


def explain(request: Request, error: HttpError) -> Response:  # noqa: ARG001
    """A refusal of the server's own: what is to be sent again later must not be answered with 429."""
    response = error.response
    if response.status != 429:
        return response
    return Response(503, response.body, {"retry-after": "1", **response.headers}, response.content_type)


def _counts(written: Written) -> dict[str, str]:
    prefix = "x-prometheus-remote-write"
    return {
        f"{prefix}-samples-written": str(written.samples),
        f"{prefix}-histograms-written": str(written.histograms),
        f"{prefix}-exemplars-written": str(written.exemplars),
    }


def _text(status: int, message: str, headers: Mapping[str, str] = _NOTHING) -> Response:
    return Response(status, message + "\n", headers, "text/plain; charset=utf-8")


factory = ReceiverFactory(
    "prometheusremotewrite",
    PrometheusRemoteWriteConfig,
    PrometheusRemoteWrite,
    signals={Signal.METRICS},
    needs=needs,
    stability=Stability.BETA,
)
