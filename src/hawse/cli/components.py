"""`hawse components`."""

from typing import Any

import click

from hawse.cli import epilog
from hawse.cli.options import output
from hawse.cli.output import data, table
from hawse.cli.reference import markdown, settings
from hawse.component import Factory, Kind
from hawse.config.schema import component_schema, summary
from hawse.registry import Registry


@click.command(epilog=epilog("hawse components", "hawse components filelog"))
@click.argument("name", required=False)
@click.option("--plugin", "plugins", multiple=True, metavar="NAME", help="A plugin to include. Repeatable.")
@output("text", "json", "yaml", "markdown")
def command(name: str | None, plugins: tuple[str, ...], form: str) -> int:
    """List the components with their signals and stability, or tell the settings of those called NAME."""
    known = _all(Registry(plugins))
    chosen = [factory for factory in known if name in {None, factory.type}]
    if not chosen:
        from hawse.config.nearest import did_you_mean

        fix = did_you_mean(name or "", {factory.type for factory in known}, what="components")
        raise click.BadParameter(f'there is no component "{name}"; {fix}', param_hint="NAME")
    if form == "markdown":
        click.echo(markdown(chosen), nl=False)
    elif form != "text":
        data([_plain(factory, schema=name is not None) for factory in chosen], form)
    elif name is None:
        click.echo(table(_row(factory) for factory in chosen))
    else:
        click.echo("\n\n".join(_details(factory) for factory in chosen))
    return 0


def _all(registry: Registry) -> list[Factory[Any]]:
    found = (registry.factory(kind, type_) for kind in Kind for type_ in registry.types(kind))
    return [factory for factory in found if factory is not None]


def _signals(factory: Factory[Any]) -> str:
    return "-" if factory.kind is Kind.EXTENSION else ",".join(sorted(factory.signals))


def _row(factory: Factory[Any]) -> tuple[str, ...]:
    what = summary(factory)
    return str(factory.kind), factory.type, _signals(factory), str(factory.stability), what


def _plain(factory: Factory[Any], *, schema: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "kind": str(factory.kind),
        "type": factory.type,
        "signals": [] if factory.kind is Kind.EXTENSION else sorted(map(str, factory.signals)),
        "stability": str(factory.stability),
        "description": summary(factory),
    }
    return {**result, "schema": component_schema(factory.config)} if schema else result


def _details(factory: Factory[Any]) -> str:
    head = f"{factory.kind} {factory.type} ({_signals(factory)}; {factory.stability})"
    rows = [(f"  {one.path}", one.type, one.default, one.description) for one in settings(factory.config)]
    body = table(rows) if rows else "  no settings"
    return f"{head}\n{summary(factory)}\n\n{body}"
