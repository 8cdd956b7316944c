"""`hawse validate`."""

from typing import Any

import click
import msgspec

from hawse.cli import CLEAN, COULD_NOT, FINDINGS, epilog
from hawse.cli.options import Sources, configuration, output
from hawse.cli.output import data, print_findings, tally
from hawse.diagnostics import Finding, Severity
from hawse.pipeline.check import Checked


@click.command(
    epilog=epilog(
        "hawse validate --config config.yaml", "hawse validate --role logs-collector --with-environment -o json"
    )
)
@configuration
@click.option(
    "--with-environment", is_flag=True, help="Also look whether this machine has what is needed: files, ports, names."
)
@click.option(
    "--fail-on",
    type=click.Choice([str(one) for one in Severity]),
    default=str(Severity.ERROR),
    show_default=True,
    help="The least severity that counts as a failed check.",
)
@output("text", "json", "yaml")
def command(
    configs: tuple[str, ...],
    role: str | None,
    overrides: tuple[str, ...],
    *,
    with_environment: bool,
    fail_on: str,
    form: str,
) -> int:
    """Check a configuration without touching the network, and say all that is wrong with it."""
    sources = Sources(configs, role, overrides)
    checked = sources.check()
    findings = list(checked.findings)
    if with_environment and checked.graph:
        from hawse.config.tree import placed
        from hawse.pipeline.environment import check_environment

        findings += placed(checked.root, check_environment(checked.graph))
    order = list(Severity)
    failed = any(order.index(finding.severity) <= order.index(Severity(fail_on)) for finding in findings)
    if form == "text":
        _tell(sources, checked, findings)
    else:
        result: dict[str, Any] = {"valid": not failed, "findings": [msgspec.to_builtins(one) for one in findings]}
        data(result, form)
    if checked.unreadable:
        return COULD_NOT
    return FINDINGS if failed else CLEAN


def _tell(sources: Sources, checked: Checked, findings: list[Finding]) -> None:
    print_findings(findings)
    if checked.graph and not any(finding.severity is Severity.ERROR for finding in findings):
        pipelines, components = len(checked.graph.service.pipelines), len(checked.graph.nodes)
        size = f"{pipelines} pipeline{'s'[: pipelines != 1]}, {components} component{'s'[: components != 1]}"
        click.echo(f"{sources}: valid ({size})" + (f", {tally(findings)}" if findings else ""))
    else:
        click.echo(f"{sources}: {tally(findings)}", err=True)
