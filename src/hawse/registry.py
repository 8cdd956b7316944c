"""The explicit list of built-in components, and plugins where the user names them.

One line a component: `type` to the module that holds its `factory`. Modules are imported when a configuration or a
command needs them, so a process pays only for what it runs.
"""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from hawse.component import Factory, Kind
from hawse.diagnostics import HawseError

BUILT_IN: dict[Kind, dict[str, str]] = {
    Kind.RECEIVER: {
        "filelog": "hawse.receivers.filelog",
        "jaeger": "hawse.receivers.jaeger",
        "opencensus": "hawse.receivers.opencensus",
        "otlp": "hawse.receivers.otlp",
        "prometheus": "hawse.receivers.prometheus",
        "prometheusremotewrite": "hawse.receivers.prometheusremotewrite",
        "zipkin": "hawse.receivers.zipkin",
    },
    Kind.PROCESSOR: {
        "cascading_filter": "hawse.processors.cascading_filter",
        "dropbuckets": "hawse.processors.dropbuckets",
        "filter": "hawse.processors.filter",
        "groupbyattrs": "hawse.processors.groupbyattrs",
        "k8sattributes": "hawse.processors.k8sattributes",
        "probabilistic_sampler": "hawse.processors.probabilistic_sampler",
        "resource": "hawse.processors.resource",
        "source": "hawse.processors.source",
        "sumologic": "hawse.processors.sumologic",
        "tail_sampling": "hawse.processors.tail_sampling",
    },
    Kind.EXPORTER: {
        "debug": "hawse.exporters.debug",
        "file": "hawse.exporters.file",
        "loadbalancing": "hawse.exporters.loadbalancing",
        "otlp": "hawse.exporters.otlp",
        "otlphttp": "hawse.exporters.otlphttp",
        "prometheusremotewrite": "hawse.exporters.prometheusremotewrite",
        "sumologic": "hawse.exporters.sumologic",
    },
    Kind.CONNECTOR: {
        "forward": "hawse.connectors.forward",
        "routing": "hawse.connectors.routing",
    },
    Kind.EXTENSION: {
        "file_storage": "hawse.extensions.file_storage",
        "health_check": "hawse.extensions.health_check",
        "target_allocator": "hawse.extensions.target_allocator",
    },
}


class Registry:
    """Types to factories, built-in and plugged in."""

    def __init__(self, plugins: Iterable[str] = ()) -> None:
        """`plugins` are names of entry points in the groups `hawse.receivers`, `hawse.processors`, … ."""
        self._plugged: dict[tuple[Kind, str], Factory[Any]] = {}
        for name in plugins:
            self._plug(name)

    def _plug(self, name: str) -> None:
        found = [(kind, point) for kind in Kind for point in entry_points(group=f"hawse.{kind}s", name=name)]
        if not found:
            raise HawseError.of(
                "HW010",
                f"plugin {name!r} is not installed",
                fix=f"install the package that offers {name!r} as an entry point in hawse.receivers (or its like)",
                path="service.plugins",
            )
        for kind, point in found:
            self._plugged[kind, name] = point.load()

    def types(self, kind: Kind) -> list[str]:
        """All type names of a kind, sorted."""
        return sorted({*BUILT_IN[kind], *(name for plugged, name in self._plugged if plugged is kind)})

    def factory(self, kind: Kind, type_: str) -> Factory[Any] | None:
        """The factory of a type, or None if there is no such component."""
        plugged = self._plugged.get((kind, type_))
        return plugged or (_built_in(kind, type_) if type_ in BUILT_IN[kind] else None)


@cache
def _built_in(kind: Kind, type_: str) -> Factory[Any]:
    factory: Factory[Any] = import_module(BUILT_IN[kind][type_]).factory
    return factory
