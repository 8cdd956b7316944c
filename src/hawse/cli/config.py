"""`hawse config show`."""

import click

from hawse.cli import COULD_NOT, FINDINGS, epilog
from hawse.cli.options import Sources, configuration, output
from hawse.cli.output import data, print_findings
from hawse.config.show import show


@click.group(
    epilog=epilog("hawse config show --config config.yaml", "hawse config show --role logs-collector --defaults")
)
def command() -> None:
    """Look at the configuration that results from all sources."""


@command.command(
    "show",
    epilog=epilog(
        "hawse config show --config base.yaml --config site.yaml",
        "hawse config show --role logs-enrichment --defaults -o json",
    ),
)
@configuration
@click.option("--defaults", is_flag=True, help="Also show the keys that are at their defaults.")
@output("yaml", "json")
def show_command(
    configs: tuple[str, ...], role: str | None, overrides: tuple[str, ...], *, defaults: bool, form: str
) -> int:
    """Show the configuration as it takes effect, merged and expanded, secrets redacted; also an invalid one."""
    checked = Sources(configs, role, overrides).check()
    print_findings(checked.findings)
    data(show(checked.root, checked.configuration, defaults=defaults), form)
    if checked.unreadable:
        return COULD_NOT
    return FINDINGS if checked.errors else 0
