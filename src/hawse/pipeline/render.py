"""Graphs as text, Mermaid, Graphviz DOT and plain data."""

import json
from typing import Any

from hawse.batch import Signal
from hawse.component import Kind
from hawse.pipeline.graph import Graph, Node, signal_of

# Shapes by kind: Mermaid's brackets, and Graphviz's shape.
_MERMAID = {
    Kind.RECEIVER: ("([", "])"),
    Kind.PROCESSOR: ("[", "]"),
    Kind.EXPORTER: ("[/", "/]"),
    Kind.CONNECTOR: ("{{", "}}"),
    Kind.EXTENSION: ("[(", ")]"),
}
_DOT = {
    Kind.RECEIVER: "invhouse",
    Kind.PROCESSOR: "box",
    Kind.EXPORTER: "house",
    Kind.CONNECTOR: "hexagon",
    Kind.EXTENSION: "cylinder",
}


def text(graph: Graph) -> str:
    """One line a pipeline: `logs: filelog → k8sattributes → source → otlphttp`."""
    lines = []
    for name, pipeline in graph.service.pipelines.items():
        steps = [", ".join(pipeline.receivers), *pipeline.processors, ", ".join(pipeline.exporters)]
        lines.append(f"{name}: {' → '.join(steps)}")
    if graph.service.extensions:
        lines.append(f"extensions: {', '.join(graph.service.extensions)}")
    return "\n".join(lines)


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, to be put into a page of documentation."""
    numbers = {node.key: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = _MERMAID[node.kind]
        lines.append(f'  {numbers[node.key]}{left}"{_label(node)}"{right}')
    lines += [f"  {numbers[edge.source]} -->|{edge.pipeline}| {numbers[edge.target]}" for edge in graph.edges]
    lines += [f"  {numbers[source]} -.-> {numbers[target]}" for source, target in _uses(graph)]
    return "\n".join(lines)


def dot(graph: Graph) -> str:
    """A Graphviz digraph."""
    lines = ["digraph hawse {", "  rankdir=LR;", "  node [fontname=sans];", "  edge [fontname=sans];"]
    lines += [
        f"  {_quoted(node.key)} [label={_quoted(_label(node))}, shape={_DOT[node.kind]}];" for node in graph.nodes
    ]
    lines += [
        f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [label={_quoted(edge.pipeline)}];" for edge in graph.edges
    ]
    lines += [f"  {_quoted(source)} -> {_quoted(target)} [style=dashed];" for source, target in _uses(graph)]
    return "\n".join([*lines, "}"])


def plain(graph: Graph) -> dict[str, Any]:
    """Nodes, edges and pipelines as dicts and lists."""
    return {
        "pipelines": {
            name: {
                "signal": str(signal_of(name) or Signal.LOGS),
                "receivers": [str(id_) for id_ in pipeline.receivers],
                "processors": [str(id_) for id_ in pipeline.processors],
                "exporters": [str(id_) for id_ in pipeline.exporters],
            }
            for name, pipeline in graph.service.pipelines.items()
        },
        "nodes": [
            {"key": node.key, "kind": str(node.kind), "id": str(node.id), "pipelines": list(node.pipelines)}
            for node in graph.nodes
        ],
        "edges": [
            {"source": edge.source, "target": edge.target, "pipeline": edge.pipeline, "signal": str(edge.signal)}
            for edge in graph.edges
        ],
        "uses": [{"source": source, "extension": target} for source, target in _uses(graph)],
    }


def _uses(graph: Graph) -> list[tuple[str, str]]:
    """Which node uses which extension."""
    pairs = [(node.key, f"{Kind.EXTENSION}:{id_}") for node in graph.nodes for _, id_ in node.extensions]
    return list(dict.fromkeys(pairs))


def _label(node: Node) -> str:
    return f"{node.kind} {node.id}"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
