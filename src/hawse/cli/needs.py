"""`hawse needs`."""

import click
import msgspec

from hawse.cli import epilog
from hawse.cli.options import Sources, configuration, output
from hawse.cli.output import data, table
from hawse.pipeline.needs import Stated, needs


@click.command(epilog=epilog("hawse needs --role logs-collector", "hawse needs --config config.yaml -o json"))
@configuration
@output("text", "json", "yaml")
def command(configs: tuple[str, ...], role: str | None, overrides: tuple[str, ...], *, form: str) -> int:
    """List what a configuration needs, and nothing beyond: ports, peers, files, API access, users."""
    found = needs(Sources(configs, role, overrides).check().required())
    if form != "text":
        data([{**msgspec.to_builtins(stated.need), "by": list(stated.by)} for stated in found], form)
    elif found:
        click.echo(table(_row(stated) for stated in found))
    else:
        click.echo("nothing")
    return 0


def _row(stated: Stated) -> tuple[str, str, str, str]:
    fields = msgspec.to_builtins(stated.need)
    kind, purpose = fields.pop("type"), fields.pop("purpose", "")
    if kind == "connects":  # to whom only discovery finds out
        fields |= {"host": fields["host"] or "*", "port": fields["port"] or "*"}
    where = {
        "listens": "{host}:{port}/{protocol}",
        "connects": "{host}:{port}/{protocol}",
        "reads": "{path}",
        "writes": "{path}",
        "calls": "{verbs} {resource}.{api_group} ({scope})" + (" only {names}" if fields.get("names") else ""),
        "runs_as": "uid {uid} gid {gid} groups {supplementary_groups}",
        "capability": "{name}",
    }[kind]
    words = {
        key: ",".join(map(str, value)) if isinstance(value, list | tuple) else value for key, value in fields.items()
    }
    return kind.replace("_", " "), where.format(**words).replace(". (", " ("), purpose, ", ".join(stated.by)
