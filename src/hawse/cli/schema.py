"""`hawse schema`."""

import click

from hawse.cli import epilog
from hawse.cli.output import data
from hawse.config.schema import schema
from hawse.registry import Registry


@click.command(
    epilog=epilog(
        "hawse schema > hawse.schema.json",
        "echo '# yaml-language-server: $schema=hawse.schema.json' | cat - config.yaml",
    )
)
@click.option("--plugin", "plugins", multiple=True, metavar="NAME", help="A plugin to include. Repeatable.")
def command(plugins: tuple[str, ...]) -> int:
    """Print the JSON Schema of configuration files, for editors."""
    data(schema(Registry(plugins)), "json")
    return 0
