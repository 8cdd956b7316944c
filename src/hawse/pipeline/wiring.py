"""Makes components with the consumers that the graph gives them, and counts between them."""

from collections.abc import Callable
from typing import Any

from hawse.batch import Signal
from hawse.component import Component, ConnectorFactory, Consumer, Context, Kind
from hawse.health import Health, Progress
from hawse.pipeline import edges
from hawse.pipeline.graph import Graph, Node
from hawse.pipeline.ledger import Ledger
from hawse.pipeline.ledger.component import ComponentLedger
from hawse.pipeline.logs import ComponentLog
from hawse.pipeline.sending import Sending
from hawse.pipeline.telemetry import ComponentMeter


class Wiring:
    """Every node must be made after those that it hands batches to, as `Graph.nodes` has them."""

    def __init__(self, graph: Graph, meter: Callable[[Node], ComponentMeter], ledger: Ledger, health: Health) -> None:
        self._graph = graph
        self._meter = meter
        self._ledger = ledger
        self._health = health
        self._entries: dict[tuple[str, Signal], Consumer] = {}

    def make(self, node: Node, context: Context) -> Component:
        """The component of a node. What its constructor raises goes to the caller."""
        create: Any = node.factory.create
        if node.kind in {Kind.EXPORTER, Kind.EXTENSION}:
            made: Any = create(node.config, context)
            if node.kind is Kind.EXPORTER:
                made = Sending(made, node.config, context, self._ledger, self._progress(node))
                self._health.check(node.path, made.why_full)
        else:
            outputs: Any = self._outputs(node)
            # A processor is in one pipeline, so it has one output.
            made = create(
                node.config, context, next(iter(outputs.values())) if node.kind is Kind.PROCESSOR else outputs
            )
        if node.kind not in {Kind.EXTENSION, Kind.RECEIVER}:
            self._enter(node, made)
        return made  # type: ignore[no-any-return]

    def _outputs(self, node: Node) -> dict[Signal, Consumer] | edges.Routed:
        meter, log = self._meter(node), ComponentLog(node.kind, node.id)
        if isinstance(node.factory, ConnectorFactory) and node.factory.by_pipeline:
            return self._routes(node, log)
        outputs: dict[Signal, Consumer] = {}
        for signal, ways in self._graph.outputs(node.key).items():
            # Two pipelines may lead to the same consumer (an exporter): each is a way of its own.
            targets = [self._entries[edge.target, signal] for edge in ways]
            consumer = targets[0]
            if len(targets) > 1:
                consumer = edges.copied(targets, self._ledger, node.kind, node.id, signal, log)
            if node.kind is Kind.RECEIVER:
                outputs[signal] = edges.from_receiver(consumer, meter, signal, log, self._ledger, node.id)
            else:
                outputs[signal] = self._out_of(node, consumer, signal)
        return outputs

    def _out_of(self, node: Node, consumer: Consumer, signal: Signal) -> Consumer:
        begins = signal not in self._signals_into(node)
        meter, own, progress = self._meter(node), self.own(node), self._progress(node)
        return edges.out_of(node.kind, consumer, meter, signal, self._ledger, own, progress, begins=begins)

    def _routes(self, node: Node, log: ComponentLog) -> edges.Routed:
        """The ways out of a connector, one for each pipeline, which may begin with several consumers."""
        targets: dict[str, tuple[Signal, list[Consumer]]] = {}
        for signal, ways in self._graph.outputs(node.key).items():
            for edge in ways:
                targets.setdefault(edge.pipeline, (signal, []))[1].append(self._entries[edge.target, signal])
        made: dict[str, tuple[Signal, Consumer]] = {}
        for name, (signal, consumers) in targets.items():
            consumer = consumers[0]
            if len(consumers) > 1:
                consumer = edges.copied(consumers, self._ledger, node.kind, node.id, signal, log)
            made[name] = signal, self._out_of(node, consumer, signal)
        return edges.Routed(made, self._ledger, node.id, log)

    def _progress(self, node: Node) -> Progress:
        return self._health.progress(node.key, node.path)

    def own(self, node: Node) -> ComponentLedger:
        """What the component says to the ledger."""
        outputs = self._graph.outputs(node.key)
        return ComponentLedger(self._ledger, node.kind, node.id, {*outputs, *self._signals_into(node)})

    def _signals_into(self, node: Node) -> set[Signal]:
        return {edge.signal for edge in self._graph.edges if edge.target == node.key}

    def _enter(self, node: Node, consumer: Any) -> None:
        """Remember how batches of each signal get into a node."""
        meter = self._meter(node)
        ledger, own, progress = self._ledger, self.own(node), self._progress(node)
        for signal in self._signals_into(node):
            if isinstance(consumer, Sending) and consumer.on_disk:
                entry = edges.to_queue(consumer, ledger, own, meter, signal)
            elif node.kind is Kind.EXPORTER:
                entry = edges.to_exporter(consumer, meter, signal, ledger, own, progress)
            else:
                ends = signal not in self._graph.outputs(node.key)
                entry = edges.into(node.kind, consumer, meter, signal, ledger, own, progress, ends=ends)
            self._entries[node.key, signal] = entry
