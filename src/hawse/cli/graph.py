"""`hawse graph`."""

import click

from hawse.cli import epilog
from hawse.cli.options import Sources, configuration, output
from hawse.cli.output import data
from hawse.pipeline import render


@click.command(
    epilog=epilog(
        "hawse graph --config config.yaml", "hawse graph --role logs-enrichment -o dot | dot -Tsvg > pipelines.svg"
    )
)
@configuration
@output("text", "mermaid", "dot", "json", "yaml")
def command(configs: tuple[str, ...], role: str | None, overrides: tuple[str, ...], *, form: str) -> int:
    """Draw the pipelines of a configuration."""
    graph = Sources(configs, role, overrides).check().required()
    if form in {"json", "yaml"}:
        data(render.plain(graph), form)
    else:
        click.echo({"text": render.text, "mermaid": render.mermaid, "dot": render.dot}[form](graph))
    return 0
