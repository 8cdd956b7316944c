"""Tags as attributes: which stay with the span, which are the resource's, which decide something else.

Most tags come again and again, so what a tag becomes is remembered by its key and value. The rules are those of
OpenTelemetry (collector contrib, pkg/translator/zipkin; specification, trace/sdk_exporters/zipkin and
common/mapping-to-non-otlp).
"""

import re
from typing import TypeAlias

from hawse.batch import AttributeValue
from hawse.codecs.span_writer import SPAN
from hawse.wire import encode_attribute, field

Tag: TypeAlias = tuple[str, AttributeValue]
Kept: TypeAlias = tuple[bytes, int]  # a tag's encoded field of a Span, and one of the roles below
PLAIN, RESOURCE, SPECIAL = range(3)

SERVICE_NAME_SOURCE = "otlp.service.name.source"
SCOPES = (("otel.scope.name", "otel.scope.version"), ("otel.library.name", "otel.library.version"))
DROPPED = {
    "otel.dropped_attributes_count": b"\x50",
    "otel.dropped_events_count": b"\x60",
    "otel.dropped_links_count": b"\x70",
}
LINK = "otlp.link."
_SPECIAL = frozenset({
    "error", "otel.status_code", "otel.status_description", "span.kind", "w3c.tracestate", "http.status_code",
    "http.status_message", "census.status_code", "census.status_description", "opencensus.status_description",
    *SCOPES[0], *SCOPES[1], *DROPPED,
})  # fmt: skip
# What Zipkin exporters of OpenTelemetry put among the tags but is the resource's: the names of its semantic
# conventions for resources, 1.6.1, as the collector has them, and those that came later in Kubernetes.
_RESOURCE = frozenset({
    SERVICE_NAME_SOURCE,
    "opencensus.starttime", "opencensus.exporterversion", "opencensus.resourcetype",
    "cloud.provider", "cloud.account.id", "cloud.region", "cloud.availability_zone", "cloud.platform",
    "cloud.resource_id",
    "aws.ecs.container.arn", "aws.ecs.cluster.arn", "aws.ecs.launchtype", "aws.ecs.task.arn", "aws.ecs.task.family",
    "aws.ecs.task.revision", "aws.eks.cluster.arn", "aws.log.group.names", "aws.log.group.arns",
    "aws.log.stream.names", "aws.log.stream.arns",
    "container.name", "container.id", "container.runtime", "container.image.name", "container.image.tag",
    "deployment.environment", "deployment.environment.name",
    "device.id", "device.model.identifier", "device.model.name", "device.manufacturer",
    "faas.name", "faas.id", "faas.version", "faas.instance", "faas.max_memory",
    "host.id", "host.name", "host.type", "host.arch", "host.image.name", "host.image.id", "host.image.version",
    "k8s.cluster.name", "k8s.node.name", "k8s.node.uid", "k8s.namespace.name", "k8s.pod.uid", "k8s.pod.name",
    "k8s.pod.ip", "k8s.container.name", "k8s.container.restart_count", "k8s.replicaset.uid", "k8s.replicaset.name",
    "k8s.deployment.uid", "k8s.deployment.name", "k8s.statefulset.uid", "k8s.statefulset.name",
    "k8s.daemonset.uid", "k8s.daemonset.name", "k8s.job.uid", "k8s.job.name", "k8s.cronjob.uid", "k8s.cronjob.name",
    "os.type", "os.description", "os.name", "os.version",
    "process.pid", "process.executable.name", "process.executable.path", "process.command", "process.command_line",
    "process.command_args", "process.owner", "process.runtime.name", "process.runtime.version",
    "process.runtime.description",
    "service.name", "service.namespace", "service.instance.id", "service.version",
    "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version", "telemetry.auto.version",
    "telemetry.distro.name", "telemetry.distro.version",
    "webengine.name", "webengine.version", "webengine.description",
})  # fmt: skip

_MOST_KEPT = 8192  # tags; some 400 bytes each
_LONGEST_KEPT = 160  # characters of a tag that is remembered
_INTEGER = re.compile("-?[0-9]+")
_DOUBLE = re.compile(r"-?[0-9]+\.[0-9]+")


class Tags(dict[Tag, Kept]):
    """What tags become: fills itself. Values that are no text are not looked up here (1 and True are one key)."""

    def __init__(self, *, parse_strings: bool = False) -> None:
        """`parse_strings` makes numbers and booleans of texts that look like them."""
        super().__init__()
        self._parse_strings = parse_strings

    def __missing__(self, tag: Tag) -> Kept:
        kept = self.keep(*tag)
        if len(tag[0]) + len(str(tag[1])) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[tag] = kept
        return kept

    def keep(self, key: str, value: AttributeValue) -> Kept:
        """What a tag becomes, not looked up."""
        if key in _SPECIAL or key.startswith(LINK):
            return self.encoded(key, value), SPECIAL
        if key in _RESOURCE:
            return b"", RESOURCE
        return self.encoded(key, value), PLAIN

    def encoded(self, key: str, value: AttributeValue) -> bytes:
        """A tag as an attribute, in its field of a Span."""
        if self._parse_strings and isinstance(value, str):
            value = typed(value)
        return field(SPAN, encode_attribute(key, fitting(value)))


def typed(value: str) -> AttributeValue:
    """A text as the number or boolean that it looks like. Numbers that do not fit stay texts."""
    if value in {"true", "false"}:
        return value == "true"
    if len(value) <= 20 and _INTEGER.fullmatch(value):
        number = int(value)
        return number if -(1 << 63) <= number < 1 << 63 else value
    if len(value) <= 400 and _DOUBLE.fullmatch(value):
        return float(value)
    return value


def fitting(value: AttributeValue) -> AttributeValue:
    """A value as an attribute can have it: integers beyond 64 bits become doubles, as JSON's readers have them."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        try:
            return float(value)
        except OverflowError:
            return str(value)
    if isinstance(value, list):
        return [fitting(item) for item in value]
    return value


def text(value: AttributeValue) -> str:
    """A tag's value as text, whatever its type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else "" if value is None else str(value)
