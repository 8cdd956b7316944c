"""`hawse run`."""

import asyncio

import click

from hawse.cli import COULD_NOT, FINDINGS, epilog
from hawse.cli.options import Sources, configuration
from hawse.cli.output import print_findings, tally


@click.command(
    epilog=epilog(
        "hawse run --config config.yaml",
        "hawse run --role logs-collector --set exporters.otlphttp.endpoint=http://enrichment:24321",
    )
)
@configuration
@click.option("--watch/--no-watch", default=True, show_default=True, help="Reload when a configuration file changes.")
def command(configs: tuple[str, ...], role: str | None, overrides: tuple[str, ...], *, watch: bool) -> int:
    """Run the pipelines of a configuration until SIGTERM or SIGINT; a second one stops without draining.

    SIGHUP reloads: the new configuration is checked first, and the old one runs on if it is bad.
    """
    sources = Sources(configs, role, overrides)
    checked = sources.check()
    print_findings(checked.findings)
    if checked.errors:
        click.echo(f"not started: {sources}: {tally(checked.findings)}", err=True)
        return COULD_NOT if checked.unreadable else FINDINGS
    from hawse.pipeline.service import Service

    asyncio.run(Service(sources.check, watch=2.0 if watch else 0.0).run(checked))
    return 0
