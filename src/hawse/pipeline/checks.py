"""What can be wrong with how components refer to each other. Static: no network, no disk."""

from collections.abc import Iterator
from typing import Any

from hawse.component import ConnectorFactory, ExtensionFactory, Kind
from hawse.config.configuration import Configuration, Configured
from hawse.config.nearest import did_you_mean
from hawse.diagnostics import Finding, Severity, Where
from hawse.pipeline.graph import signal_of

_ENDS = {"receivers": Kind.RECEIVER, "exporters": Kind.EXPORTER}
_ROLES = {"receivers": Kind.RECEIVER, "processors": Kind.PROCESSOR, "exporters": Kind.EXPORTER}


def check(configuration: Configuration) -> Iterator[Finding]:
    """All findings on the graph, with paths into the document."""
    yield from _nothing(configuration)
    yield from _names(configuration)
    yield from _references(configuration)
    yield from _extensions(configuration)
    yield from _connectors(configuration)
    yield from _cycles(configuration)
    yield from _unused(configuration)


def _found(code: str, path: str, message: str, fix: str = "", severity: Severity = Severity.ERROR) -> Finding:
    return Finding(code, severity, Where(path=path), message, fix)


def _nothing(configuration: Configuration) -> Iterator[Finding]:
    if configuration.service is None or configuration.routes:
        return
    defined = configuration.components[Kind.EXTENSION]
    running = [defined[id_].factory for id_ in configuration.extensions if id_ in defined]
    if not any(isinstance(one, ExtensionFactory) and one.works_alone for one in running):
        fix = "name receivers and exporters in one: logs: {receivers: [...], exporters: [...]}"
        yield _found("HW105", "service.pipelines", "there is no pipeline, and no extension that works without one", fix)


def _names(configuration: Configuration) -> Iterator[Finding]:
    for name in configuration.routes:
        if signal_of(name) is None:
            fix = did_you_mean(name.partition("/")[0], ["logs", "metrics", "traces"], what="signals")
            path = f"service.pipelines.{name}"
            yield _found("HW125", path, f'a pipeline is named by its signal, "{name}" begins with none', fix)


def _uses(configuration: Configuration) -> Iterator[tuple[str, str, str, str]]:
    """Pipeline, role, id and path of each reference in the pipelines."""
    for name, route in configuration.routes.items():
        for role in _ROLES:
            for number, id_ in enumerate(getattr(route, role)):
                if id_:
                    yield name, role, id_, f"service.pipelines.{name}.{role}[{number}]"


def _resolve(configuration: Configuration, role: str, id_: str) -> Configured | None:
    own = configuration.components[_ROLES[role]].get(id_)
    return own or (configuration.components[Kind.CONNECTOR].get(id_) if role in _ENDS else None)


def _references(configuration: Configuration) -> Iterator[Finding]:
    seen = set()
    for name, role, id_, path in _uses(configuration):
        found = _resolve(configuration, role, id_)
        if found is None:
            yield _dangling(configuration, role, id_, path)
            continue
        if (name, role, id_) in seen:
            yield _found("HW127", path, f'"{id_}" is listed twice in {role} of this pipeline', "remove one of them")
        seen.add((name, role, id_))
        signal = signal_of(name)
        if signal and found.factory and signal not in found.factory.signals:
            known = ", ".join(sorted(found.factory.signals))
            yield _found("HW122", path, f'"{id_}" does not take {signal}', f"it takes {known}")


def _dangling(configuration: Configuration, role: str, id_: str, path: str) -> Finding:
    kinds = [_ROLES[role], *([Kind.CONNECTOR] if role in _ENDS else [])]
    known = [name for kind in kinds for name in configuration.components[kind]]
    elsewhere = [kind for kind in Kind if kind not in kinds and id_ in configuration.components[kind]]
    fix = did_you_mean(id_, known, what=f"defined {role}") or f"define it under {role}"
    if elsewhere:
        fix = f"it is defined as {_a(elsewhere[0])}"
    return _found("HW120", path, f'"{id_}" is not defined under {role}', fix)


def _a(kind: Kind) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _extensions(configuration: Configuration) -> Iterator[Finding]:
    defined = configuration.components[Kind.EXTENSION]
    for number, id_ in enumerate(configuration.extensions):
        path = f"service.extensions[{number}]"
        if id_ and id_ not in defined:
            fix = did_you_mean(id_, defined, what="defined extensions") or "define it under extensions"
            yield _found("HW120", path, f'"{id_}" is not defined under extensions', fix)
        if id_ in configuration.extensions[:number]:
            yield _found("HW127", path, f'"{id_}" is listed twice in service.extensions', "remove one of them")
    for component in configuration.all():
        for path, id_ in component.extensions:
            if id_ in configuration.extensions:
                continue
            if id_ in defined:
                fix = f'add "{id_}" to service.extensions'
                yield _found("HW126", path, f'the extension "{id_}" is defined, but the service does not run it', fix)
            else:
                fix = did_you_mean(id_, defined, what="defined extensions")
                fix = fix or f'define "{id_}" under extensions, and add it to service.extensions'
                yield _found("HW120", path, f'there is no extension "{id_}"', fix)


def _connectors(configuration: Configuration) -> Iterator[Finding]:
    for id_, connector in configuration.components[Kind.CONNECTOR].items():
        for kind in (Kind.RECEIVER, Kind.EXPORTER):
            if id_ in configuration.components[kind]:
                message = f'"{id_}" is both {_a(kind)} and a connector, so a reference to it says nothing'
                yield _found("HW128", connector.path, message, f"give one of them a name: {id_}/name")
        into = [name for name, route in configuration.routes.items() if id_ in route.exporters]
        out = [name for name, route in configuration.routes.items() if id_ in route.receivers]
        if bool(into) != bool(out):
            side, other = ("exporters", "receivers") if into else ("receivers", "exporters")
            message = f'the connector "{id_}" is used under {side} only, so nothing passes it'
            yield _found("HW123", connector.path, message, f"list it under {other} of another pipeline as well")
        elif isinstance(connector.factory, ConnectorFactory):
            yield from _conversions(connector, connector.factory, into, out)
        if isinstance(connector.factory, ConnectorFactory) and connector.factory.by_pipeline:
            yield from _routes(configuration, connector, out)


def _conversions(
    connector: Configured, factory: ConnectorFactory[Any], into: list[str], out: list[str]
) -> Iterator[Finding]:
    """Each pipeline that ends in a connector must come out somewhere, and each that begins with it be fed."""
    for name in into:
        if not any((signal_of(name), signal_of(other)) in factory.converts for other in out):
            message = f'the connector "{connector.id}" makes nothing of "{name}" that {_some(out)} can take'
            yield _found("HW123", f"service.pipelines.{name}.exporters", message, _converts(factory))
    for name in out:
        if not any((signal_of(other), signal_of(name)) in factory.converts for other in into):
            message = f'the connector "{connector.id}" gets nothing from {_some(into)} to make "{name}" of'
            yield _found("HW123", f"service.pipelines.{name}.receivers", message, _converts(factory))


def _routes(configuration: Configuration, connector: Configured, out: list[str]) -> Iterator[Finding]:
    """What a connector names must begin with it, and what begins with it must be named."""
    for path, name in connector.pipelines:
        if name not in configuration.routes:
            fix = did_you_mean(name, out or configuration.routes, what="pipelines") or "define it in service.pipelines"
            yield _found("HW120", path, f'there is no pipeline "{name}"', fix)
        elif name not in out:
            message = f'the pipeline "{name}" does not begin with the connector "{connector.id}"'
            fix = f'list "{connector.id}" under service.pipelines.{name}.receivers'
            yield _found("HW123", path, message, fix)
    named = {name for _, name in connector.pipelines}
    for other in out if connector.config is not None else ():
        if other not in named:
            message = f'the connector "{connector.id}" hands nothing to "{other}": it does not name it'
            fix = f"name the pipeline in {connector.path}, or take the connector out of it"
            yield _found("HW123", f"service.pipelines.{other}.receivers", message, fix)


def _some(names: list[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _converts(factory: ConnectorFactory[Any]) -> str:
    return "it makes " + ", ".join(f"{out} of {into}" for into, out in sorted(factory.converts))


def _cycles(configuration: Configuration) -> Iterator[Finding]:
    """Connectors that lead back into a pipeline that feeds them."""
    connectors = configuration.components[Kind.CONNECTOR]
    behind = {
        name: [
            other
            for other, candidate in configuration.routes.items()
            if set(route.exporters).intersection(candidate.receivers, connectors)
        ]
        for name, route in configuration.routes.items()
    }
    told: set[str] = set()
    for name in behind:
        way = _way_back(name, behind)
        if way and not told.intersection(way):
            told.update(way)
            message = f"pipelines feed each other in a circle: {' → '.join(way)}"
            yield _found("HW124", f"service.pipelines.{name}", message, "take the connector out of one of them")


def _way_back(start: str, behind: dict[str, list[str]]) -> list[str]:
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop()
        for name in behind[way[-1]]:
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _unused(configuration: Configuration) -> Iterator[Finding]:
    used: set[tuple[Kind, str]] = {(Kind.EXTENSION, id_) for id_ in configuration.extensions}
    for _, role, id_, _ in _uses(configuration):
        used |= {(_ROLES[role], id_), (Kind.CONNECTOR, id_)}
    chosen = {_ROLES[role] for route in configuration.routes.values() for role in route.chosen}
    for component in configuration.all():
        if (component.kind, component.id) not in used and component.kind not in chosen:
            where = "service.extensions" if component.kind is Kind.EXTENSION else "any pipeline"
            message = f'the {component.kind} "{component.id}" is defined, but not used in {where}'
            yield _found("HW121", component.path, message, severity=Severity.WARNING)
