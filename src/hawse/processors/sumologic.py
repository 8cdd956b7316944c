"""The `sumologic` processor: resource attributes under the names that Sumo Logic's apps expect.

Keys and names are those of the `sumologic` processor of the OpenTelemetry Collector. Records are never looked at.
"""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from hawse import component
from hawse.batch import Batch, Remembered, Resource, Signal
from hawse.component import Consumer, Context, Problem, ProcessorFactory, Refused, no_needs
from hawse.wire import WireError

_NAMES = {
    "cloud.account.id": "AccountId",
    "cloud.availability_zone": "AvailabilityZone",
    "cloud.platform": "aws_service",
    "cloud.region": "Region",
    "host.id": "InstanceId",
    "host.name": "host",
    "host.type": "InstanceType",
    "k8s.cluster.name": "Cluster",
    "k8s.container.name": "container",
    "k8s.daemonset.name": "daemonset",
    "k8s.deployment.name": "deployment",
    "k8s.namespace.name": "namespace",
    "k8s.node.name": "node",
    "k8s.pod.hostname": "host",
    "k8s.pod.name": "pod",
    "k8s.pod.uid": "pod_id",
    "k8s.replicaset.name": "replicaset",
    "k8s.service.name": "service",
    "k8s.statefulset.name": "statefulset",
    "log.file.path_resolved": "_sourceName",
    "service.name": "service",
}
_CLOUD_NAMESPACES = {"aws_ec2": "aws/ec2", "aws_ecs": "ecs", "aws_elastic_beanstalk": "ElasticBeanstalk"}


class Config(component.Config, frozen=True):
    """What to adapt. Traces keep their attribute names."""

    translate_attributes: Annotated[bool, Meta(description="Rename: k8s.pod.name becomes pod, and so on.")] = True
    add_cloud_namespace: Annotated[
        bool, Meta(description="Add cloud.namespace where cloud.platform is an AWS service that has one.")
    ] = True
    translate_telegraf_attributes: Annotated[bool, Meta(description="Only false: not supported.")] = False
    translate_docker_metrics: Annotated[bool, Meta(description="Only false: not supported.")] = False

    def problems(self) -> Iterator[Problem]:
        for key in ("translate_telegraf_attributes", "translate_docker_metrics"):
            if getattr(self, key):
                yield Problem(key, "is not supported", "set it to false")


class SumoLogic(component.Processor):
    """Renames attributes of resources; a resource is worked out once and remembered by its bytes."""

    def __init__(self, config: Config, context: Context, output: Consumer) -> None:  # noqa: ARG002
        self._config = config
        self._output = output
        self._with_cloud = Remembered(self._add_cloud_namespace)
        self._with_all = Remembered(lambda resource: _renamed(self._add_cloud_namespace(resource)))

    async def consume(self, batch: Batch) -> None:
        """See Consumer."""
        renames = self._config.translate_attributes and batch.signal is not Signal.TRACES
        adapted = self._with_all if renames else self._with_cloud
        try:
            groups = [group.with_resource(adapted(group.resource)) for group in batch.groups]
        except WireError as error:
            raise Refused(f"malformed resource attributes: {error}", "malformed") from None
        await self._output.consume(batch.with_groups(groups))

    def _add_cloud_namespace(self, resource: Resource) -> Resource:
        platform = resource.attributes.get("cloud.platform")
        if self._config.add_cloud_namespace and isinstance(platform, str) and platform in _CLOUD_NAMESPACES:
            return resource.replaced({"cloud.namespace": _CLOUD_NAMESPACES[platform]})
        return resource


def _renamed(resource: Resource) -> Resource:
    """An attribute whose new name is taken, by another attribute or an earlier rename, keeps its old one."""
    attributes = resource.attributes
    moved: dict[str, str] = {}  # new name to old
    for old in attributes:
        new = _NAMES.get(old)
        if new is not None and new not in attributes:
            moved.setdefault(new, old)
    return resource.replaced({new: attributes[old] for new, old in moved.items()}, moved.values())


factory = ProcessorFactory("sumologic", Config, SumoLogic, needs=no_needs)
