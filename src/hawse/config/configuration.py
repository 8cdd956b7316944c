"""The whole document → components with their decoded Configs, and the service section."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from hawse.component import Factory, Kind
from hawse.config import shape
from hawse.config.decode import FAILED, Decoder
from hawse.config.nearest import did_you_mean, nearest
from hawse.config.settings import Service
from hawse.config.tree import Node, error, join
from hawse.diagnostics import Finding
from hawse.values import ComponentID, ExtensionID, PipelineID

SECTIONS = {f"{kind}s": kind for kind in Kind}
R = TypeVar("R", bound=ComponentID)


class Factories(Protocol):
    """Where component types are looked up (`hawse.registry.Registry`)."""

    def types(self, kind: Kind) -> list[str]:
        """All type names of a kind, sorted."""

    def factory(self, kind: Kind, type_: str) -> Factory[Any] | None:
        """The factory of a type, or None."""


class Configured(msgspec.Struct, frozen=True):
    """A component as the document defines it.

    `factory` is None where there is no such type, `config` where it could not be decoded: both have findings then,
    and the component still counts as defined, so that one mistake is told once.
    """

    kind: Kind
    id: ComponentID
    path: str
    factory: Factory[Any] | None
    config: Any
    extensions: tuple[tuple[str, ExtensionID], ...] = ()  # references to extensions, by path
    pipelines: tuple[tuple[str, PipelineID], ...] = ()  # of a connector: references to pipelines behind it, by path


class Route(msgspec.Struct, frozen=True):
    """The ids that a pipeline names, as far as they are ids: read leniently, so that one bad key in a service
    section does not hide what is wrong with its references. Position in a tuple is position in the document.

    `chosen` has those of the three that are given by reference (`${env:EXPORTER:-otlphttp}`): the environment chooses,
    and what it does not choose is no mistake.
    """

    receivers: tuple[str, ...]
    processors: tuple[str, ...]
    exporters: tuple[str, ...]
    chosen: frozenset[str] = frozenset()


class Configuration(msgspec.Struct, frozen=True):
    """A decoded document. `service` is None where it could not be decoded."""

    components: dict[Kind, dict[str, Configured]]
    service: Service | None
    routes: dict[str, Route]
    extensions: tuple[str, ...] = ()

    def all(self) -> Iterator[Configured]:
        """Every component, in the order of sections and of the document."""
        for section in self.components.values():
            yield from section.values()


def decode(root: Node, factories: Factories, findings: list[Finding]) -> Configuration:
    """Decode a document. All that is wrong is appended to `findings`; see `Configured` for what is left then."""
    known = [*SECTIONS, "service"]
    for name, node in root.entries.items():
        if name not in known:
            fix = did_you_mean(name, known, what="known sections")
            findings.append(error("HW104", node.key or node.mark, name, f'unknown section "{name}"', fix))
    components = {
        kind: _Section(kind, factories, findings).decode(root.entries.get(name, Node(None)))
        for name, kind in SECTIONS.items()
    }
    if "service" not in root.entries:
        fix = "service.pipelines says what runs"
        findings.append(error("HW106", root.where, "", 'the section "service" is missing', fix))
        return Configuration(components, None, {})
    node = root.entries["service"]
    service = Decoder(findings).struct(node, Service, "service")
    pipelines = node.entries.get("pipelines", Node(None)).entries
    routes = {name: _route(one) for name, one in pipelines.items()}
    return Configuration(components, None if service is FAILED else service, routes, _names(node, "extensions"))


def plugins(root: Node) -> tuple[str, ...]:
    """The names in `service.plugins`, read before anything else: they decide which types there are."""
    return tuple(name for name in _names(root.entries.get("service", Node(None)), "plugins") if name)


def _route(node: Node) -> Route:
    roles = ("receivers", "processors", "exporters")
    receivers, processors, exporters = (_names(node, role) for role in roles)
    return Route(receivers, processors, exporters, frozenset(role for role in roles if _by_reference(node, role)))


def _by_reference(node: Node, key: str) -> bool:
    child = node.entries.get(key, Node(None))
    items = child.value if isinstance(child.value, list) else []
    return bool(child.origin or any(item.origin for item in items))


def _names(node: Node, key: str) -> tuple[str, ...]:
    """The texts of a list below a key; "" for what is no text."""
    value = node.entries.get(key, Node(None)).value
    items = value if isinstance(value, list) else []
    return tuple(item.value if isinstance(item.value, str) else "" for item in items)


class _Section:
    """Decodes the components of one kind."""

    def __init__(self, kind: Kind, factories: Factories, findings: list[Finding]) -> None:
        self.kind = kind
        self.name = f"{kind}s"
        self.factories = factories
        self.findings = findings

    def decode(self, node: Node) -> dict[str, Configured]:
        if node.value is not None and not isinstance(node.value, dict):
            message = f"expected a map of {self.name} by id, got {node.describe()}"
            self.findings.append(error("HW105", node.where, self.name, message))
        return {id_: self.component(child, id_, join(self.name, id_)) for id_, child in node.entries.items()}

    def component(self, node: Node, text: str, path: str) -> Configured:
        key = node.key or node.mark
        try:
            id_ = ComponentID.parse(text)
        except ValueError as problem:
            self.findings.append(error("HW109", key, path, str(problem)))
            return Configured(self.kind, ComponentID(text), path, None, None)
        factory = self.factories.factory(self.kind, id_.type)
        if factory is None:
            fix = _right_type(id_.type, self.kind, self.factories)
            self.findings.append(error("HW108", key, path, f'there is no {self.kind} "{id_.type}"', fix))
            return Configured(self.kind, id_, path, None, None)
        config = Decoder(self.findings).struct(node, factory.config, path)
        if config is FAILED:
            return Configured(self.kind, id_, path, factory, None)
        extensions = tuple(references(config, path, ExtensionID))
        return Configured(
            self.kind, id_, path, factory, config, extensions, tuple(references(config, path, PipelineID))
        )


def _right_type(type_: str, kind: Kind, factories: Factories) -> str:
    elsewhere = [other for other in Kind if other is not kind and type_ in factories.types(other)]
    if elsewhere and not nearest(type_, factories.types(kind)):
        return f'"{type_}" belongs into the section {elsewhere[0]}s'
    return did_you_mean(type_, factories.types(kind), what=f"known {kind}s")


def references(value: Any, path: str, kind: type[R]) -> Iterator[tuple[str, R]]:
    """Paths and ids of all extensions (or whatever else is of `kind`) that a Config refers to."""
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for field in shape.block(type(value)).fields.values():
            yield from references(getattr(value, field.attribute), join(path, field.name), kind)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(item, join(path, str(key)), kind)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from references(item, join(path, number), kind)
