"""Configuration → graph: what is made, and what hands batches to what. A value; nothing runs yet.

Validation, drawings, needs and the service all read this one value.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from hawse.batch import Signal
from hawse.component import Factory, Kind
from hawse.config.configuration import Configuration
from hawse.config.settings import Service
from hawse.values import ComponentID, ExtensionID


class Node(msgspec.Struct, frozen=True):
    """One instance of a component.

    `key` is unique in the graph: `receiver:otlp`, `processor:logs/containers/batch` (the pipeline, then the id).
    `pipelines` are those that it is part of; a connector counts those that end in it and those that begin with it.
    """

    key: str
    kind: Kind
    id: ComponentID
    factory: Factory[Any]
    config: Any
    path: str
    extensions: tuple[tuple[str, ExtensionID], ...] = ()
    pipelines: tuple[str, ...] = ()


class Edge(msgspec.Struct, frozen=True):
    """Batches of one pipeline go from one node to another."""

    source: str
    target: str
    pipeline: str
    signal: Signal


class Graph(msgspec.Struct, frozen=True):
    """All instances, and the ways between them. `nodes` are in the order in which they are made and started:
    extensions, then every node after the nodes it hands batches to.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    service: Service

    def node(self, key: str) -> Node:
        """The node of a key; raises KeyError."""
        return next(node for node in self.nodes if node.key == key)

    def outputs(self, key: str) -> Mapping[Signal, tuple[Edge, ...]]:
        """The edges that leave a node, by signal."""
        found: dict[Signal, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            if edge.source == key:
                found[edge.signal].append(edge)
        return {signal: tuple(edges) for signal, edges in found.items()}

    def levels(self) -> tuple[tuple[Node, ...], ...]:
        """The nodes in steps of the order of starting: those of a step hand batches to earlier steps only."""
        level: dict[str, int] = {}
        for node in self.nodes:
            after = [level[edge.target] for edge in self.edges if edge.source == node.key]
            level[node.key] = 0 if node.kind is Kind.EXTENSION else 1 + max(after, default=0)
            if node.kind is Kind.RECEIVER:
                level[node.key] = len(self.nodes) + 1  # all receivers last, whatever the length of their pipelines
        steps = sorted(set(level.values()))
        return tuple(tuple(node for node in self.nodes if level[node.key] == step) for step in steps)


def signal_of(pipeline: str) -> Signal | None:
    """The signal of a pipeline's name (`logs`, `logs/containers`), or None."""
    kind = pipeline.partition("/")[0]
    return Signal(kind) if kind in set(Signal) else None


def build(configuration: Configuration) -> Graph:
    """The graph of a configuration in which `hawse.pipeline.checks` found no error."""
    assert configuration.service is not None
    making = _Making(configuration)
    for name in configuration.routes:
        making.pipeline(name)
    extensions = [making.nodes[making.use(Kind.EXTENSION, id_, "")] for id_ in configuration.extensions]
    others = [making.nodes[key] for key in order(making.nodes, making.edges) if making.nodes[key] not in extensions]
    return Graph((*extensions, *others), tuple(making.edges), configuration.service)


class _Making:
    """Gathers nodes and edges, pipeline by pipeline."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []

    def pipeline(self, name: str) -> None:
        route = self.configuration.routes[name]
        signal = signal_of(name)
        assert signal is not None
        starts = [self.end(Kind.RECEIVER, id_, name) for id_ in route.receivers]
        chain = [self.use(Kind.PROCESSOR, id_, name) for id_ in route.processors]
        ends = [self.end(Kind.EXPORTER, id_, name) for id_ in route.exporters]
        steps = [starts, *([key] for key in chain), ends]
        for sources, targets in pairwise(steps):
            self.edges += [Edge(source, target, name, signal) for source in sources for target in targets]

    def end(self, kind: Kind, id_: str, pipeline: str) -> str:
        connector = id_ in self.configuration.components[Kind.CONNECTOR]
        return self.use(Kind.CONNECTOR if connector else kind, id_, pipeline)

    def use(self, kind: Kind, id_: str, pipeline: str) -> str:
        """The key of the component's instance, made now if this is its first use."""
        found = self.configuration.components[kind][id_]
        key = f"processor:{pipeline}/{id_}" if kind is Kind.PROCESSOR else f"{kind}:{id_}"
        before = self.nodes[key].pipelines if key in self.nodes else ()
        pipelines = before if not pipeline or pipeline in before else (*before, pipeline)
        assert found.factory is not None
        self.nodes[key] = Node(
            key, kind, found.id, found.factory, found.config, found.path, found.extensions, pipelines
        )
        return key


def order(nodes: Iterable[str], edges: Iterable[Edge]) -> list[str]:
    """Keys such that every node comes after all that it hands batches to. Nodes of a cycle are left out."""
    waits = {key: set[str]() for key in nodes}
    feeds = defaultdict(set)
    for edge in edges:
        waits[edge.source].add(edge.target)
        feeds[edge.target].add(edge.source)
    ready = [key for key, targets in waits.items() if not targets]
    result = []
    while ready:
        key = ready.pop(0)
        result.append(key)
        for source in sorted(feeds[key], key=list(waits).index):
            waits[source].discard(key)
            if not waits[source]:
                ready.append(source)
    # Receivers last: nothing may come in before all that is behind is up.
    return sorted(result, key=lambda key: key.startswith("receiver:"))
